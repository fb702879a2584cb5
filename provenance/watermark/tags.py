"""Tags: 32 bits that point into the catalog, for marks too small for a payload. Pure.

A payload names its asset and proves itself by its CRC. A tag does neither: it is a keyed hash of the AssetId, looked up
among the tags of the catalog, and some assets share one. So a tag gives *candidates*; whether the copy shows one of
them is decided by comparing it with the stored preview, never by the tag.

Because a tag is a keyed hash, the tags of N assets are independent and uniform, whatever the picture: a word that a
decoder reads, biased or not, lies within d bits of at least one unrelated asset's tag with a chance of at most
N V(32, d) / 2^32, V(32, d) = sum of C(32, i) for i <= d. That is the bound which `nearest` states. It is a mean over
assets: a decoder that reads the same word in many unmarked pictures gives all of them the same wrong candidate, so a
codec has to say first whether there is a mark at all (its own calibrated null).
"""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol, runtime_checkable

import numpy as np

from ..identity import AssetId
from ..media.values import Frame
from .base import PUBLISHED_KEY

BITS = 32
_SPACE = 1 << BITS
MAX_WRONG_BITS = 2
"""A lookup asks for every tag this near at most: 529 of them at 2, 5,489 at 3."""


def tag_of(asset_id: AssetId, key: bytes | None = None) -> int:
    """The tag of an asset, in [0, 2^32): the first 32 bits of HMAC-SHA-256. ``key``: None for the published key."""
    text = b"filigrana tag 1\0" + str(asset_id).encode()
    digest = hmac.new(PUBLISHED_KEY if key is None else key, text, hashlib.sha256).digest()
    return int.from_bytes(digest[:4], "big")


def tag_text(tag: int) -> str:
    """Eight hexadecimal digits: how a tag stands in a soft binding and in the catalog."""
    return f"{tag:08x}"


@dataclass(frozen=True, slots=True)
class TagDetection:
    """``tag``: None where no mark was found. ``words``: what was read, mark or not, the likelier first: of the picture
    and of itself turned, for a codec that looks at both. ``score``: the codec's own measure of a mark's presence.
    ``p_value``: the chance that unmarked media scores as high; that says nothing yet about *which* asset, see
    `nearest`, nor about a tag that was expected, see `agreement`. ``turned``: ``tag`` is upside down.
    ``seconds``: wall time. ``frames``: how many were averaged."""

    tag: int | None
    words: tuple[int, ...]
    score: float
    p_value: float
    seconds: float
    frames: int = 1
    turned: bool = False


@runtime_checkable
class TagCodec(Protocol):
    """A codec that carries a tag of ``tag_bits`` bits instead of an AssetId."""

    @property
    def alg(self) -> str:
        """The name that stands in the manifest's soft binding."""

    @property
    def tag_bits(self) -> int:
        """How many bits a tag has."""

    def embed(self, frames: Iterable[Frame], tag: int) -> Iterator[Frame]:
        """Yields each frame marked, one at a time."""

    def detect(self, frames: Iterable[Frame]) -> TagDetection:
        """What it reads, and whether that is more than unmarked media gives."""


@dataclass(frozen=True, slots=True)
class Nearest:
    """``indices``: which of the tags lie nearest, all at ``distance`` wrong bits; empty where none is near enough.
    ``chance_matches``: how many of so many unrelated tags are expected as near; ``p_value``: the chance that at least
    one is."""

    indices: tuple[int, ...]
    distance: int
    chance_matches: float
    p_value: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """How what was read fits a tag that was expected. ``wrong``: bits of 32. ``p_value``: the chance that media
    without this mark fits as well: tries x V(32, wrong) / 2^32, exact whatever the decoder's bias, since the tag is a
    keyed hash. ``fits``: at most `MAX_WRONG_BITS` wrong, by chance under 2.5e-7."""

    wrong: int
    p_value: float

    @property
    def fits(self) -> bool:
        return self.wrong <= MAX_WRONG_BITS


def agreement(detection: TagDetection, tag: int) -> Agreement:
    """Whether the mark of an asset that is known already (claimed by a manifest, or just embedded) is there. Works
    below the floor of a blind detection too."""
    if not detection.words:
        return Agreement(BITS, 1.0)
    wrong = min((word ^ tag).bit_count() for word in detection.words)
    return Agreement(wrong, min(1.0, len(detection.words) * volume(wrong) / _SPACE))


def volume(distance: int) -> int:
    """How many words of 32 bits lie within so many bits of one."""
    return sum(math.comb(BITS, i) for i in range(distance + 1))


def chance_matches(count: int, distance: int) -> float:
    """How many of ``count`` unrelated tags are expected within ``distance`` bits of any given word."""
    return count * volume(distance) / _SPACE


def tolerance(count: int, chance: float = 0.01) -> int:
    """How many wrong bits a lookup among ``count`` assets may forgive, at most `MAX_WRONG_BITS`, so that fewer than
    ``chance`` unrelated assets are expected as near: 2 up to 81 thousand assets, 1 up to 1.3 million, else none."""
    return max((d for d in range(1, MAX_WRONG_BITS + 1) if chance_matches(count, d) < chance), default=0)


def nearest(tag: int, tags: Sequence[int], within: int | None = None) -> Nearest:
    """The tags nearest to ``tag``. ``within``: wrong bits forgiven; None for `tolerance` of their number."""
    limit = tolerance(len(tags)) if within is None else within
    if not 0 <= tag < _SPACE or not 0 <= limit <= BITS:
        raise ValueError("a tag has 32 bits, and at most 32 of them are wrong")
    if not len(tags):
        return Nearest((), 0, 0.0, 1.0)
    distances = np.bitwise_count(np.asarray(tags, np.uint32) ^ np.uint32(tag))
    distance = int(distances.min())
    if distance > limit:
        return Nearest((), distance, chance_matches(len(tags), distance), 1.0)
    expected = chance_matches(len(tags), distance)
    indices = tuple(int(i) for i in np.flatnonzero(distances == distance))
    return Nearest(indices, distance, expected, -math.expm1(-expected))


def neighbours(tag: int, within: int) -> Iterator[int]:
    """Every tag at most ``within`` bits away, nearest first: what to ask an index for that knows only equality."""
    for distance in range(within + 1):
        for places in combinations(range(BITS), distance):
            yield tag ^ sum(1 << place for place in places)
