"""Judges that need no training: which real sprite, backdrop, arrangement, motion or sound is most like a drawn one.

All they know are real ones: every sprite of the world, and hundreds of backdrops and thousands of arrangements, motions
and sounds drawn from a seed of their own. They look at a shot's layers, tracks and samples, before pictures are made of
them: that layers and tracks make the picture that the world would render is tested elsewhere. What they get wrong on
real ones is measured beside.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from filigrana.pipeline.generators.embedded.spectrogram import spectrogram
from filigrana.pipeline.generators.embedded.time import INSTANCES, MOMENTS, POSE

from .shots_data import COVER, PARTNER, motion
from .world import layers
from .world.atlas import Atlas
from .world.colours import OWN
from .world.concepts import STYLES, concepts
from .world.settings import SETTINGS, VARIANTS, draw_setting
from .world.shots import MOTIONS, RELATIONS, Shot, sample_shot
from .world.sound import render_sound
from .world.telling import sound_key

SEED = 2029
SMALL = 24
COUNTS = 4
SOUNDS = (
    "soft", "rubber", "wood", "stone", "metal", "glass", "paper", "tick", "rattle", "whoosh", "engine", "wash",
    "scrape", "falling tone", "rising tone", "rustle", "chime", "chirp", "call", "note", "water", "wind", "crickets",
    "traffic", "clock", "birds", "bubbles", "none",
)  # fmt: skip
"""What is heard most, as captions say it."""
Vectors = NDArray[np.float32]


def shrunk(sprite: NDArray[np.uint8]) -> Vectors:
    """A premultiplied sprite (h, w, 4) as a vector: red, green, blue and how much is covered, averaged."""
    small = cv2.resize(sprite, (SMALL, SMALL), interpolation=cv2.INTER_AREA)
    return np.asarray(small.ravel() / np.float32(255), np.float32)


def moved(track: NDArray[np.float32]) -> Vectors:
    """Motion (64, 39) as a vector: the subject's pose about its mean and how it changes, what hides it, and the
    partner."""
    poses = track[:, : INSTANCES * POSE].reshape(MOMENTS, INSTANCES, POSE)
    own, other = poses[:, 0].copy(), poses[:, PARTNER][:, [0, 1, 5]]
    change, pushed = (np.diff(part, axis=0, prepend=part[:1]) * 6 for part in (own, other))
    own[:, :3] -= own[:, :3].mean(0)
    parts = (own, change, poses[:, COVER, 5] * 0.5, other[:, 2] * 0.3, pushed)
    return np.concatenate([part.ravel() for part in parts]).astype(np.float32)


def heard(sounds: NDArray[np.float32]) -> Vectors:
    """Sounds (N, samples) as vectors (N, values): how loud 64 bands are most and least of the time, what the loudest
    onset sounds like, and how the loudness moves."""
    bands = spectrogram(torch.from_numpy(sounds)).numpy()[:, :256].reshape(len(sounds), 64, 4, 256).mean(2)
    level = bands.mean(1)
    begins = np.diff(level, axis=1, prepend=level[:, :1]).argmax(1)
    after = [np.pad(one, ((0, 0), (0, 40)))[:, at : at + 32 : 4] for one, at in zip(bands, begins, strict=True)]
    pulse = np.abs(np.fft.rfft(level - level.mean(1, keepdims=True), axis=1))[:, 1:40] / 40
    spread = np.sort(bands, axis=2)[:, :, [25, 77, 128, 179, 230, 250]]
    parts = (spread, np.stack(after), np.sort(level, axis=1)[:, [10, 60, 128, 200, 250]], pulse)
    return np.concatenate([part.reshape(len(sounds), -1) for part in parts], 1).astype(np.float32)


class Nearest:
    """What is known, as vectors (N, values), and what each is called."""

    def __init__(self, vectors: Vectors, names: list[int]) -> None:
        self.vectors, self.names = vectors, names
        self._squares = np.square(vectors).sum(1)

    def say(self, vectors: Vectors) -> list[int]:
        """The names of the nearest (least squared difference) to each of (N, values)."""
        return [self.names[int(k)] for k in (self._squares - 2 * vectors @ self.vectors.T).argmin(1)]


class SpriteJudge:
    """All sprites of `atlas` in all colours."""

    def __init__(self, atlas: Atlas) -> None:
        self.keys = [
            (concept, style, colour)
            for concept in range(len(concepts()))
            for style in range(len(STYLES))
            for colour in range(OWN + 1)
        ]
        vectors = np.stack([shrunk(atlas.levels(*key)[0]) for key in self.keys])
        self._known = Nearest(vectors, list(range(len(self.keys))))

    def nearest(self, sprite: NDArray[np.uint8]) -> tuple[int, int, int]:
        """Concept, style and colour of the most similar real sprite."""
        return self.keys[self._known.say(shrunk(sprite)[None])[0]]


def arranged(track: NDArray[np.float32]) -> Vectors:
    """Motion (64, 39) as a vector: at its beginning, which of six things are there, where and how large, about the
    subject's own place."""
    poses = track[0, : INSTANCES * POSE].reshape(INSTANCES, POSE)
    there = poses[:, POSE - 1 :]
    return np.concatenate((2 * there, there * (poses[:, :3] - poses[:1, :3])), 1).ravel().astype(np.float32)


