"""Sealing media made elsewhere: what must be kept, what must not be claimed, and what is refused."""

from __future__ import annotations

import io
import json
import shutil
import struct
import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import c2pa
import numpy as np
import pytest
from PIL import Image

from filigrana.errors import FiligranaError, InputError, MediaError
from filigrana.pipeline.engine import Engine
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.request import GenerateRequest, Release, SealRequest
from filigrana.pipeline.settings import load_settings
from filigrana.provenance.credentials import read_credentials
from filigrana.provenance.media import encode_picture, open_media, read_sound, read_xmp
from filigrana.provenance.trust import TrustLists
from filigrana.provenance.watermark.registry import sound_codec
from filigrana.tests.conftest import MakeEngine
from filigrana.tests.doubles import scene


@pytest.fixture
def installation(tmp_path: Path, furnished: Path) -> Iterator[Installation]:
    shutil.copytree(furnished, tmp_path / "data")
    opened = Installation(load_settings(data_dir=tmp_path / "data"))
    yield opened
    opened.close()


@pytest.fixture
def engine(make_engine: MakeEngine) -> Engine:
    return make_engine()


def seal(engine: Engine, path: Path, source_type: Any = "camera", mime: str | None = None) -> Release:
    outcome = engine.seal(SealRequest(path, source_type, mime))
    assert isinstance(outcome, Release)
    return outcome


def manifests(path: Path, mime: str) -> dict[str, Any]:
    with path.open("rb") as stream, c2pa.Reader(mime, stream) as reader:
        document: dict[str, Any] = json.loads(reader.json())
    return document


def saved(path: Path, image: Image.Image, format_: str, **options: Any) -> Path:
    image.save(path, format_, **options)
    return path


# ── what is kept ─────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("suffix", ["png", "jpeg", "webp", "avif"])
def test_sealing_twice_keeps_the_first_credentials(engine: Engine, tmp_path: Path, suffix: str) -> None:
    photo, mime = tmp_path / f"photo.{suffix}", f"image/{suffix}"
    photo.write_bytes(encode_picture(scene(1), mime))
    first = seal(engine, photo)
    second = seal(engine, first.file)
    assert second.asset_id != first.asset_id
    before, after = manifests(first.file, mime), manifests(second.file, mime)
    assert before["active_manifest"] in after["manifests"]
    active = after["manifests"][after["active_manifest"]]
    assert [i["relationship"] for i in active["ingredients"]] == ["parentOf"]
    assert active["ingredients"][0]["active_manifest"] == before["active_manifest"]
    assert after["validation_state"] in ("Valid", "Trusted")


def test_a_photograph_keeps_transparency_profile_and_exif(engine: Engine, tmp_path: Path) -> None:
    from PIL import ImageCms

    alpha = np.tile(np.linspace(0, 255, 512).astype(np.uint8), (512, 1))
    image = Image.fromarray(np.dstack([scene(2), alpha]))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x010F] = "Leica"
    photo = saved(tmp_path / "photo.png", image, "PNG", icc_profile=profile, exif=exif)
    with Image.open(seal(engine, photo).file) as sealed:
        assert sealed.mode == "RGBA"
        assert np.array_equal(np.asarray(sealed)[..., 3], alpha)
        assert sealed.info["icc_profile"] == profile
        assert sealed.getexif()[0x010F] == "Leica"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_that_says_how_it_is_held_comes_out_upright(
    engine: Engine, tmp_path: Path, orientation: int
) -> None:
    stored = scene(3, 400, 300)
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = saved(tmp_path / "photo.jpg", Image.fromarray(stored), "JPEG", exif=exif, quality=95)
    turned = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.transpose(1, 0, 2),
        6: np.rot90(stored, -1),
        7: stored[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(stored, 1),
    }[orientation]
    sealed = open_media(seal(engine, photo).file)
    assert (sealed.info.height, sealed.info.width) == turned.shape[:2]
    difference = np.abs(next(sealed.frames()).rgb.astype(int) - turned)
    assert difference.mean() < 9


