"""Reading and writing the log's rows, without the ORM: batches in, chunks out.

Plain SQL on purpose: what a damaged database holds (text where bytes belong, say) must reach the checks as it
is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, insert, text

from ...errors import LogError, TamperError
from ..tables import LogTile
from .tiles import Tile

CHUNK = 2048

_INSERT = "INSERT INTO log_entries (seq, leaf, leaf_hash, created_at) VALUES (?, ?, ?, '{}')"
_SIZE = text("SELECT max(seq) FROM log_entries")
_CHUNK = "SELECT seq, leaf, leaf_hash FROM log_entries WHERE seq >= {} AND seq < {} ORDER BY seq"
_LEAF = text("SELECT leaf FROM log_entries WHERE seq = :seq")


class Row(NamedTuple):
    """One row of log_entries."""

    seq: int
    leaf: bytes
    leaf_hash: bytes


def size_of(connection: Connection) -> int:
    """The number of entries: indexes are dense, which :func:`.audit.verify_log` checks."""
    last = connection.execute(_SIZE).scalar()
    return 0 if last is None else int(last) + 1


def insert_entries(connection: Connection, rows: Sequence[tuple[int, bytes, bytes]], created: datetime) -> None:
    """Writes the rows (index, leaf, leaf hash) in one statement, on SQLite.

    In the driver's own words: binding a batch through SQLAlchemy costs as much as writing it.
    """
    # As UtcTime writes it: UTC without a zone.
    stamp = created.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
    connection.exec_driver_sql(_INSERT.format(stamp), rows)


def insert_tiles(connection: Connection, tiles: Sequence[Tile]) -> None:
    """Writes the tiles that became full."""
    if tiles:
        values = [
            {"level": tile.level, "tile_index": tile.index, "root": tile.root, "hashes": tile.hashes} for tile in tiles
        ]
        connection.execute(insert(LogTile), values)


def leaf_at(connection: Connection, index: int) -> bytes:
    """The leaf at ``index``. Raises LogError when there is none."""
    leaf = connection.execute(_LEAF, {"seq": index}).scalar()
    if leaf is None:
        raise LogError(f"the log has no entry {index}", code="log.index")
    if not isinstance(leaf, bytes):
        raise TamperError(f"entry {index} of the log is damaged")
    return leaf


def raw_chunks(connection: Connection, start: int, stop: int) -> Iterator[tuple[int, int, list[tuple[object, ...]]]]:
    """``(low, high, rows)`` in chunks whose borders are multiples of 256, whatever the rows hold."""
    low = start
    while low < stop:
        high = min(stop, (low // CHUNK + 1) * CHUNK)
        yield low, high, _fetch(connection, low, high)
        low = high


def _fetch(connection: Connection, low: int, high: int) -> list[tuple[object, ...]]:
    """By the driver itself, which halves the time of a verification; in binary on PostgreSQL, whose text form of bytes
    is twice as long.
    """
    driver: Any = connection.connection.driver_connection
    postgres = connection.dialect.name == "postgresql"
    mark = "%s" if postgres else "?"
    try:
        # Closed whatever happens: on SQLite a statement that is not done keeps its view of the database.
        with closing(driver.cursor(binary=True) if postgres else driver.cursor()) as cursor:
            cursor.execute(_CHUNK.format(mark, mark), (low, high))
            found: list[tuple[object, ...]] = cursor.fetchall()
    except connection.dialect.loaded_dbapi.Error as error:
        what = str(error).split("\n", 1)[0] or type(error).__name__
        raise LogError(f"the audit log cannot be read: {what}", code="log.read") from error
    return found


def leaves(connection: Connection, start: int, stop: int) -> Iterator[Row]:
    """The rows in order. Raises TamperError at the first that is missing or not bytes."""
    for low, high, rows in raw_chunks(connection, max(start, 0), stop):
        for expected, row in zip(range(low, high), rows, strict=False):
            seq, leaf, leaf_hash = row
            if seq != expected or not isinstance(leaf, bytes) or not isinstance(leaf_hash, bytes):
                raise TamperError(f"entry {expected} of the log is missing or damaged")
            yield Row(expected, leaf, leaf_hash)
        if len(rows) != high - low:
            raise TamperError(f"entries are missing from the log between {low} and {high}")
