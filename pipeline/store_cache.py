"""Copies of released files that lie in a store elsewhere, kept on this machine up to a size.

A copy carries the version of the file that it is one of as its time of change, set before it gets its name: so a copy
and its version appear in one rename, and two processes that fetch different versions can't mix them up. When it was
last used is its time of access.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from .store import sync_folder

KEEP = 300.0
"""Seconds in which a copy that was used stays, even over the size: somebody may be about to read it."""
_EVERY = 60.0
"""Seconds between two looks at the size."""


class StoreCache:
    """``most``: bytes that all copies together may have. It is made at first use."""

    def __init__(self, folder: Path, most: int) -> None:
        self.folder, self._most = folder, most
        self._looked: float | None = None
        self._lock = threading.Lock()

    def path(self, name: str) -> Path:
        """Where the copy of ``name`` lies, or would."""
        return self.folder / name

    def fresh(self, name: str, version: str, size: int) -> Path | None:
        """The copy, if it is one of this version."""
        path = self.path(name)
        try:
            seen = path.stat()
            if (seen.st_mtime_ns, seen.st_size) != (_stamp(version), size):
                return None
            os.utime(path, ns=(time.time_ns(), seen.st_mtime_ns))
        except OSError:
            return None
        return path

    def fetch(self, name: str, version: str, read: Callable[[Path], object]) -> Path:
        """Has ``read`` write the file, and keeps it. Raises OSError, and what ``read`` raises."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, part = tempfile.mkstemp(dir=path.parent, prefix=".part-")
        os.close(handle)
        try:
            read(Path(part))
            self._named(Path(part), path, version)
        except BaseException:
            Path(part).unlink(missing_ok=True)
            raise
        self._trim()
        return path

    def take(self, file: Path, name: str, version: str) -> None:
        """Keeps ``file``, which was published, by moving it. A full disk costs the copy alone."""
        path = self.path(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._named(file, path, version)
            self._trim()
        except OSError:
            return

    def _named(self, part: Path, path: Path, version: str) -> None:
        os.utime(part, ns=(time.time_ns(), _stamp(version)))
        os.replace(part, path)
        sync_folder(path.parent)

    def _trim(self) -> None:
        """Removes the copies that were not used for longest, and what dead processes left."""
        with self._lock:
            now = time.time()
            if self._looked is not None and now - self._looked < _EVERY:
                return
            self._looked = now
        found = []
        for path in self.folder.rglob("*"):
            try:
                seen = path.stat()
            except OSError:
                continue
            if path.is_file():
                found.append((seen.st_atime, seen.st_size, path))
        total = sum(size for _, size, _ in found)
        for used, size, path in sorted(found):
            left_over = path.name.startswith(".part-") and now - used > 24 * 3600
            if not left_over and (total <= self._most or now - used < KEEP):
                continue
            path.unlink(missing_ok=True)
            total -= size


def _stamp(version: str) -> int:
    """A time of change that stands for a version: whole microseconds, which every file system keeps."""
    return int.from_bytes(sha256(version.encode()).digest()[:6], "big") % (10**15) * 1000
