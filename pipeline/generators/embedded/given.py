"""A caller's own picture as a layer of a shot: an opaque one stands behind, one with transparency moves in front."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from PIL import Image as Pillow

from .compose import Image
from .tracks import BORDER, MARGIN

PLATE, SPRITE = 768, 256
LEAST = 8


@dataclass(frozen=True)
class Given:
    """What takes a drawn layer's place: `plate` (768, 768, 3) uint8, or `sprite` (256, 256, 4) premultiplied uint8."""

    plate: Image | None = None
    sprite: Image | None = None


def given(image: Any) -> Given:
    """A PIL picture or uint8 array as a layer. ValueError for anything else, and for one that cannot be seen."""
    if isinstance(image, Pillow.Image):
        clear = "A" in image.getbands() or "transparency" in image.info
        image = np.asarray(image.convert("RGBA" if clear else "RGB"))
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] not in (3, 4) or min(array.shape[:2]) < LEAST:
        raise ValueError(f"image must be a PIL picture or uint8 (h, w, 3 or 4), at least {LEAST} pixels a side")
    if array.shape[2] == 4 and int(array[..., 3].min()) < 255:
        return Given(sprite=cut_out(array))
    return Given(plate=widened(np.ascontiguousarray(array[..., :3])))


def widened(image: Image) -> Image:
    """A picture as a backdrop: its middle square, and its mirror image around it for the camera to look into."""
    h, w = image.shape[:2]
    n = min(h, w)
    square = image[(h - n) // 2 :, (w - n) // 2 :][:n, :n]
    side = round(PLATE / (1 + 2 * MARGIN))
    method = cv2.INTER_AREA if n > side else cv2.INTER_CUBIC
    square = cv2.resize(square, (side, side), interpolation=method).astype(np.uint8)
    edge = (PLATE - side) // 2
    return np.asarray(np.pad(square, ((edge, edge), (edge, edge), (0, 0)), mode="reflect"), np.uint8)


def cut_out(rgba: Image) -> Image:
    """What can be seen of a picture with transparency, as large as a sprite is, with its transparent edge."""
    rows, columns = (np.flatnonzero((rgba[..., 3] > 40).any(axis)) for axis in (1, 0))
    if not len(rows):
        raise ValueError("image is transparent all over")
    part = rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32)
    part[..., :3] *= part[..., 3:] / 255
    room = SPRITE / BORDER
    share = room / max(part.shape[:2])
    high, wide = (max(round(side * share), 1) for side in part.shape[:2])
    fitted = cv2.resize(part, (wide, high), interpolation=cv2.INTER_AREA if share < 1 else cv2.INTER_LINEAR)
    out = np.zeros((SPRITE, SPRITE, 4), np.uint8)
    top, left = (SPRITE - high) // 2, (SPRITE - wide) // 2
    out[top : top + high, left : left + wide] = np.rint(fitted.clip(0, 255))
    return out
