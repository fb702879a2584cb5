"""The time-frequency grid of the sound mark, and the keyed pattern on it. Pure: numpy and scipy only.

The mark lives at 16 kHz, on a grid of *cells*: 25 ms long, and one of 32 bands between 200 and 6,400 Hz wide. Two
cells of one band in a row make a *unit* (50 ms); the value of a unit is how much louder its first cell is::

    u = (ln A1 - ln A2) / sqrt(2),    A the amplitude of the cell (Hann window of 50 ms around its middle)

A gain, an equaliser, an inversion of the sign leave u alone; resampling and requantising move it little. Each unit
carries one symbol by quantisation index modulation with distortion compensation (B. Chen and G. W. Wornell,
*Quantization Index Modulation*, IEEE Trans. Inf. Theory 47, 2001): u is moved part of the way to the nearest point
of a lattice of step D, which is shifted by a keyed dither, and by half a step more for a symbol of -1. So the sound
itself is no noise to the detector, as it would be in additive spread spectrum.

Every second, 640 units: the 416 symbols of the payload once, a quarter of them a second time (another quarter each
second), and 120 pilots whose symbol is known. All three lie at keyed random places, so that a symbol which falls on
a silent band in one second does not in the next. The pattern goes on for 32 s, the cycle of `variation`: two seconds
for each of the 16 variants.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from . import payload
from .base import PUBLISHED_KEY
from .variation import CYCLE, VARIANTS

RATE = 16_000
"""Hz: what the mark is made and looked for at."""
CELL = 400
"""Samples of one cell: 25 ms."""
BLOCK = 2 * CELL
"""Samples of one unit."""
WINDOW = 2 * CELL
"""Samples of the Hann window around the middle of a cell, and of the transform."""
BANDS = 32
BLOCKS_A_SECOND = RATE // BLOCK
BLOCKS = int(CYCLE) * BLOCKS_A_SECOND
"""Blocks of the whole pattern: 640."""
BLOCKS_A_VARIANT = BLOCKS // VARIANTS
PILOTS = 120
"""Units a second whose symbol is known."""
COMPENSATION = 0.65
"""The part of the way to the lattice that a unit is moved."""
_LOW, _HIGH, _BEND = 200.0, 6400.0, 4000.0
_STEP_LOW, _STEP_MIDDLE, _STEP_HIGH = 0.36, 0.58, 0.72
FLOOR = 1e-9
"""Added to every power, so that silence has a logarithm: far below what 16 bits can say."""

Signal = NDArray[np.float32]
Power = NDArray[np.float32]
Matrix = NDArray[np.float32]


def _edges() -> NDArray[np.float64]:
    """(33,) Hz. Bands widen with frequency, from 120 to 300 Hz, between a linear and a logarithmic scale."""
    return np.exp(np.linspace(np.log(_LOW + _BEND), np.log(_HIGH + _BEND), BANDS + 1)) - _BEND


EDGES = _edges()
STEPS = np.interp(np.arange(BANDS) / (BANDS - 1), (0.0, 0.5, 1.0), (_STEP_LOW, _STEP_MIDDLE, _STEP_HIGH))
"""(32,) lattice steps D in nepers times sqrt(2). Low bands, which carry tones, are changed less."""
HANN = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)).astype(np.float32)
BINS = WINDOW // 2 + 1


def band_matrix(speed: float = 1.0) -> Matrix:
    """(401, 32): which part of each bin of a transform lies in which band, for a copy played at ``speed``."""
    width = RATE / WINDOW / speed
    upper = (np.arange(BINS) + 0.5) * width
    below = np.clip((upper[:, None] - EDGES[None]) / width, 0, 1)
    return np.ascontiguousarray(below[:, :-1] - below[:, 1:], np.float32)


def gain_matrix() -> Matrix:
    """(32, 401): how a band's gain spreads over the bins: raised-cosine crossfades around the bands' edges."""
    frequency = np.arange(BINS) * RATE / WINDOW
    widths = np.diff(EDGES)
    fade = 0.6 * widths[np.clip(np.arange(BANDS + 1) - 1, 0, BANDS - 1)]
    place = np.clip((frequency[None] - EDGES[:, None]) / fade[:, None] + 0.5, 0, 1)
    rise = 0.5 - 0.5 * np.cos(np.pi * place)
    return np.ascontiguousarray(rise[:-1] - rise[1:], np.float32)


def spectra(sound: Signal, starts: NDArray[np.intp], window: Signal) -> NDArray[np.complex64]:
    """(frames, 401) transforms of ``sound[start:start + 800] * window``. ``starts`` must leave room for the window."""
    frames = np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[starts]
    return np.asarray(fft.rfft(frames * window, axis=1), np.complex64)


def powers(sound: Signal, starts: NDArray[np.intp]) -> Power:
    """(frames, 401) Hann-windowed power spectra."""
    transform = spectra(sound, starts, HANN)
    return transform.real**2 + transform.imag**2


@dataclass(frozen=True, slots=True)
class Pattern:
    """``dither``: (640, 32) phases in radians of each unit's lattice. ``symbol``: (640, 32), which of the 416
    symbols the unit carries, -1 for a pilot."""

    dither: NDArray[np.float64]
    symbol: NDArray[np.intp]

    def phases(self, symbols: NDArray[np.float64]) -> NDArray[np.float64]:
        """(640, 32): the lattice phase that each unit is moved to, for (416,) symbols of +1 and -1."""
        signs = np.append(symbols, 1.0)[self.symbol]
        return self.dither + np.where(signs < 0, np.pi, 0.0)


@lru_cache(maxsize=16)
def pattern(key: bytes | None) -> Pattern:
    """The pattern of a key; None for the published one. The same on every machine and in every version of numpy:
    all of it is read from SHAKE-256."""
    seconds, units = int(CYCLE), BLOCKS_A_SECOND * BANDS
    seed = b"filigrana sound 1\0" + (PUBLISHED_KEY if key is None else key)
    stream = hashlib.shake_256(seed).digest(seconds * units * (2 + 8))
    dither = np.frombuffer(stream[: seconds * units * 2], "<u2").reshape(BLOCKS, BANDS) * (2 * np.pi / 65536)
    draws = np.frombuffer(stream[seconds * units * 2 :], "<u8").reshape(seconds, units)
    order = np.argsort(draws, axis=1, kind="stable")
    again = units - PILOTS - payload.CODED_BITS
    symbol = np.full((seconds, units), -1, np.intp)
    for second in range(seconds):
        places = order[second, PILOTS:]
        symbol[second, places[: payload.CODED_BITS]] = np.arange(payload.CODED_BITS)
        symbol[second, places[payload.CODED_BITS :]] = (np.arange(again) + again * second) % payload.CODED_BITS
    return Pattern(dither, symbol.reshape(BLOCKS, BANDS))
