"""PostgreSQL: many processes, one leader at a time, one commit for all who wait.

Who holds the log's advisory lock leads: it commits its own leaves together with those that other processes
have put into the table ``log_queue``. Who finds the lock taken queues its leaves and waits for the lock in
turn; when its turn comes, its leaves are usually in the log already, and it goes on at once. So there is no
standing leader to be watched or replaced: when a leader dies, its transaction is rolled back, the lock goes to
the next in line, and the queue is as it was.

Each hand-over has a number of its own, written with its entries (``log_handovers``). After a lost connection
the caller asks for it under the lock, and so learns what became of its entries instead of guessing.

The functions are in the migrations (0002): one call, one round trip.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from ...errors import LogError
from ..database import BUSY_SECONDS, reason

_HAND_OVER = "SELECT filigrana_hand_over(%b::int8, %b::bytea[])"
_TURN = "SELECT filigrana_turn(%b::int8, %b::bytea[])"
# A leader may have the row in its hands: waiting for it would be waiting for what we are giving up on.
_WITHDRAW = (
    "DELETE FROM log_queue WHERE place IN "
    "(SELECT place FROM log_queue WHERE handover = %b::int8 FOR UPDATE SKIP LOCKED) RETURNING place"
)


class _UnsureError(Exception):
    """The connection was lost, or another leader holds our leaves: asking again by number will tell."""


class Leader:
    """Commits batches of leaves of one process, one batch at a time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._held: Connection | None = None  # kept: a check-out costs as much as an append

    def close(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None

    def commit(self, leaves: Sequence[bytes], waiting: Callable[[], None]) -> int:
        """The index of the first leaf, after the commit. Raises LogError: then none is in, or it says so.
        ``waiting``: see :class:`.group.GroupCommit`.
        """
        waiting()
        handover = secrets.randbits(63)
        deadline = time.monotonic() + 2 * BUSY_SECONDS
        pause = 0.02
        unsure: BaseException | None = None
        while True:
            try:
                return self._attempt(handover, list(leaves), again=unsure is not None)
            except _UnsureError as error:
                unsure = error.__cause__
            except SQLAlchemyError as error:
                # No connection. After an unsure attempt, a server that is still away leaves us unsure.
                if unsure is None:
                    raise LogError(f"the audit log cannot be written: {reason(error)}", code="log.write") from error
            if time.monotonic() > deadline:
                raise LogError(
                    "the connection to the audit database was lost during the commit: the entry may or may not be in",
                    code="log.write",
                ) from unsure
            time.sleep(pause)
            pause = min(1.0, pause * 2)

    def _attempt(self, handover: int, leaves: list[bytes], *, again: bool) -> int:
        if self._held is None:
            self._held = self._engine.connect()
        connection = self._held
        driver: Any = connection.connection.driver_connection
        failure = connection.dialect.loaded_dbapi.Error
        queued = again
        try:
            if not again:
                first = driver.execute(_HAND_OVER, (handover, leaves)).fetchone()[0]
                if first is not None:
                    return int(first)
                queued = True
            return int(driver.execute(_TURN, (handover, leaves if again else None)).fetchone()[0])
        except failure as error:
            sure = not driver.closed and (not queued or self._withdrawn(driver, handover, failure, error))
            self._drop(connection)
            if not sure:
                raise _UnsureError from error
            what = str(error).split("\n", 1)[0] or type(error).__name__
            raise LogError(f"the audit log cannot be written: {what}", code="log.write") from error
        except BaseException:
            self._drop(connection)
            raise

    def _drop(self, connection: Connection) -> None:
        """Ends the session, and with it its locks and its transaction."""
        self._held = None
        connection.invalidate()
        connection.close()

    def _withdrawn(self, driver: Any, handover: int, failure: type[Exception], error: Exception) -> bool:
        """Takes the leaves out of the queue, so that no later leader writes what the caller is refused."""
        if getattr(error, "sqlstate", None) == "P0002":  # not in the queue: emptied by a crash of the server
            return False
        try:
            gone = driver.execute(_WITHDRAW, (handover,)).fetchone()
            held = driver.execute("SELECT 1 FROM log_handovers WHERE handover = %b::int8", (handover,)).fetchone()
        except failure:
            return False
        return gone is not None and held is None
