"""The fixed list of held-out captions that the evaluation uses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from .captions import caption
from .palette import BACKGROUNDS
from .scenes import Scene, sample
from .sprites import Sprites

PATH = Path(__file__).resolve().parent / "held_out.json"
SEED = 2026


def draw_list(sprites: Sprites, count: int = 256) -> list[tuple[str, Scene]]:
    """Held-out scenes with captions that name the background."""
    rng = np.random.default_rng(SEED)
    pairs: list[tuple[str, Scene]] = []
    while len(pairs) < count:
        scene = sample(rng, sprites, held_out=True)
        text = caption(scene, rng)
        ground = BACKGROUNDS[scene.background]
        if any(phrase in text for phrase in (*ground.phrases, ground.name)):
            pairs.append((text, scene))
    return pairs


def write(sprites: Sprites) -> None:
    """Writes the list; it never changes once figures have been published on it."""
    entries: list[dict[str, Any]] = [
        {"caption": text, "scene": [getattr(scene, name) for name in Scene.__dataclass_fields__]}
        for text, scene in draw_list(sprites)
    ]
    lines = ",\n".join(json.dumps(entry) for entry in entries)
    PATH.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def read() -> list[tuple[str, Scene]]:
    """The list's captions and scenes."""
    entries = json.loads(PATH.read_text(encoding="utf-8"))
    return [(str(entry["caption"]), Scene(*entry["scene"])) for entry in entries]
