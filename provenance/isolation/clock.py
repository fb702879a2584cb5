"""Verification as of another time: c2pa-rs asks the system's clock and offers no other, so its clock is exchanged.

The library is a shared object that finds `clock_gettime` through its relocation table (ELF, System V ABI, chapter 5).
That one entry is pointed at a function of ours, which answers CLOCK_REALTIME with the time that was asked for and
everything else truly. This is done in the child alone, which ends with its file. Linux on 64 bits.
"""

from __future__ import annotations

import ctypes
import platform
import struct
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from ...errors import SettingsError

_REALTIME = 0
_PT_DYNAMIC = 2
_STRTAB, _SYMTAB, _RELA, _RELASZ, _JMPREL, _PLTRELSZ = 5, 6, 7, 8, 23, 2
_NAME = b"clock_gettime\0"
_keep: list[Any] = []


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


def set_clock(at: datetime) -> Callable[[], int]:
    """From here on, c2pa-rs in this process believes that it is ``at``. Returns a function that tells how often it
    asked, so that a caller can see that the exchange took. Raises SettingsError where it cannot be done."""
    if platform.system() != "Linux" or ctypes.sizeof(ctypes.c_void_p) != 8:
        raise _impossible("this system's loader is not known")
    import c2pa  # noqa: F401  the library has to be mapped

    base, path = _mapped("libc2pa_c")
    slots = _slots(base, path)
    if not slots:
        raise _impossible("the library does not ask the clock where it was expected")
    prototype = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.POINTER(_Timespec))
    true = prototype(("clock_gettime", ctypes.CDLL(None)))
    moment, asked = at.timestamp(), [0]

    def fake(clock: int, out: Any) -> int:
        if clock != _REALTIME:
            return int(true(clock, out))
        asked[0] += 1
        out[0].seconds = int(moment // 1)
        out[0].nanoseconds = int((moment % 1) * 1_000_000_000)
        return 0

    callback = prototype(fake)
    _keep.append(callback)
    target = ctypes.cast(callback, ctypes.c_void_p).value
    for slot in slots:
        _unprotect(slot)
        ctypes.c_uint64.from_address(slot).value = target or 0
    return lambda: asked[0]


def _impossible(why: str) -> SettingsError:
    return SettingsError(
        f"another time of validation cannot be set here: {why}",
        code="settings.at",
        hint="--at works on 64-bit Linux. Leave it out to verify as of now.",
    )


def _mapped(name: str) -> tuple[int, Path]:
    """(the address that the library is loaded at, its file)."""
    for line in Path("/proc/self/maps").read_text("utf-8", "replace").splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and name in fields[5] and int(fields[2], 16) == 0:
            return int(fields[0].split("-")[0], 16), Path(fields[5])
    raise _impossible("the library is not loaded")


def _slots(base: int, path: Path) -> list[int]:
    """The addresses that hold the pointer to clock_gettime."""
    with path.open("rb") as stream:
        head = stream.read(64)
        if head[:4] != b"\x7fELF" or head[4] != 2:
            raise _impossible("the library is no 64-bit ELF object")
        offset, size, count = struct.unpack("<Q", head[32:40])[0], *struct.unpack("<HH", head[54:58])
        stream.seek(offset)
        headers = [stream.read(size) for _ in range(count)]
    dynamic = next(
        (struct.unpack("<Q", h[16:24])[0] for h in headers if struct.unpack("<I", h[:4])[0] == _PT_DYNAMIC), 0
    )
    if not dynamic:
        raise _impossible("the library has no dynamic section")
    tags: dict[int, int] = {}
    at = base + dynamic
    while (tag := ctypes.c_int64.from_address(at).value) != 0:
        tags[tag] = ctypes.c_uint64.from_address(at + 8).value
        at += 16
    found = []
    for table, length in ((_JMPREL, _PLTRELSZ), (_RELA, _RELASZ)):
        start = _address(base, tags.get(table, 0))
        for entry in range(start, start + tags.get(length, 0), 24):
            symbol = ctypes.c_uint64.from_address(entry + 8).value >> 32
            if not symbol:
                continue
            name = ctypes.c_uint32.from_address(_address(base, tags[_SYMTAB]) + 24 * symbol).value
            if ctypes.string_at(_address(base, tags[_STRTAB]) + name, len(_NAME)) == _NAME:
                found.append(base + ctypes.c_uint64.from_address(entry).value)
    return found


def _address(base: int, value: int) -> int:
    """glibc writes addresses into the table, musl leaves offsets."""
    return value if value >= base else base + value


def _unprotect(slot: int) -> None:
    """The table is read-only after loading (RELRO)."""
    page = slot & ~0xFFF
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    if libc.mprotect(page, 0x2000, 1 | 2) != 0:
        raise _impossible("its table cannot be written")
