"""Whether a copy shows the same content as the original, part by part. Pure.

The copy is laid over the preview (`registration`), and what the tools of everyday use change everywhere is fitted
and taken off: brightness, contrast, gamma, saturation down to grey, and white balance. What is left over is measured
against what the place itself bears: along edges and in texture, recompression, noise and half a pixel of
misregistration leave more than on an even wall. Painting over leaves a few places far above that; another picture
does not even correlate where the original has structure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from .finding import Region
from .registration import Placement, choose, pixel_scale, placed, shrunk, to_shrunk
from .tones import luma_of, predict
from .warping import Homography, warp

SIGMA = 1.5
"""Blur, in px of the preview, under which both are compared."""
_WINDOW = 9
"""Px a side over which a difference is averaged: 4 % of the preview's longer side."""
EVEN_LIMIT, TEXTURE_LIMIT = 13.0, 0.45
"""A place is changed where its mean difference, in grey levels, is over the first plus the second times the local
standard deviation of the original."""
_CLEAR = 1.3
_SMALLEST = 40
"""Px that a changed part has at least."""
_DIFFERENT_SHARE = 0.6
_STRUCTURE = 6.0
"""Local standard deviation, in grey levels, from which a place has structure that can be recognised."""
_AGREEING = 0.4
_DIFFERENT_AGREEMENT = 0.35
_COLOUR = np.float32(0.6)
_INSIDE = 0.85
_LITTLE = 0.1
"""A copy of which less than this share shows the original is not a copy of it."""

_CALM = 0.4
"""The share of a still of a clip that must not move for what moves to be left out of the comparison."""
_INSIDE_MOTION = 0.85

Match = Literal["same", "edited", "different"]
RGB = NDArray[np.uint8]
Plane = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Comparison:
    """``changed``: the share of the compared area that differs. ``coverage``: the share of the original that the copy
    shows: what a crop left out is no difference. ``surroundings``: the share of the copy that is not the original:
    borders of a window, a page, another picture beside it, none of which is compared. ``moving``: the share of the
    compared area that differs where the original itself moves between its stored moments, so that motion and a change
    cannot be told apart. All in [0, 1]."""

    match: Match
    changed: float
    regions: tuple[Region, ...]
    coverage: float = 1.0
    surroundings: float = 0.0
    moving: float = 0.0


def compare_picture(
    original: RGB,
    copy: RGB,
    matrix: Sequence[float] | None = None,
    size: tuple[int, int] | None = None,
    frame: int = 0,
) -> Comparison:
    """``original``: a preview's picture. ``copy``: any size. ``matrix``: of the codec's `Geometry`; None: the copy is
    whole and upright. ``size``: the original's (height, width), where it is known."""
    if min(*original.shape[:2], *copy.shape[:2]) < 8:
        return Comparison("different", 1.0, (), 0.0, 1.0)
    shape = (original.shape[0], original.shape[1])
    small, shrink = shrunk(copy, pixel_scale(matrix, shape, size), shape)
    best = choose([original], small, to_shrunk(matrix, shrink), size)
    placement = None if best is None else placed(original, small, best)
    if placement is None:
        return Comparison("different", 1.0, (), 0.0, 1.0)
    return compare_placed(original, small, placement, frame)


def compare_placed(
    original: RGB, copy: RGB, placement: Placement, frame: int = 0, moving: Mask | None = None
) -> Comparison:
    """As `compare_picture`, with the copy's place known. ``copy`` should have about the preview's resolution.
    ``moving``: where a difference may be motion alone, as `moving.moving` says of a still of a clip."""
    coverage, surroundings = placement.coverage, placement.surroundings
    warped, mask = warp(copy, placement.to_copy, (original.shape[0], original.shape[1]))
    mask = _eroded(mask)
    if int(mask.sum()) < 64 or surroundings > 1 - _LITTLE:
        return Comparison("different", 1.0, (), coverage, surroundings)
    a, b = _smooth(original, mask), _smooth(warped, mask)
    # A copy that was smaller than the preview is as soft as it was enlarged.
    soft = _enlarged(placement.to_copy)
    if soft > 1.2:
        a = np.asarray(cv2.GaussianBlur(a, (0, 0), 0.6 * soft), np.float32)
        b = np.asarray(cv2.GaussianBlur(b, (0, 0), 0.6 * soft), np.float32)
    calm = mask if moving is None else mask & ~moving
    if moved_all := int(calm.sum()) < _CALM * int(mask.sum()):
        calm = mask
    predicted, gain = predict(a, b, calm)
    x, y = luma_of(predicted), luma_of(b)
    mean = _local(_difference(predicted, b, x, y), mask) / np.float32(np.clip(gain, 0.5, 1.0))
    activity = _deviation(x, mask)
    changed = _changed(mask, mean / (EVEN_LIMIT + TEXTURE_LIMIT * activity))
    share = float(changed.sum() / mask.sum())
    agrees = agreement(x, y, calm, activity)
    if share > _DIFFERENT_SHARE or agrees < _DIFFERENT_AGREEMENT or _beside(placement, agrees):
        return Comparison("different", round(max(share, 0.01), 4), (), coverage, surroundings)
    if not changed.any():
        return Comparison("same", 0.0, (), coverage, surroundings)
    if moved_all:
        # Nothing stands still by which motion and change could be told apart.
        return Comparison("different", round(share, 4), (), coverage, surroundings)
    motion = 0.0
    if moving is not None:
        by_motion = _within(changed, moving)
        motion, changed = round(float(by_motion.sum() / mask.sum()), 4), changed & ~by_motion
        share = float(changed.sum() / mask.sum())
        if not changed.any():
            return Comparison("same", 0.0, (), coverage, surroundings, motion)
    regions = _regions(changed, placement.to_copy, (copy.shape[0], copy.shape[1]), frame)
    return Comparison("edited", round(share, 4), regions, coverage, surroundings, motion)


