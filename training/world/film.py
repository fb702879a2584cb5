"""Frames: a shot's timeline drawn at any size. One resampling a sprite and frame, from the nearest larger level."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from .atlas import BASE, EDGE, Atlas, pyramid
from .motions import COVER_HIGH, COVER_WIDE, HIDE_GROUND, Timeline, frame_times, timeline
from .palette import Image
from .settings import MARGIN, draw_setting
from .shots import Shot

RIM = 18
"""Pixels around a cover's box in its picture of 256, for a bush's leaves."""


@lru_cache(maxsize=256)
def _backdrop(setting: int, seed: int, side: int) -> Image:
    picture = draw_setting(setting, seed, side)
    picture.setflags(write=False)
    return picture


@lru_cache(maxsize=8)
def cover_levels(name: str) -> tuple[Image, ...]:
    """What things hide behind, as a sprite's pyramid: a brick wall, a bush, a wooden box; opaque over its box."""
    side = 256
    picture = np.zeros((side, side, 4), np.uint8)
    inner = picture[RIM:-RIM, RIM:-RIM]
    n = len(inner)
    if name == "wall":
        inner[:] = (214, 204, 196, 255)
        for row in range(6):
            y = row * n // 6
            for x in range(-(row % 2) * n // 8, n, n // 4):
                inner[y + 3 : y + n // 6 - 3, max(x + 3, 0) : max(x + n // 4 - 3, 0)] = (178, 84, 66, 255)
    elif name == "bush":
        inner[:] = (52, 122, 60, 255)
        rng = np.random.default_rng(5)
        # leaves over the edge, so that it isn't a box
        for k in np.arange(0, 4, 1 / 9):
            along = int(k % 1 * n)
            at = ((along, 0), (n, along), (n - along, n), (0, n - along))[int(k)]
            where, size = (RIM + at[0], RIM + at[1]), int(rng.integers(9, RIM - 1))
            cv2.circle(picture, where, size, (52, 122, 60, 255), -1, cv2.LINE_AA)
        for x, y, r in zip(rng.integers(0, n, 60), rng.integers(0, n, 60), rng.integers(12, 30, 60), strict=True):
            shade = int(rng.integers(-18, 30))
            cv2.circle(inner, (int(x), int(y)), int(r), (60 + shade, 138 + shade, 66 + shade, 255), -1, cv2.LINE_AA)
    else:
        inner[:] = (176, 128, 78, 255)
        for k in range(5):
            inner[k * n // 5 : k * n // 5 + 4] = (122, 84, 48, 255)
        inner[:, :14] = inner[:, -14:] = (140, 98, 58, 255)
    return pyramid(picture)


def _stamp(
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


def _view(backdrop: Image, camera: NDArray[np.float64], side: int) -> Image:
    """The part of the backdrop that the camera (middle x, middle y, zoom) sees: (side, side, 3) uint8."""
    cx, cy, zoom = (float(v) for v in camera)
    if zoom == 1 and cx == cy == 0.5:
        edge = round(MARGIN * side)
        return backdrop[edge : edge + side, edge : edge + side].copy()
    left, top = (cx + MARGIN) * side - side / (2 * zoom), (cy + MARGIN) * side - side / (2 * zoom)
    back = np.array([[1 / zoom, 0, left + 0.5 / zoom - 0.5], [0, 1 / zoom, top + 0.5 / zoom - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(backdrop, back, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE).astype(np.uint8)


def render_line(shot: Shot, line: Timeline, atlas: Atlas, side: int = 128) -> Image:
    """The timeline's frames: (T, side, side, 3) uint8 RGB."""
    backdrop = _backdrop(shot.setting, shot.seed % 97, side)
    sprites = [atlas.levels(actor.concept, actor.style, actor.colour) for actor in shot.actors]
    out = np.empty((len(line.times), side, side, 3), np.uint8)
    square = BASE / (BASE - 2 * EDGE)
    still = shot.motion == "rest" and shot.camera == "still"
    for k, (cx, cy, zoom) in enumerate(line.camera):
        if still and k:
            out[k] = out[0]
            continue
        frame = _view(backdrop, line.camera[k], side)
        # the subject stands in front of its partner
        for i in reversed(range(len(shot.actors))):
            track = line.tracks[i]
            size = shot.actors[i].size * float(track.scale[k]) * zoom * side * square
            middle = ((track.x[k] - cx) * zoom + 0.5) * side, ((track.y[k] - cy) * zoom + 0.5) * side
            _stamp(frame, sprites[i], middle, (size, size), float(track.angle[k]), float(track.alpha[k]))
        if shot.cover:
            middle = ((0.5 - cx) * zoom + 0.5) * side, ((HIDE_GROUND - COVER_HIGH / 2 - cy) * zoom + 0.5) * side
            whole = 256 / (256 - 2 * RIM) * zoom * side
            _stamp(frame, cover_levels(shot.cover), middle, (COVER_WIDE * whole, COVER_HIGH * whole), 0, 1)
        out[k] = frame
    return out


def render_frames(shot: Shot, atlas: Atlas, side: int = 128, rate: int = 16) -> Image:
    """A still as (1, side, side, 3), a clip as (T, side, side, 3) uint8 RGB at `rate` frames a second."""
    return render_line(shot, timeline(shot, frame_times(shot, rate)), atlas, side)
