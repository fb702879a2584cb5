"""Twenty-four settings: plain colours, gradients, and scenes composed of parts that a seed places.

Coordinates are in picture widths, x to the right, y down; the picture is 0..1, and a setting is drawn from -MARGIN to
1 + MARGIN, so that a camera may pan and zoom. Everything is drawn at SUPER times the size and averaged down.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from filigrana.pipeline.generators.embedded.compose import Image

from .colours import rgb

MARGIN = 0.25
SUPER = 2
VARIANTS = 97
"""In how many ways a setting's parts may stand; a shot's seed picks one."""
Rgb = tuple[int, int, int]
Line = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True)
class Setting:
    """A setting. `ground` is the height on which things stand and land; `ambience` names its sound in `ambience.py`;
    `colour` is the dominant colour's name."""

    name: str
    colour: str
    ground: float = 0.82
    ambience: str = "none"
    parts: bool = False


PLAINS = ("white", "grey", "blue", "green", "yellow", "pink", "black", "beige")
GRADIENTS: dict[str, tuple[str, str]] = {
    "blue to white": ("blue", "white"),
    "pink to orange": ("pink", "orange"),
    "purple to navy": ("purple", "navy"),
    "yellow to green": ("yellow", "green"),
}
SETTINGS: tuple[Setting, ...] = (
    *(Setting(name, name) for name in PLAINS),
    *(Setting(name, ends[0]) for name, ends in GRADIENTS.items()),
    Setting("sea", "blue", 0.80, "water", True),
    Setting("hill", "green", 0.84, "wind", True),
    Setting("night sky", "navy", 0.88, "crickets", True),
    Setting("city", "grey", 0.88, "traffic", True),
    Setting("room", "beige", 0.84, "clock", True),
    Setting("desert", "yellow", 0.84, "wind", True),
    Setting("snow", "white", 0.84, "wind", True),
    Setting("sunset", "orange", 0.86, "wind", True),
    Setting("forest", "green", 0.86, "birds", True),
    Setting("beach", "yellow", 0.84, "water", True),
    Setting("road", "grey", 0.82, "traffic", True),
    Setting("under water", "turquoise", 0.88, "bubbles", True),
)


class Canvas:
    """A drawing surface in picture widths. `pixels` is (n, n, 3) uint8 at SUPER times the size asked for."""

    def __init__(self, side: int, top: Rgb, bottom: Rgb) -> None:
        self.unit = side * SUPER
        n = round(self.unit * (1 + 2 * MARGIN))
        t = np.linspace(-MARGIN, 1 + MARGIN, n, dtype=np.float32).clip(0, 1)[:, None, None]
        ramp = np.asarray(top, np.float32) * (1 - t) + np.asarray(bottom, np.float32) * t
        column = np.rint(ramp).astype(np.uint8)
        # much faster than numpy's copy of a broadcast column
        self.pixels: Image = cv2.resize(column, (n, n), interpolation=cv2.INTER_NEAREST).astype(np.uint8, copy=False)

    def at(self, points: Sequence[tuple[float, float]] | NDArray[np.float64]) -> NDArray[np.int32]:
        """Points in picture widths as fixed-point pixels (4 fractional bits)."""
        where = (np.asarray(points, np.float64) + MARGIN) * self.unit * 16
        return np.rint(where).astype(np.int32)

    def polygon(self, points: Sequence[tuple[float, float]] | NDArray[np.float64], colour: Rgb) -> None:
        """A filled polygon."""
        cv2.fillPoly(self.pixels, [self.at(points)], colour, cv2.LINE_AA, 4)

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: Rgb) -> None:
        """A filled rectangle."""
        self.polygon(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), colour)

    def disc(self, x: float, y: float, r: float, colour: Rgb) -> None:
        """A filled circle."""
        (cx, cy), radius = self.at([(x, y)])[0], round(r * self.unit * 16)
        cv2.circle(self.pixels, (int(cx), int(cy)), radius, colour, -1, cv2.LINE_AA, 4)

    def land(self, line: Line, colour: Rgb) -> None:
        """Everything under the line y(x)."""
        x = np.linspace(-MARGIN, 1 + MARGIN, 97)
        edge = np.stack((x, line(x)), 1)
        self.polygon(np.concatenate((edge, [[1 + MARGIN, 1 + MARGIN], [-MARGIN, 1 + MARGIN]])), colour)

    def finish(self, side: int) -> Image:
        """Averaged down: (m, m, 3) uint8 with m = round(side * (1 + 2 MARGIN))."""
        m = round(side * (1 + 2 * MARGIN))
        return cv2.resize(self.pixels, (m, m), interpolation=cv2.INTER_AREA).astype(np.uint8)


