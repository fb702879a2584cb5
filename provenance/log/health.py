"""Is the log's database what the log's promises rest on? Each check tries what must not work, and takes it back."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from ...errors import FiligranaError, LogError
from ..database import HEAD, current_revision, reason, writer
from .note import Checkpoint, VerifierKey
from .sequencer import AuditLog

_REPLACE = "INSERT OR REPLACE INTO log_entries SELECT * FROM log_entries WHERE seq = 0"
_GAP = (
    "INSERT INTO log_entries (seq, leaf, leaf_hash, created_at) SELECT seq + 2, leaf, leaf_hash, created_at "
    "FROM log_entries ORDER BY seq DESC LIMIT 1"
)
_TABLES = (("log_entries", "seq", "leaf"), ("log_tiles", "tile_index", "root"), ("log_checkpoints", "size", "note"))
# Asked, not tried: a TRUNCATE waits for every reader, and every writer would wait for it.
_TRUNCATION = (
    "SELECT count(*) FROM pg_trigger WHERE tgname = 'log_entries_append_only' AND tgenabled = 'A' "
    "AND tgtype & 32 = 32 AND tgrelid = 'log_entries'::regclass"
)
_REFUSALS = ("append-only", "permission denied", "takes the next index only")
_BEHIND = 10_000  # entries that no checkpoint covers, from which on a person should look


@dataclass(frozen=True, slots=True)
class Check:
    """``ok``: False where a promise does not hold; ``warning``: where it holds by less than it should."""

    name: str
    ok: bool
    detail: str
    warning: bool = False


def examine(log: AuditLog, guard: Path | None) -> list[Check]:
    """All checks, in an order that people can follow. Writes nothing that stays."""
    engine = log.engine
    return [
        _run("schema", lambda: _schema(engine)),
        *_refusals(engine),
        _run("durability", lambda: _durability(engine)),
        *(_roles(engine) if engine.dialect.name == "postgresql" else _files(engine)),
        _run("guard", lambda: _guard(log, guard)),
        _run("clock", lambda: _clock(log)),
    ]


def _run(name: str, work: Callable[[], str | tuple[str, bool]]) -> Check:
    try:
        said = work()
    except FiligranaError as error:
        return Check(name, False, error.message)
    except SQLAlchemyError as error:
        return Check(name, False, reason(error))
    return Check(name, True, said) if isinstance(said, str) else Check(name, True, said[0], said[1])


def _schema(engine: Engine) -> str:
    revision = current_revision(engine)
    if revision != HEAD:
        raise LogError(f"the schema is at {revision}; this release needs {HEAD}", code="log.schema")
    return f"revision {revision}"


def _refusals(engine: Engine) -> Iterator[Check]:
    """The append-only guards: each forbidden statement is tried on a real row, in a transaction that is taken back."""
    with engine.connect() as connection:
        empty = connection.exec_driver_sql("SELECT 1 FROM log_entries LIMIT 1").first() is None
    if empty:
        yield Check("append-only", True, "nothing to try it on: the log is empty", warning=True)
        return
    statements: dict[str, str] = {}
    for table, key, column in _TABLES:
        one = f"WHERE {key} = (SELECT min({key}) FROM {table})"  # noqa: S608
        statements[f"{table} refuses changes"] = f"UPDATE {table} SET {column} = {column} {one}"  # noqa: S608
        statements[f"{table} refuses deletes"] = f"DELETE FROM {table} {one}"  # noqa: S608
    statements["log_entries refuses gaps"] = _GAP
    if engine.dialect.name == "sqlite":
        statements["log_entries refuses replacement"] = _REPLACE
    for name, statement in statements.items():
        table = name.split(" ", 1)[0]
        with writer(engine).connect() as connection, connection.begin() as transaction:
            try:
                if connection.exec_driver_sql(f"SELECT 1 FROM {table} LIMIT 1").first() is None:  # noqa: S608
                    continue  # nothing there to change: row triggers have nothing to refuse
                connection.exec_driver_sql(statement)
            except DBAPIError as error:
                good = any(word in reason(error) for word in _REFUSALS)
                yield Check(name, good, reason(error))
            else:
                yield Check(name, False, "it was possible: the triggers or grants of the migrations are gone")
            transaction.rollback()


def _durability(engine: Engine) -> str | tuple[str, bool]:
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            level = connection.exec_driver_sql("PRAGMA synchronous").scalar()
            mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
            if (level, mode) != (2, "wal"):
                raise LogError(f"journal_mode={mode}, synchronous={level}: a power cut can lose entries")
            return "WAL, synchronous=FULL"
        settings = {
            name: connection.exec_driver_sql(f"SHOW {name}").scalar()
            for name in ("fsync", "full_page_writes", "synchronous_commit")
        }
    bad = [name for name, value in settings.items() if value == "off"]
    if bad:
        raise LogError(f"{', '.join(bad)} is off: a power cut can lose entries that were acknowledged")
    return ", ".join(f"{name}={value}" for name, value in settings.items())


def _roles(engine: Engine) -> Iterator[Check]:
    with engine.connect() as connection:
        power = connection.exec_driver_sql(
            "SELECT rolsuper, rolname FROM pg_roles WHERE rolname = current_user"
        ).first()
        owner = connection.exec_driver_sql(
            "SELECT pg_has_role(current_user, relowner, 'USAGE') FROM pg_class WHERE oid = 'log_entries'::regclass"
        ).scalar()
        off = connection.exec_driver_sql(
            "SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'A' "
            "AND tgrelid IN ('log_entries'::regclass, 'log_tiles'::regclass, 'log_checkpoints'::regclass)"
        ).scalar()
    name = "role"
    if power is not None and power[0]:
        yield Check(name, True, f"{power[1]} is a superuser, who can switch every guard off: use another", warning=True)
    elif owner:
        yield Check(name, True, "this role owns the log's tables: let a member of filigrana_writer write", warning=True)
    else:
        yield Check(name, True, "neither superuser nor owner of the log's tables")
    with engine.connect() as connection:
        kept = bool(connection.exec_driver_sql(_TRUNCATION).scalar())
    yield Check("log_entries refuses truncation", kept, "by its trigger" if kept else "the trigger is gone")
    detail = f"{off} triggers can be skipped by a session" if off else "all fire in every session"
    yield Check("triggers", not off, detail)


def _files(engine: Engine) -> Iterator[Check]:
    path = Path(str(engine.url.database))
    mode = stat.S_IMODE(path.stat().st_mode)
    private = os.name != "posix" or not mode & 0o077
    yield Check("database file", private, f"mode {mode:04o}" + ("" if private else ": others can read it"))
    with engine.connect() as connection:
        found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
    yield Check("database pages", found == "ok", str(found))


def _guard(log: AuditLog, guard: Path | None) -> str | tuple[str, bool]:
    if guard is None:
        return "this log has no guard file: a rewritten history would be signed", True
    size = log.size()
    try:
        note = guard.read_text("utf-8")
    except FileNotFoundError:
        if log.has_checkpoint(VerifierKey.of(log.signer)):
            raise LogError("the guard file is missing, but this key has signed checkpoints", code="log.guard") from None
        return "nothing was signed yet", size > 0
    except (OSError, ValueError) as error:
        raise LogError(f"the guard file cannot be read: {type(error).__name__}", code="log.guard") from error
    last = Checkpoint.open(note, log.keys)
    if last.size > size:
        raise LogError(f"{last.size} entries were signed; the log has {size}", code="log.guard")
    behind = size - last.size
    return f"signed {last.size} of {size} entries", behind > _BEHIND


def _clock(log: AuditLog) -> str | tuple[str, bool]:
    size = log.size()
    time = log.entry(size - 1).get("time") if size else None
    if not isinstance(time, str):
        return "no entry says the time"
    try:
        ahead = datetime.fromisoformat(time) - datetime.now(UTC)
    except (ValueError, TypeError):
        return "the last entry says no time that can be read"
    if ahead > timedelta(minutes=1):
        return f"the last entry is {ahead} ahead of this machine's clock", True
    return f"the last entry is from {time}"
