"""Shots as the shot family's models see them: attributes, motion, and captions drawn afresh."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from filigrana.pipeline.generators.embedded.reader import ATTRIBUTES
from filigrana.pipeline.generators.embedded.time import CAMERA, INSTANCES, MOMENTS, POSE, VALUES
from filigrana.pipeline.generators.embedded.words import build_words

from .world.atlas import Atlas
from .world.colours import COLOURS16
from .world.concepts import concepts
from .world.film import HIDE_GROUND
from .world.layers import COVER_SIDE
from .world.motions import COVER_HIGH, timeline
from .world.settings import PLAINS, SETTINGS
from .world.shots import CAMERAS, COVERS, MOTIONS, RELATIONS, SECONDS, SIZES3, TEMPI, Shot, sample_shot
from .world.telling import place_key, tell, words
from .world.tongues import LANGUAGES

PLACES = ("", "left", "right")
MEDIA = ("still", "clip", "av")
COVER = INSTANCES - 1
PARTNER = INSTANCES - 2
ABSENT = (0.0, 0.0, 0.0, 1.0, 0.0, 0.0)
ENGLISH = 0.4


def attributes(shot: Shot) -> list[int]:
    """The true answers, in the order of ATTRIBUTES."""
    a, b = shot.subject, shot.partner
    return [
        MEDIA.index(shot.media), a.concept, a.style, a.colour, shot.count - 1, list(SIZES3).index(shot.size),
        PLACES.index(place_key(shot)), RELATIONS.index(shot.relation),
        ATTRIBUTES["partner"] - 1 if b is None else b.concept,
        ATTRIBUTES["partner_style"] - 1 if b is None else b.style,
        ATTRIBUTES["partner_colour"] - 1 if b is None else b.colour,
        shot.setting, MOTIONS.index(shot.motion), int(shot.direction > 0), CAMERAS.index(shot.camera),
        0 if not shot.cover else 1 + COVERS.index(shot.cover),
    ]  # fmt: skip


def plan(shot: Shot) -> list[int]:
    """What was decided of a shot, in the order of PLAN: the true answers, and how fast."""
    return [*attributes(shot), TEMPI.index(shot.tempo)]


def labels() -> dict[str, list[str]]:
    """What each attribute's answers are called in English; "" for the usual one, which goes without saying."""
    things, colours = [concept.name for concept in concepts()], [colour.name for colour in COLOURS16]
    return {
        "media": ["picture", "clip", "clip with sound"],
        "concept": things,
        "style": ["", "as a line drawing"],
        "colour": [*colours, ""],
        "count": ["one", "two", "three", "four"],
        "size": ["" if size == "medium" else size for size in SIZES3],
        "place": ["", "on the left", "on the right"],
        "relation": ["", "left of", "above", "in front of"],
        "partner": [*things, "none"],
        "partner_style": ["", "as a line drawing", "none"],
        "partner_colour": [*colours, "", "none"],
        "setting": [f"on {s.name}" if s.name in PLAINS else s.name for s in SETTINGS],
        "motion": ["" if name == "rest" else name for name in MOTIONS],
        "direction": ["to the left", "to the right"],
        "camera": ["" if name == "still" else f"camera: {name}" for name in CAMERAS],
        "cover": ["", *(f"behind a {name}" for name in COVERS)],
    }


def motion(shot: Shot) -> NDArray[np.float32]:
    """Where everything is at MOMENTS moments: (MOMENTS, VALUES) float32, centred and scaled to about -1..1."""
    line = timeline(shot, np.arange(MOMENTS) * (SECONDS / MOMENTS))
    out = np.empty((MOMENTS, VALUES), np.float32)
    poses = out[:, : INSTANCES * POSE].reshape(MOMENTS, INSTANCES, POSE)
    poses[:] = ABSENT
    for i, (actor, track) in enumerate(zip(shot.actors, line.tracks, strict=True)):
        turn, size = np.deg2rad(track.angle), np.log2(actor.size * track.scale) / 2 + 1
        pose = (track.x * 2 - 1, track.y * 2 - 1, size, np.cos(turn), np.sin(turn), track.alpha)
        poses[:, i if i < shot.count else PARTNER] = np.stack(pose, 1)
    if shot.cover:
        y = HIDE_GROUND - COVER_HIGH / 2
        poses[:, COVER] = (0.0, y * 2 - 1, np.log2(COVER_SIDE) / 2 + 1, 1.0, 0.0, 1.0)
    out[:, -CAMERA:] = (line.camera - (0.5, 0.5, 1.0)) * (4, 4, 2)
    return out


def draw(rng: np.random.Generator, atlas: Atlas, held_out: bool = False) -> Shot:
    """A shot of any medium: stills three tenths, clips with sound half."""
    return sample_shot(rng, atlas, str(rng.choice(MEDIA, p=(0.3, 0.2, 0.5))), held_out)


def say(rng: np.random.Generator, shot: Shot, held_out: bool = False) -> str:
    """A caption in one of the five languages."""
    others = [code for code in LANGUAGES if code != "en"]
    language = "en" if rng.random() < ENGLISH else others[int(rng.integers(len(others)))]
    return tell(shot, rng, language, held_out)


def vocabulary(atlas: Atlas, count: int = 20000) -> list[str]:
    """Every word that captions use: all phrases, and what `count` captions add."""
    rng = np.random.default_rng(20267)
    texts = [phrase for code in LANGUAGES for phrase in words(code)]
    return build_words(texts + [say(rng, draw(rng, atlas)) for _ in range(count)])
