"""A HEIC file without a HEIC encoder: one intra frame of x265 (inside PyAV) in a container written here by hand.

ISO/IEC 23008-12 for the boxes; ISO/IEC 14496-15, 8.3.3.1, for the decoder configuration.
"""

from __future__ import annotations

import struct

import av
import numpy as np
from numpy.typing import NDArray

VPS, SPS, PPS = 32, 33, 34


def box(name: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), name) + body


def full(name: bytes, version: int, flags: int, *parts: bytes) -> bytes:
    return box(name, struct.pack(">I", version << 24 | flags), *parts)


def units(rgb: NDArray[np.uint8], form: str) -> list[bytes]:
    """The NAL units of one picture."""
    height, width = rgb.shape[:2]
    codec: av.VideoCodecContext = av.CodecContext.create("libx265", "w")  # type: ignore[assignment]
    codec.width, codec.height, codec.pix_fmt, codec.framerate = width, height, form, 1  # type: ignore[assignment]
    codec.options = {"x265-params": "keyint=1:log-level=none:repeat-headers=1:info=0", "crf": "10"}
    frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format=form)
    data = b"".join(bytes(packet) for packet in [*codec.encode(frame), *codec.encode(None)])
    found = [part.strip(b"\0") for part in data.split(b"\0\0\1")]
    return [part for part in found if part]


def encode_heic(rgb: NDArray[np.uint8], xmp: bytes | None = None, form: str = "yuv420p") -> bytes:
    """``rgb``: uint8 (h, w, 3), even sides. ``form``: `yuv420p10le` for ten bits a channel."""
    nals = units(rgb, form)
    kinds = {kind: [n for n in nals if n[0] >> 1 & 0x3F == kind] for kind in (VPS, SPS, PPS)}
    picture = b"".join(struct.pack(">I", len(n)) + n for n in nals if n[0] >> 1 & 0x3F < VPS)
    depth = 10 if form.endswith("10le") else 8
    profile = bytes([1 if depth == 8 else 2]) + b"\x60\0\0\0\x90\0\0\0\0\0\x5d"
    config = b"\x01" + profile + b"\xf0\0\xfc\xfd" + bytes([0xF8 | depth - 8, 0xF8 | depth - 8]) + b"\0\0\x0f"
    config += bytes([len(kinds)])
    for kind, group in kinds.items():
        config += bytes([0x80 | kind]) + struct.pack(">H", len(group))
        config += b"".join(struct.pack(">H", len(n)) + n for n in group)
    height, width = rgb.shape[:2]
    items = [(1, b"hvc1", picture, b"")]
    if xmp is not None:
        items.append((2, b"mime", xmp, b"application/rdf+xml\0"))

    def meta(offsets: list[int]) -> bytes:
        places = b"".join(
            struct.pack(">HHHII", number, 0, 1, offset, len(data))
            for (number, _, data, _), offset in zip(items, offsets, strict=True)
        )
        infos = b"".join(
            full(b"infe", 2, 0, struct.pack(">HH", n, 0), kind, b"\0", extra) for n, kind, _, extra in items
        )
        properties = box(
            b"iprp",
            box(b"ipco", box(b"hvcC", config), full(b"ispe", 0, 0, struct.pack(">II", width, height))),
            full(b"ipma", 0, 0, struct.pack(">IHBBB", 1, 1, 2, 0x81, 0x02)),
        )
        references = full(b"iref", 0, 0, box(b"cdsc", struct.pack(">HHH", 2, 1, 1))) if xmp is not None else b""
        return full(
            b"meta",
            0,
            0,
            full(b"hdlr", 0, 0, b"\0\0\0\0pict" + bytes(13)),
            full(b"pitm", 0, 0, struct.pack(">H", 1)),
            full(b"iloc", 0, 0, b"\x44\0", struct.pack(">H", len(items)), places),
            full(b"iinf", 0, 0, struct.pack(">H", len(items)), infos),
            references,
            properties,
        )

    head = box(b"ftyp", b"heic\0\0\0\0mif1heic")
    start = len(head) + len(meta([0] * len(items))) + 8
    offsets = [start + sum(len(d) for _, _, d, _ in items[:k]) for k in range(len(items))]
    return head + meta(offsets) + box(b"mdat", *(data for _, _, data, _ in items))
