"""What the child gives up before it opens a stranger's file, in the order in which it can."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import landlock, seccomp

_CAP_DAC_READ_SEARCH = 2


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one verification may take. ``memory``: bytes beyond what the loaded decoders hold; ``cpu``: seconds;
    ``wall``: seconds; ``written``: bytes of a file in its own folder (c2pa-rs spills there)."""

    memory: int = 3 << 30
    cpu: float = 600.0
    wall: float = 600.0
    written: int = 8 << 30


@dataclass(frozen=True, slots=True)
class Confinement:
    """What is in force. ``files``: Landlock's ABI, 0 for none; ``network``: whether sockets are out of reach."""

    limits: bool
    files: int
    network: bool

    @property
    def whole(self) -> bool:
        return self.limits and self.files > 0 and self.network


def available() -> Confinement:
    """What this system can do."""
    posix = os.name == "posix"
    return Confinement(posix, landlock.abi(), seccomp.supported())


def confine(bounds: Bounds, readable: Sequence[Path], folder: Path | None) -> Confinement:
    """Confines this process for good. Raises OSError where something that this system can do failed: whoever cannot
    be confined opens nothing."""
    could = available()
    _limit(bounds)
    files = landlock.restrict(readable, folder) if could.files else 0
    if could.files or could.network:
        _drop_capabilities()
    if could.network:
        seccomp.install()
    return Confinement(True, files, could.network)


def _limit(bounds: Bounds) -> None:
    import resource

    held = _address_space()
    for name, value in (
        (resource.RLIMIT_AS, held + bounds.memory),
        (resource.RLIMIT_CPU, max(1, round(bounds.cpu))),
        (resource.RLIMIT_FSIZE, bounds.written),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
    ):
        _, hard = resource.getrlimit(name)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(name, (value, value))


def _address_space() -> int:
    """Bytes of address space that the process has mapped; 4 GiB where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return 4 << 30
    return pages * os.sysconf("SC_PAGE_SIZE")


def _drop_capabilities() -> None:
    """Root keeps nothing but the right to read: capset(2), version 3, for this process."""
    if platform.system() != "Linux" or os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = struct.pack("<Ii", 0x20080522, 0)
    keep = 1 << _CAP_DAC_READ_SEARCH
    data = struct.pack("<IIIIII", keep, keep, 0, 0, 0, 0)
    if libc.capset(header, data) != 0:
        # Without the right to drop there is nothing to drop.
        error = ctypes.get_errno()
        if error != 1:
            raise OSError(error, "capset")
