"""What a job is, as values."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

ENDED = ("released", "refused", "held", "failed", "cancelled")
"""States that a job stays in. One that is held may be released later, by people: its outcome is read anew."""
HIGHEST = 9


@dataclass(frozen=True)
class Order:
    """What somebody asks for. ``request``: the fields of a GenerateRequest or SealRequest but for its texts; ``texts``:
    what is kept sealed (`prompt`, `negative_prompt`); ``rank``: 0 to 9, the higher goes first. ``key``: the caller's
    idempotency key. ``caller``: the API key's id, and ``in_flight`` how many unended jobs that key may have; ``trace``:
    the W3C trace context in which it was asked for."""

    tenant: str
    subject: str
    kind: str
    request: dict[str, Any]
    texts: dict[str, str] = field(default_factory=dict)
    rank: int = 0
    key: str | None = None
    caller: str | None = None
    in_flight: int | None = None
    trace: str | None = None


@dataclass(frozen=True)
class Job:
    """A job as it stands. ``progress``: {stage, done, total}; ``outcome``: what a caller is told at its end."""

    id: UUID
    tenant: str
    subject: str | None
    kind: str
    state: str
    rank: int
    request: dict[str, Any]
    texts: dict[str, str]
    attempts: int
    progress: dict[str, Any] | None
    outcome: dict[str, Any] | None
    created_at: dt.datetime
    started_at: dt.datetime | None
    ended_at: dt.datetime | None
    worker: str | None
    place: int
    cancelled: bool = False

    @property
    def ended(self) -> bool:
        """Whether nothing more comes of itself."""
        return self.state in ENDED

    def as_dict(self) -> dict[str, Any]:
        """What its owner may see; neither texts nor their ids."""
        return {
            "id": str(self.id),
            "kind": self.kind,
            "state": self.state,
            "attempts": self.attempts,
            "progress": self.progress,
            "outcome": self.outcome,
            "created_at": self.created_at.isoformat(),
            "started_at": None if self.started_at is None else self.started_at.isoformat(),
            "ended_at": None if self.ended_at is None else self.ended_at.isoformat(),
        }


@dataclass(frozen=True)
class Lease:
    """A job that this worker may work on until ``until`` (ms by the database's clock), or longer if it says so in
    time. ``token``: changes with each lease, so that who lost one can't speak for the job any longer."""

    job: Job
    token: UUID
    until: int
    texts: dict[str, str]
