"""TIFF, GIF, HEIC, M4A, MP3, FLAC, WebM and Ogg: what each keeps, what is refused, and where XMP and credentials lie."""

from __future__ import annotations

import io
import json
import shutil
import struct
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from filigrana.errors import ManifestError, MediaError, WatermarkError
from filigrana.pipeline.engine import Engine
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.request import Release, SealRequest
from filigrana.provenance.credentials import read_credentials
from filigrana.provenance.identity import AssetId
from filigrana.provenance.labelling.places import read_all
from filigrana.provenance.labels import read_label
from filigrana.provenance.manifest import definition
from filigrana.provenance.media import (
    Frame,
    Limits,
    SoundBlock,
    encode_clip,
    encode_picture,
    encode_sound,
    open_media,
    read_sound,
    read_xmp,
    sniff,
    write_xmp,
)
from filigrana.provenance.media.files import MediaFile
from filigrana.provenance.media.id3 import tag_length
from filigrana.provenance.sidecar import MAX_BYTES, read_sidecar, sidecar_of
from filigrana.provenance.watermark.registry import codec, sound_codec
from filigrana.tests.doubles import scene
from filigrana.tests.heic_kit import encode_heic
from filigrana.tests.signing_kit import Kit, statement

ID = AssetId(0xABCDEF012345678)
XMP = f'<?xpacket begin="x"?><a>urn:filigrana:asset:{ID}</a><?xpacket end="r"?>'
SOUNDS = ["audio/wav", "audio/mp4", "audio/mpeg", "audio/flac", "audio/ogg"]
SUFFIX = {"audio/wav": ".wav", "audio/mp4": ".m4a", "audio/mpeg": ".mp3", "audio/flac": ".flac", "audio/ogg": ".ogg"}
RATE = 44_100


def noise(seconds: float = 5.0, channels: int = 1, rate: int = RATE) -> list[SoundBlock]:
    rng = np.random.default_rng(3)
    return [SoundBlock(rng.normal(0, 0.1, (round(seconds * rate), channels)).astype(np.float32), rate)]


def wav(folder: Path, blocks: list[SoundBlock], bits: int = 16) -> MediaFile:
    """A WAV file of 16 or 24 bits."""
    path, samples = folder / "source.wav", blocks[0].samples
    whole = np.rint(samples.astype(np.float64) * (1 << bits - 1)).astype("<i4")
    data = whole.astype("<i2").tobytes() if bits == 16 else whole.reshape(-1, 1).view(np.uint8)[:, :3].tobytes()
    channels, rate, frame = samples.shape[1], blocks[0].rate, bits // 8 * samples.shape[1]
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * frame, frame, bits)
    chunks = b"fmt \x10\0\0\0" + form + b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)
    return open_media(path)


def saved(folder: Path, image: Image.Image, form: str, **options: object) -> Path:
    path = folder / f"picture.{form.lower()}"
    image.save(path, form, **options)  # type: ignore[arg-type]
    return path


# ── sniffing ─────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("head", "mime"),
    [
        (b"II*\0", "image/tiff"),
        (b"MM\0*", "image/tiff"),
        (b"GIF89a", "image/gif"),
        (b"fLaC", "audio/flac"),
        (b"OggS", "audio/ogg"),
        (b"ID3\x04\0\0\0\0\0\0", "audio/mpeg"),
        (b"\xff\xfb\x90\x64", "audio/mpeg"),
        (b"\xff\xf1\x50\x80", None),  # AAC in ADTS
        (b"\xff\xfb\xf0\x64", None),  # a bit rate that does not exist
        (b"\x1a\x45\xdf\xa3\x01\0\0\0\0\0\0\x1f\x42\x82\x84webm", "video/webm"),
        (b"\x1a\x45\xdf\xa3\x01\0\0\0\0\0\0\x23\x42\x82\x88matroska", None),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "image/heic"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "image/heif"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", "image/avif"),
        (b"\0\0\0\x14ftypmif1\0\0\0\0mif1\0\0\0\x08avif", "image/heif"),
        (b"\0\0\0\x18ftypM4A \0\0\0\0isommp42", "audio/mp4"),
    ],
)
def test_formats_are_known_by_their_first_bytes(head: bytes, mime: str | None) -> None:
    assert sniff(head) == mime


