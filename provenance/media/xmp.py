"""Where each container keeps its XMP packet (ISO 16684-1 and Adobe's *XMP Specification Part 3*).

PNG: an iTXt chunk `XML:com.adobe.xmp`; JPEG, WebP, AVIF, HEIC: through Pillow; TIFF: tag 700; GIF: an application
extension; MP4, MOV and M4A: a top-level `uuid` box; WAV: a `_PMX` chunk; MP3, and FLAC after its manner: an ID3 `PRIV`
frame; WebM and Ogg, for which nobody has defined it: a tag `XMP`. The walks read strangers' files, so every length is
checked.
"""

from __future__ import annotations

import codecs
import struct
import uuid
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO
from xml.sax.saxutils import escape

from ...errors import MediaError
from .boxes import MAX_BOXES, boxes
from .files import open_container
from .gif import gif_packets
from .id3 import write_xmp_frame, xmp_frames
from .packets import jpeg_packets, png_packets, webp_packets
from .pictures import open_picture
from .values import Limits, kind_of_mime

_XMP_UUID = uuid.UUID("be7acfcb-97a9-42e8-9c71-999491e3afac").bytes
_MAX_PACKET = 1 << 20
_MAX_CHUNKS = 4096
_MOST_PACKETS = 64
_UNKNOWN = 0xFFFFFFFF


def read_xmp(path: Path, mime: str) -> str | None:
    """The text of the file's XMP packet, or of all one after another where there are several: whoever reads only one
    of two that contradict each other sees what its author likes. None without any. Raises MediaError where the
    container is broken."""
    if (walk := _PICTURES.get(mime)) is not None and (several := _joined(walk(path))):
        return several
    if kind_of_mime(mime) == "image":
        return _joined(_of_picture(path, mime))
    if mime in ("audio/mpeg", "audio/flac"):
        return _joined(xmp_frames(path))
    if mime in ("video/webm", "audio/ogg"):
        return _joined(_of_tags(path, mime))
    if mime == "audio/wav":
        return _joined(_bytes_of(path, data) for name, data in riff_chunks(path) if name == b"_PMX")
    return _joined(_of_bmff(path))


_PICTURES = {
    "image/jpeg": jpeg_packets, "image/png": png_packets, "image/webp": webp_packets, "image/gif": gif_packets,
}  # fmt: skip


def _joined(packets: Iterable[bytes | str]) -> str | None:
    """None for no packet at all."""
    found, size = list[str](), 0
    for packet in packets:
        size += len(packet)
        if size > _MAX_PACKET or len(found) >= _MOST_PACKETS:
            break
        found.append(packet if isinstance(packet, str) else _text_of(packet))
    return "\n".join(found) if found else None


def _text_of(packet: bytes) -> str:
    """A packet is UTF-8, UTF-16 or UTF-32 (ISO 16684-1, 7.1): its first character is `<`, a blank or the byte order
    mark, so that the zeros among the first bytes say which."""
    head = packet[:4]
    codec = next((name for marks, name in _CODECS if head.startswith(marks)), None)
    codec = codec or _BY_ZEROS.get(tuple(byte == 0 for byte in head), "utf-8-sig")
    return packet.decode(codec, "replace").rstrip("\0 \n")


_CODECS = (
    ((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE), "utf-32"),
    ((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE), "utf-16"),
)
_BY_ZEROS: dict[tuple[bool, ...], str] = {
    (False, True, True, True): "utf-32-le", (True, True, True, False): "utf-32-be",
    (False, True, False, True): "utf-16-le", (True, False, True, False): "utf-16-be",
}  # fmt: skip


def plain_xml(packet: str) -> str:
    """A packet without what is commented out, and with CDATA as the text that it is. No pattern looks twice at what
    was left open, since a hostile packet is made of that."""
    for begin, end, kept in (("<!--", "-->", False), ("<![CDATA[", "]]>", True)):
        parts, place = list[str](), 0
        while (start := packet.find(begin, place)) >= 0 and (stop := packet.find(end, start + len(begin))) >= 0:
            parts += [packet[place:start], escape(packet[start + len(begin) : stop]) if kept else ""]
            place = stop + len(end)
        packet = "".join([*parts, packet[place:]])
    return packet