def _lit(colour: Rgb, light: float) -> Rgb:
    r, g, b = (min(255, max(0, round(c + (255 - c) * light if light > 0 else c * (1 + light)))) for c in colour)
    return r, g, b


def _clouds(c: Canvas, rng: np.random.Generator) -> None:
    for _ in range(int(rng.integers(0, 4))):
        x, y, r = rng.uniform(-0.1, 1.1), rng.uniform(0.05, 0.3), rng.uniform(0.03, 0.06)
        for dx, k in ((-1.3, 0.8), (0.0, 1.2), (1.3, 0.9)):
            c.disc(x + dx * r, y, r * k, (250, 251, 253))


def _wavy(level: float, high: float, waves: float, phase: float) -> Line:
    return lambda x: level + high * np.sin(2 * np.pi * (waves * x + phase))


def _trees(c: Canvas, rng: np.random.Generator, level: float, count: int, light: float) -> None:
    for x in np.sort(rng.uniform(-0.2, 1.2, count)):
        h = rng.uniform(0.2, 0.42)
        c.box(x - 0.012, level - h * 0.4, x + 0.012, level + 0.02, _lit((105, 72, 45), light))
        green = _lit((40, 120, 62), light + rng.uniform(-0.1, 0.12))
        c.polygon(((x, level - h), (x + h * 0.26, level - h * 0.22), (x - h * 0.26, level - h * 0.22)), green)


