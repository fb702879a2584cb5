"""Scenes at an eighth of the size (64x64), drawn quickly for the models that look at pictures."""

from __future__ import annotations

import numpy as np

from . import CELL, SIDE
from .palette import BACKGROUNDS, VARIANTS, Image, behind, draw
from .scenes import Scene
from .sprites import SIZES, Sprites

FACTOR = 8
THUMB = SIDE // FACTOR


def shrink(picture: Image, factor: int = FACTOR) -> Image:
    """Averages blocks: (..., h, w, c) uint8 -> (..., h / factor, w / factor, c) uint8."""
    *rest, h, w, c = picture.shape
    blocks = picture.reshape(*rest, h // factor, factor, w // factor, factor, c)
    out: Image = np.rint(blocks.mean((-4, -2))).astype(np.uint8)
    return out


class Thumbs:
    """Everything at an eighth of the size, in memory."""

    def __init__(self, sprites: Sprites) -> None:
        self.rgba: dict[str, Image] = {}
        for size, side in SIZES.items():
            source = sprites.rgba[size]
            out = np.empty((*source.shape[:2], side // FACTOR, side // FACTOR, 4), np.uint8)
            for row in range(len(source)):
                out[row] = shrink(np.asarray(source[row]))
            self.rgba[size] = out
        self.grounds = [[shrink(draw(b.name, v)) for v in range(VARIANTS)] for b in BACKGROUNDS]
        self.front = [None if b.front is None else behind(b.front)[::FACTOR, ::FACTOR] for b in BACKGROUNDS]

    def render(self, scene: Scene, rng: np.random.Generator | None = None) -> Image:
        """(64, 64, 3) uint8. With `rng` the object is moved off the grid a little, and sometimes mirrored."""
        out = self.grounds[scene.background][scene.variant].copy()
        sprite = self.rgba[scene.size][scene.thing, scene.colour]
        side = len(sprite)
        x, y = scene.column * CELL // FACTOR, scene.row * CELL // FACTOR
        if rng is not None:
            x = min(max(x + int(rng.integers(-3, 4)), 0), THUMB - side)
            y = min(max(y + int(rng.integers(-3, 4)), 0), THUMB - side)
            if rng.random() < 0.2:
                sprite = sprite[:, ::-1]
        front = self.front[scene.background]
        if front is not None:
            sprite = (sprite * front[y : y + side, x : x + side] // 255).astype(np.uint8)
        view = out[y : y + side, x : x + side]
        rest = view.astype(np.uint16) * (255 - sprite[..., 3:].astype(np.uint16)) + 127
        view[...] = np.minimum(sprite[..., :3] + rest // 255, 255).astype(np.uint8)
        return out
