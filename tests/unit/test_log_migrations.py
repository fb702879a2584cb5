"""The schema: up and down on both engines, equal to the models, and append-only where it matters."""

# ruff: noqa: S608 (fixed statements, put together from names in this file)

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from uuid import uuid4

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import CheckConstraint, Engine, Table, create_engine, insert, inspect, make_url, text
from sqlalchemy.exc import DBAPIError

from filigrana.errors import LogError, SettingsError
from filigrana.provenance import database
from filigrana.provenance.by_request import entries_of, note, rebuild
from filigrana.provenance.log import canonical
from filigrana.provenance.log.merkle import leaf_hash
from filigrana.provenance.log.rows import Row, insert_tiles
from filigrana.provenance.log.sequencer import AuditLog
from filigrana.provenance.log.signer import Ed25519LogSigner
from filigrana.provenance.log.tiles import Tail
from filigrana.provenance.tables import APPEND_ONLY, QUEUE, Base, LogEntry, now


@pytest.fixture
def empty(database_url: str) -> Iterator[Engine]:
    engine = database.connect(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def engine(empty: Engine) -> Engine:
    database.migrate(empty)
    return empty


def tables(engine: Engine) -> dict[str, Table]:
    both = (Base.metadata, QUEUE) if engine.dialect.name == "postgresql" else (Base.metadata,)
    return {name: table for metadata in both for name, table in metadata.tables.items()}


def test_up_down_and_up_again(empty: Engine) -> None:
    engine = empty
    assert database.current_revision(engine) is None
    database.migrate(engine)
    assert database.current_revision(engine) == database.HEAD
    assert set(inspect(engine).get_table_names()) == {*tables(engine), "alembic_version"}
    database.migrate(engine)
    database.downgrade(engine)
    assert inspect(engine).get_table_names() == ["alembic_version"]
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection:
            left = connection.execute(text("SELECT count(*) FROM pg_proc WHERE proname LIKE 'filigrana%'"))
            assert left.scalar() == 0
    database.migrate(engine)
    assert database.current_revision(engine) == database.HEAD


def test_the_models_are_the_schema(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        modelled_by = [Base.metadata, QUEUE] if engine.dialect.name == "postgresql" else Base.metadata
        assert compare_metadata(context, modelled_by) == []
        for name, table in tables(engine).items():
            checks = {str(item["name"]) for item in inspect(connection).get_check_constraints(name)}
            modelled = {str(item.name) for item in table.constraints if isinstance(item, CheckConstraint)}
            assert checks == modelled


def test_there_is_one_head_and_the_program_knows_it() -> None:
    config = Config()
    config.set_main_option("script_location", str(resources.files("filigrana.migrations")))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [database.HEAD]


def test_no_migration_rewrites_an_entry() -> None:
    folder = resources.files("filigrana.migrations.versions")
    for file in folder.iterdir():
        if file.name.endswith(".py"):
            # What the functions do when they are called later is tested where they are called.
            source = re.sub(r"CREATE FUNCTION.*?END \$body\$", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
            words = " ".join(source.upper().split())
            for table in APPEND_ONLY:
                for verb in (
                    "UPDATE",
                    "DELETE FROM",
                    "INSERT INTO",
                    "REPLACE INTO",
                    "TRUNCATE",
                    "ALTER COLUMN",
                ):
                    assert f"{verb} {table.upper()}" not in words


def test_entries_of_the_first_release_go_through_every_migration_as_they_are(empty: Engine, tmp_path: Path) -> None:
    database.migrate(empty, "0001")
    leaves = [canonical.encode({"type": "test", "number": number}) for number in range(300)]
    rows = [Row(index, leaf, leaf_hash(leaf)) for index, leaf in enumerate(leaves)]
    _, filled = Tail().grow([row.leaf_hash for row in rows])
    with database.writer(empty).begin() as connection:
        values = [row._asdict() | {"created_at": now()} for row in rows]
        connection.execute(insert(LogEntry), values)
        insert_tiles(connection, filled)
    with AuditLog(empty) as log:
        assert database.current_revision(empty) == database.HEAD
        assert [log.leaf(index) for index in range(300)] == leaves
        assert log.append({"type": "after"}) == 300
        report = log.verify()
        assert (report.ok, report.entries) == (True, 301)


def test_several_may_open_an_empty_database_at_once(database_url: str) -> None:
    failures: list[BaseException] = []

    def open_it() -> None:
        try:
            with AuditLog(database_url) as log:
                log.append({"type": "hello"})
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with AuditLog(database_url) as log:
        assert log.verify().entries == 6


def test_a_database_of_a_newer_release_is_refused(engine: Engine) -> None:
    with database.writer(engine).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SettingsError):
        database.migrate(engine)


def test_a_log_with_entries_is_not_dropped(database_url: str) -> None:
    with AuditLog(database_url) as log:
        log.append({"type": "test"})
        with pytest.raises(LogError):
            database.downgrade(log.engine)
        assert log.verify().ok


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "mysql://host/db", "sqlite://", "sqlite:///:memory:", "sqlite:////no/such/folder/a.db"],
)
def test_a_database_that_cannot_be(url: str) -> None:
    with pytest.raises(SettingsError):
        AuditLog(url)


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    path.write_text("this is not a database, however long it may be " * 100)
    with pytest.raises(SettingsError):
        AuditLog(f"sqlite:///{path}")


