"""Processes that write to one log until they are killed, and what must be true of the log afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filigrana.provenance.log.sequencer import AuditLog
from filigrana.provenance.log.signer import Ed25519LogSigner

PATIENCE = 60.0

# Appends for ever from two threads, whatever happens; opens the log again when it is lost. Now and then a checkpoint.
WRITER = """
import sys, threading, time
from pathlib import Path
from filigrana.errors import FiligranaError
from filigrana.provenance.log.sequencer import AuditLog
from filigrana.provenance.log.signer import Ed25519LogSigner

url, folder, name = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
signer = Ed25519LogSigner.load(folder / "log.pem")
log = AuditLog(url, signer=signer, guard_path=folder / "guard")
lock = threading.Lock()

def say(*words):
    with lock:
        sys.stdout.write(" ".join(map(str, words)) + "\\n")
        sys.stdout.flush()

def work(thread):
    number = 0
    while True:
        number += 1
        entry = f"{name}-{thread}-{number}"
        try:
            say("entry", log.append({"type": "test", "name": entry}), entry)
            if number % 20 == 0 and thread == 0:
                say("checkpoint", log.checkpoint().encode().hex())
        except FiligranaError as error:
            say("failed", type(error).__name__, str(error).replace("\\n", " "))
            time.sleep(0.05)
        except BaseException as error:
            say("unexpected", type(error).__name__, str(error).replace("\\n", " "))
            time.sleep(0.05)

for thread in range(2):
    threading.Thread(target=work, args=(thread,), daemon=True).start()
sys.stdin.read()
"""


class Writers:
    """Writer processes, and all that they said."""

    def __init__(self, url: str, folder: Path, names: list[str]) -> None:
        self.lines: dict[str, list[str]] = {name: [] for name in names}
        self.processes = {
            name: subprocess.Popen(
                [sys.executable, "-c", WRITER, url, str(folder), name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PGAPPNAME": name},
            )
            for name in names
        }
        self.threads = [threading.Thread(target=self._listen, args=(name,), daemon=True) for name in names]
        for thread in self.threads:
            thread.start()

    def _listen(self, name: str) -> None:
        stdout = self.processes[name].stdout
        assert stdout is not None
        for line in stdout:
            if line.endswith("\n"):
                self.lines[name].append(line.rstrip("\n"))

    def said(self, word: str) -> list[list[str]]:
        return [line.split() for lines in self.lines.values() for line in [*lines] if line.startswith(word + " ")]

    def count(self, name: str) -> int:
        return sum(line.startswith("entry ") for line in [*self.lines[name]])

    def all_go_on(self, names: list[str]) -> float:
        """Seconds until each of these had three more entries acknowledged."""
        before = {name: self.count(name) for name in names}
        started = time.monotonic()
        while any(self.count(name) < before[name] + 3 for name in names):
            assert time.monotonic() - started < PATIENCE, {name: self.lines[name][-3:] for name in names}
            time.sleep(0.02)
        return time.monotonic() - started

    def end(self) -> None:
        for process in self.processes.values():
            process.kill()
        for thread in self.threads:
            thread.join(PATIENCE)
        for process in self.processes.values():
            process.communicate()


@contextmanager
def writers(url: str, folder: Path, count: int) -> Iterator[Writers]:
    made = Writers(url, folder, [f"writer-{number}" for number in range(count)])
    try:
        yield made
    finally:
        made.end()


def check(url: str, folder: Path, *said: Writers) -> int:
    """The number of entries that were acknowledged, all of which are there, in a log that is whole."""
    signer = Ed25519LogSigner.load(folder / "log.pem")
    acknowledged: dict[int, str] = {}
    notes = []
    for one in said:
        assert not one.said("unexpected"), one.said("unexpected")[:3]
        for _, index, name in one.said("entry"):
            assert int(index) not in acknowledged, "an index was given twice"
            acknowledged[int(index)] = name
        notes += [bytes.fromhex(words[1]).decode() for words in one.said("checkpoint")]
    with AuditLog(url, signer=signer, guard_path=folder / "guard") as log:
        notes.append(log.checkpoint())
        report = log.verify(notes)
        assert report.ok, report.problems
        names = {index: str(entry["name"]) for index, entry in log.entries()}
        lost = {index: name for index, name in acknowledged.items() if names.get(index) != name}
        assert not lost, f"acknowledged, and not there: {lost}"
        assert len(set(names.values())) == len(names), "an entry is there twice"
        assert log.append({"type": "test", "name": "after"}) == report.entries
    return len(acknowledged)
