"""Landlock for the child: of all files it may read the one that it was given, and write only in its own folder.

Landlock(7): a rule set handles access rights; whatever it handles and no rule allows is denied, for this process and
all that come of it. TCP is handled too where the kernel knows how (ABI 4), and signals and abstract sockets (ABI 6).
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Iterable
from pathlib import Path

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # the same numbers on every architecture
_VERSION, _PATH_BENEATH = 1, 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_ALL_BY_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
_OWN_FOLDER = _READ_FILE | _READ_DIR | _WRITE_FILE | 1 << 5 | 1 << 8 | 1 << 14  # + remove file, make regular, truncate
_NET = 0b11  # bind, connect
_SCOPED = 0b11  # abstract sockets, signals


def _syscall(*arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    result = int(libc.syscall(*arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def abi() -> int:
    """The kernel's version of Landlock, 0 without it."""
    if platform.system() != "Linux":
        return 0
    try:
        return _syscall(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION))
    except OSError:
        return 0


def restrict(readable: Iterable[Path], folder: Path | None) -> int:
    """Confines this process: it may read each of ``readable`` (files, or folders with all in them), and read and write
    in ``folder``. Returns the ABI in force. Raises OSError, also where the kernel has no Landlock."""
    version = abi()
    if version < 1:
        raise OSError(38, "no Landlock")
    handled = _ALL_BY_ABI[min(version, 5)]
    attributes = struct.pack("<Q", handled)
    if version >= 4:
        attributes += struct.pack("<Q", _NET)
    if version >= 6:
        attributes += struct.pack("<Q", _SCOPED)
    ruleset = _syscall(_CREATE, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0))
    try:
        for path in readable:
            rights = _READ_FILE | (_READ_DIR if path.is_dir() else 0)
            _allow(ruleset, path, rights & handled)
        if folder is not None:
            _allow(ruleset, folder, _OWN_FOLDER & handled)
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(38, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "no_new_privs")
        _syscall(_RESTRICT, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)
    return version


def _allow(ruleset: int, path: Path, rights: int) -> None:
    handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = struct.pack("<Qi", rights, handle)
        _syscall(_ADD, ctypes.c_int(ruleset), ctypes.c_int(_PATH_BENEATH), rule, ctypes.c_uint32(0))
    finally:
        os.close(handle)
