"""Layers put together: sprites stamped onto a backdrop, where their tracks say. Used to draw what is learned from, too.

All pictures are uint8, layers premultiplied. Lengths are in picture widths, x to the right, y down.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def pyramid(base: Image) -> tuple[Image, ...]:
    """Levels a factor of about the square root of two apart, by area averaging: none is ever shrunk by more when
    it is drawn, so that bilinear sampling doesn't alias."""
    levels, side = [base], float(len(base))
    while side > 12:
        side /= 2**0.5
        whole = round(side)
        levels.append(cv2.resize(base, (whole, whole), interpolation=cv2.INTER_AREA).astype(np.uint8))
    return tuple(levels)


def stamp(
    out: Image, levels: tuple[Image, ...], middle: tuple[float, float], sides: tuple[float, float], angle: float,
    alpha: float,
) -> None:  # fmt: skip
    """Draws a sprite onto `out`: `middle` and `sides` (of the whole square level) in pixels, `angle` in degrees."""
    side = len(out)
    if alpha <= 0 or min(sides) < 1:
        return
    level = next((lv for lv in reversed(levels) if len(lv) >= max(sides) * 0.999), levels[0])
    n = len(level)
    turn = np.deg2rad(angle)
    c, s = float(np.cos(turn)), float(np.sin(turn))
    reach_x, reach_y = (abs(c) * sides[0] + abs(s) * sides[1]) / 2, (abs(s) * sides[0] + abs(c) * sides[1]) / 2
    x0, x1 = max(int(middle[0] - reach_x) - 1, 0), min(int(middle[0] + reach_x) + 2, side)
    y0, y1 = max(int(middle[1] - reach_y) - 1, 0), min(int(middle[1] + reach_y) + 2, side)
    if x0 >= x1 or y0 >= y1:
        return
    # from picture pixels back to the level's: turn back, scale, move to its middle
    ax, ay = n / sides[0], n / sides[1]
    back = np.array([[c * ax, s * ax, 0], [-s * ay, c * ay, 0]])
    shift = np.array([x0 + 0.5 - middle[0], y0 + 0.5 - middle[1]])
    back[:, 2] = back[:, :2] @ shift + n / 2 - 0.5
    sprite = cv2.warpAffine(level, back, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    soft = sprite.astype(np.uint16)
    if alpha < 1:
        soft = soft * np.uint16(round(alpha * 255)) // np.uint16(255)
    view = out[y0:y1, x0:x1]
    rest = view * (np.uint16(255) - soft[..., 3:])
    view[...] = np.minimum(soft[..., :3] + (rest + np.uint16(127)) // np.uint16(255), 255)


def view(backdrop: Image, camera: NDArray[np.float64], side: int, margin: float) -> Image:
    """The part of the backdrop that the camera (middle x, middle y, zoom) sees: (side, side, 3) uint8.

    `backdrop` is a picture of `side` pixels and `margin` picture widths around it.
    """
    cx, cy, zoom = (float(v) for v in camera)
    if zoom == 1 and cx == cy == 0.5:
        edge = round(margin * side)
        return backdrop[edge : edge + side, edge : edge + side].copy()
    left, top = (cx + margin) * side - side / (2 * zoom), (cy + margin) * side - side / (2 * zoom)
    back = np.array([[1 / zoom, 0, left + 0.5 / zoom - 0.5], [0, 1 / zoom, top + 0.5 / zoom - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(backdrop, back, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE).astype(np.uint8)
