"""A picture's fingerprint, and whether two fingerprints are of one picture.

Two kinds of evidence. A global one: 256 bits of the picture's DCT as in PDQ (Davis and Rosen, 2019), of the whole and
of its central crops; a question is asked in all eight flips and quarter turns. A local one: ORB points (Rublee et al.,
2011) of the picture and its mirror image, matched and held to one similarity (RANSAC), which finds crops, borders,
captions and small turns. Either only proposes: a match counts when the two pictures, laid over each other, correlate.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, fields
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ...errors import SafetyError

VERSION = "1"
_SIDE, _THUMB, _POINTS = 480, 96, 400
_PARTS = 4
_CROPS = (1.0, 0.85, 0.7, 0.55)
_BITS = 256
_NEAR = 62
"""Bits of 256 that may differ for a pair to be looked at."""
_LEAST_POINTS = 9


@dataclass(frozen=True)
class Print:
    """``hashes``: uint8 (crops, 32); ``thumb``: uint8 (h, w), longest side 96; ``scale``: px of the points' picture for
    one of the thumb; ``points``: float32 (n, 2) and ``bits`` uint8 (n, 32), of the picture; ``mirrored_points`` and
    ``mirrored_bits``: of its mirror image."""

    hashes: NDArray[np.uint8]
    thumb: NDArray[np.uint8]
    scale: NDArray[np.float32]
    points: NDArray[np.float32]
    bits: NDArray[np.uint8]
    mirrored_points: NDArray[np.float32]
    mirrored_bits: NDArray[np.uint8]

    def to_bytes(self) -> bytes:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **{each.name: getattr(self, each.name) for each in fields(self)})
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Print:
        """Raises SafetyError for what is no fingerprint."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as found:
                made = cls(**{each.name: found[each.name] for each in fields(cls)})
        except Exception as error:  # numpy and zipfile raise many kinds
            raise SafetyError("a fingerprint cannot be read", code="safety.register") from error
        shapes = (
            made.hashes.shape == (len(_CROPS), _BITS // 8)
            and made.thumb.ndim == 2
            and made.points.shape == (len(made.bits), 2)
            and made.mirrored_points.shape == (len(made.mirrored_bits), 2)
            and all(b.dtype == np.uint8 and b.ndim == 2 for b in (made.hashes, made.thumb, made.bits))
        )
        if not shapes:
            raise SafetyError("a fingerprint has the wrong shape", code="safety.register")
        return made


def fingerprint(frame: NDArray[np.uint8]) -> Print:
    """``frame``: uint8 (h, w, 3), 16 px a side at least. Raises SafetyError for anything else."""
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or min(frame.shape[:2]) < 16:
        raise SafetyError("a picture is uint8 (h, w, 3), 16 px a side at least", code="safety.shape")
    grey = np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8)
    large = _fitted(grey, _SIDE)
    thumb = _fitted(np.asarray(cv2.GaussianBlur(large, (0, 0), 2.0), np.uint8), _THUMB)
    scale = np.array([large.shape[1] / thumb.shape[1]], np.float32)
    hashes = np.stack([_bits_of(_dct(_centre(large, share))) for share in _CROPS])
    points, bits = _orb(large)
    mirrored_points, mirrored_bits = _orb(np.ascontiguousarray(large[:, ::-1]))
    return Print(hashes, thumb, scale, points, bits, mirrored_points, mirrored_bits)


def likeness(asked: Print, known: Print) -> float:
    """How surely ``asked`` shows the same picture as ``known``, or a part of it, in [0, 1]."""
    best = _by_hash(asked, known)
    if best < 1.0:
        best = max(best, _by_points(asked, known, mirrored=False))
    if best < 1.0:
        best = max(best, _by_points(asked, known, mirrored=True))
    return best


