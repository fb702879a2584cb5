"""Every XMP packet and text chunk of a JPEG, PNG or WebP file, wherever it stands: Pillow shows one of several, and of
a PNG only those before the picture. Two packets that contradict each other must both be seen. Pure walks over
strangers' files: every length is checked.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_XMP, _MORE = b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
_MORE_HEAD = len(_MORE) + 32 + 8  # a digest in hex, the whole length, this part's offset (XMP Part 3, 1.1.3.1)
_KEY = b"XML:com.adobe.xmp"
_MAX_SEGMENTS, _MAX_CHUNKS = 4096, 1 << 16
_MAX_PACKET = 1 << 20
_MAX_ALL = 4 << 20
"""Of all that is taken out of one file, unpacked: a thousand small chunks may each unpack to a megabyte."""
_MAX_FILL = 4096


def jpeg_packets(path: Path) -> list[bytes]:
    """Standard and extended XMP, in the order of the file."""
    found, more, size = list[bytes](), dict[bytes, list[tuple[bytes, bytes]]](), 0
    with path.open("rb") as stream:
        for data in _segments(stream):
            size += len(data)
            if size > _MAX_ALL:
                break
            if data.startswith(_XMP):
                found.append(data[len(_XMP) :])
            elif data.startswith(_MORE) and len(data) >= _MORE_HEAD:
                parts = more.setdefault(data[len(_MORE) : len(_MORE) + 32], [])
                parts.append((data[_MORE_HEAD - 4 : _MORE_HEAD], data[_MORE_HEAD:]))
    # The parts of one packet stand in any order, and each names its own place in it.
    return [*found, *(b"".join(part for _, part in sorted(parts, key=_place)) for parts in more.values())]


def _place(part: tuple[bytes, bytes]) -> bytes:
    return part[0]


def _segments(stream: BinaryIO) -> Iterator[bytes]:
    """The content of each APP1 segment before the picture's own data."""
    if stream.read(2) != b"\xff\xd8":
        return
    for _ in range(_MAX_SEGMENTS):
        marker = stream.read(2)
        for _ in range(_MAX_FILL):
            if marker != b"\xff\xff":
                break
            marker = b"\xff" + stream.read(1)
        if len(marker) < 2 or marker[0] != 0xFF or marker[1] in (0xDA, 0xD9):
            return
        if marker[1] == 0x01 or 0xD0 <= marker[1] <= 0xD7:
            continue
        length = stream.read(2)
        if len(length) < 2 or (size := struct.unpack(">H", length)[0]) < 2:
            return
        if marker[1] == 0xE1:
            yield stream.read(size - 2)
        else:
            stream.seek(size - 2, 1)


def webp_packets(path: Path) -> Iterator[bytes]:
    position, size = 12, path.stat().st_size
    with path.open("rb") as stream:
        for _ in range(_MAX_SEGMENTS):
            stream.seek(position)
            head = stream.read(8)
            if len(head) < 8:
                return
            kind, length = struct.unpack("<4sI", head)
            if kind == b"XMP " and position + 8 + length <= size:
                yield stream.read(min(length, _MAX_PACKET))
            position += 8 + length + length % 2


def png_packets(path: Path) -> list[bytes]:
    return [value for name, value in png_texts(path) if name == _KEY]


def png_texts(path: Path) -> list[tuple[bytes, bytes]]:
    """(keyword, value) of each tEXt, zTXt and iTXt chunk, behind the picture too. A damaged one is left out."""
    found, size, taken = list[tuple[bytes, bytes]](), path.stat().st_size, 0
    with path.open("rb") as stream:
        if stream.read(8) != b"\x89PNG\r\n\x1a\n":
            return []
        for _ in range(_MAX_CHUNKS):
            head = stream.read(8)
            if len(head) < 8:
                break
            length, kind = struct.unpack(">I4s", head)
            if kind == b"IEND" or stream.tell() + length > size:
                break
            if kind in (b"tEXt", b"zTXt", b"iTXt") and length <= _MAX_PACKET:
                for name, value in _text(kind, stream.read(length)):
                    taken += len(value)
                    if taken > _MAX_ALL:
                        return found
                    found.append((name, value))
                stream.seek(4, 1)
            else:
                stream.seek(length + 4, 1)
    return found


def _text(kind: bytes, data: bytes) -> list[tuple[bytes, bytes]]:
    name, _, rest = data.partition(b"\0")
    packed = kind == b"zTXt"
    if kind == b"iTXt":
        packed, rest = rest[:1] == b"\1", rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    elif packed:
        rest = rest[1:]
    if packed:
        try:
            rest = zlib.decompressobj().decompress(rest, _MAX_PACKET)
        except zlib.error:
            return []
    return [(name, rest)]
