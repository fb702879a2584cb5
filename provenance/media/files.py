"""Opening media that strangers send: sniffed by content, capped before decoding, decoded as a stream."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from ...errors import MediaError
from .boxes import check_boxes
from .values import Frame, Limits, MediaInfo, SoundInfo, kind_of_mime

_PIL_FORMAT = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP", "image/avif": "AVIF"}
_AV_FORMAT = {"video/mp4": "mov", "video/quicktime": "mov", "audio/wav": "wav"}
_SIXTEEN_BIT = {"I", "F", "I;16", "I;16B", "I;16L"}


def sniff(head: bytes) -> str | None:
    """The MIME type by the first 32 bytes, or None for what we do not read."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head[:4] in (b"RIFF", b"RF64"):
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav"}.get(head[8:12])
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        if brand in (b"avif", b"avis"):
            return "image/avif"
        if brand == b"qt  ":
            return "video/quicktime"
        if brand in (b"heic", b"heix", b"mif1", b"msf1"):
            return None
        return "video/mp4"
    return None


@dataclass(frozen=True, slots=True)
class MediaFile:
    """A file whose header was read and whose size is within the limits. ``frames()`` may be called many times."""

    path: Path
    info: MediaInfo
    limits: Limits

    def frames(self) -> Iterator[Frame]:
        """Decodes one frame after another. Raises MediaError where the file breaks off."""
        if self.info.kind == "image":
            yield Frame(_read_picture(self.path, self.info.mime)[0])
        elif self.info.kind == "video":
            yield from _read_clip(self.path, self.info, self.limits)

    def picture(self) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """A picture's pixels with what must outlive re-encoding: ``alpha`` (h, w) uint8, ``icc`` and ``exif`` bytes."""
        _check_depth(self.path, self.info.mime)
        return _read_picture(self.path, self.info.mime)


def open_media(path: Path, limits: Limits | None = None) -> MediaFile:
    """Reads the header of ``path``. Raises MediaError for what is not media, is damaged, or is over the limits."""
    limits = limits or Limits()
    try:
        if not path.is_file():
            raise MediaError(f"no such file: {path.name}", code="input.media.missing", hint="Check the path.")
        size = path.stat().st_size
        with path.open("rb") as stream:
            head = stream.read(32)
    except OSError as error:
        raise MediaError(f"{path.name} cannot be read: {error.strerror}", code="input.media.unreadable") from error
    if size == 0:
        raise MediaError(f"{path.name} is empty", code="input.media.empty")
    if size > limits.bytes:
        raise MediaError(f"{path.name} has {size} bytes; the limit is {limits.bytes}", code="input.media.too_large")
    mime = sniff(head)
    if mime is None:
        raise MediaError(f"{path.name} is not in a format that we read", code="input.media.format")
    if head[4:8] == b"ftyp":
        check_boxes(path)
    info = _picture_info(path, mime, limits) if kind_of_mime(mime) == "image" else _clip_info(path, mime, limits)
    _check_pixels(path, info.width, info.height, limits)
    if info.duration is not None and info.duration > limits.seconds:
        raise MediaError(
            f"{path.name} lasts {info.duration:.0f} s; the limit is {limits.seconds:.0f} s",
            code="input.media.too_long",
        )
    return MediaFile(path, info, limits)


def _check_pixels(path: Path, width: int, height: int, limits: Limits) -> None:
    if width * height > limits.pixels:
        raise MediaError(
            f"{path.name} has {width} x {height} px; the limit is {limits.pixels / 1e6:.0f} million",
            code="input.media.too_many_pixels",
            hint="Scale it down, or raise the setting `max_pixels`.",
        )


