"""Whoever can write to the database can change it. Whatever they change is found, and named.

The tests play an operator with full rights: they take the triggers away first.
"""

# ruff: noqa: S608 (fixed statements, put together from names in this file)

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from filigrana.errors import LogError, TamperError
from filigrana.provenance.database import writer
from filigrana.provenance.log import canonical
from filigrana.provenance.log.audit import verify_log
from filigrana.provenance.log.findings import LogReport
from filigrana.provenance.log.note import Checkpoint
from filigrana.provenance.log.sequencer import AuditLog
from filigrana.provenance.log.signer import Ed25519LogSigner
from filigrana.provenance.log.tiles import TileReader
from filigrana.provenance.tables import APPEND_ONLY


@pytest.fixture
def signer(tmp_path: Path) -> Ed25519LogSigner:
    return Ed25519LogSigner.create(tmp_path / "log.pem", "example.com/log")


@pytest.fixture
def log(database_url: str, signer: Ed25519LogSigner) -> Iterator[AuditLog]:
    with AuditLog(database_url, signer=signer) as opened:
        yield opened


def fill(log: AuditLog, count: int, first: str = "entry") -> None:
    with log.transaction() as transaction:
        for number in range(count):
            transaction.append({"type": first, "number": number})


def disarm(connection: Connection) -> None:
    """Takes the triggers away, as somebody with all rights could."""
    if connection.dialect.name == "sqlite":
        for name in connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars().all():
            connection.execute(text(f"DROP TRIGGER {name}"))
    else:
        for table in APPEND_ONLY:
            connection.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))


class Intruder:
    """Changes the log inside one transaction that is taken back after each look at it."""

    def __init__(self, log: AuditLog, connection: Connection) -> None:
        self.log = log
        self.connection = connection

    def run(self, statement: str, **values: Any) -> None:
        self.connection.execute(text(statement), values)

    def look(self, *outside: str) -> LogReport:
        return verify_log(self.connection, self.log.keys, outside, None, None)

    @contextmanager
    def undone(self) -> Iterator[None]:
        savepoint = self.connection.begin_nested()
        yield
        savepoint.rollback()


@contextmanager
def intruder(log: AuditLog) -> Iterator[Intruder]:
    with writer(log.engine).connect() as connection, connection.begin() as transaction:
        disarm(connection)
        yield Intruder(log, connection)
        transaction.rollback()


def flipped(data: bytes, at: int, bit: int = 0) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1 << bit
    return bytes(changed)


@pytest.mark.parametrize("first", range(0, 200, 20))
def test_every_byte_of_every_entry_and_hash(log: AuditLog, first: int) -> None:
    """Of 200 entries, in logs of 20: each change is looked for in the whole log."""
    with log.transaction() as transaction:
        for number in range(first, first + (20 if log.engine.dialect.name == "sqlite" else 1)):
            transaction.append({"n": number, "type": "e"})
    log.checkpoint()
    with intruder(log) as intruding:
        rows = intruding.connection.execute(text("SELECT seq, leaf, leaf_hash FROM log_entries")).all()
        for seq, leaf, leaf_hash in rows:
            for column, data in (("leaf", leaf), ("leaf_hash", leaf_hash)):
                for at in range(len(data)):
                    change = f"UPDATE log_entries SET {column} = :data WHERE seq = :seq"
                    intruding.run(change, data=flipped(data, at, at % 8), seq=seq)
                    report = intruding.look()
                    assert (report.ok, report.first_bad) == (False, seq)
                    assert report.problems[0] == f"entry {seq} does not match its hash"
                    intruding.run(change, data=data, seq=seq)
        assert intruding.look().ok


def test_every_byte_of_a_checkpoint(log: AuditLog) -> None:
    fill(log, 3)
    note = log.checkpoint()
    with intruder(log) as intruding:
        key = intruding.connection.execute(text("SELECT verifier_key FROM log_checkpoints")).scalar_one()
        for column, value in (("note", note), ("verifier_key", key)):
            for at in range(len(value)):
                with intruding.undone():
                    changed = value[:at] + chr(ord(value[at]) ^ 1) + value[at + 1 :]
                    intruding.run(f"UPDATE log_checkpoints SET {column} = :value", value=changed)
                    report = intruding.look()
                    assert not report.ok, (column, at)
                    assert report.problems
        for size in (0, 2, 4):
            with intruding.undone():
                intruding.run("UPDATE log_checkpoints SET size = :size", size=size)
                assert not intruding.look().ok


