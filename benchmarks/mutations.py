"""Mutated files through the confined verifier: no crash, no hang, and never `verified` on changed content.

    python benchmarks/mutations.py [--count 20000] [--seconds 2] [--seed 1] [--json FILE]

A small file of every format that is signed here is sealed, then changed: single bytes and bits, cuts, and changes by
the structure of its container (an element left out, doubled, exchanged, moved, lengthened, or emptied). Each copy goes
through a child of its own. A finding of `verified` is held against the decoded content: pixels and samples, decoded
again, must be those of the original.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import struct
import sys
import tempfile
import time
import wave
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from filigrana.pipeline.api import Pipeline
from filigrana.pipeline.request import Release
from filigrana.provenance.asked import Asked
from filigrana.provenance.isolation.confine import Bounds
from filigrana.provenance.isolation.host import IsolatedVerifier
from filigrana.provenance.isolation.wire import Config
from filigrana.provenance.media import MIME_BY_SUFFIX, Frame, encode_clip, open_media, read_sound
from filigrana.provenance.sidecar import sidecar_of

PICTURES = (".png", ".jpg", ".webp", ".avif", ".tiff", ".gif")
SUFFIXES = (*PICTURES, ".mp4", ".mov", ".webm", ".wav", ".m4a", ".mp3", ".flac", ".ogg")


@dataclass
class Tally:
    count: int = 0
    findings: Counter[str] = field(default_factory=Counter)
    crashes: list[str] = field(default_factory=list)
    hangs: list[str] = field(default_factory=list)
    false: list[str] = field(default_factory=list)
    slowest: float = 0.0


def sealed_files(pipeline: Pipeline, folder: Path, suffixes: tuple[str, ...] = SUFFIXES) -> dict[str, Path]:
    """A small released file of each format."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[0:256, 0:256]
    base = np.stack([x, y, 255 - x], -1).astype(np.float64) * 0.6 + 40
    for _ in range(9):
        cx, cy, r = rng.uniform(0, 256, 3)
        base[np.hypot(x - cx, y - cy) < r / 4 + 12] = rng.uniform(30, 220, 3)
    rgb = np.clip(base + rng.normal(0, 6, base.shape), 0, 255).astype(np.uint8)
    Image.fromarray(rgb).save(folder / "picture.png")
    tone = np.sin(np.arange(3 * 16_000) / 16_000 * 2 * np.pi * 330)[:, None] * 0.3 + rng.normal(0, 0.05, (48_000, 1))
    with wave.open(str(folder / "sound.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16_000)
        sound.writeframes((np.clip(tone, -1, 1) * 32_000).astype("<i2").tobytes())
    frames = (Frame(rgb, Fraction(i, 10)) for i in range(8))
    encode_clip(frames, folder / "clip.mp4", "video/mp4", rate=Fraction(10))
    made = {}
    for suffix in suffixes:
        mime = MIME_BY_SUFFIX[suffix]
        source = folder / {"image": "picture.png", "video": "clip.mp4", "audio": "sound.wav"}[mime.partition("/")[0]]
        outcome = pipeline.seal(source, source_type="unknown", mime=mime)
        assert isinstance(outcome, Release), f"{suffix} was not released"
        made[suffix] = outcome.file
    return made


# ── changes ──────────────────────────────────────────────────────────────────────────────────────────────────────
def elements(data: bytes) -> list[tuple[int, int]]:
    """(start, end) of the top-level elements of PNG, JPEG, RIFF and BMFF; even pieces of everything else."""
    found: list[tuple[int, int]] = []
    if data.startswith(b"\x89PNG"):
        at = 8
        while at + 12 <= len(data):
            end = at + 12 + struct.unpack(">I", data[at : at + 4])[0]
            found.append((at, end))
            at = end
    elif data[:4] == b"RIFF":
        at = 12
        while at + 8 <= len(data):
            length = struct.unpack("<I", data[at + 4 : at + 8])[0]
            end = at + 8 + length + length % 2
            found.append((at, end))
            at = end
    elif data[4:8] == b"ftyp":
        at = 0
        while at + 8 <= len(data):
            end = at + (struct.unpack(">I", data[at : at + 4])[0] or len(data) - at)
            if end <= at:
                break
            found.append((at, end))
            at = end
    elif data.startswith(b"\xff\xd8"):
        at = 2
        while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] not in (0xDA, 0xD9):
            end = at + 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
            found.append((at, end))
            at = end
        found.append((at, len(data)))
    good = [(a, b) for a, b in found if a < b <= len(data)]
    step = max(1, len(data) // 12)
    return good or [(at, min(at + step, len(data))) for at in range(0, len(data), step)]


def mutated(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    """(what was done, the changed bytes)."""
    at, kind = rng.randrange(len(data)), rng.randrange(16)
    if kind < 8:
        changed = bytearray(data)
        changed[at] = changed[at] ^ (1 << rng.randrange(8)) if kind < 4 else rng.randrange(256)
        return ("bit" if kind < 4 else "byte"), bytes(changed)
    if kind == 8:
        return "cut", data[:at]
    if kind == 9:
        return "tail", data + rng.randbytes(rng.randrange(1, 200))
    parts = elements(data)
    (a, b), (c, d) = sorted((rng.choice(parts), rng.choice(parts)))
    if kind == 10:
        return "element left out", data[:a] + data[b:]
    if kind == 11:
        return "element doubled", data[:b] + data[a:b] + data[b:]
    if kind == 12 and b <= c:
        return "elements exchanged", data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]
    if kind == 13:
        length = rng.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", rng.randbytes(4)])
        return "length changed", data[:a] + length + data[a + 4 :]
    if kind == 14:
        return "element emptied", data[:a] + data[a : a + 8] + bytes(max(0, b - a - 8)) + data[b:]
    size = rng.randrange(1, 400)
    return "stretch moved", data[:at] + data[at + size :] + data[at : at + size]


def mutations(files: dict[str, Path], count: int, seed: int) -> Iterator[tuple[str, str, bytes]]:
    rng, contents = random.Random(seed), {suffix: path.read_bytes() for suffix, path in files.items()}
    for number in range(count):
        suffix = list(contents)[number % len(contents)]
        yield (suffix, *mutated(contents[suffix], rng))


def content(path: Path) -> str:
    """A digest over what one sees and hears."""
    media, digest = open_media(path), hashlib.sha256()
    for frame in media.frames():
        digest.update(repr(frame.rgb.shape).encode() + frame.rgb.tobytes())
    if media.info.sound is not None:
        for block in read_sound(media):
            digest.update(block.samples.tobytes())
    return digest.hexdigest()


def run(
    count: int, seconds: float, seed: int, suffixes: tuple[str, ...] = SUFFIXES, tell: bool = False
) -> dict[str, Tally]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="filigrana-mutations-")))
        pipeline = stack.enter_context(Pipeline(data_dir=folder / "data"))
        files = sealed_files(pipeline, folder, suffixes)
        originals = {suffix: content(path) for suffix, path in files.items()}
        trust = pipeline.installation.trust
        config = Config(tuple((t.level, t.pem) for t in trust.claim), tuple((t.level, t.pem) for t in trust.tsa))
        tallies = {suffix: Tally() for suffix in suffixes}
        with IsolatedVerifier(config, Bounds(wall=seconds, cpu=60)) as verifier:
            verifier.verify(files[suffixes[0]])
            for suffix, path in files.items():
                asked = Asked(sidecar=sidecar_of(path))
                assert verifier.verify(path, asked).finding == "verified", f"control: {suffix} is verified as it is"
            for number, (suffix, what, data) in enumerate(mutations(files, count, seed), 1):
                _look(verifier, folder, files[suffix], suffix, what, data, originals[suffix], tallies[suffix])
                if tell and number % 200 == 0:
                    sys.stderr.write(f"\r{number}/{count}")
    return tallies


