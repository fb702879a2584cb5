"""The port of every generator."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Protocol

from ...provenance.manifest import Model
from ...provenance.media import Frame, Kind, MediaFile
from ...provenance.watermark.base import RGB
from ..energy import Energy

StepProgress = Callable[[int, int], None]
"""Called as (step, steps). Raising in it stops the sampling."""


class StoppedEarly(Exception):  # noqa: N818  not an error: whoever looked at a preview wants no more of it
    """Raised by ``Previews.look``, and passed on by the generator. ``step`` of ``steps`` were made."""

    def __init__(self, step: int, steps: int) -> None:
        super().__init__(step, steps)
        self.step, self.steps = step, steps


@dataclass(frozen=True)
class Previews:
    """Shows early estimates to ``look(step, steps, frame)``, with frame uint8 (h, w, 3), after these shares of the
    steps, each in (0, 1). A generator that can show none shows none; what fails here is no reason to stop."""

    at: tuple[float, ...]
    look: Callable[[int, int, RGB], None]

    def due(self, steps: int) -> frozenset[int]:
        """After which steps, counted from 1; never after the last, which the judgement of the result follows."""
        return frozenset(step for share in self.at if 1 <= (step := round(share * steps)) < steps)


@dataclass(frozen=True)
class Sampling:
    """One sampling, fully determined: with the same model, versions and machine it gives the same pixels.
    ``size``: (width, height) px, None for the model's own. ``sound``: whether a clip is wanted with sound. ``frames``:
    of a clip, to the nearest that the model makes; None for about two seconds."""

    prompt: str
    seed: int
    steps: int | None = None
    guidance: float | None = None
    size: tuple[int, int] | None = None
    negative_prompt: str | None = None
    kind: Kind = "image"
    sound: bool = False
    frames: int | None = None


@dataclass(frozen=True)
class Generated:
    """``frames`` may be iterated more than once. ``sampling``: what was really used, without the prompt.
    ``sound``: a file with the soundtrack, or None. ``energy``: what it took in another process, which no meter of this
    one sees."""

    kind: Kind
    frames: Iterable[Frame]
    rate: Fraction | None = None
    sound: MediaFile | None = None
    sampling: dict[str, Any] = field(default_factory=dict)
    energy: Energy | None = None


class Generator(Protocol):
    """Makes media from a prompt."""

    @property
    def model(self) -> Model:
        """The model by name, version, identifier and the digest of its weights."""

    @property
    def kinds(self) -> frozenset[Kind]:
        """What it can make."""

    def generate(self, sampling: Sampling, progress: StepProgress) -> Generated:
        """Raises GenerationError when it cannot deliver. Frames are finite uint8 RGB, never empty.

        One whose attribute ``gives_previews`` is true takes ``previews``, too, and raises StoppedEarly for them."""
