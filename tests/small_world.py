"""A world for tests without a rasteriser or a download: every sprite is a magenta ellipse or box of some shape."""

from __future__ import annotations

import numpy as np

from filigrana.training.world.atlas import BASE, EDGE, Atlas
from filigrana.training.world.concepts import STYLES, concepts, refused
from filigrana.training.world.shots import Shot, sample_shot


def plain_atlas(with_refused: bool = False) -> Atlas:
    """Concept k is an ellipse whose shorter side depends on k; sprites fill their square as real ones do."""
    y, x = np.mgrid[0:BASE, 0:BASE] - (BASE - 1) / 2
    count = len(concepts()) + len(refused()) * with_refused
    base = np.zeros((count, len(STYLES), BASE, BASE, 4), np.uint8)
    radius = BASE / 2 - EDGE
    for k in range(len(base)):
        short = radius * (0.5 + 0.5 * (k % 7) / 6)
        wide, high = (radius, short) if k % 2 else (short, radius)
        base[k, :, (x / wide) ** 2 + (y / high) ** 2 < 1] = (255, 0, 255, 255)
    return Atlas(base)


def draw(atlas: Atlas, seed: int, many: int, media: str = "av", **wanted: str | int) -> list[Shot]:
    """`many` shots whose fields are as wanted, from one seed."""
    rng, found = np.random.default_rng(seed), list[Shot]()
    while len(found) < many:
        shot = sample_shot(rng, atlas, media)
        if all(getattr(shot, name) == value for name, value in wanted.items()):
            found.append(shot)
    return found