def test_tiles(log: AuditLog) -> None:
    fill(log, 513)
    log.checkpoint()
    rng = random.Random(20)
    with intruder(log) as intruding:
        assert intruding.look().ok
        tiles = intruding.connection.execute(text("SELECT tile_index, root, hashes FROM log_tiles")).all()
        assert [tile[0] for tile in tiles] == [0, 1]
        for index, root, hashes in tiles:
            for at in (0, 31, 32, 8191, *rng.sample(range(8192), 12)):
                with intruding.undone():
                    intruding.run(
                        "UPDATE log_tiles SET hashes = :data WHERE tile_index = :index",
                        data=flipped(hashes, at),
                        index=index,
                    )
                    assert intruding.look().first_bad == index * 256 + at // 32
            with intruding.undone():
                intruding.run(
                    "UPDATE log_tiles SET root = :data WHERE tile_index = :index",
                    data=flipped(root, 5),
                    index=index,
                )
                assert intruding.look().first_bad == index * 256
            with intruding.undone():
                intruding.run("DELETE FROM log_tiles WHERE tile_index = :index", index=index)
                assert intruding.look().first_bad == index * 256
        with intruding.undone():
            intruding.run("INSERT INTO log_tiles SELECT level, 7, root, hashes FROM log_tiles WHERE tile_index = 0")
            assert not intruding.look().ok


def test_an_entry_changed_together_with_its_hash(log: AuditLog) -> None:
    """In a full tile the tile gives it away, to the entry; at the edge only a checkpoint does, to a range."""
    fill(log, 260)
    log.checkpoint()
    fill(log, 10)
    log.checkpoint()
    fill(log, 1)
    forged = canonical.encode({"type": "forged"})
    with intruder(log) as intruding:
        for seq, named in ((0, 0), (100, 100), (255, 255), (257, 0), (259, 0), (260, 260), (269, 260)):
            with intruding.undone():
                intruding.run(
                    "UPDATE log_entries SET leaf = :leaf, leaf_hash = :hash WHERE seq = :seq",
                    leaf=forged,
                    hash=sha256(b"\x00" + forged).digest(),
                    seq=seq,
                )
                assert intruding.look().first_bad == named


@pytest.mark.parametrize("seq", [0, 100, 255, 256, 298])
def test_an_entry_that_is_gone(log: AuditLog, seq: int) -> None:
    fill(log, 300)
    with intruder(log) as intruding:
        intruding.run("DELETE FROM log_entries WHERE seq = :seq", seq=seq)
        report = intruding.look()
        assert (report.ok, report.first_bad) == (False, seq)
        assert "missing" in report.problems[0]


def test_entries_swapped_moved_or_slipped_in(log: AuditLog) -> None:
    fill(log, 300)
    note = log.checkpoint()
    with intruder(log) as intruding:
        with intruding.undone():
            for statement in (
                "seq = 1000 WHERE seq = 40",
                "seq = 40 WHERE seq = 41",
                "seq = 41 WHERE seq = 1000",
            ):
                intruding.run(f"UPDATE log_entries SET {statement}")
            assert intruding.look().first_bad == 40
        with intruding.undone():
            intruding.run("UPDATE log_entries SET seq = -1 WHERE seq = 299")
            assert not intruding.look().ok
        with intruding.undone():
            intruding.run(
                "INSERT INTO log_entries SELECT -5, leaf, leaf_hash, created_at FROM log_entries WHERE seq = 0"
            )
            assert not intruding.look().ok
        with intruding.undone():
            intruding.run("UPDATE log_entries SET seq = 302 WHERE seq = 299")
            assert intruding.look().first_bad == 299
        with intruding.undone():
            intruding.run("DELETE FROM log_entries WHERE seq >= 298")
            report = intruding.look()
            assert (report.ok, report.first_bad, report.entries) == (False, 298, 298)
            intruding.run("DELETE FROM log_checkpoints")
            assert intruding.look().ok, "the end cut off with its checkpoints is a shorter log"
            assert intruding.look(note).first_bad == 298, "which an outside checkpoint does not accept"


