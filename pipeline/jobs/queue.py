"""The queue: orders come in, leases go out, ends are written. Every change is one transaction.

A lease that ran out makes its job free again, until its attempts are used up; then it has failed, with the reason.
Time is the database's own, so that workers on several machines agree about leases.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Engine, Select, func, select, text, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from ...errors import InputError, JobError, KeyStoreError, ServiceError
from ...provenance.database import reason, session
from ...provenance.service_tables import IdempotencyKey
from ...provenance.service_tables import Job as Row
from ...provenance.tables import now
from ...provenance.vault import Vault
from .model import HIGHEST, Job, Lease, Order

FIRST = "_first"
"""In a row's request: how many attempts do not count."""
CHANNEL = "filigrana_jobs"
"""On PostgreSQL, workers listen here for new jobs."""
MOST_KEY = 255
_CLOCK = {
    "sqlite": "SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
    "postgresql": "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint",
}


class JobQueue:
    """``limit``, ``tenant_limit``: how many jobs may wait, in all and of one tenant. ``seconds``: of a lease.
    ``attempts``: how often a job is begun before it has failed."""

    def __init__(
        self, engine: Engine, *, limit: int = 10_000, tenant_limit: int = 1_000, seconds: float = 30, attempts: int = 3
    ) -> None:
        self.engine, self.limit, self.tenant_limit = engine, limit, tenant_limit
        self.seconds, self.attempts = seconds, attempts

    # ── orders ───────────────────────────────────────────────────────────────────────────────────────────────
    def put(self, order: Order) -> tuple[Job, bool]:
        """The job of this order, and whether it is new: an idempotency key that was used before gives its job again.

        Raises ServiceError: 429 where too many wait, 409 (``jobs.key_reused``) where the key was used for another
        request."""
        _check(order)
        for _ in range(3):
            try:
                with self._writing() as opened:
                    found = self._known(opened, order)
                    if found is not None:
                        return _job(found), False
                    self._bounded(opened, order.tenant)
                    return _job(self._add(opened, order)), True
            except IntegrityError:
                continue  # another request with this key was faster: it is found now
        raise JobError("another request with this idempotency key is being taken", code="jobs.key_in_flight")

    def _known(self, opened: Session, order: Order) -> Row | None:
        if order.key is None:
            return None
        kept = opened.get(IdempotencyKey, (order.tenant, order.key))
        if kept is None:
            return None
        if not hmac.compare_digest(kept.fingerprint, _fingerprint(opened, order)):
            raise ServiceError(
                "this idempotency key was used for another request", status=409, code="jobs.key_reused",
                param="Idempotency-Key",
            )  # fmt: skip
        row = opened.scalar(select(Row).where(Row.id == kept.job_id))
        if row is None:
            raise ServiceError("the job of this idempotency key is gone", status=409, code="jobs.key_reused")
        return row

    def _bounded(self, opened: Session, tenant: str) -> None:
        """Counts no further than the limits."""
        for limit, query in (
            (self.tenant_limit, _waiting().where(Row.tenant == tenant)),
            (self.limit, _waiting()),
        ):
            count = opened.scalar(select(func.count()).select_from(query.limit(limit).subquery())) or 0
            if count >= limit:
                raise ServiceError(
                    "too many jobs are waiting", status=429, code="jobs.full", retry_after=max(1, int(self.seconds / 3))
                )

    def _add(self, opened: Session, order: Order) -> Row:
        vault = Vault(opened)
        vault.actor(order.subject)  # makes the subject's key
        texts = {name: str(vault.seal_text(order.subject, said, kind=name).id) for name, said in order.texts.items()}
        row = Row(
            id=uuid4(), tenant=order.tenant, subject=order.subject, kind=order.kind, state="queued", rank=order.rank,
            request=order.request, texts=texts, attempts=0, run_after=0, cancelled=False, created_at=now(),
        )  # fmt: skip
        opened.add(row)
        if order.key is not None:
            opened.add(
                IdempotencyKey(
                    tenant=order.tenant, key=order.key, fingerprint=_fingerprint(opened, order), job_id=row.id
                )
            )
        opened.flush()
        if opened.get_bind().dialect.name == "postgresql":
            opened.execute(text("SELECT pg_notify(:channel, '')"), {"channel": CHANNEL})
        return row

    def cancel(self, job: UUID, tenant: str | None = None) -> Job:
        """A job that waits is cancelled; one that is worked on is, too, unless it ends first."""
        with self._writing() as opened:
            row = _mine(opened, job, tenant)
            if row.state == "queued":
                _end(row, "cancelled", {"code": "jobs.cancelled"})
            elif row.state == "running":
                row.cancelled = True
            opened.flush()
            return _job(row)

    def retry(self, job: UUID) -> Job:
        """A job that failed is put into the queue again, with all its attempts."""
        with self._writing() as opened:
            row = _mine(opened, job, None)
            if row.state != "failed":
                raise JobError(f"a job that is {row.state} is not tried again")
            # earlier attempts keep their numbers: their intents stay fenced
            row.state, row.outcome, row.ended_at, row.run_after = "queued", None, None, 0
            row.request = {**row.request, FIRST: row.attempts}
            opened.flush()
            return _job(row)

    # ── leases ───────────────────────────────────────────────────────────────────────────────────────────────
    def lease(self, worker: str) -> Lease | None:
        """The next job, for ``seconds``; None where none waits. Jobs whose lease ran out are freed first."""
        with self._writing() as opened:
            clock = self._clock(opened)
            self._reap(opened, clock)
            row = opened.scalar(
                _waiting()
                .where(Row.run_after <= clock)
                .order_by(Row.rank.desc(), Row.place)
                .limit(1)
                .with_for_update(skip_locked=True)
            )
            if row is None:
                return None
            row.state, row.lease, row.worker = "running", uuid4(), worker[:128]
            row.lease_until = clock + int(self.seconds * 1000)
            row.attempts += 1
            row.started_at = row.started_at or now()
            opened.flush()
            try:
                texts = {name: Vault(opened).open_text(UUID(kept)) for name, kept in row.texts.items()}
            except KeyStoreError as error:
                _end(row, "failed", {"code": error.code, "message": "the texts of this job were erased"})
                return None
            return Lease(_job(row), row.lease, row.lease_until, texts)

    def _reap(self, opened: Session, clock: int) -> None:
        late = select(Row).where(Row.state == "running", Row.lease_until < clock).limit(20)
        for row in opened.scalars(late.with_for_update(skip_locked=True)):
            if row.cancelled:
                _end(row, "cancelled", {"code": "jobs.cancelled"})
            elif row.attempts - int(row.request.get(FIRST, 0)) >= self.attempts:
                _end(row, "failed", {"code": "jobs.lost", "message": f"its worker was lost {self.attempts} times"})
            else:
                _free(row, clock)
        opened.flush()

    def beat(self, lease: Lease, progress: dict[str, Any] | None) -> bool:
        """Makes the lease last from now on, and notes the progress. False where the job was cancelled meanwhile.
        Raises JobError (``jobs.lost``) where the lease is somebody else's by now."""
        with self._writing() as opened:
            clock = self._clock(opened)
            done: Any = opened.execute(
                update(Row)
                .where(Row.id == lease.job.id, Row.lease == lease.token, Row.state == "running")
                .values(lease_until=clock + int(self.seconds * 1000), progress=progress)
                .returning(Row.cancelled)
            ).first()
        if done is None:
            raise _lost()
        return not done[0]

    def finish(self, lease: Lease, state: str, outcome: dict[str, Any], texts: dict[str, str] | None = None) -> Job:
        """Ends the job. ``texts``: what its outcome says that must be kept sealed. Raises JobError (``jobs.lost``)
        where the lease is somebody else's by now."""
        with self._writing() as opened:
            row = self._held(opened, lease)
            if texts and row.subject is not None:
                vault = Vault(opened)
                kept = {name: str(vault.seal_text(row.subject, said, kind=name).id) for name, said in texts.items()}
                row.texts = {**row.texts, **kept}
            _end(row, state, outcome)
            opened.flush()
            return _job(row)

    def give_back(self, lease: Lease, why: dict[str, Any], *, wait: float = 0.0, counts: bool = True) -> Job:
        """Frees the job for another try after ``wait`` seconds, or ends it as failed where its attempts are used up.
        ``counts``: whether this try was one."""
        with self._writing() as opened:
            row, clock = self._held(opened, lease), self._clock(opened)
            if not counts:
                # the number stays used, since its intent may be open
                row.request = {**row.request, FIRST: int(row.request.get(FIRST, 0)) + 1}
            if row.cancelled:
                _end(row, "cancelled", {"code": "jobs.cancelled"})
            elif counts and row.attempts - int(row.request.get(FIRST, 0)) >= self.attempts:
                _end(row, "failed", why)
            else:
                _free(row, clock + int(wait * 1000))
            opened.flush()
            return _job(row)

    def _held(self, opened: Session, lease: Lease) -> Row:
        row = opened.scalar(select(Row).where(Row.id == lease.job.id).with_for_update())
        if row is None or row.lease != lease.token or row.state != "running":
            raise _lost()
        return row

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────
    def get(self, job: UUID, tenant: str | None = None) -> Job:
        """The job. Raises JobError (``jobs.unknown``), also for one of another tenant."""
        with self._reading() as opened:
            return _job(_mine(opened, job, tenant))

    def text(self, job: Job, name: str) -> str | None:
        """A sealed text of the job; None where there is none, or it was erased."""
        if name not in job.texts:
            return None
        with self._reading() as opened:
            try:
                return Vault(opened).open_text(UUID(job.texts[name]))
            except KeyStoreError:
                return None

    def list(self, tenant: str | None = None, state: str | None = None, limit: int = 20, after: int = 0) -> list[Job]:
        """The youngest first. ``after``: the place of the last one seen."""
        query = select(Row).order_by(Row.place.desc()).limit(limit)
        for column, value in ((Row.tenant, tenant), (Row.state, state)):
            if value is not None:
                query = query.where(column == value)
        if after:
            query = query.where(Row.place < after)
        with self._reading() as opened:
            return [_job(row) for row in opened.scalars(query)]

    def counts(self) -> dict[str, int]:
        """How many jobs there are in each state."""
        with self._reading() as opened:
            found = opened.execute(select(Row.state, func.count()).group_by(Row.state))
            return {str(state): int(count) for state, count in found}

    # ── the database ─────────────────────────────────────────────────────────────────────────────────────────
    def _clock(self, opened: Session) -> int:
        return int(opened.scalar(text(_CLOCK[opened.get_bind().dialect.name])) or 0)

    @contextmanager
    def _writing(self) -> Iterator[Session]:
        with _reported(), session(self.engine, write=True) as opened:
            yield opened

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        with _reported(), session(self.engine) as opened:
            yield opened


