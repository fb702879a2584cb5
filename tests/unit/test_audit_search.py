"""Finding entries, the log as a table, and the checks of `audit doctor`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sqlalchemy import create_engine, make_url, text

from filigrana.errors import InputError, TamperError
from filigrana.provenance.log.health import examine
from filigrana.provenance.log.merkle import leaf_hash, root_of
from filigrana.provenance.log.note import Checkpoint
from filigrana.provenance.log.search import Query, parse_time
from filigrana.provenance.log.sequencer import AuditLog
from filigrana.provenance.log.signer import Ed25519LogSigner
from filigrana.provenance.log.tables_out import write_parquet

POLICY = {"id": "newsroom", "version": "1.1.0", "digest": "ab12cd34" + "0" * 56}
MODEL = {"name": "still", "version": "1", "digest": "beef0001" + "0" * 56}
GUARD = {"guard": "nsfw", "model": {"name": "open-nsfw", "version": "1", "digest": "face0002" + "0" * 56}}
ENTRIES = [
    {
        "type": "intent",
        "intent": "one",
        "time": "2026-11-22T10:00:00.000Z",
        "actor": "actor:1",
        "request": {"policy": POLICY, "model": MODEL},
    },
    {
        "type": "decision",
        "intent": "one",
        "time": "2026-11-22T10:00:01.000Z",
        "decision": {
            "side": "prompt",
            "verdict": "allow",
            "code": "prompt.allowed",
            "policy": POLICY,
            "guards": [GUARD],
        },
    },
    {"type": "release", "intent": "one", "time": "2026-11-22T10:00:02.000Z", "asset_id": "ABCDEFGHJKMN"},
    {
        "type": "intent",
        "intent": "two",
        "time": "2026-11-22T11:00:00.000Z",
        "actor": "actor:2",
        "request": {"policy": {"id": "platform"}},
    },
    {
        "type": "refused",
        "intent": "two",
        "time": "2026-11-22T11:00:01.000Z",
        "verdict": "block",
        "code": "prompt.gore",
        "note": 'the word "allow" in a text',
    },
    {"type": "odd", "time": 7, "decision": "allow", "request": [], "policy": "newsroom"},
]


@pytest.fixture
def signer(tmp_path: Path) -> Ed25519LogSigner:
    return Ed25519LogSigner.create(tmp_path / "log.key", "example.com/log")


@pytest.fixture
def log(database_url: str, tmp_path: Path, signer: Ed25519LogSigner) -> Iterator[AuditLog]:
    with AuditLog(database_url, signer=signer, guard_path=tmp_path / "guard") as log:
        log.extend(ENTRIES)
        yield log


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (Query(), [0, 1, 2, 3, 4, 5]),
        (Query(type="intent"), [0, 3]),
        (Query(intent="one"), [0, 1, 2]),
        (Query(asset_id="ABCDEFGHJKMN"), [2]),
        (Query(verdict="allow"), [1]),
        (Query(verdict="block", code="prompt.gore"), [4]),
        (Query(policy="newsroom"), [0, 1]),
        (Query(policy="ab12cd34"), [0, 1]),
        (Query(policy="ab12cd3"), []),
        (Query(model="open-nsfw"), [1]),
        (Query(model="beef000100"), [0]),
        (Query(actor="actor:2"), [3]),
        (Query(since="2026-11-22T10:00:02.000Z"), [2, 3, 4]),
        (Query(since="2026-11-22T10:00:01.000Z", until="2026-11-22T11:00:00.000Z"), [1, 2]),
        (Query(type="release", verdict="allow"), []),
        (Query(code="%"), []),
    ],
    ids=str,
)
def test_an_entry_is_found_by_what_it_says_and_by_nothing_else(log: AuditLog, query: Query, found: list[int]) -> None:
    assert [index for index, _ in log.search(query)] == found
    assert all(entry == ENTRIES[index] for index, entry in log.search(query))


def test_a_search_looks_at_a_part_of_the_log_when_asked(log: AuditLog) -> None:
    assert [index for index, _ in log.search(Query(type="intent"), 1, 100)] == [3]
    assert [index for index, _ in log.search(Query(type="intent"), 0, 1)] == [0]


def test_times_are_read_as_people_write_them() -> None:
    assert parse_time("2026-11-22") == "2026-11-22T00:00:00.000Z"
    assert parse_time(" 2026-11-22T20:00+02:00 ") == "2026-11-22T18:00:00.000Z"
    for wrong in ("", "yesterday", "2026-13-01", "20:00"):
        with pytest.raises(InputError):
            parse_time(wrong)


def test_a_damaged_entry_that_matches_is_not_shown_as_if_nothing_were(sqlite_url: str) -> None:
    with AuditLog(sqlite_url) as log:
        log.append({"type": "test"})
        with log.engine.begin() as connection:
            connection.execute(text("DROP TRIGGER log_entries_no_update"))
            connection.execute(text('UPDATE log_entries SET leaf = CAST(\'{"type":"test" }\' AS BLOB)'))
        with pytest.raises(TamperError):
            list(log.search(Query(type="test")))


def test_the_table_holds_every_entry_and_leads_back_to_the_root(log: AuditLog, tmp_path: Path) -> None:
    told: list[int] = []
    assert write_parquet(log, tmp_path / "log.parquet", lambda done, _total: told.append(done)) == 6
    table = pq.read_table(tmp_path / "log.parquet")
    assert table.column("index").to_pylist() == [0, 1, 2, 3, 4, 5]
    assert table.column("verdict").to_pylist() == [None, "allow", None, None, "block", None]
    assert table.column("policy").to_pylist()[:4] == ["newsroom", "newsroom", None, "platform"]
    leaves = [entry.encode() for entry in table.column("entry").to_pylist()]
    assert [json.loads(leaf) for leaf in leaves] == ENTRIES
    note = table.schema.metadata[b"filigrana.checkpoint"].decode()
    assert root_of(map(leaf_hash, leaves)) == Checkpoint.open(note, log.keys).root


def test_an_empty_log_is_an_empty_table(sqlite_url: str, tmp_path: Path) -> None:
    with AuditLog(sqlite_url) as log:
        assert write_parquet(log, tmp_path / "log.parquet") == 0
    assert pq.read_table(tmp_path / "log.parquet").num_rows == 0


def test_a_sound_log_passes_every_check_and_stays_as_it_is(log: AuditLog, tmp_path: Path) -> None:
    log.checkpoint()
    before = log.verify().root
    checks = examine(log, tmp_path / "guard")
    assert [check for check in checks if not check.ok] == []
    assert {"schema", "log_entries refuses changes", "log_checkpoints refuses deletes", "guard"} <= {
        c.name for c in checks
    }
    assert (log.verify().root, log.size()) == (before, 6)


@pytest.mark.parametrize(
    ("sqlite", "postgresql", "failing"),
    [
        (
            "DROP TRIGGER log_entries_no_update",
            "ALTER TABLE log_entries DISABLE TRIGGER log_entries_append_only",
            "log_entries refuses changes",
        ),
        (
            "DROP TRIGGER log_checkpoints_no_delete",
            "DROP TRIGGER log_checkpoints_append_only ON log_checkpoints",
            "log_checkpoints refuses deletes",
        ),
        (
            "DROP TRIGGER log_entries_insert",
            "ALTER TABLE log_entries DISABLE TRIGGER log_entries_dense",
            "log_entries refuses gaps",
        ),
        (
            "UPDATE alembic_version SET version_num = '0001'",
            "UPDATE alembic_version SET version_num = '0001'",
            "schema",
        ),
    ],
)
def test_a_guard_that_is_gone_is_found(
    log: AuditLog, tmp_path: Path, sqlite: str, postgresql: str, failing: str
) -> None:
    log.checkpoint()
    statement = sqlite if log.engine.dialect.name == "sqlite" else postgresql
    # As an operator with all rights: the owner lost UPDATE only to itself.
    with log.engine.begin() as connection:
        connection.execute(text(statement))
    assert failing in [check.name for check in examine(log, tmp_path / "guard") if not check.ok]
    assert log.verify().ok  # trying it changed nothing


def test_a_guard_file_that_is_gone_or_ahead_is_found(log: AuditLog, tmp_path: Path) -> None:
    def guard() -> tuple[bool, str]:
        return next((c.ok, c.detail) for c in examine(log, tmp_path / "guard") if c.name == "guard")

    assert guard()[0]
    log.checkpoint()
    note = (tmp_path / "guard").read_text()
    (tmp_path / "guard").unlink()
    assert guard() == (False, "the guard file is missing, but this key has signed checkpoints")
    ahead = Checkpoint("example.com/log", 99, bytes(32)).sign(log.signer)
    (tmp_path / "guard").write_text(ahead)
    assert guard() == (False, "99 entries were signed; the log has 6")
    (tmp_path / "guard").write_text(note.replace("example", "another"))
    assert not guard()[0]


def test_a_server_that_may_lose_commits_is_found(postgres_url: str) -> None:
    url = make_url(postgres_url).set(drivername="postgresql+psycopg")
    admin = create_engine(url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"ALTER DATABASE {url.database} SET synchronous_commit = off"))
    admin.dispose()
    with AuditLog(postgres_url) as log:
        log.append({"type": "test"})
        with log.engine.connect() as connection:
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
