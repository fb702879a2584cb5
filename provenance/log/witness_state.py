"""What a witness cosigned last, kept in files: one for each log, and a lock that threads and processes share.

A file is `<SHA-256 of the origin>.note`: the checkpoint with the log's signature and the witness's own
cosignatures, by which a damaged or foreign file is noticed. It is replaced by fsync, rename and fsync of the
folder, so after a kill or a power cut it holds the old state or the new one.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from ...errors import LogError
from ..durable import write_file
from .cosignature import cosignatures
from .note import MAX_NOTE_BYTES, Checkpoint, Note, VerifierKey

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows
    fcntl = None  # type: ignore[assignment]

LOCK_SECONDS = 10.0
"""How long a decision waits for another process that holds the lock."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was cosigned last of a log, and when (POSIX seconds)."""

    checkpoint: Checkpoint
    time: int


class WitnessState:
    """The state folder. ``keys``: the witness's own. All methods raise LogError (``log.witness``)."""

    def __init__(self, folder: Path, keys: Sequence[VerifierKey]) -> None:
        self._folder = folder
        self._keys = tuple(keys)
        self._threads = threading.Lock()
        if not folder.is_dir():
            raise wrong("the state folder is missing: without it the witness would forget what it cosigned")

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One decision at a time. Fails closed where the system has no file locks."""
        if fcntl is None:
            raise wrong("a witness needs file locks, which this system does not have")
        until = time.monotonic() + LOCK_SECONDS
        if not self._threads.acquire(timeout=LOCK_SECONDS):
            raise wrong("the state is locked by another request")
        try:
            descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                while not _locked(descriptor):
                    if time.monotonic() > until:
                        raise wrong("the state is locked by another process")
                    time.sleep(0.005)
                yield
            finally:
                os.close(descriptor)
        except OSError as error:
            raise wrong(f"the state cannot be locked: {error.strerror}") from error
        finally:
            self._threads.release()

    def last(self, origin: str) -> Seen | None:
        path = self._path(origin)
        try:
            found = self._read(path)
        except FileNotFoundError:
            return None
        if found.checkpoint.origin != origin:
            raise wrong("a file of the state is of another log")
        return found

    def keep(self, origin: str, note: str) -> None:
        """Safe on disk when it returns. Only while :meth:`alone`."""
        try:
            write_file(self._path(origin), note.encode(), 0o600)
        except OSError as error:
            raise wrong(f"the state cannot be kept: {error.strerror}") from error

    def all(self) -> tuple[Seen, ...]:
        """By origin."""
        found = [self._read(path) for path in self._folder.glob("*.note")]
        return tuple(sorted(found, key=lambda item: item.checkpoint.origin))

    def _path(self, origin: str) -> Path:
        return self._folder / f"{sha256(origin.encode()).hexdigest()}.note"

    def _read(self, path: Path) -> Seen:
        """Raises FileNotFoundError besides."""
        try:
            with path.open("rb") as file:
                note = file.read(MAX_NOTE_BYTES + 1).decode("utf-8")
            ours = cosignatures(note, self._keys)
        except FileNotFoundError:
            raise
        except (OSError, UnicodeDecodeError) as error:
            raise wrong("a file of the state cannot be read") from error
        except LogError as error:
            raise wrong(f"a file of the state is damaged: {error.message}") from error
        if not ours:
            raise wrong("a file of the state was not written with these keys")
        return Seen(Checkpoint.parse_text(Note.parse(note).text), max(item.time for item in ours))


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def wrong(message: str, hint: str = "Keys and state belong together: use the folder as it was made.") -> LogError:
    return LogError(message, code="log.witness", hint=hint)
