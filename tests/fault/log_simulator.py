"""A seeded simulator: several "processes" write to one log, and every kind of thing goes wrong in between.

    python -m filigrana.tests.fault.log_simulator --seed 7 --schedules 100000
    python -m filigrana.tests.fault.log_simulator --seed 7 --only 4711

One thread, one SQLite file, a few AuditLog objects that share it and a guard, as processes would. A schedule is a
short list of operations; a fault strikes at one point inside an operation: before or after one of its statements,
commits, or writes of the guard. After each schedule the log is compared with a model that a child could check. A
failure prints the seed, the schedule's number and its steps; `--only` plays it again. Schedules come in blocks that
share a database, so a replay starts with the block.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any
from unittest import mock

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from filigrana.errors import FiligranaError
from filigrana.provenance import tables
from filigrana.provenance.database import session
from filigrana.provenance.log.note import Checkpoint
from filigrana.provenance.log.proof import LogProof
from filigrana.provenance.log.sequencer import AuditLog
from filigrana.provenance.log.signer import Ed25519LogSigner
from filigrana.provenance.tables import Intent
from filigrana.tests.fault.faulty_sqlite import FAULTS, Crash, Faults, faulty_engine, scratch

BLOCK = 16
"""Schedules that share a database."""
PROCESSES = 3
OPERATIONS = ("append",) * 5 + ("transaction",) * 3 + ("checkpoint",) * 3 + ("prove", "verify", "reopen")
POINTS = 14
"""A fault is drawn for one of this many points; an operation that has fewer goes unharmed."""


class BrokenPromiseError(AssertionError):
    """The log broke a promise."""


@dataclass(frozen=True, slots=True)
class Step:
    """``again``: the caller submits once more when it does not know the outcome. ``late``: its message is overtaken."""

    process: int
    operation: str
    name: str
    shape: int
    fault: str | None
    point: int
    again: bool
    late: bool


def schedule(seed: int, number: int) -> list[Step]:
    """The steps of one schedule, in the order of delivery."""
    draw = random.Random(f"{seed}/{number}")
    steps = [
        Step(
            process=draw.randrange(PROCESSES),
            operation=draw.choice(OPERATIONS),
            name=f"{number}.{place}",
            shape=draw.randrange(1 << 16),
            fault=draw.choice(FAULTS) if draw.random() < 0.6 else None,
            point=draw.randrange(POINTS),
            again=draw.random() < 0.5,
            late=draw.random() < 0.2,
        )
        for place in range(draw.randint(1, 3))
    ]
    return [step for step in steps if not step.late] + [step for step in steps if step.late]


class Clock(datetime):
    """What `tables.now` reads: jumps when the simulator says so."""

    offset = timedelta()

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime.now(tz) + cls.offset


Make = Callable[..., AuditLog]


class World:
    """One database, its processes, and the model of what must be in it."""

    def __init__(self, folder: Path, signer: Ed25519LogSigner, make: Make) -> None:
        self.url = f"sqlite:///{folder / 'audit.db'}"
        self.guard = folder / "guard"
        self.signer = signer
        self.make = make
        self.faults = Faults()
        self.logs: list[AuditLog | None] = [None] * PROCESSES
        self.acknowledged: dict[int, str] = {}
        self.certain: Counter[str] = Counter()
        self.possible: Counter[str] = Counter()
        self.notes: dict[str, int] = {}
        self.fresh: list[str] = []

    def log(self, process: int) -> AuditLog:
        """The process's log, opened when it is not."""
        found = self.logs[process]
        if found is None:
            engine = faulty_engine(self.url, self.faults, process)
            found = self.logs[process] = self.make(engine, signer=self.signer, guard_path=self.guard)
        return found

    def end(self, process: int) -> None:
        log = self.logs[process]
        self.logs[process] = None
        if log is not None:
            log.engine.dispose()

    def play(self, step: Step) -> None:
        """One operation, with its fault; then the same again if the caller does not know how it went."""
        if self.once(step, step.fault) == "unknown" and step.again and step.operation in ("append", "transaction"):
            self.once(step, None)

    def once(self, step: Step, fault: str | None) -> str:
        """ "done", "refused" or "unknown"."""
        faults = self.faults
        faults.plan(step.process, fault, step.point, lambda: self.meanwhile(step))
        names: list[tuple[int, str]] = []
        try:
            getattr(self, step.operation)(step, names)
        except BaseException as error:
            if not ((faults.struck and isinstance(error, (Crash, FiligranaError, SQLAlchemyError))) or faults.dead):
                raise
        if faults.clock_jumped:
            Clock.offset += timedelta(seconds=step.shape * 400 - 13_000_000)
        dead, outcome = faults.dead, "done" if not faults.failed else "unknown" if faults.uncertain else "refused"
        faults.rest()
        if dead:
            self.end(step.process)
        if outcome == "unknown":
            self.possible.update(name for _, name in names)
        elif outcome == "done":
            self.acknowledge(names)
        return outcome

    def acknowledge(self, names: list[tuple[int, str]]) -> None:
        for index, name in names:
            if index in self.acknowledged:
                raise BrokenPromiseError(f"index {index} was given to {self.acknowledged[index]} and to {name}")
            self.acknowledged[index] = name
            self.certain[name] += 1

    def meanwhile(self, step: Step) -> None:
        """Another process appends, in the middle of this one's operation."""
        other = (step.process + 1) % PROCESSES
        name = f"{step.name}.meanwhile"
        self.acknowledge([(self.log(other).append({"type": "plain", "name": name}), name)])

    def append(self, step: Step, names: list[tuple[int, str]]) -> None:
        names.append((-1, step.name))
        names[0] = (self.log(step.process).append({"type": "plain", "name": step.name}), step.name)

    def transaction(self, step: Step, names: list[tuple[int, str]]) -> None:
        """Rows with entries, a savepoint that may be rolled back, and a caller who may change his mind."""
        gives_up, rolls_back, more = step.shape & 3 == 3, step.shape & 4, step.shape & 8
        done: list[tuple[int, str]] = []
        # What may be in after an unknown outcome is known beforehand: it is all or nothing.
        planned = [f"{step.name}.row"] + [f"{step.name}.saved"] * (not rolls_back) + [f"{step.name}.more"] * bool(more)
        names.extend((-1, name) for name in planned)
        try:
            with self.log(step.process).transaction() as transaction:

                def add(name: str) -> tuple[int, str]:
                    transaction.session.add(Intent(kind="seal", request={"name": name}))
                    return transaction.append({"type": "intent", "name": name}), name

                done.append(add(planned[0]))
                savepoint = transaction.session.begin_nested()
                inside = add(f"{step.name}.saved")
                if rolls_back:
                    savepoint.rollback()
                else:
                    savepoint.commit()
                    done.append(inside)
                if more:
                    done.append(add(f"{step.name}.more"))
                if gives_up:
                    raise GaveUpError
        except GaveUpError:
            done = []
        names[:] = done

    def checkpoint(self, step: Step, names: list[tuple[int, str]]) -> None:
        self.keep(self.log(step.process).checkpoint())

    def prove(self, step: Step, names: list[tuple[int, str]]) -> None:
        if self.acknowledged:
            index = sorted(self.acknowledged)[step.shape % len(self.acknowledged)]
            log = self.log(step.process)
            proof = LogProof.parse(log.prove(index))
            proof.verify(log.keys, log.leaf(index))
            self.keep(proof.checkpoint)

    def keep(self, note: str) -> None:
        """A checkpoint that was handed out: the log must fit it for ever, and the guard remember it."""
        if note not in self.notes:
            self.notes[note] = Checkpoint.open(note, self.log(0).keys).size
            self.fresh.append(note)

    def verify(self, step: Step, names: list[tuple[int, str]]) -> None:
        report = self.log(step.process).verify(self.fresh)
        if not report.ok:
            raise BrokenPromiseError(f"verify: {report.problems}")

    def reopen(self, step: Step, names: list[tuple[int, str]]) -> None:
        self.end(step.process)
        self.log(step.process)

    def check(self, *, last: bool = False) -> None:
        """The log against the model; against every checkpoint ever handed out at the ``last`` check of a block."""
        log = self.log(0)
        report = log.verify([*(self.notes if last else self.fresh)])
        self.fresh = []
        if not report.ok:
            raise BrokenPromiseError(f"verify: {report.problems}")
        entries = {index: (str(entry["name"]), entry["type"]) for index, entry in log.entries()}
        lost = {index: name for index, name in self.acknowledged.items() if entries.get(index, ("",))[0] != name}
        if lost:
            raise BrokenPromiseError(f"acknowledged, and not there: {lost}")
        extra = Counter(name for name, _ in entries.values()) - self.certain - self.possible
        if extra:
            raise BrokenPromiseError(f"there, and never or not so often submitted: {dict(extra)}")
        with session(log.engine) as reading:
            rows = Counter(str(request["name"]) for request in reading.scalars(select(Intent.request)))
        intents = Counter(name for name, kind in entries.values() if kind == "intent")
        if rows != intents:
            raise BrokenPromiseError(f"rows without entries: {rows - intents}, entries without rows: {intents - rows}")
        largest = max(self.notes.values(), default=-1)
        if largest >= 0 and (
            not self.guard.exists() or Checkpoint.open(self.guard.read_text(), log.keys).size < largest
        ):
            raise BrokenPromiseError("the guard forgot a checkpoint that was handed out")


