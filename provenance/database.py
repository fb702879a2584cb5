"""The audit database: an engine with the settings that the log's promises rest on, and its migrations.

SQLite: WAL, ``synchronous=FULL`` (a commit that was acknowledged survives a power cut), foreign keys,
recursive triggers (without them INSERT OR REPLACE deletes past the append-only triggers), secure delete (a
destroyed key is overwritten). PostgreSQL: through psycopg, READ COMMITTED, never synchronous_commit=off. Nothing
else is supported.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session

from ..errors import LogError, SettingsError
from . import service_tables  # noqa: F401  its tables belong to the same metadata
from .tables import Base

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0010"
"""The newest schema revision; a test compares it with the migrations."""
BUSY_SECONDS = 30
_WITH_NAMES = ("subject_keys", "sealed_texts", "reviews", "review_acts", "jobs", "api_keys", "web_sessions")
_MIGRATION_LOCK = 0x66696C69_6D696772  # "filimigr"
_TURNS = 0x66696C74  # "filt"
_BEGIN = "filigrana_begin"
_URLS = "Write `sqlite:///FILE` or `postgresql://USER@HOST/NAME` into the setting `database`, or leave it out."
_REACHED = "Does the setting `database` name it, does its server run, and does it let this user in?"
_ALEMBIC = threading.Lock()
"""Alembic keeps the migration that runs in module globals: one at a time in a process."""


def connect(url: str | URL) -> Engine:
    """An engine on ``sqlite:///FILE`` or ``postgresql://...``; creates no tables. Raises SettingsError."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise SettingsError("the database is not given as a URL such as sqlite:///audit.db", hint=_URLS) from None
    backend = parsed.get_backend_name()
    if backend == "postgresql":
        engine = create_engine(
            parsed.set(drivername="postgresql+psycopg"),
            isolation_level="READ COMMITTED",
            pool_size=8,
            max_overflow=24,
            pool_timeout=BUSY_SECONDS,
            # A server that vanished without a word must not be waited for as long as TCP would.
            connect_args={"connect_timeout": BUSY_SECONDS, "tcp_user_timeout": BUSY_SECONDS * 1000},
        )
        event.listen(engine, "connect", _on_postgresql_connect)
        return engine
    if backend != "sqlite":
        raise SettingsError("the audit database is SQLite or PostgreSQL", hint=_URLS)
    if not parsed.database or parsed.database == ":memory:":
        raise SettingsError("the audit database needs a file: a record in memory records nothing")
    _create_private(Path(parsed.database))
    engine = create_engine(
        parsed.set(drivername="sqlite+pysqlite"),
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
        pool_size=8,
        max_overflow=24,
        pool_timeout=BUSY_SECONDS,
    )
    event.listen(engine, "connect", _on_sqlite_connect)
    event.listen(engine, "begin", _on_sqlite_begin)
    return engine


def writer(engine: Engine) -> Engine:
    """The same engine, for transactions that write: on SQLite they take the write lock when they begin.

    A SQLite transaction that reads first and writes later fails at once when another wrote in between.
    """
    return engine.execution_options(**{_BEGIN: "IMMEDIATE"})


@contextmanager
def session(engine: Engine, *, write: bool = False) -> Iterator[Session]:
    """A session in one transaction: committed at the end, rolled back on any exception."""
    with Session(writer(engine) if write else engine, expire_on_commit=False) as opened, opened.begin():
        yield opened


def turn(opened: Session, what: str) -> None:
    """Waits until no other transaction has its turn at ``what``; it is this one's until it ends. For what is looked at
    first and written then, where there is no row yet that could be locked. On SQLite, whoever writes is alone anyway.
    """
    if opened.get_bind().dialect.name == "postgresql":
        opened.execute(text("SELECT pg_advisory_xact_lock(:kind, hashtext(:what))"), {"kind": _TURNS, "what": what})


def current_revision(engine: Engine) -> str | None:
    """The schema's revision, or None for an empty database."""
    with engine.connect() as connection:
        return _revision(connection)


def check_revision(opened: Session) -> None:
    """Raises LogError (``log.version``) where another version brought the schema elsewhere since this process began.
    What it would write is not what that version expects."""
    found = opened.scalar(text("SELECT version_num FROM alembic_version"))
    if found != HEAD:
        raise LogError(
            f"the database is of schema {found} by now, and this process knows {HEAD}",
            code="log.version",
            hint="Start it again, with the version that the others have.",
        )