def _check(order: Order) -> None:
    if order.key is not None and not 1 <= len(order.key) <= MOST_KEY:
        raise InputError(f"an idempotency key has 1 to {MOST_KEY} characters", code="input.idempotency_key")
    if not 0 <= order.rank <= HIGHEST:
        raise InputError(f"a priority goes from 0 to {HIGHEST}", code="input.priority")


def _fingerprint(opened: Session, order: Order) -> bytes:
    """Of everything that decides what is made. Keyed by the tenant's key for commitments: it tells nothing of a
    prompt to who sees the table alone."""
    whole = json.dumps([order.kind, order.request, order.texts], sort_keys=True, separators=(",", ":"))
    return sha256(Vault(opened).commit_text(whole).encode()).digest()


def _waiting() -> Select[tuple[Row]]:
    return select(Row).where(Row.state == "queued")


def _mine(opened: Session, job: UUID, tenant: str | None) -> Row:
    row = opened.scalar(select(Row).where(Row.id == job).with_for_update())
    if row is None or (tenant is not None and row.tenant != tenant):
        raise JobError("there is no such job", code="jobs.unknown", hint="")
    return row


def _free(row: Row, run_after: int) -> None:
    row.state, row.lease, row.lease_until, row.worker = "queued", None, None, None
    row.run_after, row.progress = run_after, None


def _end(row: Row, state: str, outcome: dict[str, Any]) -> None:
    row.state, row.outcome, row.ended_at = state, outcome, now()
    row.lease = row.lease_until = None


def _lost() -> JobError:
    return JobError("the lease of this job ran out, and another worker has it", code="jobs.lost", hint="")


def _job(row: Row) -> Job:
    return Job(
        row.id, row.tenant, row.subject, row.kind, row.state, row.rank, row.request, row.texts, row.attempts,
        row.progress, row.outcome, row.created_at, row.started_at, row.ended_at, row.worker, row.place,
    )  # fmt: skip


@contextmanager
def _reported() -> Iterator[None]:
    """What the database says becomes a JobError; a row that exists already stays an IntegrityError."""
    try:
        yield
    except IntegrityError:
        raise
    except SQLAlchemyError as error:
        raise JobError(f"the queue cannot be reached: {reason(error)}", code="jobs.database") from error
