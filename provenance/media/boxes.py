"""Walking the boxes of an ISO base media file (ISO/IEC 14496-12): MP4, MOV and AVIF.

These files come from strangers: every length is checked, and so is the number of boxes, since readers behind us
(c2pa-rs among them) take time in the square of it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ...errors import MediaError

MAX_BOXES = 16_384
"""Room for fragments of two seconds over four hours; a file with more is taken for an attack."""
_CONTAINERS = frozenset(b"moov trak mdia minf stbl dinf edts udta mvex moof traf mfra meta iprp ipco ilst".split())


def boxes(stream: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(name, start of the content, end) of each box in ``stream[start:end]``, up to the first that does not fit."""
    position = start
    while position + 8 <= end:
        stream.seek(position)
        length, name = struct.unpack(">I4s", stream.read(8))
        header = 8
        if length == 1:
            raw = stream.read(8)
            if len(raw) < 8:
                return
            length, header = struct.unpack(">Q", raw)[0], 16
        elif length == 0:
            length = end - position
        if length < header or position + length > end:
            return
        yield name, position + header, position + length
        position += length


def check_boxes(path: Path) -> None:
    """Raises MediaError for a file of more than ``MAX_BOXES`` boxes, at any depth."""
    count = 0
    with path.open("rb") as stream:
        waiting = [(0, path.stat().st_size)]
        while waiting:
            for name, content, end in boxes(stream, *waiting.pop()):
                count += 1
                if count > MAX_BOXES:
                    raise MediaError(f"{path.name} has more than {MAX_BOXES} boxes", code="input.media.damaged")
                if name in _CONTAINERS:
                    # `meta` is a full box in MP4 and AVIF (version and flags first), and a plain one in MOV.
                    waiting.append((content + (4 if name == b"meta" and _full(stream, content) else 0), end))


def _full(stream: BinaryIO, content: int) -> bool:
    stream.seek(content)
    return stream.read(4) == bytes(4)


def check_kind(path: Path, *, still: bool) -> None:
    """Raises MediaError where the boxes are not what the brand says. A C2PA signature leaves `ftyp` out of its hash
    (C2PA 2.4, BMFF-based hash), so a brand that was exchanged after signing would show a signed file as something else:
    a still picture has its items in `meta`, anything that plays has a `moov`, and a file with both is two files."""
    names, pictures = set[bytes](), False
    with path.open("rb") as stream:
        for name, content, end in boxes(stream, 0, path.stat().st_size):
            names.add(name)
            if name == b"meta":
                # A full box, then its handler box first (ISO/IEC 23008-12, 6.2).
                stream.seek(content)
                pictures = pictures or stream.read(min(64, end - content))[20:24] == b"pict"
    if still and not pictures:
        raise MediaError(f"{path.name} says that it is a picture, and holds none", code="input.media.damaged")
    if not still and b"moov" not in names:
        raise MediaError(f"{path.name} says that it is a clip or a sound, and holds none", code="input.media.damaged")
    if not still and pictures:
        raise MediaError(f"{path.name} is a clip and a picture in one", code="input.media.polyglot")