def _within(changed: Mask, moving: Mask) -> Mask:
    """The changed parts that lie where things move, but for a little of each."""
    count, labels = cv2.connectedComponents(changed.astype(np.uint8), connectivity=8)
    total = np.bincount(labels.ravel(), minlength=count)
    inside = np.bincount(labels[moving], minlength=count) >= _INSIDE_MOTION * total
    inside[0] = False
    return np.asarray(inside[labels], np.bool_)


def _beside(placement: Placement, agrees: float) -> bool:
    """Whether copy and original merely overlap, each going on beyond the other, on a part that proves nothing: an even
    wall of another picture fits somewhere."""
    inside = max(placement.coverage, 1.0 - placement.surroundings)
    return inside < _INSIDE and not (placement.likeness > 0.85 and 0.7 < agrees < 1.0)


def _difference(a: Plane, b: Plane, x: Plane, y: Plane) -> Plane:
    """(h, w): of luma, or of colour at a lower weight, since every encoder spares there. ``x``, ``y``: their luma."""
    d = a - b
    luminance = x - y
    red, green, blue = (np.abs(d[..., channel] - luminance) for channel in range(3))
    colour = _COLOUR * np.maximum(np.maximum(red, green), blue)
    return np.asarray(np.maximum(np.abs(luminance), colour), np.float32)


def _enlarged(to_copy: Homography) -> float:
    return 1.0 / max(float(np.sqrt(abs(np.linalg.det(to_copy[:2, :2])))), 0.05)


def _eroded(mask: Mask) -> Mask:
    """Without two px along every border, the preview's own included: there the copy shows a mixture."""
    kernel = np.ones((5, 5), np.uint8)
    out = cv2.erode(mask.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray(out, np.bool_)


def _smooth(picture: RGB, mask: Mask) -> Plane:
    """Blurred within the mask only: what lies outside does not bleed in."""
    weight = mask.astype(np.float32)
    total = cv2.GaussianBlur(picture.astype(np.float32) * weight[..., None], (0, 0), SIGMA)
    count = np.asarray(cv2.GaussianBlur(weight, (0, 0), SIGMA), np.float32)
    return np.asarray(total / np.maximum(count, 1e-3)[..., None], np.float32)


def _box(plane: Plane, size: int = _WINDOW) -> Plane:
    return np.asarray(cv2.boxFilter(plane, -1, (size, size), borderType=cv2.BORDER_CONSTANT), np.float32)


def _local(plane: Plane, mask: Mask, size: int = _WINDOW) -> Plane:
    """The mean over a window, of what the mask counts."""
    weight = mask.astype(np.float32)
    return np.asarray(_box(plane * weight, size) / np.maximum(_box(weight, size), 1e-3), np.float32)


def _deviation(plane: Plane, mask: Mask, size: int = _WINDOW + 2) -> Plane:
    mean = _local(plane, mask, size)
    return np.asarray(np.sqrt(np.maximum(_local(plane * plane, mask, size) - mean * mean, 0.0)), np.float32)


# ── places ───────────────────────────────────────────────────────────────────────────────────────────────────────
def agreement(x: Plane, y: Plane, mask: Mask, activity: Plane, window: int = 17) -> float:
    """The share of the original's structured px around which the copy correlates with it. Where the original is even
    (as far as the copy shows it): 1 if the copy is even too, else 0."""
    structured = mask & (activity > _STRUCTURE)
    if int(structured.sum()) < max(32, 0.02 * int(mask.sum())):
        return float((mask & (_deviation(y, mask) > 2 * _STRUCTURE)).sum() < 0.05 * mask.sum())
    mean_x, mean_y = _local(x, mask, window), _local(y, mask, window)
    covariance = _local(x * y, mask, window) - mean_x * mean_y
    var_x = np.maximum(_local(x * x, mask, window) - mean_x**2, 0.0)
    var_y = np.maximum(_local(y * y, mask, window) - mean_y**2, 0.0)
    r = covariance / np.sqrt((var_x + 1.0) * (var_y + 1.0))
    return float((r[structured] > _AGREEING).mean())


def _changed(mask: Mask, excess: Plane) -> Mask:
    """Where the difference is over its limit (``excess`` over 1), and somewhere in the same part clearly over it.
    Without specks."""
    over = mask & (excess > 1.0)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(over.astype(np.uint8), connectivity=8)
    clear = np.zeros(count, bool)
    clear[np.unique(labels[over & (excess > _CLEAR)])] = True
    keep = clear & (stats[:, cv2.CC_STAT_AREA] >= _SMALLEST)
    keep[0] = False
    return np.asarray(keep[labels], np.bool_)


def _regions(changed: Mask, to_copy: Homography, copy: tuple[int, int], frame: int) -> tuple[Region, ...]:
    """The largest eight parts, as upright boxes on the copy."""
    joined = cv2.dilate(changed.astype(np.uint8), np.ones((5, 5), np.uint8))
    count, _, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    boxes = sorted((stats[i] for i in range(1, count)), key=lambda s: -int(s[cv2.CC_STAT_AREA]))[:8]
    out = []
    for x, y, w, h, _ in boxes:
        corners = np.array([[x, y, 1], [x + w, y, 1], [x + w, y + h, 1], [x, y + h, 1]], np.float64) @ to_copy.T
        points = np.clip(corners[:, :2] / corners[:, 2:] / [copy[1], copy[0]], 0.0, 1.0)
        (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
        out.append(
            Region(round(float(left), 3), round(float(top), 3), round(float(right), 3), round(float(bottom), 3), frame)
        )
    return tuple(out)
