"""Shots: what a still or a clip shows, drawn from a seed. Lengths are in picture widths, times in seconds."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .atlas import Atlas
from .colours import COLOURS16, OWN, rgb
from .concepts import STYLES, concepts, thing
from .settings import SETTINGS

MOTIONS = (
    "rest", "slide", "bounce", "fall", "spin", "grow", "shake", "orbit", "fly", "hide", "appear", "collide",
)  # fmt: skip
CAMERAS = ("still", "pan left", "pan right", "zoom in", "zoom out")
RELATIONS = ("", "left", "above", "front")
COVERS = ("wall", "bush", "box")
SIZES3: dict[str, float] = {"small": 0.2, "medium": 0.3, "large": 0.42}
"""The longer side of a sprite in picture widths."""
GROUP_SIZE = {2: 0.3, 3: 0.22, 4: 0.18}
HELD_PER_MILLE = 60
WITH_GROUP = ("rest", "slide", "bounce", "fall", "spin", "shake", "appear")
WITH_RELATION = {
    "left": ("rest", "bounce", "shake", "spin", "appear"),
    "above": ("rest", "shake", "appear"),
    "front": ("rest", "shake", "appear"),
}
TEMPI = (0.75, 1.0, 1.35)
FLOATING = ("air", "light", "sky")
SECONDS = 2.0


@dataclass(frozen=True)
class Actor:
    """A sprite in its place. `x`, `y` is the middle of its tight box when at home; `wide`, `high` that box's sides."""

    concept: int
    style: int
    colour: int
    size: float
    x: float
    y: float
    wide: float
    high: float


@dataclass(frozen=True)
class Shot:
    """What is shown. The first `count` actors are the subject; one more, where there is one, is its partner."""

    actors: tuple[Actor, ...]
    count: int
    size: str
    setting: int
    relation: str = ""
    motion: str = "rest"
    direction: int = 1
    tempo: float = 1.0
    camera: str = "still"
    cover: str = ""
    media: str = "still"
    seed: int = 0
    seconds: float = SECONDS

    @property
    def subject(self) -> Actor:
        """The first of the subject's actors."""
        return self.actors[0]

    @property
    def partner(self) -> Actor | None:
        """The other thing, or None."""
        return self.actors[self.count] if len(self.actors) > self.count else None

    @property
    def held_out(self) -> bool:
        """Whether subject x setting x motion is kept out of every training set."""
        return is_held(self.subject.concept, self.setting, self.motion)


def is_held(concept: int, setting: int, motion: str) -> bool:
    """Decides by hash of the names: about 6 % of the combinations are never trained on."""
    key = f"{thing(concept).icon}|{SETTINGS[setting].name}|{motion}"
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") % 1000 < HELD_PER_MILLE


def _pick(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]


def stands_out(atlas: Atlas, concept: int, style: int, colour: int, setting: int) -> bool:
    """Whether the sprite can be told from the setting's dominant colour."""
    ground = SETTINGS[setting].colour
    if colour != OWN and COLOURS16[colour].name == ground:
        return False
    return float(np.linalg.norm(atlas.mean(concept, style, colour) - np.asarray(rgb(ground), np.float32))) > 60


def _dress(
    rng: np.random.Generator, atlas: Atlas, setting: int, things: Sequence[int], without: int = -1
) -> tuple[int, int, int]:
    """Draws concept, style and colour that stand out from the setting; not the concept `without`."""
    while True:
        concept, style = things[int(rng.integers(len(things)))], int(rng.random() < 0.35)
        colour = int(rng.integers(OWN)) if rng.random() < 0.5 else OWN
        if concept != without and stands_out(atlas, concept, style, colour, setting):
            return concept, style, colour


def _place(atlas: Atlas, dress: tuple[int, int, int], size: float, x: float, bottom: float | None, y: float) -> Actor:
    wide, high = (float(side) * size for side in atlas.shape[dress[0], dress[1]])
    return Actor(*dress, size, x, y if bottom is None else bottom - high / 2, wide, high)


