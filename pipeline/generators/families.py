"""What diffusers' pipelines leave to their callers: what they give, how fast it moves, and how its sound is read.

Frame rates are those the models were trained at, from the examples in diffusers' own documentation (0.42.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal

from ...provenance.media import Kind

PICTURE: frozenset[Kind] = frozenset({"image"})
CLIP: frozenset[Kind] = frozenset({"video"})
SECONDS = 2
"""Of a clip for which no number of frames is asked."""


@dataclass(frozen=True)
class Family:
    """``kinds``: what it makes. ``rate``: frames a second of its clips; ``tells_rate``: whether it takes that as its
    argument `frame_rate`; ``faster``: the configuration by which a later model of the same class is known, and its
    rate. ``group``: how many frames its autoencoder makes at once; a clip has one frame more than a multiple.
    ``sound``: whether its clips have sound. ``scenes``: it gives frames one by one. ``half``: the type of 16 bits in
    which the published weights were trained; in the other one their text encoders overflow, or their colours do.
    ``exact``: parts that stay in 32 bits beside it."""

    kinds: frozenset[Kind] = PICTURE
    rate: Fraction = Fraction(16)
    tells_rate: bool = False
    faster: tuple[str, Fraction] | None = None
    group: int = 1
    sound: bool = False
    scenes: bool = False
    half: Literal["float16", "bfloat16"] = "float16"
    exact: frozenset[str] = frozenset()

    def frames(self, asked: int | None = None) -> int:
        """How many frames a clip gets: as many as asked, or about two seconds, to the nearest that the model makes."""
        wanted = round(self.rate * SECONDS) if asked is None else asked
        return max(0, round(Fraction(wanted - 1, self.group))) * self.group + 1


FAMILIES: dict[str, Family] = {
    "FiligranaShotPipeline": Family(PICTURE | CLIP, Fraction(16), sound=True, scenes=True),
    # Wan 2.2's model of 5 billion weights expands time steps, and moves at 24 frames a second.
    "WanPipeline": Family(
        CLIP,
        Fraction(16),
        faster=("expand_timesteps", Fraction(24)),
        group=4,
        half="bfloat16",
        exact=frozenset({"vae"}),
    ),
    "LTXPipeline": Family(CLIP, Fraction(25), tells_rate=True, group=8, half="bfloat16"),
    "LTX2Pipeline": Family(CLIP, Fraction(24), tells_rate=True, group=8, sound=True, half="bfloat16"),
    # Shortens time by 4, and decodes two latents at once: of an even number it makes three frames too many. Version
    # 1.5 has patches in time, too.
    "CogVideoXPipeline": Family(CLIP, Fraction(8), faster=("patch_size_t", Fraction(16)), group=8, half="bfloat16"),
    "FluxPipeline": Family(half="bfloat16"),
    "SanaPipeline": Family(half="bfloat16"),
}


def family_of(pipeline_class: str, told: Mapping[str, Any] | None = None) -> Family:
    """The family of a pipeline class; one that is not known makes pictures. ``told``: what the folder's own
    configuration says, of the pipeline and of its transformer."""
    family = FAMILIES.get(pipeline_class, Family())
    if family.faster is not None and (told or {}).get(family.faster[0]):
        return replace(family, rate=family.faster[1])
    return family


def sound_rate(pipeline: Any) -> int | None:
    """Samples a second of a pipeline's sound, from its vocoder's configuration; None where it has none."""
    config = getattr(getattr(pipeline, "vocoder", None), "config", None)
    rate = getattr(config, "output_sampling_rate", None) or getattr(config, "sampling_rate", None)
    return int(rate) if rate else None
