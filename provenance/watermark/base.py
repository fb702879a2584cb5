"""The port of every watermark codec, and the values that cross it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..identity import AssetId
from ..media.values import Frame, SoundBlock

RGB = NDArray[np.uint8]  # (height, width, 3), 0..255, sRGB

PUBLISHED_KEY = b"filigrana: the published detection key, version 1"
"""Everybody's verifier reads everybody's mark with this key; so a mark alone proves nothing until it resolves."""


def alg_for(alg: str, key: bytes | None) -> str:
    """The name under which a codec's marks are claimed: with an organisation's key it says which key, so that whoever
    has another one, or none, does not take an unreadable mark for a missing one."""
    return alg if key is None else f"{alg}.k{hashlib.sha256(b'filigrana key id 1' + key).hexdigest()[:8]}"


@dataclass(frozen=True, slots=True)
class Geometry:
    """How a copy lies on the original. ``scale``: px of the copy for a px of the canonical picture, whose shorter side
    is 512 px; ``rotation_degrees``: counter-clockwise, in (-180, 180], after mirroring if ``flipped`` (left to right).
    ``shift``: where the corner of a tile lies in the copy, in canonical px modulo the tile of 128: (x, y).
    ``matrix``: (3, 3) by rows, canonical px (modulo the tile) to px of the copy, perspective included."""

    scale: float = 1.0
    rotation_degrees: float = 0.0
    flipped: bool = False
    shift: tuple[float, float] = (0.0, 0.0)
    matrix: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Timing:
    """What moment of the original a copy shows. ``offset``: seconds of the original, modulo 32 (see `variation`),
    at the copy's time 0; ``tolerance``: seconds that it may be off either way; ``speed``: the copy's over the
    original's, 1 when untouched."""

    offset: float
    tolerance: float
    speed: float = 1.0


@dataclass(frozen=True, slots=True)
class Detection:
    """``asset_id`` is None when no mark was found. ``p_value``: the chance that unmarked media gives this result,
    over all tries of the search. ``frames``: how many frames (or blocks of sound) were summed. ``seconds``: wall
    time spent. ``timing``: for clips and sound, None where the codec cannot tell."""

    asset_id: AssetId | None
    score: float
    p_value: float
    geometry: Geometry | None
    seconds: float
    frames: int = 1
    timing: Timing | None = None


class Codec(Protocol):
    """A codec puts one AssetId into a stream of frames and finds it again. A picture is a stream of one frame."""

    @property
    def alg(self) -> str:
        """The name that stands in the manifest's soft binding."""

    def embed(self, frames: Iterable[Frame], asset_id: AssetId) -> Iterator[Frame]:
        """Yields each frame marked, one at a time: memory does not grow with the stream."""

    def detect(self, frames: Iterable[Frame]) -> Detection:
        """Sums evidence over frames until it is enough, and says what it found."""


class SoundCodec(Protocol):
    """A codec that puts one AssetId into a stream of sound and finds it again."""

    @property
    def alg(self) -> str:
        """The name that stands in the manifest's soft binding."""

    def embed(self, blocks: Iterable[SoundBlock], asset_id: AssetId) -> Iterator[SoundBlock]:
        """Yields the sound marked, as many samples as came in: memory does not grow with the stream."""

    def detect(self, blocks: Iterable[SoundBlock]) -> Detection:
        """Sums evidence until it is enough, and says what it found, with its `Timing`."""


__all__ = [
    "PUBLISHED_KEY",
    "RGB",
    "Codec",
    "Detection",
    "Geometry",
    "SoundBlock",
    "SoundCodec",
    "Timing",
    "alg_for",
]
