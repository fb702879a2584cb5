"""Forgetting: jobs that ended long ago, idempotency keys, sessions and messages that are over, files that no job names.

A refusal stays for as long as somebody may appeal against it: what people overturn has to find its job. The log keeps
what happened; whose asset it is stays in `job_owners`. Texts go by their own time (`audit expire`), and are named by
nothing any more once the job is gone.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from ...provenance.database import session
from ...provenance.service_tables import ApiKey, IdempotencyKey, Job, WebhookDelivery, WebSession
from ..installation import Installation
from .incoming import FILE
from .rows import reported

FINAL = ("released", "refused", "failed", "cancelled")
"""States from which nothing comes any more but by a person's wish. What is held stays until it is decided."""
AT_ONCE = 500
RETRIED = dt.timedelta(days=7)
"""For so long a job that failed keeps the file that it was to seal, so that it can be tried again."""


@dataclass(frozen=True)
class Pruned:
    """How many rows and files are gone."""

    jobs: int = 0
    keys: int = 0
    sessions: int = 0
    deliveries: int = 0
    files: int = 0

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


def prune(house: Installation, days: float | None = None) -> Pruned:
    """``days``: instead of the setting `jobs_keep_days`. In small transactions: nobody waits for long. Raises
    PolicyError while no policy is in force, which says how long an appeal is possible."""
    settings, now = house.settings, house.clock()
    old = now - dt.timedelta(days=settings.jobs_keep_days if days is None else days)
    stale = now - dt.timedelta(hours=settings.idempotency_hours)
    engine = house.jobs.engine
    review = house.pack.document.review
    # Filed on the last day, it is before people for as long, and may go on for as long again.
    settled = now - dt.timedelta(days=review.appeal_days, hours=2 * review.hours)
    ended = select(Job.place).where(
        Job.state.in_(FINAL), Job.ended_at < old, (Job.state != "refused") | (Job.ended_at < settled)
    )
    keys = select(IdempotencyKey.tenant, IdempotencyKey.key).where(IdempotencyKey.created_at < stale)
    valid = select(ApiKey.id).where(ApiKey.revoked_at.is_(None))
    over = select(WebSession.digest).where(
        (WebSession.expires_at < now) | (WebSession.key_id.is_not(None) & WebSession.key_id.not_in(valid))
    )
    told = select(WebhookDelivery.id).where(WebhookDelivery.state != "waiting", WebhookDelivery.ended_at < old)
    with reported():
        found = Pruned(
            jobs=_all(engine, ended, _jobs),
            keys=_all(engine, keys, _keys),
            sessions=_all(engine, over, _of(WebSession, WebSession.digest)),
            deliveries=_all(engine, told, _of(WebhookDelivery, WebhookDelivery.id)),
        )
        with session(engine) as opened:
            needs = Job.state.in_(("queued", "running"))
            # An erased subject's files go as their texts do.
            again = (Job.state == "failed") & (Job.ended_at > now - RETRIED) & Job.subject.is_not(None)
            rows = opened.execute(select(Job.request, Job.outcome).where(Job.kind == "seal", needs | again))
            wanted = {str(request.get(FILE)) for request, outcome in rows if not _hopeless(outcome)}
    return Pruned(**{**found.as_dict(), "files": house.incoming.sweep(wanted)})


def _hopeless(outcome: dict[str, Any] | None) -> bool:
    """Whether it failed by what was asked, or by the file itself: no second try changes that."""
    return str((outcome or {}).get("code") or "").startswith(("input.", "provenance.watermark.too_"))


def _all(engine: Any, query: Any, gone: Any) -> int:
    count = 0
    while True:
        with session(engine, write=True) as opened:
            # Locked, and looked at once more: a job that somebody tries again at this moment is not over.
            rows = opened.execute(query.limit(AT_ONCE).with_for_update(skip_locked=True)).all()
            if rows:
                gone(opened, rows)
        count += len(rows)
        if len(rows) < AT_ONCE:
            return count


def _jobs(opened: Session, rows: list[Any]) -> None:
    places = [row[0] for row in rows]
    ids = select(Job.id).where(Job.place.in_(places))
    opened.execute(delete(IdempotencyKey).where(IdempotencyKey.job_id.in_(ids)))
    opened.execute(delete(Job).where(Job.place.in_(places)))


def _keys(opened: Session, rows: list[Any]) -> None:
    for tenant, key in rows:
        opened.execute(delete(IdempotencyKey).where(IdempotencyKey.tenant == tenant, IdempotencyKey.key == key))


def _of(table: Any, column: Any) -> Any:
    def gone(opened: Session, rows: list[Any]) -> None:
        opened.execute(delete(table).where(column.in_([row[0] for row in rows])))

    return gone
