"""The ID3v2 tag before MP3 and FLAC (id3.org, versions 2.3 and 2.4), as far as labels need it: `PRIV` frames of the
owner `XMP` (Adobe's *XMP Specification Part 3*, 1.1.4) and `TXXX` frames. C2PA keeps its manifest store in the same
tag, as a `GEOB` frame (specification 2.4, A.3.6 and A.3.7). The tags come from strangers: every length is checked.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from ...errors import MediaError

_OWNER = b"XMP\0"
_MAX_FRAMES = 4096
_MAX_SHIFTED = 16 << 20
_SHIFTED, _SHIFTED_FRAME, _LENGTH = 0x80, 0x02, 0x01
"""Flags of a tag, and of a frame of version 2.4."""
_MAX_PACKET = 1 << 20


def tag_length(head: bytes) -> int:
    """Bytes of the tag that ``head`` (10 bytes at least) begins, its header and footer included; 0 without a tag."""
    if len(head) < 10 or head[:3] != b"ID3" or max(head[6:10]) > 127:
        return 0
    return 10 + _syncsafe(head[6:10]) + (10 if head[5] & 0x10 else 0)


def xmp_frames(path: Path) -> Iterator[bytes]:
    """Each XMP packet in the file's tag. Raises MediaError where the tag does not fit the file."""
    for name, data in frames_of(path, _MAX_PACKET):
        if name == b"PRIV" and data.startswith(_OWNER):
            yield data[len(_OWNER) :]


def frames_of(path: Path, most: int) -> Iterator[tuple[bytes, bytes]]:
    """(name, content) of each frame of up to ``most`` bytes in the file's tag. Raises MediaError where the tag does not
    fit the file."""
    with path.open("rb") as stream:
        head = stream.read(10)
        end = tag_length(head)
        if end == 0:
            return
        if end > path.stat().st_size:
            raise MediaError(f"{path.name} breaks off inside its ID3 tag", code="input.media.cut_off")
        if head[3] not in (3, 4):
            return
        if head[3] == 3 and head[5] & _SHIFTED:  # version 2.3 shifts the whole tag, 2.4 each frame
            body = _unshifted(stream.read(min(end - 10, _MAX_SHIFTED)))
            yield from _frames(BytesIO(head + body), head, 10 + len(body), most)
        else:
            yield from _frames(stream, head, end, most)


def _unshifted(data: bytes) -> bytes:
    """Without the zeros that keep a tag from looking like sound (unsynchronisation)."""
    return data.replace(b"\xff\0", b"\xff")


def _frames(stream: BinaryIO, head: bytes, end: int, most: int) -> Iterator[tuple[bytes, bytes]]:
    position, four = 10, head[3] == 4
    if head[5] & 0x40:
        raw = stream.read(4)
        position += _syncsafe(raw) if four else 4 + int.from_bytes(raw, "big")
    for _ in range(_MAX_FRAMES):
        stream.seek(position)
        frame = stream.read(10)
        if position + 10 > end or len(frame) < 10 or not frame[:4].isalnum():
            return
        size = _syncsafe(frame[4:8]) if four else int.from_bytes(frame[4:8], "big")
        if position + 10 + size > end:
            return
        if size <= most:
            data = stream.read(size)
            if four and frame[9] & _LENGTH:
                data = data[4:]
            if four and (frame[9] | head[5] >> 6) & _SHIFTED_FRAME:
                data = _unshifted(data)
            yield frame[:4], data
        position += 10 + size


def write_xmp_frame(path: Path, xmp: bytes, texts: dict[str, str] | None = None) -> None:
    """Puts a tag with the packet before a file that has no tag; ``texts``: `TXXX` frames, value by description. Raises
    MediaError where it has one."""
    body = _frame(b"PRIV", _OWNER + xmp)
    for name, value in (texts or {}).items():
        body += _frame(b"TXXX", b"\3" + name.encode() + b"\0" + value.encode())
    part = path.with_name(path.name + ".tagged")
    with path.open("rb") as read, part.open("wb") as write:
        if read.read(3) == b"ID3":
            raise MediaError("the sound has an ID3 tag already", code="input.media.format")
        read.seek(0)
        write.write(b"ID3\x04\0\0" + _to_syncsafe(len(body)) + body)
        shutil.copyfileobj(read, write, 1 << 20)
    os.replace(part, path)


def _frame(name: bytes, content: bytes) -> bytes:
    return name + _to_syncsafe(len(content)) + b"\0\0" + content


def _syncsafe(raw: bytes) -> int:
    """Seven bits a byte."""
    value = 0
    for byte in raw:
        value = value << 7 | byte & 0x7F
    return value


def _to_syncsafe(value: int) -> bytes:
    if value >= 1 << 28:
        raise MediaError("an ID3 tag holds 256 MiB at most", code="input.media.too_large")
    return bytes(value >> shift & 0x7F for shift in (21, 14, 7, 0))
