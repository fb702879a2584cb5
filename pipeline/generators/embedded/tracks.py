"""Motion as the model gives it -> where everything is, and the frames of a shot drawn one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .compose import Image, pyramid, stamp, view
from .time import CAMERA, INSTANCES, MOMENTS, POSE

MARGIN = 0.25
SECONDS = 2.0
BORDER = 128 / 124
"""A sprite's square by its longer side: there is a transparent edge around it."""
COVER, PARTNER = INSTANCES - 1, INSTANCES - 2
ORDER = (PARTNER, 3, 2, 1, 0, COVER)
"""Who is drawn first: the subject stands before its partner, and a cover before all."""


@dataclass(frozen=True)
class Scene:
    """What is drawn: `plate` (m, m, 3) uint8 with a margin around the picture, three sprites' pyramids (subject,
    partner, cover), and motion, (64, 39) float32 as `time.py` has it."""

    plate: Image
    sprites: tuple[tuple[Image, ...], ...]
    motion: NDArray[np.float32]


def scene(plate: Image, sprites: list[Image], motion: NDArray[np.float32]) -> Scene:
    """A scene of layers."""
    return Scene(plate, tuple(pyramid(sprite) for sprite in sprites), motion)


def at(motion: NDArray[np.float32], moment: float) -> NDArray[np.float32]:
    """Motion at a moment in 0..63, between its two neighbours."""
    low = min(int(moment), MOMENTS - 1)
    share, high = moment - low, min(low + 1, MOMENTS - 1)
    out: NDArray[np.float32] = motion[low] * (1 - share) + motion[high] * share
    return out


def frame(shot: Scene, side: int, moment: float, backdrop: Image) -> Image:
    """The frame at `moment`: (side, side, 3) uint8; `backdrop` is the plate scaled for this side."""
    now = at(shot.motion, moment)
    cx, cy, zoom = (float(v) for v in now[-CAMERA:] / (4, 4, 2) + (0.5, 0.5, 1.0))
    zoom = min(max(zoom, 1.0), 4.0)
    # what the camera doesn't do on purpose it doesn't do at all
    camera = np.array([cx if abs(cx - 0.5) > 0.002 else 0.5, cy if abs(cy - 0.5) > 0.002 else 0.5, zoom])
    if zoom < 1.004:
        camera[2] = 1.0
    out = view(backdrop, camera, side, MARGIN)
    poses = now[: INSTANCES * POSE].reshape(INSTANCES, POSE)
    for i in ORDER:
        x, y, size, cosine, sine, alpha = (float(v) for v in poses[i])
        alpha = min(max((alpha - 0.1) / 0.8, 0.0), 1.0)
        if alpha <= 0:
            continue
        wide = 2 ** (2 * min(max(size, -3.0), 1.0) - 2) * camera[2] * side * (1.0 if i == COVER else BORDER)
        middle = tuple(((v / 2 + 0.5 - c) * camera[2] + 0.5) * side for v, c in ((x, camera[0]), (y, camera[1])))
        angle = float(np.rad2deg(np.arctan2(sine, cosine)))
        stamp(out, shot.sprites[{COVER: 2, PARTNER: 1}.get(i, 0)], (middle[0], middle[1]), (wide, wide),
              angle if abs(angle) > 0.5 else 0.0, alpha)  # fmt: skip
    return out


def frames(shot: Scene, side: int, count: int) -> Iterator[Image]:
    """`count` frames, evenly over the shot's two seconds (one: its beginning), each (side, side, 3) uint8."""
    wide = round(side * (1 + 2 * MARGIN))
    method = cv2.INTER_AREA if wide < len(shot.plate) else cv2.INTER_CUBIC
    backdrop = shot.plate
    if wide != len(backdrop):
        backdrop = cv2.resize(backdrop, (wide, wide), interpolation=method).astype(np.uint8)
    for k in range(count):
        yield frame(shot, side, k * MOMENTS / count, backdrop)
