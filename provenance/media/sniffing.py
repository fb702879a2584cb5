"""Which format a file is in, by its first bytes and never by its name."""

from __future__ import annotations

from pathlib import Path

from .id3 import tag_length

HEAD = 64
"""Bytes from the start that decide."""
_STILL_HEVC = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis")
_STILL_ANY = (b"mif1", b"msf1")
_SOUND = (b"M4A ", b"M4B ")


def sniff(head: bytes) -> str | None:
    """The MIME type by the first 64 bytes (fewer may do), or None for what we do not read. An ID3 tag may stand before
    MP3 or FLAC: `sniff_file` looks behind it."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "image/gif"
    if head[:4] in (b"II*\0", b"MM\0*"):
        return "image/tiff"
    if head[:4] in (b"RIFF", b"RF64"):
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav"}.get(head[8:12])
    if head[4:8] == b"ftyp":
        return _bmff(head)
    if head.startswith(b"fLaC"):
        return "audio/flac"
    if head.startswith(b"OggS"):
        return "audio/ogg"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "video/webm" if b"\x42\x82\x84webm" in head[:HEAD] else None
    if head.startswith(b"ID3") or _is_mp3_frame(head):
        return "audio/mpeg"
    return None


def _bmff(head: bytes) -> str:
    brand = head[8:12]
    # The compatible brands, as far as they stand in the first bytes and inside the box.
    others = head[16 : max(16, min(int.from_bytes(head[:4], "big"), HEAD))]
    if brand in (b"avif", b"avis") or (brand in _STILL_ANY and b"avif" in others):
        return "image/avif"
    if brand in _STILL_HEVC:
        return "image/heic"
    if brand in _STILL_ANY:
        return "image/heif"
    if brand == b"qt  ":
        return "video/quicktime"
    return "audio/mp4" if brand in _SOUND else "video/mp4"


def _is_mp3_frame(head: bytes) -> bool:
    """A header of MPEG layer III (ISO/IEC 11172-3, 2.4.2.3) with a bit rate and a sampling rate that exist."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return False
    return head[1] & 0x18 != 0x08 and head[2] >> 4 not in (0, 15) and head[2] & 0x0C != 0x0C


def sniff_file(path: Path) -> str | None:
    """The MIME type of a file. Raises OSError."""
    with path.open("rb") as stream:
        head = stream.read(HEAD)
        if not head.startswith(b"ID3"):
            return sniff(head)
        stream.seek(tag_length(head))
        return {"audio/flac": "audio/flac", "audio/mpeg": "audio/mpeg"}.get(sniff(stream.read(HEAD)) or "")
