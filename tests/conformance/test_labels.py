"""Labels as other people's programs read them, and their geometry on decoded pixels."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from filigrana.errors import MediaError, SettingsError
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.request import GenerateRequest, Release, SealRequest
from filigrana.provenance.labelling import audible
from filigrana.provenance.labelling.aigc import FIELDS, NAMESPACE, Aigc, allowed, kept, problems, producer_code
from filigrana.provenance.labelling.measured import claimed_label
from filigrana.provenance.labelling.measuring import alike, contrast, letters, luminance, measure
from filigrana.provenance.labelling.places import ELSEWHERE, in_xmp, read_all
from filigrana.provenance.labelling.visible import Labeller, Wanted, check_text, draw, plate
from filigrana.provenance.media import Frame, Limits, SoundBlock, read_xmp
from filigrana.tests.comply_kit import Listener, clip, engine_of, house_of, sound, wav
from filigrana.tests.doubles import noise, scene

PICTURES = ("image/png", "image/jpeg", "image/webp", "image/avif", "image/tiff", "image/gif")
SOUNDS = ("audio/wav", "audio/mp4", "audio/mpeg", "audio/flac", "audio/ogg")
CLIPS = ("video/mp4", "video/quicktime", "video/webm")
exiftool = pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is missing: make system")
ffprobe = pytest.mark.skipif(shutil.which("ffprobe") is None, reason="ffprobe is missing: make system")
mediainfo = pytest.mark.skipif(shutil.which("mediainfo") is None, reason="mediainfo is missing: make system")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    opened = house_of(tmp_path_factory.mktemp("labels"), profiles=["eu", "cn"])
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def released(house: Installation, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Release]:
    """One release of every format, AI-made."""
    folder = tmp_path_factory.mktemp("sources")
    engine = engine_of(house, sound_guard=Listener())
    found: dict[str, Release] = {}
    for mime in (*PICTURES, *SOUNDS, *CLIPS):
        if mime in PICTURES:
            outcome = engine.generate(GenerateRequest("a boat", seed=5, mime=mime))
        else:
            source = folder / ("a.wav" if mime in SOUNDS else "c.mp4")
            if not source.exists():
                (wav if mime in SOUNDS else clip)(source)
            outcome = engine.seal(SealRequest(source, "ai", mime=mime))
        assert isinstance(outcome, Release), mime
        found[mime] = outcome
    return found


def told(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def expected(release: Release) -> dict[str, str]:
    ident = str(release.asset_id)
    return dict(zip(FIELDS, ("1", "Filigrana", ident, "", "Filigrana", ident, ""), strict=True))


# ── one AIGC object, where the standard wants it ─────────────────────────────────────────────────────────────────
PLACES = {
    "video/mp4": "moov.udta.meta", "video/quicktime": "moov.udta.meta", "audio/mp4": "moov.udta.meta",
    "audio/wav": "WAV chunk", "audio/mpeg": "TXXX",
}  # fmt: skip


@pytest.mark.parametrize("mime", [*PICTURES, *SOUNDS, *CLIPS])
def test_every_format_carries_one_aigc_object_at_its_place(released: dict[str, Release], mime: str) -> None:
    release = released[mime]
    found = read_all(release.file, mime, read_xmp(release.file, mime), Limits())
    ((place, text),) = found
    assert place == PLACES.get(mime, "XMP")
    assert json.loads(text) == {"AIGC": expected(release)}
    assert problems(text, first=True) == []


@exiftool
@pytest.mark.parametrize("mime", [*PICTURES, "audio/mp4", "audio/mpeg", "audio/flac", "video/mp4", "video/quicktime"])
def test_exiftool_reads_the_aigc_label(released: dict[str, Release], mime: str) -> None:
    found = json.loads(told("exiftool", "-j", "-a", "-G1", "-api", "struct=1", str(released[mime].file)))[0]
    texts = [str(value) for name, value in found.items() if "aigc" in name.lower() or "(AIGC)" in str(value)]
    assert len(texts) == 1, found
    assert json.loads(texts[0].removeprefix("(AIGC) ")) == {"AIGC": expected(released[mime])}


@exiftool
@pytest.mark.parametrize(
    "mime",
    [*PICTURES, "audio/wav", "audio/mpeg", "audio/flac", "video/mp4", "video/quicktime", "audio/mp4"],
)
def test_exiftool_reads_the_iptc_fields(released: dict[str, Release], mime: str) -> None:
    found = json.loads(told("exiftool", "-j", "-G1", "-n", "-XMP-iptcExt:all", str(released[mime].file)))[0]
    said = found.get("XMP-iptcExt:DigitalSourceType")
    assert said == "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    if mime in PICTURES:
        assert found["XMP-iptcExt:AISystemUsed"] == "double"


@exiftool
def test_exiftool_sees_the_chunk_in_a_wav_file(released: dict[str, Release]) -> None:
    shown = told("exiftool", "-v3", str(released["audio/wav"].file))
    assert "AIGC" in shown


@ffprobe
@pytest.mark.parametrize("mime", ["video/mp4", "video/quicktime", "audio/mp4", "audio/mpeg"])
def test_ffprobe_reads_the_aigc_label(released: dict[str, Release], mime: str) -> None:
    shown = told("ffprobe", "-v", "error", "-show_entries", "format_tags", "-of", "json", str(released[mime].file))
    assert json.loads(json.loads(shown)["format"]["tags"]["AIGC"]) == {"AIGC": expected(released[mime])}


@pytest.mark.parametrize("tool", [pytest.param("ffprobe", marks=ffprobe), pytest.param("exiftool", marks=exiftool)])
@pytest.mark.parametrize("mime", ["audio/ogg", "video/webm"])
def test_ffprobe_and_exiftool_hand_out_the_packet_of_ogg_and_webm(
    released: dict[str, Release], mime: str, tool: str
) -> None:
    """They know no XMP there, but the tag that holds it: its AIGC object and source type are then read as XML."""
    path = str(released[mime].file)
    if tool == "exiftool":
        found = json.loads(told("exiftool", "-j", path))[0]["Xmp"]
    else:
        shown = json.loads(
            told("ffprobe", "-v", "error", "-show_entries", "format_tags:stream_tags", "-of", "json", path)
        )
        places = [shown["format"].get("tags", {}), *(stream.get("tags", {}) for stream in shown["streams"])]
        found = next(tags["XMP"] for tags in places if "XMP" in tags)
    tree = ElementTree.fromstring(found.partition("?>")[2].rpartition("<?xpacket")[0])  # noqa: S314  our own
    read = {element.tag.rpartition("}")[2]: element.text for element in tree.iter()}
    assert json.loads(str(read["AIGC"])) == {"AIGC": expected(released[mime])}
    assert str(read["DigitalSourceType"]).endswith("/trainedAlgorithmicMedia")


def test_a_walk_over_riff_finds_the_chunk_once(released: dict[str, Release]) -> None:
    """Standard library only: the chunk `AIGC` at the top of the file holds the object, and nothing after it."""
    data = released["audio/wav"].file.read_bytes()
    assert (data[:4], data[8:12]) == (b"RIFF", b"WAVE")
    chunks, at = list[tuple[bytes, bytes]](), 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        chunks.append((data[at : at + 4], data[at + 8 : at + 8 + size]))
        at += 8 + size + size % 2
    (body,) = [body for name, body in chunks if name == b"AIGC"]
    assert json.loads(body.rstrip(b"\0")) == {"AIGC": expected(released["audio/wav"])}


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is missing: make system")
@pytest.mark.parametrize("mime", SOUNDS)
def test_the_morse_label_is_heard_in_what_ffmpeg_decodes(released: dict[str, Release], mime: str) -> None:
    """Short-long-short-short by the energy at 880 Hz in steps of 10 ms, with none of our own code."""
    command = ["ffmpeg", "-v", "error", "-i", str(released[mime].file), "-t", "2", "-ac", "1", "-ar", "16000", "-f", "s16le", "-"]  # fmt: skip
    pcm = np.frombuffer(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout, "<i2") / 32768
    steps = pcm[: len(pcm) // 160 * 160].reshape(-1, 160)
    tone = np.exp(-2j * np.pi * 880 * np.arange(len(steps) * 160) / 16_000).reshape(steps.shape)
    power = np.convolve(np.abs((steps * tone).sum(1)), np.ones(3) / 3, "same")
    loud = np.concatenate([[False], power > power.max() * 0.5, [False]])
    edges = np.flatnonzero(np.diff(loud.astype(int)))
    lengths = [(end - start) / 100 for start, end in zip(edges[::2], edges[1::2], strict=True) if end - start >= 4]
    unit = min(lengths)
    assert ["long" if length > 2 * unit else "short" for length in lengths] == ["short", "long", "short", "short"]


@mediainfo
@pytest.mark.parametrize("mime", ["video/mp4", "audio/mp4"])
def test_mediainfo_reads_the_aigc_label(released: dict[str, Release], mime: str) -> None:
    assert str(released[mime].asset_id) in told("mediainfo", "--Output=JSON", "--Full", str(released[mime].file))


@pytest.mark.parametrize("mime", [*PICTURES, *SOUNDS, *CLIPS])
def test_a_second_xmp_parser_reads_the_packet(released: dict[str, Release], mime: str) -> None:
    """A real XML parser, on the packet as it stands in the file."""
    packet = read_xmp(released[mime].file, mime) or ""
    tree = ElementTree.fromstring(packet.partition("?>")[2].rpartition("<?xpacket")[0])  # noqa: S314  our own
    found = {element.tag: element.text for element in tree.iter() if element.text}
    assert found["{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"].endswith("trainedAlgorithmicMedia")
    label = found.get("{http://www.tc260.org.cn/ns/AIGC/1.0/}AIGC")
    assert (label is None) == (mime in PLACES)
    if label is not None:
        assert json.loads(label)["AIGC"]["ProduceID"] == str(released[mime].asset_id)


def test_the_prompt_and_its_writer_stand_in_the_file_only_where_the_prompt_is_published(tmp_path: Path) -> None:
    opened = house_of(tmp_path, publish_prompt=True, prompt_writer="Ana")
    outcome = engine_of(opened, publish_prompt=True).generate(GenerateRequest("a red boat", seed=5))
    packet = read_xmp(outcome.file, "image/png") or ""  # type: ignore[union-attr]
    assert "<Iptc4xmpExt:AIPromptInformation>a red boat<" in packet
    assert "<Iptc4xmpExt:AIPromptWriterName>Ana<" in packet
    outcome = engine_of(opened).generate(GenerateRequest("a red boat", seed=5))
    packet = read_xmp(outcome.file, "image/png") or ""  # type: ignore[union-attr]
    assert "AIPrompt" not in packet
    opened.close()


# ── other makers' labels ─────────────────────────────────────────────────────────────────────────────────────────
OTHERS = json.dumps({"Label": "2", "ContentProducer": "maker", "ProduceID": "7"})


def test_both_shapes_are_read_wherever_they_stand(tmp_path: Path) -> None:
    from PIL import PngImagePlugin

    inner = tmp_path / "inner.png"
    chunk = PngImagePlugin.PngInfo()
    chunk.add_itxt("AIGC", OTHERS)
    Image.fromarray(scene(1, 64, 64)).save(inner, pnginfo=chunk)
    assert read_all(inner, "image/png", None, Limits()) == (("text chunk", OTHERS),)
    exif = tmp_path / "exif.jpg"
    made = Image.Exif()
    made.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0" + OTHERS.replace('"2"', '"1"').encode()
    Image.fromarray(scene(1, 64, 64)).save(exif, exif=made)
    ((place, text),) = read_all(exif, "image/jpeg", None, Limits())
    assert (place, json.loads(text)["Label"]) == ("EXIF", "1")
    written = OTHERS.replace(chr(34), "&quot;")
    assert in_xmp(f"<r xmlns:T='{NAMESPACE}' T:AIGC='{written}'/>") == [("XMP", OTHERS)]
    assert in_xmp(f"<r xmlns:T='http://t' T:AIGC='{written}'/>") == [(ELSEWHERE, OTHERS)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"Label": "0"}, "not 1, 2 or 3"),
        ({"ProduceID": ""}, "ProduceID is empty"),
        ({"ReservedCode1": 'a"b'}, "characters"),
        ({"ReservedCode2": "a\\b"}, "characters"),
        ({"ContentPropagator": "x"}, "on first writing"),
        ({"Label": 1}, "no text"),
    ],
)
def test_what_is_wrong_with_a_label_is_said(change: dict[str, object], said: str) -> None:
    found = json.loads(Aigc.first("maker", "7").text())
    found["AIGC"] |= change
    assert said in "; ".join(problems(json.dumps(found), first=True))
    assert kept(json.dumps(found)) is None or said == "on first writing"


def test_permitted_characters_are_those_of_the_standard() -> None:
    """0x21, 0x23-0x5B, 0x5D-0x7E."""
    good = {chr(c) for c in (0x21, *range(0x23, 0x5C), *range(0x5D, 0x7F))}
    assert {chr(c) for c in range(0x200) if allowed(chr(c))} == good
    assert producer_code("Example Press") == "Example_Press"
    for name in ("新华社", " ", 'a"b'):
        with pytest.raises(SettingsError):
            producer_code(name)


# ── geometry ─────────────────────────────────────────────────────────────────────────────────────────────────────
def sizes(count: int) -> list[tuple[int, int]]:
    rng = np.random.default_rng(8)
    drawn = [tuple(int(2 ** rng.uniform(8, 12)) for _ in range(2)) for _ in range(count - 4)]
    return [(256, 256), (256, 1024), (1024, 256), (7680, 4320), *drawn]  # type: ignore[list-item]


@pytest.mark.parametrize(("width", "height"), sizes(24))
@pytest.mark.parametrize("lines", [("AI",), ("AI生成", "AI generated")], ids=["eu", "cn and in"])
def test_letters_on_decoded_pixels_are_as_high_as_they_must_be(width: int, height: int, lines: tuple[str, ...]) -> None:
    base = np.broadcast_to(np.linspace(20, 235, width, dtype=np.uint8)[None, :, None], (height, width, 3))
    labeller = Labeller(Wanted(lines, 0.05, "top-right"))
    frame = next(labeller.frames([Frame(np.ascontiguousarray(base))]))
    out = io.BytesIO()
    Image.fromarray(frame.rgb).save(out, "JPEG", quality=75)
    rgb = np.asarray(Image.open(out).convert("RGB"))
    assert labeller.drawn is not None
    claimed = claimed_label({"label": labeller.drawn.record()})
    assert claimed is not None
    share, px, ratio = measure(rgb, claimed.box) or (0.0, 0, 0.0)
    short = min(width, height)
    assert px >= 0.05 * short
    assert share <= max(0.07, 12 / short)
    assert ratio >= 12
    assert alike(rgb, claimed.box, plate(claimed.text, claimed.capital)) > 0.9
    left, top, right, bottom = labeller.drawn.box
    assert 0 <= top < bottom <= height / 2
    assert width / 2 <= (left + right) / 2
    assert right <= width


@pytest.mark.parametrize("seed", range(6))
def test_the_label_stands_out_from_what_is_around_it(seed: int) -> None:
    """WCAG's contrast between letters and plate, and between the plate and what lies around it (3 to 1, 1.4.11)."""
    grey = np.full((300, 400, 3), (0, 30, 90, 140, 200, 255)[seed], np.uint8)
    shown, drawn = draw(grey, Wanted(("AI",)))
    found = letters(shown)
    assert found is not None
    assert found[1] > 20
    around = float(luminance(grey[:1, :1])[0, 0])
    assert contrast(0.0 if drawn.dark else 1.0, around) >= 3.0


