"""A worker: takes one job after the other, and keeps its lease while it works.

A thread of its own makes the lease last. Where it can't (the database is away for longer than the lease, or somebody
else has it), or where the job was cancelled, the next step of the work raises, and the request ends in the log.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

from ...errors import GenerationError, JobError, LogError, ReleaseError, code_of
from ..engine import Engine
from ..request import News, Progress, Release
from .counting import counts_of
from .fence import ended, intent_of, settle
from .incoming import Incoming
from .making import again, failure, made, refused
from .model import Job, Lease
from .queue import FIRST, JobQueue

_log = logging.getLogger("filigrana.worker")
BACKOFF = 2.0
"""Seconds before the second attempt; twice as long before each further one."""
LOST, CANCELLED = "jobs.lost", "jobs.cancelled"
TELLING = 1.0
"""Seconds after which news of the progress are written down, where there are some."""
IDLE, DRAINING = 5.0, 0.2
"""Seconds that a worker waits for news at most."""
BUSY = 30.0
"""Seconds after which a worker looks besides although jobs wait: what people approved came before them."""


class Makes(Protocol):
    """What a worker needs of a pipeline."""

    @property
    def engine(self) -> Engine: ...


def worker_name() -> str:
    """Which process on which machine."""
    return f"{socket.gethostname()}:{os.getpid()}"


@dataclass
class _Heart:
    """Makes a lease last until it is stopped. ``why``: set when the work must end: the code of the reason."""

    queue: JobQueue
    lease: Lease
    why: str | None = None
    progress: dict[str, Any] | None = None
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> _Heart:
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        seconds, held, told = self.queue.seconds, time.monotonic(), self.progress
        while not self._stop.wait(min(TELLING, seconds / 3)):
            if self.progress is told and time.monotonic() - held < seconds / 3:
                continue
            try:
                told = self.progress
                if not self.queue.beat(self.lease, told):
                    self.why = CANCELLED
                held = time.monotonic()
            except JobError as error:
                # out of reach is not lost, as long as the lease lasts
                if error.code == LOST or time.monotonic() - held > seconds * 0.9:
                    self.why = LOST
            if self.why is not None:
                return

    def tell(self, stage: str, done: int, total: int) -> None:
        """The engine's progress. Raises JobError once the work must end."""
        said = self.progress or {}
        # A glimpse is of what is being drawn: once that is over, it is kept nowhere.
        lasting = ("verdicts", "preview") if stage == "generate" else ("verdicts",)
        kept = {name: said[name] for name in lasting if name in said}
        self.progress = {"stage": stage, "done": done, "total": total, **kept}
        if self.why is not None:
            raise JobError("the job was taken from this worker", code=self.why, hint="")

    def news(self, kind: str, what: dict[str, Any]) -> None:
        """The engine's decisions and glimpses, beside the progress."""
        self.progress = {**(self.progress or {}), kind: what}


