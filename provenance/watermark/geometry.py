"""Finding how a copy lies on the canonical tile grid: scale, rotation, aspect, shear and flip, from the power spectrum.

The repeated tile puts all of the mark's energy on the points of a square lattice of frequencies. A copy that was
scaled, turned or squeezed shows the same lattice under a linear map. Two steps:

1. *Coarse.* The power spectrum, divided by its own neighbourhood, is sampled in logarithmic polar coordinates, where
   scale and rotation are shifts, and correlated with the pilots by FFT: every scale and every angle at once
   (B. S. Reddy and B. N. Chatterji, 1996, for the coordinates; the template after J. J. K. O Ruanaidh and T. Pun,
   1997). A squeezed copy needs the coordinates squeezed back, so this is done for a few aspects.
2. *Fine.* The best candidates are moved uphill on the sum of power over all points of the lattice.

The power spectrum cannot tell half a turn; the pilots' phases can, later.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import scipy.fft as sf
from numpy.typing import NDArray

from .canonical import Plane
from .lattice import SIDE, Lattice

_SIZE = 1024
_ANGLES = 512
_RADII = 600
_STEP = np.pi / _ANGLES
_FREQUENCY_MIN = 0.0125
"""Cycles a px at the first radius sampled."""
_PADDED = 672
ASPECTS = (0.0, 0.033, -0.033, 0.066, -0.066, 0.1, -0.1)
"""Logarithms of width over height that are searched."""
_SCALE_RANGE = (0.36, 3.2)
_LIMIT = 6.0

Matrix = NDArray[np.float64]  # (2, 2)


@dataclass(frozen=True, slots=True)
class Spectrum2D:
    """``power``: (1024, 513) float32, normalised to mean 0 by its neighbourhood; rows from -512 to 511 cycles."""

    power: Plane


@dataclass(frozen=True, slots=True)
class Candidate:
    """``frequency``: (2, 2), takes a lattice point (l, k) in cycles a tile to (x, y) in cycles a px of the copy.
    ``z``: standard deviations above what no mark gives. ``tilt``: of the picture whose spectrum this was, see
    `tilting`."""

    z: float
    frequency: Matrix
    tilt: tuple[float, float] = (0.0, 0.0)

    @property
    def linear(self) -> Matrix:
        """(2, 2): takes canonical px (x, y) to px of the copy."""
        return np.asarray(np.linalg.inv(self.frequency * SIDE).T)


def power_spectrum(whitened: Plane) -> Spectrum2D:
    """Of a whitened picture, its middle if it is larger than 1024 px."""
    height, width = whitened.shape
    top, left = max(0, (height - _SIZE) // 2), max(0, (width - _SIZE) // 2)
    cut = np.clip(whitened[top : top + _SIZE, left : left + _SIZE], -2.5, 2.5)
    window = np.outer(np.sqrt(np.hanning(cut.shape[0] + 2)[1:-1]), np.sqrt(np.hanning(cut.shape[1] + 2)[1:-1]))
    spectrum = sf.rfft2((cut * window).astype(np.float32), (_SIZE, _SIZE))
    power = np.roll(spectrum.real**2 + spectrum.imag**2, _SIZE // 2, axis=0).astype(np.float32)
    around = cv2.blur(power, (41, 41), borderType=cv2.BORDER_REFLECT_101)
    return Spectrum2D(np.minimum(power / (around + 1e-12), np.float32(_LIMIT)) - np.float32(0.98))


def tilting(shape: tuple[int, int], tilt: tuple[float, float]) -> Matrix:
    """(3, 3): from px of a picture of (h, w), seen straight, to px of the same picture tilted about its middle. The
    picture's nearer end is larger by 2 x ``tilt`` than its middle, over half its shorter side."""
    height, width = shape
    reach = min(height, width) / 2
    to_middle = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1.0]])
    lean = np.array([[1, 0, 0], [0, 1, 0], [tilt[0] / reach, tilt[1] / reach, 1.0]])
    return np.asarray(np.linalg.inv(to_middle) @ lean @ to_middle)


