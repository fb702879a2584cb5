"""English."""

from __future__ import annotations

from ..colours import Colour
from .base import Language, Phrases, Said

_COUNTS = ("", "", "two", "three", "four")


def noun_phrase(said: Said) -> str:
    """A small red dog; three red dogs."""
    words = " ".join(word for word in (said.size, said.tint, said.name) if word)
    if said.count > 1:
        return f"{_COUNTS[said.count]} {words}"
    # by sound: an hourglass, a unicorn, a ufo
    vowel = (words[0] in "aeiou" and not words.startswith(("uni", "ufo"))) or words.startswith("hour")
    return ("an " if vowel else "a ") + words


def colours(colour: Colour) -> Phrases:
    """The colour's usual word first."""
    return (colour.name, colour.name, *colour.also)


def _plain(word: str) -> Phrases:
    an = "an" if word[0] in "aeiou" else "a"
    return (
        f"on {an} {word} background",
        f"on {word}",
        f"against {an} {word} wall",
        f"in front of {an} {word} backdrop",
    )


def _blend(top: str, bottom: str) -> Phrases:
    return (f"on a {top} and {bottom} gradient", f"on a background from {top} to {bottom}")


ENGLISH = Language(
    code="en",
    noun_phrase=noun_phrase,
    colours=colours,
    sizes={"small": ("small", "little", "tiny"), "large": ("large", "big", "huge")},
    places={"left": ("on the left", "on the left side"), "right": ("on the right", "on the right side")},
    relations={
        "left": ("to the left of {b}", "left of {b}"),
        "above": ("above {b}", "over {b}"),
        "front": ("in front of {b}", "before {b}"),
    },
    verbs={
        "rest": (("stays still", "stay still"), ("does not move", "do not move"), ("rests", "rest")),
        "slide left": (("slides to the left", "slide to the left"), ("moves left", "move left")),
        "slide right": (("slides to the right", "slide to the right"), ("moves right", "move right")),
        "bounce": (("bounces", "bounce"), ("bounces up and down", "bounce up and down"), ("hops", "hop")),
        "fall": (("falls down", "fall down"), ("drops to the ground", "drop to the ground"), ("falls", "fall")),
        "spin": (("spins", "spin"), ("turns around", "turn around"), ("rotates", "rotate")),
        "grow": (("grows", "grow"), ("gets bigger", "get bigger")),
        "shrink": (("shrinks", "shrink"), ("gets smaller", "get smaller")),
        "shake": (("shakes", "shake"), ("trembles", "tremble"), ("wobbles", "wobble")),
        "orbit": (("orbits {b}", "orbit {b}"), ("circles around {b}", "circle around {b}")),
        "fly left": (("flies across to the left", "fly across to the left"), ("flies left", "fly left")),
        "fly right": (("flies across to the right", "fly across to the right"), ("flies right", "fly right")),
        "hide": (("hides behind {c}", "hide behind {c}"), ("disappears behind {c}", "disappear behind {c}")),
        "appear": (("appears", "appear"), ("pops up", "pop up")),
        "collide": (("collides with {b}", "collide with {b}"), ("bumps into {b}", "bump into {b}")),
    },
    covers={"wall": "a brick wall", "bush": "a bush", "box": "a wooden box"},
    settings={
        **{word: _plain(word) for word in ("white", "grey", "blue", "green", "yellow", "pink", "black", "beige")},
        "blue to white": _blend("blue", "white"),
        "pink to orange": _blend("pink", "orange"),
        "purple to navy": _blend("purple", "navy"),
        "yellow to green": _blend("yellow", "green"),
        "sea": ("on the sea", "on a blue sea", "at sea", "on the ocean"),
        "hill": ("on a green hill", "on a hill", "in a meadow"),
        "night sky": ("under a night sky", "at night under the stars", "in the starry night"),
        "city": ("in the city", "in front of tall buildings", "in a city street"),
        "room": ("in a room", "indoors", "in the living room"),
        "desert": ("in the desert", "on the dunes"),
        "snow": ("in the snow", "on a snowy field"),
        "sunset": ("at sunset", "in front of the setting sun"),
        "forest": ("in the forest", "in the woods"),
        "beach": ("on the beach", "on the sand by the sea"),
        "road": ("on the road", "on a country road"),
        "under water": ("under water", "at the bottom of the sea"),
    },
    cameras={
        "pan left": ("the camera pans left", "camera panning to the left"),
        "pan right": ("the camera pans right", "camera panning to the right"),
        "zoom in": ("the camera zooms in", "slow zoom in"),
        "zoom out": ("the camera zooms out", "slow zoom out"),
    },
    sounds={
        "soft": ("with a dull thud", "with a soft thump"),
        "rubber": ("with a rubbery thump", "with a bouncy thud"),
        "wood": ("with a wooden knock", "with a knock"),
        "stone": ("with a stony clack", "with a hard clack"),
        "metal": ("with a metallic clang", "with a clang"),
        "glass": ("with a glassy clink", "with a clink"),
        "paper": ("with a papery tap", "with a light tap"),
        "tick": ("ticking", "with a ticking sound"),
        "rattle": ("rattling", "with a rattle"),
        "whoosh": ("with a whoosh", "whooshing"),
        "engine": ("with a humming engine", "engine sound"),
        "wash": ("with splashing water", "to the sound of splashing water"),
        "scrape": ("with a scraping sound", "scraping"),
        "falling tone": ("with a falling tone", "to a falling whistle"),
        "rising tone": ("with a rising tone", "to a rising whistle"),
        "rustle": ("with a rustle", "rustling"),
        "chime": ("with a chime", "with a bright chime"),
        "chirp": ("chirping", "with a chirp"),
        "call": ("calling out", "with an animal call"),
        "note": ("with musical notes", "playing notes"),
        "water": ("with the sound of waves", "waves in the background"),
        "wind": ("with the sound of wind", "wind blowing"),
        "crickets": ("with crickets", "crickets chirping"),
        "traffic": ("with distant traffic", "traffic noise"),
        "clock": ("with a clock ticking", "a clock ticks"),
        "birds": ("with birdsong", "birds singing"),
        "bubbles": ("with bubbling sounds", "bubbles rising"),
        "none": ("silent", "without sound"),
    },
    line=("line drawing", "drawn in ink", "as a drawing"),
    openings=("", "", "", "", "", "a picture of ", "an image of ", "show me ", "draw ", "an illustration of ", "make "),
    openings_held=("I would like to see ", "please create "),
    openings_clip=("", "", "", "", "a clip in which ", "a video where "),
    openings_clip_held=("please film how ", "I would like to see how "),
    still=("{np} {rel} {place} {setting}", "{np} {rel} {setting} {place}"),
    moving=("{np} {rel} {verb} {setting}", "{setting}, {np} {rel} {verb}", "{np} {rel} {verb} {setting}"),
)
