"""Putting the DFT mark into frames: strength once a scene, the mask for every frame, the variant by time."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import cv2
import numpy as np
from numpy.typing import NDArray

from ...errors import WatermarkError
from ..media.values import Frame
from .base import RGB
from .canonical import SHORT_SIDE, Plane, Visibility, canonical_size, colour, luma, resize, visibility
from .embedding import PSNR_MIN, choose_psnr, gain_for, ground, slope_for, solve
from .lattice import Lattice
from .variation import variant_at

MIN_SIDE = 256
_STRIP = 256
_REFRESH = 4
"""Frames after which a clip's picture is looked at in full again."""
_CLIP_EXTRA, _CLIP_PSNR_MAX, _CLIP_SLOPE = 1.5, 41.5, 1.0
"""Clips get a mark that is stronger by so many dB and lower in frequency: their encoders take more away."""
_CUT = 22.0
"""Mean absolute difference of 32 x 32 thumbnails in grey levels that begins a new scene."""
_LONGEST = 16 * SHORT_SIDE


def check_frame(frame: RGB) -> None:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise WatermarkError(f"a frame is uint8 of shape (h, w, 3), not {frame.dtype} of shape {frame.shape}")
    height, width = frame.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise WatermarkError(
            f"a mark needs at least {MIN_SIDE} px on the shorter side, this frame is {width} x {height}",
            code="provenance.watermark.too_small",
            hint="Seal a larger version of the picture.",
        )
    if max(canonical_size(height, width)) > _LONGEST:
        raise WatermarkError(
            f"a mark needs a picture at most 16 times as long as it is wide, this frame is {width} x {height}",
            code="provenance.watermark.too_long",
        )


@dataclass(frozen=True, slots=True)
class _Scene:
    """``thumb``: what the scene looked like when it was measured. ``pattern``: (h, w) of the frame, the
    repeated tile."""

    thumb: Plane
    variant: int
    size: tuple[int, int]
    psnr: float
    roughness: float
    pattern: Plane


def mark_frames(lattice: Lattice, symbols: NDArray[np.float64], frames: Iterable[Frame], first: int) -> Iterator[Frame]:
    """``symbols``: (416,) of the payload. ``first``: the variant of epoch 0. Keeps one frame and its pattern."""
    scene: _Scene | None = None
    start: Fraction | None = None
    stream = iter(frames)
    head = list(itertools.islice(stream, 2))
    moving = len(head) > 1
    measured = 0
    for number, frame in enumerate(itertools.chain(head, stream)):
        check_frame(frame.rgb)
        start = frame.time if start is None else start
        variant = variant_at(max(frame.time - start, Fraction(0)), first)
        size = canonical_size(*frame.rgb.shape[:2])
        small = _small(frame.rgb, size)
        thumb = np.asarray(cv2.resize(small, (32, 32), interpolation=cv2.INTER_AREA), np.float32)
        stale = scene is not None and number - measured >= _REFRESH
        if scene is None or scene.size != size or scene.variant != variant or stale or _cut(scene.thumb, thumb):
            measured = number
            before = None if scene is None or scene.size != size or _cut(scene.thumb, thumb) else scene
            scene = _measure(lattice, symbols, frame.rgb, variant, thumb, before, moving)
            seen: Visibility | None = None
        else:
            seen = visibility(small)
        yield replace(frame, rgb=_apply(frame.rgb, scene, seen or visibility(small)))


def _cut(before: Plane, now: Plane) -> bool:
    return float(np.abs(before - now).mean()) > _CUT


def _small(rgb: RGB, size: tuple[int, int]) -> Plane:
    """The canonical luma, by way of 8 bits: enough for the mask, and fast."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    shrink = size[0] < grey.shape[0]
    method = cv2.INTER_AREA if shrink else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(grey, (size[1], size[0]), interpolation=method), np.float32)


def _measure(
    lattice: Lattice,
    symbols: NDArray[np.float64],
    rgb: RGB,
    variant: int,
    thumb: Plane,
    before: _Scene | None,
    moving: bool,
) -> _Scene:
    """Looks at a frame in full; within a scene the strength stays, so that it does not flicker."""
    size = canonical_size(*rgb.shape[:2])
    picture = resize(luma(rgb), size)
    under = ground(lattice, picture)
    slope = slope_for(under.seen.texture)
    if before:
        psnr = before.psnr
    else:
        psnr = choose_psnr(lattice, variant, symbols, picture, under, slope)
        if moving:
            psnr = float(np.clip(psnr - _CLIP_EXTRA, PSNR_MIN, _CLIP_PSNR_MAX))
            slope = max(slope, _CLIP_SLOPE)
    mark = solve(lattice, lattice.variants[variant], symbols, under, psnr, slope)
    pattern = resize(mark.tiled(size), (rgb.shape[0], rgb.shape[1]))
    return _Scene(thumb, variant, size, psnr, under.seen.roughness, pattern)


def _apply(rgb: RGB, scene: _Scene, seen: Visibility) -> RGB:
    """Adds pattern x mask x gain, strip by strip, rounded once."""
    height, width = rgb.shape[:2]
    spread = [float(c) for c in colour(scene.roughness)]
    mask = np.asarray(cv2.resize(seen.mask, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    # Of every third px each way: exact enough, and a tenth of the work.
    energy = float(np.mean(np.square(scene.pattern[::3, ::3] * mask[::3, ::3])))
    mask *= np.float32(gain_for(scene.psnr, energy, scene.roughness))
    out = np.empty_like(rgb)
    for top in range(0, height, _STRIP):
        rows = slice(top, min(top + _STRIP, height))
        change = scene.pattern[rows] * mask[rows]
        coloured = cv2.merge([change * c for c in spread])
        out[rows] = cv2.add(rgb[rows], coloured, dtype=cv2.CV_8U)
    return out
