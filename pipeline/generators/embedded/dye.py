"""Dyes: a sprite in another colour than its own, as the model asks for it.

The model draws a thing in its own colours and says apart from that which colour it is to take: 354 drawings and a
colour are learned far sooner than the 6,018 pictures that they make together (docs/adr/0032). What is learned from is
dyed by the same functions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .compose import Image

INK = (38, 38, 44)
PAPER = (250, 248, 240)
"""The colours of drawings in line, sRGB in 0..255."""
DYE = 4
"""Values of a dye: red, green, blue, each -1..1, and whether the sprite takes it (1) or keeps its own colours (-1)."""
Colour = tuple[int, int, int]
Straight = NDArray[np.float32]
"""(h, w, 4) float32 in 0..1, straight alpha."""


def dye_of(colour: Colour | None) -> NDArray[np.float32]:
    """A colour, sRGB in 0..255, as the values that the model gives: (4,) float32; None is "its own colours"."""
    if colour is None:
        return np.asarray((0, 0, 0, -1), np.float32)
    return np.asarray((*(value / 127.5 - 1 for value in colour), 1), np.float32)


def tint(rgba: Straight, colour: Colour) -> Straight:
    """Recolours the pixels of the sprite's dominant hue (or, of a grey sprite, its lighter greys).

    Shading is kept: darker than the group's mean stays darker, lighter goes towards white.
    """
    rgb, alpha = rgba[..., :3], rgba[..., 3]
    high, low = rgb.max(-1), rgb.min(-1)
    chroma = high - low
    r, g, b = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    safe = np.maximum(chroma, 1e-6)
    hue = np.where(high == r, ((g - b) / safe) % 6, np.where(high == g, (b - r) / safe + 2, (r - g) / safe + 4)) * 60
    lum = rgb @ np.asarray((0.299, 0.587, 0.114), np.float32)
    vivid = alpha * np.clip((chroma - 0.12) / 0.12, 0, 1)
    if vivid.sum() < 0.3 * alpha.sum():
        weight = np.clip((lum - 0.3) / 0.15, 0, 1) * np.clip((0.3 - chroma) / 0.1, 0, 1)
    else:
        bins = np.bincount((hue // 5).astype(int).ravel(), weights=(vivid * chroma).ravel(), minlength=72)
        window = np.sum([np.roll(bins, k) for k in range(-7, 8)], axis=0)
        centre = float(np.argmax(window)) * 5 + 2.5
        away = np.abs((hue - centre + 180) % 360 - 180)
        weight = np.clip((58 - away) / 10, 0, 1) * np.clip((chroma - 0.06) / 0.08, 0, 1)
    mean = float((lum * weight * alpha).sum() / max(1e-6, float((weight * alpha).sum())))
    ratio = (lum / max(mean, 1e-3))[..., None]
    target = np.asarray(colour, np.float32) / 255
    shade = np.where(
        ratio <= 1, target * (0.25 + 0.75 * ratio), target + (1 - target) * np.clip((ratio - 1) * 0.7, 0, 0.85)
    )
    out = rgba.copy()
    out[..., :3] = rgb * (1 - weight[..., None]) + shade * weight[..., None]
    return out


def fill(rgba: Straight, colour: Colour) -> Straight:
    """A line drawing filled with `colour`: paper becomes the colour, ink stays dark (light on a dark colour)."""
    ink, paper = (np.asarray(c, np.float32) / 255 for c in (INK, PAPER))
    share = ((paper[0] - rgba[..., :1]) / (paper[0] - ink[0])).clip(0, 1)
    ground = np.asarray(colour, np.float32) / 255
    line = ink if ground.mean() > 0.3 else np.asarray((0.85, 0.85, 0.88), np.float32)
    out = rgba.copy()
    out[..., :3] = line * share + ground * (1 - share)
    return out


def in_line(rgba: Straight) -> bool:
    """Whether a sprite is a drawing in ink: of all but transparent pixels, nearly all lie between ink and paper, and
    a tenth are ink. Of the world's sprites those in line have 19 % ink or more, flat ones at most 5 %."""
    seen = rgba[rgba[..., 3] > 0.5][:, :3]
    if not len(seen):
        return False
    ink, paper = (np.asarray(c, np.float32) / 255 for c in (INK, PAPER))
    way = paper - ink
    share = ((seen - ink) @ way / (way @ way)).clip(0, 1)
    near = np.linalg.norm(seen - ink - share[:, None] * way, axis=1) < 0.08
    return bool(near.mean() > 0.6 and (near & (share < 0.25)).mean() > 0.1)


def dyed(sprite: Image, dye: NDArray[np.floating]) -> Image:
    """A premultiplied sprite (h, w, 4) uint8 in the colour that `dye` (4,) asks for; itself where it asks for none."""
    if float(dye[3]) <= 0:
        return sprite
    red, green, blue = (round(float(value)) for value in ((np.asarray(dye[:3]) + 1) * 127.5).clip(0, 255))
    rgba = sprite.astype(np.float32) / np.float32(255)
    rgba[..., :3] = np.minimum(rgba[..., :3] / np.maximum(rgba[..., 3:], 1 / 255), 1)
    out = (fill if in_line(rgba) else tint)(rgba, (red, green, blue))
    out[..., :3] *= out[..., 3:]
    return np.asarray(np.rint(out * 255), np.uint8)
