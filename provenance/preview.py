"""The stored preview of an asset, and whether a copy shows the same content, part by part.

A preview is one JPEG: up to eight frames of the asset, 256 px on the longer side, one under the other. A copy is put
over it with the geometry that the watermark codec found, both are smoothed, brightness and contrast are fitted, and
a grid of cells is compared by structure. Recompression and scaling change every cell a little; painting over changes
a few cells a lot; another picture changes most cells a lot.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .media.files import picture_from_bytes
from .media.values import Frame

SIDE = 256
MAX_FRAMES = 8
_CELL = 16
_CELL_LIMIT = 14.0
"""Mean absolute difference of a smoothed cell, in grey levels, above which it is changed. JPEG 30 of a photograph
stays under 6; a painted block is over 40."""
_DIFFERENT_SHARE = 0.45

Match = Literal["same", "edited", "different"]
RGB = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Region:
    """A changed part, in fractions of the picture's width and height from the top left; ``frame`` of the preview."""

    left: float
    top: float
    right: float
    bottom: float
    frame: int = 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """``changed``: the share of cells that differ, in [0, 1]."""

    match: Match
    changed: float
    regions: tuple[Region, ...]


@dataclass(frozen=True, slots=True)
class Preview:
    """``data``: a JPEG of one or more pictures, each (height, width) px, stacked from top to bottom."""

    data: bytes
    width: int
    height: int

    def pictures(self) -> list[RGB]:
        strip = picture_from_bytes(self.data)
        return [strip[top : top + self.height] for top in range(0, strip.shape[0] - self.height + 1, self.height)]


def _shrink(frame: RGB) -> RGB:
    scale = SIDE / max(frame.shape[:2])
    size = (max(8, round(frame.shape[1] * scale)), max(8, round(frame.shape[0] * scale)))
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)


class PreviewMaker:
    """Collects a preview from a stream of unknown length: when it is full, every other frame is dropped and from
    then on half as many are taken, so that the kept ones stay evenly spread and memory stays the same."""

    def __init__(self) -> None:
        self._kept: list[RGB] = []
        self._stride, self._seen = 1, 0

    def look(self, frame: RGB) -> None:
        if self._seen % self._stride == 0:
            if len(self._kept) == MAX_FRAMES:
                self._kept = self._kept[::2]
                self._stride *= 2
            if self._seen % self._stride == 0:
                self._kept.append(_shrink(frame))
        self._seen += 1

    def preview(self) -> Preview | None:
        if not self._kept:
            return None
        height, width = self._kept[0].shape[:2]
        kept = [p for p in self._kept if p.shape[:2] == (height, width)]
        out = io.BytesIO()
        Image.fromarray(np.vstack(kept)).save(out, "JPEG", quality=88, subsampling=0)
        return Preview(out.getvalue(), width, height)


def compare_picture(original: RGB, copy: RGB, frame: int = 0) -> Comparison:
    """``original``: a preview's picture. ``copy``: any size, upright and uncropped as the codec's geometry says."""
    height, width = original.shape[:2]
    size = (width, height)
    a = cv2.GaussianBlur(original, (0, 0), 2.0).astype(np.float32)
    b = cv2.GaussianBlur(cv2.resize(copy, size, interpolation=cv2.INTER_AREA), (0, 0), 2.0).astype(np.float32)
    b = _fit_tones(a, b)
    difference = np.abs(a - b).max(axis=2)
    rows, columns = -(-height // _CELL), -(-width // _CELL)
    cells = cv2.resize(
        cv2.copyMakeBorder(difference, 0, rows * _CELL - height, 0, columns * _CELL - width, cv2.BORDER_REFLECT_101),
        (columns, rows),
        interpolation=cv2.INTER_AREA,
    )
    changed = cells > _CELL_LIMIT
    share = float(changed.mean())
    if share > _DIFFERENT_SHARE:
        return Comparison("different", share, ())
    if not changed.any():
        return Comparison("same", 0.0, ())
    return Comparison("edited", share, _regions(changed, rows, columns, frame))


def _fit_tones(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Gain and offset a channel, fitted on the half of the pixels that agree best, so that an edit does not move it."""
    out = b.copy()
    for channel in range(3):
        x, y = b[..., channel].ravel(), a[..., channel].ravel()
        keep = np.ones(len(x), bool)
        gain, offset = 1.0, 0.0
        for _ in range(3):
            spread = float(x[keep].std())
            if spread > 2.0:
                covariance = float(((x[keep] - x[keep].mean()) * (y[keep] - y[keep].mean())).mean())
                gain = float(np.clip(covariance / spread**2, 0.6, 1.7))
            else:
                gain = 1.0
            offset = float(np.clip(y[keep].mean() - gain * x[keep].mean(), -60, 60))
            error = np.abs(gain * x + offset - y)
            keep = error <= np.median(error) + 1e-6
        out[..., channel] = gain * b[..., channel] + offset
    return out


def _regions(changed: NDArray[np.bool_], rows: int, columns: int, frame: int) -> tuple[Region, ...]:
    count, _, stats, _ = cv2.connectedComponentsWithStats(changed.astype(np.uint8), connectivity=8)
    boxes = sorted((stats[i] for i in range(1, count)), key=lambda s: -int(s[cv2.CC_STAT_AREA]))[:8]
    return tuple(
        Region(
            round(int(x) / columns, 3),
            round(int(y) / rows, 3),
            round(int(x + w) / columns, 3),
            round(int(y + h) / rows, 3),
            frame,
        )
        for x, y, w, h, _ in boxes
    )


def compare(preview: Preview, frames: Iterable[Frame]) -> Comparison:
    """Compares a picture, or a clip frame by frame: each preview frame with the copy's most similar sampled frame.

    A clip is `same` when every compared frame is, and `different` when most have no counterpart."""
    originals = preview.pictures()
    if len(originals) == 1:
        first = next(iter(frames), None)
        if first is None:
            return Comparison("different", 1.0, ())
        return compare_picture(originals[0], first.rgb)
    best: list[tuple[float, RGB | None]] = [(np.inf, None) for _ in originals]
    thumbs = [_thumb(picture) for picture in originals]
    last = Fraction(-1)
    for frame in frames:
        if frame.time - last < Fraction(1, 30) and last >= 0:
            continue
        last = frame.time
        small = _shrink(frame.rgb)
        thumb = _thumb(small)
        for index, reference in enumerate(thumbs):
            distance = float(np.abs(thumb - reference).mean())
            if distance < best[index][0]:
                best[index] = (distance, small)
    results = [
        compare_picture(original, small, index)
        for index, (original, (_, small)) in enumerate(zip(originals, best, strict=True))
        if small is not None
    ]
    return _combine(results)


def _thumb(picture: RGB) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(picture, (24, 24), interpolation=cv2.INTER_AREA), np.float32)


def _combine(results: Sequence[Comparison]) -> Comparison:
    if not results:
        return Comparison("different", 1.0, ())
    share = float(np.mean([result.changed for result in results]))
    different = sum(result.match == "different" for result in results)
    if different * 2 > len(results):
        return Comparison("different", share, ())
    if all(result.match == "same" for result in results):
        return Comparison("same", 0.0, ())
    return Comparison("edited", share, tuple(region for result in results for region in result.regions)[:8])
