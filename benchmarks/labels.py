"""Are visible labels as high, as legible and where they must be, on decoded pixels? `python benchmarks/labels.py`

For each size, from 256 x 256 to 8K in both directions, over a background of its own, each label that a profile (or all
of them together) asks for is drawn, the picture is encoded as JPEG and decoded again, the label is measured there as
`comply check` measures it, and the rules R6 and R14 say whether that is enough. `--clips` does the same with MP4.

    python benchmarks/labels.py [--count 200] [--clips 6] [--quality 75] [--json FILE]

Exit codes: 0 every label passes both rules, 1 not.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from filigrana.provenance.labelling.measured import CONTRAST, Measured, claimed_label
from filigrana.provenance.labelling.measuring import alike, measure, measure_stream
from filigrana.provenance.labelling.visible import Drawn, Labeller, plate
from filigrana.provenance.media import Frame, encode_clip, open_media
from filigrana.provenance.reports.duties import Needs, builtin, needs_of
from filigrana.provenance.reports.facts import FileFacts, HouseFacts
from filigrana.provenance.reports.rules import RULES

SMALLEST, LARGEST = 256, (7680, 4320)
RGB = NDArray[np.uint8]
GROUNDS = ("ramp", "noise", "dark", "light", "stripes", "middle")


def sizes(count: int) -> list[tuple[int, int]]:
    """(width, height): what people use, then sides drawn evenly by their logarithm, one landscape, one portrait."""
    fixed = [(256, 256), (256, 1024), (512, 512), (1024, 1024), (1280, 720), (1920, 1080), (2560, 1440), (3840, 2160),
             LARGEST]  # fmt: skip
    found = list(dict.fromkeys([*fixed, *((height, width) for width, height in fixed)]))
    rng = np.random.default_rng(20)
    while len(found) < count:
        long = int(2 ** rng.uniform(np.log2(SMALLEST), np.log2(LARGEST[0])))
        short = int(2 ** rng.uniform(np.log2(max(SMALLEST, long / 4)), np.log2(max(SMALLEST, min(long, LARGEST[1])))))
        found.append((long, short) if len(found) % 2 else (short, long))
    return found[:count]


def ground(kind: str, width: int, height: int, seed: int) -> RGB:
    """A background of its kind, (height, width, 3)."""
    across = np.linspace(0, 1, width, dtype=np.float32)[None, :]
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    if kind == "noise":
        small = np.random.default_rng(seed).integers(0, 256, (128, 128, 3), dtype=np.uint8)
        return np.tile(small, (height // 128 + 1, width // 128 + 1, 1))[:height, :width]
    shade = {
        "ramp": 20 + 215 * (across + down) / 2,
        "dark": 6 + 12 * across * down,
        "light": 240 + 12 * across * down,
        "stripes": 128 + 110 * np.sign(np.sin(across * width / 7)) * np.ones_like(down),
        "middle": 118 + 3 * across * down,
    }[kind]
    return np.ascontiguousarray(np.broadcast_to(shade.astype(np.uint8)[..., None], (height, width, 3)))


def chosen() -> dict[str, Needs]:
    """Each profile that asks for a visible label, and all together."""
    single = {name: needs_of([name]) for name in builtin()}
    return {name: needs for name, needs in single.items() if needs.visible} | {"all": needs_of(list(builtin()))}


def pictures(count: int, quality: int) -> Iterator[dict[str, Any]]:
    for number, (width, height) in enumerate(sizes(count)):
        kind = GROUNDS[number % len(GROUNDS)]
        base = Frame(ground(kind, width, height, number))
        for name, needs in chosen().items():
            assert needs.visible is not None
            labeller = Labeller(needs.visible)
            rgb = next(iter(labeller.frames([base]))).rgb
            assert labeller.drawn is not None
            out = io.BytesIO()
            Image.fromarray(rgb).save(out, "JPEG", quality=quality)
            decoded = np.asarray(Image.open(out).convert("RGB"))
            claimed = claimed_label({"label": labeller.drawn.record()})
            assert claimed is not None
            found = measure(decoded, claimed.box) or (0.0, 0, 1.0)
            same = alike(decoded, claimed.box, plate(claimed.text, claimed.capital))
            seen = Measured(*found, text=claimed.text, box=claimed.box)
            yield _row("image", needs, labeller.drawn, seen, same) | {"profile": name, "ground": kind}


def clips(count: int, folder: Path) -> Iterator[dict[str, Any]]:
    """Two and a half seconds each, of moving frames."""
    shapes = [(256, 256), (640, 360), (360, 640), (854, 480), (1280, 720), (720, 1280)]
    for number in range(count):
        width, height = shapes[number % len(shapes)]
        kind = GROUNDS[number % len(GROUNDS)]
        base = ground(kind, width, height, number)
        for name, needs in chosen().items():
            assert needs.visible is not None
            labeller, target = Labeller(needs.visible), folder / "clip.mp4"
            moving = (Frame(np.roll(base, 5 * i, axis=1), Fraction(i, 6)) for i in range(18))
            encode_clip(labeller.frames(moving), target, "video/mp4", rate=Fraction(6))
            assert labeller.drawn is not None
            claimed = claimed_label({"label": labeller.drawn.record()})
            assert claimed is not None
            drawn = plate(claimed.text, claimed.capital)
            seen = measure_stream(open_media(target).frames(), claimed, drawn)
            row = _row("video", needs, labeller.drawn, seen or Measured(0.0, 0, 1.0, box=claimed.box), 1.0)
            yield row | {"profile": name, "ground": kind}


def _row(kind: str, needs: Needs, drawn: Drawn, seen: Measured, same: float) -> dict[str, Any]:
    (width, height), (left, top, right, bottom) = drawn.size, drawn.box
    facts = FileFacts(kind=kind, width=width, height=height, visible=seen, duration=3.0,
                      source_type="http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia")  # fmt: skip
    outcomes = [RULES[rule].check(facts, HouseFacts(), needs) for rule in ("R6", "R14")]
    wrong = [f"{one.rule}: {one.detail}" for one in outcomes if one.status != "pass"]
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        wrong.append("the plate does not lie in the picture")
    if needs.visible is not None and seen.height_px < needs.visible.share * min(width, height):
        wrong.append(f"{seen.height_px} px are less than the share of {min(width, height)}, not rounded")
    return {
        "kind": kind, "width": width, "height": height, "px": seen.height_px, "share": round(seen.height, 5),
        "contrast": round(seen.contrast, 2), "alike": round(same, 3), "seconds": round(seen.seconds, 2),
        "area": round((right - left) * (bottom - top) / (width * height), 4), "lines": len(drawn.lines), "wrong": wrong,
    }  # fmt: skip


def worst(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "share": min(row["share"] for row in rows),
        "px": min(row["px"] for row in rows),
        "contrast": min(row["contrast"] for row in rows),
        "alike": min(row["alike"] for row in rows),
        "area": max(row["area"] for row in rows),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=200, help="how many sizes")
    parser.add_argument("--clips", type=int, default=6, help="how many clips of each label")
    parser.add_argument("--quality", type=int, default=75, help="of the JPEG files")
    parser.add_argument("--json", type=Path, help="write every measurement here")
    asked = parser.parse_args()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="filigrana-labels-") as folder:
        rows = [*pictures(asked.count, asked.quality), *clips(asked.clips, Path(folder))]
    failed = [row for row in rows if row["wrong"]]
    summary = {
        "sizes": asked.count,
        "quality": asked.quality,
        "labels": len(rows),
        "failed": len(failed),
        "bars": {"share": 0.05, "px": 9, "contrast": CONTRAST},
        "worst": {kind: worst(of) for kind in ("image", "video") if (of := [r for r in rows if r["kind"] == kind])},
        "seconds": round(time.perf_counter() - started, 1),
    }
    if asked.json is not None:
        asked.json.write_text(json.dumps(summary | {"rows": rows}, indent=1) + "\n", "utf-8")
    for row in failed[:20]:
        print(f"{row['profile']:<6} {row['width']} x {row['height']} {row['ground']}: {'; '.join(row['wrong'])}")
    print(f"{asked.count} sizes, {len(rows)} labels, {len(failed)} that fail R6 or R14; {summary['seconds']} s")
    for kind, found in summary["worst"].items():
        print(
            f"{kind}: at least: letters {found['share']:.2%} of the shorter side, {found['px']} px, contrast "
            f"{found['contrast']} to 1, likeness {found['alike']}; at most: {found['area']:.1%} of the area"
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
