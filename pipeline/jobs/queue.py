"""The queue: orders come in, leases go out, ends are written. Every change is one transaction.

A lease that ran out makes its job free again. Whoever takes it next looks what became of it before, and whether it may
be begun once more. Time is the database's own, so that workers on several machines agree about leases.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Engine, func, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ...errors import JobError, KeyStoreError, ServiceError
from ...provenance.database import check_revision, session, turn
from ...provenance.service_tables import IdempotencyKey, JobOwner
from ...provenance.service_tables import Job as Row
from ...provenance.tables import now
from ...provenance.vault import Vault
from .counting import Counts, add
from .fence import intent_of
from .model import HIGHEST, Job, Lease, Order
from .owning import Owners
from .rows import check, clock_of, end, fingerprint, free, job_of, known, lost, mine, next_of, reported

FIRST, TRACE = "_first", "_trace"
"""In a row's request: how many attempts do not count, and the trace that it was asked for in."""
NEAR = 1_000
"""More orders than are taken at one moment: so far below a limit, those who count at once cannot pass it."""
_OLDEST = "SELECT min(place) AS place FROM jobs WHERE state = 'queued' AND rank = "
_RANKS = " UNION ALL ".join(f"{_OLDEST}{rank}" for rank in range(HIGHEST + 1))
_SPAN = text(f"SELECT max(place) - (SELECT min(place) FROM ({_RANKS}) AS ranks) + 1 FROM jobs")  # noqa: S608  ours
"""As text: taking ten selects apart for the statement cache costs more than the database does. One look a rank, which
an index answers."""
CHANNEL = "filigrana_jobs"
"""On PostgreSQL, workers listen here for new jobs."""


