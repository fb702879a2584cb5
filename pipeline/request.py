"""The values that flow through the engine: what is asked, and the three ways it can end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from ..errors import InputError
from ..provenance.identity import AssetId
from ..provenance.manifest import Edit, SourceType
from ..provenance.media import Kind, kind_of_mime
from ..safety.decision import Decision
from .energy import Energy
from .previews import Early

Progress = Callable[[str, int, int], None]
"""Called as (stage, done, total) from the thread that works; total 0 means: not known."""

MAX_SEED = (1 << 63) - 1
MOST_PROFILES = 16
WAITING = "timestamp.waiting"
"""The code of work that is finished but for its time-stamp: see :mod:`.waiting`."""


News = Callable[[str, dict[str, Any]], None]
"""Called as (kind, what), beside the progress: `verdicts`, each side's so far, and `preview`, a glimpse of the work."""


def no_news(kind: str, what: dict[str, Any]) -> None:
    """Tells nobody."""


def no_progress(stage: str, done: int, total: int) -> None:
    """Tells nobody."""


@dataclass(frozen=True)
class GenerateRequest:
    """A prompt and how to sample. None means: the model's own default. ``size``: (width, height) in px.
    ``accept_rewrite``: the digest of an offered rewrite that the author accepts. ``sound``: a clip with sound.
    ``intent``: the id to work under, where the caller must know it beforehand. ``unlabelled``: no visible label, and
    whoever asks agrees to the duties that follow; only where the chosen profiles let one. ``profiles``: of laws that
    this one fulfils beside those of the settings, by the ids of profiles that ship; ``labelled``: a visible label,
    although no profile asks for one."""

    prompt: str
    seed: int | None = None
    steps: int | None = None
    guidance: float | None = None
    size: tuple[int, int] | None = None
    negative_prompt: str | None = None
    best_of: int = 1
    mime: str = "image/png"
    accept_rewrite: str | None = None
    subject: str = "local"
    sound: bool = False
    intent: UUID | None = None
    unlabelled: bool = False
    profiles: tuple[str, ...] = ()
    labelled: bool = False

    def __post_init__(self) -> None:
        _check_labels(self.profiles, self.labelled, self.unlabelled)
        if self.sound and kind_of_mime(self.mime) != "video":
            raise InputError(
                "a picture has no sound", code="input.media", hint="Give an -o file name that ends in .mp4 or .webm."
            )
        if self.seed is not None and not 0 <= self.seed <= MAX_SEED:
            raise InputError("a seed is a whole number from 0 to 2^63 - 1", code="input.seed")
        if self.steps is not None and not 1 <= self.steps <= 1000:
            raise InputError("steps go from 1 to 1000", code="input.steps")
        if self.guidance is not None and not 0 <= self.guidance <= 100:
            raise InputError("guidance goes from 0 to 100", code="input.guidance")
        if not 1 <= self.best_of <= 64:
            raise InputError("best-of goes from 1 to 64", code="input.best_of")
        if self.size is not None and not all(64 <= side <= 8192 for side in self.size):
            raise InputError("a side goes from 64 to 8192 px", code="input.size")


@dataclass(frozen=True)
class SealRequest:
    """A finished file and what its sealer says it is. ``edits``: what was done to it; ``components``: what is in it.
    ``unlabelled``, ``profiles`` and ``labelled``: as of a :class:`GenerateRequest`."""

    path: Path
    source_type: SourceType
    mime: str | None = None
    subject: str = "local"
    edits: tuple[Edit, ...] = ()
    components: tuple[Path, ...] = ()
    intent: UUID | None = None
    unlabelled: bool = False
    profiles: tuple[str, ...] = ()
    labelled: bool = False

    def __post_init__(self) -> None:
        _check_labels(self.profiles, self.labelled, self.unlabelled)
        if len(self.edits) > 100 or len(self.components) > 100:
            raise InputError("a file has 100 edits and 100 components at most", code="input.edited")
        if self.source_type not in ("camera", "ai", "composite", "unknown"):
            raise InputError("a source type is camera, ai, composite or unknown", code="input.source_type")


@dataclass(frozen=True)
class LogRef:
    """``index`` of the release entry, and the signed ``checkpoint`` (a C2SP note) that covers it."""

    index: int
    checkpoint: str


@dataclass(frozen=True)
class Release:
    """Released. ``file``: where the author asked for it, or the store's own path. ``stages``: seconds by stage.
    ``sidecar``: the file with its credentials, where they are not embedded."""

    file: Path
    asset_id: AssetId
    media: Kind
    mime: str
    sha256: str
    prompt_decision: Decision | None
    decision: Decision
    energy: Energy
    stages: dict[str, float]
    log: LogRef
    signer: str
    timestamp: str | None
    trust: str
    watermark_score: float | None
    sidecar: Path | None = None
    details: dict[str, Any] = field(default_factory=dict)

    released = True

    def as_dict(self) -> dict[str, Any]:
        worst = max((d for d in (self.prompt_decision, self.decision) if d is not None), key=lambda d: d.verdict)
        return {
            "released": True,
            "file": str(self.file),
            "sidecar": None if self.sidecar is None else str(self.sidecar),
            "asset_id": str(self.asset_id),
            "media": self.media,
            "verdict": worst.verdict.word,
            "policy": _policy(self.decision),
            "energy": self.energy.as_dict(),
            "stages": {name: round(seconds, 4) for name, seconds in self.stages.items()},
            "log": {"index": self.log.index, "checkpoint": self.log.checkpoint},
            "sha256": self.sha256,
            "signer": self.signer,
            "timestamp": self.timestamp,
            "trust": self.trust,
            "details": self.details,
        }


@dataclass(frozen=True)
class Refusal:
    """Not released. ``code`` is stable; ``decision`` has the rules and the reasons, and a rewrite if one is offered.
    ``early``: at which step generating was stopped, and what that saved."""

    decision: Decision
    intent: str
    stages: dict[str, float]
    early: Early | None = field(default=None, kw_only=True)

    released = False

    @property
    def code(self) -> str:
        return self.decision.code

    @property
    def reasons(self) -> tuple[str, ...]:
        return self.decision.reasons

    def as_dict(self) -> dict[str, Any]:
        rewrite = self.decision.rewrite
        return {
            "released": False,
            "verdict": self.decision.verdict.word,
            "code": self.code,
            "reasons": list(self.reasons),
            "rewrite": None if rewrite is None else {"prompt": rewrite.prompt, "digest": rewrite.digest},
            "policy": _policy(self.decision),
            "request": self.intent,
            **({} if self.early is None else {"early": self.early.as_dict()}),
        }


@dataclass(frozen=True)
class Held(Refusal):
    """Not released: it waits for a human, or, where ``waits_for`` is set, allowed as it is, for a time-stamp."""

    waits_for: tuple[str, ...] = ()

    @property
    def code(self) -> str:
        return WAITING if self.waits_for else super().code

    @property
    def reasons(self) -> tuple[str, ...]:
        return self.waits_for or super().reasons


Outcome = Release | Refusal | Held


def _check_labels(profiles: tuple[str, ...], labelled: bool, unlabelled: bool) -> None:
    if len(set(profiles)) != len(profiles) or len(profiles) > MOST_PROFILES:
        raise InputError(f"up to {MOST_PROFILES} profiles, each of them once", code="input.profiles")
    if labelled and unlabelled:
        raise InputError("a visible label is asked for, and left out", code="input.unlabelled", hint="Ask for one.")


def _policy(decision: Decision) -> dict[str, str]:
    policy = decision.policy
    return {"id": policy.id, "version": policy.version, "digest": policy.digest}