def test_a_photograph_with_further_pictures_behind_it_is_sealed(engine: Engine, tmp_path: Path) -> None:
    """Many phones write such JPEGs (MPO): the first picture is the photograph."""
    more = [Image.fromarray(scene(5, 400, 300))]
    photo = saved(tmp_path / "phone.jpg", Image.fromarray(scene(4, 400, 300)), "MPO", save_all=True, append_images=more)
    sealed = open_media(seal(engine, photo).file)
    assert np.abs(next(sealed.frames()).rgb.astype(int) - scene(4, 400, 300)).mean() < 12


# ── what is not claimed ──────────────────────────────────────────────────────────────────────────────────────────
AI_WORDS = ["trainedAlgorithmicMedia", "compositeWithTrained", "ai-disclosure", "AISystemUsed", "algorithmicMedia"]


@pytest.mark.parametrize("source_type", ["camera", "unknown", "ai", "composite"])
@pytest.mark.parametrize("suffix", ["png", "jpeg", "mp4", "wav"])
def test_only_what_is_ai_made_is_called_so(engine: Engine, tmp_path: Path, source_type: str, suffix: str) -> None:
    path = tmp_path / f"file.{suffix}"
    if suffix == "mp4":
        write_clip(path)
    elif suffix == "wav":
        write_wav(path)
    else:
        path.write_bytes(encode_picture(scene(1, 320, 288), f"image/{suffix}"))
    released = seal(engine, path, source_type)
    document = manifests(released.file, released.mime)
    active = document["manifests"][document["active_manifest"]]
    actions = [a for item in active["assertions"] if "actions" in item["label"] for a in item["data"]["actions"]]
    assert actions[0]["action"] == "c2pa.opened"
    assert not [a for a in actions if a["action"] == "c2pa.created"]
    told = json.dumps(document) + str(read_xmp(released.file, released.mime))
    found = [word for word in AI_WORDS if word in told]
    assert bool(found) == (source_type in ("ai", "composite")), found
    data = released.file.read_bytes()
    assert any(word.encode() in data for word in AI_WORDS) == (source_type in ("ai", "composite"))


def test_sealing_a_generated_picture_as_a_photograph_does_not_wash_it(engine: Engine, tmp_path: Path) -> None:
    """Its mark says what it is, also where its credentials were taken off; sealed as something else they stay."""
    made = engine.generate(GenerateRequest("a boat", seed=3))
    assert isinstance(made, Release)
    stripped, twice = tmp_path / "stripped.png", tmp_path / "twice.png"
    with Image.open(made.file) as picture:
        picture.convert("RGB").save(stripped)
    again = seal(engine, made.file, "unknown")
    assert "trainedAlgorithmicMedia" in json.dumps(manifests(again.file, "image/png"))
    with Image.open(again.file) as picture:
        picture.convert("RGB").save(twice)
    for path in (made.file, stripped, again.file, twice):
        with pytest.raises(InputError) as error:
            seal(engine, path, "camera")
        assert error.value.code == "input.source_type.marked"
    photo = tmp_path / "photo.png"
    photo.write_bytes(encode_picture(scene(5, 320, 288), "image/png"))
    assert seal(engine, seal(engine, photo, "camera").file, "camera").asset_id, "a photograph stays one"


# ── clips and sound ──────────────────────────────────────────────────────────────────────────────────────────────
def write_clip(
    path: Path,
    *,
    size: tuple[int, int] = (320, 256),
    times: list[int] | None = None,
    sound: str | None = None,
    pixels: str = "yuv420p",
    format_: str = "mp4",
) -> None:
    """``times``: of the frames, in 1/1000 s. ``sound``: a codec's name."""
    times = times if times is not None else [40 * number for number in range(12)]
    picture = scene(4, *size)
    with av.open(str(path), "w", format=format_) as out:
        video = out.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = *size, pixels
        video.codec_context.time_base = Fraction(1, 1000)
        audio = out.add_stream(sound, rate=48_000, layout="stereo") if sound else None
        for time in times:
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if audio is not None:
            tone = np.sin(np.arange(48_000 * (times[-1] + 40) // 1000) * 2 * np.pi * 440 / 48_000) * 0.4
            samples = np.ascontiguousarray(np.stack([tone, tone]).astype(np.float32))
            block = av.AudioFrame.from_ndarray(samples, "fltp", "stereo")
            block.sample_rate = 48_000
            out.mux(audio.encode(block))
            out.mux(audio.encode(None))


def write_wav(path: Path) -> None:
    data = (np.sin(np.arange(48_000) / 9) * 8000).astype("<i2").tobytes()
    body = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 48_000, 96_000, 2, 16)
    body += b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)


