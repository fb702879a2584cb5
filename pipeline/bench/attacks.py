"""What a mark has to survive: every attack of the table, by name, with the rate that it is held to.

Each is a pure function of a picture and a random generator: the same seed gives the same bytes with the same
library versions. Names, groups and bars are those of the table in docs/watermark.md.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from . import pixels, screens, shapes
from .pictures import RGB

Run = Callable[[RGB, np.random.Generator], RGB]


@dataclass(frozen=True, slots=True)
class Attack:
    """``run``: (h, w, 3) uint8 and a generator -> uint8 of any size. ``bar``: the exact-id rate that it is held to,
    None where it is only reported. ``group``: its row in the table."""

    name: str
    group: str
    bar: float | None
    run: Run

    def rng(self, seed: int, picture: str) -> np.random.Generator:
        """The generator of one cell: by seed, attack and picture, and by nothing else, so that any part of a run
        can be done again alone."""
        return np.random.default_rng([seed, zlib.crc32(self.name.encode()), zlib.crc32(picture.encode())])


GROUPS = {
    "values": "none, JPEG 90-50, WebP 75, AVIF 60, PNG-8, tone +-30 %, noise 15, blur 2, median 5, sharpen, greyscale",
    "strong": "JPEG 30, WebP 50, resize 25-200 % not back",
    "place": "crop that removes 5-50 % of the area, pad, flips, quarter turns",
    "warp": "rotation to +-15 degrees, aspect change +-10 %, mild perspective (3 %)",
    "screen": "screenshot in a window, picture in a page, picture in a phone",
    "chain": "crop + resize + JPEG, screenshot + JPEG twice, social app",
    "cover": "collage with a quarter of another picture, caption bar, sticker over 15 %",
}
BARS = {"values": 0.995, "strong": 0.98, "place": 0.98, "warp": 0.95, "screen": 0.95, "chain": 0.95, "cover": 0.95}


def _plain(function: Callable[..., RGB], *args: float) -> Run:
    """A run that draws nothing at random."""
    return lambda rgb, _rng: function(rgb, *args)


def _crop_resize_jpeg(rgb: RGB, rng: np.random.Generator) -> RGB:
    return pixels.jpeg(shapes.resize(shapes.crop(rgb, rng, 0.25), 0.5), 75)


def _screenshot_twice(rgb: RGB, rng: np.random.Generator) -> RGB:
    return pixels.jpeg(pixels.jpeg(screens.screenshot(rgb, rng), 50), 50)


def _social(rgb: RGB, _rng: np.random.Generator) -> RGB:
    """A social app: at most 1080 px on the long side, JPEG 70, no metadata."""
    factor = min(1.0, 1080 / max(rgb.shape[:2]))
    return pixels.jpeg(shapes.resize(rgb, factor) if factor < 1 else rgb, 70)


def _table() -> dict[str, list[tuple[str, Run]]]:
    tone: dict[str, Callable[[RGB, float], RGB]] = {
        "brightness": pixels.brightness,
        "contrast": pixels.contrast,
        "gamma": pixels.gamma,
        "saturation": pixels.saturation,
    }
    return {
        "values": [
            ("none", lambda rgb, _rng: rgb.copy()),
            *((f"jpeg-{q}", _plain(pixels.jpeg, q)) for q in (90, 75, 50)),
            ("webp-75", _plain(pixels.webp, 75)),
            ("avif-60", _plain(pixels.avif, 60)),
            ("png-8", _plain(pixels.palette)),
            *((f"{name}{sign}30", _plain(f, v)) for name, f in tone.items() for sign, v in (("+", 1.3), ("-", 0.7))),
            ("noise-15", partial(pixels.noise, sigma=15)),
            ("blur-2", _plain(pixels.blur, 2)),
            ("median-5", _plain(pixels.median, 5)),
            ("sharpen", _plain(pixels.sharpen)),
            ("greyscale", _plain(pixels.grey)),
        ],
        "strong": [
            ("jpeg-30", _plain(pixels.jpeg, 30)),
            ("webp-50", _plain(pixels.webp, 50)),
            *((f"resize-{p}", _plain(shapes.resize, p / 100)) for p in (200, 75, 50, 35, 25)),
        ],
        "place": [
            *((f"crop-{p}", partial(shapes.crop, removed=p / 100)) for p in (5, 10, 25, 50)),
            ("pad", shapes.pad),
            ("flip-h", _plain(shapes.flip, 1)),
            ("flip-v", _plain(shapes.flip, 0)),
            *((f"rotate-{90 * n}", _plain(shapes.quarter_turns, n)) for n in (1, 2, 3)),
        ],
        "warp": [
            *(
                (f"rotate-{d}-{how}", partial(shapes.rotate, limit=d, inner=how == "inner"))
                for d in (2, 5, 15)
                for how in ("filled", "inner")
            ),
            ("aspect+10", _plain(shapes.aspect, 1.1)),
            ("aspect-10", _plain(shapes.aspect, 0.9)),
            ("perspective-3", partial(shapes.perspective, share=0.03)),
        ],
        "screen": [("screenshot", screens.screenshot), ("page", screens.page), ("phone", screens.phone)],
        "chain": [
            ("crop-25+resize-50+jpeg-75", _crop_resize_jpeg),
            ("screenshot+jpeg-50-twice", _screenshot_twice),
            ("social", _social),
        ],
        "cover": [("collage", screens.collage), ("caption", screens.caption), ("sticker", screens.sticker)],
    }


ATTACKS: tuple[Attack, ...] = tuple(
    Attack(name, group, BARS[group], run) for group, entries in _table().items() for name, run in entries
)


def by_name(name: str) -> Attack:
    return next(attack for attack in ATTACKS if attack.name == name)
