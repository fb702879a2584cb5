"""Frame guard `copies`: is this one of the protected works of the register, or a part of one?

The register is searched in two steps, so that its size hardly matters: global hashes and an index over pieces of the
local points name a few candidates, and only these are compared. An empty register answers 0 without looking.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..decision import ModelRef
from .prints import _NEAR, VERSION, Print, fingerprint, hash_distance, likeness, turned

_CANDIDATES = 8
_PIECES = 16  # of the 256 bits of a point: those that agree in one piece meet in the index


@dataclass(frozen=True)
class Work:
    """One registered work. ``prints``: of the picture, or of a clip's frames."""

    number: int
    title: str
    owner: str
    reference: str
    prints: tuple[Print, ...]


class CopyIndex:
    """Registered works, to be asked. ``digest``: sha256 (hex) of all of them, for the proof what was compared with."""

    def __init__(self, works: Sequence[Work], digest: str) -> None:
        self.digest = digest
        self._owners = [(work, each) for work in works for each in work.prints]
        self._hashes = np.concatenate([p.hashes for _, p in self._owners]) if self._owners else None
        self._tables = self._indexed() if len(self._owners) > _CANDIDATES else []

    def __len__(self) -> int:
        return len(self._owners)

    def nearest(self, frame: NDArray[np.uint8]) -> tuple[float, Work | None]:
        """The likeness in [0, 1] of the most similar work, and that work."""
        if not self._owners:
            return 0.0, None
        asked = fingerprint(frame)
        best: tuple[float, Work | None] = (0.0, None)
        for number in self._candidates(asked):
            work, known = self._owners[number]
            score = likeness(asked, known)
            if score > best[0]:
                best = (score, work)
            if score == 1.0:
                break
        return best

    def _candidates(self, asked: Print) -> list[int]:
        if not self._tables:
            return list(range(len(self._owners)))
        assert self._hashes is not None  # noqa: S101  there are works
        crops = len(self._hashes) // len(self._owners)
        near = hash_distance(turned(asked), self._hashes).min(axis=0).reshape(-1, crops).min(axis=1)
        chosen = [int(n) for n in np.argsort(near, kind="stable")[:_CANDIDATES] if near[n] <= _NEAR]
        for bits in (asked.bits, asked.mirrored_bits):
            votes = self._votes(bits)
            chosen += [int(n) for n in np.argsort(-votes, kind="stable")[: _CANDIDATES // 2] if votes[n] > 0]
        return list(dict.fromkeys(chosen))

    def _indexed(self) -> list[tuple[NDArray[np.uint16], NDArray[np.int64]]]:
        bits = np.concatenate([known.bits for _, known in self._owners])
        owner = np.repeat(np.arange(len(self._owners)), [len(known.bits) for _, known in self._owners])
        tables = []
        for piece in np.ascontiguousarray(bits).view(np.uint16).T:
            order = np.argsort(piece, kind="stable")
            tables.append((piece[order], owner[order]))
        return tables

    def _votes(self, bits: NDArray[np.uint8]) -> NDArray[np.float64]:
        """How often each print's points meet the asked ones, pieces that many share counting little."""
        votes = np.zeros(len(self._owners))
        for (keys, owners), piece in zip(self._tables, np.ascontiguousarray(bits).view(np.uint16).T, strict=True):
            low, high = np.searchsorted(keys, piece, "left"), np.searchsorted(keys, piece, "right")
            counts = np.where(high - low <= 64, high - low, 0)
            # Of each asked point, all places from its low to its high, one after the other.
            firsts = np.repeat(low - np.concatenate(([0], np.cumsum(counts)[:-1])), counts)
            met = owners[firsts + np.arange(len(firsts))]
            weights = np.repeat(1.0 / np.maximum(1, counts), counts)
            votes += np.bincount(met, weights, minlength=len(votes))
        return votes


class CopyGuard:
    """``load``: gives the register as it is now; what it raises means that a person looks."""

    name = "copies"

    def __init__(self, load: Callable[[], CopyIndex]) -> None:
        self._load = load

    @property
    def model(self) -> ModelRef:
        return ModelRef("register", VERSION, self._load().digest)

    def score(self, frame: NDArray[np.uint8]) -> Mapping[str, float]:
        return {"ipv": self._load().nearest(frame)[0]}