def tone_of(path: Path) -> tuple[float, float]:
    """(strongest frequency in Hz, seconds) of the first sound track."""
    with av.open(str(path)) as opened:
        parts = [frame.to_ndarray()[0].astype(np.float64) for frame in opened.decode(audio=0)]
        rate = opened.streams.audio[0].rate
    samples = np.concatenate(parts)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * rate / len(samples)), len(samples) / rate


@pytest.mark.parametrize(("sound", "suffix"), [("aac", "mp4"), ("pcm_s16le", "mov")])
@pytest.mark.parametrize("target", ["video/mp4", "video/quicktime"])
def test_a_clip_keeps_its_sound(engine: Engine, tmp_path: Path, sound: str, suffix: str, target: str) -> None:
    path = tmp_path / f"clip.{suffix}"
    write_clip(path, sound=sound, format_=suffix, times=[40 * n for n in range(25)])
    released = seal(engine, path, mime=target)
    frequency, seconds = tone_of(released.file)
    assert abs(frequency - 440) < 3
    assert abs(seconds - 1.0) < 0.08
    assert open_media(released.file).info.sound is not None


def test_a_clip_without_sound_gets_none(engine: Engine, tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4")
    assert open_media(seal(engine, tmp_path / "clip.mp4").file).info.sound is None


def test_a_clip_of_uneven_times_keeps_them(engine: Engine, tmp_path: Path) -> None:
    times = [0, 40, 80, 200, 210, 500, 540, 1500, 1533]
    write_clip(tmp_path / "clip.mp4", times=times)
    released = seal(engine, tmp_path / "clip.mp4")
    assert [round(float(f.time) * 1000) for f in open_media(released.file).frames()] == times


def test_a_clip_with_odd_sides_loses_a_line_and_no_more(engine: Engine, tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", size=(321, 259), pixels="yuv444p")
    info = open_media(seal(engine, tmp_path / "clip.mp4").file).info
    assert (info.width, info.height) == (320, 258)
    assert info.frames == 12


def test_a_clip_that_was_held_upright_stays_upright(engine: Engine, tmp_path: Path) -> None:
    """The track's matrix says: turn by 90° clockwise (ISO/IEC 14496-12, 8.3.2)."""
    write_clip(tmp_path / "clip.mp4", size=(384, 288))
    data = bytearray((tmp_path / "clip.mp4").read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    one = 0x00010000
    data[matrix : matrix + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, 288 * one, 0, 0x40000000)
    (tmp_path / "clip.mp4").write_bytes(data)
    sealed = next(open_media(seal(engine, tmp_path / "clip.mp4").file).frames()).rgb
    expected = np.rot90(scene(4, 384, 288), -1)
    assert sealed.shape == expected.shape
    assert np.abs(sealed.astype(int) - expected).mean() < 12


def write_samples(path: Path, samples: np.ndarray, rate: int = 48_000) -> Path:
    data = np.rint(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
    body = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, rate, 2 * rate, 2, 16)
    path.write_bytes(
        b"RIFF" + struct.pack("<I", len(body) + 8 + len(data)) + body + b"data" + struct.pack("<I", len(data)) + data
    )
    return path


def samples_of(path: Path) -> np.ndarray:
    return np.concatenate([block.samples for block in read_sound(open_media(path))])


def test_sound_alone_carries_the_mark_and_keeps_its_length(engine: Engine, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    source = write_samples(tmp_path / "sound.wav", rng.normal(0, 0.1, 4 * 48_000))
    released = seal(engine, source)
    before, after = samples_of(source), samples_of(released.file)
    assert after.shape == before.shape
    assert 10 * np.log10(np.mean(before**2) / np.mean((after - before) ** 2)) > 15
    found = sound_codec().detect(read_sound(open_media(released.file)))
    assert found.asset_id == released.asset_id
    bindings = read_credentials(released.file, "audio/wav", TrustLists()).soft_bindings
    assert bindings == (("org.filigrana.sound.1", str(released.asset_id)),)
    assert released.watermark_score == found.score


@pytest.mark.parametrize("kind", ["silence", "half a second"])
def test_sound_that_cannot_carry_a_mark_is_released_as_it_came_and_claims_none(
    engine: Engine, tmp_path: Path, kind: str
) -> None:
    samples = np.zeros(96_000) if kind == "silence" else np.random.default_rng(1).normal(0, 0.1, 24_000)
    source = write_samples(tmp_path / "sound.wav", samples)
    released = seal(engine, source)
    assert (samples_of(source) == samples_of(released.file)).all()
    assert read_credentials(released.file, "audio/wav", TrustLists()).soft_bindings == ()
    assert released.watermark_score is None


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────────────────
def deep_png(path: Path, colour: int) -> Path:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = zlib.compress((b"\0" + bytes(300 * {0: 2, 2: 6, 6: 8}[colour])) * 300)
    header = struct.pack(">IIBBBBB", 300, 300, 16, colour, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize("colour", [0, 2, 6])
def test_sixteen_bits_a_channel_are_refused_rather_than_lost(engine: Engine, tmp_path: Path, colour: int) -> None:
    with pytest.raises(MediaError) as caught:
        engine.seal(SealRequest(deep_png(tmp_path / "deep.png", colour), "camera"))
    assert caught.value.code == "input.media.depth"
    assert "8 bits" in caught.value.message


@pytest.mark.parametrize("form", ["yuv420p10le", "yuv422p10le", "yuv420p"])
def test_a_clip_of_ten_bits_is_shown_and_not_sealed(engine: Engine, tmp_path: Path, form: str) -> None:
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("libx264", rate=12)
        stream.width = stream.height = 320
        stream.pix_fmt = form
        for number in range(12):
            frame = av.VideoFrame.from_ndarray(scene(number, 320, 320), format="rgb24")
            out.mux(stream.encode(frame.reformat(format=form)))
        out.mux(stream.encode())
    assert next(open_media(path).frames()).rgb.shape == (320, 320, 3)
    if form == "yuv420p":
        assert isinstance(engine.seal(SealRequest(path, "camera")), Release)
        return
    with pytest.raises(MediaError) as caught:
        engine.seal(SealRequest(path, "camera"))
    assert caught.value.code == "input.media.depth"


def test_cmyk_is_refused(engine: Engine, tmp_path: Path) -> None:
    photo = saved(tmp_path / "print.jpg", Image.new("CMYK", (300, 300)), "JPEG")
    with pytest.raises(MediaError) as caught:
        engine.seal(SealRequest(photo, "camera"))
    assert caught.value.code == "input.media.cmyk"
    assert "sRGB" in caught.value.hint


@pytest.mark.parametrize("size", [(255, 600), (600, 255), (1, 1)])
def test_a_picture_without_room_for_a_mark_is_refused(engine: Engine, tmp_path: Path, size: tuple[int, int]) -> None:
    photo = saved(tmp_path / "small.png", Image.fromarray(scene(1, *size)), "PNG")
    with pytest.raises(FiligranaError) as caught:
        engine.seal(SealRequest(photo, "camera"))
    assert caught.value.code == "provenance.watermark.too_small"
    assert "256" in caught.value.message


def test_transparency_is_not_thrown_away_for_jpeg(engine: Engine, tmp_path: Path) -> None:
    rgba = np.dstack([scene(1), np.full((512, 512), 99, np.uint8)])
    photo = saved(tmp_path / "photo.png", Image.fromarray(rgba), "PNG")
    with pytest.raises(MediaError) as caught:
        engine.seal(SealRequest(photo, "camera", "image/jpeg"))
    assert caught.value.code == "input.media.alpha"


def test_an_animation_is_refused(engine: Engine, tmp_path: Path) -> None:
    out = io.BytesIO()
    frames = [Image.fromarray(scene(n, 300, 300)) for n in range(3)]
    frames[0].save(out, "PNG", save_all=True, append_images=frames[1:])
    (tmp_path / "moving.png").write_bytes(out.getvalue())
    with pytest.raises(MediaError) as caught:
        engine.seal(SealRequest(tmp_path / "moving.png", "camera"))
    assert caught.value.code == "input.media.animated"
