"""Files, prompts, policy packs and folders that mean harm: a clear answer, quickly, in little memory, and no trace-back."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from filigrana.errors import FiligranaError, InputError, PolicyError, PromptError, SettingsError
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.policies import load_tested_pack
from filigrana.pipeline.request import GenerateRequest, Held, Refusal, Release, SealRequest
from filigrana.pipeline.settings import load_settings
from filigrana.pipeline.store import FolderStore, check_target, export
from filigrana.provenance.media import encode_picture
from filigrana.provenance.tables import Asset
from filigrana.tests.conftest import MakeEngine
from filigrana.tests.disks import small_disk
from filigrana.tests.doubles import FakeGenerator, calm, scene

SECONDS, MEGABYTES = 2.0, 500


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────
def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_of_zeros(width: int, height: int, *, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG that claims many pixels in few bytes."""
    row = b"\0" * (1 + width * {0: 1, 2: 3}[colour] * depth // 8)
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(row * 100) for _ in range(height // 100)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def picture(kind: str, size: tuple[int, int] = (320, 288)) -> bytes:
    return encode_picture(scene(3, *size), f"image/{kind}")


def clip(path: Path, frames: int = 12, size: tuple[int, int] = (320, 256), sound: bool = True) -> bytes:
    with av.open(str(path), "w", format="mp4") as out:
        video = out.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        audio = out.add_stream("aac", rate=48_000, layout="mono") if sound else None
        for number in range(frames):
            picture = av.VideoFrame.from_ndarray(np.roll(scene(4, *size), number * 5, 1), "rgb24")
            out.mux(video.encode(picture))
            if audio is not None:
                samples = np.sin(np.arange(1920) / 20 + number)[None].astype(np.float32)
                block = av.AudioFrame.from_ndarray(samples, "fltp", "mono")
                block.sample_rate = 48_000
                out.mux(audio.encode(block))
        out.mux(video.encode(None))
        if audio is not None:
            out.mux(audio.encode(None))
    return path.read_bytes()


def wav(samples: int = 4800) -> bytes:
    data = (np.sin(np.arange(samples) / 9) * 8000).astype("<i2").tobytes()
    fmt = struct.pack("<HHIIHH", 1, 1, 48_000, 96_000, 2, 16)
    body = b"WAVEfmt " + struct.pack("<I", 16) + fmt + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def patched(data: bytes, box: bytes, offset: int, value: bytes) -> bytes:
    """``data`` with ``value`` at ``offset`` behind the name of the last box of that name."""
    at = data.rindex(box) + 4 + offset
    return data[:at] + value + data[at + len(value) :]


def webp_canvas(width: int, height: int) -> bytes:
    """A WebP whose canvas claims far more than its one small frame."""
    out = io.BytesIO()
    Image.new("RGB", (16, 16)).save(out, "WEBP")
    frame = out.getvalue()[12:]
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\2\0\0\0" + canvas + b"ANIM" + struct.pack("<I", 6) + bytes(6)
    held = bytes(6) + b"\x0f\0\0\x0f\0\0" + bytes(4) + frame
    body += b"ANMF" + struct.pack("<I", len(held)) + held
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.fixture(scope="module")
def clip_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return clip(tmp_path_factory.mktemp("clip") / "clip.mp4")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory, clip_bytes: bytes) -> Path:
    """A folder of files that mean harm."""
    folder = tmp_path_factory.mktemp("hostile")
    png, jpeg, sound = picture("png"), picture("jpeg"), wav()
    zipped = io.BytesIO()
    import zipfile

    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("run.sh", "rm -rf /")
    files = {
        "169-megapixels.png": png_of_zeros(13_000, 13_000, colour=0),
        "169-megapixels-rgb.png": png_of_zeros(13_000, 13_000),
        "png-and-zip.png": png + zipped.getvalue(),
        "zip-named-png.png": zipped.getvalue(),
        "jpeg-head-mp4-body.jpg": jpeg[:200] + clip_bytes,
        "mp4-named-png.png": clip_bytes,
        "html-in-jpeg.jpg": jpeg[:2] + b"\xff\xfe\x00\x20<script>alert(1)</script>     " + jpeg[2:],
        "empty.png": b"",
        "text.png": b"I am a picture, believe me.\n" * 40,
        "magic-only.png": png[:8],
        "magic-only.jpg": jpeg[:3],
        "magic-only.mp4": clip_bytes[:16],
        "magic-only.wav": b"RIFF\xff\xff\xff\xffWAVE",
        "zeros.png": png[:8] + bytes(100_000),
        "webp-canvas.webp": webp_canvas(16_383, 16_383),
        "no-frames.mp4": patched(clip_bytes, b"stsz", 8, struct.pack(">I", 10**9)),
        "frames-of-one-size.mp4": patched(clip_bytes, b"stsz", 4, struct.pack(">II", 100, 10**9)),
        "a-billion-samples.mp4": patched(clip_bytes, b"stts", 4, struct.pack(">III", 1, 10**9, 512)),
        "a-billion-times.mp4": patched(clip_bytes, b"stts", 4, struct.pack(">I", 2**31 - 1)),
        "huge-pictures.mp4": clip_bytes.replace(struct.pack(">HH", 320, 256), b"\xff\xff\xff\xff"),
        "years-long.mp4": patched(clip_bytes, b"mvhd", 12, struct.pack(">II", 1, 2**31 - 1)),
        "box-of-no-length.mp4": clip_bytes[:28] + bytes(8) + clip_bytes[36:],
        "box-beyond-the-end.mp4": clip_bytes[:28] + b"\x7f\xff\xff\xff" + clip_bytes[32:],
        "64-bit-box.mp4": clip_bytes + struct.pack(">I4sQ", 1, b"uuid", 2**63 + 5),
        "many-boxes.mp4": clip_bytes + struct.pack(">I4s", 8, b"free") * 100_000,
        "data-too-long.wav": patched(sound, b"data", 0, b"\xff\xff\xff\x7f"),
        "data-of-no-length.wav": patched(sound, b"data", 0, b"\xff\xff\xff\xff"),  # as it comes through a pipe
        "fmt-too-long.wav": patched(sound, b"fmt ", 0, b"\xff\xff\xff\x7f"),
        "no-channels.wav": patched(sound, b"fmt ", 6, b"\0\0"),
        "no-rate.wav": patched(sound, b"fmt ", 8, bytes(4)),
        "huge-block.wav": patched(sound, b"fmt ", 16, b"\xff\xff"),
        "many-chunks.wav": sound + (b"junk" + bytes(4)) * 100_000,
        "rf64.wav": b"RF64" + sound[4:],
        "no-data.wav": sound[: sound.index(b"data")],
        "cmyk.jpg": _cmyk(),
        "one-pixel.png": picture_of(1, 1),
        "one-row.png": picture_of(20_000, 1),
        "heic.heic": struct.pack(">I", 24) + b"ftypheic" + bytes(100),
        "gif.gif": b"GIF89a" + bytes(100),
        "svg.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "text-bomb.png": _text_bomb(png),
    }
    files |= {"cut-nearly.png": png[:-13], "cut-nearly.mp4": clip_bytes[:-100]}
    for length in (33, 60, 1000, len(png) // 2):
        files[f"cut-{length}.png"] = png[:length]
    for length in (20, 200, 700, len(jpeg) // 2, len(jpeg) - 300):
        files[f"cut-{length}.jpg"] = jpeg[:length]
    for length in (30, 40, 1000, len(clip_bytes) // 2):
        files[f"cut-{length}.mp4"] = clip_bytes[:length]
    for length in (13, 30, 44, 45, len(sound) // 2, len(sound) - 1):
        files[f"cut-{length}.wav"] = sound[:length]
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "a-folder.png").mkdir()
    os.mkfifo(folder / "a-pipe.png")
    (folder / "a-link-to-nowhere.png").symlink_to("nowhere")
    (folder / "a-link-in-a-circle.png").symlink_to("a-link-in-a-circle.png")
    (folder / "a-device.png").symlink_to("/dev/zero")
    return folder


def picture_of(width: int, height: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), (90, 120, 40)).save(out, "PNG")
    return out.getvalue()


def _cmyk() -> bytes:
    out = io.BytesIO()
    Image.new("CMYK", (300, 300)).save(out, "JPEG")
    return out.getvalue()


def _text_bomb(png: bytes) -> bytes:
    """A compressed text chunk of 100 MB in 100 kB, before the pixels."""
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100_000_000), 9))
    profile = chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(100_000_000), 9))
    return png[:33] + text + profile + png[33:]