def _look(
    verifier: IsolatedVerifier,
    folder: Path,
    source: Path,
    suffix: str,
    what: str,
    data: bytes,
    original: str,
    tally: Tally,
) -> None:
    path = folder / f"mutated{suffix}"
    path.write_bytes(data)
    for _ in range(3):
        # What hangs does so every time; what only waited for a busy machine does not.
        started = time.perf_counter()
        finding = verifier.verify(path, Asked(sidecar=sidecar_of(source)))
        took = time.perf_counter() - started
        if "takes longer" not in finding.evidence[0].detail:
            break
    tally.count += 1
    tally.findings[finding.finding] += 1
    tally.slowest = max(tally.slowest, took)
    detail = finding.evidence[0].detail
    if "broke down" in detail:
        tally.crashes.append(what)
        _keep(path, "crash")
    elif "takes longer" in detail:
        tally.hangs.append(what)
        _keep(path, "hang")
    if finding.finding == "verified" and content(path) != original:
        tally.false.append(what)
        _keep(path, "false")


def _keep(path: Path, why: str) -> None:
    kept = Path("mutation-finds")
    kept.mkdir(exist_ok=True)
    data = path.read_bytes()
    (kept / f"{why}-{hashlib.sha256(data).hexdigest()[:12]}{path.suffix}").write_bytes(data)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=2.0, help="a file that takes longer hangs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    started = time.perf_counter()
    tallies = run(options.count, options.seconds, options.seed, tell=sys.stderr.isatty())
    print(f"{'format':<8}{'copies':>8}{'crashes':>9}{'hangs':>7}{'false':>7}{'slowest':>9}  findings")
    for suffix, t in tallies.items():
        words = ", ".join(f"{count} {word}" for word, count in t.findings.most_common())
        bad = f"{len(t.crashes):>9}{len(t.hangs):>7}{len(t.false):>7}"
        print(f"{suffix:<8}{t.count:>8}{bad}{t.slowest:>8.2f}s  {words}")
    total = sum(t.count for t in tallies.values())
    wrong = sum(len(t.crashes) + len(t.hangs) + len(t.false) for t in tallies.values())
    print(f"{total} copies in {time.perf_counter() - started:.0f} s, {wrong} of them wrong")
    if options.json:
        options.json.write_text(json.dumps({s: vars(t) for s, t in tallies.items()}, indent=1))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
