"""Changing the sampling rate of a stream without a delay, in constant memory.

scipy.signal takes half a second to import, so it is imported where a rate is really changed.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

_SIDE = 24
"""Samples of the slower rate on each side that an output depends on."""


class RateChange:
    """Polyphase resampling (R. E. Crochiere and L. R. Rabiner, *Multirate Digital Signal Processing*, 1983) of
    float32 (n, channels) by a linear-phase filter. Output k lies at the time of input k * source / target."""

    def __init__(self, source: int, target: int, channels: int) -> None:
        from scipy import signal

        ratio = Fraction(target, source)
        self._up, self._down = ratio.numerator, ratio.denominator
        widest = max(self._up, self._down)
        self._filter = (
            signal.firwin(2 * _SIDE * widest + 1, 0.94 / widest, window=("kaiser", 8.0)).astype(np.float32)
            if ratio != 1
            else np.ones(1, np.float32)
        )
        # Input that an output may depend on, on each side, in whole periods of the ratio.
        reach = -(-_SIDE * widest // self._up) + 1
        self._context = -(-reach // self._down) * self._down
        self._held = np.zeros((self._context, channels), np.float32)
        self._taken = self._given = 0

    def push(self, samples: Samples) -> Samples:
        """Takes (n, channels) and returns what can be said by now, (m, channels)."""
        self._taken += len(samples)
        if self._up == self._down:
            return samples
        self._held = np.concatenate([self._held, samples])
        ready = (len(self._held) - 2 * self._context) // self._down
        return self._run(ready) if ready > 0 else samples[:0]

    def finish(self) -> Samples:
        """The rest: in all, as many outputs as lie before the end of the input."""
        if self._up == self._down:
            return self._held[:0]
        wanted = -(-self._taken * self._up // self._down) - self._given
        periods = -(-max(wanted, 0) // self._up)
        missing = 2 * self._context + periods * self._down - len(self._held)
        if missing > 0:
            self._held = np.concatenate([self._held, np.zeros((missing, self._held.shape[1]), np.float32)])
        return self._run(periods)[:wanted]

    def _run(self, periods: int) -> Samples:
        from scipy import signal

        used = 2 * self._context + periods * self._down
        out = signal.resample_poly(self._held[:used], self._up, self._down, axis=0, window=self._filter)
        first = self._context // self._down * self._up
        self._held = self._held[periods * self._down :]
        self._given += periods * self._up
        return np.asarray(out[first : first + periods * self._up], np.float32)
