"""Every place at which files carry an AIGC label, so that two labels in one file are seen to be two.

The standard's places: XMP `TC260:AIGC` (JPEG, PNG, WebP and what else has XMP), `moov.udta.meta` with the key `AIGC`
(MP4, MOV, M4A), a chunk `AIGC` (WAV), a `TXXX` frame (MP3). Read besides: EXIF's UserComment, a PNG text chunk and
container tags, where tools of everyday use put it. Damage in a label is its absence, never an error.
"""

from __future__ import annotations

import html
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import av

from ...errors import MediaError
from ..media import Limits
from ..media.boxes import boxes
from ..media.files import open_container
from ..media.id3 import frames_of
from ..media.pictures import open_picture
from ..media.values import kind_of_mime
from ..media.xmp import riff_chunks
from .aigc import MOST_BYTES

_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286
_MOST = 16
_ATTRIBUTE = re.compile(r"[:\s]AIGC\s*=\s*(\"[^\"]{0,8192}\"|'[^']{0,8192}')")
_ELEMENT = re.compile(r"<(?:[\w.-]{1,40}:)?AIGC(?:\s[^>]{0,400})?>([^<]{0,8192})</")


def in_xmp(packet: str | None) -> list[str]:
    """The labels of an XMP packet, as attribute or element. Patterns, not a parser: nothing is expanded."""
    if not packet:
        return []
    # An attribute `xmlns:TC260` of the same packet names the space and no label.
    found = [match.group(1)[1:-1] for match in _ATTRIBUTE.finditer(packet)]
    found += [match.group(1) for match in _ELEMENT.finditer(packet)]
    return [html.unescape(value).strip() for value in found][:_MOST]


def read_all(path: Path, mime: str, packet: str | None, limits: Limits) -> tuple[tuple[str, str], ...]:
    """(place, text) of every AIGC label in a file that was opened before; ``packet``: its XMP."""
    found = [("XMP", value) for value in in_xmp(packet)]
    try:
        found += _own_place(path, mime)
        if not found and kind_of_mime(mime) != "image":
            found += _of_tags(path, mime, limits)
    except (MediaError, OSError, ValueError, struct.error, av.error.FFmpegError):
        pass
    return tuple(found[:_MOST])


def _own_place(path: Path, mime: str) -> Iterator[tuple[str, str]]:
    if kind_of_mime(mime) == "image":
        yield from _of_picture(path, mime)
    elif mime == "audio/wav":
        yield from _of_chunks(path)
    elif mime in ("audio/mpeg", "audio/flac"):
        yield from _of_frames(path)
    elif mime in ("video/mp4", "video/quicktime", "audio/mp4"):
        yield from _of_boxes(path)


def _of_picture(path: Path, mime: str) -> Iterator[tuple[str, str]]:
    with open_picture(path, mime) as image:
        info = dict(image.info)
        exif: Any = {} if mime == "image/png" and "exif" not in info else image.getexif()
        comment = exif.get_ifd(_EXIF_IFD).get(_USER_COMMENT) if exif else None
    for name in ("AIGC", "TC260:AIGC"):
        if isinstance(info.get(name), str):
            yield "text chunk", info[name][:MOST_BYTES]
    if isinstance(comment, bytes) and len(comment) < MOST_BYTES and b'"Label"' in comment:
        # The first eight bytes name the character set (EXIF 2.3, UserComment).
        raw = comment[8:] if comment[:5] in (b"ASCII", b"UNICO", b"\0\0\0\0\0") else comment
        yield "EXIF", raw.decode("utf-8", "replace").strip("\0 ")


def _of_chunks(path: Path) -> Iterator[tuple[str, str]]:
    with path.open("rb") as stream:
        for name, (offset, length) in riff_chunks(path):
            if name == b"AIGC" and length <= MOST_BYTES:
                stream.seek(offset)
                yield "WAV chunk", stream.read(length).decode("utf-8", "replace").strip("\0 ")


def _of_frames(path: Path) -> Iterator[tuple[str, str]]:
    for name, data in frames_of(path, MOST_BYTES):
        # TXXX: the encoding, a description, and after a zero the value (id3.org, ID3v2.4, 4.2.6).
        if name == b"TXXX" and data[:1] in (b"\0", b"\3"):
            described, _, value = data[1:].partition(b"\0")
            if described == b"AIGC":
                yield "TXXX", value.decode("utf-8", "replace").strip("\0 ")


def _of_boxes(path: Path) -> Iterator[tuple[str, str]]:
    with path.open("rb") as stream:
        for start, end in _inside(stream, [(0, path.stat().st_size)], (b"moov", b"udta", b"meta")):
            yield from _of_meta(stream, start + 4, end)
        for start, end in _inside(stream, [(0, path.stat().st_size)], (b"moov", b"meta")):
            yield from _of_meta(stream, start, end)


def _inside(stream: BinaryIO, spans: list[tuple[int, int]], names: tuple[bytes, ...]) -> list[tuple[int, int]]:
    for wanted in names:
        spans = [(a, b) for start, end in spans for name, a, b in boxes(stream, start, end) if name == wanted]
    return spans


def _of_meta(stream: BinaryIO, start: int, end: int) -> Iterator[tuple[str, str]]:
    """The values of the key `AIGC` (QuickTime File Format, *Metadata*: keys and item list)."""
    keys = _inside(stream, [(start, end)], (b"keys",))
    items = _inside(stream, [(start, end)], (b"ilst",))
    if not keys or not items or keys[0][1] - keys[0][0] > 1 << 16:
        return
    names = _key_names(stream, *keys[0])
    for number, a, b in boxes(stream, *items[0]):
        index = int.from_bytes(number, "big")
        if not 1 <= index <= len(names) or names[index - 1] != b"AIGC":
            continue
        for c, d in _inside(stream, [(a, b)], (b"data",)):
            if 8 <= d - c <= MOST_BYTES:
                stream.seek(c + 8)
                yield "moov.udta.meta", stream.read(d - c - 8).decode("utf-8", "replace")


def _key_names(stream: BinaryIO, start: int, end: int) -> list[bytes]:
    stream.seek(start)
    data, names, place = stream.read(end - start), [], 8
    while place + 8 <= len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        if size < 8 or place + size > len(data):
            break
        names.append(data[place + 8 : place + size])
        place += size
    return names


def _of_tags(path: Path, mime: str, limits: Limits) -> Iterator[tuple[str, str]]:
    with open_container(path, mime, limits) as container:
        tags = [container.metadata, *(stream.metadata for stream in container.streams)]
        for tag in tags:
            yield from (("tag", value[:MOST_BYTES]) for name, value in tag.items() if name.upper() == "AIGC")