def write_xmp(path: Path, mime: str, xmp: str, *, aigc: str | None = None) -> None:
    """Adds the packet to an MP4, MOV, M4A, WAV, MP3 or FLAC file that has none. Others get it when encoded. ``aigc``:
    the AIGC label of a WAV (a chunk) or MP3 file (a `TXXX` frame); others carry it elsewhere."""
    data = xmp.encode()
    if mime in ("audio/mpeg", "audio/flac"):
        write_xmp_frame(path, data, {"AIGC": aigc} if aigc is not None and mime == "audio/mpeg" else None)
    elif mime in ("video/mp4", "video/quicktime", "audio/mp4"):
        with path.open("ab") as stream:
            stream.write(struct.pack(">I4s", 24 + len(data), b"uuid") + _XMP_UUID + data)
    elif mime == "audio/wav":
        with path.open("r+b") as stream:
            stream.seek(0, 2)
            if stream.tell() % 2:
                stream.write(b"\0")
            for name, content in ((b"_PMX", data), *([(b"AIGC", aigc.encode())] if aigc is not None else [])):
                stream.write(name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2))
            total = stream.tell()
            stream.seek(4)
            stream.write(struct.pack("<I", total - 8))
    else:
        raise MediaError(f"XMP is not added to {mime} afterwards", code="input.media.format")


def _of_picture(path: Path, mime: str) -> Iterator[bytes | str]:
    with open_picture(path, mime) as image:
        found = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
        if found is None and mime == "image/tiff":
            found = getattr(image, "tag_v2", {}).get(700)
        if isinstance(found, bytes | str):
            yield found


def _of_tags(path: Path, mime: str) -> list[str]:
    """A stream repeats what its container says: that is one packet."""
    with open_container(path, mime, Limits()) as container:
        tags = [container.metadata, *(stream.metadata for stream in container.streams)]
        found = [value[:_MAX_PACKET] for tag in tags for name, value in tag.items() if name.upper() == "XMP"]
    return list(dict.fromkeys(found))


def _of_bmff(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        for name, content, end in islice(boxes(stream, 0, path.stat().st_size), MAX_BOXES):
            if name != b"uuid" or end - content < 16:
                continue
            stream.seek(content)
            if stream.read(16) == _XMP_UUID:
                yield stream.read(min(end - content - 16, _MAX_PACKET))


def riff_chunks(path: Path) -> Iterator[tuple[bytes, tuple[int, int]]]:
    """Each top-level chunk of a WAV file as (name, (offset, length)). A length beyond the file's end is an error, but
    for samples whose length was not known when it was written: RF64 has it in a chunk of its own (EBU Tech 3306), and
    what went through a pipe has none, and ends with the file."""
    size, known = path.stat().st_size, None
    with path.open("rb") as stream:
        head = stream.read(12)
        if len(head) < 12 or head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
            raise MediaError(f"{path.name} is not a RIFF WAVE file", code="input.media.format")
        position = 12
        for _ in range(_MAX_CHUNKS):
            stream.seek(position)
            header = stream.read(8)
            if len(header) < 8:
                return
            name, length = struct.unpack("<4sI", header)
            if name == b"ds64" and length >= 16:
                known = struct.unpack("<QQ", stream.read(16).ljust(16, b"\0"))[1]
            if name == b"data" and length == _UNKNOWN:
                length = size - position - 8 if known is None else known
            if position + 8 + length > size:
                raise MediaError(f"{path.name} breaks off inside its {name!r} chunk", code="input.media.cut_off")
            yield name, (position + 8, length)
            position += 8 + length + length % 2


def _bytes_of(path: Path, where: tuple[int, int]) -> bytes:
    with path.open("rb") as stream:
        stream.seek(where[0])
        return stream.read(min(where[1], _MAX_PACKET))


def write_riff(target: Path, chunks: Iterable[tuple[bytes, tuple[int, int]]], source: Path) -> None:
    """Writes a WAV file from (name, (offset, length)) pieces of ``source``, copied in blocks of 1 MiB."""
    with source.open("rb") as read, target.open("wb") as write:
        write.write(b"RIFF\0\0\0\0WAVE")
        for name, (offset, length) in chunks:
            write.write(name + struct.pack("<I", length))
            _copy(read, write, offset, length)
            write.write(b"\0" * (length % 2))
        total = write.tell()
        write.seek(4)
        write.write(struct.pack("<I", total - 8))


def _copy(read: BinaryIO, write: BinaryIO, offset: int, length: int) -> None:
    read.seek(offset)
    while length:
        block = read.read(min(length, 1 << 20))
        if not block:
            raise MediaError("the file became shorter while it was read", code="input.media.cut_off")
        write.write(block)
        length -= len(block)
