"""Which of all real sprites a drawn one is most like: a judge that needs no training, of layers instead of pixels.

Every sprite of the world, 6,018 of them, is made small and held against the drawn one, made small, too. On real
sprites it is never wrong; so what it says of drawn ones is theirs alone. It looks at a layer, before it is put into the
picture: whether a small thing in a large picture can be recognised is for `shot_judge.py`.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .world.atlas import Atlas
from .world.colours import OWN
from .world.concepts import STYLES, concepts

SMALL = 24


def shrunk(sprite: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A premultiplied sprite (h, w, 4) as a vector: red, green, blue and how much is covered, averaged."""
    small = cv2.resize(sprite, (SMALL, SMALL), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32).ravel() / 255


class SpriteJudge:
    """All sprites of `atlas` in all colours."""

    def __init__(self, atlas: Atlas) -> None:
        self.keys = [
            (concept, style, colour)
            for concept in range(len(concepts()))
            for style in range(len(STYLES))
            for colour in range(OWN + 1)
        ]
        self.vectors = np.stack([shrunk(atlas.levels(*key)[0]) for key in self.keys])
        self._squares = np.square(self.vectors).sum(1)

    def nearest(self, sprite: NDArray[np.uint8]) -> tuple[int, int, int]:
        """Concept, style and colour of the most similar real sprite (least squared difference)."""
        return self.keys[int((self._squares - 2 * self.vectors @ shrunk(sprite)).argmin())]