def arrangement(shot: Shot) -> int:
    """How many of its subject there are, and how they stand to their partner, as one number."""
    return RELATIONS.index(shot.relation) * COUNTS + shot.count - 1


def arrangement_judge(atlas: Atlas, count: int = 6000) -> Nearest:
    """Knows `count` real stills; names are `arrangement`s. Give it what `arranged` makes of a track."""
    rng = np.random.default_rng((SEED, 2))
    shots = [sample_shot(rng, atlas, "still") for _ in range(count)]
    return Nearest(np.stack([arranged(motion(shot)) for shot in shots]), [arrangement(shot) for shot in shots])


def spread(plate: NDArray[np.uint8]) -> Vectors:
    """A backdrop (h, w, 3) as a vector: its colours, averaged over a grid."""
    small = cv2.resize(plate, (SMALL, SMALL), interpolation=cv2.INTER_AREA)
    return np.asarray(small.ravel() / np.float32(255), np.float32)


def setting_judge(side: int = 96) -> Nearest:
    """Knows every setting's backdrops; names are numbers in SETTINGS. Give it what `spread` makes of a backdrop."""
    known = [(n, seed) for n in range(len(SETTINGS)) for seed in range(VARIANTS)]
    return Nearest(np.stack([spread(draw_setting(n, seed, side)) for n, seed in known]), [n for n, _ in known])


def motion_judge(atlas: Atlas, count: int = 6000) -> Nearest:
    """Knows `count` real motions; names are numbers in MOTIONS. Give it what `moved` makes of a track."""
    rng = np.random.default_rng(SEED)
    shots = [sample_shot(rng, atlas, "av") for _ in range(count)]
    return Nearest(np.stack([moved(motion(shot)) for shot in shots]), [MOTIONS.index(shot.motion) for shot in shots])


def sound_judge(atlas: Atlas, count: int = 3000) -> Nearest:
    """Knows `count` real sounds; names are numbers in SOUNDS. Give it what `heard` makes of sounds."""
    rng = np.random.default_rng((SEED, 1))
    shots = [sample_shot(rng, atlas, "av") for _ in range(count)]
    vectors = [heard(np.stack([render_sound(shot) for shot in shots[i : i + 100]])) for i in range(0, count, 100)]
    return Nearest(np.concatenate(vectors), [SOUNDS.index(sound_key(shot)) for shot in shots])


def shown(track: NDArray[np.float32]) -> float:
    """The share of moments in which the subject's middle is in the picture, and it is there."""
    inside = np.abs(track[:, :2]).max(1) <= 1
    return float((inside & (track[:, POSE - 1] > 0.5)).mean())


@dataclass(frozen=True)
class Still:
    """What the judges of stills look at: the sprites of the subject and of its partner, the backdrop, the tracks."""

    sprites: list[NDArray[np.uint8]]
    plate: NDArray[np.uint8]
    motion: NDArray[np.float32]


def real(shot: Shot, fine: Atlas) -> Still:
    """A real shot in parts; `fine` holds sprites as large as the layers are."""
    actors = (shot.subject, shot.partner or shot.subject)
    sprites = [layers.sprite(fine, actor.concept, actor.style, actor.colour) for actor in actors]
    return Still(sprites, layers.plate(shot.setting, shot.seed)[..., :3], motion(shot))


def told(judges: tuple[SpriteJudge, Nearest, Nearest], shots: list[Shot], made: list[Still]) -> dict[str, float]:
    """The share that the judges of sprites, arrangements and settings find right of what each shot asks for: partners,
    counts and relations where there is one to be shown."""
    sprites, arrangements, settings = judges
    said = [sprites.nearest(one.sprites[0]) for one in made]
    stand = arrangements.say(np.stack([arranged(one.motion) for one in made]))
    counts, relations = [a % COUNTS + 1 for a in stand], [RELATIONS[a // COUNTS] for a in stand]
    places = settings.say(np.stack([spread(one.plate) for one in made]))
    every = range(len(shots))
    return {
        "concept": _share([said[k][0] == shots[k].subject.concept for k in every]),
        "colour": _share([said[k][2] == shots[k].subject.colour for k in every]),
        "partner": _share([
            sprites.nearest(made[k].sprites[1])[0] == other.concept
            for k in every
            if (other := shots[k].partner) is not None
        ]),
        "count": _share([counts[k] == shots[k].count for k in every if shots[k].count > 1]),
        "relation": _share([relations[k] == shots[k].relation for k in every if shots[k].relation]),
        "setting": _share([places[k] == shots[k].setting for k in every]),
    }  # fmt: skip


def _share(hits: list[bool]) -> float:
    return round(float(np.mean(hits)), 4) if hits else float("nan")