def _layout(
    rng: np.random.Generator, atlas: Atlas, shot: Shot, dress: tuple[int, int, int], things: Sequence[int]
) -> tuple[Actor, ...]:
    """The actors at home, so that counts and relations can be seen: boxes apart, or overlapping for "front"."""
    ground = SETTINGS[shot.setting].ground
    floats = thing(dress[0]).kind in FLOATING and shot.motion not in ("bounce", "fall", "slide", "collide")
    bottom = None if floats else ground
    if shot.relation or shot.motion in ("collide", "orbit"):
        other = _dress(rng, atlas, shot.setting, things, dress[0])
        if shot.motion == "orbit" or shot.relation == "above":
            size = min(SIZES3[shot.size], 0.3 if shot.relation else 0.2)
            lower = _place(atlas, other, 0.3, 0.5, ground if shot.relation else None, 0.5)
            return _place(atlas, dress, size, 0.5 + float(rng.uniform(-0.06, 0.06)), None, 0.24), lower
        if shot.relation == "front":
            side = float(rng.choice((-0.09, 0.09)))
            behind = _place(atlas, other, 0.46, 0.5 - side, ground, 0)
            return _place(atlas, dress, 0.26, 0.5 + side, ground + 0.06, 0), behind
        left, right = (0.27, 0.73) if shot.relation or shot.direction > 0 else (0.73, 0.27)
        size = min(SIZES3[shot.size], 0.34)
        return _place(atlas, dress, size, left, ground, 0), _place(atlas, other, size, right, ground, 0)
    size = GROUP_SIZE.get(shot.count, SIZES3[shot.size])
    if shot.count == 1:
        x = float(rng.choice((0.3, 0.5, 0.7))) if shot.motion in ("rest", "bounce", "fall", "shake") else 0.5
        return (_place(atlas, dress, size, x, bottom, 0.45),)
    step = 0.96 / shot.count
    return tuple(
        _place(atlas, dress, size, 0.02 + step * (i + 0.5) + float(rng.uniform(-0.01, 0.01)), bottom, 0.45)
        for i in range(shot.count)
    )


def _camera(rng: np.random.Generator, media: str, count: int, relation: str, motion: str) -> str:
    """A camera that keeps in sight whatever a caption counts or relates."""
    if media == "still" or rng.random() > 0.4 or count > 1 or relation == "left" or motion in ("collide", "orbit"):
        return "still"
    return _pick(rng, CAMERAS[1:3] if relation else CAMERAS[1:])


def sample_shot(
    rng: np.random.Generator,
    atlas: Atlas,
    media: str = "av",
    held_out: bool = False,
    things: Sequence[int] | None = None,
) -> Shot:
    """Draws a shot for `media` ("still", "clip" or "av") among the training or the held-out combinations.

    `things` are the concepts' numbers to draw from, at least two different ones; all that may be shown without it.
    """
    things = range(len(concepts())) if things is None else things
    while True:
        setting = int(rng.integers(len(SETTINGS)))
        motion = "rest" if media == "still" else MOTIONS[int(rng.integers(len(MOTIONS)))]
        kind = rng.random()
        count = int(rng.integers(2, 5)) if kind < 0.3 and motion in WITH_GROUP else 1
        related = tuple(r for r in RELATIONS[1:] if motion in WITH_RELATION[r])
        relation = _pick(rng, related) if kind > 0.7 and related else ""
        dress = _dress(rng, atlas, setting, things)
        if is_held(dress[0], setting, motion) != held_out:
            continue
        shot = Shot(
            actors=(),
            count=count,
            size=str(rng.choice(list(SIZES3), p=(0.25, 0.45, 0.3))),
            setting=setting,
            relation=relation,
            motion=motion,
            direction=1 if rng.random() < 0.5 else -1,
            tempo=float(rng.choice(TEMPI)),
            camera=_camera(rng, media, count, relation, motion),
            cover=_pick(rng, COVERS) if motion == "hide" else "",
            media=media,
            seed=int(rng.integers(2**31)),
        )
        return replace(shot, actors=_layout(rng, atlas, shot, dress, things))


def style_name(actor: Actor) -> str:
    """The actor's art style."""
    return STYLES[actor.style]
