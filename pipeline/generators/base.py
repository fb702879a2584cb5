"""The port of every generator."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Protocol

from ...provenance.manifest import Model
from ...provenance.media import Frame, Kind, MediaFile

StepProgress = Callable[[int, int], None]
"""Called as (step, steps). Raising in it stops the sampling."""


@dataclass(frozen=True)
class Sampling:
    """One sampling, fully determined: with the same model, versions and machine it gives the same pixels.
    ``size``: (width, height) px, None for the model's own."""

    prompt: str
    seed: int
    steps: int | None = None
    guidance: float | None = None
    size: tuple[int, int] | None = None
    negative_prompt: str | None = None


@dataclass(frozen=True)
class Generated:
    """``frames`` may be iterated more than once. ``sampling``: what was really used, without the prompt.
    ``sound``: a file with the soundtrack, or None."""

    kind: Kind
    frames: Iterable[Frame]
    rate: Fraction | None = None
    sound: MediaFile | None = None
    sampling: dict[str, Any] = field(default_factory=dict)


class Generator(Protocol):
    """Makes media from a prompt."""

    @property
    def model(self) -> Model:
        """The model by name, version, identifier and the digest of its weights."""

    @property
    def kinds(self) -> frozenset[Kind]:
        """What it can make."""

    def generate(self, sampling: Sampling, progress: StepProgress) -> Generated:
        """Raises GenerationError when it cannot deliver. Frames are finite uint8 RGB, never empty."""
