"""Every format goes through the whole chain, verifies, and is recovered or refused as it should be."""

from __future__ import annotations

import wave
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from filigrana.pipeline.engine import Engine
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.request import GenerateRequest, Release, SealRequest
from filigrana.provenance.credentials import Credentials, read_credentials
from filigrana.provenance.labels import read_label
from filigrana.provenance.media import (
    MIME_BY_SUFFIX,
    SIDECAR_MIMES,
    Frame,
    encode_clip,
    encode_picture,
    encode_sound,
    open_media,
    read_sound,
    read_xmp,
)
from filigrana.provenance.sidecar import read_sidecar, sidecar_of
from filigrana.tests.doubles import scene

IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"
PICTURES = sorted({mime for mime in MIME_BY_SUFFIX.values() if mime.startswith("image/")})
MIMES = sorted(set(MIME_BY_SUFFIX.values()))


def tone(path: Path, rate: int = 16_000, seconds: float = 1.0) -> Path:
    samples = (np.sin(np.arange(int(rate * seconds)) / 9) * 9000).astype("<i2")
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(samples.tobytes())
    return path


def source(folder: Path, mime: str) -> Path:
    path = folder / "source"
    if mime.startswith("image"):
        path.write_bytes(encode_picture(scene(6), mime))
    elif mime.startswith("video"):
        sound = read_sound(open_media(tone(folder / "tone.wav")))
        frames = (Frame(np.roll(scene(6, 320, 256), 3 * i, 1), Fraction(i, 12)) for i in range(12))
        encode_clip(frames, path, mime, rate=Fraction(12), sound=sound)
    else:
        given = open_media(tone(folder / "tone.wav"))
        encode_sound(read_sound(given), path, mime, given)
    return path


def credentials_of(path: Path, mime: str, installation: Installation) -> Credentials:
    """As a verifier reads them: embedded, or beside the file."""
    beside = sidecar_of(path)
    store = None if beside is None else read_sidecar(beside)
    return read_credentials(path, mime, installation.trust, manifest_store=store)


@pytest.mark.parametrize("mime", MIMES)
def test_a_sealed_file_of_every_format_is_verified(
    make_engine: Callable[..., Engine], installation: Installation, tmp_path: Path, mime: str
) -> None:
    released = make_engine().seal(SealRequest(source(tmp_path, mime), "ai"))
    assert isinstance(released, Release)
    if mime not in SIDECAR_MIMES:
        assert released.sidecar is None
        finding = installation.verifier().verify(released.file)
        assert finding.finding == "verified", finding.evidence
    assert open_media(released.file).info.mime == mime
    label = read_label(read_xmp(released.file, mime) or "")
    credentials = credentials_of(released.file, mime, installation)
    assert credentials.state == "trusted"
    assert label.source_type == credentials.source_type == IPTC + "trainedAlgorithmicMedia"
    assert (dict(credentials.soft_bindings) != {}) == (not mime.startswith("audio"))


@pytest.mark.parametrize("mime", MIMES)
def test_one_changed_byte_of_content_is_never_verified(
    make_engine: Callable[..., Engine], installation: Installation, tmp_path: Path, mime: str
) -> None:
    released = make_engine().seal(SealRequest(source(tmp_path, mime), "camera"))
    assert isinstance(released, Release)
    data = bytearray(released.file.read_bytes())
    if released.sidecar is not None:
        data[len(data) // 2] ^= 0x10
        (tmp_path / "changed.c2pa").write_bytes(released.sidecar.read_bytes())
        (tmp_path / "changed").write_bytes(data)
        assert credentials_of(tmp_path / "changed", mime, installation).state == "invalid"
        return
    manifest = data.index(b"c2pa")
    # Content stands before the manifest or behind it, by format: the half without it is content for certain.
    at = (manifest + 20_000 + len(data)) // 2 if manifest < len(data) // 2 else manifest // 2
    data[min(at, len(data) - 40)] ^= 0x10
    path = tmp_path / "changed"
    path.write_bytes(data)
    assert installation.verifier().verify(path).finding in ("altered", "unreadable")


@pytest.mark.parametrize("mime", PICTURES)
def test_a_generated_picture_of_every_format_is_verified(
    make_engine: Callable[..., Engine], installation: Installation, mime: str
) -> None:
    released = make_engine().generate(GenerateRequest("a boat", seed=3, mime=mime))
    assert isinstance(released, Release)
    assert released.file.suffix in [s for s, m in MIME_BY_SUFFIX.items() if m == mime]
    assert installation.verifier().verify(released.file).finding == "verified"
    credentials = read_credentials(released.file, mime, installation.trust)
    assert credentials.actions[0] == "c2pa.created"
    assert credentials.ingredients == ("inputTo", "inputTo")


def test_a_clip_keeps_its_sound_and_its_length(
    make_engine: Callable[..., Engine], installation: Installation, tmp_path: Path
) -> None:
    before = source(tmp_path, "video/mp4")
    released = make_engine().seal(SealRequest(before, "camera"))
    assert isinstance(released, Release)
    old, new = open_media(before).info, open_media(released.file).info
    assert new.sound == old.sound
    assert (new.width, new.height, new.frames) == (old.width, old.height, old.frames)
    assert new.duration == pytest.approx(old.duration, abs=0.1)


def test_a_re_encoded_clip_is_recovered(
    make_engine: Callable[..., Engine], installation: Installation, tmp_path: Path
) -> None:
    released = make_engine().seal(SealRequest(source(tmp_path, "video/mp4"), "ai"))
    assert isinstance(released, Release)
    media = open_media(released.file)
    copy = tmp_path / "copy.mp4"
    encode_clip(media.frames(), copy, "video/mp4", rate=Fraction(12))
    finding = installation.verifier().verify(copy)
    assert (finding.finding, finding.asset_id, finding.match) == ("recovered", released.asset_id, "same")


def test_a_clip_with_another_end_is_not_the_same(
    make_engine: Callable[..., Engine], installation: Installation, tmp_path: Path
) -> None:
    released = make_engine().seal(SealRequest(source(tmp_path, "video/mp4"), "ai"))
    assert isinstance(released, Release)

    def swapped() -> object:
        for number, frame in enumerate(open_media(released.file).frames()):
            yield frame if number < 6 else Frame(scene(40, 320, 256), frame.time)

    copy = tmp_path / "copy.mp4"
    encode_clip(swapped(), copy, "video/mp4", rate=Fraction(12))  # type: ignore[arg-type]
    assert installation.verifier().verify(copy).finding == "altered"
