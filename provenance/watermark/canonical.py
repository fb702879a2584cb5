"""The canonical picture: luma whose shorter side is 512 px, on which the DFT codec thinks. Pure.

Three maps of it: where the mark may stand out how much (`visibility`), what a detector looks at (`whiten`), and how the
mark's change of luma is spread over red, green and blue (`colour`).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .base import RGB

SHORT_SIDE = 512
HIGH_PASS = 6.0
"""Sigma in px of the blur that `whiten` takes away."""

Plane = NDArray[np.float32]

_ACTIVITY_MAX = 24.0
_ROUGH_FROM = 6.0

_LUMA = np.array([[0.299, 0.587, 0.114]], np.float32)  # BT.601, as JPEG's


def colour(roughness: float) -> NDArray[np.float32]:
    """(3,): the change of R, G and B for a change of luma by 1.

    Spread evenly it is grey; along the luma weights themselves its squared change of RGB is smallest, by 1.3 dB, and it
    is a coloured grain. Half way has 0.9 dB of that: so on smooth pictures; rough ones hide the whole."""
    tint = 0.5 + 0.5 * roughness
    return np.asarray((1 - tint) + tint * _LUMA[0] / float((_LUMA**2).sum()), np.float32)


def luma(rgb: RGB) -> Plane:
    """(h, w, 3) uint8 -> (h, w) float32 in [0, 255]."""
    return np.asarray(cv2.transform(rgb, _LUMA), np.float32).reshape(rgb.shape[:2])


def canonical_size(height: int, width: int, short_side: int = SHORT_SIDE) -> tuple[int, int]:
    """(height, width) of the canonical picture."""
    scale = short_side / min(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def resize(plane: Plane, size: tuple[int, int]) -> Plane:
    """To (height, width): by area where it shrinks, cubic where it grows."""
    if plane.shape == size:
        return plane
    shrink = size[0] < plane.shape[0]
    method = cv2.INTER_AREA if shrink else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(plane, (size[1], size[0]), interpolation=method), np.float32)


def _blur(plane: Plane, sigma: float) -> Plane:
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma), np.float32)


def whiten(picture: Plane) -> tuple[Plane, Plane]:
    """Takes the picture out as far as its neighbourhood tells: high pass, over the local activity.

    Returns the whitened picture and the local gain that a small mark is multiplied by (both (h, w))."""
    detail = picture - _blur(picture, HIGH_PASS)
    gain = 1.0 / (np.sqrt(np.maximum(_blur(detail * detail, 4.0), 0.0)) + np.float32(2.0))
    return detail * gain, gain


@dataclass(frozen=True, slots=True)
class Visibility:
    """``mask``: (h, w) how much mark each place bears, relative: 1 where it is flat, more in texture, less in black
    and white. ``loss``: the loss of SSIM for a mark of unit gain and unit mean square. ``texture``: mean local
    activity in grey levels, in [0, 24]."""

    mask: Plane
    loss: float
    texture: float

    @property
    def roughness(self) -> float:
        """0 for smooth pictures and ordinary photographs, up to 1 where texture fills the picture: there the eye is
        masked everywhere and the detector is the one who suffers."""
        return min(max((self.texture - _ROUGH_FROM) / 10.0, 0.0), 1.0)


def visibility(picture: Plane) -> Visibility:
    """Contrast masking as a power of the local activity, as in J. M. Foley's model of masking (1994); the loss of SSIM
    (Z. Wang and others, 2004) of a small independent change n is n / (2 var + C2), averaged over places."""
    scale = 0.5  # the map is smooth: half the resolution shows it all
    small = resize(picture, (max(1, round(picture.shape[0] * scale)), max(1, round(picture.shape[1] * scale))))
    level = _blur(small, 1.5)
    detail = small - level
    variance = np.maximum(_blur(detail * detail, 2.0), 0.0)
    activity = np.minimum(np.sqrt(variance), np.float32(_ACTIVITY_MAX))
    texture = float(activity.mean())
    # Where everything is texture, the mark goes to the less busy places, in which it is found more easily.
    power = 0.7 - 0.35 * min(max((texture - _ROUGH_FROM) / 10.0, 0.0), 1.0)
    out = 1.0 + 0.45 * activity**power
    out = out * (1.0 - 0.35 * (level < 30) - 0.15 * (level > 225))
    loss = float(np.mean(out * out / (2.0 * variance + 58.5)))
    return Visibility(_blur(np.asarray(out, np.float32), 1.0), loss, texture)
