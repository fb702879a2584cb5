"""English captions of a scene: many phrasings, from two words to a sentence."""

from __future__ import annotations

import numpy as np

from .objects import EVERYTHING
from .palette import BACKGROUNDS
from .scenes import PLACES, Scene, colour_name

SIZE_WORDS: dict[str, tuple[str, ...]] = {
    "small": ("small", "little", "tiny"),
    "medium": ("medium", "medium-sized"),
    "large": ("large", "big", "huge", "giant"),
}
PLACE_PHRASES: dict[str, tuple[str, ...]] = {
    "left": ("on the left", "at the left", "to the left", "on the left side", "left of centre"),
    "centre": ("in the centre", "in the middle", "in the center", "centred"),
    "right": ("on the right", "at the right", "to the right", "on the right side", "right of centre"),
}
NATURAL: dict[str, tuple[str, ...]] = {
    "red-apple": ("red",),
    "automobile": ("red",),
    "banana": ("yellow",),
    "balloon": ("red",),
    "carrot": ("orange",),
    "cherries": ("red",),
    "crab": ("red",),
    "crown": ("golden", "gold"),
    "dolphin": ("blue",),
    "elephant": ("grey", "gray"),
    "fish": ("blue",),
    "fox": ("orange", "red"),
    "frog": ("green",),
    "horse": ("brown",),
    "key": ("golden", "yellow"),
    "lemon": ("yellow",),
    "panda": ("black and white",),
    "pig": ("pink",),
    "rabbit": ("white",),
    "red-heart": ("red",),
    "snowman": ("white",),
    "star": ("yellow", "golden"),
    "strawberry": ("red",),
    "sunflower": ("yellow",),
    "teapot": ("red",),
    "teddy-bear": ("brown",),
    "deciduous-tree": ("green",),
    "trophy": ("golden", "gold"),
    "tulip": ("pink",),
    "turtle": ("green",),
    "whale": ("blue",),
    "chair": ("brown",),
    "crescent-moon": ("yellow",),
    "sailboat": ("yellow",),
    "umbrella": ("purple",),
}
"""What people call the objects' own colours."""

_FILLERS = (
    "nice",
    "beautiful",
    "cute",
    "lovely",
    "simple",
    "pretty",
    "bright",
    "colourful",
    "single",
    "lone",
    "lonely",
)
_OPENINGS = (
    "", "", "", "", "", "a picture of ", "an image of ", "an illustration of ", "a drawing of ", "a photo of ",
    "draw ", "draw me ", "show me ", "please draw ", "paint ", "make ", "generate ", "create ", "there is ", "I want ",
    "a flat illustration of ", "an icon of ", "a postcard of ", "a poster of ", "a painting of ", "clip art of ",
)  # fmt: skip
_JOINS = ("on", "on", "on", "in front of", "against", "over", "with", "in", "at")


def article(phrase: str) -> str:
    """The phrase with its indefinite article."""
    return ("an " if phrase[0].lower() in "aeiou" else "a ") + phrase


def _pick(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """One of the many ways to describe `scene`.

    Size and place are always said unless they are the usual ones (medium, in the middle) and then rarely;
    one caption in nine leaves the background open.
    """
    thing, ground = EVERYTHING[scene.thing], BACKGROUNDS[scene.background]
    words = []
    if rng.random() < 0.05:
        words.append(_pick(rng, _FILLERS))
    if scene.size != "medium" or rng.random() < 0.12:
        words.append(_pick(rng, SIZE_WORDS[scene.size]))
    colour = colour_name(scene)
    if colour is not None:
        words.append(colour)
    elif thing.icon in NATURAL and rng.random() < 0.25:
        words.append(_pick(rng, NATURAL[thing.icon]))
    name = thing.name if rng.random() < 0.6 else _pick(rng, thing.names)
    bare = " ".join((*words, name))
    noun = article(bare)
    if rng.random() < 0.06:
        noun = bare if rng.random() < 0.6 else f"the {bare}"
    place = PLACES[scene.place]
    where = _pick(rng, PLACE_PHRASES[place]) if place != "centre" or rng.random() < 0.15 else ""
    if rng.random() < 0.11:
        return f"{_pick(rng, _OPENINGS)}{noun} {where}".strip()
    back = _pick(rng, ground.phrases)
    shape = rng.random()
    if back == ground.name and back == ground.colour:
        if shape < 0.5:
            return ", ".join(part for part in (bare, where, f"{back} background") if part)
        return " ".join(part for part in (noun, where, "on", back) if part)
    if shape < 0.12:
        return ", ".join(part for part in (f"{back} with {noun}", where) if part)
    if shape < 0.22:
        return ", ".join(part for part in (noun, where, back) if part)
    join = "on" if shape < 0.65 else _pick(rng, _JOINS)
    tail = f"{join} {back}"
    parts = (noun, where, tail) if rng.random() < 0.6 else (noun, tail, where)
    return _pick(rng, _OPENINGS) + " ".join(part for part in parts if part)


def vocabulary(refused: bool = False) -> list[str]:
    """Every word that captions use, sorted: letters only, lower case; with `refused` also the CLIP's."""
    texts = [*SIZE_WORDS["small"], *SIZE_WORDS["medium"], *SIZE_WORDS["large"], *_FILLERS, *_OPENINGS, *_JOINS]
    texts += [phrase for phrases in (*PLACE_PHRASES.values(), *NATURAL.values()) for phrase in phrases]
    texts += [name for thing in EVERYTHING for name in thing.names if refused or not thing.hazard]
    texts += [word for ground in BACKGROUNDS for word in (*ground.phrases, ground.colour, ground.name)]
    words = {word for text in texts for word in "".join(c if c.isalpha() else " " for c in text.lower()).split()}
    return sorted((words | {"background", "color", "colour", "colored", "coloured"}) - {"a", "an", "the"})