_TILT = 0.017
_TILTS = tuple((x * _TILT, y * _TILT) for x in (-1, 0, 1) for y in (-1, 0, 1) if (x, y) != (0, 0))


def tilted(lattice: Lattice, whitened: Plane, best: int) -> list[Candidate]:
    """Candidates of the picture tilted a little in eight directions: perspective smears the lattice otherwise."""
    found = []
    height, width = whitened.shape
    for tilt in _TILTS:
        straight = cv2.warpPerspective(
            whitened, tilting((height, width), tilt), (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
        spectrum = power_spectrum(np.asarray(straight, np.float32))
        rough = coarse(lattice, spectrum, ASPECTS[:1], 3, (False,))
        found += refine(lattice, spectrum, [Candidate(c.z, c.frequency, tilt) for c in rough])
    return sorted(found, key=lambda c: -c.z)[:best]


@cache
def _grid() -> tuple[Plane, Plane]:
    """Frequencies (x, y) in cycles a px, (512 angles, 640 radii)."""
    angle = (np.arange(_ANGLES) * _STEP - np.pi / 2)[:, None]
    radius = _FREQUENCY_MIN * np.exp(np.arange(_RADII) * _STEP)[None]
    return (np.cos(angle) * radius).astype(np.float32), (np.sin(angle) * radius).astype(np.float32)


_DATA_WEIGHT = 0.1
"""A data point holds about a fifth of a pilot's power."""


@cache
def _template(lattice: Lattice, mirrored: bool) -> tuple[NDArray[np.complex64], Plane]:
    """Conjugate spectrum of the weighted lattice in the same coordinates at scale 1 (frequencies in cycles a
    canonical px), and for each scale the sum of squared weights of the points that are in range."""
    x = np.concatenate([lattice.pilot_l, lattice.l]) / SIDE
    y = np.concatenate([lattice.pilot_k, lattice.k]) / SIDE * (-1 if mirrored else 1)
    weight = np.where(np.arange(len(x)) < len(lattice.pilot_l), 1.0, _DATA_WEIGHT)
    angle = (np.arctan2(y, x) + np.pi / 2) / _STEP
    radius = np.log(np.hypot(x, y) / _FREQUENCY_MIN) / _STEP
    a, r = np.floor(angle).astype(int), np.floor(radius).astype(int)
    plane = np.zeros((_ANGLES, _PADDED), np.float32)
    for i, along in ((0, 1 - (angle - a)), (1, angle - a)):
        for j, out in ((0, 1 - (radius - r)), (1, radius - r)):
            np.add.at(plane, ((a + i) % _ANGLES, r + j), weight * along * out)
    squares = np.bincount(np.rint(radius).astype(int), weight**2, _PADDED)
    inside = (np.arange(_PADDED) < _limit()).astype(np.float64)
    counts = sf.irfft(sf.rfft(inside) * np.conj(sf.rfft(squares)), _PADDED)
    return np.asarray(np.conj(sf.rfft2(plane)), np.complex64), np.asarray(counts, np.float32)


def _limit() -> int:
    """The radius at which the frequencies of a picture end."""
    return int(np.log(0.48 / _FREQUENCY_MIN) / _STEP)


def coarse(
    lattice: Lattice,
    spectrum: Spectrum2D,
    aspects: tuple[float, ...],
    best: int,
    mirror_images: tuple[bool, ...] = (False, True),
) -> list[Candidate]:
    """The ``best`` candidates over all scales from 0.36 to 3.2, all angles and both mirror images."""
    found: list[tuple[float, Matrix]] = []
    x, y = _grid()
    limit = _limit()
    low, high = (round(np.log(s) / _STEP) for s in _SCALE_RANGE)
    shifts = np.arange(low, high)
    for aspect in aspects:
        # A copy that is wider by exp(aspect) has its frequencies along x divided by it.
        fx, fy = x * np.float32(np.exp(-aspect / 2)), y * np.float32(np.exp(aspect / 2))
        sampled = cv2.remap(
            spectrum.power, fx * _SIZE, fy * _SIZE + _SIZE // 2, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
        )
        padded = np.zeros((_ANGLES, _PADDED), np.float32)
        padded[:, :limit] = sampled[:, :limit]
        forward = sf.rfft2(padded)
        for mirrored in mirror_images:
            template, counts = _template(lattice, mirrored)
            score = sf.irfft2(forward * template, (_ANGLES, _PADDED))[:, shifts % _PADDED]
            z = score / np.sqrt(np.maximum(counts[shifts % _PADDED], 12.0))
            peaks = (z == cv2.dilate(z, np.ones((5, 5), np.uint8))) & (z > 3.0)
            rows, columns = np.nonzero(peaks)
            order = np.argsort(-z[rows, columns])[:best]
            for row, column in zip(rows[order], columns[order], strict=True):
                scale, angle = np.exp(shifts[column] * _STEP), row * _STEP
                turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
                squeeze = np.diag([np.exp(-aspect / 2), np.exp(aspect / 2)])
                mirror = np.diag([1.0, -1.0 if mirrored else 1.0])
                found.append((float(z[row, column]), squeeze @ turn @ mirror * scale / SIDE))
    found.sort(key=lambda f: -f[0])
    return [Candidate(z, matrix) for z, matrix in found[:best]]


def refine(lattice: Lattice, spectrum: Spectrum2D, candidates: list[Candidate], rounds: int = 11) -> list[Candidate]:
    """Moves each candidate uphill in scale, angle, aspect and shear; returns them by falling z."""
    if not candidates:
        return []
    points = np.stack(
        [np.concatenate([lattice.pilot_l, lattice.l]), np.concatenate([lattice.pilot_k, lattice.k])]
    ).astype(np.float64)
    radius = np.hypot(*points)
    weight = np.where(np.arange(points.shape[1]) < len(lattice.pilot_k), 1.0, _DATA_WEIGHT).astype(np.float32)
    current = np.stack([c.frequency for c in candidates])
    moves = np.array([[[1, 0], [0, 1]], [[0, -1], [1, 0]], [[0.5, 0], [0, -0.5]], [[0, 0.5], [0.5, 0]]], np.float64)
    moves = np.concatenate([np.zeros((1, 2, 2)), moves, -moves])
    step = np.full(len(candidates), 0.006)
    for turn in range(rounds):
        reach = (12.0, 16.0, 20.0, 24.0)[min(turn // 2, 3)] if turn < 8 else 31.0
        use = radius < reach
        trial = current[:, None] @ (np.eye(2) + step[:, None, None, None] * moves)
        z = _lattice_score(spectrum, trial.reshape(-1, 2, 2), points[:, use], weight[use]).reshape(trial.shape[:2])
        choice = z.argmax(axis=1)
        current = trial[np.arange(len(current)), choice]
        step = np.where(choice == 0, step * 0.5, step)
    # The whole lattice looks the same turned by 90 degrees or mirrored; the pilots do not.
    pilots = slice(0, len(lattice.pilot_k))
    best = _lattice_score(spectrum, current, points[:, pilots], weight[pilots])
    order = np.argsort(-best)
    return [Candidate(float(best[i]), current[i], candidates[i].tilt) for i in order]


def _lattice_score(spectrum: Spectrum2D, maps: Matrix, points: Matrix, weight: Plane) -> Plane:
    """(c,) weighted sums of power over the lattice, in standard deviations, for (c, 2, 2) maps."""
    f = maps @ points
    f *= np.where(f[:, :1] < 0, -1.0, 1.0)  # the other half of the plane is its mirror image
    inside = (np.abs(f) < 0.48).all(axis=1)
    values = cv2.remap(
        spectrum.power,
        (f[:, 0] * _SIZE).astype(np.float32),
        (f[:, 1] * _SIZE + _SIZE // 2).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
    )
    weights = weight[None] * inside
    return np.asarray((values * weights).sum(axis=1) / np.sqrt((weights**2).sum(axis=1) + 1e-6), np.float32)
