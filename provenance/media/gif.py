"""XMP in GIF: an application extension `XMP Data` `XMP` whose packet stands there as it is, not in sub-blocks (Adobe's
*XMP Specification Part 3*, 1.1.2). A "magic trailer" of 258 bytes leads a reader of sub-blocks to the end wherever in
the packet it falls into the step. GIFs come from strangers: every walk is bounded.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from ...errors import MediaError

_EXTENSION = b"\x21\xff\x0bXMP DataXMP"
_TRAILER = b"\x01" + bytes(range(255, -1, -1)) + b"\x00"
_MAX_PACKET = 1 << 20
_MAX_BLOCKS = 4096


def with_xmp(gif: bytes, xmp: bytes) -> bytes:
    """A GIF that we encoded, with the packet behind its screen descriptor and colour table."""
    at = 13 + _table(gif[10])
    return b"GIF89a" + gif[6:at] + _EXTENSION + xmp + _TRAILER + gif[at:]


def read_gif_xmp(path: Path) -> bytes | None:
    """The packet, or None. Only blocks before the first picture are looked at, where everybody writes it."""
    with path.open("rb") as stream:
        head = stream.read(13)
        if len(head) < 13 or head[:3] != b"GIF":
            raise MediaError(f"{path.name} is not a GIF", code="input.media.format")
        stream.seek(13 + _table(head[10]))
        for _ in range(_MAX_BLOCKS):
            start = stream.read(14)
            if start[:1] != b"\x21":
                return None
            if start == _EXTENSION:
                data = stream.read(_MAX_PACKET + len(_TRAILER))
                end = data.find(_TRAILER)
                return data[:end] if end >= 0 else None
            stream.seek(2 - len(start), 1)
            if not _skip(stream):
                return None
    return None


def _skip(stream: BinaryIO) -> bool:
    """Past one chain of sub-blocks, C2PA's own among them; False where the file ends first."""
    for _ in range(1 << 20):
        length = stream.read(1)
        if not length:
            return False
        if length == b"\0":
            return True
        stream.seek(length[0], 1)
    return False


def _table(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0