def _scene(setting: Setting, side: int, rng: np.random.Generator) -> Canvas:
    name, ground, light = setting.name, setting.ground, float(rng.uniform(-0.1, 0.15))
    phase, sky = float(rng.random()), (_lit((140, 200, 245), light), _lit((228, 243, 252), light))
    if name == "night sky":
        c = Canvas(side, (12, 14, 40), (40, 46, 92))
        for x, y, r in zip(rng.uniform(-0.2, 1.2, 60), rng.uniform(-0.2, 0.85, 60), rng.uniform(2, 6, 60), strict=True):
            c.disc(x, y, r / 1000, (250, 248, 225))
        if rng.random() < 0.6:
            x, y = rng.uniform(0.1, 0.9), rng.uniform(0.08, 0.25)
            c.disc(x, y, 0.07, (244, 236, 196))
            c.disc(x + 0.03, y - 0.02, 0.06, (22, 25, 54))
        c.land(_wavy(ground + 0.03, 0.02, 1.1, phase), (18, 30, 34))
    elif name == "city":
        c = Canvas(side, _lit((176, 200, 220), light), _lit((226, 232, 238), light))
        x = -0.25
        while x < 1.25:
            wide, high = rng.uniform(0.1, 0.2), rng.uniform(0.25, 0.6)
            wall = _lit((118, 126, 140), float(rng.uniform(-0.25, 0.25)))
            c.box(x, ground - high, x + wide, ground + 0.1, wall)
            for wx in np.arange(x + 0.02, x + wide - 0.03, 0.04):
                for wy in np.arange(ground - high + 0.03, ground - 0.05, 0.06):
                    c.box(wx, wy, wx + 0.02, wy + 0.03, (250, 226, 150) if rng.random() < 0.4 else _lit(wall, -0.35))
            x += wide + rng.uniform(0, 0.03)
        c.box(-MARGIN, ground - 0.03, 1 + MARGIN, 1 + MARGIN, _lit((96, 98, 104), light))
    elif name == "room":
        wall = (rgb("beige"), (196, 214, 206), (226, 206, 196))[int(rng.integers(3))]
        c = Canvas(side, _lit(wall, light), _lit(wall, light - 0.05))
        x = float(rng.choice((0.08, 0.62)))
        c.box(x, 0.12, x + 0.3, 0.44, (250, 250, 248))
        c.box(x + 0.02, 0.14, x + 0.28, 0.42, _lit((150, 205, 240), light))
        c.box(x + 0.145, 0.14, x + 0.155, 0.42, (250, 250, 248))
        hung = 0.7 - x
        c.box(hung, 0.18, hung + 0.18, 0.34, (120, 84, 56))
        c.box(hung + 0.015, 0.195, hung + 0.165, 0.325, _lit((206, 120, 96), float(rng.uniform(-0.3, 0.4))))
        c.box(-MARGIN, ground - 0.1, 1 + MARGIN, 1 + MARGIN, _lit((172, 126, 84), light))
        c.box(-MARGIN, ground - 0.115, 1 + MARGIN, ground - 0.095, (246, 244, 238))
    elif name == "under water":
        c = Canvas(side, _lit((90, 205, 215), light), _lit((24, 110, 160), light))
        for x in rng.uniform(-0.2, 1.2, 6):
            h = rng.uniform(0.1, 0.25)
            c.polygon(((x - 0.02, ground + 0.05), (x + 0.01, ground - h), (x + 0.03, ground + 0.05)), (36, 128, 92))
        for x, y, r in zip(rng.uniform(-0.2, 1.2, 14), rng.uniform(-0.1, 0.8, 14), rng.uniform(4, 12, 14), strict=True):
            c.disc(x, y, r / 1000, (200, 238, 244))
        c.land(_wavy(ground + 0.02, 0.015, 2.0, phase), _lit((222, 204, 150), light - 0.1))
    elif name == "sunset":
        c = Canvas(side, _lit((232, 100, 62), light), _lit((253, 205, 110), light))
        c.disc(rng.uniform(0.25, 0.75), 0.66, 0.19, (255, 234, 166))
        c.land(_wavy(ground - 0.02, 0.02, 0.8, phase), _lit((120, 52, 50), light))
    else:
        c = Canvas(side, *sky)
        if name != "snow" and rng.random() < 0.5:
            c.disc(rng.uniform(0.1, 0.9), rng.uniform(0.08, 0.2), 0.06, (255, 226, 110))
        _clouds(c, rng)
        if name == "sea":
            for level, tone in ((0.42, (70, 140, 225)), (0.58, (46, 112, 212)), (0.72, (28, 88, 190))):
                c.land(_wavy(level, 0.012 if level > 0.5 else 0.0, 7, phase + level), _lit(tone, light))
        elif name == "beach":
            c.land(_wavy(0.5, 0.0, 1, 0), _lit((64, 148, 222), light))
            c.land(_wavy(0.68, 0.012, 2.2, phase), _lit((246, 250, 252), light))
            c.land(_wavy(0.70, 0.012, 2.2, phase), _lit((240, 212, 142), light))
        elif name == "road":
            c.land(_wavy(0.6, 0.03, 0.9, phase), _lit((120, 186, 96), light))
            c.box(-MARGIN, 0.72, 1 + MARGIN, 1 + MARGIN, _lit((98, 100, 106), light))
            for x in np.arange(-0.25 + phase * 0.2, 1.3, 0.2):
                c.box(x, 0.855, x + 0.1, 0.875, (246, 246, 240))
        else:
            far, near = {
                "hill": ((126, 192, 98), (78, 164, 76)),
                "desert": ((244, 208, 112), (228, 184, 84)),
                "snow": ((214, 226, 238), (248, 250, 252)),
                "forest": ((92, 158, 92), (62, 118, 66)),
            }[name]
            c.land(_wavy(0.6, 0.06, 0.9, phase), _lit(far, light))
            if name == "forest":
                _trees(c, rng, 0.72, 14, light)
            c.land(_wavy(ground - 0.08, 0.025, 0.7, phase + 0.4), _lit(near, light * 0.5))
    return c


def draw_setting(number: int, seed: int, side: int) -> Image:
    """The setting SETTINGS[number], its parts placed by `seed`: (m, m, 3) uint8, m = round(side * (1 + 2 MARGIN))."""
    setting = SETTINGS[number]
    if setting.parts:
        return _scene(setting, side, np.random.default_rng((number, seed))).finish(side)
    if setting.name in GRADIENTS:
        top, bottom = (rgb(end) for end in GRADIENTS[setting.name])
        if seed % 2:
            top, bottom = bottom, top
    else:
        top = bottom = _lit(rgb(setting.colour), ((seed % 5) - 2) * 0.03)
    return Canvas(side, top, bottom).finish(side)
