"""Files that are to be sealed, from the moment they arrive until their jobs have ended. Named by their sha256: the same
file that is sent twice lies there once, and a worker sees that it is still what was sent."""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from hashlib import file_digest
from pathlib import Path

from ...errors import InputError
from ..store import sync_folder

FILE = "_file"
"""In the request of a job that seals: the file's sha256."""
_NAME = re.compile(r"[0-9a-f]{64}")
YOUNG = 3600.0
"""Seconds for which a file is left alone although no job names it: one may be about to."""


class Incoming:
    """``folder``: shared by the service and its workers."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def name(self, path: Path) -> str:
        """What a file is called here."""
        with path.open("rb") as file:
            return file_digest(file, "sha256").hexdigest()

    def take(self, path: Path, name: str | None = None) -> str:
        """Moves a file of the same file system in here, and gives its name. Durable when it returns."""
        name = name or self.name(path)
        with path.open("rb") as file:
            os.fsync(file.fileno())
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._alone():
            os.utime(path)
            os.replace(path, self._folder / name)
        sync_folder(self._folder)
        return name

    def checked(self, name: str) -> Path:
        """Where it lies. Raises InputError where it is gone, or not what was sent."""
        path = self._folder / name
        try:
            if not _NAME.fullmatch(name):
                raise FileNotFoundError
            with path.open("rb") as file:
                found = file_digest(file, "sha256").hexdigest()
        except OSError:
            raise InputError("the uploaded file is gone", code="input.job_file", hint="Send it again.") from None
        if found != name:
            raise InputError("the uploaded file is not what was sent", code="input.job_file", hint="Send it again.")
        return path

    def sweep(self, wanted: Collection[str], now: float | None = None) -> int:
        """Removes what no job needs, and says how many files that were. ``wanted``: the names that jobs have."""
        count, before = 0, (time.time() if now is None else now) - YOUNG
        for path in sorted(self._folder.iterdir()) if self._folder.is_dir() else []:
            try:
                with self._alone():  # between the look and the end nobody sends the same file again
                    if path.name not in wanted and path.stat().st_mtime < before:
                        path.unlink()
                        count += 1
            except OSError:
                continue  # another process was faster
        return count

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else takes a file in, or away. The lock lies beside the folder, in which uploads are alone."""
        handle = os.open(self._folder.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)
