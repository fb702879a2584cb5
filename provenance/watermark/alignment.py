"""Laying a copy on the tile grid, and bending the grid until the pilots of all tiles agree.

The power spectrum gives one linear map for the whole picture. What is left, a small error of that map and the
perspective of a photographed screen, shows in the pilots: in each tile their phases turn with the local displacement.
Eight parameters (shift, linear map, perspective) are fitted to all tiles at once by Gauss-Newton on the coherent sum,
coarse radii first, since they turn slowest.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import scipy.fft as sf
from numpy.typing import NDArray

from .canonical import Plane
from .lattice import SIDE, Lattice
from .tile import Folded, Sync, fold_spectra, synchronise, tiles_of

_LONGEST = 1280

Homography = NDArray[np.float64]  # (3, 3)


@dataclass(frozen=True, slots=True)
class Aligned:
    """``to_copy``: (3, 3), canonical px to px of the whitened copy, for tiles whose corner is at multiples of 128
    after ``sync.shift`` is taken off. ``spectra``: (n, 128, 65) of each tile; ``centres``: (n, 2) px (x, y)."""

    to_copy: Homography
    spectra: NDArray[np.complex64]
    centres: NDArray[np.float64]
    folded: Folded
    sync: Sync


def _extent(to_copy: Homography, shape: tuple[int, int]) -> tuple[float, float, float, float]:
    height, width = shape
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float64)
    back = cv2.perspectiveTransform(corners[None], np.linalg.inv(to_copy))[0]
    return (*back.min(axis=0), *back.max(axis=0))


def centred(linear: NDArray[np.float64], shape: tuple[int, int]) -> Homography:
    """The map with that linear part that takes the middle of a canonical plane, which just holds the whole copy (or
    1280 px of it), to the copy's middle."""
    height, width = shape
    out = np.eye(3)
    out[:2, :2] = linear
    left, top, right, bottom = _extent(out, shape)
    size = np.minimum([right - left, bottom - top], _LONGEST)
    out[:2, 2] = np.array([width / 2, height / 2]) - linear @ (size / 2)
    return out


def lay(lattice: Lattice, whitened: Plane, to_copy: Homography, *, either_way: bool = False) -> Aligned:
    """Warps the copy onto the grid and synchronises it."""
    _, _, right, bottom = _extent(to_copy, (whitened.shape[0], whitened.shape[1]))
    size = (int(np.clip(np.ceil(right), SIDE, _LONGEST)), int(np.clip(np.ceil(bottom), SIDE, _LONGEST)))
    shrinks = abs(np.linalg.det(to_copy[:2, :2])) > 3.0
    plane = cv2.warpPerspective(
        whitened, to_copy, size, flags=(cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR) | cv2.WARP_INVERSE_MAP
    )
    spectra = np.asarray(sf.rfft2(tiles_of(np.asarray(plane, np.float32))), np.complex64)
    columns = -(-size[0] // SIDE)
    index = np.arange(len(spectra))
    centres = np.stack([index % columns, index // columns], axis=1).astype(np.float64) * SIDE + SIDE / 2
    folded = fold_spectra(spectra)
    sync = synchronise(lattice, folded.spectrum)[0]
    if either_way:
        # A power spectrum looks the same after half a turn; the spectrum of the turned tile is the conjugate.
        turned = synchronise(lattice, folded.spectrum.conj())[0]
        if turned.z > sync.z:
            return lay(lattice, whitened, to_copy @ _half_turn(size))
    return Aligned(to_copy, spectra, centres, folded, sync)


def _half_turn(size: tuple[int, int]) -> Homography:
    return np.array([[-1.0, 0.0, size[0]], [0.0, -1.0, size[1]], [0.0, 0.0, 1.0]])


_REACH = (10.0, 14.0, 19.0, 27.0)


def bend(lattice: Lattice, whitened: Plane, aligned: Aligned) -> Aligned:
    """One round of fitting: returns the better of the two alignments by z."""
    variant = lattice.variants[aligned.sync.variant]
    dy, dx = aligned.sync.shift
    step = 2 * np.pi / SIDE
    q = np.stack([lattice.pilot_l, lattice.pilot_k], axis=1).astype(np.float64)  # (64, 2): x, y
    turn = np.exp(1j * step * (q @ np.array([dx, dy]))) * variant.phasors.conj()
    z = aligned.spectra[:, lattice.pilot_k, lattice.pilot_l] * turn  # (n, 64)
    z = z / (np.abs(z) + np.median(np.abs(z)) + 1e-9)
    middle = aligned.centres.mean(axis=0)
    at = (aligned.centres - middle) / (4 * SIDE)
    x, y = at[:, :1], at[:, 1:]
    one, zero = np.ones_like(x), np.zeros_like(x)
    # (n, 8) displacement along x and along y for each parameter
    along_x = np.hstack([one, zero, x, y, zero, zero, x * x, x * y])
    along_y = np.hstack([zero, one, zero, zero, x, y, x * y, y * y])
    # (n, 64, 8) radians of each pilot in each tile for a unit of each parameter
    slopes = step * (q[:, 0][None, :, None] * along_x[:, None] + q[:, 1][None, :, None] * along_y[:, None])
    theta = np.zeros(8)
    prior = np.diag([0.05, 0.05, 0.4, 0.4, 0.4, 0.4, 1.0, 1.0])
    for reach in _REACH:
        use = lattice.pilot_radius < reach
        slope, start = slopes[:, use].reshape(-1, 8), z[:, use].ravel()
        for _ in range(3):
            turned = start * np.exp(1j * (slope @ theta))
            gradient = -(turned.imag @ slope)
            weight = np.maximum(turned.real, 0.0)
            curvature = (slope * weight[:, None]).T @ slope
            theta = theta + np.linalg.solve(curvature + prior * max(float(weight.sum()) * 0.01, 1e-6), gradient)
    # The tile's content lies displaced by d: content expected at c is found at c + d.
    grid = aligned.centres
    moved = grid + np.stack([along_x @ theta, along_y @ theta], axis=1)
    if len(grid) < 4 or not np.isfinite(moved).all():
        return aligned
    change = _fit(grid, moved)
    if change is None:
        return aligned
    better = lay(lattice, whitened, aligned.to_copy @ change)
    return better if better.sync.z > aligned.sync.z else aligned


def _fit(source: NDArray[np.float64], target: NDArray[np.float64]) -> Homography | None:
    """The homography that takes source points to target points in the least squares sense."""
    if len({tuple(p) for p in source[:, :1]}) < 2 or len({tuple(p) for p in source[:, 1:]}) < 2:
        matrix, _ = cv2.estimateAffinePartial2D(source, target, method=cv2.LMEDS)
        return None if matrix is None else np.vstack([matrix, [0, 0, 1]])
    matrix, _ = cv2.findHomography(source, target, 0)
    return None if matrix is None or not np.isfinite(matrix).all() else np.asarray(matrix, np.float64)
