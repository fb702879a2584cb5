"""The values that media travel in."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ...errors import MediaError

Kind = Literal["image", "video", "audio"]

MIME_BY_SUFFIX = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".avif": "image/avif",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".gif": "image/gif",
    ".mp4": "video/mp4",
    ".mov": "video/quicktime",
    ".webm": "video/webm",
    ".wav": "audio/wav",
    ".m4a": "audio/mp4",
    ".mp3": "audio/mpeg",
    ".flac": "audio/flac",
    ".ogg": "audio/ogg",
    ".oga": "audio/ogg",
}
"""What is written, by suffix. HEIC is read only: its encoders are under the GPL, its patents not ours to give."""
WRITTEN_AS = {"image/heic": "image/avif", "image/heif": "image/avif"}
"""What a sealed file of a format that is only read becomes, where nobody asks for another."""
SIDECAR_MIMES = frozenset({"video/webm", "audio/ogg"})
"""No place for a manifest store is defined inside these (C2PA specification 2.4, annex A): it lies beside the file."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a stranger's file may cost at most. ``pixels`` a frame; ``bytes`` a file; ``seconds`` of playing time."""

    pixels: int = 50_000_000
    bytes: int = 4 << 30
    seconds: float = 4 * 3600.0


@dataclass(frozen=True, slots=True)
class SoundInfo:
    """``rate`` in Hz. ``bits``: what a sample holds where it is kept without loss, 16 for lossy codecs."""

    rate: int
    channels: int
    bits: int = field(default=16, compare=False)


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """What a file says about itself. ``width`` and ``height`` in px as displayed (orientation applied), 0 for sound
    alone; ``frames`` is 1 for a picture and the container's own count (or None) for a clip; ``duration`` in s.
    ``further``: tracks of pictures and sound beside the first ones, which are all that is looked at here. ``bits``: of
    a clip's channels; what is more than 8 is lost in decoding."""

    kind: Kind
    mime: str
    width: int = 0
    height: int = 0
    rate: Fraction | None = None
    frames: int | None = 1
    duration: float | None = None
    sound: SoundInfo | None = None
    further: int = field(default=0, compare=False)
    bits: int = field(default=8, compare=False)


@dataclass(frozen=True, slots=True)
class Frame:
    """``rgb``: uint8 (height, width, 3), sRGB. ``time``: seconds from the start, exact. ``alpha``: uint8 (height,
    width) where a picture is not opaque everywhere."""

    rgb: NDArray[np.uint8]
    time: Fraction = Fraction(0)
    alpha: NDArray[np.uint8] | None = None

    @property
    def shown(self) -> NDArray[np.uint8]:
        """What one sees of it, on white: under transparency the pixels may hold a picture that nobody sees."""
        if self.alpha is None:
            return self.rgb
        share = self.alpha[..., None].astype(np.float32) / 255
        return np.asarray(np.rint(self.rgb * share + 255 * (1 - share)), np.uint8)


@dataclass(frozen=True, slots=True)
class SoundBlock:
    """A stretch of sound. ``samples``: float32 (n, channels), full scale is +-1. ``rate`` in Hz. Blocks of one stream
    follow each other without gaps and have the same rate and channels."""

    samples: NDArray[np.float32]
    rate: int


def kind_of_mime(mime: str) -> Kind:
    kind = mime.partition("/")[0]
    if kind not in ("image", "video", "audio"):
        raise MediaError(f"{mime} is not a picture, clip or sound", code="input.media.format")
    return kind  # type: ignore[return-value]
