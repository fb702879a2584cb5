"""The log on a database: order, acknowledgement, transactions, reading, checkpoints and their guard."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select, text

from filigrana.errors import EntryError, LogError, TamperError
from filigrana.provenance.log import merkle
from filigrana.provenance.log.cosignature import cosignatures
from filigrana.provenance.log.group import GroupCommit
from filigrana.provenance.log.note import Checkpoint
from filigrana.provenance.log.proof import LogProof
from filigrana.provenance.log.sequencer import AuditLog
from filigrana.provenance.log.signer import CosignerKey, Ed25519LogSigner
from filigrana.provenance.tables import Intent

MakeLog = Callable[..., AuditLog]


@pytest.fixture
def signer(tmp_path: Path) -> Ed25519LogSigner:
    return Ed25519LogSigner.create(tmp_path / "log.pem", "example.com/log")


@pytest.fixture
def make(database_url: str, signer: Ed25519LogSigner, tmp_path: Path) -> Iterator[MakeLog]:
    """Opens the same log again, as another process would."""
    made: list[AuditLog] = []

    def open_log(**options: Any) -> AuditLog:
        options = {"signer": signer, "guard_path": tmp_path / "guard", **options}
        made.append(AuditLog(database_url, **options))
        return made[-1]

    yield open_log
    for log in made:
        log.close()


@pytest.fixture
def log(make: MakeLog) -> AuditLog:
    return make()


def fill(log: AuditLog, count: int) -> None:
    """``count`` entries, in a few transactions."""
    start = log.size()
    for low in range(start, start + count, 300):
        with log.transaction() as transaction:
            for number in range(low, min(low + 300, start + count)):
                transaction.append({"type": "test", "number": number})


def test_entries_come_back_in_order(log: AuditLog) -> None:
    assert log.size() == 0
    assert log.root() == merkle.EMPTY_ROOT.hex()
    assert [log.append({"type": "test", "n": number}) for number in range(3)] == [0, 1, 2]
    assert log.entry(1) == {"type": "test", "n": 1}
    assert [index for index, _ in log.entries()] == [0, 1, 2]
    assert list(log.entries(1, 2)) == [(1, {"type": "test", "n": 1})]
    assert list(log.entries(2, 99)) == [(2, {"type": "test", "n": 2})]
    assert log.root() == merkle.root_of(merkle.leaf_hash(log.leaf(index)) for index in range(3)).hex()
    for index in (3, -1):
        with pytest.raises(LogError):
            log.entry(index)
    with pytest.raises(EntryError):
        log.append({"no": "type"})
    assert log.size() == 3


@pytest.mark.parametrize("count", [255, 256, 257, 513])
def test_tiles_fill_as_the_log_grows(make: MakeLog, count: int) -> None:
    log = make()
    fill(log, count)
    expected = merkle.root_of(merkle.leaf_hash(log.leaf(index)) for index in range(count)).hex()
    again = make()
    assert log.root() == again.root() == expected
    again.append({"type": "more"})
    log.append({"type": "and more"})
    report = make().verify()
    assert (report.ok, report.entries) == (True, count + 2)


def test_every_entry_has_a_proof(log: AuditLog, signer: Ed25519LogSigner) -> None:
    fill(log, 520)
    log.checkpoint()
    for index in (0, 1, 255, 256, 257, 511, 512, 519):
        assert LogProof.parse(log.prove(index)).verify([signer.verifier_key], log.leaf(index)).size == 520
    late = log.append({"type": "late"})
    assert LogProof.parse(log.prove(late)).verify([signer.verifier_key], log.leaf(late)).size == 521
    assert LogProof.parse(log.prove(0)).verify([signer.verifier_key], log.leaf(0)).size == 520
    with pytest.raises(LogError):
        log.prove(521)


def test_32_threads_share_commits_and_every_index_is_given_once(log: AuditLog) -> None:
    commits = 0

    def count(_connection: Any) -> None:
        nonlocal commits
        commits += 1

    event.listen(log.engine, "commit", count)
    barrier = threading.Barrier(32)

    def work(worker: int) -> list[tuple[int, int, int]]:
        barrier.wait()
        return [(log.append({"type": "test", "w": worker, "n": number}), worker, number) for number in range(12)]

    with ThreadPoolExecutor(32) as pool:
        given = [item for row in pool.map(work, range(32)) for item in row]
    assert sorted(index for index, _, _ in given) == list(range(32 * 12))
    for index, worker, number in given:
        assert log.entry(index) == {"type": "test", "w": worker, "n": number}
    for worker in range(32):
        mine = [index for index, other, _ in given if other == worker]
        assert mine == sorted(mine), "one thread's entries keep its order"
    assert log.verify().ok
    assert commits < 32 * 12 / 2


def test_two_openings_of_one_log_take_turns(make: MakeLog) -> None:
    logs = [make(), make(), make()]

    def work(number: int) -> list[int]:
        log = logs[number % 3]
        if number % 2:
            return [log.append({"type": "a", "n": number}) for _ in range(20)]
        given = []
        for _ in range(20):
            with log.transaction() as transaction:
                given.append(transaction.append({"type": "t", "n": number}))
        return given

    with ThreadPoolExecutor(6) as pool:
        given = [index for row in pool.map(work, range(6)) for index in row]
    assert sorted(given) == list(range(120))
    assert make().verify().ok


def test_rows_and_entry_are_committed_together(log: AuditLog) -> None:
    with log.transaction() as transaction:
        intent = Intent(kind="generate", request={"seed": 7})
        transaction.session.add(intent)
        assert transaction.append({"type": "intent"}) == 0
        assert transaction.append({"type": "result"}) == 1
    with log.transaction() as transaction:
        found = transaction.session.scalars(select(Intent)).one()
        assert (found.state, found.request, found.created_at.tzinfo is not None) == (
            "open",
            {"seed": 7},
            True,
        )
    assert log.size() == 2


def test_an_exception_takes_rows_and_entry_back(log: AuditLog) -> None:
    log.append({"type": "first"})
    with pytest.raises(KeyError), log.transaction() as transaction:  # noqa: PT012
        transaction.session.add(Intent(kind="seal", request={}))
        transaction.append({"type": "gone"})
        raise KeyError
    with log.transaction() as transaction:
        assert transaction.session.scalars(select(Intent)).all() == []
    assert log.append({"type": "second"}) == 1
    assert [entry["type"] for _, entry in log.entries()] == ["first", "second"]


def test_a_savepoint_can_take_an_entry_back(log: AuditLog) -> None:
    with log.transaction() as transaction:
        transaction.append({"type": "kept"})
        savepoint = transaction.session.begin_nested()
        assert transaction.append({"type": "dropped"}) == 1
        savepoint.rollback()
        assert transaction.append({"type": "instead"}) == 1
    assert [entry["type"] for _, entry in log.entries()] == ["kept", "instead"]
    assert log.verify().ok


def test_appending_to_the_log_inside_its_transaction_is_refused_not_stuck(log: AuditLog) -> None:
    with log.transaction():
        with pytest.raises(LogError, match="inside"):
            log.append({"type": "test"})
        with pytest.raises(LogError, match="inside"), log.transaction():
            pass
    assert log.append({"type": "test"}) == 0


def test_a_failed_batch_fails_for_each_of_its_callers_and_only_for_them() -> None:
    entered, release = threading.Event(), threading.Event()
    batches: list[int] = []

    def write(leaves: Any, waiting: Any) -> int:
        batches.append(len(leaves))
        if len(batches) == 1:
            entered.set()
            release.wait(10)
            return 0
        if len(batches) == 2:
            raise LogError("the disk is full", code="log.write")
        return 1

    group = GroupCommit(write)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(group.submit, [b"a"])
        entered.wait(10)
        others = [pool.submit(group.submit, [b"b"]) for _ in range(5)]
        while len(group._queue) < 5:
            pass
        release.set()
        assert first.result(10) == 0
        for other in others:
            with pytest.raises(LogError, match="full"):
                other.result(10)
        assert pool.submit(group.submit, [b"c"]).result(10) == 1
    assert batches == [1, 5, 1]


@pytest.mark.parametrize("where", ["_take", "_write"])
def test_an_interrupt_of_who_writes_leaves_the_queue_going(where: str) -> None:
    """Ctrl-C falls wherever it likes: the others get an answer, and the next append finds a free queue."""
    entered, release = threading.Event(), threading.Event()
    struck: list[bool] = []

    def write(leaves: Any, waiting: Any) -> int:
        if not struck and where == "_write":
            struck.append(True)
            entered.set()
            release.wait(10)
            raise KeyboardInterrupt
        return 7

    class Interrupted(GroupCommit):
        def _take(self, batch: Any) -> None:
            if not struck and where == "_take":
                struck.append(True)
                entered.set()
                release.wait(10)
                raise KeyboardInterrupt
            super()._take(batch)

    group = Interrupted(write)

    def first() -> object:
        try:
            return group.submit([b"a"])
        except KeyboardInterrupt:
            return "interrupted"

    with ThreadPoolExecutor(8) as pool:
        leading = pool.submit(first)
        entered.wait(10)
        others = [pool.submit(group.submit, [b"b"]) for _ in range(3)]
        while len(group._queue) < (4 if where == "_take" else 3):
            pass
        release.set()
        assert leading.result(10) == "interrupted"
        assert [other.result(10) for other in others] == [7, 8, 9]
        assert pool.submit(group.submit, [b"c"]).result(10) == 7


def test_what_a_savepoint_took_back_is_not_remembered(make: MakeLog) -> None:
    """Another process then writes as many entries, the last of them equal: the edge in memory would be another tree's."""
    one, two = make(signer=None, guard_path=None), make(signer=None, guard_path=None)
    with one.transaction() as transaction:
        savepoint = transaction.session.begin_nested()
        transaction.append({"type": "A"})
        transaction.append({"type": "B"})
        savepoint.rollback()
    with two.transaction() as transaction:
        transaction.append({"type": "X"})
        transaction.append({"type": "B"})
    one.extend([{"type": "test"}] * 300)
    report = one.verify()
    assert (report.ok, report.entries) == (True, 302), report.problems


