"""The stored preview of an asset, and whether a copy shows the same content, part by part.

A preview is one JPEG: up to 25 frames of the asset, 256 px on the longer side, one under the other. A copy is laid
over it with the geometry that the watermark codec found (`registration`), and what both show is compared place by
place (`comparing`): so a crop, a turned or mirrored picture, and one in the window of a screenshot are compared with
the part of the original that they show.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .comparing import Comparison, compare_picture, compare_placed
from .media.files import picture_from_bytes
from .media.values import Frame
from .moving import moving
from .refining import refine
from .registration import laid, pixel_scale, scored, shrunk, to_shrunk
from .warping import Homography, warp

SIDE = 256
MAX_FRAMES = 24
"""Spread evenly; the last one of all is kept beside them."""
_COMPARED = 8
"""Of the stored moments, so many are asked of a clip; a single picture is held against the nearest of all."""
RGB = NDArray[np.uint8]
_LOOKED_FOR = 12
_APART = Fraction(1, 5)
"""So many frames of a clip, so many seconds apart, are tried until it is clear how it lies on the original."""
_SURE = 0.25
"""What a place is worth, a coarse px of the original, that needs no further frames."""
_WHOLE = 0.9
_ALIKE = 1.25


@dataclass(frozen=True, slots=True)
class Preview:
    """``data``: a JPEG of one or more pictures, each (height, width) px, stacked from top to bottom."""

    data: bytes
    width: int
    height: int

    def pictures(self) -> list[RGB]:
        strip = picture_from_bytes(self.data)
        tops = range(0, strip.shape[0] - self.height + 1, self.height)[: MAX_FRAMES + 1]
        return [strip[top : top + self.height] for top in tops]


def _shrink(frame: RGB) -> RGB:
    scale = SIDE / max(frame.shape[:2])
    size = (max(8, round(frame.shape[1] * scale)), max(8, round(frame.shape[0] * scale)))
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)


def cover(data: bytes, height: int) -> bytes:
    """A JPEG of a preview's first picture: what stands for the asset where one picture is shown. ``height``: of each
    picture, px."""
    with Image.open(io.BytesIO(data)) as strip:
        if strip.height <= height:
            return data
        out = io.BytesIO()
        strip.convert("RGB").crop((0, 0, strip.width, height)).save(out, "JPEG", quality=88)
    return out.getvalue()


class PreviewMaker:
    """Collects a preview from a stream of unknown length: when it is full, every other frame is dropped and from
    then on half as many are taken, so that the kept ones stay evenly spread and memory stays the same."""

    def __init__(self) -> None:
        self._kept: list[RGB] = []
        self._stride, self._seen = 1, 0
        self._last: RGB | None = None

    def look(self, frame: RGB) -> None:
        self._last = frame
        if self._seen % self._stride == 0:
            if len(self._kept) == MAX_FRAMES:
                self._kept = self._kept[::2]
                self._stride *= 2
            if self._seen % self._stride == 0:
                self._kept.append(_shrink(frame))
                self._last = None
        self._seen += 1

    def preview(self) -> Preview | None:
        if not self._kept:
            return None
        height, width = self._kept[0].shape[:2]
        last = [] if self._last is None else [_shrink(self._last)]
        kept = [p for p in self._kept + last if p.shape[:2] == (height, width)]
        out = io.BytesIO()
        # Many moments cost the catalog room: what a comparison finds is far coarser than what is left out of them.
        fine = {"quality": 88, "subsampling": 0} if len(kept) <= _COMPARED else {"quality": 78, "subsampling": 2}
        Image.fromarray(np.vstack(kept)).save(out, "JPEG", optimize=True, **fine)
        return Preview(out.getvalue(), width, height)


def compare(
    preview: Preview,
    frames: Iterable[Frame],
    matrix: Sequence[float] | None = None,
    size: tuple[int, int] | None = None,
    seconds: float | None = None,
) -> Comparison:
    """Compares a picture, or a clip frame by frame: each preview frame with the copy's most similar sampled frame.

    ``matrix``: of the codec's `Geometry`, the same for all frames; None: the copy is whole and upright. ``size``: the
    original's (height, width), ``seconds``: its length, where they are known. A single frame of a clip is compared with
    the stored moment nearest to it, and what moves about that moment is told apart (`moving`). A clip is `same` when
    every compared frame is, and `different` when most have no counterpart. Of a shorter clip only as many preview
    frames as fit into its length are asked for: what a trim left out is no difference, and lowers ``coverage``."""
    originals = preview.pictures()
    stream = iter(frames)
    first = next(stream, None)
    if first is None or not originals:
        return Comparison("different", 1.0, (), 0.0, 1.0)
    if len(originals) == 1:
        return compare_picture(originals[0], first.shown, matrix, size)
    clip = _Clip(originals, matrix, size)
    clip.look(first)
    second = next(stream, None)
    if second is None:
        return clip.moment()
    for frame in itertools.chain([second], stream):
        clip.look(frame)
    return clip.comparison(seconds)


class _Clip:
    """Puts a stream of frames over the preview's frames. Memory does not grow with the stream."""

    def __init__(self, originals: Sequence[RGB], matrix: Sequence[float] | None, size: tuple[int, int] | None) -> None:
        self._originals, self._matrix, self._size = originals, matrix, size
        self._compared = sorted({round(at) for at in np.linspace(0, len(originals) - 1, _COMPARED)})
        self._shape = (originals[0].shape[0], originals[0].shape[1])
        self._waiting: list[RGB] = []
        self._place: Homography | None = None
        self._score = 0.0
        self._tried, self._tried_at = 0, Fraction(0)
        self._references = [_thumb(original, np.eye(3), self._shape)[0] for original in originals]
        self._best: list[tuple[float, RGB | None]] = [(np.inf, None) for _ in originals]
        self._first, self._last, self._step = Fraction(0), Fraction(-1), Fraction(0)
        self._copy: tuple[int, int] | None = None
        self._decided = False

    def look(self, frame: Frame) -> None:
        if self._copy is None:
            self._first, self._copy = frame.time, (frame.rgb.shape[0], frame.rgb.shape[1])
        elif frame.time - self._last < Fraction(1, 30):
            return
        if self._last >= 0:
            self._step = frame.time - self._last
        self._last = frame.time
        small, shrink = shrunk(frame.rgb, pixel_scale(self._matrix, self._shape, self._size), self._shape)
        if self._decided:
            self._weigh(small)
            return
        self._waiting.append(small)
        if self._tried and frame.time - self._tried_at < _APART:
            return
        self._tried, self._tried_at = self._tried + 1, frame.time
        lattice = to_shrunk(self._matrix, shrink)
        for index in self._compared:
            for score, found in scored(self._originals[index], small, lattice, self._size):
                if score > self._score:
                    self._score, self._place = score, found
        area = 512.0 * 512.0 / 256.0
        if self._score > _SURE * area or self._tried >= _LOOKED_FOR:
            self._decide()

    def _decide(self) -> None:
        self._decided = True
        waiting, self._waiting = self._waiting, []
        for small in waiting:
            self._weigh(small)

    def _weigh(self, small: RGB) -> None:
        """Keeps the frame for each preview frame that it is most like, of those seen so far."""
        if self._place is None:
            return
        thumb, mask = _thumb(small, self._place, self._shape)
        for index, reference in enumerate(self._references):
            distance = float(np.abs(thumb - reference)[mask].mean()) if mask.any() else np.inf
            if distance < self._best[index][0]:
                self._best[index] = (distance, small)

    def moment(self) -> Comparison:
        """Of the only frame that was looked at. Moments that are about as much like it as the nearest are asked too:
        where little moves, all are."""
        self._decide()
        nothing = Comparison("different", 1.0, (), 0.0, 1.0)
        nearest = min(range(len(self._best)), key=lambda i: self._best[i][0])
        least, small = self._best[nearest]
        if self._place is None or small is None:
            return nothing
        to_small = refine(self._originals[nearest], small, self._place)
        found = nothing
        for index in sorted(range(len(self._best)), key=lambda i: self._best[i][0]):
            if self._best[index][0] > _ALIKE * least + 0.5:
                break
            original = self._originals[index]
            placement = laid(original, small, to_small)
            if placement is not None:
                result = compare_placed(original, small, placement, index, moving(self._originals, index))
                found = min(found, result, key=_badness)
            if found.match == "same":
                break
        return found

    def comparison(self, seconds: float | None) -> Comparison:
        if not self._decided:
            self._decide()
        if self._place is None:
            return Comparison("different", 1.0, (), 0.0, 1.0)
        best = [(index, *self._best[index]) for index in self._compared]
        found = [(index, distance, small) for index, distance, small in best if small is not None]
        if not found:
            return Comparison("different", 1.0, (), 0.0, 1.0)
        # The map is refined once, where copy and original are most alike: refined for each frame, it would follow a
        # pan, and put one moment over another.
        index, _, small = min(found, key=lambda pair: pair[1])
        to_small = refine(self._originals[index], small, self._place)
        results = []
        for index, _, small in found:
            placement = laid(self._originals[index], small, to_small)
            results.append(
                Comparison("different", 1.0, (), 0.0, 1.0)
                if placement is None
                else compare_placed(self._originals[index], small, placement, index)
            )
        shown = asked = len(self._compared)
        # From the first frame to the end of the last one.
        length = float(self._last - self._first + self._step)
        if seconds is not None and 0 < length < _WHOLE * seconds:
            shown = max(1, int(length / seconds * asked))
        kept = sorted(results, key=_badness)[:shown]
        return _combine(kept, min(1.0, shown / asked))


