"""Where a copy lies on the original: from the codec's geometry, which knows it modulo a tile, to the stored preview.

The mark's tile repeats every 128 canonical px, so the geometry that a detection found leaves the whole tiles open by
which the copy was moved. They are found on the preview: copy and original are laid on one coarse grid on which a tile
is a whole number of px, and correlated over their overlap at every shift at once (D. Padfield, *Masked object
registration in the Fourier domain*, IEEE Transactions on Image Processing 21(5), 2012). A candidate is worth what it
explains: over n px with correlation r, the Gaussian log-likelihood ratio -n/2 log(1 - r^2), so that a small overlap
which happens to agree does not win over a large one that does.

Pure. Bounded for matrices that make no sense: they give None, never an exception.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .refining import likeness, refine
from .warping import (
    RGB,
    Homography,
    Plane,
    corners_of,
    correlation,
    luma,
    masked_correlation,
    overlap,
    through,
    warp_plane,
)

_TILE = 128
_SHORT_SIDE = 512
_NEAR, _EVEN, _FLOOR = 9, 20.0, 3.0
_PRIOR = 0.05
"""What it is worth, a px, that a copy shows a part of the original, or the original is a part of the copy."""
_FARTHEST = 8192.0
"""Canonical px, a side, that a copy may span: a 4K screen shows a picture of 512 px on 3840."""
_LARGEST_GRID = 320
_SMALLEST_SHARE = 0.02


@dataclass(frozen=True, slots=True)
class Placement:
    """``to_copy``: (3, 3), px of the preview to px of the copy, both counted from the corner of the corner px.
    ``coverage``: share of the original that the copy shows; ``surroundings``: share of the copy that is not the
    original: window borders, a page, a pad. Both in [0, 1]. ``outline``: the corners of the part of the copy that shows
    the original, in fractions of the copy's width and height. ``likeness``: correlation of luma over the overlap, in
    [-1, 1]."""

    to_copy: Homography
    coverage: float
    surroundings: float
    outline: tuple[tuple[float, float], ...]
    likeness: float


def whole(shape: tuple[int, int], copy: tuple[int, int]) -> Homography:
    """The copy shows all of the original, upright. Both (height, width)."""
    return np.diag([copy[1] / shape[1], copy[0] / shape[0], 1.0])


def place(
    original: RGB, copy: RGB, matrix: Sequence[float] | None, size: tuple[int, int] | None = None
) -> Placement | None:
    """``original``: a preview's picture. ``copy``: any size. ``matrix``: of the codec's `Geometry`, None where it
    cannot tell. ``size``: (height, width) of the original, where it is known: a preview's sides are rounded.

    That the copy may simply be the whole picture is always tried too. None where nothing overlaps enough."""
    if min(*original.shape[:2], *copy.shape[:2]) < 8:
        return None
    shape = (original.shape[0], original.shape[1])
    small, shrink = shrunk(copy, pixel_scale(matrix, shape, size), shape)
    best = choose([original], small, to_shrunk(matrix, shrink), size)
    if best is None:
        return None
    return placed(original, small, best, shrink)


def placed(
    original: RGB, small: RGB, to_small: Homography, shrink: tuple[float, float] = (1.0, 1.0)
) -> Placement | None:
    """The refined placement by a map to px of a shrunk copy; None where the two do not overlap enough to tell
    anything. ``shrink``: as `shrunk` gave it, so that the placement is one on the unshrunk copy."""
    return laid(original, small, refine(original, small, to_small), shrink)


def laid(original: RGB, small: RGB, to_small: Homography, shrink: tuple[float, float] = (1.0, 1.0)) -> Placement | None:
    """As `placed`, with the map taken as it is."""
    shape = (original.shape[0], original.shape[1])
    seen = overlap(shape, (small.shape[0], small.shape[1]), to_small)
    if seen is None:
        return None
    outline, share_of_copy, share_of_original = seen
    if share_of_copy < _SMALLEST_SHARE or share_of_original < _SMALLEST_SHARE / 4:
        return None
    to_copy = np.diag([1 / shrink[0], 1 / shrink[1], 1.0]) @ to_small
    surroundings = 0.0 if share_of_copy > 0.995 else round(1.0 - share_of_copy, 4)
    coverage = 1.0 if share_of_original > 0.995 else round(share_of_original, 4)
    like = round(likeness(original, small, to_small), 4)
    return Placement(to_copy / to_copy[2, 2], coverage, surroundings, outline, like)


# ── the copy, at the preview's resolution ────────────────────────────────────────────────────────────────────────
def pixel_scale(matrix: Sequence[float] | None, shape: tuple[int, int], size: tuple[int, int] | None) -> float | None:
    """Px of the copy for a px of the preview, by the matrix; None where it makes no sense."""
    lattice = _checked(matrix)
    if lattice is None:
        return None
    canonical = _canonical(shape, size)
    return float(np.sqrt(abs(np.linalg.det(lattice[:2, :2])))) * canonical[1] / shape[1]


def shrunk(copy: RGB, scale: float | None, shape: tuple[int, int]) -> tuple[RGB, tuple[float, float]]:
    """The copy with about one px for a px of the preview, by averaging over areas, and how much smaller it is
    (x, y). Never enlarged, never over 2048 px a side."""
    height, width = copy.shape[:2]
    if scale is None or not 0.02 < scale < 100:
        scale = max(height / shape[0], width / shape[1])
    factor = min(1.0, 1.0 / scale, 2048 / max(height, width))
    size = (max(8, round(width * factor)), max(8, round(height * factor)))
    if size[0] >= width or size[1] >= height:
        return copy, (1.0, 1.0)
    small = cv2.resize(copy, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8), (size[0] / width, size[1] / height)


def to_shrunk(matrix: Sequence[float] | None, shrink: tuple[float, float]) -> Homography | None:
    """The codec's matrix for the shrunk copy; None where it makes no sense."""
    lattice = _checked(matrix)
    return None if lattice is None else np.asarray(np.diag([*shrink, 1.0]) @ lattice, np.float64)


