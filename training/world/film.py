"""Frames: a shot's timeline drawn at any size. One resampling a sprite and frame, from the nearest larger level."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from filigrana.pipeline.generators.embedded.compose import Image, pyramid, stamp, view

from .atlas import BASE, EDGE, Atlas
from .motions import COVER_HIGH, COVER_WIDE, HIDE_GROUND, Timeline, frame_times, timeline
from .settings import MARGIN, VARIANTS, draw_setting
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


def render_line(shot: Shot, line: Timeline, atlas: Atlas, side: int = 128) -> Image:
    """The timeline's frames: (T, side, side, 3) uint8 RGB."""
    backdrop = _backdrop(shot.setting, shot.seed % VARIANTS, side)
    sprites = [atlas.levels(actor.concept, actor.style, actor.colour) for actor in shot.actors]
    out = np.empty((len(line.times), side, side, 3), np.uint8)
    square = BASE / (BASE - 2 * EDGE)
    still = shot.motion == "rest" and shot.camera == "still"
    for k, (cx, cy, zoom) in enumerate(line.camera):
        if still and k:
            out[k] = out[0]
            continue
        frame = view(backdrop, line.camera[k], side, MARGIN)
        # the subject stands in front of its partner
        for i in reversed(range(len(shot.actors))):
            track = line.tracks[i]
            size = shot.actors[i].size * float(track.scale[k]) * zoom * side * square
            middle = ((track.x[k] - cx) * zoom + 0.5) * side, ((track.y[k] - cy) * zoom + 0.5) * side
            stamp(frame, sprites[i], middle, (size, size), float(track.angle[k]), float(track.alpha[k]))
        if shot.cover:
            middle = ((0.5 - cx) * zoom + 0.5) * side, ((HIDE_GROUND - COVER_HIGH / 2 - cy) * zoom + 0.5) * side
            whole = 256 / (256 - 2 * RIM) * zoom * side
            stamp(frame, cover_levels(shot.cover), middle, (COVER_WIDE * whole, COVER_HIGH * whole), 0, 1)
        out[k] = frame
    return out


def render_frames(shot: Shot, atlas: Atlas, side: int = 128, rate: int = 16) -> Image:
    """A still as (1, side, side, 3), a clip as (T, side, side, 3) uint8 RGB at `rate` frames a second."""
    return render_line(shot, timeline(shot, frame_times(shot, rate)), atlas, side)
