"""Attacks on a picture's geometry: size, crop, frame, flips, turns, aspect and perspective."""

from __future__ import annotations

import cv2
import numpy as np

from .pictures import RGB


def to_size(rgb: RGB, width: int, height: int) -> RGB:
    """Averaged over areas where smaller, cubic where larger."""
    smaller = width * height < rgb.shape[0] * rgb.shape[1]
    how = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(rgb, (max(1, width), max(1, height)), interpolation=how), np.uint8)


def resize(rgb: RGB, factor: float) -> RGB:
    """``factor`` of both sides; it is not scaled back."""
    return to_size(rgb, round(rgb.shape[1] * factor), round(rgb.shape[0] * factor))


def crop(rgb: RGB, rng: np.random.Generator, removed: float) -> RGB:
    """Keeps 1 - ``removed`` of the area: a rectangle of random aspect (log-uniform over all that fit), anywhere."""
    height, width = rgb.shape[:2]
    kept = 1 - removed
    share = kept ** rng.random()  # of the width; the rest of `kept` is of the height
    w, h = round(width * share), round(height * kept / share)
    left, top = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
    return np.ascontiguousarray(rgb[top : top + h, left : left + w])


def pad(rgb: RGB, rng: np.random.Generator) -> RGB:
    """A border of one random colour; each edge's own width is 10 to 25 % of the side."""
    height, width = rgb.shape[:2]
    top, bottom, left, right = rng.uniform(0.10, 0.25, 4) * [height, height, width, width]
    colour = rng.integers(0, 256, 3).tolist()
    above, below, before, after = (round(edge) for edge in (top, bottom, left, right))
    bordered = cv2.copyMakeBorder(rgb, above, below, before, after, cv2.BORDER_CONSTANT, value=colour)
    return np.asarray(bordered, np.uint8)


def flip(rgb: RGB, axis: int) -> RGB:
    """``axis`` 1: left to right. 0: upside down."""
    return np.ascontiguousarray(np.flip(rgb, axis))


def quarter_turns(rgb: RGB, turns: int) -> RGB:
    """``turns`` x 90 degrees counter-clockwise."""
    return np.ascontiguousarray(np.rot90(rgb, turns))


def inner_rectangle(width: int, height: int, degrees: float) -> tuple[int, int]:
    """(width, height) of the largest upright rectangle inside a turned one.

    Either two of its corners lie on the long sides (a half-constrained case, for large angles or long pictures), or
    all four touch: w cos + h sin = width, w sin + h cos = height.
    """
    angle = np.deg2rad(abs(degrees))
    sine, cosine = np.sin(angle), np.cos(angle)
    long, short = max(width, height), min(width, height)
    if short <= 2 * sine * cosine * long:
        half = 0.5 * short
        w, h = (half / sine, half / cosine) if width >= height else (half / cosine, half / sine)
    else:
        double = cosine * cosine - sine * sine
        w, h = (width * cosine - height * sine) / double, (height * cosine - width * sine) / double
    return int(w), int(h)


def rotate(rgb: RGB, rng: np.random.Generator, limit: float, inner: bool) -> RGB:
    """Turns by an angle uniform in +-``limit`` degrees about the centre. ``inner``: cut to what has no border;
    otherwise the size stays, corners leave the picture, and the gaps get one random colour."""
    height, width = rgb.shape[:2]
    degrees = float(rng.uniform(-limit, limit))
    colour = rng.integers(0, 256, 3).tolist()
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    turned = cv2.warpAffine(rgb, matrix, (width, height), flags=cv2.INTER_CUBIC, borderValue=colour)
    if inner:
        w, h = inner_rectangle(width, height, degrees)
        # Two pixels less, so that cubic interpolation never saw the border.
        w, h = max(1, w - 4), max(1, h - 4)
        left, top = (width - w) // 2, (height - h) // 2
        turned = turned[top : top + h, left : left + w]
    return np.ascontiguousarray(turned, np.uint8)


def aspect(rgb: RGB, factor: float) -> RGB:
    """Only the width changes, by ``factor``."""
    return to_size(rgb, round(rgb.shape[1] * factor), rgb.shape[0])


def perspective(rgb: RGB, rng: np.random.Generator, share: float) -> RGB:
    """Each corner moves by up to ``share`` of the side, in or out, each way by itself. Gaps get one random colour."""
    height, width = rgb.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    moved = corners + (rng.uniform(-share, share, (4, 2)) * [width, height]).astype(np.float32)
    matrix = cv2.getPerspectiveTransform(corners, moved.astype(np.float32))
    colour = rng.integers(0, 256, 3).tolist()
    warped = cv2.warpPerspective(rgb, matrix, (width, height), flags=cv2.INTER_CUBIC, borderValue=colour)
    return np.asarray(warped, np.uint8)