def test_every_row_gone_moved_or_followed_by_another(sqlite_url: str, signer: Ed25519LogSigner) -> None:
    """200 entries, no full tile: what a hash does not show, the signed head does."""
    unlike = "the stored checkpoint over 200 entries does not fit them: something changed from entry 0 to 199"
    forged = canonical.encode({"type": "slipped in"})
    with AuditLog(sqlite_url, signer=signer) as log:
        fill(log, 200)
        note = log.checkpoint()
        with intruder(log) as intruding:
            for seq in range(200):
                with intruding.undone():
                    intruding.run("DELETE FROM log_entries WHERE seq = :seq", seq=seq)
                    report = intruding.look()
                    expected = "a stored checkpoint is over 200 entries; the log has 199"
                    assert (f"entry {seq} is missing" if seq < 199 else expected) in report.problems
                    assert report.first_bad == seq
                with intruding.undone():
                    for old, new in ((seq, -1), ((seq + 1) % 200, seq), (-1, (seq + 1) % 200)):
                        intruding.run("UPDATE log_entries SET seq = :new WHERE seq = :old", old=old, new=new)
                    assert intruding.look().problems == (unlike,)
                with intruding.undone():  # slipped in before this one; the rest moves up
                    intruding.run("UPDATE log_entries SET seq = -seq - 2 WHERE seq >= :seq", seq=seq)
                    intruding.run("UPDATE log_entries SET seq = -seq - 1 WHERE seq < 0")
                    intruding.run(
                        "INSERT INTO log_entries SELECT :seq, :leaf, :hash, created_at FROM log_entries WHERE seq = 200",
                        seq=seq,
                        leaf=forged,
                        hash=sha256(b"\x00" + forged).digest(),
                    )
                    assert intruding.look().problems == (unlike,)
                    intruding.run("DELETE FROM log_checkpoints")
                    report = intruding.look(note)
                    assert (report.ok, report.entries) == (False, 201)
                    assert (
                        "outside checkpoint 1, signed over 200 entries, is not over these: history was rewritten"
                        in report.problems[0]
                    )
            assert intruding.look(note).ok


def test_text_where_bytes_belong(sqlite_url: str) -> None:
    """SQLite stores any type in any column."""
    with AuditLog(sqlite_url) as log:
        fill(log, 5)
        with intruder(log) as intruding:
            for change in ("leaf = CAST(leaf AS TEXT)", "leaf_hash = 'x'", "leaf = 5"):
                with intruding.undone():
                    intruding.run(f"UPDATE log_entries SET {change} WHERE seq = 3")
                    assert intruding.look().first_bad == 3


def rewrite(log: AuditLog, victim: int, signer: Ed25519LogSigner | None) -> None:
    """The perfect forgery: one entry changed, and every hash, tile and checkpoint after it made new."""
    entries = [entry for _, entry in log.entries()]
    entries[victim] = {"type": "forged"}
    with log.engine.connect() as connection:
        sizes = connection.execute(text("SELECT size FROM log_checkpoints ORDER BY size")).scalars().all()
    with writer(log.engine).begin() as connection:
        triggers: list[str] = []
        if connection.dialect.name == "sqlite":
            query = text("SELECT sql FROM sqlite_master WHERE type = 'trigger'")
            triggers = [str(item) for item in connection.execute(query).scalars()]
        disarm(connection)
        for table in APPEND_ONLY:
            connection.execute(text(f"DELETE FROM {table}"))
        for trigger in triggers:
            connection.exec_driver_sql(trigger)
    with log.transaction() as transaction:
        for entry in entries:
            transaction.append(entry)
    for size in sizes if signer else ():
        assert signer is not None
        with log.engine.connect() as connection:
            root = TileReader(connection, len(entries)).root(size)
        note = Checkpoint(signer.name, size, root).sign(signer)
        log._checkpoints._store(note, size, signer.verifier_key)


@pytest.mark.parametrize("has_key", [True, False], ids=["with the log's key", "without it"])
def test_a_rewritten_history_is_caught_by_an_outside_checkpoint_and_only_by_it(
    log: AuditLog, signer: Ed25519LogSigner, has_key: bool
) -> None:
    outside = []
    for _ in range(3):
        fill(log, 100)
        outside.append(log.checkpoint())
    assert log.verify(outside).outside == 3
    rewrite(log, 150, signer if has_key else None)
    report = log.verify()
    assert (report.ok, report.entries, report.checkpoints) == (True, 300, 3 if has_key else 0)
    for notes, first_bad in ((outside[:1], None), (outside[1:2], 0), (outside[2:], 0), (outside, 100)):
        report = log.verify(notes)
        assert (report.ok, report.first_bad) == (first_bad is None, first_bad)
        if first_bad is not None:
            assert f"history was rewritten somewhere from entry {first_bad} to" in report.problems[0]


def test_the_guard_neither_signs_nor_accepts_a_rewritten_history(
    database_url: str, signer: Ed25519LogSigner, tmp_path: Path
) -> None:
    with AuditLog(database_url, signer=signer, guard_path=tmp_path / "guard") as log:
        fill(log, 20)
        log.checkpoint()
        rewrite(log, 10, signer)
        report = log.verify()
        assert report.first_bad == 0
        assert (
            "the guard's checkpoint, signed over 20 entries, is not over these: history was rewritten"
            in report.problems[0]
        )
        words = "the first 20 entries of the log are not those that were signed"
        for attempt in (log.checkpoint, lambda: log.adopt_guard((tmp_path / "guard").read_text())):
            with pytest.raises(TamperError, match=words):
                attempt()
        fill(log, 1)
        with pytest.raises(TamperError, match=words):
            log.checkpoint()


