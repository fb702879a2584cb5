"""Looking for the DFT mark in one picture: first as if nothing had happened, then over every geometry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import payload
from .alignment import Aligned, Homography, bend, centred, lay
from .base import RGB
from .canonical import SHORT_SIDE, Plane, canonical_size, luma, resize, whiten
from .geometry import ASPECTS, Candidate, coarse, power_spectrum, refine, tilted, tilting
from .lattice import Lattice
from .tile import Folded, Sync, fold, soft_values, synchronise

_PROMISING = 4.6
"""z of a synchronisation that is worth decoding; noise alone gives up to 5."""
_HOPELESS = 4.0
"""z that is not worth bending the grid for."""
_LONG = 3
"""Only so many short sides of a very long picture are looked at."""


@dataclass(frozen=True, slots=True)
class Hit:
    """What one try gave. ``to_copy``: (3, 3), canonical px (modulo the tile) to px of the copy. ``tries``: payloads
    that were decoded so far in this picture."""

    decoded: payload.Decoded
    soft: payload.Soft
    sync: Sync
    to_copy: Homography
    tries: int

    def found(self, floor: float) -> bool:
        return self.decoded.asset_id is not None and self.decoded.score >= floor


def nothing() -> Hit:
    """What is said of no frame at all."""
    empty = payload.Decoded(None, 0, 0.0)
    return Hit(empty, np.zeros(payload.CODED_BITS), Sync(0.0, (0.0, 0.0), 0), np.eye(3), 0)


@dataclass(frozen=True, slots=True)
class View:
    """A copy as the detector sees it. ``plane``: (h, w) whitened luma; ``scale``: its px over the copy's."""

    plane: Plane
    scale: float

    def homography(self, to_plane: Homography) -> Homography:
        """From canonical -> plane to canonical -> copy."""
        shrink = np.diag([1 / self.scale, 1 / self.scale, 1.0])
        return np.asarray(shrink @ to_plane, np.float64)


def view(rgb: RGB, short_side: int = SHORT_SIDE) -> View:
    """The whitened luma with that shorter side; the middle of a very long picture."""
    plane = luma(rgb)
    size = canonical_size(plane.shape[0], plane.shape[1], short_side)
    small = resize(plane, size)
    longest = _LONG * short_side
    if max(size) > longest:
        height, width = min(size[0], longest), min(size[1], longest)
        small = np.ascontiguousarray(small[:height, :width])
    return View(whiten(small)[0], size[0] / rgb.shape[0])


_TURNS: tuple[tuple[int, bool], ...] = tuple((turn, mirrored) for mirrored in (False, True) for turn in range(4))


def _oriented(plane: Plane, turn: int, mirrored: bool) -> Plane:
    return np.ascontiguousarray(np.rot90(plane[:, ::-1] if mirrored else plane, turn))


def _orientation(shape: tuple[int, int], turn: int, mirrored: bool) -> Homography:
    """(3, 3): from px of the oriented plane to px of the plane of that (h, w)."""
    height, width = shape
    out = np.eye(3)
    h, w = height, width
    for _ in range(turn):
        # np.rot90 turns left: the oriented (x, y) was at (w - y, x), before this turn of a plane that is w wide.
        out = out @ np.array([[0.0, -1.0, w], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
        h, w = w, h
    if mirrored:
        out = np.array([[-1.0, 0.0, width], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]) @ out
    return out


def decode(lattice: Lattice, folded: Folded, sync: Sync) -> tuple[payload.Decoded, payload.Soft]:
    soft = soft_values(lattice, folded, sync)
    return payload.decode(soft), soft


def whole(lattice: Lattice, seen: View, floor: float, *, all_turns: bool = True) -> Hit:
    """As if the copy were the whole picture at any size, upright; then turned by quarters and mirrored."""
    best: Hit | None = None
    tries = 0
    for turn, mirrored in _TURNS if all_turns else _TURNS[:1]:
        plane = seen.plane if (turn, mirrored) == (0, False) else _oriented(seen.plane, turn, mirrored)
        folded = fold(plane)
        sync = synchronise(lattice, folded.spectrum)[0]
        if best is not None and sync.z < _PROMISING:
            continue
        decoded, soft = decode(lattice, folded, sync)
        tries += 1
        shape = (seen.plane.shape[0], seen.plane.shape[1])
        to_copy = seen.homography(_orientation(shape, turn, mirrored) @ _shifted(sync))
        hit = Hit(decoded, soft, sync, to_copy, tries)
        if hit.found(floor):
            return hit
        if best is None or decoded.score > best.decoded.score:
            best = hit
    assert best is not None  # noqa: S101 - the first turn is always decoded
    return Hit(best.decoded, best.soft, best.sync, best.to_copy, tries)


def _shifted(sync: Sync) -> Homography:
    """From canonical px to px of a plane in which the tiles lie shifted."""
    return np.array([[1.0, 0.0, sync.shift[1]], [0.0, 1.0, sync.shift[0]], [0.0, 0.0, 1.0]])


STAGES = ("upright", "squeezed", "tilted")


def search(lattice: Lattice, seen: View, floor: float, tries: int = 0, stages: tuple[str, ...] = STAGES) -> Hit | None:
    """Over every scale, angle and mirror image; then over aspects, and then over perspective, which takes longest."""
    spectrum = power_spectrum(seen.plane)
    best: Hit | None = None
    for stage in stages:
        if stage == "tilted":
            candidates = tilted(lattice, seen.plane, 8)
        else:
            aspects = ASPECTS[:1] if stage == "upright" else ASPECTS[1:]
            candidates = refine(lattice, spectrum, coarse(lattice, spectrum, aspects, 12))
        for candidate in _distinct(candidates)[: 4 if stage == "upright" else 3]:
            hit = _try(lattice, seen, candidate, tries)
            if hit is None:
                continue
            tries = hit.tries
            if hit.found(floor):
                return hit
            if best is None or hit.decoded.score > best.decoded.score:
                best = hit
    return None if best is None else Hit(best.decoded, best.soft, best.sync, best.to_copy, tries)


def _distinct(candidates: list[Candidate]) -> list[Candidate]:
    """Those that are not the same map as a better one: within 0.4 % of scale and angle."""
    kept: list[Candidate] = []
    for candidate in candidates:
        size = np.linalg.norm(candidate.frequency)
        if all(np.linalg.norm(candidate.frequency - other.frequency) > 0.004 * size for other in kept):
            kept.append(candidate)
    return kept


def _try(lattice: Lattice, seen: View, candidate: Candidate, tries: int) -> Hit | None:
    shape = (seen.plane.shape[0], seen.plane.shape[1])
    start = tilting(shape, candidate.tilt) @ centred(candidate.linear, shape)
    aligned: Aligned = lay(lattice, seen.plane, start, either_way=True)
    if aligned.sync.z < _HOPELESS and candidate.z < 2 * _HOPELESS:
        return None
    for _ in range(3):
        bent = bend(lattice, seen.plane, aligned)
        better, aligned = bent.sync.z > aligned.sync.z + 0.2, bent
        if not better or aligned.sync.z < _PROMISING:
            break
    if aligned.sync.z < _PROMISING:
        return None
    decoded, soft = decode(lattice, aligned.folded, aligned.sync)
    to_copy = seen.homography(aligned.to_copy @ _shifted(aligned.sync))
    return Hit(decoded, soft, aligned.sync, to_copy, tries + 1)