# ── pictures ─────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("mime", ["image/tiff", "image/gif"])
def test_xmp_and_mark_come_back_from_pictures(tmp_path: Path, mime: str) -> None:
    marked = next(iter(codec().embed([Frame(scene(2))], ID))).rgb
    path = tmp_path / "picture"
    path.write_bytes(encode_picture(marked, mime, xmp=XMP))
    assert read_xmp(path, mime) == XMP
    assert codec().detect(open_media(path).frames()).asset_id == ID


def test_a_tiff_keeps_its_pixels_its_profile_and_its_transparency(tmp_path: Path) -> None:
    from PIL import ImageCms

    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    alpha = np.full((512, 512), 255, np.uint8)
    alpha[:100] = 90
    path = tmp_path / "picture"
    path.write_bytes(encode_picture(scene(2), "image/tiff", keep={"alpha": alpha, "icc": icc}, xmp=XMP))
    rgb, keep = open_media(path).picture()
    assert np.array_equal(rgb, scene(2))
    assert np.array_equal(keep["alpha"], alpha)
    assert keep["icc"] == icc


def test_a_gif_keeps_full_transparency_and_refuses_half(tmp_path: Path) -> None:
    alpha = np.full((512, 512), 255, np.uint8)
    alpha[:100] = 0
    path = tmp_path / "picture"
    path.write_bytes(encode_picture(scene(2), "image/gif", keep={"alpha": alpha}, xmp=XMP))
    _, keep = open_media(path).picture()
    assert np.array_equal(keep["alpha"], alpha)
    assert read_xmp(path, "image/gif") == XMP
    alpha[:10] = 128
    with pytest.raises(MediaError) as caught:
        encode_picture(scene(2), "image/gif", keep={"alpha": alpha})
    assert caught.value.code == "input.media.alpha"
    with pytest.raises(MediaError) as caught:
        encode_picture(scene(2), "image/gif", keep={"icc": b"profile"})
    assert caught.value.code == "input.media.icc"


@pytest.mark.parametrize("form", ["GIF", "TIFF"])
def test_animations_and_pages_are_refused(tmp_path: Path, form: str) -> None:
    path = saved(tmp_path, Image.fromarray(scene(1)), form, save_all=True, append_images=[Image.fromarray(scene(2))])
    with pytest.raises(MediaError) as caught:
        open_media(path)
    assert caught.value.code == "input.media.animated"


def test_a_tiff_of_sixteen_bits_is_not_sealed(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(np.full((300, 300), 900, np.uint16)), "TIFF")
    with pytest.raises(MediaError) as caught:
        open_media(path).picture()
    assert caught.value.code == "input.media.depth"


def test_a_camera_raw_is_not_taken_for_its_thumbnail(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(scene(1)), "TIFF", tiffinfo={50706: b"\x01\x04\0\0"})
    with pytest.raises(MediaError) as caught:
        open_media(path)
    assert "raw" in caught.value.message


def test_a_tiff_whose_size_is_a_bomb_is_refused_unread(tmp_path: Path) -> None:
    tags = [(256, 3, 60_000), (257, 3, 60_000), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1)]
    tags += [(278, 3, 60_000), (279, 4, 10)]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    path = tmp_path / "bomb.tif"
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4))
    with pytest.raises(MediaError) as caught:
        open_media(path)
    assert caught.value.code == "input.media.too_many_pixels"


# ── HEIC ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def heic(tmp_path: Path) -> Path:
    pytest.importorskip("pi_heif")
    path = tmp_path / "photo.heic"
    path.write_bytes(encode_heic(scene(4), XMP.encode()))
    return path


def test_heic_is_read_with_its_xmp(heic: Path) -> None:
    media = open_media(heic)
    assert (media.info.mime, media.info.width, media.info.height) == ("image/heic", 512, 512)
    rgb, _ = media.picture()
    assert np.abs(rgb.astype(int) - scene(4)).mean() < 6
    assert read_xmp(heic, "image/heic") == XMP


