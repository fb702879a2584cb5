"""SQLite: one writer at a time, by the database's own lock; in one process, one queue in front of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from hashlib import sha256

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from ...errors import LogError
from ..database import reason
from ..tables import now
from .rows import insert_entries, insert_tiles
from .tiles import Tail


class Single:
    """Commits batches of leaves. ``turn``: SQLite lets one write at a time, and waiting here is fair and cheap."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known = Tail()
        self.turn = threading.Lock()

    def commit(self, leaves: Sequence[bytes], waiting: Callable[[], None]) -> int:
        """The index of the first leaf, after the commit. Raises LogError: then none is in. ``waiting``: see
        :class:`.group.GroupCommit`.
        """
        with self.turn:
            try:
                with self._engine.connect() as connection:
                    try:
                        with connection.begin():
                            first, tail = self.append(connection, leaves, None)
                            waiting()
                    except SQLAlchemyError:
                        # SQLite may keep the transaction open after a failed COMMIT, and the pool would not know.
                        connection.invalidate()
                        raise
            except SQLAlchemyError as error:
                raise LogError(f"the audit log cannot be written: {reason(error)}", code="log.write") from error
            self._known = tail
        return first

    def append(self, connection: Connection, leaves: Sequence[bytes], known: Tail | None) -> tuple[int, Tail]:
        """In a transaction that holds the write lock: the first index, and the edge of the tree after them.

        ``known``: the edge after an earlier append of the same transaction.
        """
        tail = Tail.current(connection, known or self._known)
        hashes = [sha256(b"\x00" + leaf).digest() for leaf in leaves]
        insert_entries(
            connection, list(zip(range(tail.size, tail.size + len(leaves)), leaves, hashes, strict=True)), now()
        )
        grown, filled = tail.grow(hashes)
        insert_tiles(connection, filled)
        return tail.size, grown

    def remember(self, tail: Tail) -> None:
        """After a commit of the caller's. Only a hint: see :meth:`.tiles.Tail.current`."""
        self._known = tail
