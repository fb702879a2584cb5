"""Kill the writing process at any moment: what it acknowledged is there, and the log is whole."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import func, select

from filigrana.provenance.database import session
from filigrana.provenance.log.sequencer import AuditLog
from filigrana.provenance.log.signer import Ed25519LogSigner
from filigrana.provenance.tables import Intent

# Six threads append, write rows together with entries, and sign; each says so only after the call returned.
WRITER = """
import sys, threading, time
from pathlib import Path
from filigrana.provenance.log.sequencer import AuditLog
from filigrana.provenance.log.signer import Ed25519LogSigner
from filigrana.provenance.tables import Intent

url, folder, start = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
log = AuditLog(url, signer=Ed25519LogSigner.load(folder / "log.pem"), guard_path=folder / "guard")

def say(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\\n")
    sys.stdout.flush()

def work(thread):
    number = 0
    while True:
        number += 1
        name = f"{start}-{thread}-{number}"
        if thread == 0:
            with log.transaction() as transaction:
                transaction.session.add(Intent(kind="seal", request={"name": name}))
                index = transaction.append({"type": "intent", "name": name})
        else:
            index = log.append({"type": "test", "name": name})
        say(index, name)
        if thread == 1 and number % 5 == 0:
            log.checkpoint()

for thread in range(6):
    threading.Thread(target=work, args=(thread,), daemon=True).start()
threading.Event().wait()
"""


# Writers that break the promise: the checks above must notice.
ACKNOWLEDGES_EARLY = (
    WRITER.split("for thread in range(6)", maxsplit=1)[0]
    + """
for index in range(10**6):
    say(index, f"{start}-0-{index}")
    log.append({"type": "test", "name": f"{start}-0-{index}"})
"""
)
WRITES_IN_TWO_STEPS = (
    WRITER.split("for thread in range(6)", maxsplit=1)[0]
    + """
from filigrana.provenance.database import session
for index in range(10**6):
    with session(log.engine, write=True) as writing:
        writing.add(Intent(kind="seal", request={}))
    time.sleep(0.005)
    log.append({"type": "intent", "name": f"{start}-0-{index}"})
    say(index, f"{start}-0-{index}")
"""
)


def run_and_kill(starts: list[int], url: str, folder: Path, seconds: float, program: str = WRITER) -> list[str]:
    """What the writers said before they were killed, whole lines only."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, url, str(folder), str(start)], stdout=subprocess.PIPE, text=True
        )
        for start in starts
    ]
    said = []
    for process in processes:
        assert process.stdout is not None
        said.append(process.stdout.readline())
    time.sleep(seconds)
    for process in processes:
        process.send_signal(signal.SIGKILL)
    for process in processes:
        with process:
            assert process.stdout is not None
            said += process.stdout.readlines()
    return [line for line in said if line.endswith("\n")]


def acknowledge(lines: list[str], acknowledged: dict[int, str]) -> None:
    for line in lines:
        index, name = line.split()
        assert int(index) not in acknowledged
        acknowledged[int(index)] = name


def check(url: str, signer: Ed25519LogSigner, folder: Path, acknowledged: dict[int, str]) -> None:
    """The log is whole, and everything acknowledged is in it, beside the rows it was written with."""
    with AuditLog(url, signer=signer, guard_path=folder / "guard") as log:
        report = log.verify()
        assert report.ok, report.problems
        assert report.entries > max(acknowledged)
        entries = dict(log.entries())
        for index, name in acknowledged.items():
            assert entries[index]["name"] == name
        with session(log.engine) as reading:
            rows = reading.scalar(select(func.count()).select_from(Intent))
        assert rows == sum(entry["type"] == "intent" for entry in entries.values())
        log.checkpoint()
        assert log.verify().ok


@pytest.mark.parametrize("seconds", [0.02, 0.15, 0.4])
def test_nothing_acknowledged_is_lost(database_url: str, tmp_path: Path, seconds: float) -> None:
    signer = Ed25519LogSigner.create(tmp_path / "log.pem", "example.com/log")
    AuditLog(database_url).close()
    acknowledged: dict[int, str] = {}
    for start in range(2):
        lines = run_and_kill([start], database_url, tmp_path, seconds)
        acknowledge(lines, acknowledged)
    check(database_url, signer, tmp_path, acknowledged)


def test_three_processes_write_at_once_and_are_killed_at_once(database_url: str, tmp_path: Path) -> None:
    signer = Ed25519LogSigner.create(tmp_path / "log.pem", "example.com/log")
    AuditLog(database_url).close()
    acknowledged: dict[int, str] = {}
    acknowledge(run_and_kill([1, 2, 3], database_url, tmp_path, 0.5), acknowledged)
    assert {name.split("-")[0] for name in acknowledged.values()} == {"1", "2", "3"}
    check(database_url, signer, tmp_path, acknowledged)


@pytest.mark.parametrize("program", [ACKNOWLEDGES_EARLY, WRITES_IN_TWO_STEPS], ids=["early", "two steps"])
def test_a_writer_that_breaks_the_promise_is_noticed(tmp_path: Path, program: str) -> None:
    for round_ in range(20):
        folder = tmp_path / str(round_)
        folder.mkdir()
        url = f"sqlite:///{folder / 'audit.db'}"
        signer = Ed25519LogSigner.create(folder / "log.pem", "example.com/log")
        acknowledged: dict[int, str] = {}
        acknowledge(run_and_kill([0], url, folder, 0.01 * round_, program), acknowledged)
        try:
            check(url, signer, folder, acknowledged)
        except (AssertionError, KeyError):
            return
    pytest.fail("20 kills, and nothing was noticed")


def test_a_commit_is_not_acknowledged_before_it_is_durable(sqlite_url: str) -> None:
    """The setting that this rests on is read back on the very connection that writes."""
    with AuditLog(sqlite_url) as log, log.transaction() as transaction:
        connection = transaction.session.connection()
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