def migrate(engine: Engine, revision: str = "head") -> None:
    """Brings the schema to ``revision``, in one transaction; does nothing when it is there already.

    Several processes may call it at once. Raises SettingsError when the database is newer than this program,
    or cannot be opened.
    """
    try:
        if revision == "head" and current_revision(engine) == HEAD:
            return
        from alembic import command
        from alembic.util.exc import CommandError

        with _ALEMBIC, _migrating(engine) as config:
            try:
                command.upgrade(config, revision)
            except CommandError as error:
                raise SettingsError(
                    f"the database cannot be migrated: {error}",
                    hint="It was probably written by a newer release: use that one.",
                ) from error
    except SQLAlchemyError as error:
        raise unopened(error) from error


def unopened(error: SQLAlchemyError) -> SettingsError:
    return SettingsError(f"the audit database cannot be opened: {reason(error)}", hint=_REACHED)


def downgrade(engine: Engine, revision: str = "base") -> None:
    """Takes the schema back. Raises LogError rather than drop a log that has entries."""
    from alembic import command

    with engine.connect() as connection:
        exists = inspect(connection).has_table("log_entries")
        if exists and connection.execute(text("SELECT 1 FROM log_entries LIMIT 1")).first():
            raise LogError("the log has entries: it is not dropped", hint="Export it, and start a new database.")
    with _ALEMBIC, _migrating(engine) as config:
        command.downgrade(config, revision)


def reclaim(engine: Engine) -> bool:
    """After a key was destroyed: removes what the database's files still hold of it. False when some is left.

    On SQLite, empties the write-ahead log, which still has the old page; a reader keeps it from that. On PostgreSQL
    (where this role may), vacuums the tables; a transaction from before keeps old rows. The server's own write-ahead
    log, replicas and backups keep the page for as long as they are kept. Calling it again later finishes the work.
    """
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            return bool(connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0] == 0)
    said: list[str] = []
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        driver: Any = connection.connection.driver_connection

        def listen(diagnostic: Any) -> None:
            said.append(str(diagnostic.message_primary))
            said.append(str(diagnostic.message_detail))

        driver.add_notice_handler(listen)
        try:
            connection.exec_driver_sql(f"VACUUM (VERBOSE, INDEX_CLEANUP ON) {', '.join(_WITH_NAMES)}")
        finally:
            driver.remove_notice_handler(listen)
    left = [int(count) for text in said for count in re.findall(r"(\d+) are dead but not yet removable", text)]
    return len(left) >= 2 and not any(left)


def reason(error: SQLAlchemyError) -> str:
    """The driver's own words: no SQL, no parameters (they could hold content)."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        return str(error.orig).split("\n", 1)[0].strip() or type(error.orig).__name__
    return type(error).__name__


@contextmanager
def _migrating(engine: Engine) -> Iterator[Config]:
    from alembic.config import Config

    package = __package__.rpartition(".")[0] + ".migrations"
    config = Config()
    config.set_main_option("script_location", str(resources.files(package)).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    with writer(engine).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:id)"), {"id": _MIGRATION_LOCK})
        config.attributes["connection"] = connection
        config.attributes["metadata"] = Base.metadata
        yield config


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)


def _create_private(path: Path) -> None:
    """The file holds keys: made readable by its owner only, before SQLite would make it with the umask."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise SettingsError(f"the audit database cannot be opened: {error.strerror}") from error


def _on_sqlite_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver must not begin or commit on its own: see _on_sqlite_begin
    connection.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
    deadline = time.monotonic() + BUSY_SECONDS
    while True:  # the switch to WAL of a new file takes a lock for which SQLite does not wait by itself
        try:
            mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            break
        except connection.OperationalError as error:
            # Only waiting can help against a lock; a full disk stays full.
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    if mode != "wal":
        raise SettingsError("the audit database's file system does not support SQLite's WAL")
    for pragma in ("synchronous=FULL", "foreign_keys=ON", "recursive_triggers=ON", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _on_postgresql_connect(connection: Any, _record: Any) -> None:
    """Waits end, and a commit that was acknowledged is on disk, whatever the server's own settings are."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET lock_timeout = '{BUSY_SECONDS}s'")
        cursor.execute("SET default_transaction_isolation = 'read committed'")
        cursor.execute("SHOW synchronous_commit")
        if cursor.fetchone()[0] == "off":
            cursor.execute("SET synchronous_commit = on")
    connection.commit()


def _on_sqlite_begin(connection: Connection) -> None:
    connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get(_BEGIN, 'DEFERRED')}")
