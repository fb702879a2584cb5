"""The port of every watermark codec, and the values that cross it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..identity import AssetId

RGB = NDArray[np.uint8]  # (height, width, 3), 0..255, sRGB

PUBLISHED_KEY = b"filigrana: the published detection key, version 1"
"""Everybody's verifier reads everybody's mark with this key; so a mark alone proves nothing until it resolves."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """How a copy lies on the original, as far as the codec can tell: scale 1, no turn, no flip by default."""

    scale: float = 1.0
    rotation_degrees: float = 0.0
    flipped: bool = False


@dataclass(frozen=True, slots=True)
class Detection:
    """``asset_id`` is None when no mark was found. ``p_value``: the chance that unmarked media gives this result,
    over all tries of the search. ``frames``: how many frames were summed. ``seconds``: wall time spent."""

    asset_id: AssetId | None
    score: float
    p_value: float
    geometry: Geometry | None
    seconds: float
    frames: int = 1


class Codec(Protocol):
    """A codec puts one AssetId into a stream of frames and finds it again. A picture is a stream of one frame."""

    @property
    def alg(self) -> str:
        """The name that stands in the manifest's soft binding."""

    def embed(self, frames: Iterable[RGB], asset_id: AssetId) -> Iterator[RGB]:
        """Yields each frame marked, one at a time: memory does not grow with the stream."""

    def detect(self, frames: Iterable[RGB]) -> Detection:
        """Sums evidence over frames until it is enough, and says what it found."""