# ── pictures ─────────────────────────────────────────────────────────────────────────────────────────────────────
@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """Whatever a decoder throws at damaged bytes becomes a MediaError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except MediaError:
        raise
    except Image.DecompressionBombError as error:
        raise MediaError(f"{path.name} has too many pixels", code="input.media.too_many_pixels") from error
    except MemoryError as error:
        raise MediaError(f"{path.name} needs more memory than there is", code="input.media.too_large") from error
    except (
        UnidentifiedImageError,
        OSError,
        ValueError,
        SyntaxError,
        TypeError,
        KeyError,
        IndexError,
        EOFError,
        ArithmeticError,
        AttributeError,
        RuntimeError,
    ) as error:
        raise MediaError(f"{path.name} is damaged: {_short(error)}", code="input.media.damaged") from error


def _short(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:120]


def _picture_info(path: Path, mime: str, limits: Limits) -> MediaInfo:
    with _decoding(path), Image.open(path, formats=[_PIL_FORMAT[mime]]) as image:
        width, height = image.size
        _check_pixels(path, width, height, limits)
        # Many cameras put further pictures (a preview, a gain map) behind a JPEG: its first one is the photograph.
        if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
            raise MediaError(
                f"{path.name} is an animation; only still pictures are read in this format",
                code="input.media.animated",
                hint="Convert it to MP4.",
            )
        # Pillow decodes a whole PNG to look for EXIF behind its pixels: that is left to whoever decodes it anyway.
        exif = {} if mime == "image/png" and "exif" not in image.info else image.getexif()
        # 5 to 8 turn the picture on its side (EXIF 2.3, tag 0x0112).
        if exif.get(0x0112, 1) in (5, 6, 7, 8):
            width, height = height, width
    return MediaInfo("image", mime, width, height)


def _read_picture(path: Path, mime: str) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    with _decoding(path), Image.open(path, formats=[_PIL_FORMAT[mime]]) as image:
        image.load()
        if image.mode in _SIXTEEN_BIT:
            raise _too_deep(path)
        if image.mode == "CMYK":
            raise MediaError(f"{path.name} is CMYK", code="input.media.cmyk", hint="Convert it to sRGB first.")
        keep: dict[str, Any] = {}
        if icc := image.info.get("icc_profile"):
            keep["icc"] = icc
        upright = ImageOps.exif_transpose(image)
        exif = upright.getexif()
        if len(exif):
            keep["exif"] = exif.tobytes()
        if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
            rgba = np.asarray(upright.convert("RGBA"))
            if int(rgba[..., 3].min()) < 255:
                keep["alpha"] = np.ascontiguousarray(rgba[..., 3])
            return np.ascontiguousarray(rgba[..., :3]), keep
        return np.ascontiguousarray(np.asarray(upright.convert("RGB"))), keep


def _check_depth(path: Path, mime: str) -> None:
    """Pillow reduces these to 8 bits without a word: enough to look at them, not to make a copy of them."""
    with path.open("rb") as stream:
        head = stream.read(4096)
    # The bit depth in PNG's IHDR, and `high_bitdepth` in the AV1 codec configuration.
    box = head.find(b"av1C")
    flags = head[box + 6 : box + 7] if mime == "image/avif" and box >= 0 else b""
    if (mime == "image/png" and head[24:25] == b"\x10") or (flags and flags[0] & 0x40):
        raise _too_deep(path)


def _too_deep(path: Path) -> MediaError:
    return MediaError(
        f"{path.name} has more than 8 bits a channel, which would be lost",
        code="input.media.depth",
        hint="Convert it to 8 bits a channel first.",
    )


def picture_from_bytes(data: bytes) -> NDArray[np.uint8]:
    """A picture that we wrote ourselves (a catalog preview), as uint8 (h, w, 3)."""
    with _decoding(Path("preview")), Image.open(io.BytesIO(data), formats=["JPEG", "PNG"]) as image:
        return np.ascontiguousarray(np.asarray(image.convert("RGB")))


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
        raise MediaError(f"{path.name} is damaged: {_short(error)}", code="input.media.damaged") from error
    with container:
        try:
            yield container
        except av.error.FFmpegError as error:
            raise MediaError(f"{path.name} is damaged: {_short(error)}", code="input.media.damaged") from error


def _decoder_options(limits: Limits) -> dict[str, str]:
    return {"max_pixels": str(min(limits.pixels, (1 << 31) - 1))}


def _clip_info(path: Path, mime: str, limits: Limits) -> MediaInfo:
    with open_container(path, mime, limits) as container:
        duration = container.duration / av.time_base if container.duration else None
        sound = None
        if container.streams.audio:
            stream = container.streams.audio[0]
            sound = SoundInfo(stream.rate or 0, stream.channels)
        if kind_of_mime(mime) == "audio":
            if sound is None or not sound.rate:
                raise MediaError(f"{path.name} has no sound in it", code="input.media.empty")
            return MediaInfo("audio", mime, duration=duration, sound=sound, frames=None)
        if not container.streams.video:
            raise MediaError(f"{path.name} has no picture track", code="input.media.empty")
        video = container.streams.video[0]
        width, height = video.width, video.height
        if not width or not height:
            raise MediaError(f"{path.name} does not say how large its pictures are", code="input.media.damaged")
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
        )


def _read_clip(path: Path, info: MediaInfo, limits: Limits) -> Iterator[Frame]:
    count = 0
    with open_container(path, info.mime, limits) as container:
        stream = container.streams.video[0]
        stream.codec_context.options = _decoder_options(limits)
        stream.thread_type = "AUTO"
        base = stream.time_base or Fraction(1, 90_000)
        first: int | None = None
        for frame in container.decode(stream):
            if frame.width * frame.height > limits.pixels:
                raise MediaError(f"{path.name} grows beyond the pixel limit", code="input.media.too_many_pixels")
            first = frame.pts if first is None else first
            rate = info.rate or Fraction(25)
            time = Fraction((frame.pts - first) * base) if frame.pts is not None and first is not None else count / rate
            rgb = frame.to_ndarray(format="rgb24")
            if turns := round(getattr(frame, "rotation", 0) / 90) % 4:
                rgb = np.rot90(rgb, turns)
            count += 1
            yield Frame(np.ascontiguousarray(rgb), time)
    if count == 0:
        raise MediaError(f"{path.name} holds no frame that can be decoded", code="input.media.empty")
    if info.frames and count < info.frames * 0.98 - 2:
        raise MediaError(f"{path.name} breaks off after {count} of {info.frames} frames", code="input.media.cut_off")
