"""Every single system call that the log makes on its files, struck by a kill, a broken disk and a full disk.

strace watches one run of a writer and counts its calls on the database, its -wal and -shm files, the guard and the
folder. Then, for each call, the run is repeated with that one call struck, and what is left is checked: nothing
acknowledged is lost, rows and entries agree, every checkpoint fits, and the log goes on.

By default a part is run that is spread evenly over them, so as to take well under a minute; with
`FILIGRANA_FAULTS=all` in the environment, all.
"""

from __future__ import annotations

import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import select

from filigrana.provenance.database import session
from filigrana.provenance.log.sequencer import AuditLog
from filigrana.provenance.log.signer import Ed25519LogSigner
from filigrana.provenance.tables import Intent
from filigrana.tests.fault import traced_writer
from filigrana.tests.fault.faulty_sqlite import scratch

ALL = os.environ.get("FILIGRANA_FAULTS") == "all"
PATIENCE = 60.0
CALLS = (
    "?open,openat,?creat,pread64,pwrite64,?pwritev,write,writev,fsync,fdatasync,?sync_file_range,ftruncate,fallocate,"
    "mmap,msync,munmap,?rename,?renameat,?renameat2,?link,linkat,?unlink,unlinkat,fcntl,flock,fchown,fchmod,close"
)
FAULTS = {"kill": "signal=SIGKILL", "broken": "error=EIO", "full": "error=ENOSPC"}
BEFORE = 254
"""Entries in the log before the writer starts: its second one fills a tile."""


class Call(NamedTuple):
    """The ``number``-th call of this name since the writer started."""

    name: str
    number: int
    faults: tuple[str, ...] = tuple(FAULTS)


class Laboratory:
    """Runs traced writers, each on a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0
        self.template = folder / "template"
        self.template.mkdir()
        self.signer = Ed25519LogSigner.create(self.template / "log.pem", "example.com/log")
        self.empty = folder / "empty"
        shutil.copytree(self.template, self.empty)
        with self.open(self.template) as log, log.transaction() as transaction:
            for number in range(BEFORE):
                transaction.append({"type": "old", "name": f"old {number}"})
        with self.open(self.template) as log:
            log.checkpoint()
        self.start()

    def start(self) -> None:
        self.host = subprocess.Popen(
            [sys.executable, traced_writer.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def close(self) -> None:
        self.host.kill()
        self.host.communicate()

    def open(self, folder: Path) -> AuditLog:
        return AuditLog(f"sqlite:///{folder / 'audit.db'}", signer=self.signer, guard_path=folder / "guard")

    def run(self, program: str, *options: str, template: Path | None = None) -> tuple[Path, str]:
        """The folder that a writer under strace left behind, and what strace wrote."""
        self.count += 1
        place = self.folder / f"run-{self.count}"
        shutil.copytree(template or self.template, place)
        trace = place / "trace"
        child = int(self._ask(f"{program} {place}"))
        try:
            strace = subprocess.Popen(
                ["strace", "-f", "-y", "-s", "300", "-o", str(trace), *options, "-p", str(child)],
                stderr=subprocess.PIPE,
                text=True,
            )
            with strace, ended(strace):
                assert strace.stderr is not None
                said = strace.stderr.readline()
                if "attached" not in said:
                    self._ask("no")
                    pytest.skip(f"strace cannot trace here: {said.strip()}")
                assert self._ask("go") == "done"
                strace.wait(PATIENCE)
        except BaseException:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            self.close()
            self.start()
            raise
        return place, trace.read_text()

    def calls(self, program: str, template: Path | None = None) -> list[Call]:
        """Those on the log's files, in order, in a run without a fault (the second: the first imports lazily)."""
        self._clear(self.run(program, "-e", "trace=none", template=template)[0])
        place, trace = self.run(program, "-e", f"trace={CALLS}", template=template)
        assert (place / traced_writer.SAID).read_text().endswith("end\n")
        counted: Counter[tuple[str, str]] = Counter()
        found = []
        for line in trace.splitlines():
            match = re.match(r"(\d+) +(\w+)\(", line)
            if match:
                thread, name = match.groups()
                counted[thread, name] += 1
                if str(place) in line and not any(
                    str(place / other) in line for other in (traced_writer.SAID, "log.pem")
                ):
                    faults = ("kill",) if "F_UNLCK" in line else tuple(FAULTS)  # unlocking does not fail
                    found.append(Call(name, counted[thread, name], faults))
        self._clear(place)
        return list(dict.fromkeys(found))  # strace counts for each thread: two may have an n-th call

    def strike(self, program: str, call: Call, fault: str, template: Path | None = None) -> None:
        """Runs the program with one fault, and checks what is left."""
        inject = f"inject={call.name}:{FAULTS[fault]}:when={call.number}"
        place, trace = self.run(program, "-e", f"trace={call.name}", "-e", inject, template=template)
        assert ("killed by SIGKILL" if fault == "kill" else "(INJECTED)") in trace, "the fault did not happen"
        self.check(place)
        self._clear(place)

    def check(self, place: Path) -> None:
        """Raises AssertionError unless the log in this folder keeps every promise."""
        lines = (place / traced_writer.SAID).read_text().splitlines()
        assert not [line for line in lines if line.startswith("unexpected")], lines
        acknowledged = {int(words[1]): words[2] for words in map(str.split, lines) if words[0] == "entry"}
        notes = [bytes.fromhex(words[1]).decode() for words in map(str.split, lines) if words[0] == "checkpoint"]
        with self.open(place) as log:
            report = log.verify(notes)
            assert report.ok, report.problems
            assert report.outside >= len(notes)
            names = {index: str(entry["name"]) for index, entry in log.entries()}
            kinds = {str(entry["name"]): entry["type"] for _, entry in log.entries()}
            lost = {index: name for index, name in acknowledged.items() if names.get(index) != name}
            assert not lost, f"acknowledged, and not there: {lost}"
            assert len(kinds) == len(names), "an entry is there twice"
            with session(log.engine) as reading:
                rows = sorted(str(row.request["name"]) for row in reading.scalars(select(Intent)))
            intents = sorted(name for name, kind in kinds.items() if kind == "intent")
            assert rows == intents, "rows and entries do not agree"
            index = log.append({"type": "plain", "name": "after"})
            assert index == report.entries
            notes.append(log.checkpoint())
            after = log.verify(notes)
            assert after.ok, after.problems
            assert after.entries == index + 1

    def _ask(self, line: str) -> str:
        """Says one line to the program that makes writers; its answer, if it comes in time."""
        assert self.host.stdin is not None
        assert self.host.stdout is not None
        self.host.stdin.write(line + "\n")
        self.host.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(self.host.stdout, selectors.EVENT_READ)
            assert selector.select(PATIENCE), f"no answer to {line!r}: the writer hangs"
        return self.host.stdout.readline().rstrip("\n")

    def _clear(self, place: Path) -> None:
        shutil.rmtree(place)


@contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[None]:
    """Whatever happens inside, the process does not outlive it."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.kill()


@pytest.fixture(scope="module")
def laboratories(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Laboratory]]:
    """Two, for two cores. What they write need not reach a disk: processes are killed here, not the machine."""
    if shutil.which("strace") is None:
        pytest.skip("these tests need strace")
    with tempfile.TemporaryDirectory(dir=scratch()) as folder:
        made = []
        try:
            for number in range(2):
                place = Path(folder) / str(number)
                place.mkdir()
                made.append(Laboratory(place))
            yield made
        finally:
            for one in made:
                one.close()


def spread(items: list[tuple[Call, str]], most: int) -> list[tuple[Call, str]]:
    """At most so many of them, evenly spread; all where all were asked for."""
    if ALL or len(items) <= most:
        return items
    return [items[at * len(items) // most] for at in range(most)]


def strike_all(laboratory: Laboratory, chosen: list[tuple[Call, str]], template: Path) -> list[str]:
    failures = []
    for call, fault in chosen:
        try:
            laboratory.strike("honest", call, fault, template)
        except AssertionError as error:
            failures.append(f"{fault} at {call.name} number {call.number}: {error}")
    return failures


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("start", "most"), [("a log with entries", 180), ("no file at all", 20)])
def test_no_single_fault_loses_what_was_acknowledged(
    laboratories: list[Laboratory], start: str, most: int, capsys: pytest.CaptureFixture[str]
) -> None:
    if start == "no file at all":
        laboratories = laboratories[:1]  # Alembic does not migrate in two threads at once
    templates = [one.template if start == "a log with entries" else one.empty for one in laboratories]
    calls = laboratories[0].calls("honest", templates[0])
    names = {call.name for call in calls}
    assert {"openat", "pwrite64", "write", "fsync", "fdatasync", "mmap", "close"} <= names
    assert names & {"rename", "renameat", "renameat2"}
    faults = [(call, fault) for call in calls for fault in call.faults]
    chosen = spread(faults, most)
    started = time.perf_counter()
    with ThreadPoolExecutor(len(laboratories)) as pool:
        shares = [chosen[at :: len(laboratories)] for at in range(len(laboratories))]
        failures = [line for lines in pool.map(strike_all, laboratories, shares, templates) for line in lines]
    with capsys.disabled():
        seconds = time.perf_counter() - started
        print(f"\n{start}: {len(chosen)} of {len(faults)} faults at {len(calls)} calls, {seconds:.0f} s")
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("program", ["acknowledges_early", "writes_in_two_steps"])
def test_a_writer_that_breaks_the_promise_is_caught(laboratories: list[Laboratory], program: str) -> None:
    """The same checks, on writers that are wrong: what finds nothing here would find nothing anywhere."""
    laboratory = laboratories[0]
    caught = 0
    for call in [call for call in laboratory.calls(program) if call.name in ("pwrite64", "fdatasync")]:
        try:
            laboratory.strike(program, call, "kill")
        except AssertionError as error:
            caught += "acknowledged, and not there" in str(error) or "do not agree" in str(error)
    assert caught >= 3
