"""Which frames of a clip are judged: the first and the last, a uniform rate, and every change of scene."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

EVERY_SECONDS = 0.5
_CUT = 18.0  # mean absolute difference of 32 x 32 grey thumbnails, in grey levels


def sample(frames: Iterable[tuple[NDArray[np.uint8], float]]) -> Iterator[NDArray[np.uint8]]:
    """``frames``: (uint8 (h, w, 3), seconds) in order. Yields those to judge; memory holds one frame more."""
    last_time = -np.inf
    last_thumb: NDArray[np.float32] | None = None
    pending: NDArray[np.uint8] | None = None
    for frame, time in frames:
        thumb = cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (32, 32), interpolation=cv2.INTER_AREA).astype(
            np.float32
        )
        cut = last_thumb is not None and float(np.abs(thumb - last_thumb).mean()) > _CUT
        last_thumb = thumb
        if cut or time - last_time >= EVERY_SECONDS:
            last_time, pending = time, None
            yield frame
        else:
            pending = frame
    if pending is not None:
        yield pending