def test_a_foreign_heic_with_credentials_verifies(heic: Path, tmp_path: Path) -> None:
    kit = Kit.make(tmp_path)
    signed = tmp_path / "signed.heic"
    kit.sign(heic, signed, "image/heic", definition(statement("image/heic")))
    assert read_credentials(signed, "image/heic", kit.trust).state == "trusted"
    data = bytearray(signed.read_bytes())
    data[-200] ^= 1
    signed.write_bytes(data)
    assert read_credentials(signed, "image/heic", kit.trust).state == "invalid"


def test_a_heic_is_sealed_as_avif(make_engine: Callable[..., Engine], installation: Installation, heic: Path) -> None:
    released = make_engine().seal(SealRequest(heic, "camera"))
    assert isinstance(released, Release)
    assert released.mime == "image/avif"
    assert installation.verifier().verify(released.file).finding == "verified"


def test_a_heic_of_ten_bits_is_shown_and_not_sealed(tmp_path: Path) -> None:
    pytest.importorskip("pi_heif")
    path = tmp_path / "deep.heic"
    path.write_bytes(encode_heic(scene(4), form="yuv420p10le"))
    assert next(open_media(path).frames()).rgb.shape == (512, 512, 3)
    with pytest.raises(MediaError) as caught:
        open_media(path).picture()
    assert caught.value.code == "input.media.depth"