# What each may at most be called. Nothing here is signed by anyone.
FINDINGS = {"unreadable", "unmarked", "altered"}
READABLE = {
    "a-billion-samples.mp4", "box-beyond-the-end.mp4", "frames-of-one-size.mp4", "no-channels.wav", "cut-nearly.png",
    "cut-nearly.mp4",
    "png-and-zip.png", "mp4-named-png.png", "html-in-jpeg.jpg", "one-pixel.png", "one-row.png", "64-bit-box.mp4", "huge-pictures.mp4", "years-long.mp4", "many-chunks.wav", "huge-block.wav", "box-of-no-length.mp4",
    "data-of-no-length.wav",
}  # fmt: skip

VERIFY_ALL = """
import json, sys, time
from pathlib import Path
from filigrana.errors import FiligranaError
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.settings import load_settings
{body}
def peak():
    return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmHWM")) // 1024
for path in sorted(Path(sys.argv[1]).iterdir()):
    with open("/proc/self/clear_refs", "w") as stream:
        stream.write("5")  # the peak starts anew
    started, used = time.perf_counter(), time.process_time()
    try:
        said = do(path)
    except FiligranaError as error:
        said = error.code
    spent = min(time.perf_counter() - started, time.process_time() - used)
    print(json.dumps([path.name, said, round(spent, 3), peak()]), flush=True)
"""
VERIFY = """
house = Installation(load_settings(data_dir=Path(sys.argv[2])))
verifier = house.verifier()
def do(path):
    return verifier.verify(path).finding
"""
SEAL = """
from filigrana.pipeline.engine import Engine, Parts
from filigrana.pipeline.request import SealRequest
from filigrana.tests.doubles import calm, quiet_classifier
house = Installation(load_settings(data_dir=Path(sys.argv[2])))
engine = Engine(Parts(ledger=house.ledger, pack=house.pack, generator=None, text_guards=(quiet_classifier(),),
    frame_guards=lambda _: calm(), finisher=house.finisher, staging=house.staging, store=house.store,
    clock=house.clock))
def do(path):
    return "released" if engine.seal(SealRequest(path, "unknown")).released else "held"
"""


