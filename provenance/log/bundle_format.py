"""The auditor's bundle as a file: a zip archive in one exact form, so that every bit of it is accounted for.

Pure, no IO. Members are stored, not compressed: nothing unpacks to more than it is, and equal contents are equal
files everywhere. A reader writes the archive again from what it read, and takes it only when that gives the very same
bytes. Python runs such a file: ``python bundle.pyz``.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Mapping
from hashlib import sha256

from ...errors import TamperError

SUMS = "SHA256SUMS"
MAX_BYTES = 256 << 20
MAX_MEMBERS = 20_000
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)*", re.ASCII)
_MAX_NAME = 200
_LOCAL = struct.Struct("<IHHHHHIIIHH")
_CENTRAL = struct.Struct("<IHHHHHHIIIHHHHHII")
_END = struct.Struct("<IHHHHIIH")
_LOCAL_MAGIC, _CENTRAL_MAGIC, _END_MAGIC = 0x04034B50, 0x02014B50, 0x06054B50
_VERSION = 20
_UNIX = 3 << 8 | _VERSION
_DATE = 33  # 1 January 1980: the archive's own form of "no time"
_MODE = 0o100644 << 16


def pack(members: Mapping[str, bytes]) -> bytes:
    """The archive of these members, with their digests beside them. Raises ValueError beyond the limits."""
    return _zip({**members, SUMS: sums(members)})


def sums(members: Mapping[str, bytes]) -> bytes:
    """As the command sha256sum writes them."""
    names = sorted(name for name in members if name != SUMS)
    return "".join(f"{sha256(members[name]).hexdigest()}  {name}\n" for name in names).encode()


def unpack(data: bytes) -> dict[str, bytes]:
    """The members of a bundle, their digests checked. Raises TamperError unless ``data`` is exactly what :func:`pack`
    makes of them.
    """
    if len(data) > MAX_BYTES:
        raise TamperError(f"the bundle is larger than {MAX_BYTES >> 20} MiB", hint="")
    members: dict[str, bytes] = {}
    at = 0
    while data[at : at + 4] == b"PK\x03\x04":
        if len(data) < at + _LOCAL.size:
            raise _broken("is cut short")
        *_, size, _, name_size, extra = _LOCAL.unpack_from(data, at)
        start = at + _LOCAL.size + name_size + extra
        name = data[at + _LOCAL.size : at + _LOCAL.size + name_size].decode("ascii", "replace")
        if start + size > len(data) or not good_name(name) or name in members or len(members) >= MAX_MEMBERS:
            raise _broken("holds a member that cannot be")
        members[name] = data[start : start + size]
        at = start + size
    if not members or _zip(members) != data:
        raise _broken("is not as it was written")
    if members.get(SUMS) != sums(members):
        raise _broken("holds members that do not match their digests")
    return members


def good_name(name: str) -> bool:
    """Relative, plain ASCII, nothing hidden, no way up."""
    return len(name) <= _MAX_NAME and _NAME.fullmatch(name) is not None


def _zip(members: Mapping[str, bytes]) -> bytes:
    body, directory = bytearray(), bytearray()
    for name in sorted(members):
        data, place = members[name], len(body)
        if not good_name(name) or place + len(data) > MAX_BYTES or len(members) > MAX_MEMBERS:
            raise ValueError("a member's name or size is beyond what a bundle takes")
        raw = name.encode("ascii")
        common = (_VERSION, 0, 0, 0, _DATE, zlib.crc32(data), len(data), len(data), len(raw), 0)
        body += _LOCAL.pack(_LOCAL_MAGIC, *common) + raw + data
        directory += _CENTRAL.pack(_CENTRAL_MAGIC, _UNIX, *common, 0, 0, 0, _MODE, place) + raw
    end = _END.pack(_END_MAGIC, 0, 0, len(members), len(members), len(directory), len(body), 0)
    return bytes(body + directory + end)


def _broken(what: str) -> TamperError:
    return TamperError(f"the bundle {what}", hint="Get the file again, and compare its SHA-256 with whoever made it.")
