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
from ..media.packets import png_texts
from ..media.pictures import open_picture
from ..media.values import kind_of_mime
from ..media.xmp import plain_xml, riff_chunks
from .aigc import MOST_BYTES, NAMESPACE

_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286
_MOST = 16
_FAR = 1 << 16
_ID3_CODECS = {b"\0": "latin-1", b"\1": "utf-16", b"\2": "utf-16-be", b"\3": "utf-8"}
_ATTRIBUTE = re.compile(r"(?:([\w.-]{1,40}):|\s)AIGC\s*=\s*(\"[^\"]*\"|'[^']*')")
_OPENING = re.compile(r"<(?:([\w.-]{1,40}):)?AIGC(?:\s[^>]{0,400})?>")
_TAG = re.compile(r"<[^>]*>?")
ELSEWHERE = "XMP of another namespace"


def in_xmp(packet: str | None) -> list[tuple[str, str]]:
    """(place, text) of the labels in an XMP packet, as attribute or element. Patterns, not a parser: nothing is
    expanded."""
    if not packet:
        return []
    packet = plain_xml(packet)
    own = set(re.findall(rf"xmlns:([\w.-]{{1,40}})\s*=\s*[\"']{re.escape(NAMESPACE)}[\"']", packet))
    # `xmlns:AIGC` names a space and no label.
    found = [(prefix, value[1:-1]) for prefix, value in _ATTRIBUTE.findall(packet) if prefix != "xmlns"]
    for match in _OPENING.finditer(packet):
        if len(found) >= _MOST:
            break
        if not match.group(0).endswith("/>"):
            # The end is searched once, with `find`: a pattern over both takes time in the square of a hostile packet.
            end = packet.find("AIGC>", match.end(), match.end() + _FAR)
            value = packet[match.end() : end if end >= 0 else match.end() + _FAR].rpartition("</")[0]
            found.append((match.group(1) or "", _TAG.sub("", value)))
    # One that is too long is one label all the same, and no object of the standard's.
    return [
        ("XMP" if prefix in own else ELSEWHERE, html.unescape(value[: MOST_BYTES * 2]).strip())
        for prefix, value in found[:_MOST]
    ]


def read_all(path: Path, mime: str, packet: str | None, limits: Limits) -> tuple[tuple[str, str], ...]:
    """(place, text) of every AIGC label in a file that was opened before; ``packet``: its XMP."""
    found = in_xmp(packet)
    try:
        own = list(_own_place(path, mime))
        found += own
        if not own and kind_of_mime(mime) != "image":  # tags show the labels of their own place, too
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
    if mime == "image/png":
        for name, value in png_texts(path):
            if name in (b"AIGC", b"TC260:AIGC"):
                yield "text chunk", value[:MOST_BYTES].decode("utf-8", "replace")
    if isinstance(comment, bytes) and len(comment) < MOST_BYTES:
        # The first eight bytes name the character set (EXIF 2.3, UserComment); "UNICODE" is UTF-16, and UTF-8 by some.
        raw = comment[8:] if comment[:5] in (b"ASCII", b"UNICO", b"\0\0\0\0\0") else comment
        for codec in ("utf-8", "utf-16-le", "utf-16-be"):
            text = raw.decode(codec, "replace")
            if '"Label"' in text:
                yield "EXIF", text.strip("\ufeff\0 ")
                return


def _of_chunks(path: Path) -> Iterator[tuple[str, str]]:
    with path.open("rb") as stream:
        for name, (offset, length) in riff_chunks(path):
            if name == b"AIGC" and length <= MOST_BYTES:
                stream.seek(offset)
                yield "WAV chunk", stream.read(length).decode("utf-8", "replace").strip("\0 ")


def _of_frames(path: Path) -> Iterator[tuple[str, str]]:
    for name, data in frames_of(path, MOST_BYTES):
        # TXXX: the encoding, a description, and after a zero the value (id3.org, ID3v2.4, 4.2.6).
        if name == b"TXXX" and data[:1] in _ID3_CODECS:
            described, _, value = data[1:].decode(_ID3_CODECS[data[:1]], "replace").partition("\0")
            if described.strip("\ufeff") == "AIGC":
                yield "TXXX", value.strip("\ufeff\0 ")


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