class GaveUpError(Exception):
    """The caller's own change of mind inside a transaction."""


class Simulator:
    """Plays schedules, block by block, each block on a fresh copy of an empty log."""

    def __init__(self, folder: Path, seed: int, make: Make = AuditLog) -> None:
        self.folder = folder
        self.seed = seed
        self.make = make
        self.struck: Counter[str] = Counter()
        self.signer = Ed25519LogSigner.create(folder / "log.pem", "example.com/log")
        self.template = folder / "template.db"
        AuditLog(f"sqlite:///{self.template}").close()

    def run(self, first: int, count: int) -> None:
        """Raises BrokenPromiseError with the seed and the schedule when the log breaks a promise."""
        with patched():
            start = first - first % BLOCK
            for block in range(start, first + count, BLOCK):
                with self.world() as world:
                    for number in range(block, min(block + BLOCK, first + count)):
                        self.one(world, number, last=(number + 1) % BLOCK == 0)

    def one(self, world: World, number: int, *, last: bool) -> None:
        steps = schedule(self.seed, number)
        try:
            for step in steps:
                world.play(step)
            world.check(last=last)
        except Exception as error:
            lines = "\n".join(f"  {step}" for step in steps)
            raise BrokenPromiseError(f"seed {self.seed}, schedule {number}: {error!r}\n{lines}") from error
        self.struck.update(world.faults.counts)
        world.faults.counts.clear()

    @contextmanager
    def world(self) -> Iterator[World]:
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            shutil.copyfile(self.template, Path(name) / "audit.db")
            world = World(Path(name), self.signer, self.make)
            try:
                yield world
            finally:
                for process in range(PROCESSES):
                    world.end(process)


@contextmanager
def patched() -> Iterator[None]:
    """A clock that jumps, and the guard's calls with faults."""
    Clock.offset = timedelta()
    with mock.patch.object(tables, "datetime", Clock), Faults.on_files():
        yield


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Simulates faults of the audit log.")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--schedules", type=int, default=10_000)
    parser.add_argument("--only", type=int, help="play this schedule (and its block up to it)")
    options: Any = parser.parse_args(arguments)
    print(f"seed {options.seed}", flush=True)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=scratch()) as folder:
        simulator = Simulator(Path(folder), options.seed)
        try:
            if options.only is not None:
                simulator.run(options.only, 1)
            else:
                for first in range(0, options.schedules, BLOCK * 64):
                    simulator.run(first, min(BLOCK * 64, options.schedules - first))
        except BrokenPromiseError as failure:
            print(failure)
            return 1
    print(
        f"no promise broken in {time.perf_counter() - started:.1f} s; faults: {dict(sorted(simulator.struck.items()))}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