def test_a_checkpoint_is_the_signed_head(log: AuditLog, signer: Ed25519LogSigner) -> None:
    assert Checkpoint.open(log.checkpoint(), [signer.verifier_key]).size == 0
    fill(log, 300)
    note = log.checkpoint()
    head = Checkpoint.open(note, [signer.verifier_key])
    assert (head.origin, head.size, head.root.hex()) == ("example.com/log", 300, log.root())
    assert log.checkpoint() == note
    report = log.verify([note])
    assert (report.ok, report.checkpoints, report.outside) == (True, 2, 2)


def test_a_second_key_signs_beside_the_first(make: MakeLog, signer: Ed25519LogSigner, tmp_path: Path) -> None:
    second = CosignerKey.create(tmp_path / "mldsa.key", signer.name)
    log = make(second=second)
    assert log.second_key == second.verifier_key
    fill(log, 20)
    note = log.checkpoint()
    assert Checkpoint.open(note, [signer.verifier_key]).size == 20
    assert Checkpoint.open(note, [second.verifier_key]) == Checkpoint.open(note, [signer.verifier_key])
    assert cosignatures(note, [second.verifier_key]) == ()  # the log's own line is no witness's
    assert log.checkpoint() == note
    assert log.verify([note]).ok
    proof = log.prove(7, embed_entry=True)
    LogProof.parse(proof).verify([signer.verifier_key])
    LogProof.parse(proof).verify([second.verifier_key])
    # Someone who could forge the first signature still has to forge the second.
    other = CosignerKey.create(tmp_path / "other.key", signer.name)
    with pytest.raises(TamperError):
        Checkpoint.open(note, [other.verifier_key])


