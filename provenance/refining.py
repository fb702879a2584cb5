"""Putting a copy exactly over the preview: a small correction of a map that is nearly right. Pure.

By enhanced correlation (G. Evangelidis and E. Psarakis, *Parametric image alignment using enhanced correlation
coefficient maximization*, IEEE Transactions on Pattern Analysis 30(10), 2008), which no change of brightness or
contrast disturbs.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .warping import FLAT, HALF, RGB, Homography, Plane, corners_of, correlation, luma, through, warp_plane

_FARTHEST_CORRECTION = 0.04
_EXACT = 0.4
"""Px of the preview: an affine map that needs no more correction than this needs no perspective either."""


def refine(original: RGB, small: RGB, to_small: Homography) -> Homography:
    """With an affine or perspective correction by at most 4 % of the preview's side, where that correlates better."""
    shape = (original.shape[0], original.shape[1])
    picture, seen = luma(original), luma(small)
    warped, mask = warp_plane(seen, to_small, shape)
    if float(mask.mean()) < 0.01 or float(picture[mask].std()) < 3.0:
        return to_small
    kept = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    inside = np.asarray(kept * _agreeing(picture, warped, kept > 0), np.uint8)
    best, score = to_small, correlation(picture, warped, inside > 0)
    if score < 0.2:
        return to_small
    for motion in (cv2.MOTION_AFFINE, cv2.MOTION_HOMOGRAPHY):
        correction = _enhanced(picture, warped, inside, motion)
        if correction is None:
            continue
        candidate = np.asarray(to_small @ correction, np.float64)
        rendered, seen_there = warp_plane(seen, candidate, shape)
        agreed = correlation(picture, rendered, seen_there & (inside > 0))
        if agreed > score + 1e-4:
            best, score = candidate, agreed
        moved = through(correction, corners_of(shape))
        if moved is not None and float(np.abs(moved - corners_of(shape)).max()) < _EXACT:
            break
    return best


def _enhanced(picture: Plane, warped: Plane, inside: NDArray[np.uint8], motion: int) -> Homography | None:
    """The small correction, in px of the preview, under which ``warped`` correlates best; None where there is none."""
    shape = (picture.shape[0], picture.shape[1])
    rows = 3 if motion == cv2.MOTION_HOMOGRAPHY else 2
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 12, 1e-4)
    try:
        _, found = cv2.findTransformECC(picture, warped, np.eye(rows, 3, dtype=np.float32), motion, criteria, inside, 5)
    except cv2.error:
        return None
    matrix = np.eye(3)
    matrix[:rows] = found
    # OpenCV counts from the middle of the corner px, maps here from its corner.
    matrix = HALF @ matrix @ np.linalg.inv(HALF)
    moved = through(matrix, corners_of(shape))
    if moved is None or float(np.abs(moved - corners_of(shape)).max()) > _FARTHEST_CORRECTION * max(shape):
        return None
    return np.asarray(matrix / matrix[2, 2], np.float64)


def _agreeing(a: Plane, b: Plane, mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """1 but where the two differ grossly after brightness and contrast: what was painted over says nothing about the
    place."""
    x, y = a[mask][::5].astype(np.float64), b[mask][::5].astype(np.float64)
    keep = np.ones(len(x), bool)
    gain, offset = 1.0, 0.0
    for _ in range(3):
        if int(keep.sum()) < 32:
            break
        u, v = x[keep] - x[keep].mean(), y[keep] - y[keep].mean()
        gain = float(np.clip((u * v).sum() / ((u * u).sum() + FLAT * len(u)), 0.3, 3.0))
        offset = float(y[keep].mean() - gain * x[keep].mean())
        error = np.abs(gain * x + offset - y)
        keep = error <= max(float(np.median(error)) * 3.0, 8.0)
    rough = np.abs(cv2.blur(np.float32(gain) * a + np.float32(offset) - b, (5, 5)))
    limit = max(25.0, 4.0 * float(np.median(rough[mask][::5])) if mask.any() else 0.0)
    return np.asarray(cv2.erode((rough <= limit).astype(np.uint8), np.ones((5, 5), np.uint8)), np.uint8)


def likeness(original: RGB, small: RGB, to_small: Homography) -> float:
    """Correlation of luma over the overlap, in [-1, 1]; 0 where either is flat."""
    warped, mask = warp_plane(luma(small), to_small, (original.shape[0], original.shape[1]))
    return correlation(luma(original), warped, mask)
