"""Rendering one picture in another's frame, and correlating two planes of which only parts count. Pure.

Maps are (3, 3) and count px from the corner of the corner px; OpenCV counts from its middle.
"""

from __future__ import annotations

import cv2
import numpy as np
import scipy.fft as sf
from numpy.typing import NDArray

RGB = NDArray[np.uint8]
Plane = NDArray[np.float32]
Homography = NDArray[np.float64]  # (3, 3)

_LUMA = np.array([[0.299, 0.587, 0.114]], np.float32)
FLAT = 4.0
"""Variance in squared grey levels that says nothing: noise, rounding and the mark itself."""


def luma(rgb: RGB) -> Plane:
    """(h, w, 3) uint8 -> (h, w) float32 in [0, 255]."""
    return np.asarray(cv2.transform(rgb, _LUMA), np.float32).reshape(rgb.shape[:2])


HALF = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
"""From OpenCV's px, counted from the middle of the corner px, to px counted from its corner."""


def warp(picture: NDArray[np.uint8], to_picture: Homography, shape: tuple[int, int]) -> tuple[RGB, NDArray[np.bool_]]:
    """``picture`` (h, w, 3) rendered into (height, width), and which px of that it covers."""
    matrix = np.linalg.inv(HALF) @ to_picture @ HALF
    size = (shape[1], shape[0])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    out = cv2.warpPerspective(picture, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(out, np.uint8), _covered(to_picture, shape, (picture.shape[0], picture.shape[1]))


def warp_plane(plane: Plane, to_plane: Homography, shape: tuple[int, int]) -> tuple[Plane, NDArray[np.bool_]]:
    matrix = np.linalg.inv(HALF) @ to_plane @ HALF
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    out = cv2.warpPerspective(plane, matrix, (shape[1], shape[0]), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(out, np.float32), _covered(to_plane, shape, (plane.shape[0], plane.shape[1]))


def _covered(to_copy: Homography, shape: tuple[int, int], copy: tuple[int, int]) -> NDArray[np.bool_]:
    """(height, width) of the preview: which px lie inside the copy."""
    x, y = np.arange(shape[1]) + 0.5, (np.arange(shape[0]) + 0.5)[:, None]
    w = to_copy[2, 0] * x + to_copy[2, 1] * y + to_copy[2, 2]
    u = to_copy[0, 0] * x + to_copy[0, 1] * y + to_copy[0, 2]
    v = to_copy[1, 0] * x + to_copy[1, 1] * y + to_copy[1, 2]
    return np.asarray((w > 1e-9) & (u >= 0) & (u <= copy[1] * w) & (v >= 0) & (v <= copy[0] * w))


def corners_of(shape: tuple[int, int]) -> NDArray[np.float64]:
    height, width = shape
    return np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)


def through(matrix: Homography, points: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """(n, 2) points mapped; None where one lies behind the horizon."""
    mapped = np.c_[points, np.ones(len(points))] @ matrix.T
    sign = np.sign(mapped[0, 2])
    depth = mapped[:, 2] * sign
    if sign == 0 or not np.isfinite(mapped).all() or depth.min() <= 1e-6 * depth.max():
        return None
    return np.asarray(mapped[:, :2] / mapped[:, 2:], np.float64)


def overlap(
    shape: tuple[int, int], copy: tuple[int, int], to_copy: Homography
) -> tuple[tuple[tuple[float, float], ...], float, float] | None:
    """(outline in fractions of the copy, its share of the copy, its share of the original)."""
    laid, back = (
        through(to_copy, corners_of(shape)),
        through(np.asarray(np.linalg.inv(to_copy), np.float64), corners_of(copy)),
    )
    if laid is None or back is None or max(np.abs(laid).max(), np.abs(back).max()) > 1e6:
        return None
    on_copy, polygon = cv2.intersectConvexConvex(laid.astype(np.float32), corners_of(copy).astype(np.float32))
    on_original, _ = cv2.intersectConvexConvex(back.astype(np.float32), corners_of(shape).astype(np.float32))
    if polygon is None or on_copy <= 0 or on_original <= 0:
        return None
    points = np.asarray(polygon, np.float64).reshape(-1, 2) / [copy[1], copy[0]]
    outline = tuple((round(float(x), 4), round(float(y), 4)) for x, y in np.clip(points, 0.0, 1.0))
    return outline, min(1.0, float(on_copy) / (copy[0] * copy[1])), min(1.0, float(on_original) / (shape[0] * shape[1]))


def correlation(a: Plane, b: Plane, mask: NDArray[np.bool_]) -> float:
    if int(mask.sum()) < 16:
        return 0.0
    x, y = a[mask].astype(np.float64), b[mask].astype(np.float64)
    x, y = x - x.mean(), y - y.mean()
    return float((x * y).mean() / np.sqrt((np.mean(x * x) + FLAT) * (np.mean(y * y) + FLAT)))


def masked_correlation(
    reference: Plane, other: Plane, mask: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How many px overlap, and the correlation over them, for every shift of ``reference`` (all of which counts)
    over ``other`` (of which ``mask`` counts). Both results (h1 + h2 - 1, w1 + w2 - 1); entry (i, j) has the corner of
    ``reference`` at (i - h1 + 1, j - w1 + 1)."""
    full = (reference.shape[0] + other.shape[0] - 1, reference.shape[1] + other.shape[1] - 1)
    fast = (sf.next_fast_len(full[0], True), sf.next_fast_len(full[1], True))
    weight = mask.astype(np.float64)
    a = (reference - reference.mean()).astype(np.float64)[::-1, ::-1]
    b = (other.astype(np.float64) - float(other[mask].mean() if mask.any() else 0.0)) * weight

    def forward(plane: NDArray[np.float64]) -> NDArray[np.complex128]:
        return np.asarray(sf.rfft2(plane, fast))

    fa, fa2, f1 = forward(a), forward(a * a), forward(np.ones_like(a))
    fb, fb2, fm = forward(b), forward(b * b), forward(weight)

    def back(product: NDArray[np.complex128]) -> NDArray[np.float64]:
        return np.asarray(sf.irfft2(product, fast))[: full[0], : full[1]]

    count = np.maximum(np.rint(back(f1 * fm)), 0.0)
    n = np.maximum(count, 1.0)
    mean_a, mean_b = back(fa * fm) / n, back(f1 * fb) / n
    var_a = np.maximum(back(fa2 * fm) / n - mean_a**2, 0.0)
    var_b = np.maximum(back(f1 * fb2) / n - mean_b**2, 0.0)
    covariance = back(fa * fb) / n - mean_a * mean_b
    r = covariance / np.sqrt((var_a + FLAT) * (var_b + FLAT))
    return count, np.where(count > 0, np.clip(r, -1.0, 1.0), 0.0)
