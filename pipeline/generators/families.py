"""What diffusers' pipelines leave to their callers: what they give, how fast it moves, and how its sound is read.

Frame rates are those the models were trained at, from the examples in diffusers' own documentation (0.42.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ...provenance.media import Kind

PICTURE: frozenset[Kind] = frozenset({"image"})
CLIP: frozenset[Kind] = frozenset({"video"})


@dataclass(frozen=True)
class Family:
    """``kinds``: what it makes. ``rate``: frames a second of its clips; ``tells_rate``: whether it takes that as its
    argument `frame_rate`. ``sound``: whether its clips have sound. ``scenes``: it gives frames one by one."""

    kinds: frozenset[Kind] = PICTURE
    rate: Fraction = Fraction(16)
    tells_rate: bool = False
    sound: bool = False
    scenes: bool = False


FAMILIES: dict[str, Family] = {
    "FiligranaShotPipeline": Family(PICTURE | CLIP, Fraction(16), sound=True, scenes=True),
    "WanPipeline": Family(CLIP, Fraction(16)),
    "LTXPipeline": Family(CLIP, Fraction(25), tells_rate=True),
    "LTX2Pipeline": Family(CLIP, Fraction(24), tells_rate=True, sound=True),
    "CogVideoXPipeline": Family(CLIP, Fraction(8)),
}


def family_of(pipeline_class: str) -> Family:
    """The family of a pipeline class; one that is not known makes pictures."""
    return FAMILIES.get(pipeline_class, Family())


def sound_rate(pipeline: Any) -> int | None:
    """Samples a second of a pipeline's sound, from its vocoder's configuration; None where it has none."""
    config = getattr(getattr(pipeline, "vocoder", None), "config", None)
    rate = getattr(config, "output_sampling_rate", None) or getattr(config, "sampling_rate", None)
    return int(rate) if rate else None
