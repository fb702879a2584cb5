"""Opening media that strangers send: sniffed by content, capped before decoding, decoded as a stream."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from ...errors import MediaError
from .boxes import check_boxes, check_kind
from .pictures import check_depth, check_pixels, picture_from_bytes, picture_info, read_picture, short, too_deep
from .sniffing import HEAD, sniff, sniff_file
from .values import Frame, Limits, MediaInfo, SoundInfo, kind_of_mime

_AV_FORMAT = {
    "video/mp4": "mov",
    "video/quicktime": "mov",
    "video/webm": "matroska",
    "audio/wav": "wav",
    "audio/mp4": "mov",
    "audio/mpeg": "mp3",
    "audio/flac": "flac",
    "audio/ogg": "ogg",
}


__all__ = ["MediaFile", "open_container", "open_media", "picture_from_bytes", "sniff"]


@dataclass(frozen=True, slots=True, weakref_slot=True)
class MediaFile:
    """A file whose header was read and whose size is within the limits. ``frames()`` may be called many times."""

    path: Path
    info: MediaInfo
    limits: Limits

    def frames(self) -> Iterator[Frame]:
        """Decodes one frame after another. Raises MediaError where the file breaks off."""
        if self.info.kind == "image":
            rgb, keep = read_picture(self.path, self.info.mime)
            yield Frame(rgb, alpha=keep.get("alpha"))
        elif self.info.kind == "video":
            yield from _read_clip(self.path, self.info, self.limits)

    def check_copied(self) -> None:
        """Raises MediaError where decoding loses what the file has: enough to look at it, not to make a copy of it."""
        if self.info.kind == "image":
            check_depth(self.path, self.info.mime)
        elif self.info.bits > 8:
            raise too_deep(self.path)

    def picture(self) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """A picture's pixels with what must outlive re-encoding: ``alpha`` (h, w) uint8, ``icc`` and ``exif`` bytes."""
        check_depth(self.path, self.info.mime)
        return read_picture(self.path, self.info.mime)


@dataclass(frozen=True, slots=True)
class HeldPicture(MediaFile):
    """A picture that is looked at by several: decoded at the first look, and then held, read-only."""

    held: list[Frame] = field(default_factory=list, compare=False)

    def frames(self) -> Iterator[Frame]:
        if not self.held:
            frame = next(MediaFile.frames(self))
            frame.rgb.setflags(write=False)
            self.held.append(frame)
        yield self.held[0]


def held(media: MediaFile) -> MediaFile:
    """``media``, with its picture held if it is one: a clip would not fit."""
    return HeldPicture(media.path, media.info, media.limits) if media.info.kind == "image" else media


def open_media(path: Path, limits: Limits | None = None) -> MediaFile:
    """Reads the header of ``path``. Raises MediaError for what is not media, is damaged, or is over the limits."""
    limits = limits or Limits()
    try:
        if not path.is_file():
            what = "no regular file" if path.exists() else "no such file"
            raise MediaError(f"{what}: {path.name}", code="input.media.missing", hint="Check the path.")
        size = path.stat().st_size
        with path.open("rb") as stream:
            head = stream.read(HEAD)
    except OSError as error:
        raise MediaError(f"{path.name} cannot be read: {error.strerror}", code="input.media.unreadable") from error
    if size == 0:
        raise MediaError(f"{path.name} is empty", code="input.media.empty")
    if size > limits.bytes:
        raise MediaError(f"{path.name} has {size} bytes; the limit is {limits.bytes}", code="input.media.too_large")
    mime = sniff_file(path) if head.startswith(b"ID3") else sniff(head)
    if mime is None:
        raise MediaError(f"{path.name} is not in a format that we read", code="input.media.format")
    if head[4:8] == b"ftyp":
        check_boxes(path)
        check_kind(path, still=kind_of_mime(mime) == "image")
    info = picture_info(path, mime, limits) if kind_of_mime(mime) == "image" else _clip_info(path, mime, limits)
    check_pixels(path, info.width, info.height, limits)
    if info.duration is not None and info.duration > limits.seconds:
        raise MediaError(
            f"{path.name} lasts {info.duration:.0f} s; the limit is {limits.seconds:.0f} s",
            code="input.media.too_long",
        )
    return MediaFile(path, info, limits)


# ── clips and sound ──────────────────────────────────────────────────────────────────────────────────────────────
@contextmanager
def open_container(path: Path, mime: str, limits: Limits) -> Iterator[av.container.InputContainer]:
    """PyAV with the demuxer that the content calls for, and no protocol but the file. Pictures over the limit are
    refused inside the decoder too: opening already decodes, and a stream may say otherwise than its container."""
    try:
        container = av.open(
            str(path),
            format=_AV_FORMAT[mime],
            options={"protocol_whitelist": "file", "enable_drefs": "0", **_decoder_options(limits)},
            metadata_errors="replace",
        )
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"{path.name} is damaged: {short(error)}", code="input.media.damaged") from error
    with container:
        if any(stream.codec_context is None for stream in (*container.streams.video, *container.streams.audio)):
            raise MediaError(f"{path.name} holds a track that nothing here decodes", code="input.media.format")
        try:
            yield container
        except av.error.FFmpegError as error:
            raise MediaError(f"{path.name} is damaged: {short(error)}", code="input.media.damaged") from error