def each_file(hostile: Path, data: Path, body: str) -> list[tuple[str, str, float, int]]:
    """(name, answer, seconds, peak memory in MB) for each file, by one process that must survive them all."""
    done = subprocess.run(
        [sys.executable, "-c", VERIFY_ALL.replace("{body}", body), str(hostile), str(data)],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    rows = [tuple(json.loads(line)) for line in done.stdout.splitlines()]
    assert len(rows) == len(list(hostile.iterdir()))
    return rows  # type: ignore[return-value]


def test_verify_answers_for_every_hostile_file(hostile: Path, tmp_path: Path) -> None:
    """Each in processor seconds, since the machine may be busy with other things."""
    assert (hostile / "169-megapixels.png").stat().st_size < 200_000
    wrong = []
    for name, answer, seconds, megabytes in each_file(hostile, tmp_path / "none", VERIFY):
        fine = answer in FINDINGS and (answer == "unreadable" or name in READABLE)
        if not fine or seconds > SECONDS or megabytes > MEGABYTES:
            wrong.append((name, answer, seconds, megabytes))
    assert wrong == []
    assert not (tmp_path / "none").exists(), "looking makes nothing"


def test_seal_refuses_or_seals_every_hostile_file(hostile: Path, furnished: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(furnished, tmp_path / "data"))
    wrong, released = [], set()
    for name, answer, seconds, megabytes in each_file(hostile, data, SEAL):
        if answer == "released":
            released.add(name)
        elif name.startswith("cut-nearly") and answer == "provenance.manifest":
            pass  # the decoders read it, c2pa-rs does not
        elif not answer.startswith(("input.media", "provenance.watermark.too_small")):
            wrong.append((name, answer, seconds, megabytes))
        if seconds > SECONDS or megabytes > MEGABYTES:
            wrong.append((name, answer, seconds, megabytes))
    assert wrong == []
    assert released <= READABLE - {"one-pixel.png", "one-row.png"}
    assert "png-and-zip.png" in released
    with contextlib.closing(Installation(load_settings(data_dir=data))) as house:
        assert house.log.verify().ok
        assert house.ledger.unfinished() == []
    stored = [path for path in (data / "assets").rglob("*") if path.is_file()]
    assert len(stored) == len(released)
    for path in stored:
        assert b"rm -rf /" not in path.read_bytes(), "what stood behind the picture is not carried along"
        assert b"<script>" not in path.read_bytes()


def cli(*arguments: str | Path, data: Path, **options: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", "from filigrana.pipeline.cli import main; main()", "--data-dir", data, *arguments],
        capture_output=True,
        timeout=120,
        **options,
    )


def test_the_command_line_survives_a_folder_of_hostile_files(hostile: Path, tmp_path: Path) -> None:
    done = cli("verify", *sorted(hostile.iterdir()), "--json", data=tmp_path / "none")
    assert done.returncode == 6
    assert done.stderr == b""
    assert len(json.loads(done.stdout)) == len(list(hostile.iterdir()))


@pytest.mark.parametrize("name", ["169-megapixels-rgb.png", "a-pipe.png", "cut-1000.mp4", "a-folder.png", "rf64.wav"])
def test_the_command_line_refuses_to_seal(hostile: Path, tmp_path: Path, name: str) -> None:
    done = cli(
        "seal", hostile / name, "-o", tmp_path / f"out{Path(name).suffix}", "--source-type", "ai", data=tmp_path / "d"
    )
    assert done.returncode == 1
    assert done.stdout == b""
    assert b"Traceback" not in done.stderr
    assert b"input.media" in done.stderr
    assert not (tmp_path / f"out{Path(name).suffix}").exists()


def test_a_file_name_that_is_not_text_is_told_nevertheless(tmp_path: Path) -> None:
    name = os.fsencode(str(tmp_path)) + b"/\xff\xfe[bold].png"
    with open(name, "wb") as stream:
        stream.write(picture("png"))
    for options in ([], ["--json"]):
        for encoding in ("utf-8", "ascii"):
            environment = {**os.environ, "PYTHONIOENCODING": encoding}
            done = cli("verify", name, *options, data=tmp_path / "none", env=environment)  # type: ignore[arg-type]
            assert done.returncode == 4, done.stderr
            assert b"Traceback" not in done.stderr
            if options:
                assert os.fsencode(json.loads(done.stdout)[0]["file"]) == name


# ── prompts ──────────────────────────────────────────────────────────────────────────────────────────────────────
TAGGED = "a boat" + "".join(chr(0xE0000 + ord(c)) for c in " child porn")
NO_PROMPTS: dict[str, Any] = {
    "empty": "",
    "spaces": "  \t\n ",
    "zero-width": "\u200b\u200c\u200d\ufeff" * 50,
    "nul bytes": "\0\0\0",
    "controls": "\x01\x02\x1b\x7f",
    "bidi marks alone": "\u202e\u2066\u2069",
    "tags alone": "".join(chr(0xE0000 + ord(c)) for c in "hello"),
    "a megabyte": "a boat " * 150_000,
    "a megabyte of zero-width": "\u200b" * (1 << 20),
    "a megabyte in one word": "x" * (1 << 20),
    "lone surrogates": "\ud800\udfff" * 5,
    "bytes": b"a boat",
    "none": None,
    "a number": 7,
    "a list": ["a boat"],
}


@pytest.mark.parametrize("name", NO_PROMPTS)
def test_what_is_no_prompt_is_refused_before_anything_happens(
    make_engine: MakeEngine, entry_types: Callable[[], list[str]], name: str
) -> None:
    generator = FakeGenerator()
    with pytest.raises(PromptError) as caught:
        make_engine(generator=generator).generate(GenerateRequest(NO_PROMPTS[name]))
    assert caught.value.code.startswith("input.prompt")
    assert generator.calls == []
    assert entry_types() == []


ODD_PROMPTS = {
    "nul inside": "a red\0boat",
    "half an emoji": "a red boat \ud83d",
    "right to left": "\u202eflow a\u202c a boat",
    "right-to-left script": "قارب أحمر على بحر أزرق",
    "escape codes": "a \x1b[31mred\x1b[0m boat",
    "combining marks": "z" + "\u0301" * 1000 + " boat",
    "xml": "a boat ]]> <![CDATA[ & <rdf:li> \" ' boat",
    "markup": "a [bold]red[/bold] [/] boat {x} %s",
    "newlines": "a\nred\r\nboat\u2028on\u2029the sea",
    "noncharacters": "a boat \uffff\ufffe",
}


@pytest.mark.parametrize("name", ODD_PROMPTS)
def test_an_odd_prompt_ends_in_a_release_or_a_decision(make_engine: MakeEngine, name: str) -> None:
    generator = FakeGenerator()
    try:
        outcome = make_engine(generator=generator).generate(GenerateRequest(ODD_PROMPTS[name]))
    except PromptError as error:
        assert error.code.startswith("input.prompt")  # noqa: PT017  either is fine, a crash is not
        return
    if isinstance(outcome, Release):
        assert all(ord(c) >= 32 for c in generator.calls[0].prompt), "no control character reaches the model"
        generator.calls[0].prompt.encode()


@pytest.mark.parametrize("how", ["tags", "zero-width", "bidi"])
def test_what_cannot_be_seen_is_judged(make_engine: MakeEngine, how: str) -> None:
    prompt = {
        "tags": TAGGED,
        "zero-width": "c\u200bh\u200bi\u200bl\u200bd p\u200bo\u200br\u200bn",
        "bidi": "\u202e" + "child porn"[::-1],
    }[how]
    generator = FakeGenerator()
    outcome = make_engine(generator=generator).generate(GenerateRequest(prompt))
    assert isinstance(outcome, Refusal)
    assert outcome.decision.verdict.word == "block"
    assert generator.calls == []


def test_the_same_prompt_as_negative_prompt_is_judged_too(make_engine: MakeEngine) -> None:
    for bad in ("\u200b" * 40, "x" * (1 << 20), "\ud800"):
        with contextlib.suppress(FiligranaError):
            outcome = make_engine().generate(GenerateRequest("a boat", negative_prompt=bad))
            assert isinstance(outcome, Refusal | Held)


@pytest.mark.parametrize("size", [(64, 64), (8192, 8192)])
def test_sizes_at_the_edge_do_not_crash(size: tuple[int, int]) -> None:
    assert GenerateRequest("a boat", size=size).size == size


@pytest.mark.parametrize(
    "options",
    [
        {"seed": -1},
        {"seed": 2**63},
        {"steps": 0},
        {"guidance": float("nan")},
        {"guidance": float("inf")},
        {"best_of": 0},
        {"size": (63, 512)},
        {"size": (512, 9000)},
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        GenerateRequest("a boat", **options)


def test_prompts_on_the_command_line(tmp_path: Path) -> None:
    for text in (b"x" * (1 << 20), b"\xe2\x80\x8b" * 40, b"\0\0", b"\xff\xfe\xfd", b""):
        done = cli("generate", "-", "-o", tmp_path / "out.png", "--json", data=tmp_path / "data", input=text)
        assert done.returncode == 1, done.stderr
        assert done.stdout == b""
        assert b"input.prompt" in done.stderr
        assert b"Traceback" not in done.stderr
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize("command", [["generate", "-", "-o", "out.png"], ["policy", "check"]])
def test_an_endless_line_takes_no_endless_memory(tmp_path: Path, command: list[str]) -> None:
    """80 MB without a line's end; the reader's peak tells whether it kept them."""
    program = (
        "import contextlib, sys\n"
        "from filigrana.errors import InputError\n"
        "from filigrana.pipeline.cli import state\n"
        "with contextlib.suppress(InputError):\n"
        "    _ = [0 for _ in state.read_lines()] if 'check' in sys.argv else state.read_text()\n"
        "print(next(l.split()[1] for l in open('/proc/self/status') if l.startswith('VmHWM')))"
    )
    reader = subprocess.Popen(
        [sys.executable, "-c", program, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            for _ in range(80):
                reader.stdin.write(b"x" * 1_000_000)
            reader.stdin.close()
        peak = reader.stdout.read()
    assert int(peak) < 70_000


def test_one_bad_line_does_not_keep_policy_check_from_the_others(tmp_path: Path) -> None:
    lines = [b"a boat", b"\xff\xfe", b"\xe2\x80\x8b", b"x" * 100_000, b"\0", b"", b"child porn", b"a house"]
    done = cli("policy", "check", data=tmp_path / "data", input=b"\n".join(lines) + b"\n")
    assert b"Traceback" not in done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(said) == len(lines)
    assert [row["verdict"] for row in said] == ["allow", *["block"] * 6, "allow"]
    assert done.returncode == 10


# ── policy packs ─────────────────────────────────────────────────────────────────────────────────────────────────
PACK = """
id: small
version: 1.0.0
title: Small
description: A pack for tests.
requires: {prompt: [lexicon], generated: [nsfw], sealed: [nsfw]}
lists: {bad: [forbidden]}
rules:
  - id: TST-001
    title: forbidden
    hazard: sxc
    side: prompt
    verdict: block
    reason: This word is forbidden here.
    terms: {all_of: [bad]}
    tests: {match: [a forbidden thing], no_match: [a boat]}
"""

ALIASES = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9))
MERGES = "\n".join(f"a{n}: &a{n}\n  <<: [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9))
BAD_PACKS: dict[str, bytes] = {
    "empty": b"",
    "only a comment": b"# nothing\n",
    "a list": b"- 1\n- 2\n",
    "a word": b"newsroom",
    "a typo in a key": PACK.replace("verdict: block", "verdct: block").encode(),
    "an unknown key": (PACK + "extra: 1\n").encode(),
    "a typo in a verdict": PACK.replace("verdict: block", "verdict: blok").encode(),
    "a typo in a hazard": PACK.replace("hazard: sxc", "hazard: sexx").encode(),
    "a typo in a list": PACK.replace("all_of: [bad]", "all_of: [bda]").encode(),
    "a typo in a guard list": PACK.replace("generated: [nsfw]", "generatd: [nsfw]").encode(),
    "no guard required": PACK.replace("prompt: [lexicon]", "prompt: []").encode(),
    "no rules": (PACK.split("rules:", maxsplit=1)[0] + "rules: []\n").encode(),
    "a rule without tests": PACK.replace("    tests: {match: [a forbidden thing], no_match: [a boat]}\n", "").encode(),
    "its own test fails": PACK.replace("match: [a forbidden thing]", "match: [a fine thing]").encode(),
    "its own counter-test fails": PACK.replace("no_match: [a boat]", "no_match: [forbidden]").encode(),
    "broken YAML": PACK.replace("requires: {", "requires: {{").encode(),
    "tabs": b"id:\tsmall\n\tversion: 1",
    "python objects": b"!!python/object/apply:os.system ['touch owned']",
    "not UTF-8": PACK.encode().replace(b"Small", b"Sm\xff\xfell"),
    "binary": bytes(range(256)) * 20,
    "a date that is none": PACK.replace("title: Small", "title: 2024-13-45").encode(),
    "a number that is none": PACK.replace("title: Small", "title: 0b_").encode(),
    "a huge number": PACK.replace("title: Small", f"title: {'9' * 6000}").encode(),
    "nan": PACK.replace("all_of: [bad]", "all_of: [bad], within: .nan").encode(),
    "over a megabyte": (PACK + "#" * (1 << 20)).encode(),
    "deep": b"[" * 200_000,
    "an alias bomb": f"a0: &a0 [x, x, x]\n{ALIASES}\n{PACK}".encode(),
    "a bomb in a list": f"x: &a0 [x, x]\n{ALIASES}\nlists: *a8\n{PACK}".encode(),
    "a bomb of merges": f"a0: &a0 {{k: v}}\n{MERGES}\n{PACK}".encode(),
}


def test_the_pack_of_these_tests_is_a_policy(tmp_path: Path) -> None:
    (tmp_path / "pack.yaml").write_text(PACK)
    assert load_tested_pack(str(tmp_path / "pack.yaml")).ref.id == "small"


JUDGE_PACKS = """
import json, resource, sys, time
from pathlib import Path
from filigrana.errors import PolicyError
from filigrana.pipeline.policies import load_tested_pack
resource.setrlimit(resource.RLIMIT_CPU, (10, 10))
for path in sorted(Path(sys.argv[1]).iterdir()):
    used = time.process_time()
    try:
        load_tested_pack(str(path))
        said = "loaded"
    except PolicyError as error:
        said = error.code
    except BaseException as error:
        said = repr(error)
    print(json.dumps([path.stem, said, time.process_time() - used]), flush=True)
peak = next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmHWM")) // 1024
print(peak)
"""


OPEN = {"a date that is none", "a number that is none", "a huge number", "a bomb of merges"}


def test_a_pack_that_is_no_policy_is_not_judged_by(tmp_path: Path) -> None:
    judge_packs(tmp_path, BAD_PACKS.keys() - OPEN)


def test_a_pack_with_scalars_and_merges_that_the_parser_trips_over(tmp_path: Path) -> None:
    judge_packs(tmp_path, OPEN)


def judge_packs(tmp_path: Path, names: Iterable[str]) -> None:
    (tmp_path / "packs").mkdir()
    chosen = sorted(names)
    for name in chosen:
        (tmp_path / "packs" / f"{name}.yaml").write_bytes(BAD_PACKS[name])
    done = subprocess.run(
        [sys.executable, "-c", JUDGE_PACKS, str(tmp_path / "packs")],
        capture_output=True,
        text=True,
        timeout=200,
        cwd=tmp_path,
    )
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row for row in said[:-1] if not row[1].startswith("policy.") or row[2] > SECONDS] == []
    assert len(said) == len(chosen) + 1, (done.stdout[-300:], done.stderr[-300:])
    assert said[-1] < MEGABYTES
    assert not (tmp_path / "owned").exists()


def test_the_command_line_makes_nothing_by_a_pack_that_is_none(tmp_path: Path) -> None:
    pack = tmp_path / "pack.yaml"
    pack.write_bytes(BAD_PACKS["a typo in a key"])
    photo = tmp_path / "photo.png"
    photo.write_bytes(picture("png"))
    for arguments in (
        ["seal", photo, "-o", tmp_path / "out.png", "--source-type", "camera", "--policy", pack],
        ["policy", "check", "a boat", "--policy", pack],
        ["policy", "test", pack],
        ["--policy", pack, "generate", "a boat", "-o", tmp_path / "out.png"],
    ):
        done = cli(*arguments, data=tmp_path / "data")
        assert done.returncode == 1
        assert b"policy.invalid" in done.stderr
        assert b"rules.0" in done.stderr, "the place is named"
        assert b"Traceback" not in done.stderr
    assert not (tmp_path / "out.png").exists()
    assert not (tmp_path / "data" / "assets").exists()


def test_a_pack_that_fails_its_own_test_generates_nothing(tmp_path: Path) -> None:
    pack = tmp_path / "pack.yaml"
    pack.write_bytes(BAD_PACKS["its own test fails"])
    with pytest.raises(PolicyError) as caught:
        _ = Installation(load_settings(data_dir=tmp_path / "data", policy=str(pack))).pack
    assert caught.value.code == "policy.tests"


def test_a_typo_in_the_policys_name_is_an_error(tmp_path: Path) -> None:
    for name in ("newsrom", "", "../newsroom", "/dev/null", str(tmp_path), "\0"):
        with pytest.raises(PolicyError):
            load_tested_pack(name)


# ── disks and folders ────────────────────────────────────────────────────────────────────────────────────────────
WRITES = """
import json, os, resource, signal, sys
from pathlib import Path
from filigrana.errors import FiligranaError
from filigrana.pipeline.engine import Engine, Parts
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.request import GenerateRequest
from filigrana.pipeline.settings import load_settings
from filigrana.provenance.media import Frame
from filigrana.tests.doubles import FakeGenerator, calm, quiet_classifier, scene
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
house = Installation(load_settings(data_dir=Path(sys.argv[1])))
for limit in json.loads(sys.argv[2]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        engine = Engine(Parts(ledger=house.ledger, pack=house.pack,
            generator=FakeGenerator(fault=lambda *_: (Frame(scene(7, 320, 320)),)), text_guards=(quiet_classifier(),),
            frame_guards=lambda _: calm(),
            finisher=house.finisher, staging=house.staging, store=house.store, clock=house.clock))
        engine.recover()
        said = "released" if engine.generate(GenerateRequest("a boat")).released else "held"
    except FiligranaError as error:
        said = error.code
    except BaseException as error:
        said = repr(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(json.dumps(said), flush=True)
"""


def test_files_that_cannot_grow(furnished: Path, tmp_path: Path) -> None:
    """RLIMIT_FSIZE stops every write at that size, wherever it stands: database, private folder, checkpoint."""
    data = Path(shutil.copytree(furnished, tmp_path / "data"))
    limits = [60_000, 100_000, 150_000, 200_000, 250_000, 300_000, -1]
    done = subprocess.run(
        [sys.executable, "-c", WRITES, str(data), json.dumps(limits)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert said[-1] == "released"
    assert said[0] not in ("released", "held"), said
    for code in said:
        assert code == "released" or "." in code, said
        assert "(" not in code, said
    with contextlib.closing(Installation(load_settings(data_dir=data))) as house:
        house.staging.recover(house.ledger, house.store)
        assert house.log.verify().ok
        assert house.ledger.unfinished() == []
        from filigrana.provenance.database import session

        with session(house.log.engine) as rows:
            assets = {asset.public_name for asset in rows.query(Asset)}
    on_disk = {str(p.relative_to(data / "assets")) for p in (data / "assets").rglob("*") if p.is_file()}
    assert on_disk == assets


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Of 1.7 MB."""
    with small_disk(tmp_path / "disk", "1700k") as folder:
        yield folder


def test_a_disk_that_runs_full(furnished: Path, disk: Path) -> None:
    data = Path(shutil.copytree(furnished, disk / "data"))
    done = subprocess.run(
        [sys.executable, "-c", WRITES, str(data), json.dumps([-1] * 6)], capture_output=True, text=True, timeout=120
    )
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(said) == 6, done.stderr
    assert any(code != "released" for code in said)
    assert all(code == "released" or ("." in code and "(" not in code) for code in said), said
    on_disk = [path for path in (data / "assets").rglob("*") if path.is_file()]
    assert len(on_disk) >= said.count("released")
    assert len(on_disk) >= 2  # else nothing makes room below
    (disk / "data" / "audit.db").stat()
    for path in on_disk[1:]:
        path.unlink()
    with contextlib.closing(Installation(load_settings(data_dir=data))) as house:
        house.staging.recover(house.ledger, house.store)
        assert house.log.verify().ok
        assert house.ledger.unfinished() == []


@pytest.mark.parametrize("where", ["mkdir", "link", "fsync"])
@pytest.mark.parametrize("number", [28, 30, 122])  # ENOSPC, EROFS, EDQUOT
def test_a_store_that_the_system_refuses(
    installation: Installation, make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch, where: str, number: int
) -> None:
    import filigrana.pipeline.store as store

    engine = make_engine()
    engine.recover()

    def broken(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        if where == "mkdir":
            patched.setattr(FolderStore, "publish", lambda *_: broken())
        elif where == "link":
            patched.setattr(store.os, "link", broken)
        else:
            patched.setattr(store, "sync_folder", broken)
        with pytest.raises(FiligranaError) as caught:
            engine.generate(GenerateRequest("a boat"))
        assert caught.value.code.startswith(("release.", "engine.publish"))
    recovered = make_engine().recover()
    assert recovered.abandoned == ()
    assets = [path for path in (installation.folder / "assets").rglob("*") if path.is_file()]
    assert len(assets) == 1, "the release stands in the log, so its file appears as soon as it can"
    with contextlib.closing(installation.log.engine.connect()) as rows:
        assert rows.exec_driver_sql("SELECT COUNT(*) FROM assets").scalar() == 1


@pytest.fixture
def as_nobody() -> list[str]:
    """A prefix that drops the right to write everywhere, where this machine has one."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("needs setpriv")
    return ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]


def run_as_nobody(prefix: list[str], *arguments: str | Path, data: Path) -> subprocess.CompletedProcess[bytes]:
    program = "from filigrana.pipeline.cli import main; main()"
    return subprocess.run(
        [*prefix, sys.executable, "-c", program, "--data-dir", data, *arguments],
        capture_output=True,
        timeout=60,
    )


def test_a_data_folder_that_cannot_be_written(as_nobody: list[str], tmp_path: Path) -> None:
    data, photo = tmp_path / "data", tmp_path / "photo.png"
    data.mkdir()
    photo.write_bytes(picture("png"))
    data.chmod(0o500)
    done = run_as_nobody(as_nobody, "seal", photo, "-o", tmp_path / "out.png", "--source-type", "camera", data=data)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert b"settings.data_dir" in done.stderr
    assert not (tmp_path / "out.png").exists()
    # Looking needs no right to write.
    assert run_as_nobody(as_nobody, "verify", photo, data=data).returncode == 4


@pytest.mark.parametrize("part", ["assets", "staging", "audit.db", "keys/log.key"])
def test_a_part_of_the_data_folder_that_cannot_be_used(
    as_nobody: list[str], furnished: Path, tmp_path: Path, part: str
) -> None:
    data, photo = Path(shutil.copytree(furnished, tmp_path / "data")), tmp_path / "photo.png"
    photo.write_bytes(picture("png"))
    (data / "assets").mkdir()
    (data / "staging").mkdir()
    (data / part).chmod(0o400 if (data / part).is_file() else 0o500)
    if part == "keys/log.key":
        (data / part).chmod(0)
    done = run_as_nobody(as_nobody, "seal", photo, "-o", tmp_path / "out.png", "--source-type", "camera", data=data)
    assert done.returncode == 1, done.stdout
    assert b"Traceback" not in done.stderr
    assert not (tmp_path / "out.png").exists()
    assert [path for path in (data / "assets").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("kind", ["file", "dangling link", "pipe"])
def test_a_data_folder_that_is_none(tmp_path: Path, kind: str) -> None:
    data = tmp_path / "data"
    if kind == "file":
        data.write_text("not a folder")
    elif kind == "pipe":
        os.mkfifo(data)
    else:
        data.symlink_to("nowhere")
    with pytest.raises(SettingsError) as caught:
        _ = Installation(load_settings(data_dir=data)).ledger
    assert caught.value.code == "settings.data_dir"


def test_a_database_that_is_none(furnished: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(furnished, tmp_path / "data"))
    for path in data.glob("audit.db*"):
        path.unlink()
    photo = tmp_path / "photo.png"
    photo.write_bytes(picture("png"))
    for content in (b"not a database" * 1000, bytes(100_000)):
        (data / "audit.db").write_bytes(content)
        for arguments in (
            ["verify", photo],
            ["audit", "verify"],
            ["audit", "show"],
            ["seal", photo, "-o", tmp_path / "out.png", "--source-type", "camera"],
        ):
            done = cli(*arguments, data=data)
            assert done.returncode in (1, 4, 5), (arguments, done.stderr)
            assert b"Traceback" not in done.stderr, arguments
    assert not (tmp_path / "out.png").exists()


def test_targets_that_cannot_be_written_are_found_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    targets = {
        "a folder": tmp_path,
        "no such folder": tmp_path / "missing" / "out.png",
        "below a file": tmp_path / "file" / "out.png",
        "a name that is too long": tmp_path / ("x" * 300 + ".png"),
        "a path that is too long": tmp_path.joinpath(*["y" * 200] * 30, "out.png"),
    }
    for target in targets.values():
        with pytest.raises(FiligranaError) as caught:
            check_target(target)
        assert caught.value.code == "release.target"


def test_a_copy_is_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "asset.png", tmp_path / "out.png"
    source.write_bytes(b"new")
    target.write_bytes(b"old")

    def broken(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfileobj", broken)
        with pytest.raises(FiligranaError) as caught:
            export(source, target)
        assert caught.value.code == "release.export"
    assert target.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["asset.png", "out.png"]
    export(source, target)
    assert target.read_bytes() == b"new"


def test_an_output_that_is_a_special_file_is_not_replaced(tmp_path: Path) -> None:
    """`-o /dev/null` must not put a file in the place of the device."""
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    with pytest.raises(FiligranaError):
        check_target(pipe)


def test_sealing_a_file_onto_itself_keeps_it_whole(make_engine: MakeEngine, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(picture("png"))
    outcome = make_engine(frame_guards=lambda _generated: calm()).seal(SealRequest(photo, "camera"))
    assert isinstance(outcome, Release)
    export(outcome.file, photo)
    assert photo.read_bytes() == outcome.file.read_bytes()