def _checked(matrix: Sequence[float] | None) -> Homography | None:
    if matrix is None or len(matrix) != 9:
        return None
    out = np.asarray(matrix, np.float64).reshape(3, 3)
    if not np.isfinite(out).all() or np.abs(out).max() > 1e9 or abs(out[2, 2]) < 1e-9:
        return None
    out = out / out[2, 2]
    area = abs(float(np.linalg.det(out[:2, :2])))
    if not 1e-6 < area < 1e6 or np.linalg.cond(out[:2, :2]) > 20 or not np.isfinite(out).all():
        return None
    return out if abs(np.linalg.det(out)) > 1e-9 else None


def _canonical(shape: tuple[int, int], size: tuple[int, int] | None) -> tuple[float, float]:
    """(height, width) of the canonical picture."""
    height, width = shape
    if size is not None and min(size) > 0:
        # A preview's sides are rounded, no more: a size of another shape is not that of its original.
        stretched = size[1] * shape[0] / (size[0] * shape[1])
        if abs(stretched - 1.0) < 1.5 / min(shape):
            height, width = size
    factor = _SHORT_SIDE / min(height, width)
    return height * factor, width * factor


# ── which tile ───────────────────────────────────────────────────────────────────────────────────────────────────
def choose(
    originals: Sequence[RGB], small: RGB, lattice: Homography | None, size: tuple[int, int] | None
) -> Homography | None:
    """The map from the preview's px to the shrunk copy's that explains most of what both show, for the one of the
    ``originals`` (all of one shape) that it fits best."""
    best: tuple[float, Homography] | None = None
    for original in originals:
        for score, found in scored(original, small, lattice, size):
            if best is None or score > best[0]:
                best = score, found
    return None if best is None else best[1]


def scored(
    original: RGB, small: RGB, lattice: Homography | None, size: tuple[int, int] | None
) -> list[tuple[float, Homography]]:
    """Up to two candidates with their scores: the best of the lattice's shifts, and the whole picture upright."""
    shape, copy = (original.shape[0], original.shape[1]), (small.shape[0], small.shape[1])
    out: list[tuple[float, Homography]] = []
    upright = whole(shape, copy)
    picture, seen = luma(original), luma(small)
    canonical = _canonical(shape, size)
    coarse = (max(4, round(canonical[1] / 8)), max(4, round(canonical[0] / 8)))
    a, b = (np.asarray(cv2.resize(p, coarse, interpolation=cv2.INTER_AREA), np.float32) for p in (picture, seen))
    everywhere = np.ones(a.shape, bool)
    r = correlation(_evened(a, everywhere), _evened(b, everywhere), everywhere)
    out.append((_worth(r, canonical[0] * canonical[1], 1.0), upright))
    if lattice is not None and (shifted := _shifted(picture, seen, lattice, canonical)) is not None:
        score, corner = shifted
        to_canonical = np.diag([canonical[1] / shape[1], canonical[0] / shape[0], 1.0])
        move = np.array([[1.0, 0.0, corner[0]], [0.0, 1.0, corner[1]], [0.0, 0.0, 1.0]])
        out.append((score, np.asarray(lattice @ move @ to_canonical, np.float64)))
    return out


