"""Checkpoints outside the database: when they are due, sent to every target, and what came of it.

One target's failure never keeps the others from being served; it is kept in the state, reported and tried again.
Each stage takes a bounded time: a target that hangs is left behind in a thread of its own.

The folder ``checkpoints`` holds every published note under its size with all its cosignatures, and its time-stamp.
Cosigned notes are kept there and not in the table ``log_checkpoints``: that is append-only, one note for each key,
and `audit verify` takes each for the word of a log's key.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...errors import FiligranaError, LogError
from .cosignature import WitnessPolicy
from .note import MAX_NOTE_BYTES, Checkpoint, Note, VerifierKey
from .places import FolderPlace
from .publishers import Publication, Publisher, Receipt, Stage, merged
from .publishing_state import State, TargetState, load_state, locked, save_state
from .sequencer import AuditLog
from .site_paths import CHECKPOINT
from .stamp import MAX_REPLY

RETRY = 60.0
"""Seconds after which a target that failed is tried again."""


@dataclass(frozen=True, slots=True)
class TargetReport:
    """``detail``: what it did, or why not. ``seconds``: how long it took."""

    name: str
    ok: bool
    detail: str
    seconds: float


@dataclass(frozen=True, slots=True)
class PublishReport:
    """``ok``: every target has this checkpoint, and enough witnesses cosigned. ``busy``: another process is at it."""

    ok: bool
    size: int
    note: str
    targets: tuple[TargetReport, ...]
    problems: tuple[str, ...]
    seconds: float
    busy: bool = False


class Publishing:
    """``folder``: the data folder. ``entries``, ``seconds``: whichever comes first makes a checkpoint due.

    ``quorum``: how many of ``witnesses`` (their keys) must have cosigned; 0: none. ``timeout``: seconds for each of
    the three stages. Safe for threads and for several processes.
    """

    def __init__(
        self,
        publishers: Sequence[Publisher],
        folder: Path,
        *,
        entries: int = 1000,
        seconds: float = 3600.0,
        witnesses: Sequence[VerifierKey] = (),
        quorum: int = 0,
        timeout: float = 15.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        names = [item.name for item in publishers]
        if len(set(names)) != len(names):
            raise LogError("a target is named twice", code="log.publish")
        self.publishers = tuple(publishers)
        self._policy = WitnessPolicy(tuple(witnesses), quorum) if quorum else None
        self._folder, self._entries, self._seconds = folder, entries, seconds
        self._timeout, self._clock = timeout, clock
        self._archive = FolderPlace(folder / "checkpoints")
        self._hanging: dict[str, threading.Thread] = {}

    @property
    def archive(self) -> Path:
        return self._folder / "checkpoints"

    @property
    def state(self) -> State:
        """What was published where; empty when nothing was, or the file is damaged."""
        return load_state(self._folder)

    def due(self, size: int, now: float) -> bool:
        """Whether a log of ``size`` entries should be published at ``now`` (POSIX seconds).

        A clock that was set back counts as time that has passed: rather once too often than never again.
        """
        if not self.publishers:
            return False
        state = self.state
        since = now - state.tried
        known = {name: item.error for name, item in state.targets.items()}
        if any(known.get(item.name, "never") for item in self.publishers) or state.problems:
            return not 0 <= since < min(RETRY, self._seconds)
        if size == state.size:
            return False
        return size < state.size or size - state.size >= self._entries or not 0 <= since < self._seconds

    def run(self, log: AuditLog) -> PublishReport:
        """Signs the log's head and sends it everywhere. Raises LogError, TamperError when nothing can be signed.

        Takes at most three times the timeout, and the time of signing.
        """
        started = time.perf_counter()
        with locked(self._folder) as ours:
            if not ours:
                return PublishReport(True, 0, "", (), (), time.perf_counter() - started, busy=True)
            state = self.state
            now = self._clock()
            try:
                note = log.checkpoint()
            except FiligranaError as error:
                save_state(self._folder, replace(state, tried=now, problems=(error.message,)))
                raise
            return self._send(log, note, state, now, started)

    def summary(self) -> str:
        """One line for a person. Raises LogError (``log.publish``) when the last attempt did not fully work."""
        if not self.publishers:
            return "checkpoints are published nowhere: see the setting log_publish"
        state = self.state
        wrong = [f"{item.name}: {state.targets[item.name].error}" for item in self.publishers
                 if item.name in state.targets and state.targets[item.name].error]  # fmt: skip
        if wrong or state.problems:
            raise LogError(
                "; ".join([*wrong, *state.problems]),
                code="log.publish",
                hint="`filigrana audit publish` tries again and says more.",
            )
        missing = [item.name for item in self.publishers if item.name not in state.targets]
        if missing:
            return f"nothing was published yet to {', '.join(missing)}"
        return f"{state.size} entries published to {', '.join(item.name for item in self.publishers)}"

    def _send(self, log: AuditLog, note: str, state: State, now: float, started: float) -> PublishReport:
        checkpoint = Checkpoint.open(note, log.keys)
        kept = self._kept(note, log)
        publication = Publication(kept or note, checkpoint, self._kept_stamp(checkpoint.size))
        reports: list[TargetReport] = []
        problems: list[str] = []
        targets = {item.name: state.targets.get(item.name, TargetState()) for item in self.publishers}
        for stage in Stage:
            receipts = self._stage(stage, publication, log, targets, reports)
            publication = replace(publication, note=merged(publication.note, receipts))
            for receipt in receipts:
                publication = replace(publication, stamp=receipt.stamp or publication.stamp)
            if stage is Stage.COSIGN:
                self._keep(f"{checkpoint.size}", publication.note.encode(), problems)
                self._keep(CHECKPOINT, publication.note.encode(), problems)
            elif stage is Stage.STAMP:
                if not any(receipt.stamp for receipt in receipts):
                    publication = replace(publication, stamp=None)  # a kept one may be over fewer signatures
                else:
                    self._keep(f"{checkpoint.size}.tsr", publication.stamp or b"", problems)
        problems += self._too_few(publication.note)
        for report in reports:
            old = targets[report.name]
            targets[report.name] = (
                TargetState(checkpoint.size, now, "") if report.ok else TargetState(old.size, old.time, report.detail)
            )
        save_state(self._folder, State(checkpoint.size, now, tuple(problems), targets))
        ok = all(report.ok for report in reports) and not problems
        seconds = time.perf_counter() - started
        return PublishReport(ok, checkpoint.size, publication.note, tuple(reports), tuple(problems), seconds)

    def _kept(self, note: str, log: AuditLog) -> str | None:
        """The same checkpoint from an earlier attempt, with the cosignatures that it got then."""
        size = Checkpoint.open(note, log.keys).size
        try:
            kept = (self._archive.read(str(size), MAX_NOTE_BYTES) or b"").decode("utf-8")
            same = Note.parse(kept).text == Note.parse(note).text
            Checkpoint.open(kept, log.keys)
        except (LogError, UnicodeDecodeError):
            return None
        return kept if same else None

    def _kept_stamp(self, size: int) -> bytes | None:
        try:
            return self._archive.read(f"{size}.tsr", MAX_REPLY)
        except LogError:
            return None

    def _keep(self, name: str, data: bytes, problems: list[str]) -> None:
        """In our own folder. Where that fails, the targets are served all the same."""
        try:
            if self._archive.read(name, max(MAX_NOTE_BYTES, MAX_REPLY)) != data:
                self._archive.write(name, data)
        except LogError as error:
            problems.append(error.message)

    def _stage(
        self,
        stage: Stage,
        publication: Publication,
        log: AuditLog,
        targets: dict[str, TargetState],
        reports: list[TargetReport],
    ) -> list[Receipt]:
        """All targets of a stage at once, for at most the timeout. Their receipts, and a report on each."""
        began, until = time.perf_counter(), time.monotonic() + self._timeout
        answers: dict[str, queue.SimpleQueue[Receipt | Exception]] = {}
        for item in (item for item in self.publishers if item.stage is stage):
            if (old := self._hanging.pop(item.name, None)) is not None and old.is_alive():
                self._hanging[item.name] = old
                reports.append(TargetReport(item.name, False, "still hangs in an earlier attempt", 0.0))
                continue
            answers[item.name] = queue.SimpleQueue()
            mine = replace(publication, last=targets[item.name].size)
            work = threading.Thread(
                target=_attempt, args=(item, mine, log, answers[item.name]), name="filigrana-publish", daemon=True
            )
            self._hanging[item.name] = work
            work.start()
        receipts = []
        for name, answer in answers.items():
            try:
                got: Receipt | Exception = answer.get(timeout=max(0.0, until - time.monotonic()))
                self._hanging.pop(name, None)
            except queue.Empty:
                got = LogError(f"took longer than {self._timeout:g} seconds", code="log.publish")
            seconds = time.perf_counter() - began
            if isinstance(got, Receipt):
                receipts.append(got)
                reports.append(TargetReport(name, True, got.text, seconds))
            else:
                said = got.message if isinstance(got, FiligranaError) else f"failed ({type(got).__name__})"
                reports.append(TargetReport(name, False, said, seconds))
        return receipts

    def _too_few(self, note: str) -> list[str]:
        if self._policy is None:
            return []
        try:
            self._policy.check(note, now=self._clock())
        except LogError as error:
            return [error.message]
        return []


def _attempt(
    publisher: Publisher,
    publication: Publication,
    log: AuditLog,
    answer: queue.SimpleQueue[Receipt | Exception],
) -> None:
    try:
        answer.put(publisher.publish(publication, log))
    except Exception as error:  # noqa: BLE001  reported by whoever waits
        answer.put(error)
