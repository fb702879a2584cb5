"""Named colours and backgrounds. Colours are sRGB in 0..255."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from . import SIDE

Image = NDArray[np.uint8]

GROUNDS: dict[str, tuple[int, int, int]] = {
    "red": (214, 48, 49),
    "orange": (245, 140, 40),
    "yellow": (250, 214, 70),
    "green": (70, 165, 80),
    "blue": (50, 110, 215),
    "purple": (130, 75, 185),
    "pink": (248, 160, 200),
    "brown": (125, 85, 55),
    "grey": (140, 145, 150),
    "white": (246, 246, 244),
    "black": (28, 28, 32),
    "turquoise": (60, 195, 190),
}

TINTS: dict[str, tuple[int, int, int]] = {
    "red": (222, 40, 45),
    "yellow": (252, 205, 40),
    "green": (60, 170, 70),
    "blue": (40, 105, 225),
    "purple": (140, 70, 200),
    "pink": (255, 130, 185),
}


@dataclass(frozen=True)
class Background:
    """A plain colour or a scene. `colour` is the dominant colour's name."""

    name: str
    colour: str
    phrases: tuple[str, ...]
    rows: tuple[int, int, int] = (5, 4, 2)
    """The upper edge of a small, medium and large object, in cells of the grid: floating or on the ground."""
    front: int | None = None
    """A line in pixels below which the scene is in front of the object (waves in front of a boat)."""


_STANDING = (9, 4, 2)


def _plain(colour: str) -> Background:
    other = {"grey": ("gray",), "turquoise": ("teal", "cyan"), "purple": ("violet",)}.get(colour, ())
    words = (colour, colour, *other)
    phrases = tuple(
        dict.fromkeys(
            text
            for word in words
            for text in (
                f"a {word} background",
                f"a plain {word} background",
                f"{word}",
                f"a {word} backdrop",
                f"a {word} wall",
            )
        )
    )
    return Background(colour, colour, tuple(p.replace("a orange", "an orange") for p in phrases))


SCENES: tuple[Background, ...] = (
    Background("sea", "blue", ("a blue sea", "the sea", "the ocean", "blue water", "a calm blue sea"), (7, 4, 1), 352),
    Background("night", "black", ("a night sky", "a starry sky", "the night sky", "a dark night sky")),
    Background("hill", "green", ("a green hill", "a green meadow", "the grass", "a green field"), _STANDING),
    Background("desert", "yellow", ("a yellow desert", "the sand", "a sandy beach", "a desert"), _STANDING),
    Background("snow", "white", ("a snowy field", "the snow", "white snow", "a snowy hill"), _STANDING),
    Background("sunset", "orange", ("an orange sunset", "a sunset sky", "the setting sun", "a sunset")),
)

BACKGROUNDS: tuple[Background, ...] = (*(_plain(colour) for colour in GROUNDS), *SCENES)
VARIANTS = 3
"""Each background comes plain or in two soft gradients; scenes in three light moods."""


def _mix(a: tuple[float, ...], b: tuple[float, ...], t: float) -> tuple[float, ...]:
    return tuple(x + (y - x) * t for x, y in zip(a, b, strict=True))


def _ramp(top: tuple[float, ...], bottom: tuple[float, ...], rows: int) -> NDArray[np.float32]:
    t = np.linspace(0.0, 1.0, rows, dtype=np.float32)[:, None]
    return np.asarray(top, np.float32) * (1 - t) + np.asarray(bottom, np.float32) * t


def _cover(y0: NDArray[np.float32]) -> NDArray[np.float32]:
    """Antialiased coverage (SIDE, SIDE, 1) of everything under the line y0[x]."""
    y = np.arange(SIDE, dtype=np.float32)[:, None]
    cover: NDArray[np.float32] = np.clip(y - y0[None, :] + 0.5, 0, 1)[..., None]
    return cover


def _disc(cx: float, cy: float, r: float) -> NDArray[np.float32]:
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    cover: NDArray[np.float32] = np.clip(r - np.hypot(x - cx, y - cy) + 0.5, 0, 1)[..., None]
    return cover


def _wave(base: float) -> NDArray[np.float32]:
    x = np.arange(SIDE, dtype=np.float32)
    return (base + 6 * np.cos(2 * np.pi * x / 64)).astype(np.float32)


@cache
def behind(front: int) -> NDArray[np.uint16]:
    """How much of an object shows above the waves at the line `front`: (512, 512, 1) in 0..255."""
    return np.rint(255 * (1 - _cover(_wave(float(front))))).astype(np.uint16)