def _badness(result: Comparison) -> tuple[int, float]:
    return _ORDER[result.match], result.changed


_ORDER = {"same": 0, "edited": 1, "different": 2}


def _thumb(
    picture: RGB, to_picture: Homography, shape: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The picture rendered small into the preview's frame, and where it covers it."""
    grid = np.diag([shape[1] / 24, shape[0] / 24, 1.0])
    step = max(1, round(float(np.sqrt(abs(np.linalg.det((to_picture @ grid)[:2, :2]))))))
    out, mask = warp(np.asarray(cv2.blur(picture, (step, step)), np.uint8), to_picture @ grid, (24, 24))
    return out.astype(np.float32), mask


def _combine(results: Sequence[Comparison], time_shown: float) -> Comparison:
    if not results:
        return Comparison("different", 1.0, (), 0.0, 1.0)
    share = round(float(np.mean([result.changed for result in results])), 4)
    coverage = round(float(np.mean([result.coverage for result in results])) * time_shown, 4)
    surroundings = round(float(np.mean([result.surroundings for result in results])), 4)
    different = sum(result.match == "different" for result in results)
    if different * 2 > len(results):
        return Comparison("different", share, (), coverage, surroundings)
    if all(result.match == "same" for result in results):
        return Comparison("same", 0.0, (), coverage, surroundings)
    regions = tuple(region for result in results for region in result.regions)[:8]
    return Comparison("edited", share, regions, coverage, surroundings)
