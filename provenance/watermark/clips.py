"""Looking for the DFT mark in a clip: folded tiles are summed over frames until they are enough.

The variant changes every two seconds, so frames are summed in groups of a tenth of a second. What one frame cannot tell
about its variant, all together can: variants follow each other in a known order, so the pilots of all frames vote for
one timeline (the first variant, and when it changes). The timeline that wins says which variant to read in each group
and, once the id is known, which moment of the original the clip begins with.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..media.values import Frame
from . import payload
from .alignment import Homography, centred, lay
from .base import Timing
from .detecting import Hit, View, nothing, view, whole
from .geometry import ASPECTS, Spectrum2D, coarse, power_spectrum, refine
from .lattice import SIDE, Lattice
from .tile import Folded, Sync, fold, soft_values, synchronise
from .variation import CYCLE, EPOCH, VARIANTS, first_variant

_GROUP = 0.1
_TOGETHER = 5
"""Groups that may lie alike even when an encoder carries the mark along: half a second."""
_SPACING = 0.095
"""Seconds between frames that are looked at: neighbours show nearly the same."""
_MAX_FRAMES = 110
_MAX_READ = 1800
_KEPT = 10
_PHASES = np.arange(0.0, float(EPOCH), 0.05)
_FLAT = 1.5
"""Standard deviation in grey levels under which a frame (black, a fade) says nothing."""


@dataclass
class _Sum:
    """Sums under one geometry. ``to_plane``: None when the frames are whole and upright. ``votes``: (16,) z of each
    variant, a frame; ``groups``: by half second."""

    to_plane: Homography | None
    shift: tuple[float, float] = (0.0, 0.0)
    times: list[float] = field(default_factory=list)
    votes: list[NDArray[np.float64]] = field(default_factory=list)
    groups: dict[int, Folded] = field(default_factory=dict)

    def add(self, lattice: Lattice, seen: View, time: float) -> None:
        folded = fold(seen.plane) if self.to_plane is None else lay(lattice, seen.plane, self.to_plane).folded
        self.times.append(time)
        self.votes.append(_votes(lattice, folded, self.shift))
        key = int(time / _GROUP)
        self.groups[key] = self.groups[key] + folded if key in self.groups else folded


def _votes(lattice: Lattice, folded: Folded, shift: tuple[float, float]) -> NDArray[np.float64]:
    pilots = lattice.pilots(folded.spectrum)
    turn = np.exp(2j * np.pi / SIDE * (lattice.pilot_k * shift[0] + lattice.pilot_l * shift[1]))
    noise = np.median(np.abs(folded.spectrum[lattice.k, lattice.l])) / SIDE + 1e-12
    limited = pilots / np.maximum(np.abs(pilots), noise) * turn
    phasors = np.stack([v.phasors.conj() for v in lattice.variants])
    return np.asarray((phasors @ limited).real / np.sqrt(len(pilots) / 2), np.float64)


@dataclass(frozen=True, slots=True)
class _Timeline:
    """``first``: the variant at the clip's time 0; it changes at ``EPOCH - phase`` and then every epoch."""

    first: int
    phase: float

    def variant(self, time: float) -> int:
        return (self.first + int((time + self.phase) // float(EPOCH))) % VARIANTS


def _timelines(total: _Sum) -> tuple[NDArray[np.float64], list[int]]:
    """(16, 40) the sum of votes for each first variant and phase."""
    times, votes = np.asarray(total.times), np.stack(total.votes)
    scores = np.zeros((VARIANTS, len(_PHASES)))
    rows = np.arange(len(times))
    for column, phase in enumerate(_PHASES):
        steps = ((times + phase) // float(EPOCH)).astype(int)
        for first in range(VARIANTS):
            scores[first, column] = votes[rows, (first + steps) % VARIANTS].sum()
    best = np.argsort(-scores.max(axis=1))[:2]
    return scores, [int(b) for b in best]


def _read(lattice: Lattice, total: _Sum, floor: float, tries: int) -> Hit:
    """Decodes the sum along the two best timelines, and as if the variant never changed: an encoder that skips a
    still picture keeps what its first frame showed."""
    scores, firsts = _timelines(total)
    best: Hit | None = None
    plans = [_Timeline(f, float(_PHASES[scores[f].argmax()])) for f in firsts]
    still = np.stack(total.votes).sum(axis=0)
    for plan in [*plans, None]:
        chosen: dict[int, Folded] = {}
        for key, folded in total.groups.items():
            variant = int(still.argmax()) if plan is None else plan.variant((key + 0.5) * _GROUP)
            chosen[variant] = chosen[variant] + folded if variant in chosen else folded
        soft = np.zeros(payload.CODED_BITS)
        sync = Sync(0.0, total.shift, 0)
        for variant, folded in chosen.items():
            sync = Sync(0.0, total.shift, variant)
            soft = soft + soft_values(lattice, folded, sync)
        tries += 1
        hit = Hit(payload.decode(soft), soft, sync, np.eye(3), tries)
        if hit.found(floor):
            return hit
        if best is None or hit.decoded.score > best.decoded.score:
            best = hit
    for together in (_TOGETHER, 1):
        drifted = _drifting(lattice, total, together, tries)
        if drifted is None:
            continue
        tries = drifted.tries
        if drifted.found(floor):
            return drifted
        if best is None or drifted.decoded.score > best.decoded.score:
            best = drifted
    assert best is not None  # noqa: S101 - three plans
    return Hit(best.decoded, best.soft, best.sync, best.to_copy, tries)


_CREDIBLE = 5.2
_STRETCHES = 30


def _drifting(lattice: Lattice, total: _Sum, together: int, tries: int) -> Hit | None:
    """Lets every stretch of groups lie where its own pilots say: an encoder short of bits carries a mark along with a
    panning picture."""
    stretches: dict[int, Folded] = {}
    for key, folded in total.groups.items():
        at = key // together
        stretches[at] = stretches[at] + folded if at in stretches else folded
    soft, used = np.zeros(payload.CODED_BITS), None
    for folded in list(stretches.values())[:_STRETCHES]:
        sync = synchronise(lattice, folded.spectrum)[0]
        if sync.z >= _CREDIBLE:
            soft, used = soft + soft_values(lattice, folded, sync), sync
    return None if used is None else Hit(payload.decode(soft), soft, used, np.eye(3), tries + 1)


def detect_clip(
    lattice: Lattice, key: bytes | None, frames: Iterable[Frame], floor: float
) -> tuple[Hit, int, Timing | None]:
    """The best hit, how many frames were looked at, and the timing where the mark was found."""
    total = _Sum(None)
    kept: list[tuple[View, float]] = []
    power: Spectrum2D | None = None
    hit: Hit | None = None
    found = False
    looked, tries, last, start, enough = 0, 0, -1.0, 0.0, float("inf")
    for read, frame in enumerate(frames):
        if read == 0:
            start = float(frame.time)
        time = float(frame.time) - start
        if (looked and time - last < _SPACING) or float(frame.rgb[::8, ::8].std()) < _FLAT:
            if read >= _MAX_READ:
                break
            continue
        last, looked = time, looked + 1
        seen = view(frame.rgb)
        if hit is None:
            hit = whole(lattice, seen, floor)
            tries = hit.tries
            if hit.found(floor):
                found, total = True, _along(hit, seen)
        total.add(lattice, seen, time)
        if not found:
            if len(kept) < _KEPT:
                kept.append((seen, time))
                power = _add_power(power, power_spectrum(seen.plane))
            if looked in (2, 4, 8) or looked % 10 == 0:
                hit = _better(hit, _read(lattice, total, floor, tries))
                tries, found = hit.tries, hit.found(floor)
                if found:
                    hit = _placed(hit, total, seen)
            if not found and looked == _KEPT and power is not None:
                hit, other = _elsewhere(lattice, kept, power, floor, hit)
                tries, found = hit.tries, hit.found(floor)
                total = other or total
            if found:
                enough = time + float(EPOCH) + 0.2
        elif enough == float("inf"):
            enough = float(EPOCH) + 0.2
        if (found and time >= enough) or looked >= _MAX_FRAMES or read >= _MAX_READ:
            break
    if hit is None:
        return nothing(), 0, None
    if not found and looked > 1:
        hit = _better(hit, _read(lattice, total, floor, tries))
        if hit.found(floor):
            found, hit = True, _placed(hit, total, kept[0][0])
        elif looked < _KEPT and power is not None:
            hit, other = _elsewhere(lattice, kept, power, floor, hit)
            found, total = hit.found(floor), other or total
    return hit, looked, _timing(hit, total, key) if found else None


def _better(hit: Hit, other: Hit) -> Hit:
    best = other if other.decoded.score > hit.decoded.score or other.decoded.asset_id is not None else hit
    return Hit(best.decoded, best.soft, best.sync, best.to_copy, other.tries)


def _placed(hit: Hit, total: _Sum, seen: View) -> Hit:
    shift = np.array([[1.0, 0.0, total.shift[1]], [0.0, 1.0, total.shift[0]], [0.0, 0.0, 1.0]])
    to_plane = np.eye(3) if total.to_plane is None else total.to_plane
    return Hit(hit.decoded, hit.soft, hit.sync, seen.homography(to_plane @ shift), hit.tries)


def _along(hit: Hit, seen: View) -> _Sum:
    """A sum under the geometry of a picture that was found."""
    to_plane = np.asarray(np.diag([seen.scale, seen.scale, 1.0]) @ hit.to_copy, np.float64)
    if np.allclose(to_plane[:2, :2], np.eye(2), atol=1e-6):
        return _Sum(None, hit.sync.shift)
    # Tiles then lie unshifted; `lay` cuts off what is left of the origin, so it is moved by whole tiles.
    height, width = seen.plane.shape
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]], np.float64).T
    back = np.linalg.inv(to_plane) @ corners
    origin = np.floor((back[:2] / back[2]).min(axis=1) / SIDE) * SIDE
    return _Sum(to_plane @ np.array([[1, 0, origin[0]], [0, 1, origin[1]], [0, 0, 1.0]]))


def _add_power(total: Spectrum2D | None, more: Spectrum2D) -> Spectrum2D:
    return more if total is None else Spectrum2D(total.power + more.power)


def _elsewhere(
    lattice: Lattice, kept: list[tuple[View, float]], power: Spectrum2D, floor: float, hit: Hit
) -> tuple[Hit, _Sum | None]:
    """Searches every geometry on the sum of the first frames' power spectra."""
    scaled = Spectrum2D(power.power / np.float32(np.sqrt(len(kept))))
    best, found = hit, None
    shape = (kept[0][0].plane.shape[0], kept[0][0].plane.shape[1])
    for candidate in refine(lattice, scaled, coarse(lattice, scaled, ASPECTS, 16))[:3]:
        first = lay(lattice, kept[0][0].plane, centred(candidate.linear, shape), either_way=True)
        aligned = [lay(lattice, v.plane, first.to_copy) for v, _ in kept]
        strongest = max(aligned, key=lambda a: a.sync.z)
        total = _Sum(first.to_copy, strongest.sync.shift)
        for (_, time), one in zip(kept, aligned, strict=True):
            total.times.append(time)
            total.votes.append(_votes(lattice, one.folded, total.shift))
            group = int(time / _GROUP)
            total.groups[group] = total.groups[group] + one.folded if group in total.groups else one.folded
        read = _read(lattice, total, floor, best.tries)
        if read.found(floor):
            return _placed(read, total, kept[0][0]), total
        best = _better(best, read)
    return best, found


def _timing(hit: Hit, total: _Sum, key: bytes | None) -> Timing | None:
    """Which moment of the original the clip begins with: the phases that the votes cannot tell apart, and their
    middle."""
    if hit.decoded.asset_id is None or not total.votes:
        return None
    scores, firsts = _timelines(total)
    first = firsts[0]
    row = scores[first]
    good = np.flatnonzero(row >= row.max() - 0.5 * np.stack(total.votes).max(axis=1).mean())
    span = good[(good >= 0)]
    low, high = float(_PHASES[span.min()]), float(_PHASES[span.max()]) + 0.05
    epoch = (first - first_variant(hit.decoded.asset_id, key)) % VARIANTS
    offset = (epoch * float(EPOCH) + (low + high) / 2) % float(CYCLE)
    return Timing(round(offset, 3), round((high - low) / 2 + 0.05, 3))
