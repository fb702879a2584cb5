"""The log as static files (c2sp.org/tlog-tiles), answered from the database: what anybody may read and cache.

Everything is of the tree of the newest stored checkpoint, and nothing beyond it: entries that no checkpoint
covers yet are not shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from ...errors import LogError, TamperError
from ..database import reason
from .note import MAX_NOTE_BYTES, Checkpoint, Note
from .rows import leaves, size_of
from .sequencer import AuditLog
from .site_paths import CHECKPOINT, WIDTH, Resource, join_entries, parse_path
from .tiles import TileReader

_LATEST = text("SELECT note FROM log_checkpoints WHERE verifier_key = :key ORDER BY size DESC LIMIT 1")


@dataclass(frozen=True, slots=True)
class SiteFile:
    """``immutable``: its bytes never change, so anybody may keep them for ever."""

    data: bytes
    content_type: str
    immutable: bool


@dataclass(frozen=True, slots=True)
class Head:
    """The tree that is shown: ``note`` is its signed checkpoint, verified."""

    note: str
    checkpoint: Checkpoint


class LogSite:
    """``cosigned``: a folder with notes named by their size, as :mod:`.publishing` keeps them: where it holds the
    newest checkpoint with cosignatures, that note is shown.
    """

    def __init__(self, log: AuditLog, cosigned: Path | None = None) -> None:
        self._log = log
        self._cosigned = cosigned

    def head(self) -> Head | None:
        """The newest checkpoint that one of the log's keys signed and the log still bears out; None without one.

        Raises TamperError when the log has another tree than the checkpoint says.
        """
        with self._reading() as connection:
            notes = [connection.execute(_LATEST, {"key": str(key)}).scalar() for key in self._log.keys]
            heads = [Head(note, Checkpoint.open(note, self._log.keys)) for note in notes if note is not None]
            if not heads:
                return None
            head = max(heads, key=lambda item: item.checkpoint.size)
            size = head.checkpoint.size
            if size > size_of(connection) or TileReader(connection, size).root() != head.checkpoint.root:
                raise TamperError(f"the log is not what its checkpoint over {size} entries says")
        return Head(self._with_cosignatures(head), head.checkpoint)

    def read(self, path: str) -> SiteFile | None:
        """The file at ``path`` (such as ``/tile/0/000``); None for whatever is not there: 404.

        Raises LogError when the database cannot be read, TamperError when what it holds does not fit.
        """
        if not path.startswith("/"):
            return None
        resource = parse_path(path[1:])
        if resource is None and path[1:] != CHECKPOINT:
            return None
        head = self.head()
        if head is None:
            return None
        if resource is None:
            return SiteFile(head.note.encode(), "text/plain; charset=utf-8", immutable=False)
        data = self.resource(resource, head.checkpoint.size)
        return None if data is None else SiteFile(data, "application/octet-stream", immutable=True)

    def root(self, size: int) -> bytes:
        """The root of the first ``size`` entries."""
        with self._reading() as connection:
            return TileReader(connection, size).root()

    def resource(self, resource: Resource, size: int) -> bytes | None:
        """The bytes of a tile or a bundle in the tree of ``size`` entries; None when that has not all of it."""
        if not resource.within(size):
            return None
        with self._reading() as connection:
            if resource.level is None:
                return self._entries(connection, resource)
            full = TileReader(connection, size).hashes(resource.level, resource.index)
            return b"".join(full[: resource.width])

    @staticmethod
    def _entries(connection: Connection, resource: Resource) -> bytes:
        start = resource.index * WIDTH
        found = []
        for row in leaves(connection, start, start + resource.width):
            if sha256(b"\x00" + row.leaf).digest() != row.leaf_hash:
                raise TamperError(f"entry {row.seq} of the log does not match its hash")
            found.append(row.leaf)
        return join_entries(found)

    def _with_cosignatures(self, head: Head) -> str:
        """The kept note of the same checkpoint, which has more signatures; anything else there is left alone."""
        if self._cosigned is None:
            return head.note
        try:
            with (self._cosigned / str(head.checkpoint.size)).open("rb") as file:
                kept = file.read(MAX_NOTE_BYTES + 1).decode("utf-8")
            same = Note.parse(kept).text == Note.parse(head.note).text
            return kept if same and Checkpoint.open(kept, self._log.keys) else head.note
        except (OSError, UnicodeDecodeError, LogError):
            return head.note

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with self._log.engine.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise LogError(f"the audit log cannot be read: {reason(error)}", code="log.read") from error