def test_heic_without_its_decoder_says_what_to_install(heic: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pi_heif", None)
    with pytest.raises(MediaError) as caught:
        open_media(heic)
    assert caught.value.code == "input.media.decoder"
    assert "heic" in caught.value.hint


# ── sound ────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("mime", SOUNDS)
@pytest.mark.parametrize("channels", [1, 2])
def test_a_sound_keeps_length_channels_mark_and_xmp(tmp_path: Path, mime: str, channels: int) -> None:
    source = wav(tmp_path, noise(channels=channels))
    path = tmp_path / "sound"
    encode_sound(sound_codec().embed(read_sound(source), ID), path, mime, source, xmp=XMP)
    media = open_media(path)
    assert (media.info.mime, media.info.sound.channels) == (mime, channels)
    assert media.info.duration == pytest.approx(5.0, abs=0.1)
    assert sound_codec().detect(read_sound(media)).asset_id == ID
    assert read_label(read_xmp(path, mime) or "").asset_id == str(ID)


@pytest.mark.parametrize("bits", [16, 24])
def test_flac_loses_nothing(tmp_path: Path, bits: int) -> None:
    source = wav(tmp_path, noise(1.0, 2), bits)
    path, back = tmp_path / "sound.flac", tmp_path / "back.wav"
    encode_sound(read_sound(source), path, "audio/flac", source)
    assert open_media(path).info.sound.bits == bits
    before, after = (np.concatenate([b.samples for b in read_sound(open_media(p))]) for p in (source.path, path))
    assert np.array_equal(before, after)
    encode_sound(read_sound(open_media(path)), back, "audio/wav", open_media(path))
    assert np.array_equal(before, np.concatenate([b.samples for b in read_sound(open_media(back))]))


@pytest.mark.parametrize("mime", SOUNDS)
def test_every_sound_can_become_every_other(tmp_path: Path, mime: str) -> None:
    source = wav(tmp_path, noise(1.0, 2))
    first = tmp_path / "first"
    encode_sound(read_sound(source), first, mime, source)
    for other in SOUNDS:
        encode_sound(read_sound(open_media(first)), tmp_path / "second", other, open_media(first))
        assert open_media(tmp_path / "second").info.duration == pytest.approx(1.0, abs=0.1)


def test_six_channels_do_not_go_into_mp3(tmp_path: Path) -> None:
    source = wav(tmp_path, noise(1.0, 6))
    with pytest.raises(MediaError, match="6 channels"):
        encode_sound(read_sound(source), tmp_path / "x", "audio/mpeg", source)
    encode_sound(read_sound(source), tmp_path / "x", "audio/flac", source)


def test_no_sound_is_an_error(tmp_path: Path) -> None:
    source = wav(tmp_path, noise(1.0))
    with pytest.raises(MediaError):
        encode_sound([], tmp_path / "x", "audio/mpeg", source)


@pytest.mark.parametrize("mime", ["audio/mpeg", "audio/flac", "audio/mp4", "audio/ogg"])
def test_a_sound_that_breaks_off_or_is_damaged_is_read_or_refused(tmp_path: Path, mime: str) -> None:
    source = wav(tmp_path, noise(2.0))
    path = tmp_path / "sound"
    encode_sound(read_sound(source), path, mime, source, xmp=XMP)
    whole = path.read_bytes()
    rng = np.random.default_rng(1)
    for number in range(40):
        data = bytearray(whole[: rng.integers(1, len(whole))] if number % 2 else whole)
        for _ in range(8):
            data[rng.integers(0, len(data))] = rng.integers(0, 256)
        path.write_bytes(data)
        try:
            media = open_media(path)
            read_xmp(path, media.info.mime)
            for _ in read_sound(media):
                pass
        except MediaError:
            continue


def test_a_flac_cut_in_half_is_found_out(tmp_path: Path) -> None:
    source = wav(tmp_path, noise(4.0))
    path = tmp_path / "sound"
    for mime in ("audio/flac", "audio/mpeg", "audio/mp4"):
        encode_sound(read_sound(source), path, mime, source)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(MediaError):
            for _ in read_sound(open_media(path)):
                pass


def test_an_mp3_without_its_length_is_read_to_its_end(tmp_path: Path) -> None:
    """A stream of frames whose bit rate changes: FFmpeg guesses the length from the first."""
    source = wav(tmp_path, noise(2.0))
    path = tmp_path / "sound.mp3"
    encode_sound(read_sound(source), path, "audio/mpeg", source)
    data = path.read_bytes()
    start = data.index(b"\xff\xfb", 200)  # behind the frame that says how many follow
    path.write_bytes(data[start:])
    assert sum(len(block.samples) for block in read_sound(open_media(path))) > 1.8 * RATE


def test_a_sound_file_with_moving_pictures_is_no_sound(tmp_path: Path) -> None:
    """Nothing would look at the pictures. A brand is only a word."""
    path = tmp_path / "clip"
    encode_clip((Frame(scene(1, 256, 256), Fraction(i, 10)) for i in range(4)), path, "video/mp4", rate=Fraction(10))
    data = bytearray(path.read_bytes())
    data[8:12] = b"M4A "
    path.write_bytes(data)
    assert open_media(path).info.kind == "video"


def test_an_mp4_with_nothing_but_sound_is_sound(tmp_path: Path) -> None:
    source = wav(tmp_path, noise(1.0))
    path = tmp_path / "sound"
    encode_sound(read_sound(source), path, "audio/mp4", source)
    data = bytearray(path.read_bytes())
    data[8:12] = b"mp42"
    path.write_bytes(data)
    assert open_media(path).info.mime == "audio/mp4"


def test_a_webm_longer_than_the_limit_is_refused_whatever_it_says(tmp_path: Path) -> None:
    path = tmp_path / "clip"
    frames = (Frame(scene(1, 256, 256), Fraction(i)) for i in range(6))
    encode_clip(frames, path, "video/webm", rate=Fraction(1))
    media = open_media(path)
    short = MediaFile(path, media.info, Limits(seconds=2.0))
    with pytest.raises(MediaError) as caught:
        list(short.frames())
    assert caught.value.code == "input.media.too_long"


# ── ID3 ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_tag_is_written_once_and_read_within_its_bounds(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes(b"\xff\xfb\x90\x64" + bytes(100))
    write_xmp(path, "audio/mpeg", XMP)
    assert read_xmp(path, "audio/mpeg") == XMP
    with pytest.raises(MediaError):
        write_xmp(path, "audio/mpeg", XMP)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(MediaError) as caught:
        read_xmp(path, "audio/mpeg")
    assert caught.value.code == "input.media.cut_off"


@pytest.mark.parametrize(
    "tag",
    [
        b"ID3\x04\0\0\0\0\0\x20PRIV\x7f\x7f\x7f\x7f\0\0XMP\0x",  # a frame longer than its tag
        b"ID3\x04\0\x40\0\0\0\x20\x7f\x7f\x7f\x7f",  # an extended header beyond the end
        b"ID3\x02\0\0\0\0\0\x20TT2",  # a version that nobody writes
        b"ID3\x04\0\0\0\0\0\x20",  # nothing but padding
        b"ID3\x04\0\0\xff\xff\xff\xff",  # no length
    ],
)
def test_odd_tags_hold_no_xmp_and_do_no_harm(tmp_path: Path, tag: bytes) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes(tag.ljust(200, b"\0"))
    assert read_xmp(path, "audio/mpeg") is None
    assert tag_length(tag) in (0, 42)


# ── sidecars ─────────────────────────────────────────────────────────────────────────────────────────────────────
def test_over_the_limit_the_credentials_lie_beside_the_file(
    make_engine: Callable[..., Engine], installation: Installation, tmp_path: Path
) -> None:
    from dataclasses import replace

    path = tmp_path / "a.jpg"
    path.write_bytes(encode_picture(scene(1), "image/jpeg"))
    finisher = replace(installation.finisher(), embed_limit=10_000)
    released = make_engine(finisher=lambda: finisher).seal(SealRequest(path, "camera"))
    assert isinstance(released, Release)
    assert released.sidecar == sidecar_of(released.file)
    assert b"jumb" not in released.file.read_bytes()
    store = read_sidecar(released.sidecar)
    assert read_credentials(released.file, "image/jpeg", installation.trust, manifest_store=store).state == "trusted"
    found = codec().detect(open_media(released.file).frames())
    assert found.asset_id == released.asset_id
    assert released.as_dict()["sidecar"] == str(released.sidecar)


@pytest.mark.parametrize("published", [(), ("beside",)])
def test_recovery_publishes_the_sidecar_too(
    make_engine: Callable[..., Engine], installation: Installation, tmp_path: Path, published: tuple[str, ...]
) -> None:
    """A process that dies between the release and the last rename: the file never lies there without its sidecar."""

    class Dies:
        def __init__(self) -> None:
            self.done: list[str] = []

        def __getattr__(self, name: str) -> object:
            return getattr(installation.store, name)

        def publish(self, staged: Path, name: str) -> None:
            if len(self.done) == len(published):
                raise SystemExit
            self.done.append(name)
            installation.store.publish(staged, name)

    engine = make_engine(store=Dies())
    source = wav(tmp_path, noise(2.0))
    path = tmp_path / "a.ogg"
    encode_sound(read_sound(source), path, "audio/ogg", source)
    with pytest.raises(BaseException) as caught:
        engine.seal(SealRequest(path, "unknown"))
    assert isinstance(caught.value, SystemExit)
    assert [p.suffix for p in installation.store.path("").rglob("*.*")] == [".c2pa"] * len(published)
    recovered = make_engine().recover()
    assert len(recovered.published) == 1
    file = installation.store.path(recovered.published[0])
    store = read_sidecar(sidecar_of(file) or tmp_path)
    assert read_credentials(file, "audio/ogg", installation.trust, manifest_store=store).state == "trusted"


def test_a_sidecar_that_is_none_or_too_large(tmp_path: Path) -> None:
    path = tmp_path / "a.webm"
    path.write_bytes(b"x")
    assert sidecar_of(path) is None
    assert sidecar_of(tmp_path / "a.c2pa") is None
    with (tmp_path / "a.c2pa").open("wb") as stream:
        stream.truncate(MAX_BYTES + 1)
    with pytest.raises(ManifestError):
        read_sidecar(sidecar_of(path) or path)
    with pytest.raises(ManifestError):
        read_sidecar(tmp_path / "missing.c2pa")


def test_the_command_line_writes_the_sidecar_beside_the_copy(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from filigrana.pipeline.cli.app import app

    source = tmp_path / "in.wav"
    wav(tmp_path, noise(2.0)).path.rename(source)
    folder = tmp_path / "out"
    folder.mkdir()
    words = ["seal", str(source), "-o", str(folder / "song.ogg"), "--source-type", "unknown", "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["sidecar"] == str(folder / "song.c2pa")
    assert sorted(p.name for p in folder.iterdir()) == ["song.c2pa", "song.ogg"]


# ── other people's tools ─────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.skipif(shutil.which("exiftool") is None, reason="needs exiftool")
@pytest.mark.parametrize("name", ["a.tif", "a.gif", "a.mp3", "a.flac", "a.m4a", "a.wav", "a.mp4", "a.png"])
def test_exiftool_reads_the_source_type(make_engine: Callable[..., Engine], tmp_path: Path, name: str) -> None:
    from filigrana.pipeline.api import mime_for

    mime, path = mime_for(name), tmp_path / name
    if mime.startswith("image"):
        path.write_bytes(encode_picture(scene(6), mime))
    elif mime.startswith("audio"):
        source = wav(tmp_path, noise(2.0))
        encode_sound(read_sound(source), path, mime, source)
    else:
        encode_clip((Frame(scene(1, 256, 256), Fraction(i, 10)) for i in range(4)), path, mime, rate=Fraction(10))
    released = make_engine().seal(SealRequest(path, "ai"))
    assert isinstance(released, Release)
    done = subprocess.run(["exiftool", "-j", "-XMP:all", released.file], capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)[0]
    assert "trainedAlgorithmicMedia" in str(told.get("DigitalSourceType")), told
    assert str(released.asset_id) in str(told.get("Identifier"))


def test_a_picture_too_small_for_a_mark_is_refused_in_every_format() -> None:
    with pytest.raises(WatermarkError):
        next(iter(codec().embed([Frame(scene(1, 128, 128))], ID)))
    assert Image.open(io.BytesIO(encode_picture(scene(1, 64, 64), "image/gif"))).size == (64, 64)


@pytest.mark.parametrize("kind", ["through a pipe", "rf64"])
def test_a_wav_whose_length_was_not_known_is_read_to_its_end(tmp_path: Path, kind: str) -> None:
    """What goes through a pipe (ffmpeg, sox, the speech of hosted models) has no lengths; RF64 has them elsewhere."""
    whole = wav(tmp_path, noise(1.0)).path
    data, path = bytearray(whole.read_bytes()), tmp_path / "other.wav"
    at = data.index(b"data")
    sizes = struct.pack("<QQQI", len(data) + 28, len(data) - at - 8, 44_100, 0)
    data[4:8] = data[at + 4 : at + 8] = b"\xff" * 4
    if kind == "rf64":
        data[:4] = b"RF64"
        data[12:12] = b"ds64" + struct.pack("<I", len(sizes)) + sizes
        data += b"AIGC" + struct.pack("<I", 2) + b"{}"
    path.write_bytes(data)
    samples = [np.concatenate([b.samples for b in read_sound(open_media(one))]) for one in (whole, path)]
    assert np.array_equal(*samples)
    assert read_all(path, "audio/wav", None, Limits()) == ((("WAV chunk", "{}"),) if kind == "rf64" else ())
    path.write_bytes(data[: len(data) // 2])
    if kind == "rf64":
        with pytest.raises(MediaError, match="breaks off"):
            list(read_sound(open_media(path)))


@pytest.mark.parametrize(
    ("aspect", "size"), [("4/3", (426, 240)), ("8/9", (320, 270)), ("1/1", (320, 240)), ("321/320", (320, 240))]
)
def test_pixels_that_are_not_square_are_shown_as_they_are_meant(
    tmp_path: Path, aspect: str, size: tuple[int, int]
) -> None:
    """A sealed copy of a DV or HDV clip would else be squeezed."""
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as out:
        video: Any = out.add_stream("libx264", rate=5)
        video.width, video.height, video.pix_fmt = 320, 240, "yuv420p"
        video.codec_context.sample_aspect_ratio = Fraction(aspect)
        for _ in range(5):
            out.mux(video.encode(av.VideoFrame.from_ndarray(scene(1, 320, 240), "rgb24")))
        out.mux(video.encode(None))
    media = open_media(path)
    frame = next(media.frames())
    assert (media.info.width, media.info.height) == frame.rgb.shape[1::-1] == size


@pytest.mark.parametrize("mime", ["video/mp4", "video/quicktime", "video/webm"])
def test_a_clip_says_how_its_colours_are_to_be_read(tmp_path: Path, mime: str) -> None:
    """Where nothing says it, players take the matrix of BT.709 for a clip in HD."""
    red = np.full((720, 1280, 3), (200, 50, 20), np.uint8)
    path = tmp_path / "a.clip"
    encode_clip((Frame(red, Fraction(i, 5)) for i in range(3)), path, mime, rate=Fraction(5))
    with av.open(str(path)) as container:
        said = container.streams.video[0].codec_context
        assert (said.colorspace, said.color_range, said.color_primaries, said.color_trc) == (6, 1, 1, 1)
    assert np.abs(next(open_media(path).frames()).rgb.astype(int) - red).max() <= 8
