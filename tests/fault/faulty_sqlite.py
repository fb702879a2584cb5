"""SQLite connections, and writes of files, that fail at one chosen point: the simulator's hands."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar
from unittest import mock

from sqlalchemy import Engine, event

from filigrana.provenance.database import connect

FAULTS = ("crash before", "crash after", "error before", "error after", "meanwhile", "clock")
MEMORY = "/dev/shm"  # noqa: S108


class Crash(BaseException):
    """The process is gone. Nothing that it still does can reach the database."""


class Faults:
    """Which fault strikes next, where, and what came of it."""

    active: ClassVar[Faults | None] = None

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.meanwhile: Callable[[], None]
        self.connections: list[Connection] = []
        self.rest()

    def plan(self, process: int, fault: str | None, point: int, meanwhile: Callable[[], None]) -> None:
        """``fault`` at the ``point``-th chance from now on, in calls of this process."""
        self.rest()
        self.process, self.fault, self.left, self.meanwhile = process, fault, point, meanwhile
        Faults.active = self

    def rest(self) -> None:
        self.process, self.fault, self.left = -1, None, 0
        self.meanwhile = lambda: None
        self.struck = self.failed = self.uncertain = self.dead = self.clock_jumped = False
        Faults.active = None

    def pass_through(self, process: int, call: Callable[[], Any], error: Exception, commits: bool = False) -> Any:
        """Makes the call, unless this is where the fault strikes."""
        if self.dead and process == self.process:
            raise Crash
        if self.fault is None or process != self.process or self.struck:
            return call()
        if self.left:
            self.left -= 1
            return call()
        if self.fault == "meanwhile" and any(item.writes for item in self.connections):
            return call()  # the other would wait for this one's lock: later
        self.struck = True
        self.counts[self.fault] += 1
        if self.fault == "clock":
            self.clock_jumped = True
            return call()
        if self.fault == "meanwhile":
            self.meanwhile()
            return call()
        self.failed = True
        result = None
        if self.fault.endswith("after"):
            result = call()
            self.uncertain = commits
        if self.fault.startswith("crash"):
            self.kill()
            raise Crash
        del result
        raise error

    def kill(self) -> None:
        """Closes the process's connections as the kernel would: without a commit."""
        self.dead = True
        for item in [item for item in self.connections if item.process == self.process]:
            if item.in_transaction:
                item.rollback()  # statements that are still referred to would keep a closed connection's locks
            item.close()

    @classmethod
    @contextmanager
    def on_files(cls) -> Iterator[None]:
        """The guard is written with os.fsync and os.replace."""

        def struck(name: str) -> Any:
            real = getattr(os, name)

            def call(*arguments: Any, **options: Any) -> Any:
                faults = cls.active
                if faults is None:
                    return real(*arguments, **options)
                broken = OSError(errno.EIO, os.strerror(errno.EIO))
                return faults.pass_through(faults.process, lambda: real(*arguments, **options), broken)

            return call

        with mock.patch.object(os, "fsync", struck("fsync")), mock.patch.object(os, "replace", struck("replace")):
            yield


class Cursor(sqlite3.Cursor):
    def execute(self, sql: str, parameters: Any = ()) -> Cursor:
        self.connection.strike(sql, lambda: sqlite3.Cursor.execute(self, sql, parameters))
        return self

    def executemany(self, sql: str, parameters: Any) -> Cursor:
        self.connection.strike(sql, lambda: sqlite3.Cursor.executemany(self, sql, parameters))
        return self


class Connection(sqlite3.Connection):
    """Knows whether it holds the write lock, and asks before each statement whether it fails."""

    faults: Faults
    process: int
    locks = False

    @property
    def writes(self) -> bool:
        return self.locks and self.in_transaction

    def strike(self, sql: str, call: Callable[[], Any]) -> Any:
        word = sql.lstrip()[:15].upper()
        if word.startswith("BEGIN"):
            self.locks = False
        result = self.faults.pass_through(
            self.process, call, sqlite3.OperationalError("disk I/O error"), word.startswith(("COMMIT", "END"))
        )
        if word.startswith("BEGIN"):
            self.locks = "IMMEDIATE" in word or "EXCLUSIVE" in word
        return result

    def cursor(self, factory: Any = Cursor) -> Any:
        return super().cursor(factory)

    def execute(self, sql: str, parameters: Any = ()) -> Any:
        return self.cursor().execute(sql, parameters)

    def executemany(self, sql: str, parameters: Any) -> Any:
        return self.cursor().executemany(sql, parameters)

    def commit(self) -> None:
        try:
            self.strike("COMMIT" if self.in_transaction else "SELECT", super().commit)
        except sqlite3.OperationalError:
            self.rollback()  # as SQLite does by itself when a commit meets a broken or a full disk
            raise

    def close(self) -> None:
        if self in self.faults.connections:
            self.faults.connections.remove(self)
        super().close()


def faulty_engine(url: str, faults: Faults, process: int) -> Engine:
    """An engine as the log makes it, of such connections."""
    engine = connect(url)

    @event.listens_for(engine, "do_connect")
    def opened(_dialect: Any, _record: Any, arguments: list[Any], options: dict[str, Any]) -> Connection:
        made: Connection = sqlite3.connect(*arguments, factory=Connection, **options)
        made.faults, made.process = faults, process
        faults.connections.append(made)
        return made

    return engine


def scratch() -> str | None:
    """Where files live in memory, where there is such a place: processes are killed here, not the machine."""
    return MEMORY if os.access(MEMORY, os.W_OK) else None
