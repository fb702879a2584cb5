"""A shot taken apart: the layers that it is composed of, as the layer autoencoder learns them.

A layer is a premultiplied RGBA picture. Sprites and covers are squares of SPRITE pixels, backdrops of PLATE pixels
(the picture and a margin of a quarter on every side, which the camera may look into).
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from filigrana.pipeline.generators.embedded.compose import Image

from .atlas import FINE, Atlas
from .colours import OWN
from .concepts import STYLES, concepts
from .film import RIM, cover_levels
from .motions import COVER_HIGH, COVER_WIDE
from .settings import MARGIN, SETTINGS, VARIANTS, draw_setting
from .shots import COVERS

SPRITE = FINE
PLATE = 768
SIDE = round(PLATE / (1 + 2 * MARGIN))
"""Picture side at which a plate's pixels are shown one to one: 512."""


def sprite(atlas: Atlas, concept: int, style: int, colour: int) -> Image:
    """(SPRITE, SPRITE, 4) uint8, premultiplied; `atlas` holds sprites of SPRITE pixels."""
    return atlas.levels(concept, style, colour)[0]


@cache
def cover(name: str) -> Image:
    """What things hide behind, its rim cut to a square of its longer side: (SPRITE, SPRITE, 4) uint8."""
    picture = cover_levels(name)[0]
    wide = round(SPRITE * COVER_WIDE / COVER_HIGH)
    squeezed = cv2.resize(picture, (wide, SPRITE), interpolation=cv2.INTER_AREA)
    out = np.zeros((SPRITE, SPRITE, 4), np.uint8)
    left = (SPRITE - wide) // 2
    out[:, left : left + wide] = squeezed
    return out


COVER_SIDE = COVER_HIGH * 256 / (256 - 2 * RIM)
"""Side of a cover's square in picture widths."""


def plate(setting: int, seed: int) -> Image:
    """The backdrop of a shot with this seed: (PLATE, PLATE, 4) uint8, opaque."""
    rgb = draw_setting(setting, seed % VARIANTS, SIDE)
    return np.dstack((rgb, np.full(rgb.shape[:2], 255, np.uint8)))


SpriteKey = tuple[int, int]
"""Concept and style of a sprite; a cover has the concept -1 - its number."""


def any_sprite(rng: np.random.Generator) -> SpriteKey:
    """A sprite in its own colours, or now and then a cover, drawn evenly among all."""
    if rng.random() < 0.01:
        return -1 - int(rng.integers(len(COVERS))), 0
    return int(rng.integers(len(concepts()))), int(rng.integers(len(STYLES)))


def draw_sprite(atlas: Atlas, key: SpriteKey) -> Image:
    """The sprite or cover of this key: (SPRITE, SPRITE, 4) uint8, premultiplied."""
    return cover(COVERS[-1 - key[0]]) if key[0] < 0 else sprite(atlas, *key, OWN)


def any_plate(rng: np.random.Generator) -> Image:
    """A backdrop; those composed of parts twice as often."""
    weights = np.asarray([2.0 if setting.parts else 1.0 for setting in SETTINGS])
    return plate(int(rng.choice(len(SETTINGS), p=weights / weights.sum())), int(rng.integers(VARIANTS)))
