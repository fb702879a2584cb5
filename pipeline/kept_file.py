"""A small file of the data folder that is believed: changed by one process at a time, whole or not at all.

Raises OSError only: what it means that the file cannot be written is for whoever keeps it to say.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..provenance.durable import write_file

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows: one process at a time is up to the operator
    fcntl = None  # type: ignore[assignment]


@dataclass(frozen=True)
class KeptFile:
    """``folder``: made at the first change, owner-only."""

    folder: Path
    name: str

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.folder / self.name

    def read(self, most: int) -> bytes:
        """Its first ``most`` bytes."""
        with self.path.open("rb") as stream:
            return stream.read(most)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else is in this block for the same file. What the block raises is not touched."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self.folder / f"{self.name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def write(self, data: bytes) -> None:
        """Puts ``data`` in its place, durably. Within ``alone``."""
        for left in self.folder.glob(f".{self.name}.*.part"):  # of a process that was killed; nobody else writes now
            left.unlink(missing_ok=True)
        write_file(self.path, data, 0o600)
