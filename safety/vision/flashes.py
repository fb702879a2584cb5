"""Sequence guard `flashes`: flashing that can cause seizures, after WCAG 2.3.1 and ITU-R BT.1702.

A general flash is a pair of opposing changes of relative luminance by 10 % or more of the maximum, where the darker
picture is below 0.80; a red flash a pair of opposing changes to or from a saturated red. More than three of either
within one second, over more than a quarter of any 10 degrees of the visual field, are a failure. How near anybody sits
is not known: the 10 degrees are taken as the whole picture, so the area is a quarter of it.

Each frame is looked at on a grid of 32 x 32 cells. Opposing changes are followed cell by cell between turning points,
so that a change that is spread over several frames counts, and one that only goes up does not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from ..decision import ModelRef
from .frames import thinned

GRID = 32
AREA = 0.25
"""The share of the cells that must change together."""
MOST = 3
"""Flashes in a second that are allowed."""
_STEP, _DARK = 0.1, 0.8
_RED_SHARE, _RED_STEP = 0.8, 20.0
_SRGB = np.arange(256) / 255.0
_LINEAR = np.where(_SRGB <= 0.04045, _SRGB / 12.92, ((_SRGB + 0.055) / 1.055) ** 2.4).astype(np.float32)


class FlashGuard:
    """The score of hazard `seq` is 0.5 from the fourth flash within one second on, and 1 from twice that many."""

    name = "flashes"
    model: ModelRef | None = None

    def watch(self) -> FlashWatch:
        return FlashWatch()


class FlashWatch:
    """Holds one grid of each kind and the times of the last second: memory is flat."""

    def __init__(self) -> None:
        self._general, self._red = _Turns(_STEP, _DARK), _Turns(_RED_STEP, None)
        self._frames = 0

    def see(self, frame: NDArray[np.uint8], seconds: float) -> None:
        small = cv2.resize(thinned(frame), (GRID, GRID), interpolation=cv2.INTER_AREA)
        linear = _LINEAR[small]
        red, green, blue = linear[..., 0], linear[..., 1], linear[..., 2]
        self._general.see(0.2126 * red + 0.7152 * green + 0.0722 * blue, seconds)
        total = red + green + blue
        saturated = (total > 0.02) & (red / np.maximum(total, 1e-6) >= _RED_SHARE)
        # WCAG 2.2: the value of a saturated red is (R - G - B) x 320, and 0 for every other colour.
        self._red.see(np.where(saturated, np.maximum(0.0, red - green - blue) * 320, 0.0).astype(np.float32), seconds)
        self._frames += 1

    def scores(self) -> Mapping[str, float]:
        if not self._frames:
            return {}
        most = max(self._general.most, self._red.most)
        return {"seq": min(1.0, most / (2.0 * (MOST + 1)))}


class _Turns:
    """Follows one value a cell. Two opposing changes of a quarter of the cells within a second are one flash."""

    def __init__(self, step: float, dark: float | None) -> None:
        self._step, self._dark = step, dark
        self._low: NDArray[np.float32] | None = None
        self._high: NDArray[np.float32] | None = None
        self._way = np.zeros((GRID, GRID), np.int8)
        self._changes: deque[tuple[float, int]] = deque()
        self.most = 0

    def see(self, value: NDArray[np.float32], seconds: float) -> None:
        if self._low is None or self._high is None:
            self._low, self._high = value.copy(), value.copy()
            return
        np.minimum(self._low, value, out=self._low)
        np.maximum(self._high, value, out=self._high)
        up = (value - self._low >= self._step) & (self._way <= 0)
        down = (self._high - value >= self._step) & (self._way >= 0)
        if self._dark is not None:
            up &= self._low < self._dark
            down &= value < self._dark
        for cells, way in ((up, 1), (down, -1)):
            self._way[cells] = way
            self._low[cells] = self._high[cells] = value[cells]
            if float(cells.mean()) >= AREA:
                self._changes.append((seconds, way))
        while self._changes and seconds - self._changes[0][0] > 1.0:
            self._changes.popleft()
        self.most = max(self.most, _flashes([way for _, way in self._changes]))


def _flashes(ways: list[int]) -> int:
    """Pairs of opposing changes in this order."""
    count, last = 0, 0
    for way in ways:
        if last and way != last:
            count, last = count + 1, 0
        else:
            last = way
    return count
