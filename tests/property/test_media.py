"""Our own walks over RIFF, BMFF and XMP, on anything: they end, they stay inside the file, and they raise one error."""

from __future__ import annotations

import io
import struct
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filigrana.errors import MediaError
from filigrana.provenance.labels import read_label
from filigrana.provenance.media import MIME_BY_SUFFIX, open_media, read_xmp, sniff, write_xmp
from filigrana.provenance.media.boxes import MAX_BOXES, boxes, check_boxes
from filigrana.provenance.media.sound import read_sound, write_wav
from filigrana.provenance.media.write import encode_picture
from filigrana.provenance.media.xmp import riff_chunks
from filigrana.tests.doubles import scene

NAMES = st.sampled_from([b"ftyp", b"moov", b"trak", b"mdia", b"meta", b"free", b"uuid", b"mdat", b"udta"])
LENGTHS = st.one_of(st.integers(0, 40), st.sampled_from([0, 1, 7, 8, 2**31, 2**32 - 1]))
HEAD = struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 0)


def lying_box(length: int, name: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", length, name) + body


def honest_box(name: bytes, body: bytes) -> bytes:
    return lying_box(8 + len(body), name, body)


LYING = st.builds(lying_box, LENGTHS, NAMES, st.binary(max_size=40))
TREES = st.recursive(
    st.builds(honest_box, NAMES, st.binary(max_size=24)) | LYING,
    lambda inner: st.builds(honest_box, NAMES, st.lists(inner, max_size=3).map(b"".join)),
    max_leaves=12,
)
BMFF = st.lists(TREES, max_size=6).map(lambda parts: HEAD + b"".join(parts))
RIFF = st.lists(
    st.builds(
        lambda name, length, body: name + struct.pack("<I", len(body) if length is None else length) + body,
        st.sampled_from([b"fmt ", b"data", b"_PMX", b"LIST", b"fact"]),
        st.none() | LENGTHS,
        st.binary(max_size=40),
    ),
    max_size=6,
).map(lambda parts: b"RIFF" + struct.pack("<I", 4 + sum(map(len, parts))) + b"WAVE" + b"".join(parts))


def on_disk(data: bytes, folder: str) -> Path:
    path = Path(folder) / "file"
    path.write_bytes(data)
    return path


@given(st.binary(max_size=64))
def test_sniffing_never_fails(head: bytes) -> None:
    assert sniff(head) is None or "/" in str(sniff(head))


@given(BMFF | st.binary(max_size=200))
def test_boxes_lie_inside_the_file_and_follow_each_other(data: bytes) -> None:
    last = 0
    for name, content, end in boxes(io.BytesIO(data), 0, len(data)):
        assert len(name) == 4
        assert last + 8 <= content <= end <= len(data)
        last = end


@given(BMFF | RIFF | st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = on_disk(data, folder)
        for mime in sorted({*MIME_BY_SUFFIX.values(), "image/heic"}):
            try:
                packet = read_xmp(path, mime)
            except MediaError:
                continue
            if packet is not None:
                read_label(packet)
        try:
            check_boxes(path)
            open_media(path)
        except MediaError as error:
            assert error.code.startswith("input.media")  # noqa: PT017  what remains is readable


@given(RIFF)
def test_chunks_lie_inside_the_file(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = on_disk(data, folder)
        try:
            for _name, (offset, length) in riff_chunks(path):
                assert offset + length <= len(data)
        except MediaError:
            return
        if b"data" in data:
            try:
                write_wav(read_sound(open_media(path)), Path(folder) / "out", path)
            except MediaError:
                return
            kept = [name for name, _ in riff_chunks(Path(folder) / "out")]
            assert set(kept) <= {b"fmt ", b"fact", b"data"}


@given(st.text(max_size=300))
def test_an_xmp_packet_comes_back_from_every_container(text: str) -> None:
    text = text.encode("utf-8", "ignore").decode().replace("\0", "").rstrip() + "."
    wave = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + struct.pack("<HHIIHH", 1, 1, 8000, 8000, 1, 8) + b"data\3\0\0\0abc"
    with tempfile.TemporaryDirectory() as folder:
        for mime, data in (("video/mp4", HEAD), ("audio/wav", wave)):
            path = on_disk(data, folder)
            write_xmp(path, mime, text)
            assert read_xmp(path, mime) == text
        chunks = [name for name, _ in riff_chunks(path)]
        assert chunks == [b"fmt ", b"data", b"_PMX"]


@given(st.text(max_size=400))
def test_reading_a_label_never_fails(packet: str) -> None:
    read_label(packet)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "avif"])
@given(data=st.data())
def test_a_picture_with_a_changed_stretch_is_read_or_refused(kind: str, data: st.DataObject) -> None:
    good = bytearray(encode_picture(scene(2, 64, 48), f"image/{kind}", xmp="<x/>"))
    at = data.draw(st.integers(0, len(good) - 1))
    good[at : at + data.draw(st.integers(1, 16))] = data.draw(st.binary(max_size=16))
    with tempfile.TemporaryDirectory() as folder:
        path = on_disk(bytes(good), folder)
        try:
            for frame in open_media(path).frames():
                assert frame.rgb.ndim == 3
            read_xmp(path, f"image/{kind}")
        except MediaError as error:
            assert error.code.startswith("input.media")  # noqa: PT017  what remains is readable


@pytest.mark.parametrize("nested", [False, True])
def test_more_boxes_than_any_real_file_has_are_refused(tmp_path: Path, nested: bool) -> None:
    path = tmp_path / "many.mp4"
    many = honest_box(b"free", b"") * MAX_BOXES
    path.write_bytes(HEAD + (honest_box(b"moov", honest_box(b"udta", many)) if nested else many))
    with pytest.raises(MediaError, match="boxes"):
        check_boxes(path)
    path.write_bytes(HEAD + many[: 8 * (MAX_BOXES - 3)])
    check_boxes(path)
