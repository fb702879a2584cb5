"""The log as a table: Parquet, for people who ask with SQL and data frames. Row by row group, in constant memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...errors import LogError
from .search import facts
from .sequencer import AuditLog

ROWS = 16_384  # a row group: about 10 MB of entries
_TEXTS = ("type", "time", "intent", "asset_id", "verdict", "code", "policy", "model", "actor")


def write_parquet(log: AuditLog, path: Path, progress: Callable[[int, int], None] | None = None) -> int:
    """Writes every entry: ``index``, ``leaf_hash`` (hex), what people search for, and ``entry`` (canonical JSON, over
    which the hash can be computed again). The signed checkpoint over them stands in the file's metadata. Returns the
    number of rows. Raises LogError (``log.parquet``) without the package `pyarrow`."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise LogError(
            "Parquet files need the package pyarrow", code="log.parquet", hint="pip install 'filigrana[parquet]'"
        ) from error
    columns = [("index", pa.int64()), ("leaf_hash", pa.string()), *((name, pa.string()) for name in _TEXTS)]
    note, size = log.head()
    metadata = {} if note is None else {"filigrana.checkpoint": note}
    schema = pa.schema([*columns, ("entry", pa.string())], metadata=metadata)
    count = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        rows: list[dict[str, Any]] = []
        for index, digest, leaf, entry in log.rows(0, size):
            said = facts(entry)
            row: dict[str, Any] = {name: next(iter(said.get(name, ())), None) for name in _TEXTS}
            time = entry.get("time")
            row |= {
                "index": index,
                "leaf_hash": digest.hex(),
                "entry": leaf.decode("utf-8"),
                "time": time if isinstance(time, str) else None,
            }
            rows.append(row)
            count += 1
            if len(rows) == ROWS:
                writer.write_table(pa.Table.from_pylist(rows, schema=schema))
                rows.clear()
                if progress is not None:
                    progress(count, size)
        if rows or not count:
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    return count
