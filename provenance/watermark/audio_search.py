"""Finding the sound mark: where in its pattern, how fast, and what it says.

1. Power spectra every 25 samples; for a speed to try, their bins are summed into bands that are moved by it.
2. Units at each of 32 offsets within a block give phases on the lattice. Correlating them with the keyed pilots, and
   their doubled angle (in which the unknown symbols drop out) with the dither of all units, over the pattern's whole
   cycle is one FFT along time for each band: all 640 x 32 positions at once.
3. The best positions are refined in offset and speed, on everything that was heard.
4. There, the noise is fitted by maximum likelihood to two models (white, or a part of each moment's loudness), which
   gives every unit its log-likelihood ratio; summed over the repetitions they go to the Viterbi decoder.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from . import payload
from .audio_grid import (
    BANDS,
    BLOCK,
    BLOCKS,
    FLOOR,
    PILOTS,
    RATE,
    STEPS,
    WINDOW,
    Pattern,
    Power,
    Signal,
    band_matrix,
    powers,
)
from .audio_noise import fitted, noises

HOP = 25
"""Samples between spectra: 1.6 ms."""
_FINE = BLOCK // HOP
_SECONDS_A_BLOCK = BLOCK / RATE
_CYCLE = BLOCKS * _SECONDS_A_BLOCK
_TURN = (2 * np.pi / STEPS).astype(np.float32)
_SHARES = (0.15, 0.5)
"""Two guesses of which part of the units stands above the noise: white noise leaves little, a codec much."""
_PILOT_WEIGHT, _DOUBLED_WEIGHT = 0.9, 0.44
_STRETCH = 4.0
"""Seconds in which other speeds are looked for: in so short a time, a speed that is half a step off drifts 1.5 ms."""
_SPEED_STEP = 0.0015
SPEEDS = tuple(1 + _SPEED_STEP * k for k in range(-20, 21) if k)
"""Speeds of a copy that are looked for, beside 1."""

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Phasors = NDArray[np.complex64]


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the pattern. ``position``: the pattern's time in seconds, modulo 32, at the beginning of what was
    heard. ``speed``: of the copy over the original. ``strength``: about in standard deviations of the statistic on
    unmarked sound."""

    position: float
    speed: float
    strength: float


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read at a place."""

    place: Place
    decoded: payload.Decoded


@dataclass(frozen=True, slots=True)
class Levels:
    """Bands over time for a copy at ``speed``, (frames, 32): logarithms of amplitudes, and inverse powers."""

    speed: float
    level: Singles
    inverse: Singles

    def __len__(self) -> int:
        return len(self.level)

    def units(self, first: Floats) -> tuple[Singles, Singles]:
        """Units whose blocks begin at the frames ``first`` (any shape; fractions are rounded): u, and the sum of the
        inverse powers of the two cells, both of that shape with (32,) behind."""
        block = _FINE / self.speed
        a, b = (np.minimum(np.rint(first + part * block).astype(np.intp), len(self) - 1) for part in (0.25, 0.75))
        return (self.level[a] - self.level[b]) * np.float32(np.sqrt(0.5)), self.inverse[a] + self.inverse[b]


class Heard:
    """The spectra of a stretch of sound: (frames, 401) powers, ``HOP`` samples apart, the first around sample 0."""

    def __init__(self, sound: Signal) -> None:
        padded = np.pad(sound, (WINDOW // 2, WINDOW // 2))
        # In pieces, since the windows overlap 32 times.
        pieces = [
            powers(padded[start : start + RATE + WINDOW], np.arange(0, min(RATE, len(sound) - start), HOP))
            for start in range(0, len(sound), RATE)
        ]
        self.powers: Power = np.concatenate(pieces or [np.zeros((0, WINDOW // 2 + 1), np.float32)])

    def __len__(self) -> int:
        return len(self.powers)

    @property
    def seconds(self) -> float:
        return len(self) * HOP / RATE

    def levels(self, speed: float, start: int = 0, stop: int | None = None) -> Levels:
        power = self.powers[start:stop] @ band_matrix(speed) + np.float32(FLOOR)
        level = np.asarray(np.float32(0.5) * np.log(power), np.float32)
        return Levels(speed, level, np.asarray(1 / power, np.float32))

    def busiest(self, frames: int) -> int:
        """Where the stretch of so many frames with the most loud moments begins."""
        loud = np.log(self.powers.sum(axis=1, dtype=np.float64) + FLOOR)
        total = np.concatenate([[0.0], np.cumsum(loud)])
        return int(np.argmax(total[frames:] - total[:-frames])) if len(self) > frames else 0


def apart(places: list[Place], most: int) -> list[Place]:
    """The first ``most`` that are not within a hundredth of a second and half a percent of an earlier one."""
    kept: list[Place] = []
    for place in places:
        if not any(
            abs((place.position - other.position + _CYCLE / 2) % _CYCLE - _CYCLE / 2) < 0.01
            and abs(place.speed - other.speed) < 0.005
            for other in kept
        ):
            kept.append(place)
            if len(kept) == most:
                break
    return kept


def _weakness(place: Place) -> float:
    return -place.strength


class Searcher:
    """The search for one key's pattern."""

    def __init__(self, pattern: Pattern) -> None:
        self._pattern = pattern
        self._is_pilot, self._dither = pattern.symbol < 0, pattern.dither.astype(np.float32)
        turn = np.exp(1j * pattern.dither)
        self._pilots = fft.fft((turn * self._is_pilot).astype(np.complex64), axis=0)
        self._doubled = fft.fft((turn * turn).astype(np.complex64), axis=0)
        self._share = PILOTS * BLOCK / (BANDS * RATE)

    # ── where ────────────────────────────────────────────────────────────────────────────────────────────────────
    def coarse(self, levels: Levels, every: int, best: int) -> list[Place]:
        """The ``best`` places, the strongest first, trying every ``every``-th offset within a block."""
        speed = levels.speed
        # Whole blocks that begin at any of the offsets within the first block.
        blocks = min(int((len(levels) - 1) * speed / _FINE) - 1, BLOCKS)
        if blocks < _FEWEST:
            return []
        offsets = np.arange(0, _FINE, every) / speed
        value, inverse = levels.units(offsets[:, None] + np.arange(blocks) * (_FINE / speed))
        phasor = np.exp(np.complex64(1j) * (value * _TURN))
        noise = np.log(inverse)
        found: list[tuple[float, int, int]] = []
        for share in _SHARES:
            strength = self._correlate(phasor, _weights(noise, share, noise[0])).ravel()
            for index in np.argpartition(-strength, best)[:best]:
                found.append((float(strength[index]), *divmod(int(index), BLOCKS)))
        return [
            Place((shift * _SECONDS_A_BLOCK - offsets[offset] * speed * HOP / RATE) % _CYCLE, speed, strength_)
            for strength_, offset, shift in sorted(found, reverse=True)[:best]
        ]

    def _correlate(self, phasor: Phasors, weight: NDArray[np.float32]) -> NDArray[np.float32]:
        """(offsets, blocks, 32) phasors and weights -> (offsets, 640): for each place of the first block."""
        energy = np.sum(weight * weight, axis=(1, 2))[:, None] / 2
        single = phasor * weight
        pilots = np.einsum("obk,bk->ob", fft.fft(single, n=BLOCKS, axis=1).conj(), self._pilots)
        doubled = np.einsum("obk,bk->ob", fft.fft(single * phasor, n=BLOCKS, axis=1).conj(), self._doubled)
        total = _PILOT_WEIGHT / np.sqrt(self._share) * pilots + _DOUBLED_WEIGHT * doubled
        return np.asarray(fft.ifft(total, axis=1).real / np.sqrt(energy + 1e-12), np.float32)

    def refine(self, levels: Levels, place: Place, reach: float, pivot: float) -> Place:
        """The same place, more exactly, on ``levels`` (whose time 0 the place refers to): speeds up to ``reach`` off,
        and 5 ms to either side. ``pivot``: the time in seconds at which the place is right whatever the speed."""
        steps = int(np.ceil(reach * max(pivot, len(levels) * HOP / RATE - pivot) / 0.0012))
        best = Place(place.position, place.speed, -np.inf)
        for speed in place.speed * (1 + np.linspace(-reach, reach, 2 * steps + 1)):
            for shift in np.arange(-3, 4) * HOP / RATE:
                position = place.position + (place.speed - speed) * pivot + shift
                strength = self._strength(levels, position, float(speed))
                if strength > best.strength:
                    best = Place(position % _CYCLE, float(speed), strength)
        return best

    def _strength(self, levels: Levels, position: float, speed: float) -> float:
        begins, which = _blocks(len(levels), position, speed)
        if len(begins) < _FEWEST:
            return -np.inf
        value, inverse = levels.units(begins)
        noise = np.log(inverse)
        cosine, pilots = np.cos(value * _TURN - self._dither[which]), self._is_pilot[which]
        strengths = []
        for share in _SHARES:
            weight = _weights(noise, share, noise)
            energy = float(np.sum(weight * weight)) / 2 + 1e-12
            single = float(np.sum((weight * cosine)[pilots])) / math.sqrt(energy * self._share)
            doubled = float(np.sum(weight * (2 * cosine * cosine - 1))) / math.sqrt(energy)
            strengths.append(_PILOT_WEIGHT * single + _DOUBLED_WEIGHT * doubled)
        return max(strengths)

    def at_other_speeds(self, heard: Heard, most: int = 3) -> list[Place]:
        """Places at speeds off by up to 3 %: found in the busiest four seconds, then followed over all the rest."""
        size = int(_STRETCH * RATE / HOP)
        start = heard.busiest(size)
        since, pivot = start * HOP / RATE, min(_STRETCH, heard.seconds) / 2
        found = [place for speed in SPEEDS for place in self.coarse(heard.levels(speed, start, start + size), 2, 2)]
        near = []
        for place in apart(sorted(found, key=_weakness), 2 * most):
            levels = heard.levels(place.speed, start, start + size)
            near.append(self.refine(levels, place, _SPEED_STEP, pivot))
        refined = []
        for place in sorted(near, key=_weakness)[:most]:
            moved = Place((place.position - place.speed * since) % _CYCLE, place.speed, place.strength)
            refined.append(self.refine(heard.levels(place.speed), moved, 4e-4, since + pivot))
        return sorted(refined, key=_weakness)

    # ── what ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def read(self, levels: Levels, place: Place, *, follow: bool = False) -> Reading:
        """What stands at a place, by all of ``levels``. ``follow``: changes of loudness too, block by block."""
        begins, which = _blocks(len(levels), place.position, place.speed)
        if len(begins) < _FEWEST:
            return Reading(place, payload.Decoded(None, 0, 0.0))
        value, inverse = levels.units(begins)
        turn = value * _TURN - self._dither[which]
        symbol = self._pattern.symbol[which]
        data = symbol >= 0
        model = fitted(turn, noises(inverse), ~data)
        straight = turn
        for _ in range(2 if follow else 0):
            straight = turn - model.gains(turn, _TURN, ~data) * _TURN
            model = fitted(straight, [model.noise], ~data)
        ratio = model.ratios(straight)
        soft = np.bincount(symbol[data], ratio[data], payload.CODED_BITS).astype(np.float64)
        return Reading(place, payload.decode(soft))


_FEWEST = 8
"""Blocks, 0.4 s: less holds no payload."""


def _weights(noise: Singles, share: float, among: Singles) -> Singles:
    """Near 1 for the ``share`` of units that stand highest above the noise, near 0 for the rest."""
    return np.asarray(1 / (1 + np.exp(2 * (noise - np.float32(np.quantile(among, share))))), np.float32)


def _blocks(frames: int, position: float, speed: float) -> tuple[Floats, NDArray[np.intp]]:
    """The frames at which the pattern's blocks begin, and which blocks of the pattern they are."""
    first = int(np.ceil(position / _SECONDS_A_BLOCK))
    begin = (first * _SECONDS_A_BLOCK - position) / speed * RATE / HOP
    count = max(int((frames - 1 - begin) * speed / _FINE), 0)
    begins = begin + np.arange(count, dtype=np.float64) * (_FINE / speed)
    return begins, np.asarray((first + np.arange(count)) % BLOCKS, np.intp)