def test_without_a_key_the_log_can_be_read_but_not_signed(make: MakeLog) -> None:
    log = make(signer=None, guard_path=None)
    log.append({"type": "test"})
    assert log.verify().ok
    for refused in (log.checkpoint, lambda: log.prove(0)):
        with pytest.raises(LogError):
            refused()
    assert json.loads(export(log)[-1])["entry"] == {"type": "test"}


def test_a_kill_between_signing_and_storing_is_completed(
    make: MakeLog, signer: Ed25519LogSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = make()
    fill(log, 5)
    with monkeypatch.context() as patched:
        patched.setattr(log._checkpoints, "_store", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            log.checkpoint()
    again = make()
    note = again.checkpoint()
    assert Checkpoint.open(note, [signer.verifier_key]).size == 5
    assert again.verify().checkpoints == 1


def test_the_guard_refuses_a_shorter_or_another_history(
    make: MakeLog, signer: Ed25519LogSigner, tmp_path: Path
) -> None:
    log = make()
    fill(log, 5)
    ahead = Checkpoint("example.com/log", 9, bytes(32)).sign(signer)
    other = Checkpoint("example.com/log", 5, bytes(32)).sign(signer)
    for note, words in ((ahead, "9 were signed"), (other, "not those that were signed"), ("junk", "damaged")):
        (tmp_path / "guard").write_text(note)
        with pytest.raises(TamperError, match=words):
            make().checkpoint()
    assert not log.verify().ok, "the guard is an outside checkpoint of every verification"


def test_a_guard_that_vanished_is_not_replaced_unasked(make: MakeLog, tmp_path: Path) -> None:
    log = make()
    fill(log, 5)
    note = log.checkpoint()
    fill(log, 5)
    (tmp_path / "guard").unlink()
    with pytest.raises(LogError, match="missing"):
        log.checkpoint()
    log.adopt_guard(note)
    log.checkpoint()
    assert log.verify().checkpoints == 2


def test_a_retired_key_is_still_trusted_when_named(make: MakeLog, signer: Ed25519LogSigner, tmp_path: Path) -> None:
    old = make()
    fill(old, 3)
    note = old.checkpoint()
    fresh = Ed25519LogSigner.create(tmp_path / "new.pem", "example.com/log")
    log = make(signer=fresh, guard_path=tmp_path / "guard2", keys=[str(signer.verifier_key)])
    assert LogProof.parse(log.prove(0)).checkpoint == note
    log.checkpoint()
    report = log.verify([note])
    assert (report.ok, report.checkpoints, report.outside) == (True, 2, 2)
    assert not make(signer=fresh, guard_path=None).verify([note]).ok, "an unknown key proves nothing"


def export(log: AuditLog) -> list[str]:
    stream = io.StringIO()
    log.export(stream)
    return stream.getvalue().rstrip("\n").split("\n")


def test_an_export_can_be_checked_without_the_database(log: AuditLog, signer: Ed25519LogSigner) -> None:
    fill(log, 260)
    log.append({"type": "text", "line": 'a\u2028b é "quoted" \n'})
    *lines, last = (json.loads(line) for line in export(log))
    hashes = []
    for index, line in enumerate(lines):
        leaf = log.leaf(index)
        assert (line["index"], line["entry"]) == (index, log.entry(index))
        hashes.append(sha256(b"\x00" + leaf).digest())
        assert line["leaf_hash"] == hashes[-1].hex()
    head = Checkpoint.open(last["checkpoint"], [signer.verifier_key])
    assert (head.size, head.root) == (261, merkle.root_of(hashes))


def test_verification_reports_progress_and_takes_constant_memory(log: AuditLog) -> None:
    fill(log, 2100)
    seen: list[tuple[int, int]] = []
    assert log.verify(progress=lambda done, total: seen.append((done, total))).ok
    assert seen == [(2048, 2100), (2100, 2100)]


def test_a_busy_or_broken_database_is_a_log_error(make: MakeLog) -> None:
    log = make(signer=None, guard_path=None)
    log.append({"type": "test"})
    drop = "DROP TABLE log_entries"
    with log.engine.begin() as connection:
        connection.execute(text(drop))
    for attempt in (lambda: log.append({"type": "test"}), log.size, log.verify, lambda: list(log.entries())):
        with pytest.raises(LogError):
            attempt()