def hash_distance(asked: NDArray[np.uint8], known: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Differing bits of (a, 32) and (b, 32): (a, b)."""
    return np.asarray(np.bitwise_count(asked[:, None] ^ known[None]).sum(axis=2), np.int64)


def turned(asked: Print) -> NDArray[np.uint8]:
    """The hash of the asked picture in its eight flips and quarter turns, (8, 32)."""
    square = cv2.resize(asked.thumb, (64, 64), interpolation=cv2.INTER_AREA)
    return np.stack([_bits_of(_dct(view)) for view in _views(square)])


def _by_hash(asked: Print, known: Print) -> float:
    near = hash_distance(turned(asked), known.hashes)
    if int(near.min()) > _NEAR:
        return 0.0
    view, crop = np.unravel_index(int(near.argmin()), near.shape)
    seen = _views(cv2.resize(asked.thumb, (64, 64), interpolation=cv2.INTER_AREA))[int(view)]
    kept = cv2.resize(_centre(known.thumb, _CROPS[int(crop)]), (64, 64), interpolation=cv2.INTER_AREA)
    whole = _correlation(seen.astype(np.float32), kept.astype(np.float32), np.ones((64, 64), bool))
    return _ramp(whole, 0.88, 0.97)


def _by_points(asked: Print, known: Print, *, mirrored: bool) -> float:
    points, bits = (asked.mirrored_points, asked.mirrored_bits) if mirrored else (asked.points, asked.bits)
    if min(len(bits), len(known.bits)) < _LEAST_POINTS:
        return 0.0
    pairs = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(known.bits, bits)
    close = [pair for pair in pairs if pair.distance <= 60]
    if len(close) < _LEAST_POINTS:
        return 0.0
    source = known.points[[pair.queryIdx for pair in close]]
    target = points[[pair.trainIdx for pair in close]]
    matrix, inside = cv2.estimateAffinePartial2D(
        source, target, method=cv2.RANSAC, ransacReprojThreshold=5.0, maxIters=600, confidence=0.99
    )
    if matrix is None or int(inside.sum()) < _LEAST_POINTS:
        return 0.0
    size = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if not 0.2 <= size <= 5.0:
        return 0.0
    kept = target[inside.ravel() == 1]
    return _ramp(float(len(kept)), 7, 14) * _laid_over(asked, known, np.asarray(matrix, np.float64), mirrored=mirrored)


def _laid_over(asked: Print, known: Print, matrix: NDArray[np.float64], *, mirrored: bool) -> float:
    """Lays the known thumb over the asked one as the points say; do they correlate, on enough of either?"""
    thumb = asked.thumb[:, ::-1] if mirrored else asked.thumb
    ours = matrix.copy()
    # From thumb to thumb: points are in px of the larger pictures.
    ours[:, :2] *= float(known.scale[0]) / float(asked.scale[0])
    ours[:, 2] /= float(asked.scale[0])
    size = (thumb.shape[1], thumb.shape[0])
    warped = cv2.warpAffine(known.thumb, ours, size, flags=cv2.INTER_LINEAR).astype(np.float32)
    covered = cv2.warpAffine(np.full(known.thumb.shape, 255, np.uint8), ours, size) > 250
    of_asked = float(covered.mean())
    of_known = covered.sum() / max(1.0, known.thumb.size * abs(float(np.linalg.det(ours[:, :2]))))
    if max(of_asked, of_known) < 0.25 or covered.sum() < 200:
        return 0.0
    return _ramp(_mostly(thumb.astype(np.float32), warped, covered), 0.6, 0.85)


def _mostly(a: NDArray[np.float32], b: NDArray[np.float32], where: NDArray[np.bool_]) -> float:
    """The correlation of all, or of all but the quarter of the rows that fits least: a caption may stand there."""
    best = _correlation(a, b, where)
    height = len(where)
    for part in range(4):
        rest = where.copy()
        rest[part * height // 4 : (part + 1) * height // 4] = False
        if rest.sum() >= 0.5 * where.sum():
            best = max(best, _correlation(a, b, rest))
    return best


def _correlation(a: NDArray[np.float32], b: NDArray[np.float32], where: NDArray[np.bool_]) -> float:
    x, y = a[where], b[where]
    if len(x) < 16:
        return 0.0
    x, y = x - x.mean(), y - y.mean()
    norm = float(np.sqrt((x * x).sum() * (y * y).sum()))
    # Nearly flat: noise would decide.
    if norm < 9.0 * len(x):
        return 0.0
    return float((x * y).sum()) / norm


def _ramp(value: float, low: float, high: float) -> float:
    return float(min(1.0, max(0.0, (value - low) / (high - low))))


def _fitted(grey: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    scale = side / max(grey.shape)
    size = (max(16, round(grey.shape[1] * scale)), max(16, round(grey.shape[0] * scale)))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR))


def _centre(grey: NDArray[Any], share: float) -> NDArray[Any]:
    height, width = (max(8, round(side * share)) for side in grey.shape)
    top, left = (grey.shape[0] - height) // 2, (grey.shape[1] - width) // 2
    return grey[top : top + height, left : left + width]


def _dct(grey: NDArray[Any]) -> NDArray[np.float32]:
    small = cv2.resize(grey, (64, 64), interpolation=cv2.INTER_AREA).astype(np.float32)
    return np.asarray(cv2.dct(small)[1:17, 1:17])


def _bits_of(coefficients: NDArray[np.float32]) -> NDArray[np.uint8]:
    flat = coefficients.ravel()
    return np.packbits(flat > np.median(flat))


def _views(square: NDArray[Any]) -> list[NDArray[Any]]:
    return [np.ascontiguousarray(np.rot90(base, turns)) for base in (square, square[:, ::-1]) for turns in range(4)]


def _orb(grey: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """The strongest points of each part of a grid, so that a caption does not take them all."""
    create: Any = getattr(cv2, "ORB_create")  # noqa: B009  OpenCV's own stubs lack it
    detector = create(nfeatures=4 * _POINTS, scaleFactor=1.25, nlevels=7, fastThreshold=8, edgeThreshold=16)
    height, width = grey.shape
    parts: dict[tuple[int, int], list[Any]] = {}
    for point in sorted(detector.detect(grey, None), key=lambda each: -each.response):
        part = parts.setdefault((int(point.pt[1] * _PARTS / height), int(point.pt[0] * _PARTS / width)), [])
        if len(part) < _POINTS // _PARTS**2:
            part.append(point)
    found, bits = detector.compute(grey, [point for part in parts.values() for point in part])
    if bits is None or not len(found):
        return np.empty((0, 2), np.float32), np.empty((0, 32), np.uint8)
    return np.asarray([point.pt for point in found], np.float32), np.asarray(bits, np.uint8)
