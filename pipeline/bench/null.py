"""Unmarked pictures without end, to count what is found where nothing is: the material of the false positives.

Each picture follows from the seed and its number alone, so that a run can stop and go on anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ...provenance.identity import AssetId
from . import pixels, screens, shapes
from .peers import Contestant
from .pictures import RGB, Picture

SIDES = (256, 640)
"""Sides are drawn log-uniform between these, each by itself, in px."""
KINDS = ("photograph", "art", "text", "noise", "another codec", "another key")
_SHARES = (0.45, 0.15, 0.10, 0.10, 0.05, 0.15)


def asset_id(rng: np.random.Generator) -> AssetId:
    """A random id, from the seeded generator."""
    return AssetId(int(rng.integers(0, 1 << 60)))


def kind_of(seed: int, number: int) -> str:
    rng = np.random.default_rng([seed, 99, number])
    return str(rng.choice(KINDS, p=_SHARES))


def _side(rng: np.random.Generator) -> int:
    return round(float(np.exp(rng.uniform(np.log(SIDES[0]), np.log(SIDES[1])))))


def _noise(rng: np.random.Generator, width: int, height: int) -> RGB:
    """White noise, noise with a power law, a gradient with grain, or a periodic pattern: textiles and screens are
    what a detector of sinusoids is most easily fooled by."""
    which = int(rng.integers(0, 4))
    y, x = np.mgrid[:height, :width].astype(np.float32)
    if which == 0:
        return rng.integers(0, 256, (height, width, 3), np.uint8)
    if which == 1:
        white = np.fft.rfft2(rng.standard_normal((height, width), np.float32))
        f = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
        f[0, 0] = 1.0
        plane = np.fft.irfft2(white / f ** rng.uniform(0.3, 2.0), (height, width))
        plane = 128 + plane / max(1e-9, float(plane.std())) * rng.uniform(5, 60)
    elif which == 2:
        plane = rng.uniform(0, 255) + (rng.uniform(-1, 1) * x / width + rng.uniform(-1, 1) * y / height) * 120
        plane = plane + rng.standard_normal((height, width)) * rng.uniform(0, 6)
    else:
        plane = np.full((height, width), 128.0)
        for _ in range(int(rng.integers(1, 12))):
            fx, fy = rng.uniform(-0.25, 0.25, 2)
            plane = plane + rng.uniform(2, 30) * np.sin(2 * np.pi * (fx * x + fy * y) + rng.uniform(0, 6))
    tint = rng.uniform(0.7, 1.0, 3)
    return np.clip(plane[..., None] * tint, 0, 255).astype(np.uint8)


def _piece(rng: np.random.Generator, photo: RGB) -> RGB:
    """A random crop at a random scale, perhaps mirrored, turned, toned, coded: never the same picture twice."""
    width, height = _side(rng), _side(rng)
    scale = min(photo.shape[1] / width, photo.shape[0] / height) * rng.uniform(0.35, 1.0)
    w, h = max(8, int(width * scale)), max(8, int(height * scale))
    left, top = (int(rng.integers(0, n)) for n in (photo.shape[1] - w + 1, photo.shape[0] - h + 1))
    piece = shapes.to_size(photo[top : top + h, left : left + w], width, height)
    if rng.random() < 0.5:
        piece = shapes.flip(piece, 1)
    if rng.random() < 0.2:
        piece = shapes.quarter_turns(piece, int(rng.integers(1, 4)))
    piece = np.asarray(cv2.convertScaleAbs(piece, alpha=rng.uniform(0.6, 1.4), beta=rng.uniform(-30, 30)), np.uint8)
    return pixels.jpeg(piece, int(rng.integers(30, 96))) if rng.random() < 0.5 else piece


def unmarked(
    seed: int,
    number: int,
    photos: Sequence[Picture],
    art: Sequence[Picture],
    others: Sequence[Contestant],
    keyed: Sequence[Contestant],
) -> tuple[str, RGB]:
    """(kind, picture) number ``number``. ``others``: codecs whose marks are not the tested codec's; ``keyed``: the
    tested codec under other keys. A kind without material is replaced by a photograph."""
    rng = np.random.default_rng([seed, 100, number])
    kind = kind_of(seed, number)
    missing = {"art": art, "another codec": others, "another key": keyed}
    if kind in missing and not missing[kind]:
        kind = "photograph"
    if kind == "text":
        return kind, screens.text_page(rng, _side(rng), _side(rng))
    if kind == "noise":
        return kind, _noise(rng, _side(rng), _side(rng))
    pool = art if kind == "art" else photos
    piece = _piece(rng, pool[int(rng.integers(0, len(pool)))].rgb)
    if kind in ("another codec", "another key"):
        codecs = others if kind == "another codec" else keyed
        piece = codecs[int(rng.integers(0, len(codecs)))].embed(piece, asset_id(rng))
        if rng.random() < 0.3:
            piece = pixels.jpeg(piece, 80)
    return kind, piece
