"""XMP in GIF: an application extension `XMP Data` `XMP` whose packet stands there as it is, not in sub-blocks (Adobe's
*XMP Specification Part 3*, 1.1.2). A "magic trailer" of 258 bytes leads a reader of sub-blocks to the end wherever in
the packet it falls into the step. GIFs come from strangers: every walk is bounded.
"""

from __future__ import annotations

from collections.abc import Iterator
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


def gif_packets(path: Path) -> Iterator[bytes]:
    """Each packet, also behind the picture. Ends at the first block that is damaged."""
    with path.open("rb") as stream:
        head = stream.read(13)
        if len(head) < 13 or head[:3] != b"GIF":
            raise MediaError(f"{path.name} is not a GIF", code="input.media.format")
        stream.seek(13 + _table(head[10]))
        for _ in range(_MAX_BLOCKS):
            block = stream.tell()
            start = stream.read(14)
            if start == _EXTENSION:
                data = stream.read(_MAX_PACKET + len(_TRAILER))
                end = data.find(_TRAILER)
                if end < 0:
                    return
                yield data[:end]
                stream.seek(block + 14 + end + len(_TRAILER))
                continue
            if start[:1] == b"\x21":
                stream.seek(block + 2)
            elif start[:1] == b"\x2c" and len(start) == 14:
                stream.seek(block + 11 + _table(start[9]))  # the picture's own head, its colours, the least code size
            else:
                return
            if not _skip(stream):
                return


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