def test_sqlite_keeps_its_promises(sqlite_url: str) -> None:
    engine = database.connect(sqlite_url)
    expected = {"journal_mode": "wal", "synchronous": 2} | dict.fromkeys(
        ("foreign_keys", "recursive_triggers", "secure_delete"), 1
    )
    with engine.connect() as first, engine.connect() as second:
        for connection in (first, second):
            for name, value in expected.items():
                assert connection.execute(text(f"PRAGMA {name}")).scalar() == value
    assert Path(str(make_url(sqlite_url).database)).stat().st_mode & 0o077 == 0


def fill(log: AuditLog) -> AuditLog:
    with log.transaction() as transaction:
        for number in range(257):
            transaction.append({"type": "test", "number": number})
    log.checkpoint()
    return log


@pytest.fixture
def filled(database_url: str, tmp_path: Path) -> Iterator[AuditLog]:
    signer = Ed25519LogSigner.create(tmp_path / "key.pem", "example.com/log")
    with AuditLog(database_url, signer=signer) as log:
        yield fill(log)


ENTRY = "(seq, leaf, leaf_hash, created_at) SELECT {seq}, leaf, leaf_hash, created_at FROM log_entries WHERE seq = 1"
TILE = "(level, tile_index, root, hashes) SELECT level, tile_index, root, hashes FROM log_tiles"
NOTE = "(size, verifier_key, note, created_at) SELECT size, verifier_key, 'x', created_at FROM log_checkpoints"
FORBIDDEN = [
    *(f"DELETE FROM {table}" for table in APPEND_ONLY),
    "UPDATE log_entries SET leaf = leaf",
    "UPDATE log_entries SET seq = seq + 1000",
    "UPDATE log_tiles SET root = root",
    "UPDATE log_checkpoints SET note = note",
    "INSERT INTO log_entries " + ENTRY.format(seq=0),
    "INSERT INTO log_entries " + ENTRY.format(seq=258),
    "INSERT INTO log_entries " + ENTRY.format(seq=-1),
    f"INSERT INTO log_tiles {TILE}",
    f"INSERT INTO log_checkpoints {NOTE}",
]
ONLY_SQLITE = [
    "INSERT OR REPLACE INTO log_entries " + ENTRY.format(seq=0),
    "REPLACE INTO log_entries " + ENTRY.format(seq=0),
    "INSERT OR REPLACE INTO log_entries " + ENTRY.format(seq="NULL"),
    f"INSERT OR REPLACE INTO log_tiles {TILE}",
    f"INSERT OR REPLACE INTO log_checkpoints {NOTE}",
    "UPDATE OR REPLACE log_entries SET seq = 0 WHERE seq = 1",
    "INSERT INTO log_entries " + ENTRY.format(seq=0) + " ON CONFLICT (seq) DO UPDATE SET leaf = x'00'",
]
ONLY_POSTGRESQL = [
    *(f"TRUNCATE {table}" for table in APPEND_ONLY),
    "TRUNCATE log_entries, log_tiles, log_checkpoints CASCADE",
    "INSERT INTO log_entries " + ENTRY.format(seq=0) + " ON CONFLICT (seq) DO UPDATE SET leaf = ''",
    "SET session_replication_role = replica; DELETE FROM log_entries",
    "WITH gone AS (DELETE FROM log_entries RETURNING 1) SELECT count(*) FROM gone",
]


