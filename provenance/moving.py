"""Where a clip moves between two of its stored moments. Pure.

A still of a clip seldom falls on a stored moment. What moved since the one before it, or will have moved at the one
after it, looks different from both and is no change of the content: so the area is marked out in which a difference
may be motion. A thing that moves leaves one place and takes another: the area is what lies between the two.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

RGB = NDArray[np.uint8]
Mask = NDArray[np.bool_]

_SIGMA = 1.5
_LIMIT = 8.0
"""Grey levels by which two stored moments differ where something moves: less than what counts as a change of the
content, since half of a motion is still one."""
_SMALLEST, _MOST = 8, 12
_ALIKE = 4.0
"""A thing covers at most so many times as many px where it was as where it is."""
_SWERVE = 0.35
"""How far a path may leave the straight line, as a share of its length: things bounce and turn."""
_MARGIN = 4


def moving(originals: Sequence[RGB], index: int) -> Mask:
    """(h, w): where the frame ``index`` of a preview, and a moment between it and its neighbours, may differ by motion
    alone. ``originals``: uint8 (h, w, 3), in order of time."""
    out: Mask = np.zeros(originals[index].shape[:2], np.bool_)
    for other in (index - 1, index + 1):
        if 0 <= other < len(originals):
            out |= _between(originals[index], originals[other])
    return out


def _between(a: RGB, b: RGB) -> Mask:
    smooth = [cv2.GaussianBlur(picture.astype(np.float32), (0, 0), _SIGMA) for picture in (a, b)]
    over = np.abs(smooth[0] - smooth[1]).max(axis=2) > _LIMIT
    count, _, stats, middles = cv2.connectedComponentsWithStats(over.astype(np.uint8), connectivity=8)
    parts = [i for i in range(1, count) if stats[i, cv2.CC_STAT_AREA] >= _SMALLEST]
    parts = sorted(parts, key=lambda i: -int(stats[i, cv2.CC_STAT_AREA]))[:_MOST]
    area = np.asarray(over, np.uint8)
    for place, i in enumerate(parts):
        for j in parts[place:]:
            sizes = sorted((int(stats[i, cv2.CC_STAT_AREA]), int(stats[j, cv2.CC_STAT_AREA])))
            if sizes[1] <= _ALIKE * sizes[0]:
                # Within one part, a thing moved by less than its own size.
                span = max(stats[i, 2:4]) / 2 if i == j else float(np.hypot(*(middles[i] - middles[j])))
                _fill(area, [stats[i], stats[j]], round(_SWERVE * span) + _MARGIN)
    return np.asarray(area, np.bool_)


def _fill(area: NDArray[np.uint8], boxes: Sequence[NDArray[np.int32]], margin: int) -> None:
    """The hull of the boxes, and ``margin`` px more on every side."""
    corners = [
        (x + dx, y + dy)
        for left, top, width, height, _ in boxes
        for x, dx in ((left, -margin), (left + width, margin))
        for y, dy in ((top, -margin), (top + height, margin))
    ]
    hull = cv2.convexHull(np.asarray(corners, np.int32))
    cv2.fillConvexPoly(area, hull, 1)
