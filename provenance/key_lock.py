"""Who changes a key folder is alone in it, and who reads several of its files that belong together sees one set."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows: one process at a time is up to the operator
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Nobody else changes the folder, or reads it under :func:`reading`, while the block lasts. Raises OSError."""
    with _held(os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), exclusive=True):
        yield


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Nobody changes the folder while the block lasts. A folder that cannot be written is changed by nobody."""
    try:
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        yield
        return
    with _held(handle, exclusive=False):
        yield


@contextmanager
def _held(handle: int, *, exclusive: bool) -> Iterator[None]:
    """The lock ends with its handle, however this process ends."""
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)
