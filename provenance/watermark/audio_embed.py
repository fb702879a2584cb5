"""Putting the sound mark in: a gain for every cell, found in a closed loop, one second after another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from .audio_grid import (
    BANDS,
    BLOCKS,
    BLOCKS_A_SECOND,
    CELL,
    COMPENSATION,
    FLOOR,
    HANN,
    STEPS,
    WINDOW,
    Power,
    Signal,
    band_matrix,
    gain_matrix,
    powers,
    spectra,
)

_ROUNDS = 4
_LARGEST = 0.3
"""Nepers that a cell is made louder or softer at most."""
_CELLS = 2 * BLOCKS_A_SECOND
_AHEAD = 4
"""Cells of the next second that are worked out too, and thrown away: the last ones here must fit what follows."""
_LEAD = CELL // 2
_SYNTHESIS = np.sqrt(HANN)

Gains = NDArray[np.float32]


class Marker:
    """Marks sound at 16 kHz second by second. Feed `push` with exact seconds, then `finish`.

    Multiplying each cell by a gain is a mark that follows the sound's own spectrum: it lies the same distance below
    it in every cell, falls silent where the sound does, and is masked by what it changes. A cell's gain also reaches
    its neighbours (windows overlap, bands leak), so the loop measures what the detector would measure, and corrects.
    """

    def __init__(self, phases: NDArray[np.float64], weights: Signal) -> None:
        """``phases``: (640, 32) of the pattern in the order of this sound, block 0 first. ``weights``: (channels,)
        of the downmix that the detector sees."""
        self._phases, self._weights = phases, weights
        self._bands, self._spread = band_matrix(), gain_matrix()
        # Half a frame before time 0, so that the first cell has a whole frame.
        self._held = np.zeros((_LEAD, len(weights)), np.float32)
        self._before = np.zeros((1, BANDS), np.float32)
        self._frame_before = np.zeros((1, WINDOW), np.float32)
        self._tail = np.zeros((CELL, len(weights)), np.float32)
        self._second = self._taken = self._given = 0

    def push(self, sound: Signal) -> Signal:
        """``sound``: float32 (n, channels) at 16 kHz, any n. Returns the mark alone, late by about a second."""
        self._taken += len(sound)
        self._held = np.concatenate([self._held, sound])
        out = []
        while len(self._held) >= (_CELLS + _AHEAD) * CELL + 2 * _LEAD:
            out.append(self._mark())
        return np.concatenate(out) if out else sound[:0]

    def finish(self) -> Signal:
        out = []
        while self._given < self._taken:
            missing = (_CELLS + _AHEAD) * CELL + 2 * _LEAD - len(self._held)
            if missing > 0:
                self._held = np.pad(self._held, ((0, missing), (0, 0)))
            before = self._given
            piece = self._mark()
            out.append(piece[: self._taken - before])
        return np.concatenate(out) if out else self._held[:0]

    def _mark(self) -> Signal:
        """The next second: 40 cells and four ahead, whose frames start half a cell before them."""
        count = _CELLS + _AHEAD
        piece = self._held[: count * CELL + 2 * _LEAD]
        gains = self._solve(np.ascontiguousarray(piece @ self._weights), count)[:_CELLS]
        starts = np.arange(_CELLS) * CELL
        mark = np.zeros((_CELLS * CELL + CELL, piece.shape[1]), np.float32)
        filters = np.expm1(gains) @ self._spread
        for channel in range(piece.shape[1]):
            wave = np.ascontiguousarray(piece[:, channel])
            frames = fft.irfft(spectra(wave, starts, _SYNTHESIS) * filters, n=WINDOW, axis=1) * _SYNTHESIS
            _overlap(frames, mark[:, channel])
        mark[:CELL] += self._tail
        self._tail = mark[_CELLS * CELL :].copy()
        self._held = self._held[_CELLS * CELL :]
        self._second = (self._second + 1) % (BLOCKS // BLOCKS_A_SECOND)
        out = mark[: _CELLS * CELL]
        if self._given == 0:
            out = out[_LEAD:]
        self._given += len(out)
        return out

    def _solve(self, wave: Signal, count: int) -> Gains:
        """(count, 32) gains in nepers for the frames of ``wave``. The last frame of the second before is kept as it
        was decided: its second half overlaps the first frame here."""
        starts = np.arange(count) * CELL
        transform = spectra(wave, starts, _SYNTHESIS)
        blocks = np.arange(count // 2) + self._second * BLOCKS_A_SECOND
        phase = self._phases[blocks % BLOCKS]
        gains = np.zeros((count, BANDS), np.float32)
        mark = np.zeros(len(wave), np.float32)
        inherited = self._frame_before[0, CELL:]
        target: NDArray[np.float64] | None = None
        for _ in range(_ROUNDS):
            mark[:CELL] += inherited
            now = units(powers(wave + mark, starts) @ self._bands)
            if target is None:
                nearest = (np.rint(now / STEPS - phase / (2 * np.pi)) + phase / (2 * np.pi)) * STEPS
                target = now + COMPENSATION * (nearest - now)
            error = ((target - now) / np.sqrt(2)).astype(np.float32)
            gains[0::2] += error
            gains[1::2] -= error
            np.clip(gains, -_LARGEST, _LARGEST, out=gains)
            frames = fft.irfft(transform * (np.expm1(gains) @ self._spread), n=WINDOW, axis=1) * _SYNTHESIS
            mark[:] = 0
            _overlap(frames, mark)
        self._frame_before = frames[_CELLS - 1 : _CELLS]
        return gains


def units(power: Power) -> NDArray[np.float64]:
    """(2 n, 32) band powers of cells in a row -> (n, 32) values u."""
    level = 0.5 * np.log(power + FLOOR)
    return np.asarray((level[0::2] - level[1::2]) / np.sqrt(2), np.float64)


def _overlap(frames: NDArray[np.float32], out: Signal) -> None:
    """Adds (n, 800) frames at steps of 400 to ``out``, (400 n + 400 or more,)."""
    n = len(frames)
    out[: n * CELL] += frames[:, :CELL].reshape(-1)
    out[CELL : (n + 1) * CELL] += frames[:, CELL:].reshape(-1)
