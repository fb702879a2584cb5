"""The rows of a database as lines of typed JSON, and back: from any database and version into any that is not older."""

from __future__ import annotations

import base64
import datetime as dt
import json
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, column, insert, inspect, select, table, text
from sqlalchemy.sql.schema import Table

from ..errors import BackupError
from ..provenance.database import writer
from ..provenance.tables import Base

Row = dict[str, Any]
_AT_ONCE = 500


@contextmanager
def reading(engine: Engine) -> Iterator[Iterator[tuple[str, Iterator[Row]]]]:
    """Every table's name and rows, all as they are at one moment."""
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
        yield ((each.name, _rows(connection, each)) for each in Base.metadata.sorted_tables)


def lines_of(archive: tarfile.TarFile, name: str) -> Iterator[Row]:
    """The rows of one member, one at a time. Raises BackupError."""
    try:
        stream = archive.extractfile(name)
    except KeyError:
        stream = None
    if stream is None:
        raise BackupError("a table is missing", code="backup.format")
    for line in stream:
        yield json.loads(line)


def put_back(engine: Engine, tables: Iterable[tuple[str, Iterable[Row]]]) -> None:
    """Writes the rows, all or none, into the tables that the database has; it has those of the version that the rows
    are of, which may lack tables and columns of this one. Raises BackupError where rows are of something else."""
    given = dict(tables)
    with writer(engine).begin() as connection:
        there = set(inspect(connection).get_table_names())
        known = [each for each in Base.metadata.sorted_tables if each.name in there]
        if {each.name for each in known} != given.keys():
            raise BackupError("its tables are not those of its version", code="backup.format")
        for each in known:
            for rows in _batches(given[each.name]):
                connection.execute(insert(_part(each, rows[0])), [_values(row) for row in rows])
            if connection.dialect.name == "postgresql":
                _sequences(connection, each)


def _part(whole: Table, row: Row) -> Any:
    """The table with the columns of the row alone, and no defaults: what a column was given later is the migrations'
    to say."""
    if not row.keys() <= set(whole.columns.keys()):
        raise BackupError(f"{whole.name} has columns that are not known", code="backup.format")
    return table(whole.name, *(column(name, whole.columns[name].type) for name in row))


def _rows(connection: Connection, source: Table) -> Iterator[Row]:
    query = select(source).order_by(*source.primary_key.columns).execution_options(yield_per=_AT_ONCE)
    for row in connection.execute(query):
        yield {name: _plain(value) for name, value in row._mapping.items()}


def _plain(value: Any) -> Any:
    """As JSON that tells its type."""
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, dt.datetime):
        return {"$time": value.astimezone(dt.UTC).isoformat()}
    if isinstance(value, UUID):
        return {"$uuid": str(value)}
    return {"$json": value} if isinstance(value, (dict, list)) else value


def _values(row: Row) -> Row:
    return {name: _typed(value) for name, value in row.items()}


def _typed(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    kind, inner = next(iter(value.items()))
    readers: dict[str, Any] = {"$bytes": base64.b64decode, "$time": dt.datetime.fromisoformat, "$uuid": UUID}
    return readers[kind](inner) if kind in readers else inner


def _sequences(connection: Connection, source: Table) -> None:
    """Where numbers go on that the database draws by itself."""
    for key in source.primary_key.columns:
        quoted = {"table": source.name, "column": key.name}
        sequence = connection.scalar(text("SELECT pg_get_serial_sequence(:table, :column)"), quoted)
        if sequence is not None:
            most = connection.scalar(select(key).order_by(key.desc()).limit(1))
            if most is not None:
                connection.execute(text("SELECT setval(:sequence, :most)"), {"sequence": sequence, "most": most})


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch
