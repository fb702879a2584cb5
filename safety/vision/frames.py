"""Which frames of a clip are judged: the first and the last, a uniform rate, every change of scene, single odd frames,
and the frame on which something appears that then stays, as words do.

An odd frame, or two, differs from both its neighbours while these agree: at the uniform rate it would be missed, and
whoever hides a picture in a clip counts on that. Frames are compared in blocks, so that a small one is seen, too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

EVERY_SECONDS = 0.5
_CUT = 18.0  # mean absolute difference of 32 x 32 grey thumbnails, in grey levels
_SIDE = 48  # px of the thumbnails in colour; their blocks are 4 x 4
_CHANGED = 20.0  # levels: a block that differs by that shows something else
_AGREES = 0.35  # of the odd frame's own difference: its neighbours are that near to each other
_STILL = 0.7  # share of the blocks that must not move where something small appears


@dataclass
class _Seen:
    frame: NDArray[np.uint8]
    grey: NDArray[np.float32]
    colour: NDArray[np.float32]
    chosen: bool


def sample(frames: Iterable[tuple[NDArray[np.uint8], float]]) -> Iterator[NDArray[np.uint8]]:
    """``frames``: (uint8 (h, w, 3), seconds) in order. Yields those to judge, in order; memory holds four frames."""
    last_time = -np.inf
    window: deque[_Seen] = deque()
    for frame, time in frames:
        small = cv2.resize(thinned(frame), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
        grey = cv2.resize(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), (32, 32), interpolation=cv2.INTER_AREA)
        seen = _Seen(frame, grey.astype(np.float32), small.astype(np.float32), False)
        cut = bool(window) and float(np.abs(seen.grey - window[-1].grey).mean()) > _CUT
        if cut or time - last_time >= EVERY_SECONDS:
            last_time, seen.chosen = time, True
        window.append(seen)
        _look_back(window)
        if len(window) == 4:
            oldest = window.popleft()
            if oldest.chosen:
                yield oldest.frame
    if window:
        window[-1].chosen = True
    yield from (seen.frame for seen in window if seen.chosen)


def thinned(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Every n-th pixel of every n-th row, with 160 px a side left at least: enough for a thumbnail, and far cheaper."""
    step = max(1, min(frame.shape[:2]) // 160)
    return np.ascontiguousarray(frame[::step, ::step])


def _look_back(window: deque[_Seen]) -> None:
    """Chooses what only the frames after it show to be odd."""
    if len(window) < 3:
        return
    before, odd, after = (window[n] for n in (-3, -2, -1))
    blocks = _blocks(before, odd)
    if not odd.chosen:
        if _between(before, odd, odd, after):
            odd.chosen = True
        elif float((blocks < _CHANGED / 2).mean()) >= _STILL and float(blocks.max()) >= _CHANGED:
            # Something appeared on a still ground. If it stays as it is, it may be words; if it moves, it is an actor.
            moved = _blocks(odd, after)
            odd.chosen = float(moved[blocks >= _CHANGED].max()) < _CHANGED / 2
    if len(window) == 4 and _between(*window):
        window[1].chosen = window[2].chosen = True


def _between(before: _Seen, first: _Seen, last: _Seen, after: _Seen) -> bool:
    """Whether the frames from first to last differ from both their neighbours, while these agree."""
    into, out_of = _blocks(before, first), _blocks(last, after)
    where = (into >= _CHANGED) & (out_of >= _CHANGED)
    if not where.any():
        return False
    return bool((_blocks(before, after)[where] < _AGREES * np.minimum(into, out_of)[where]).any())


def _blocks(one: _Seen, other: _Seen) -> NDArray[np.float32]:
    """Mean absolute difference by block, (12, 12), of the colour that differs most."""
    difference = np.abs(one.colour - other.colour).max(axis=2)
    return np.asarray(difference.reshape(_SIDE // 4, 4, _SIDE // 4, 4).mean(axis=(1, 3)), np.float32)