def _worth(r: float, area: float, share: float) -> float:
    """``area``: canonical px of the overlap; ``share``: of the smaller of the two that it is."""
    pixels = area / 256.0
    return pixels * float(-0.5 * np.log1p(-(min(max(r, 0.0), 0.999) ** 2)) + _PRIOR * share)


def _shifted(
    picture: Plane, seen: Plane, lattice: Homography, canonical: tuple[float, float]
) -> tuple[float, tuple[float, float]] | None:
    """The best score, and where the original's corner then lies: whole tiles, in the matrix's canonical px (x, y)."""
    corners = through(np.asarray(np.linalg.inv(lattice), np.float64), corners_of((seen.shape[0], seen.shape[1])))
    if corners is None:
        return None
    low, high = corners.min(axis=0), corners.max(axis=0)
    if float((high - low).max()) > _FARTHEST or float((high - low).min()) < 8 or np.abs(corners).max() > 1e7:
        return None
    if max(canonical) > _FARTHEST:
        return None
    longest = max(*canonical, *(high - low))
    step = 8.0 if longest <= 8 * _LARGEST_GRID else (16.0 if longest <= 16 * _LARGEST_GRID else 32.0)
    tile = int(_TILE / step)
    # The copy's grid begins on a tile, so that every candidate is a whole number of tiles.
    first = np.floor(low / _TILE) * _TILE
    shape = (int(np.ceil((high[1] - first[1]) / step)), int(np.ceil((high[0] - first[0]) / step)))
    grid = np.array([[step, 0.0, first[0]], [0.0, step, first[1]], [0.0, 0.0, 1.0]])
    warped, mask = warp_plane(_smoothed(seen, lattice, step), lattice @ grid, shape)
    size = (max(2, round(canonical[1] / step)), max(2, round(canonical[0] / step)))
    reference = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.float32)
    everywhere = np.ones(reference.shape, bool)
    count, r = masked_correlation(_evened(reference, everywhere), _evened(warped, mask), mask)
    rows, columns = reference.shape
    # Entry (i, j) is the original's corner at grid px (i - rows + 1, j - columns + 1) of the copy.
    top, left = (rows - 1) % tile, (columns - 1) % tile
    count, r = count[top::tile, left::tile], r[top::tile, left::tile]
    smaller = min(float(mask.sum()), rows * columns)
    share = count / max(smaller, 1.0)
    score = count * step * step / 256.0 * (-0.5 * np.log1p(-(np.clip(r, 0.0, 0.999) ** 2)) + _PRIOR * share)
    score[share < _SMALLEST_SHARE] = -1.0
    if not score.size or float(score.max()) <= 0.0:
        return None
    i, j = np.unravel_index(int(score.argmax()), score.shape)
    y, x = top + int(i) * tile - rows + 1, left + int(j) * tile - columns + 1
    return float(score[i, j]), (float(first[0] + x * step), float(first[1] + y * step))


def _evened(plane: Plane, mask: NDArray[np.bool_]) -> Plane:
    """Each px against its neighbourhood, so that a bright bar laid over a part does not outweigh the picture."""
    weight = mask.astype(np.float32)
    size = (_NEAR, _NEAR)
    count = np.maximum(cv2.blur(weight, size), 1e-3)
    mean = cv2.blur(plane * weight, size) / count
    spread = np.sqrt(np.maximum(cv2.blur(plane * plane * weight, size) / count - mean * mean, 0.0))
    return np.asarray(np.where(mask, _EVEN * (plane - mean) / (spread + _FLOOR), 0.0), np.float32)


def _smoothed(seen: Plane, lattice: Homography, step: float) -> Plane:
    """Blurred as much as the coarse grid needs, so that it does not alias."""
    wide = step * float(np.sqrt(abs(np.linalg.det(lattice[:2, :2]))))
    size = max(1, min(round(wide), 63))
    return np.asarray(cv2.blur(seen, (size, size)), np.float32)