def test_a_split_view_does_not_fit_one_log(sqlite_url: str, tmp_path: Path, signer: Ed25519LogSigner) -> None:
    """Two histories signed by one key: each verifies, neither accepts the other's checkpoint."""
    with (
        AuditLog(sqlite_url, signer=signer) as one,
        AuditLog(f"sqlite:///{tmp_path / 'two.db'}", signer=signer) as two,
    ):
        for log, name in ((one, "left"), (two, "right")):
            fill(log, 10)
            fill(log, 10, name)
        notes = one.checkpoint(), two.checkpoint()
        assert one.verify(notes[:1]).ok
        assert two.verify(notes[1:]).ok
        for log, mine, other in ((one, 1, 2), (two, 2, 1)):
            report = log.verify(notes)
            assert (report.ok, report.first_bad, len(report.problems)) == (False, 0, 1)
            assert report.problems[0] == (
                f"outside checkpoint {other}, signed over 20 entries, has another root than outside checkpoint {mine}: "
                "two histories were shown (a split view), which part somewhere from entry 0 to 19"
            )


def test_a_checkpoint_that_cannot_be_read_is_not_ignored(log: AuditLog, tmp_path: Path) -> None:
    fill(log, 3)
    stranger = Ed25519LogSigner.create(tmp_path / "stranger.pem", "example.com/log")
    foreign = Checkpoint("example.com/log", 3, bytes.fromhex(log.root())).sign(stranger)
    for note in ("", "junk", log.checkpoint()[:-1], foreign):
        report = log.verify([note])
        assert (report.ok, report.first_bad) == (False, None)


def test_a_damaged_log_gives_no_proof(log: AuditLog) -> None:
    fill(log, 300)
    log.checkpoint()
    with writer(log.engine).begin() as connection:
        disarm(connection)
        connection.execute(text("UPDATE log_entries SET leaf = :leaf WHERE seq = 7"), {"leaf": b"{}"})
        connection.execute(text("DELETE FROM log_tiles"))
    for index in (7, 8):
        with pytest.raises(LogError):
            log.prove(index)
    with pytest.raises(TamperError):
        log.entry(7)


def test_a_crude_change_does_not_hide_an_earlier_careful_one(log: AuditLog) -> None:
    """An entry rewritten together with its hash, and a decoy after it: the log may differ from before the decoy on."""
    note = checkpointed(log, 200)
    with writer(log.engine).begin() as connection:
        disarm(connection)
        forged = b'{"number":999,"type":"test"}'
        digest = sha256(b"\x00" + forged).digest()
        connection.execute(
            text("UPDATE log_entries SET leaf = :leaf, leaf_hash = :hash WHERE seq = 20"),
            {"leaf": forged, "hash": digest},
        )
        connection.execute(text("UPDATE log_entries SET leaf = :leaf WHERE seq = 150"), {"leaf": b'{"type":"decoy"}'})
    report = log.verify([note])
    assert not report.ok
    assert report.first_bad == 0
    assert "entry 150 does not match its hash" in report.problems


def test_one_row_far_away_does_not_keep_the_verifier_busy_for_ever(log: AuditLog) -> None:
    checkpointed(log, 20)
    with writer(log.engine).begin() as connection:
        disarm(connection)
        far = text(
            "INSERT INTO log_entries (seq, leaf, leaf_hash, created_at) SELECT 4000000000000000000, leaf, leaf_hash, created_at FROM log_entries WHERE seq = 0"
        )
        connection.execute(far)
    report = log.verify()
    assert (report.ok, report.first_bad) == (False, 20)
    assert any("3999999999999999999 are missing" in problem for problem in report.problems)


def test_a_guard_that_is_gone_is_a_finding(log: AuditLog, tmp_path: Path, signer: Ed25519LogSigner) -> None:
    with AuditLog(log.engine, signer=signer, guard_path=tmp_path / "own guard") as guarded:
        guarded.append({"type": "test"})
        guarded.checkpoint()
        assert guarded.verify().ok
        (tmp_path / "own guard").unlink()
        report = guarded.verify()
        assert not report.ok
        assert report.problems[0].startswith("the guard file is missing")


def test_the_guard_does_not_go_back(sqlite_url: str, tmp_path: Path, signer: Ed25519LogSigner) -> None:
    with AuditLog(sqlite_url, signer=signer, guard_path=tmp_path / "own guard") as log:
        log.append({"type": "test"})
        early = log.checkpoint()
        log.append({"type": "test"})
        late = log.checkpoint()
        with pytest.raises(TamperError, match="2 were signed since"):
            log.adopt_guard(early)
        (tmp_path / "own guard").unlink()
        with pytest.raises(TamperError):
            log.adopt_guard(early)
        log.adopt_guard(late)
        assert log.checkpoint() == late


def checkpointed(log: AuditLog, count: int) -> str:
    for number in range(count - log.size()):
        log.append({"type": "test", "number": number})
    return log.checkpoint()
