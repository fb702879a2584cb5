"""PostgreSQL: entries handed from process to process, and what becomes of them when something is lost on the way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from filigrana.errors import EntryError, LogError
from filigrana.migrations.versions.v0002_append_on_postgresql import LOG_LOCK
from filigrana.provenance import database
from filigrana.provenance.log import canonical, leader
from filigrana.provenance.log.sequencer import AuditLog


@pytest.fixture
def log(postgres_url: str) -> Iterator[AuditLog]:
    with AuditLog(postgres_url) as log:
        yield log


@pytest.fixture
def other(postgres_url: str, log: AuditLog) -> Iterator[Engine]:
    engine = database.connect(postgres_url).execution_options(isolation_level="AUTOCOMMIT")
    yield engine
    engine.dispose()


def one(engine: Engine, statement: str, **values: Any) -> Any:
    with engine.connect() as connection:
        return connection.execute(text(statement), values).scalar()


def do(engine: Engine, statement: str) -> None:
    with engine.connect() as connection:
        connection.execute(text(statement))


@contextmanager
def somebody_leads(engine: Engine) -> Iterator[None]:
    """Holds the lock, as a leader does for as long as its commit takes."""
    with engine.connect() as connection:
        connection.exec_driver_sql(f"SELECT pg_advisory_lock({LOG_LOCK})")
        try:
            yield
        finally:
            connection.exec_driver_sql(f"SELECT pg_advisory_unlock({LOG_LOCK})")


class Appending(threading.Thread):
    def __init__(self, log: AuditLog, entry: dict[str, Any]) -> None:
        super().__init__(daemon=True)
        self.log, self.entry, self.index = log, entry, -1
        self.error: LogError | None = None
        self.start()

    def run(self) -> None:
        try:
            self.index = self.log.append(self.entry)
        except LogError as error:
            self.error = error

    def done(self) -> int:
        self.join(30)
        assert not self.is_alive()
        if self.error is not None:
            raise self.error
        return self.index


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_who_finds_the_lock_taken_queues_and_the_next_in_line_commits_for_all(
    log: AuditLog, other: Engine, postgres_url: str
) -> None:
    with AuditLog(postgres_url) as second, AuditLog(postgres_url) as third:
        with somebody_leads(other):
            waiting = [Appending(each, {"type": "test", "n": n}) for n, each in enumerate((log, second, third))]
            until(lambda: one(other, "SELECT count(*) FROM log_queue") == 3)
            assert log.size() == 0
        indexes = [each.done() for each in waiting]
    assert sorted(indexes) == [0, 1, 2]
    assert [log.entry(index)["n"] for index in indexes] == [0, 1, 2]
    # One transaction for the three: PostgreSQL gave their rows one transaction id.
    assert one(other, "SELECT count(DISTINCT xmin::text) FROM log_entries") == 1
    assert one(other, "SELECT count(*) FROM log_queue") == 0
    assert log.verify().ok


def test_a_queue_that_a_crash_emptied_is_filled_again_by_its_sender(log: AuditLog, other: Engine) -> None:
    with somebody_leads(other):
        waiting = Appending(log, {"type": "test"})
        until(lambda: one(other, "SELECT count(*) FROM log_queue") == 1)
        do(other, "DELETE FROM log_queue")
    assert waiting.done() == 0
    assert log.size() == 1


def test_a_connection_lost_before_its_turn_is_no_entry_twice(log: AuditLog, other: Engine) -> None:
    with somebody_leads(other):
        waiting = Appending(log, {"type": "test"})
        until(lambda: one(other, "SELECT count(*) FROM log_queue") == 1)
        cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'advisory'"
        until(lambda: one(other, cut))
    assert waiting.done() == 0
    assert log.size() == 1


def test_a_connection_lost_after_the_commit_still_tells_the_index(
    log: AuditLog, other: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit happened, the answer never came: the number of the hand-over finds it."""
    log.append({"type": "first"})
    real = leader._HAND_OVER
    cut: list[int] = []

    class Losing:
        def __init__(self, driver: Any) -> None:
            self.driver = driver

        def __getattr__(self, name: str) -> Any:
            return getattr(self.driver, name)

        def execute(self, statement: str, parameters: Any) -> Any:
            cursor = self.driver.execute(statement, parameters)
            if statement == real and not cut:
                cut.append(cursor.fetchone()[0])
                self.driver.close()
                return self.driver.execute("SELECT 1")
            return cursor

    held = log._leader._held
    assert held is not None
    original = type(held.connection).driver_connection
    monkeypatch.setattr(type(held.connection), "driver_connection", property(lambda self: Losing(original.fget(self))))
    assert log.append({"type": "second"}) == 1
    assert cut == [1]
    assert log.size() == 2


def test_a_refused_batch_leaves_nothing_behind_that_a_later_leader_would_write(log: AuditLog, other: Engine) -> None:
    log.append({"type": "first"})
    do(
        other,
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''disk full''; END'",
    )
    with somebody_leads(other):
        waiting = Appending(log, {"type": "refused"})
        until(lambda: one(other, "SELECT count(*) FROM log_queue") == 1)
        do(other, "CREATE TRIGGER refuse BEFORE INSERT ON log_entries EXECUTE FUNCTION refuse()")
    with pytest.raises(LogError, match="disk full"):
        waiting.done()
    assert one(other, "SELECT count(*) FROM log_queue") == 0
    do(other, "DROP TRIGGER refuse ON log_entries")
    assert log.append({"type": "second"}) == 1
    assert [entry["type"] for _, entry in log.entries()] == ["first", "second"]


