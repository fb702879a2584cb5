"""How sure each unit of the sound mark is: noise models fitted by maximum likelihood. Pure: numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .audio_grid import BANDS, COMPENSATION

Singles = NDArray[np.float32]


def noises(inverse: Singles) -> list[Singles]:
    """Models of the noise-to-sound ratio of units: white noise, and a codec's, which follows the loudness of the
    moment (that of the loudest band) and grows or falls with frequency."""
    loud = 1 / inverse.min(axis=1, keepdims=True)
    tilt = np.exp(np.linspace(-1, 1, BANDS, dtype=np.float32))
    return [inverse * loud**follows * tilt**slope for follows in (0.0, 0.6, 1.0) for slope in (-1.5, 0.0, 1.5)]


_FITTED = 2500
"""Units that the noise is fitted to, about: two numbers need no more."""
_GAINS = np.linspace(-0.6, 0.6, 41, dtype=np.float32)
_PRIOR = 2.5
"""Nats that a change of loudness has to earn."""
_HARMONICS = np.arange(1, 5)
_COMPENSATED = np.sinc(_HARMONICS * (1 - COMPENSATION)).astype(np.float32)
"""What distortion compensation leaves of the k-th moment of the phase: its error is uniform."""


@dataclass(frozen=True, slots=True)
class NoiseModel:
    """Wrapped normals: ``variance`` (n, 32) of the phase of each unit, fitted from ``noise``, one of `noises`."""

    variance: Singles
    noise: Singles

    def ratios(self, turn: Singles) -> Singles:
        """Each unit's log-likelihood ratio of +1 to -1 for phases ``turn`` (n, 32)."""
        plus, minus = _likelihoods(_cosines(turn), self.variance)
        return np.asarray(np.log(plus / minus), np.float32)

    def gains(self, turn: Singles, turning: Singles, pilots: NDArray[np.bool_]) -> Singles:
        """(n, 1): how much louder, in units of u, each block's first half was made than its second by something that
        changed all bands alike, such as a compressor; by maximum likelihood against a prior for none. ``turning``:
        (32,) radians that a band turns by for a change of 1."""
        best = np.full(len(turn), -np.inf, np.float32)
        gain = np.zeros(len(turn), np.float32)
        for change in _GAINS:
            plus, minus = _likelihoods(_cosines(turn - change * turning), self.variance)
            total = np.log(np.where(pilots, plus, (plus + minus) / 2)).sum(axis=1) - (_PRIOR if change else 0.0)
            better = total > best
            best, gain = np.where(better, total, best), np.where(better, change, gain)
        return gain[:, None].astype(np.float32)


def fitted(turn: Singles, noises: list[Singles], pilots: NDArray[np.bool_]) -> NoiseModel:
    """The likeliest variance b + a ``noise`` for phases ``turn`` (n, 32), over the models ``noises`` and grids of a
    and b. The sign of units other than ``pilots`` is taken as unknown."""
    some = slice(None, None, -(-turn.size // _FITTED))
    phase, known = turn.ravel()[some], pilots.ravel()[some]
    best, likeliest = -np.inf, (noises[0], 1.0, 1.0)
    cosines = _cosines(phase)
    for noise in noises:
        relative = noise / np.exp(np.median(np.log(noise)))
        part = relative.ravel()[some]
        for a in 2.0 ** np.arange(-8, 9, 1.5):
            for b in (0.02, 0.08, 0.2, 0.4, 0.8):
                plus, minus = _likelihoods(cosines, b + a * part)
                likelihood = float(np.sum(np.log(np.where(known, plus, (plus + minus) / 2))))
                if likelihood > best:
                    best, likeliest = likelihood, (relative, a, b)
    relative, a, b = likeliest
    return NoiseModel(np.asarray(b + a * relative, np.float32), relative)


def _cosines(phase: Singles) -> list[Singles]:
    return [np.cos(np.float32(k) * phase) for k in _HARMONICS]


def _likelihoods(cosines: list[Singles], variance: Singles) -> tuple[Singles, Singles]:
    """Of a phase under symbols +1 and -1: the first four terms of the wrapped normal's Fourier series, whose k-th
    moment is exp(-k^2 variance / 2), times the uniform error that compensation leaves on purpose."""
    r = np.exp(-0.5 * variance)
    r4 = np.square(np.square(r))
    even = 1 + 2 * (_COMPENSATED[1] * r4 * cosines[1] + _COMPENSATED[3] * np.square(np.square(r4)) * cosines[3])
    odd = 2 * (_COMPENSATED[0] * r * cosines[0] + _COMPENSATED[2] * r4 * r4 * r * cosines[2])
    return np.maximum(even + odd, 0.02), np.maximum(even - odd, 0.02)
