"""How a worker waits for the next job: on PostgreSQL for word from the queue, on SQLite for a moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from .queue import CHANNEL

POLL = 0.5
"""Seconds between two looks at an SQLite queue."""
_SLICE = 0.25
"""Seconds after which a listener looks whether it is to stop."""


def waiting(engine: Engine, stop: threading.Event) -> Callable[[float], object]:
    """Waits the seconds that it is given at most; shorter where a job was put, or ``stop`` is set."""
    if engine.dialect.name != "postgresql":
        return lambda seconds: stop.wait(min(seconds, POLL))
    return Listener(engine, stop)


class Listener:
    """Holds one connection of its own. Where that breaks it is made again, and polling goes on meanwhile."""

    def __init__(self, engine: Engine, stop: threading.Event) -> None:
        self._engine, self._stop = engine, stop
        self._connection: Any = None

    def __call__(self, seconds: float) -> None:
        try:
            driver = self._listening()
            until = time.monotonic() + seconds
            while not self._stop.is_set() and (left := until - time.monotonic()) > 0:
                if list(driver.notifies(timeout=min(left, _SLICE), stop_after=1)):
                    return
        except (SQLAlchemyError, OSError, self._broken()):
            self.close()
            self._stop.wait(min(seconds, POLL))

    def _listening(self) -> Any:
        if self._connection is None:
            engine = self._engine.execution_options(isolation_level="AUTOCOMMIT")
            self._connection = engine.connect()
            self._connection.exec_driver_sql(f"LISTEN {CHANNEL}")
        return self._connection.connection.driver_connection

    def close(self) -> None:
        if self._connection is not None:
            # not back into the pool: it would go on listening there
            self._connection.invalidate()
            self._connection.close()
            self._connection = None

    @staticmethod
    def _broken() -> type[Exception]:
        import psycopg

        return psycopg.Error