def test_waiting_for_a_leader_that_hangs_ends(log: AuditLog, other: Engine) -> None:
    """Its lock is not broken: the caller is told, and its entry is taken back."""
    log.append({"type": "first"})
    held = log._leader._held
    assert held is not None
    held.connection.driver_connection.execute("SET lock_timeout = '300ms'")
    with somebody_leads(other):
        with pytest.raises(LogError, match="lock timeout"):
            Appending(log, {"type": "late"}).done()
        assert one(other, "SELECT count(*) FROM log_queue") == 0
    assert log.append({"type": "second"}) == 1


def test_a_late_row_of_a_hand_over_that_is_in_already_harms_nobody(log: AuditLog, other: Engine) -> None:
    """The sender lost its connection and sent again; then its first attempt arrives after all."""
    log.append({"type": "first"})
    late = "INSERT INTO log_queue (handover, leaves, bytes) SELECT handover, ARRAY['x'::bytea], 1 FROM log_handovers"
    do(other, late)
    assert log.append({"type": "second"}) == 1
    assert [entry["type"] for _, entry in log.entries()] == ["first", "second"]
    assert one(other, "SELECT count(*) FROM log_queue") == 0


def test_a_row_that_cannot_be_written_stops_nobody_else(log: AuditLog, other: Engine) -> None:
    log.append({"type": "first"})
    do(
        other,
        "CREATE FUNCTION picky() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF NEW.leaf = ''bad'' THEN RAISE EXCEPTION ''no''; END IF; RETURN NEW; END'",
    )
    do(other, "CREATE TRIGGER picky BEFORE INSERT ON log_entries FOR EACH ROW EXECUTE FUNCTION picky()")
    do(other, "INSERT INTO log_queue (handover, leaves, bytes) VALUES (1, ARRAY['good'::bytea, 'bad'], 7)")
    assert log.append({"type": "second"}) == 1
    assert log.append({"type": "third"}) == 2
    assert (log.size(), one(other, "SELECT count(*) FROM log_queue")) == (3, 0)


@pytest.mark.parametrize("leaves", ["ARRAY[NULL::bytea]", "ARRAY[]::bytea[]"])
def test_the_queue_takes_leaves_only(log: AuditLog, other: Engine, leaves: str) -> None:
    with pytest.raises(DBAPIError):
        do(other, f"INSERT INTO log_queue (handover, leaves, bytes) VALUES (1, {leaves}, 1)")  # noqa: S608
    assert log.size() == 0


def test_a_leader_takes_no_more_than_it_can_carry(log: AuditLog, other: Engine) -> None:
    for number in range(6):
        do(
            other,
            f"INSERT INTO log_queue (handover, leaves, bytes) SELECT {number}, array_fill(decode(repeat('61', 60000), 'hex'), ARRAY[50]), 3000000",
        )
    log.append({"type": "first"})
    assert log.size() == 151
    assert one(other, "SELECT count(*) FROM log_queue") == 3


def test_a_temporary_table_does_not_stand_in_for_the_log(log: AuditLog) -> None:
    log.append({"type": "first"})
    with log.engine.connect() as connection:
        connection.exec_driver_sql("CREATE TEMP TABLE log_entries (seq bigint)")
        connection.exec_driver_sql("INSERT INTO log_entries VALUES (4000000000000000000)")
        with pytest.raises(DBAPIError, match="next index only"):
            connection.exec_driver_sql("INSERT INTO public.log_entries VALUES (4000000000000000001, 'x', 'x', now())")
    assert log.append({"type": "second"}) == 1
    assert log.verify().ok


def test_a_caller_s_transaction_takes_turns_with_the_leaders(log: AuditLog, postgres_url: str) -> None:
    with AuditLog(postgres_url) as second:
        with log.transaction() as transaction:
            assert transaction.append({"type": "mine"}) == 0
            waiting = Appending(second, {"type": "theirs"})
            time.sleep(0.2)
            assert transaction.append({"type": "mine too"}) == 1
        assert waiting.done() == 2
    assert log.verify().ok


def test_tiles_of_tiles_are_those_that_python_fills(log: AuditLog) -> None:
    for _ in range(65):
        log.extend([{"type": "test"}] * 1024)
    report = log.verify()
    assert (report.ok, report.entries) == (True, 66_560)
    with log.engine.connect() as connection:
        assert connection.execute(text("SELECT level, count(*) FROM log_tiles GROUP BY level ORDER BY 1")).all() == [
            (0, 260),
            (1, 1),
        ]


@pytest.mark.parametrize("engine", ["sqlite_url", "postgres_url"])
def test_many_entries_are_committed_together_or_not_at_all(engine: str, request: pytest.FixtureRequest) -> None:
    with AuditLog(request.getfixturevalue(engine)) as log:
        assert log.extend([]) == range(0)
        assert log.extend({"type": "test", "n": n} for n in range(1024)) == range(1024)
        assert log.extend([{"type": "one"}]) == range(1024, 1025)
        with pytest.raises(EntryError):
            log.extend([{"type": "test"}, {"type": ""}])
        with pytest.raises(EntryError):
            log.extend([{"type": "test"}] * 1025)
        assert log.size() == 1025
        assert log.leaf(1023) == canonical.encode({"type": "test", "n": 1023})
        assert log.verify().ok