def test_the_log_takes_inserts_of_the_next_index_only(filled: AuditLog) -> None:
    special = ONLY_SQLITE if filled.engine.dialect.name == "sqlite" else ONLY_POSTGRESQL
    for statement in FORBIDDEN + special:
        with pytest.raises(DBAPIError), database.writer(filled.engine).begin() as connection:
            connection.exec_driver_sql(statement)
    report = filled.verify()
    assert (report.ok, report.entries, report.checkpoints) == (True, 257, 1)


def test_the_replace_guard_needs_no_pragma(sqlite_url: str, tmp_path: Path) -> None:
    signer = Ed25519LogSigner.create(tmp_path / "key.pem", "example.com/log")
    with AuditLog(sqlite_url, signer=signer) as log:
        fill(log)
        raw = sqlite3.connect(str(log.engine.url.database))
        assert raw.execute("PRAGMA recursive_triggers").fetchone() == (0,)
        for statement in ONLY_SQLITE:
            with pytest.raises(sqlite3.Error):
                raw.execute(statement)
        raw.close()
        assert log.verify().ok


def test_on_postgresql_neither_the_owner_nor_the_writer_may_change_the_log(
    postgres_server: str, postgres_url: str
) -> None:
    """An owner without superuser rights lost UPDATE, DELETE and TRUNCATE; the role `filigrana_writer` never
    had them.
    """
    admin = create_engine(make_url(postgres_url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    name = make_url(postgres_url).database
    owner, member = f"owner_{name}", f"member_{name}"
    with admin.connect() as connection:
        if not connection.execute(text("SELECT 1 FROM pg_roles WHERE rolname = 'filigrana_writer'")).first():
            connection.execute(text("CREATE ROLE filigrana_writer"))
        connection.execute(text(f"CREATE ROLE {owner} LOGIN"))
        connection.execute(text(f"CREATE ROLE {member} LOGIN IN ROLE filigrana_writer"))
        connection.execute(text(f"ALTER DATABASE {name} OWNER TO {owner}"))
    try:
        as_owner = make_url(postgres_url).set(username=owner).render_as_string(hide_password=False)
        with AuditLog(as_owner) as log:
            log.append({"type": "test"})
            for statement in (
                "UPDATE log_entries SET leaf = leaf",
                "DELETE FROM log_tiles",
                "TRUNCATE log_entries",
            ):
                with pytest.raises(DBAPIError, match="permission denied"), log.engine.begin() as connection:
                    connection.exec_driver_sql(statement)
        as_member = make_url(postgres_url).set(username=member).render_as_string(hide_password=False)
        with AuditLog(as_member) as log:
            assert log.append({"type": "test"}) == 1
            with log.engine.connect() as connection:
                may = text("SELECT has_table_privilege(:table, 'SELECT') AND has_table_privilege(:table, 'INSERT')")
                denied = [t for t in Base.metadata.tables if not connection.scalar(may, {"table": t})]
            assert denied == [], "a migration made a table and let the writer not write it"
            intent = uuid4()
            with log.transaction(note) as change:
                change.append({"type": "test", "intent": str(intent)})
            assert rebuild(log) == len(entries_of(log, intent)) == 1
            for statement in (
                "UPDATE log_entries SET leaf = leaf",
                "DROP TABLE log_tiles",
                "TRUNCATE log_entries",
            ):
                with pytest.raises(DBAPIError), log.engine.begin() as connection:
                    connection.exec_driver_sql(statement)
            assert log.verify().ok
    finally:
        with admin.connect() as connection:
            connection.execute(text(f"ALTER DATABASE {name} OWNER TO postgres"))
            for role in (owner, member):
                connection.execute(text(f"REASSIGN OWNED BY {role} TO postgres"))
                connection.execute(text(f"DROP OWNED BY {role}"))
                connection.execute(text(f"DROP ROLE {role}"))
        admin.dispose()
