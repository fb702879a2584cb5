"""`filigrana watermark`: the codecs by themselves. A mark that no catalog knows proves nothing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .bench import bench as bench_command
from .state import installation

if TYPE_CHECKING:
    from ...provenance.media import MediaFile
    from ...provenance.watermark.base import Detection
    from ..installation import Installation

app = typer.Typer(no_args_is_help=True, help="Put a mark into a file, look for one, or measure what marks survive.")
app.command("bench")(bench_command)
JSON = Annotated[bool, typer.Option("--json", help="One JSON value on standard output, nothing else.")]


@app.command()
def embed(
    source: Annotated[Path, typer.Argument(help="A picture, clip or sound.")],
    target: Annotated[Path, typer.Argument(help="The marked file to write.")],
    asset_id: Annotated[str, typer.Option("--id", help="The 12 characters of the asset id to carry.")],
    json_: JSON = False,
) -> None:
    """Marks a file with an id, without signing, recording or releasing anything."""
    import os
    import time

    from ...errors import InputError, MediaError
    from ...provenance.identity import AssetId
    from ...provenance.media import kind_of_mime, open_media
    from ..api import mime_for
    from .output import emit_json, out
    from .state import check_output

    ident, mime = AssetId.parse(asset_id), mime_for(target)
    check_output(target)
    if target.exists() and source.exists() and target.samefile(source):
        raise InputError("a file cannot be marked in place", code="input.target", hint="Write to another file.")
    with installation() as opened:
        media = open_media(source, opened.limits)
        if media.info.kind != kind_of_mime(mime):
            raise MediaError(
                f"a file of type {media.info.mime} cannot become {mime}",
                code="input.media.kind",
                hint="Keep the kind: picture to picture, clip to clip, sound to sound.",
            )
        started = time.perf_counter()
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            _write(opened, media, part, mime, ident)
            detection = _detections(opened, open_media(part, opened.limits))[0]
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)
    result = _answer(target, detection, media.info.kind) | {"seconds": round(time.perf_counter() - started, 4)}
    if json_:
        emit_json(result)
    elif detection.asset_id is None:
        out.print(f"{target}: written, but no mark reads back (silence, or too short a sound)")
    elif detection.asset_id != ident:
        out.print(f"{target}: written, but another mark reads back: {detection.asset_id}. Mark its original instead.")
    else:
        out.print(f"{target}: marked with {ident}, reads back with score {detection.score:.1f}")
    raise typer.Exit(0 if detection.asset_id == ident else 4)


def _write(opened: Installation, media: MediaFile, part: Path, mime: str, ident: Any) -> None:
    from fractions import Fraction

    from ...provenance.media import Frame, encode_clip, encode_picture, encode_sound, read_sound
    from ...provenance.watermark.registry import codec, sound_codec
    from ..soundtrack import marked

    key = opened.watermark_key
    track = None if media.info.sound is None else marked(sound_codec(key), read_sound(media), ident)
    if media.info.kind == "image":
        rgb, keep = media.picture()
        frame = next(iter(codec(key=key).embed([Frame(rgb)], ident)))
        part.write_bytes(encode_picture(frame.rgb, mime, keep=keep))
    elif media.info.kind == "video":
        media.check_copied()
        frames = codec(key=key).embed(media.frames(), ident)
        encode_clip(frames, part, mime, rate=media.info.rate or Fraction(25), sound=track)
    elif track is not None:
        encode_sound(track, part, mime, media)


def _detections(opened: Installation, media: MediaFile) -> list[Detection]:
    """The best of the pictures' codecs, then the sound's, as far as the file has either. An organisation's key
    is tried first."""
    from ...provenance.watermark.registry import all_codecs, sound_codec
    from ..soundtrack import sound_detection

    keys = [None] if opened.watermark_key is None else [opened.watermark_key, None]
    found: list[Detection] = []
    if media.info.kind != "audio":
        found.append(_best(one.detect(media.frames()) for key in keys for one in all_codecs(key)))
    if media.info.sound is not None:
        heard = (sound_detection(sound_codec(key), media) for key in keys)
        found.append(_best(one for one in heard if one is not None))
    return found


def _best(detections: Iterable[Detection]) -> Detection:
    """The first that found a mark, else the one that came nearest."""
    seen: list[Detection] = []
    for detection in detections:
        seen.append(detection)
        if detection.asset_id is not None:
            return detection
    return max(seen, key=lambda d: d.score)


def _answer(file: Path, detection: Detection, kind: str, sound: Detection | None = None) -> dict[str, Any]:
    from dataclasses import asdict

    answer: dict[str, Any] = {
        "file": str(file),
        "asset_id": None if detection.asset_id is None else str(detection.asset_id),
        "score": detection.score,
        "p_value": detection.p_value,
        "geometry": None if detection.geometry is None else asdict(detection.geometry),
        "seconds": round(detection.seconds, 4),
    }
    if kind != "image":
        answer["frames"] = detection.frames
        answer["timing"] = None if detection.timing is None else asdict(detection.timing)
    if sound is not None:
        answer["sound"] = {k: v for k, v in _answer(file, sound, kind).items() if k not in ("file", "geometry")}
    return answer


@app.command()
def detect(
    files: Annotated[list[Path], typer.Argument(help="Pictures, clips and sounds.")], json_: JSON = False
) -> None:
    """Looks for a mark. Exit codes: 0 found in every file, 4 none in at least one, 1 error."""
    from ...errors import MediaError
    from ...provenance.media import open_media
    from .output import emit_json, fail, out

    complete, unreadable = True, False
    with installation() as opened:
        for file in files:
            try:
                media = open_media(file, opened.limits)
                found = _detections(opened, media)
            except MediaError as error:
                # The other files are still looked at; the exit code says that one was not.
                unreadable = True
                fail(error)
                continue
            first, sound = found[0], found[1] if len(found) > 1 else None
            complete = complete and any(d.asset_id is not None for d in found)
            if json_:
                emit_json(_answer(file, first, media.info.kind, sound))
                continue
            out.print(f"{file}: {_in_words(first)}")
            if sound is not None:
                out.print(f"{file}, sound: {_in_words(sound)}")
    raise typer.Exit(1 if unreadable else 0 if complete else 4)


def _in_words(detection: Detection) -> str:
    if detection.asset_id is None:
        return f"no mark (score {detection.score:.1f}, p {detection.p_value:.2g})"
    words = f"{detection.asset_id} (score {detection.score:.1f}, p {detection.p_value:.1e})"
    if (geometry := detection.geometry) is not None:
        words += f", scale {geometry.scale:.3f}, turned {geometry.rotation_degrees:.1f} degrees"
        words += ", mirrored" if geometry.flipped else ""
    if (timing := detection.timing) is not None:
        words += f", begins at {timing.offset:.2f} s (+-{timing.tolerance:.2f}) of 32, speed {timing.speed:.3f}"
    return words
