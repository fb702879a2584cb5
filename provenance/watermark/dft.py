"""The DFT codec: a keyed, tiled spread-spectrum mark in pictures and clips that finds its own geometry.

How it works, from the bottom: `payload` (64 bits, CRC-32, convolutional code) -> `lattice` (which frequency of a
128-px tile carries what, and the pilots) -> `canonical` (the picture at 512 px, where the mark may stand out) ->
`embedding` (the tile, informed by the picture; strength) -> `marking` (into frames). Backwards: `tile` (folding,
synchronising, soft values), `geometry` (scale, rotation, aspect, mirror image from the power spectrum), `alignment`
(what is left, by the pilots of every tile), `detecting` (one picture), `clips` (sums over frames).

With the published key (``key=None``) everybody can read, remove and forge a mark: so it proves nothing until it
resolves in a catalog whose preview shows the same content. With a secret key only its holder can read or forge it, and
removing it takes more than subtraction. docs/adr/0008 weighs the two.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator

import numpy as np

from ..identity import AssetId
from ..media.values import Frame
from . import payload
from .base import Detection, Geometry, alg_for
from .canonical import SHORT_SIDE
from .clips import detect_clip
from .detecting import STAGES, Hit, View, search, view, whole
from .lattice import SIDE, lattice
from .marking import MIN_SIDE, mark_frames
from .variation import first_variant

ALG = "org.filigrana.dft.1"
FLOOR = 10.2
"""A decode counts only above this score. It adds a factor to the CRC's bound: see `p_value`."""
_NULL_MODE, _NULL_SCALE = 10.045, 0.13
"""Gumbel distribution of the score of one decode of unmarked pictures: the decoder takes the best of 2^96 words, so its
score is a maximum. Fitted to benchmarks/watermark_null.py; the bench draws the quantiles."""
_LARGE = 2 * SHORT_SIDE


class Dft:
    """Codec port. ``key``: None for the published detection key, else an organisation's secret."""

    def __init__(self, key: bytes | None = None) -> None:
        self.alg = alg_for(ALG, key)
        self._key = key
        self._lattice = lattice(key)

    def embed(self, frames: Iterable[Frame], asset_id: AssetId) -> Iterator[Frame]:
        symbols = payload.encode(payload.pack(asset_id))
        return mark_frames(self._lattice, symbols, frames, first_variant(asset_id, self._key))

    def detect(self, frames: Iterable[Frame]) -> Detection:
        """A picture is searched over every geometry; of a clip as many frames are read as it takes."""
        started = time.perf_counter()
        stream = iter(frames)
        head = list(itertools.islice(stream, 2))
        if not head or min(head[0].rgb.shape[:2]) < 32:
            return Detection(None, 0.0, 1.0, None, time.perf_counter() - started, frames=len(head))
        if len(head) == 1:
            hit = self._picture(head[0])
            return _detection(hit, 1, started, None)
        hit, count, timing = detect_clip(self._lattice, self._key, itertools.chain(head, stream), FLOOR)
        return _detection(hit, count, started, timing)

    def _picture(self, frame: Frame) -> Hit:
        seen = view(frame.rgb)
        best = whole(self._lattice, seen, FLOOR)
        if best.found(FLOOR):
            return best
        views: list[tuple[View, tuple[str, ...]]] = [(seen, STAGES)]
        if min(frame.rgb.shape[:2]) > SHORT_SIDE * 1.3:
            # A marked picture that is a small part of a large one keeps its high frequencies only at full size.
            views.append((view(frame.rgb, min(_LARGE, min(frame.rgb.shape[:2]))), STAGES[:1]))
        for current, stages in views:
            hit = search(self._lattice, current, FLOOR, best.tries, stages)
            if hit is not None and hit.found(FLOOR):
                return hit
            if hit is not None and hit.decoded.score > best.decoded.score:
                best = hit
        return best


def _detection(hit: Hit, frames: int, started: float, timing: object) -> Detection:
    found = hit.found(FLOOR)
    return Detection(
        asset_id=hit.decoded.asset_id if found else None,
        score=round(hit.decoded.score, 3),
        p_value=p_value(hit.decoded.score, hit.tries, found),
        geometry=_geometry(hit) if found else None,
        seconds=time.perf_counter() - started,
        frames=frames,
        timing=timing if found else None,  # type: ignore[arg-type]
    )


def p_value(score: float, tries: int, passed: bool) -> float:
    """The chance that unmarked media gives such a result in that many decodes.

    Of one decode the score reaches ``score`` with the chance S of a Gumbel tail. For a miss that is all, over the
    tries. For a hit the CRC-32 has to pass by accident as well, and where the score stands out up to `payload.LIST`
    words are asked: the bound is tries x words x 2^-32 x S."""
    tail = float(-np.expm1(-np.exp(-(score - _NULL_MODE) / _NULL_SCALE)))
    if passed:
        words = payload.LIST if score >= payload.ABOVE_NOISE else 1
        return min(1.0, max(tries, 1) * words * 2.0**-32 * tail)
    return float(-np.expm1(max(tries, 1) * np.log1p(-min(tail, 1 - 1e-16))))


def _geometry(hit: Hit) -> Geometry:
    matrix = hit.to_copy / hit.to_copy[2, 2]
    linear = matrix[:2, :2]
    flipped = bool(np.linalg.det(linear) < 0)
    upright = linear @ np.diag([-1.0, 1.0]) if flipped else linear
    angle = -np.degrees(np.arctan2(upright[1, 0] - upright[0, 1], upright[0, 0] + upright[1, 1]))
    corner = np.linalg.inv(matrix) @ np.array([0.0, 0.0, 1.0])
    shift = (-corner[:2] / corner[2]) % SIDE
    return Geometry(
        scale=round(float(np.sqrt(abs(np.linalg.det(linear)))), 5),
        rotation_degrees=round(float(angle), 3) + 0.0,
        flipped=flipped,
        shift=(round(float(shift[0]), 2), round(float(shift[1]), 2)),
        matrix=tuple(float(v) for v in matrix.ravel()),
    )


__all__ = ["ALG", "FLOOR", "MIN_SIDE", "Dft", "p_value"]
