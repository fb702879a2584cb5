"""Training examples: number n of a seed is always the same, whoever draws it and in which order.

So several processes can each draw a part, and a run that stopped goes on with the next number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from filigrana.pipeline.generators.embedded.compose import Image

from .atlas import Atlas
from .film import render_frames
from .shots import Shot, sample_shot
from .sound import render_sound
from .telling import tell
from .tongues import LANGUAGES
from .voices import Sound

ENGLISH_SHARE = 0.5
"""How often a caption is English; the other languages share the rest."""


@dataclass(frozen=True)
class Example:
    """A captioned shot. `frames` is (T, side, side, 3) uint8, T = 1 for a still; `sound` is (n,) float32 in -1..1 at
    voices.RATE, empty unless the shot's media is "av"."""

    shot: Shot
    language: str
    caption: str
    frames: Image
    sound: Sound


def example(
    atlas: Atlas, seed: int, index: int, media: str = "av", side: int = 128, rate: int = 16, held_out: bool = False
) -> Example:
    """Example `index` of the set named by `seed` and `media`; `rate` is in frames a second."""
    rng = np.random.default_rng((seed, index))
    shot = sample_shot(rng, atlas, media, held_out)
    others = [code for code in LANGUAGES if code != "en"]
    language = "en" if rng.random() < ENGLISH_SHARE else others[int(rng.integers(len(others)))]
    caption = tell(shot, rng, language, held_out)
    sound = render_sound(shot) if media == "av" else np.zeros(0, np.float32)
    return Example(shot, language, caption, render_frames(shot, atlas, side, rate), sound)
