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
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from ...errors import FiligranaError, GenerationError, InputError, JobError, LogError, PolicyError
from ..engine import Engine
from ..request import GenerateRequest, Held, Outcome, Progress, Refusal, Release
from ..run import StageError
from .fence import ended, intent_of, settle
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
        self.progress = {"stage": stage, "done": done, "total": total}
        if self.why is not None:
            raise JobError("the job was taken from this worker", code=self.why, hint="")


class Worker:
    """``idle``: waits that many seconds at most for news, and returns at once where it knows of some. ``after``: what
    else is due after a job; whatever it raises fails nothing."""

    def __init__(
        self,
        pipeline: Makes,
        queue: JobQueue,
        name: str | None = None,
        idle: Callable[[float], object] = time.sleep,
        *,
        after: Callable[[], object] = lambda: None,
    ) -> None:
        self.pipeline, self.queue, self.name, self._idle = pipeline, queue, name or worker_name(), idle
        self._after = after
        self.lease: Lease | None = None
        """What it works on at this moment."""

    def run(self, stop: threading.Event, *, drain: bool = False, once: bool = False) -> int:
        """Works until ``stop`` is set; with ``drain`` until nothing waits; with ``once`` for one job, if one waits.
        Returns how many jobs it ended."""
        count = 0
        while not stop.is_set():
            try:
                lease = self.queue.lease(self.name)
                if lease is None:
                    counts = self.queue.counts() if drain else {}
                    if once or (drain and not counts.get("queued") and not counts.get("running")):
                        break
            except JobError as error:
                _log.warning("no job can be taken: %s", error.code)
                self._idle(1.0)
                continue
            if lease is None:
                self._idle(DRAINING if drain else IDLE)
                continue
            count += self._worked(lease)
            if once:
                break
        return count

    def _worked(self, lease: Lease) -> bool:
        self.lease = lease
        try:
            return self.work(lease) is not None
        finally:
            self.lease = None
            try:
                self._after()
            except Exception as error:  # noqa: BLE001  whatever it is, it is no reason to end
                _log.warning("after a job: %s", getattr(error, "code", type(error).__name__))

    def work(self, lease: Lease) -> Job | None:
        """Does one job. None where it was lost: whoever has it now ends it."""
        job = lease.job
        try:
            with _Heart(self.queue, lease) as heart:
                state, outcome, texts = self._outcome(lease, heart.tell)
            return self._said(self.queue.finish(lease, state, outcome, texts))
        except JobError as error:
            if error.code == CANCELLED:
                return self._cancelled(lease)
            _log.warning("job %s was lost: %s", job.id, error.code)
            return None
        except Exception as error:  # noqa: BLE001  every error ends in the queue: tried again, or failed with its code
            return self._failed(lease, error)

    def _outcome(self, lease: Lease, tell: Progress) -> tuple[str, dict[str, Any], dict[str, str]]:
        job, engine = lease.job, self.pipeline.engine
        ledger = engine.parts.ledger
        if job.attempts > 1:
            engine.recover()  # publishes what was released here, and whose publishing was cut short
            before = settle(ledger, job.id, job.attempts - 1)
            if before is not None:
                return *before, {}
        if job.cancelled:
            return "cancelled", {"code": CANCELLED}, {}
        if _tries(job) > self.queue.attempts:
            return "failed", {"code": LOST, "message": f"its worker was lost {self.queue.attempts} times"}, {}
        intent = intent_of(job.id, job.attempts)
        outcome = _made(engine, job, lease.texts, intent, tell)
        if isinstance(outcome, Release):
            found = ended(ledger, intent)
            if found is None:
                raise JobError("a released asset is not in the outbox", code="jobs.outbox")
            return found[0], {**found[1], "energy": outcome.energy.as_dict(), "details": outcome.details}, {}
        return _refused(outcome)

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
        _log.warning("job %s: %s", job.id, getattr(error, "code", type(error).__name__))

    def _failed(self, lease: Lease, error: Exception) -> Job | None:
        job, why, again = lease.job, _told(error), _again(error)
        _log.warning("job %s, attempt %d: %s", job.id, job.attempts, why["code"])
        try:
            # the error may have come after the release
            found = settle(self.pipeline.engine.parts.ledger, job.id, job.attempts)
            if found is not None:
                return self._said(self.queue.finish(lease, *found))
            if not again:
                return self._said(self.queue.finish(lease, "failed", why))
            return self._said(self.queue.give_back(lease, why, wait=BACKOFF * 2 ** (_tries(job) - 1)))
        except Exception as second:  # noqa: BLE001  its lease runs out, and whoever takes it next looks again
            self._left(job, second)
            return None

    def _said(self, job: Job) -> Job:
        _log.info("job %s: %s", job.id, job.state)
        return job


def _tries(job: Job) -> int:
    """How many of its attempts count."""
    return job.attempts - int(job.request.get(FIRST, 0))


def _made(engine: Engine, job: Job, texts: dict[str, str], intent: UUID, tell: Progress) -> Outcome:
    fields = {key: value for key, value in job.request.items() if not key.startswith("_")}
    subject = job.subject
    if subject is None:
        raise InputError("the subject of this job was erased", code="provenance.erased")
    if not set(job.texts) - {"rewrite"} <= set(texts):
        raise InputError("the texts of this job were erased", code="provenance.erased")
    if job.kind != "generate":
        raise InputError("this version makes jobs that generate, and no others", code="input.job_kind")
    size = fields.pop("size", None)
    words: dict[str, Any] = {name: text for name, text in texts.items() if name != "rewrite"}
    request = GenerateRequest(
        **words,
        **fields,
        size=None if size is None else (int(size[0]), int(size[1])),
        subject=subject,
        intent=intent,
    )
    return engine.generate(request, tell)


def _refused(outcome: Refusal) -> tuple[str, dict[str, Any], dict[str, str]]:
    """What is told of a refusal. An offered rewrite holds words of the prompt, so it is kept sealed."""
    told, texts = outcome.as_dict(), {}
    if outcome.decision.rewrite is not None:
        texts["rewrite"] = outcome.decision.rewrite.prompt
        told["rewrite"] = {"digest": outcome.decision.rewrite.digest}
    return ("held" if isinstance(outcome, Held) else "refused"), told, texts


def _told(error: Exception) -> dict[str, Any]:
    """Code and message. Messages of the inside may name folders and servers: those stay inside."""
    if isinstance(error, (InputError, GenerationError, PolicyError)):
        return {"code": error.code, "message": error.message, "hint": error.hint}
    code = error.code if isinstance(error, FiligranaError) else "internal"
    return {"code": code, "message": "the job failed"}


def _again(error: Exception) -> bool:
    """Whether another try may go better: what came from outside of the request."""
    return isinstance(error, (StageError, LogError)) or not isinstance(error, FiligranaError)