def _scene(name: str, mood: int) -> NDArray[np.float32]:
    x = np.arange(SIDE, dtype=np.float32)
    light = (0.0, 0.18, -0.12)[mood]

    def lit(rgb: tuple[int, int, int]) -> tuple[float, ...]:
        return _mix(rgb, (255, 255, 255), light) if light >= 0 else _mix(rgb, (0, 0, 0), -light)

    def layer(base: NDArray[np.float32], line: NDArray[np.float32], fill: NDArray[np.float32]) -> NDArray[np.float32]:
        cover = _cover(line)
        return base * (1 - cover) + fill * cover

    sky = np.broadcast_to(_ramp(lit((150, 205, 245)), lit((226, 242, 252)), SIDE)[:, None, :], (SIDE, SIDE, 3))
    if name == "sea":
        out = layer(
            sky, np.full(SIDE, 192.0, np.float32), _ramp(lit((70, 140, 225)), lit((25, 80, 185)), SIDE)[:, None, :]
        )
        for base, rgb in ((256.0, (45, 112, 210)), (352.0, (28, 88, 190))):
            out = layer(out, _wave(base), np.asarray(lit(rgb), np.float32))
        return out
    if name == "hill":
        far = 288 + 40 * np.cos(2 * np.pi * (x - 128) / 512)
        near = 384 - 26 * np.cos(2 * np.pi * (x - 256) / 768)
        out = layer(sky, far.astype(np.float32), np.asarray(lit((120, 190, 95)), np.float32))
        return layer(out, near.astype(np.float32), _ramp(lit((90, 175, 80)), lit((60, 150, 65)), SIDE)[:, None, :])
    if name == "desert":
        far = 320 + 30 * np.sin(2 * np.pi * x / 512)
        near = 384 - 24 * np.sin(2 * np.pi * (x + 96) / 640)
        out = layer(sky, far.astype(np.float32), np.asarray(lit((244, 208, 110)), np.float32))
        return layer(out, near.astype(np.float32), _ramp(lit((238, 196, 92)), lit((222, 176, 72)), SIDE)[:, None, :])
    if name == "snow":
        far = 304 + 30 * np.sin(2 * np.pi * (x + 64) / 512)
        near = 384 - 22 * np.cos(2 * np.pi * (x - 256) / 768)
        cold = np.broadcast_to(_ramp(lit((170, 196, 222)), lit((206, 220, 234)), SIDE)[:, None, :], (SIDE, SIDE, 3))
        out = layer(cold, far.astype(np.float32), np.asarray(lit((228, 236, 244)), np.float32))
        return layer(out, near.astype(np.float32), np.asarray((248, 250, 252), np.float32))
    if name == "sunset":
        out = np.broadcast_to(_ramp(lit((236, 112, 60)), lit((253, 205, 110)), SIDE)[:, None, :], (SIDE, SIDE, 3))
        disc = _disc(256, 352, 112)
        out = out * (1 - disc) + np.asarray(lit((255, 232, 160)), np.float32) * disc
        return layer(out, np.full(SIDE, 448.0, np.float32), np.asarray(lit((150, 62, 48)), np.float32))
    out = np.broadcast_to(_ramp(lit((14, 16, 40)), lit((34, 40, 84)), SIDE)[:, None, :], (SIDE, SIDE, 3)).copy()
    rng = np.random.default_rng(7)
    for cx, cy, r in zip(rng.integers(12, 500, 40), rng.integers(12, 500, 40), rng.uniform(1.5, 3.5, 40), strict=True):
        star = _disc(float(cx), float(cy), float(r))
        out = out * (1 - star) + np.asarray((250, 248, 225), np.float32) * star
    return out


@cache
def draw(name: str, variant: int) -> Image:
    """The background `name` in one of VARIANTS: (512, 512, 3) uint8, not to be written to."""
    if name in GROUNDS:
        rgb = GROUNDS[name]
        light, dark = _mix(rgb, (255, 255, 255), 0.16), _mix(rgb, (0, 0, 0), 0.16)
        top, bottom = ((rgb, rgb), (light, dark), (dark, light))[variant]
        out = np.broadcast_to(_ramp(top, bottom, SIDE)[:, None, :], (SIDE, SIDE, 3))
    else:
        out = _scene(name, variant)
    image = np.clip(np.rint(out), 0, 255).astype(np.uint8)
    image.setflags(write=False)
    return image
