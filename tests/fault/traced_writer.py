"""A small program that writes to a log while strace looks at it: run by `test_log_syscalls`.

It imports everything once, then forks a fresh writer for each line `PROGRAM FOLDER` on its standard input, and
says the writer's process id. The writer waits for the line `go`, so that strace counts system calls from the
moment when the work starts. What is acknowledged goes to the file `said`, which outlives the writer.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from filigrana.errors import FiligranaError, LogError
from filigrana.provenance.database import session
from filigrana.provenance.log.sequencer import AuditLog
from filigrana.provenance.log.signer import Ed25519LogSigner
from filigrana.provenance.tables import Intent

PR_SET_PTRACER = 0x59616D61
SAID = "said"


class Writer:
    """Does a few operations, whatever becomes of each, and says what was acknowledged."""

    def __init__(self, folder: Path) -> None:
        self.said = os.open(folder / SAID, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        signer = Ed25519LogSigner.load(folder / "log.pem")
        url = f"sqlite:///{folder / 'audit.db'}"
        self.open: Callable[[], AuditLog] = lambda: AuditLog(url, signer=signer, guard_path=folder / "guard")

    def say(self, *words: object) -> None:
        os.write(self.said, (" ".join(map(str, words)) + "\n").encode())

    def append(self, log: AuditLog, name: str) -> None:
        try:
            index = log.append({"type": "plain", "name": name})
        except LogError as error:
            self.say("failed", name, error)
        else:
            self.say("entry", index, name)

    def append_with_row(self, log: AuditLog, name: str) -> None:
        try:
            with log.transaction() as transaction:
                transaction.session.add(Intent(kind="seal", request={"name": name}))
                index = transaction.append({"type": "intent", "name": name})
        except (LogError, SQLAlchemyError) as error:
            self.say("failed", name, error)
        else:
            self.say("entry", index, name)

    def checkpoint(self, log: AuditLog) -> None:
        try:
            note = log.checkpoint()
        except LogError as error:
            self.say("failed", "checkpoint", error)
        else:
            self.say("checkpoint", note.encode().hex())

    def honest(self, log: AuditLog) -> None:
        """Fills a tile when 254 entries are there; every kind of write, and signing twice."""
        self.append(log, "one")
        self.append(log, "two")
        self.append_with_row(log, "three")
        self.checkpoint(log)
        self.append(log, "four")
        self.checkpoint(log)

    def acknowledges_early(self, log: AuditLog) -> None:
        """Breaks the promise: says so before the commit."""
        for name in ("one", "two"):
            self.say("entry", log.size(), name)
            log.append({"type": "plain", "name": name})

    def writes_in_two_steps(self, log: AuditLog) -> None:
        """Breaks the promise: the row in one transaction, its entry in the next."""
        with session(log.engine, write=True) as writing:
            writing.add(Intent(kind="seal", request={"name": "three"}))
        self.append(log, "three")


def work(program: str, folder: Path) -> None:
    writer = Writer(folder)
    try:
        with writer.open() as log:
            getattr(writer, program)(log)
        writer.say("end")
    except (FiligranaError, SQLAlchemyError) as error:
        writer.say("gave up", type(error).__name__, error)
    except BaseException as error:
        writer.say("unexpected", type(error).__name__, error)
        raise


def main() -> None:
    library = ctypes.CDLL(None)
    while line := sys.stdin.readline():
        program, folder = line.rstrip("\n").split(" ", 1)
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            library.prctl(PR_SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0)  # where Yama lets only parents trace
            os.close(writing)
            if os.read(reading, 1):
                work(program, Path(folder))
            os._exit(0)
        os.close(reading)
        print(child, flush=True)
        if sys.stdin.readline() == "go\n":
            os.write(writing, b"!")
        os.close(writing)
        os.waitpid(child, 0)
        print("done", flush=True)


if __name__ == "__main__":
    main()
