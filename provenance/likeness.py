"""How alike two whole pictures are, at a glance. Decides nothing: crops change it, look-alikes share it. Pure."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .preview import RGB, Preview


def likeness(preview: Preview, rgb: RGB) -> int:
    """How many of 64 bits of a coarse fingerprint (signs of the lowest DCT coefficients of the luma, after their
    median) the picture shares with the preview's most similar one. Crops and turns change it; look-alikes share it."""
    own = _fingerprint(rgb)
    return max((int(np.count_nonzero(own == _fingerprint(picture))) for picture in preview.pictures()), default=0)


def _fingerprint(rgb: RGB) -> NDArray[np.bool_]:
    luma = cv2.resize(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), (32, 32), interpolation=cv2.INTER_AREA)
    low = cv2.dct(luma.astype(np.float32))[:8, :8].ravel()
    return np.asarray(low > np.median(low), np.bool_)
