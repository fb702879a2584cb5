"""Private folders for what is under way: uploads, fetched files, sound before it is marked. Gone with their owner.

Whoever is killed cannot clean up, and what a stranger sent, or what was never released, must not stay behind for that.
So a folder is held by a lock (`flock`) that ends with its process, and whoever makes the next one removes those that
nobody holds any more.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
import weakref
from contextlib import suppress
from pathlib import Path
from types import TracebackType

PREFIX = "filigrana-work-"
_EVERY = 60.0
"""Seconds between two looks for what was left behind, in one process."""
_swept: float | None = None


class ScratchFolder:
    """A new folder that only its user may read (0700), under the system's folder for temporary files; removed by
    ``close``, at the end of a ``with`` block, when nobody holds this any more, or after the process was killed."""

    path: Path

    def __init__(self) -> None:
        global _swept
        if _swept is None or time.monotonic() - _swept > _EVERY:
            _swept = time.monotonic()
            sweep()
        self.path, handle = _held()
        self._end = weakref.finalize(self, _remove, self.path, handle, os.getpid())

    def close(self) -> None:
        self._end()

    def __enter__(self) -> Path:
        return self.path

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def sweep() -> list[Path]:
    """Removes the folders of this user that no process holds; says which."""
    removed = []
    try:
        entries = list(os.scandir(tempfile.gettempdir()))
    except OSError:
        return []
    for entry in entries:
        if entry.name.startswith(PREFIX) and _left_behind(entry.path):
            removed.append(Path(entry.path))
    return removed


def _left_behind(path: str) -> bool:
    try:
        handle = _opened(path)
    except OSError:
        return False  # no folder, a link, or another user's
    try:
        if os.fstat(handle).st_uid != os.geteuid():
            return False
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
    except OSError:
        return False  # somebody holds it, or this file system knows no locks: then nobody can tell
    finally:
        os.close(handle)
    return not os.path.exists(path)


def _opened(path: str | Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _held() -> tuple[Path, int]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=PREFIX))
        try:
            handle = _opened(path)
        except FileNotFoundError:
            continue  # swept by another process before it could be locked
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            continue
        except OSError:
            return path, handle  # without locks nobody else removes it either
        if path.is_dir():
            return path, handle
        os.close(handle)


def _remove(path: Path, handle: int, owner: int) -> None:
    """By the process that made it: one that was forked from it only ends."""
    if os.getpid() != owner:
        return
    shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):
        os.close(handle)
