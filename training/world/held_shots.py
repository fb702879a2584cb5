"""The fixed list of held-out shots and captions, in five languages: stills, clips, and clips with sound."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from .atlas import Atlas
from .shots import Actor, Shot, sample_shot
from .telling import tell
from .tongues import LANGUAGES

PATH = Path(__file__).resolve().parent / "held_out_shots.json"
SEED = 2027
COUNT = 300
MEDIA = ("still", "clip", "av")


def draw_shots(atlas: Atlas, count: int = COUNT) -> list[tuple[str, str, Shot]]:
    """`count` held-out (language, caption, shot): languages and media take turns."""
    rng, drawn = np.random.default_rng(SEED), []
    codes = list(LANGUAGES)
    for k in range(count):
        shot = sample_shot(rng, atlas, MEDIA[k % 3], held_out=True)
        language = codes[k // 3 % len(codes)]
        drawn.append((language, tell(shot, rng, language, held_out=True), shot))
    return drawn


def write(atlas: Atlas) -> None:
    """Writes the list; it never changes once figures have been published on it."""
    lines = []
    for language, caption, shot in draw_shots(atlas):
        scene = asdict(shot)
        scene["actors"] = [[round(v, 4) for v in actor.values()] for actor in scene["actors"]]
        entry = {"language": language, "caption": caption, "shot": scene}
        lines.append(json.dumps(entry, ensure_ascii=False))
    PATH.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


def _shot(scene: dict[str, Any]) -> Shot:
    actors = tuple(Actor(*values) for values in scene["actors"])
    return Shot(**{**scene, "actors": actors})


def read() -> list[tuple[str, str, Shot]]:
    """The list: (language, caption, shot)."""
    entries = json.loads(PATH.read_text(encoding="utf-8"))
    return [(str(entry["language"]), str(entry["caption"]), _shot(entry["shot"])) for entry in entries]
