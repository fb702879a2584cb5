"""What a bench run consists of: its settings, and the units of work that follow from them.

A unit is what is done or not done when a run is killed. Its key names everything that decides its result; the
settings that decide all results (split, seed) are in the run's digest instead, so that a results file is never
continued under other settings.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from .attacks import ATTACKS, Attack
from .clips import HEIGHT, VIDEO_ATTACKS, WIDTH
from .pictures import Split, names

Kind = Literal["picture", "art", "null", "speed", "removal", "video", "sound"]
NULL_CHUNK = 200
SPEED_SIZES = (512, 1024, 2048)
SECTIONS: tuple[Kind, ...] = ("picture", "art", "speed", "removal", "video", "sound", "null")
_SHOWING = ("page.py", "plots.py", "report.py", "runner.py", "summary.py")
"""Modules that only show what was measured."""
QUICK_ATTACKS = (
    "none", "jpeg-50", "noise-15", "jpeg-30", "resize-50", "crop-25", "flip-h", "rotate-90", "rotate-5-filled",
    "aspect+10", "screenshot", "crop-25+resize-50+jpeg-75", "caption",
)  # fmt: skip


@dataclass(frozen=True)
class BenchSettings:
    """``codecs``: the first is judged by the bars, the others stand beside it on ``beside`` pictures of the first
    size. ``count``: photographs a size; ``generated``: pictures by the embedded generator; ``null``: unmarked
    decodes; ``targets``: pictures for the removal attacks, by somebody who has ``collected`` others; ``clips`` and
    ``sounds``: how many of each (``sounds`` None: all); ``clip_size``: (width, height) px. ``attacks``: names of
    attacks on pictures, empty for all. ``cache``: a folder for generated pictures and example crops."""

    codecs: tuple[str, ...]
    cache: Path
    sizes: tuple[int, ...] = (512, 1024, 2048)
    count: int = 24
    generated: int = 100
    beside: int = 8
    null: int = 2000
    targets: int = 8
    collected: int = 50
    clips: int = 6
    clip_seconds: float = 10.0
    clip_size: tuple[int, int] = (WIDTH, HEIGHT)
    sounds: int | None = None
    split: Split = "test"
    seed: int = 1
    attacks: tuple[str, ...] = ()
    sections: tuple[Kind, ...] = field(default=SECTIONS)

    def chosen(self) -> list[Attack]:
        return [attack for attack in ATTACKS if not self.attacks or attack.name in self.attacks]

    def public(self) -> dict[str, Any]:
        """What decides the results, without folders: for the report, and for the digest."""
        values = asdict(self)
        del values["cache"]
        return values

    def digest(self) -> str:
        """Of what two runs must share to be one run: settings, and the code that marks and attacks. How many of each
        is not among it: a run may be made longer."""
        fixed: dict[str, Any] = {"split": self.split, "seed": self.seed, "collected": self.collected}
        fixed |= {"clip_seconds": self.clip_seconds, "clip_size": self.clip_size}
        return hashlib.sha256((json.dumps(fixed, sort_keys=True) + code_digest()).encode()).hexdigest()[:16]


@cache
def code_digest() -> str:
    """Of the source of every codec and attack: results of one version are never continued by another."""
    total = hashlib.sha256()
    for package in ("filigrana.provenance.watermark", __package__):
        for file in sorted(resources.files(package).iterdir(), key=lambda f: f.name):
            if file.name.endswith((".py", ".csv")) and file.name not in _SHOWING:
                total.update(file.name.encode() + b"\0" + file.read_bytes())
    return total.hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Unit:
    """``group``: the size in px, or the encoding of a clip. ``index``: which picture, clip, chunk."""

    kind: Kind
    codec: str
    group: str
    index: int
    name: str = ""

    @property
    def key(self) -> str:
        return "|".join((self.kind, self.codec, self.group, str(self.index), self.name))


def units(settings: BenchSettings) -> list[Unit]:
    """Every unit of a run, the ones that answer most first."""
    main, *beside = settings.codecs
    found: list[Unit] = []
    if "picture" in settings.sections:
        for side in settings.sizes:
            listed = names(settings.split, side, settings.count)
            found += [Unit("picture", main, str(side), i, name) for i, name in enumerate(listed)]
    if "art" in settings.sections:
        found += [Unit("art", main, "512", i) for i in range(settings.generated)]
    if "picture" in settings.sections:
        listed = names(settings.split, settings.sizes[0], settings.count)[: settings.beside]
        size = str(settings.sizes[0])
        found += [Unit("picture", codec, size, i, name) for codec in beside for i, name in enumerate(listed)]
    if "speed" in settings.sections:
        # On squares that the count does not touch, so that two reports can be compared.
        found += [Unit("speed", main, str(side), 0) for side in SPEED_SIZES if side <= max(settings.sizes)]
        found += [Unit("speed", codec, str(settings.sizes[0]), 0) for codec in beside]
    if "removal" in settings.sections:
        found += [Unit("removal", main, "512", i) for i in range(settings.targets)]
    if "video" in settings.sections:
        encodings = dict.fromkeys(attack.encoding for attack in VIDEO_ATTACKS)
        found += [Unit("video", main, "|".join(map(str, e)), i) for i in range(settings.clips) for e in encodings]
    if "sound" in settings.sections:
        from .sounding import sound_units

        found += [Unit("sound", codec, "", i, name) for codec, i, name in sound_units(settings.split, settings.sounds)]
    if "null" in settings.sections:
        found += [Unit("null", main, "", i) for i in range(-(-settings.null // NULL_CHUNK))]
    return found
