"""The keyed layout of the DFT codec: which frequency of the tile carries what. Pure.

A tile is T x T px of the canonical picture (shorter side 512 px) and repeats. Its discrete Fourier transform has
points (k, l), k rows and l columns, in cycles a tile; since the tile is real, half of the plane is free. Points with a
radius of 4.5 to 30 cycles a tile (periods of 28 to 4.3 canonical px) are used: below lies the picture's own energy,
above lies what scaling and compression remove.

- 64 of them are *pilots*, spread evenly over angle and radius: their places are the same in every variant, so that a
  power spectrum shows scale, rotation and aspect without knowing anything else; their phases are keyed by variant and
  give the shift.
- The others are *data*: real and imaginary part are one value each. Sorted by radius, each run of 416 values holds
  every coded bit once, in keyed order with keyed signs, so that whatever frequencies an attack leaves carry the
  whole payload.

Random numbers come from SHAKE-256 alone, so that no library's generator is part of the format.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from . import payload
from .base import PUBLISHED_KEY
from .variation import VARIANTS

SIDE = 128
"""T: canonical px of a tile's side."""
RADIUS_MIN, RADIUS_MAX = 4.5, 30.0
PILOTS = 64
_PILOT_RADIUS = (6.0, 26.0)
_LABEL = b"filigrana dft 1"

Points = NDArray[np.intp]
Reals = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Variant:
    """``phasors``: (64,) complex64, the pilots' unit values. ``index``: (n,) which of the 416 coded bits each data
    value carries. ``sign``: (n,) +-1."""

    phasors: NDArray[np.complex64]
    index: Points
    sign: Reals


@dataclass(frozen=True, slots=True, eq=False)
class Lattice:
    """``k``, ``l``: (m,) rows and columns of the data points in [-64, 64) and [0, 64), by rising ``radius``;
    ``value_radius``: (2 m,) of each data value (real and imaginary part in turn). ``pilot_*``: (64,)."""

    k: Points
    l: Points  # noqa: E741 - the usual names of a lattice point
    radius: Reals
    value_radius: Reals
    pilot_k: Points
    pilot_l: Points
    pilot_radius: Reals
    variants: tuple[Variant, ...]

    def values(self, tile_spectrum: NDArray[np.complex64]) -> Reals:
        """(2 m,) the data values of a tile's rfft2 spectrum (128, 65) over T."""
        z = tile_spectrum[self.k, self.l] / SIDE
        return np.stack([z.real, z.imag], axis=1).reshape(-1).astype(np.float32)

    def pilots(self, tile_spectrum: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """(64,) the pilots of a tile's rfft2 spectrum over T."""
        return np.asarray(tile_spectrum[self.pilot_k, self.pilot_l] / SIDE, np.complex64)


def _stream(key: bytes, label: str, count: int) -> NDArray[np.uint64]:
    digest = hashlib.shake_256(_LABEL + b"\0" + label.encode() + b"\0" + key).digest(8 * count)
    return np.frombuffer(digest, "<u8").astype(np.uint64)


def _permutation(key: bytes, label: str, count: int) -> Points:
    return np.argsort(_stream(key, label, count), kind="stable").astype(np.intp)


@cache
def lattice(key: bytes | None = None) -> Lattice:
    """The layout of a key; None is the published detection key."""
    secret = PUBLISHED_KEY if key is None else key
    half = SIDE // 2
    k, l = (a.ravel() for a in np.meshgrid(np.arange(-half, half), np.arange(half), indexing="ij"))  # noqa: E741
    radius = np.hypot(k, l)
    free = (radius >= RADIUS_MIN) & (radius <= RADIUS_MAX) & ((l > 0) | (k > 0))
    order = np.argsort(radius[free], kind="stable")
    k, l, radius = k[free][order], l[free][order], radius[free][order]  # noqa: E741
    pilot = _choose_pilots(secret, k, l, radius)
    data = np.ones(len(k), bool)
    data[pilot] = False
    count = 2 * int(data.sum())
    runs = -(-count // payload.CODED_BITS)
    variants = []
    for v in range(VARIANTS):
        index = np.concatenate([_permutation(secret, f"bits {v} {run}", payload.CODED_BITS) for run in range(runs)])
        sign = 1.0 - 2.0 * (_stream(secret, f"signs {v}", count) & np.uint64(1)).astype(np.float32)
        phase = _stream(secret, f"pilots {v}", PILOTS).astype(np.float64) * (2 * np.pi / 2.0**64)
        variants.append(Variant(np.exp(1j * phase).astype(np.complex64), index[:count], sign.astype(np.float32)))
    return Lattice(
        k[data],
        l[data],
        radius[data].astype(np.float32),
        np.repeat(radius[data], 2).astype(np.float32),
        k[pilot],
        l[pilot],
        radius[pilot].astype(np.float32),
        tuple(variants),
    )


def _choose_pilots(key: bytes, k: Points, l: Points, radius: NDArray[np.float64]) -> Points:  # noqa: E741
    """One pilot a sector of angle, its radius drawn evenly from rings in keyed order, none beside another."""
    angle = np.arctan2(k, l)
    rings = np.linspace(*_PILOT_RADIUS, PILOTS)[_permutation(key, "pilot rings", PILOTS)]
    here = np.flatnonzero((radius >= _PILOT_RADIUS[0]) & (radius <= _PILOT_RADIUS[1]))
    chosen: list[int] = []
    for s in range(PILOTS):
        turn = angle[here] + np.pi / 2 - (s + 0.5) * np.pi / PILOTS
        away = np.abs((turn + np.pi / 2) % np.pi - np.pi / 2) * radius[here]
        cost = np.abs(radius[here] - rings[s]) + away
        for other in chosen:
            near = np.maximum(np.abs(k[here] - k[other]), np.abs(l[here] - l[other])) <= 1
            cost = cost + np.where(near, 100.0, 0.0)
        chosen.append(int(here[np.argmin(cost)]))
    return np.asarray(sorted(chosen), np.intp)