class Worker:
    """``idle``: waits that many seconds at most for news, and returns at once where it knows of some. ``after``: what
    else is due after a job, and ``besides`` while none waits, or every ``busy`` seconds; whatever they raise fails
    nothing. ``incoming``: where files lie that are to be sealed. ``around``: surrounds a job's work, for traces."""

    def __init__(
        self,
        pipeline: Makes,
        queue: JobQueue,
        name: str | None = None,
        idle: Callable[[float], object] = time.sleep,
        *,
        after: Callable[[], object] = lambda: None,
        besides: Callable[[], object] = lambda: None,
        incoming: Incoming | None = None,
        around: Callable[[Job], AbstractContextManager[object]] = lambda _job: nullcontext(),
        busy: float = BUSY,
    ) -> None:
        self.pipeline, self.queue, self.name, self._idle = pipeline, queue, name or worker_name(), idle
        self._after, self._besides, self._incoming, self._around = after, besides, incoming, around
        self._unpublished, self._busy, self._looked = False, busy, time.monotonic()
        self.lease: Lease | None = None
        """What it works on at this moment."""

    def run(self, stop: threading.Event, *, drain: bool = False, once: bool = False) -> int:
        """Works until ``stop`` is set; with ``drain`` until nothing waits; with ``once`` for one job, if one waits.
        Returns how many jobs it ended."""
        count = 0
        while not stop.is_set():
            if not self._can_publish():
                if once:
                    break
                self._idle(1.0)
                continue
            try:
                lease = self.queue.lease(self.name)
                if lease is None:
                    counts = self.queue.counts() if drain else {}
                    if once or (drain and not counts.get("queued") and not counts.get("running")):
                        break
            except (JobError, LogError) as error:
                _log.warning("no job can be taken: %s", error.code)
                self._idle(1.0)
                continue
            if lease is None:
                self._look()
                self._idle(DRAINING if drain else IDLE)
                continue
            count += self._worked(lease)
            if time.monotonic() - self._looked >= self._busy:
                self._look()
            if once:
                break
        return count

    def _look(self) -> None:
        self._quietly(self._besides)
        self._looked = time.monotonic()

    def _can_publish(self) -> bool:
        """Whether the store takes files: while it does not, jobs wait where they are."""
        try:
            engine = self.pipeline.engine
            engine.parts.store.ready()
        except ReleaseError as error:
            _log.warning("no job is taken: %s", error.code)
            self._unpublished = True  # recovery may be what failed, and it is tried no second time by itself
            return False
        except Exception:  # noqa: BLE001  a job says what else is wrong
            return True
        if self._unpublished:
            self._quietly(self._publish)
        return True

    def _publish(self) -> None:
        """What was released here, while the store went away."""
        self.pipeline.engine.recover()
        self._unpublished = False

    def give_back(self) -> None:
        """What it works on goes back to the queue, as if this try had not been one."""
        lease = self.lease
        try:
            if lease is not None:
                self.queue.give_back(lease, {"code": "jobs.stopped"}, counts=False)
        except JobError:
            pass  # its lease runs out instead

    def _worked(self, lease: Lease) -> bool:
        self.lease = lease
        try:
            return self.work(lease) is not None
        finally:
            self.lease = None
            self._quietly(self._after)

    def _quietly(self, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001  whatever it is, it is no reason to end
            _log.warning("beside the jobs: %s", code_of(error))

    def work(self, lease: Lease) -> Job | None:
        """Does one job. None where it was lost: whoever has it now ends it."""
        job = lease.job
        try:
            with self._around(job), _Heart(self.queue, lease) as heart:
                end = self._outcome(lease, heart.tell, heart.news)
            return self._said(self.queue.finish(lease, end.state, end.outcome, end.texts, end.counts))
        except JobError as error:
            if error.code == CANCELLED:
                return self._cancelled(lease)
            _log.warning("job %s was lost: %s", job.id, error.code)
            return None
        except Exception as error:  # noqa: BLE001  every error ends in the queue: tried again, or failed with its code
            return self._failed(lease, error)

    def _outcome(self, lease: Lease, tell: Progress, news: News) -> _End:
        job, engine = lease.job, self.pipeline.engine
        ledger = engine.parts.ledger
        if job.attempts > 1:
            engine.recover()  # publishes what was released here, and whose publishing was cut short
            before = settle(ledger, job.id, job.attempts - 1)
            if before is not None:
                return _End(*before)
        if job.cancelled:
            return _End("cancelled", {"code": CANCELLED})
        if _tries(job) > self.queue.attempts:
            return _End("failed", {"code": LOST, "message": f"its worker was lost {self.queue.attempts} times"})
        intent = intent_of(job.id, job.attempts)
        outcome = made(engine, job, lease.texts, intent, tell, self._incoming, news)
        counts = counts_of(lease, outcome)
        if isinstance(outcome, Release):
            found = ended(ledger, intent)
            if found is None:
                raise JobError("a released asset is not in the outbox", code="jobs.outbox")
            told = {**found[1], "energy": outcome.energy.as_dict(), "details": outcome.details, **_how(outcome)}
            return _End(found[0], told, {}, counts)
        return _End(*refused(outcome), counts)

    def _cancelled(self, lease: Lease) -> Job | None:
        """A release that was faster than its cancellation stands."""
        job = lease.job
        try:
            found = settle(self.pipeline.engine.parts.ledger, job.id, job.attempts)
            return self._said(self.queue.finish(lease, *(found or ("cancelled", {"code": CANCELLED}))))
        except Exception as error:  # noqa: BLE001  its lease runs out, and whoever takes it next looks again
            self._left(job, error)
            return None

    def _left(self, job: Job, error: Exception) -> None:
        _log.warning("job %s: %s", job.id, code_of(error))

    def _failed(self, lease: Lease, error: Exception) -> Job | None:
        job, why = lease.job, failure(error)
        inside = f": {error.message}" if isinstance(error, GenerationError) else ""
        _log.warning("job %s, attempt %d: %s%s", job.id, job.attempts, why["code"], inside)
        try:
            # the error may have come after the release
            found = settle(self.pipeline.engine.parts.ledger, job.id, job.attempts)
            if found is not None:
                self._unpublished |= found[0] == "released"
                return self._said(self.queue.finish(lease, *found))
            if not again(error):
                return self._said(self.queue.finish(lease, "failed", why))
            return self._said(self.queue.give_back(lease, why, wait=BACKOFF * 2 ** (_tries(job) - 1)))
        except Exception as second:  # noqa: BLE001  its lease runs out, and whoever takes it next looks again
            self._left(job, second)
            return None

    def _said(self, job: Job) -> Job:
        _log.info("job %s: %s", job.id, job.state)
        return job


@dataclass(frozen=True)
class _End:
    """How a job ended, and what is kept and counted of it."""

    state: str
    outcome: dict[str, Any]
    texts: dict[str, str] = field(default_factory=dict)
    counts: dict[tuple[str, str], float] = field(default_factory=dict)


def _how(outcome: Release) -> dict[str, Any]:
    """What people look at beside the file: by which policy, how long each stage took."""
    said = outcome.as_dict()
    return {name: said[name] for name in ("verdict", "policy", "stages", "trust", "signer", "timestamp")}


def _tries(job: Job) -> int:
    """How many of its attempts count."""
    return job.attempts - int(job.request.get(FIRST, 0))
