"""How well a clip's picture and sound agree in time.

What is seen: how sharply the subject's velocity turns, at each moment. What is heard: how much louder it gets. Both
are smoothed to about a twelfth of a second, since an eighth is what a frame at 8 a second can show, and correlated.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from filigrana.pipeline.generators.embedded.time import MOMENTS, POSE
from filigrana.pipeline.generators.embedded.tracks import SECONDS

FINE = 256
"""Moments at which both are compared, over the whole clip."""
WIDTH = 0.06
"""Standard deviation of the smoothing, in seconds."""


def _smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    t = np.arange(-FINE // 4, FINE // 4 + 1) * (SECONDS / FINE)
    kernel = np.exp(-((t / WIDTH) ** 2) / 2)
    return np.convolve(values, kernel / kernel.sum(), mode="same")


def turns(motion: NDArray[np.float32]) -> NDArray[np.float64]:
    """(FINE,): how much the first instance's velocity changes; `motion` is (64, 39)."""
    path = motion[:, :2].astype(np.float64)
    change = np.zeros(MOMENTS)
    change[1:-1] = np.linalg.norm(path[2:] - 2 * path[1:-1] + path[:-2], axis=1)
    # appearing or leaving is no turn
    change[motion[:, POSE - 1] < 0.5] = 0
    return _smooth(np.interp(np.arange(FINE) * MOMENTS / FINE, np.arange(MOMENTS), change))


def onsets(sound: NDArray[np.float32]) -> NDArray[np.float64]:
    """(FINE,): how much louder it gets; `sound` is (samples,) over the whole clip."""
    hop = len(sound) // FINE
    level = np.sqrt(np.square(sound[: hop * FINE].astype(np.float64)).reshape(FINE, hop).mean(1))
    return _smooth(np.diff(level, prepend=level[0]).clip(0))


def agreement(motion: NDArray[np.float32], sound: NDArray[np.float32]) -> float:
    """Pearson's correlation of what is seen and heard, -1..1; 0 where one of them is constant."""
    a, b = turns(motion), onsets(sound)
    if float(a.std()) < 1e-9 or float(b.std()) < 1e-9:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])