def test_the_quietest_corner_is_taken() -> None:
    busy = noise(4, (400, 600, 3))
    busy[250:, :300] = 128
    _, drawn = draw(busy, Wanted(("AI generated",)))
    left, top, _, _ = drawn.box
    assert left < 100
    assert top > 250


def test_a_transparent_picture_shows_its_label() -> None:
    rgb, alpha = scene(2, 300, 300), np.zeros((300, 300), np.uint8)
    labeller = Labeller(Wanted(("AI",), 0.05, "top-right"))
    frame = next(labeller.frames([Frame(rgb, alpha=alpha)]))
    assert labeller.drawn is not None
    left, top, right, bottom = labeller.drawn.box
    assert frame.alpha is not None
    assert (frame.alpha[top:bottom, left:right] == 255).all()
    assert int(frame.alpha.sum()) == 255 * (bottom - top) * (right - left)


def test_a_text_that_the_font_has_not_is_an_error() -> None:
    check_text(["AI生成", "AI 생성물", "Generado con AI", "AI generated"])
    with pytest.raises(MediaError):
        check_text(["AI ქალი"])


@pytest.mark.parametrize("size", [(16, 16), (20, 400), (40, 24)])
def test_what_has_no_room_for_a_label_is_an_error(size: tuple[int, int]) -> None:
    with pytest.raises(MediaError) as error:
        draw(scene(1, *size), Wanted(("AI generated",)))
    assert error.value.code == "input.label.room"


