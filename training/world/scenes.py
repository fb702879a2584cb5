"""Scenes: one object on a background at a place in a size, drawn whole or as a crop."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from . import CELL, SIDE
from .objects import EVERYTHING, OBJECTS
from .palette import BACKGROUNDS, GROUNDS, TINTS, VARIANTS, Image, behind, draw
from .sprites import COLOURS, SIZES, Sprites

PLACES = ("left", "centre", "right")
_COLUMNS = {"small": (1, 5, 9), "medium": (0, 4, 8), "large": (0, 2, 5)}
"""The sprite's left edge in cells: left, centre, right. Few, and mostly alike within the transformer's patches of
four cells, so that a small model learns each object once."""
HELD_OUT_PER_MILLE = 60


@dataclass(frozen=True)
class Scene:
    """What is in a picture. Indices point into EVERYTHING, COLOURS, BACKGROUNDS, PLACES and SIZES;
    `column` and `row` are the sprite's top left corner in cells, `variant` the background's variant."""

    thing: int
    colour: int
    background: int
    variant: int
    place: int
    size: str
    column: int
    row: int

    @property
    def held_out(self) -> bool:
        """Whether the composition object x background x place is kept out of every training set."""
        return is_held_out(self.thing, self.background, self.place)


def is_held_out(thing: int, background: int, place: int) -> bool:
    """Decides by hash: about 6 % of the compositions are never trained on."""
    key = f"{EVERYTHING[thing].icon}|{BACKGROUNDS[background].name}|{PLACES[place]}"
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") % 1000 < HELD_OUT_PER_MILLE


_HELD = np.array(
    [
        [[is_held_out(t, b, p) for p in range(len(PLACES))] for b in range(len(BACKGROUNDS))]
        for t in range(len(EVERYTHING))
    ]
)


def visible(sprites: Sprites, thing: int, colour: int, background: int) -> bool:
    """Whether the object stands out from the background."""
    ground = BACKGROUNDS[background]
    if COLOURS[colour] == ground.colour:
        return False
    delta = sprites.mean[thing, colour] - np.asarray(GROUNDS[ground.colour], np.float32)
    return float(np.sqrt((delta**2).sum())) > 55


def sample(
    rng: np.random.Generator,
    sprites: Sprites,
    things: int = len(OBJECTS),
    held_out: bool = False,
    uniform: bool = False,
) -> Scene:
    """Draws a scene among the first `things` objects, from the training or the held-out compositions.

    Usually the object is in the middle and of medium size, as it is where a caption doesn't say;
    `uniform` draws places and sizes evenly, which the autoencoder wants.
    """
    while True:
        thing = int(rng.integers(things))
        background = int(rng.integers(len(BACKGROUNDS)))
        colour = int(rng.integers(1, len(COLOURS))) if rng.random() < 0.34 else 0
        weights = (1, 1, 1) if uniform else (0.25, 0.5, 0.25)
        place = int(rng.choice(3, p=np.asarray(weights) / sum(weights)))
        if bool(_HELD[thing, background, place]) != held_out or not visible(sprites, thing, colour, background):
            continue
        size = str(rng.choice(list(SIZES), p=(1 / 3, 1 / 3, 1 / 3) if uniform else (0.2, 0.55, 0.25)))
        column = _COLUMNS[size][place]
        row = BACKGROUNDS[background].rows[list(SIZES).index(size)]
        return Scene(thing, colour, background, int(rng.integers(VARIANTS)), place, size, column, row)


def render(scene: Scene, sprites: Sprites, box: tuple[int, int, int] = (0, 0, SIDE)) -> Image:
    """The scene, or the square crop `box` = (left, top, side) of it: (side, side, 3) uint8."""
    left, top, side = box
    out = draw(BACKGROUNDS[scene.background].name, scene.variant)[top : top + side, left : left + side].copy()
    pixels = SIZES[scene.size]
    x, y = scene.column * CELL, scene.row * CELL
    x0, x1, y0, y1 = max(x, left), min(x + pixels, left + side), max(y, top), min(y + pixels, top + side)
    if x0 < x1 and y0 < y1:
        sprite = sprites.rgba[scene.size][scene.thing, scene.colour, y0 - y : y1 - y, x0 - x : x1 - x]
        front = BACKGROUNDS[scene.background].front
        if front is not None and y1 > front - CELL:
            sprite = (sprite * behind(front)[y0:y1, x0:x1] // 255).astype(np.uint8)
        view = out[y0 - top : y1 - top, x0 - left : x1 - left]
        rest = view.astype(np.uint16) * (255 - sprite[..., 3:].astype(np.uint16)) + 127
        view[...] = np.minimum(sprite[..., :3] + rest // 255, 255).astype(np.uint8)
    return out


def colour_name(scene: Scene) -> str | None:
    """The tint's name, or None where the object has its own colours."""
    return None if scene.colour == 0 else list(TINTS)[scene.colour - 1]
