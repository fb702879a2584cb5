"""The rows behind the queue: what changes them, and how they become values."""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any
from uuid import UUID

from sqlalchemy import Select, select, text, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from ...errors import InputError, JobError, ServiceError
from ...provenance.database import reason
from ...provenance.identity import AssetId
from ...provenance.service_tables import IdempotencyKey, JobOwner
from ...provenance.service_tables import Job as Row
from ...provenance.tables import now
from ...provenance.vault import Vault
from .announcing import announce
from .model import HIGHEST, Job, Order

MOST_KEY = 255
_CLOCK = {
    "sqlite": "SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
    "postgresql": "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint",
}


def clock_of(opened: Session) -> int:
    """Milliseconds since 1970 by the database's own clock."""
    return int(opened.scalar(text(_CLOCK[opened.get_bind().dialect.name])) or 0)


def known(opened: Session, order: Order) -> Row | None:
    """The row that this order's idempotency key led to before. Raises ServiceError where it was another request's."""
    if order.key is None:
        return None
    kept = opened.get(IdempotencyKey, (order.tenant, order.key))
    if kept is None:
        return None
    if not hmac.compare_digest(kept.fingerprint, fingerprint(opened, order)):
        raise ServiceError(
            "this idempotency key was used for another request", status=409, code="jobs.key_reused",
            param="Idempotency-Key",
        )  # fmt: skip
    row = opened.scalar(select(Row).where(Row.id == kept.job_id))
    if row is None:
        raise ServiceError("the job of this idempotency key is gone", status=409, code="jobs.key_reused")
    return row


def check(order: Order) -> None:
    if order.key is not None and not 1 <= len(order.key) <= MOST_KEY:
        raise InputError(f"an idempotency key has 1 to {MOST_KEY} characters", code="input.idempotency_key")
    if not 0 <= order.rank <= HIGHEST:
        raise InputError(f"a priority goes from 0 to {HIGHEST}", code="input.priority")


def fingerprint(opened: Session, order: Order) -> bytes:
    """Of everything that decides what is made, and for whom: texts are kept under the name of whoever asked. Keyed by
    the tenant's key for commitments: it tells nothing of a prompt to who sees the table alone."""
    whole = json.dumps([order.kind, order.subject, order.request, order.texts], sort_keys=True, separators=(",", ":"))
    return sha256(Vault(opened).commit_text(whole).encode()).digest()


def waiting() -> Select[Row]:
    return select(Row).where(Row.state == "queued")


def next_of(opened: Session, clock: int) -> Row | None:
    """The oldest of the highest rank, which nobody else is taking at this moment. Two looks a rank, each of which
    an index answers: with one in both orders all that waits would be sorted."""
    rank, free_now = HIGHEST, waiting().where(Row.run_after <= clock)
    while True:
        top = opened.scalar(
            select(Row.rank)
            .where(Row.state == "queued", Row.rank <= rank, Row.run_after <= clock)
            .order_by(Row.rank.desc())
            .limit(1)
        )
        if top is None:
            return None
        oldest = free_now.where(Row.rank == top).order_by(Row.place).limit(1)
        row = opened.scalar(oldest.with_for_update(skip_locked=True))
        if row is not None:
            return row
        rank = top - 1


def mine(opened: Session, job: UUID, tenant: str | None, *, lock: bool = True) -> Row:
    query = select(Row).where(Row.id == job)
    row = opened.scalar(query.with_for_update() if lock else query)
    if row is None or (tenant is not None and row.tenant != tenant):
        raise JobError("there is no such job", code="jobs.unknown", hint="")
    return row


def free(row: Row, run_after: int) -> None:
    row.state, row.lease, row.lease_until, row.worker = "queued", None, None, None
    row.run_after, row.progress = run_after, None


def end(opened: Session, row: Row, state: str, outcome: dict[str, Any]) -> None:
    """The job's end, in the same transaction as what is told of it: whose asset it is, and who wants to hear."""
    row.state, row.outcome, row.ended_at = state, outcome, now()
    if outcome.get("released"):
        row.asset_id = AssetId.parse(str(outcome["asset_id"])).value
        latest = select(JobOwner.intent).where(JobOwner.job_id == row.id).order_by(JobOwner.created_at.desc()).limit(1)
        told = {"asset_id": row.asset_id, "released_at": row.ended_at, "media": outcome.get("media")}
        opened.execute(update(JobOwner).where(JobOwner.intent == latest.scalar_subquery()).values(told))
    row.lease = row.lease_until = None
    announce(opened, row)


def lost() -> JobError:
    return JobError("the lease of this job ran out, and another worker has it", code="jobs.lost", hint="")


def job_of(row: Row) -> Job:
    return Job(
        row.id, row.tenant, row.subject, row.kind, row.state, row.rank, row.request, row.texts, row.attempts,
        row.progress, row.outcome, row.created_at, row.started_at, row.ended_at, row.worker, row.place, row.cancelled,
    )  # fmt: skip


@contextmanager
def reported() -> Iterator[None]:
    """What the database says becomes a JobError; a row that exists already stays an IntegrityError."""
    try:
        yield
    except IntegrityError:
        raise
    except SQLAlchemyError as error:
        raise JobError(f"the queue cannot be reached: {reason(error)}", code="jobs.database") from error
