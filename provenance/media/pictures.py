"""Pictures that strangers send, through Pillow: the size before the pixels, damage as one kind of error."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from ...errors import MediaError
from .values import Limits, MediaInfo

_PIL_FORMAT = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/webp": "WEBP",
    "image/avif": "AVIF",
    "image/tiff": "TIFF",
    "image/gif": "GIF",
    "image/heic": "HEIF",
    "image/heif": "HEIF",
}
_SIXTEEN_BIT = {"I", "F", "I;16", "I;16B", "I;16L"}
_MULTIPLE = frozenset({"image/tiff", "image/gif"})
_BITS_PER_SAMPLE, _SAMPLE_FORMAT = 258, 339
_RAW = {330, 50706}
"""SubIFDs and DNGVersion (TIFF/EP, DNG)."""


@contextmanager
def decoding(path: Path) -> Iterator[None]:
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
        raise MediaError(f"{path.name} is damaged: {short(error)}", code="input.media.damaged") from error


def short(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:120]


@contextmanager
def open_picture(path: Path, mime: str) -> Iterator[Image.Image]:
    """Pillow's image with the one decoder that the content calls for. Raises MediaError."""
    if _PIL_FORMAT[mime] == "HEIF":
        _with_heif(path)
    with decoding(path), Image.open(path, formats=[_PIL_FORMAT[mime]]) as image:
        yield image


def _with_heif(path: Path) -> None:
    try:
        import pi_heif
    except ImportError:
        raise MediaError(
            f"{path.name} is HEIC, whose decoder is not installed",
            code="input.media.decoder",
            hint="pip install 'filigrana[heic]'",
        ) from None
    pi_heif.register_heif_opener(thumbnails=False)


def check_pixels(path: Path, width: int, height: int, limits: Limits) -> None:
    if width * height > limits.pixels:
        raise MediaError(
            f"{path.name} has {width} x {height} px; the limit is {limits.pixels / 1e6:.0f} million",
            code="input.media.too_many_pixels",
            hint="Scale it down, or raise the setting `max_pixels`.",
        )


def picture_info(path: Path, mime: str, limits: Limits) -> MediaInfo:
    with open_picture(path, mime) as image:
        width, height = image.size
        check_pixels(path, width, height, limits)
        if mime == "image/tiff" and _RAW & set(getattr(image, "tag_v2", ())):
            # A camera's raw file shows its thumbnail to whoever takes it for a TIFF.
            raise MediaError(
                f"{path.name} is a camera's raw file",
                code="input.media.format",
                hint="Develop it to TIFF or JPEG first.",
            )
        # Many cameras put further pictures (a preview, a gain map) behind a JPEG: its first one is the photograph; so
        # is the primary one of a HEIC.
        if image.format not in ("MPO", "HEIF") and _has_second(image, mime):
            raise MediaError(
                f"{path.name} holds several pictures; only single stills are read in this format",
                code="input.media.animated",
                hint="Convert an animation to MP4, and pages to single files.",
            )
        # Pillow decodes a whole PNG to look for EXIF behind its pixels: that is left to whoever decodes it anyway.
        exif = {} if mime == "image/png" and "exif" not in image.info else image.getexif()
        # 5 to 8 turn the picture on its side (EXIF 2.3, tag 0x0112).
        if image.format != "HEIF" and exif.get(0x0112, 1) in (5, 6, 7, 8):
            width, height = height, width
    return MediaInfo("image", mime, width, height)


def _has_second(image: Image.Image, mime: str) -> bool:
    """Without counting: the count of a TIFF or GIF is a walk that a stranger's file can make as long as it likes."""
    if mime not in _MULTIPLE:
        return getattr(image, "n_frames", 1) > 1
    try:
        image.seek(1)
    except EOFError:
        return False
    return True


def read_picture(path: Path, mime: str) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    with open_picture(path, mime) as image:
        image.load()
        if image.mode in _SIXTEEN_BIT:
            raise too_deep(path)
        if image.mode == "CMYK":
            raise MediaError(f"{path.name} is CMYK", code="input.media.cmyk", hint="Convert it to sRGB first.")
        keep: dict[str, Any] = {}
        if icc := image.info.get("icc_profile"):
            keep["icc"] = icc
        upright = ImageOps.exif_transpose(image)
        # What a TIFF calls EXIF is its own directory, which describes this file and no other.
        exif = upright.getexif() if mime != "image/tiff" else Image.Exif()
        if len(exif):
            keep["exif"] = exif.tobytes()
        if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
            rgba = np.asarray(upright.convert("RGBA"))
            if int(rgba[..., 3].min()) < 255:
                keep["alpha"] = np.ascontiguousarray(rgba[..., 3])
            return np.ascontiguousarray(rgba[..., :3]), keep
        return np.ascontiguousarray(np.asarray(upright.convert("RGB"))), keep


def check_depth(path: Path, mime: str) -> None:
    """Pillow reduces these to 8 bits without a word: enough to look at them, not to make a copy of them."""
    with path.open("rb") as stream:
        head = stream.read(4096)
    # The bit depth in PNG's IHDR, and `high_bitdepth` in the AV1 codec configuration.
    box = head.find(b"av1C")
    flags = head[box + 6 : box + 7] if mime == "image/avif" and box >= 0 else b""
    deep = (mime == "image/png" and head[24:25] == b"\x10") or bool(flags and flags[0] & 0x40)
    if mime == "image/tiff":
        with open_picture(path, mime) as image:
            tags: Any = image
            bits, kinds = (_numbers(tags.tag_v2.get(tag, 1)) for tag in (_BITS_PER_SAMPLE, _SAMPLE_FORMAT))
            deep = max(bits) > 8 or set(kinds) != {1}
    elif mime in ("image/heic", "image/heif"):
        with open_picture(path, mime) as image:
            deep = int(image.info.get("bit_depth", 8)) > 8
    if deep:
        raise too_deep(path)


def _numbers(value: Any) -> tuple[int, ...]:
    return value if isinstance(value, tuple) and value else (int(value),)


def too_deep(path: Path) -> MediaError:
    return MediaError(
        f"{path.name} has more than 8 bits a channel, which would be lost",
        code="input.media.depth",
        hint="Convert it to 8 bits a channel first.",
    )


def picture_from_bytes(data: bytes) -> NDArray[np.uint8]:
    """A picture that we wrote ourselves (a catalog preview), as uint8 (h, w, 3)."""
    with decoding(Path("preview")), Image.open(io.BytesIO(data), formats=["JPEG", "PNG"]) as image:
        return np.ascontiguousarray(np.asarray(image.convert("RGB")))