def _decoder_options(limits: Limits) -> dict[str, str]:
    return {"max_pixels": str(min(limits.pixels, (1 << 31) - 1))}


def _clip_info(path: Path, mime: str, limits: Limits) -> MediaInfo:
    with open_container(path, mime, limits) as container:
        duration = container.duration / av.time_base if container.duration else None
        sound = None
        if container.streams.audio:
            stream = container.streams.audio[0]
            sound = SoundInfo(stream.rate or 0, stream.channels, _bits(stream))
        moving = [s for s in container.streams.video if not _is_cover(s)]
        further = max(0, len(moving) - 1) + max(0, len(container.streams.audio) - 1)
        # MP4 says by its brand what it is, as its writer pleases: what it holds counts.
        if mime in ("video/mp4", "audio/mp4"):
            mime = "video/mp4" if moving or sound is None else "audio/mp4"
        elif kind_of_mime(mime) == "audio" and moving:
            raise MediaError(f"{path.name} is a sound file with moving pictures", code="input.media.format")
        if kind_of_mime(mime) == "audio":
            if sound is None or not sound.rate:
                raise MediaError(f"{path.name} has no sound in it", code="input.media.empty")
            return MediaInfo("audio", mime, duration=duration, sound=sound, frames=None, further=further)
        if not moving:
            raise MediaError(f"{path.name} has no picture track", code="input.media.empty")
        video = moving[0]
        if not video.width or not video.height:
            raise MediaError(f"{path.name} does not say how large its pictures are", code="input.media.damaged")
        width, height = _shape(video.width, video.height, video.sample_aspect_ratio)
        rate = video.average_rate or video.guessed_rate
        return MediaInfo(
            "video",
            mime,
            width,
            height,
            Fraction(rate) if rate else None,
            video.frames or None,
            duration,
            sound,
            further,
            _depth(video),
        )


def _depth(video: av.VideoStream) -> int:
    """Bits a channel; 8 where the decoder does not know before it has decoded."""
    form = video.format
    return max((part.bits for part in form.components), default=8) if form is not None else 8


def _shape(width: int, height: int, aspect: Fraction | None) -> tuple[int, int]:
    """The size at which a frame is shown, where its pixels are not square (DV, HDV, DVDs): never fewer than it has.
    What is hardly off comes from rounding a size, and what is far off from nobody's camera."""
    if not aspect or abs(aspect - 1) < 0.01 or not 0.25 <= aspect <= 4:
        return width, height
    return (round(width * aspect / 2) * 2, height) if aspect > 1 else (width, round(height / aspect / 2) * 2)


def _bits(stream: Any) -> int:
    """16, or 24 for PCM and FLAC of more."""
    codec = stream.codec_context
    lossless = codec.name == "flac" or codec.name.startswith("pcm_")
    return 24 if lossless and codec.format is not None and codec.format.bits > 16 else 16


def _is_cover(stream: av.video.stream.VideoStream) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _read_clip(path: Path, info: MediaInfo, limits: Limits) -> Iterator[Frame]:
    count = 0
    with open_container(path, info.mime, limits) as container:
        stream = next(s for s in container.streams.video if not _is_cover(s))
        stream.codec_context.options = _decoder_options(limits)
        stream.thread_type = "AUTO"
        base = stream.time_base or Fraction(1, 90_000)
        first: int | None = None
        for frame in container.decode(stream):
            wide, high = _shape(frame.width, frame.height, stream.sample_aspect_ratio)
            if wide * high > limits.pixels:
                raise MediaError(f"{path.name} grows beyond the pixel limit", code="input.media.too_many_pixels")
            first = frame.pts if first is None else first
            rate = info.rate or Fraction(25)
            time = Fraction((frame.pts - first) * base) if frame.pts is not None and first is not None else count / rate
            # A duration is only what the container says, and WebM need not say any.
            if time > limits.seconds + 1:
                raise MediaError(f"{path.name} goes on beyond its limit", code="input.media.too_long")
            rgb = frame.to_ndarray(format="rgb24", width=wide, height=high)
            if turns := round(getattr(frame, "rotation", 0) / 90) % 4:
                rgb = np.rot90(rgb, turns)
            count += 1
            yield Frame(np.ascontiguousarray(rgb), time)
    if count == 0:
        raise MediaError(f"{path.name} holds no frame that can be decoded", code="input.media.empty")
    if info.frames and count < info.frames * 0.98 - 2:
        raise MediaError(f"{path.name} breaks off after {count} of {info.frames} frames", code="input.media.cut_off")
