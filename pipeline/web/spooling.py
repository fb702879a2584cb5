"""Where uploads lie while they are looked at: one private folder a process, emptied by whoever starts next.

A folder is locked by the process that uses it. The lock goes with the process, however it dies.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import ServiceError, SettingsError

LEAST = 64 << 20
"""Bytes that must be free where uploads lie: with less, the next one is likely to fill the disk, and the log, too."""
_LOCK = "lock"
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Spool:
    """``folder``: of all processes of this installation."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.own = folder / secrets.token_hex(8)
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with _locked(folder / ".gate", fcntl.LOCK_EX):
                for left in folder.iterdir():
                    if left.is_dir() and _nobodys(left):
                        shutil.rmtree(left, ignore_errors=True)
                self.own.mkdir(mode=0o700)
                self._lock = os.open(self.own / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise SettingsError(f"there is no room for uploads: {error.strerror}", code="settings.data_dir") from error

    @contextmanager
    def open(self) -> Iterator[Path]:
        """A fresh folder for one request, which is gone afterwards, whatever happens."""
        work = self.own / secrets.token_hex(8)
        try:
            work.mkdir(mode=0o700)
            yield work
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise ServiceError(
                "there is no room for a file at this moment", status=503, code="service.disk", retry_after=30
            ) from error
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def has_room(self) -> bool:
        """Whether files can be written there, and some more of them."""
        try:
            found = os.statvfs(self.own)
        except OSError:
            return False
        return os.access(self.own, os.W_OK) and found.f_bavail * found.f_frsize >= LEAST

    def close(self) -> None:
        shutil.rmtree(self.own, ignore_errors=True)
        os.close(self._lock)


@contextmanager
def _locked(path: Path, how: int) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, how)
        yield
    finally:
        os.close(handle)


def _nobodys(folder: Path) -> bool:
    try:
        with _locked(folder / _LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB):
            return True
    except OSError:
        return False