class JobQueue(Owners):
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
        return self.put_all([order])[0]

    def put_all(self, orders: Sequence[Order]) -> list[tuple[Job, bool]]:
        """The same for several orders of one tenant: all of them are taken, or none."""
        for order in orders:
            check(order)
        for _ in range(3):
            try:
                with self._writing() as opened:
                    found = [known(opened, order) for order in orders]
                    self._bounded(opened, orders[0], found.count(None))
                    return [
                        (job_of(self._add(opened, order) if row is None else row), row is None)
                        for order, row in zip(orders, found, strict=True)
                    ]
            except IntegrityError:
                continue  # another request with this key was faster: it is found now
        raise JobError("another request with this idempotency key is being taken", code="jobs.key_in_flight")

    def admit(self, order: Order) -> None:
        """Raises as :meth:`put` would, before anything is kept for this order."""
        check(order)
        with self._reading() as opened:
            if known(opened, order) is None:
                self._bounded(opened, order, 1, taken=False)

    def _bounded(self, opened: Session, order: Order, more: int, *, taken: bool = True) -> None:
        """Counts no further than the limits. ``taken``: whether the order is taken in this transaction: then those who
        come near a limit count one after the other, so that they do not pass it together."""
        if not more:
            return
        queued = select(Row.place).where(Row.state == "queued")  # what an index has: no row is read
        limits = [
            (self.tenant_limit, queued.where(Row.tenant == order.tenant), f"tenant {order.tenant}", "jobs.full"),
            (self.limit, queued, "all", "jobs.full"),
        ]
        if order.caller is not None and order.in_flight is not None:
            mine = select(Row.place).where(Row.api_key == order.caller, Row.state.in_(("queued", "running")))
            limits.insert(0, (order.in_flight, mine, f"key {order.caller}", "access.in_flight"))
        most = self._most_waiting(opened)
        limits = [one for one in limits if most + more + NEAR > one[0]]
        for limit, query, whose, code in limits:
            counted = select(func.count()).select_from(query.limit(limit).subquery())
            count = opened.scalar(counted) or 0
            if taken and count + more <= limit < count + more + NEAR:
                turn(opened, f"jobs of {whose}")
                count = opened.scalar(counted) or 0
            if count + more > limit:
                own = code != "jobs.full"
                raise ServiceError(
                    f"this key may have {limit} jobs at once" if own else "too many jobs are waiting",
                    status=429, code=code, retry_after=max(1, int(self.seconds / 3)),
                )  # fmt: skip

    def _most_waiting(self, opened: Session) -> int:
        """No more jobs wait than there are places between the oldest that waits and the newest of all: far below a
        limit this does for counting, and costs the same however many they are."""
        return int(opened.scalar(_SPAN) or 0)

    def _add(self, opened: Session, order: Order) -> Row:
        vault = Vault(opened)
        vault.actor(order.subject)  # makes the subject's key
        texts = {name: str(vault.seal_text(order.subject, said, kind=name).id) for name, said in order.texts.items()}
        row = Row(
            id=uuid4(), tenant=order.tenant, subject=order.subject, kind=order.kind, state="queued", rank=order.rank,
            request=order.request if order.trace is None else {**order.request, TRACE: order.trace},
            texts=texts, attempts=0, run_after=0, cancelled=False, created_at=now(), api_key=order.caller,
            mime=order.request.get("mime"),
        )  # fmt: skip
        opened.add(row)
        if order.key is not None:
            opened.add(
                IdempotencyKey(
                    tenant=order.tenant, key=order.key, fingerprint=fingerprint(opened, order), job_id=row.id
                )
            )
        opened.flush()
        self._wake(opened)
        return row

    def _wake(self, opened: Session) -> None:
        if opened.get_bind().dialect.name == "postgresql":
            opened.execute(text("SELECT pg_notify(:channel, '')"), {"channel": CHANNEL})

    def cancel(self, job: UUID, tenant: str | None = None) -> Job:
        """A job that nobody began is cancelled; of any other its worker, or the next one, looks whether it was
        released first, and cancels it else."""
        with self._writing() as opened:
            row = mine(opened, job, tenant)
            if row.state == "queued" and not row.attempts:
                end(opened, row, "cancelled", {"code": "jobs.cancelled"})
            elif not job_of(row).ended:
                row.cancelled, row.run_after = True, 0
                self._wake(opened)
            opened.flush()
            return job_of(row)

    def retry(self, job: UUID) -> Job:
        """A job that failed is put into the queue again, with all its attempts."""
        with self._writing() as opened:
            row = mine(opened, job, None)
            if row.state != "failed":
                raise JobError(f"a job that is {row.state} is not tried again")
            # earlier attempts keep their numbers: their intents stay fenced
            row.state, row.outcome, row.ended_at, row.run_after = "queued", None, None, 0
            row.request = {**row.request, FIRST: row.attempts}
            opened.flush()
            self._wake(opened)
            return job_of(row)

    # ── leases ───────────────────────────────────────────────────────────────────────────────────────────────
    def lease(self, worker: str) -> Lease | None:
        """The next job, for ``seconds``; None where none waits. Jobs whose lease ran out are freed first, also those
        whose attempts are used up, or that were cancelled: before such a one ends, its worker looks in the outbox.
        Raises LogError (``log.version``) where the schema is another version's by now."""
        with self._writing() as opened:
            check_revision(opened)
            clock = clock_of(opened)
            self._reap(opened, clock)
            while (row := next_of(opened, clock)) is not None:
                lease = self._leased(opened, row, worker, clock)
                if lease is not None:
                    return lease
            return None

    def _leased(self, opened: Session, row: Row, worker: str, clock: int) -> Lease | None:
        """None where the job has ended instead, since its texts are gone and nothing was made of it."""
        row.state, row.lease, row.worker = "running", uuid4(), worker[:128]
        row.lease_until = clock + int(self.seconds * 1000)
        row.attempts += 1
        row.started_at = row.started_at or now()
        opened.add(JobOwner(intent=intent_of(row.id, row.attempts), job_id=row.id, tenant=row.tenant))
        opened.flush()
        try:
            texts = {name: Vault(opened).open_text(UUID(kept)) for name, kept in row.texts.items()}
        except KeyStoreError as error:
            texts = {}  # what was made of it before may have been released: its worker looks
            if row.attempts == 1:
                end(opened, row, "failed", {"code": error.code, "message": "the texts of this job were erased"})
                opened.flush()
                return None
        return Lease(job_of(row), row.lease, row.lease_until, texts)

    def _reap(self, opened: Session, clock: int) -> None:
        late = select(Row).where(Row.state == "running", Row.lease_until < clock).limit(20)
        for row in opened.scalars(late.with_for_update(skip_locked=True)):
            free(row, clock)
        opened.flush()

    def beat(self, lease: Lease, progress: dict[str, Any] | None) -> bool:
        """Makes the lease last from now on, and notes the progress. False where the job was cancelled meanwhile.
        Raises JobError (``jobs.lost``) where the lease is somebody else's by now."""
        with self._writing() as opened:
            clock = clock_of(opened)
            done: Any = opened.execute(
                update(Row)
                .where(Row.id == lease.job.id, Row.lease == lease.token, Row.state == "running")
                .values(lease_until=clock + int(self.seconds * 1000), progress=progress)
                .returning(Row.cancelled)
            ).first()
        if done is None:
            raise lost()
        return not done[0]

    def finish(
        self,
        lease: Lease,
        state: str,
        outcome: dict[str, Any],
        texts: dict[str, str] | None = None,
        counts: Counts | None = None,
    ) -> Job:
        """Ends the job. ``texts``: what its outcome says that must be kept sealed; ``counts``: what is counted of it.
        Raises JobError (``jobs.lost``) where the lease is somebody else's by now."""
        with self._writing() as opened:
            row = self._held(opened, lease)
            if texts and row.subject is not None:
                vault = Vault(opened)
                kept = {name: str(vault.seal_text(row.subject, said, kind=name).id) for name, said in texts.items()}
                row.texts = {**row.texts, **kept}
            end(opened, row, state, outcome)
            add(opened, {("jobs_ended", f"kind={row.kind},state={state}"): 1.0, **(counts or {})})
            opened.flush()
            return job_of(row)

    def give_back(self, lease: Lease, why: dict[str, Any], *, wait: float = 0.0, counts: bool = True) -> Job:
        """Frees the job for another try after ``wait`` seconds, or ends it as failed where its attempts are used up.
        ``counts``: whether this try was one."""
        with self._writing() as opened:
            row, clock = self._held(opened, lease), clock_of(opened)
            if not counts:
                # the number stays used, since its intent may be open
                row.request = {**row.request, FIRST: int(row.request.get(FIRST, 0)) + 1}
            if counts and not row.cancelled and row.attempts - int(row.request.get(FIRST, 0)) >= self.attempts:
                end(opened, row, "failed", why)
            else:
                free(row, clock + int(wait * 1000))
                self._wake(opened)
            opened.flush()
            return job_of(row)

    def _held(self, opened: Session, lease: Lease) -> Row:
        row = opened.scalar(select(Row).where(Row.id == lease.job.id).with_for_update())
        if row is None or row.lease != lease.token or row.state != "running":
            raise lost()
        return row

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────
    def get(self, job: UUID, tenant: str | None = None) -> Job:
        """The job. Raises JobError (``jobs.unknown``), also for one of another tenant."""
        with self._reading() as opened:
            return job_of(mine(opened, job, tenant, lock=False))

    def text(self, job: Job, name: str) -> str | None:
        """A sealed text of the job; None where there is none, or it was erased."""
        if name not in job.texts:
            return None
        with self._reading() as opened:
            try:
                return Vault(opened).open_text(UUID(job.texts[name]))
            except KeyStoreError:
                return None

    def some(self, jobs: Sequence[UUID]) -> builtins.list[Job]:
        """These jobs, in this order; those that are gone are left out."""
        with self._reading() as opened:
            found = {row.id: job_of(row) for row in opened.scalars(select(Row).where(Row.id.in_(jobs)))}
        return [found[job] for job in jobs if job in found]

    def list(
        self,
        tenant: str | None = None,
        state: str | None = None,
        limit: int = 20,
        after: int = 0,
        *,
        kind: str | None = None,
        mime: str | None = None,
        oldest: bool = False,
    ) -> builtins.list[Job]:
        """The youngest first, or the oldest. ``after``: the place of the last one seen. ``mime``: what they make."""
        query = select(Row).order_by(Row.place if oldest else Row.place.desc()).limit(limit)
        for column, value in ((Row.tenant, tenant), (Row.state, state), (Row.kind, kind), (Row.mime, mime)):
            if value is not None:
                query = query.where(column == value)
        if after:
            query = query.where(Row.place > after if oldest else Row.place < after)
        with self._reading() as opened:
            return [job_of(row) for row in opened.scalars(query)]

    def went_on(self, job: Job, state: str, outcome: dict[str, Any]) -> Job:
        """Writes down what people, or a time-stamp, made of a job that was held or refused."""
        with self._writing() as opened:
            row = mine(opened, job.id, None)
            if row.state == job.state:
                end(opened, row, state, outcome)
            opened.flush()
            return job_of(row)

    def counts(self) -> dict[str, int]:
        """How many jobs there are in each state."""
        with self._reading() as opened:
            found = opened.execute(select(Row.state, func.count()).group_by(Row.state))
            return {str(state): int(count) for state, count in found}

    # ── the database ─────────────────────────────────────────────────────────────────────────────────────────
    @contextmanager
    def _writing(self) -> Iterator[Session]:
        with reported(), session(self.engine, write=True) as opened:
            yield opened