# ── sound ────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("rate", [8000, 16_000, 44_100, 48_000, 96_000])
def test_the_morse_label_is_found_again(rate: int) -> None:
    blocks = [SoundBlock(block.samples, rate) for block in sound(4, rate)]
    pieces = [SoundBlock(b.samples[i : i + 777], rate) for b in blocks for i in range(0, len(b.samples), 777)]
    heard = audible.find(audible.labelled(pieces))
    assert heard is not None
    assert heard.at == pytest.approx(audible.LEAD, abs=0.05)
    assert heard.tone == pytest.approx(audible.TONE, abs=40)
    assert audible.find(pieces) is None


def test_other_tones_are_no_label() -> None:
    rate = 16_000
    time = np.arange(rate * 4) / rate
    wave = np.sin(2 * np.pi * 700 * time)[:, None].astype(np.float32)
    steady, even = (
        [SoundBlock(wave * 0.4, rate)],
        [SoundBlock((wave * ((time[:, None] * 4) % 1 < 0.5)).astype(np.float32), rate)],
    )
    assert audible.find(steady) is None
    assert audible.find(even) is None
    assert audible.find([SoundBlock(np.zeros((rate, 1), np.float32), rate)]) is None


def test_a_slower_mark_of_another_maker_is_found() -> None:
    """Short-long-short-short at another tone and speed."""
    rate, unit, parts = 22_050, 0.2, []
    for length in (1, 3, 1, 1):
        parts += [np.ones(int(length * unit * rate)), np.zeros(int(unit * rate))]
    gate = np.concatenate([np.zeros(rate), *parts])
    wave = 0.5 * gate * np.sin(2 * np.pi * 1200 * np.arange(len(gate)) / rate)
    heard = audible.find([SoundBlock(wave[:, None].astype(np.float32), rate)])
    assert heard is not None
    assert heard.at == pytest.approx(1.0, abs=0.05)


def test_a_sound_too_short_for_its_label_is_an_error() -> None:
    with pytest.raises(MediaError) as error:
        list(audible.labelled(sound(1.0)))
    assert error.value.code == "input.label.room"


@pytest.mark.parametrize("rate", [1, 50, 100, 400, 999, 1000, 8000, 768_000])
def test_a_sound_of_any_rate_is_listened_to_and_breaks_nothing(rate: int) -> None:
    wave = np.random.default_rng(1).normal(size=(max(rate, 8) * 2, 1)) * 0.1
    assert audible.find([SoundBlock(wave.astype(np.float32), rate)]) is None
