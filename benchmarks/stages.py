"""Time and memory by stage, and the share that safety and provenance add to generating.

    python benchmarks/stages.py [--runs N] [--json]

Generates N pictures (after one that loads the model) with the embedded model, seals one clip, and verifies what came
out. Times are medians of wall seconds; memory is the process's peak so far after each part, in MB.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from filigrana import Pipeline, Release
from filigrana.provenance.media import Frame, encode_clip

GENERATING = {"generate", "load"}
SAFETY = {"judge prompt", "judge output", "choose"}


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def clip(path: Path) -> None:
    """Two seconds at 640 x 360 and 24 frames a second: a gradient with a moving disc."""
    y, x = np.mgrid[0:360, 0:640]
    base = np.stack([80 + x / 8, 100 + y / 6, 160 - x / 10], -1)

    def frame(number: int) -> Frame:
        disc = np.hypot(x - 60 - number * 10, y - 180) < 50
        rgb = np.where(disc[..., None], (220, 60, 40), base)
        return Frame(np.clip(rgb, 0, 255).astype(np.uint8), Fraction(number, 24))

    encode_clip((frame(n) for n in range(48)), path, "video/mp4", rate=Fraction(24))


def medians(stages: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(each.get(name, 0.0) for each in stages) for name in stages[0]}


def table(title: str, stages: dict[str, float]) -> None:
    total = sum(stages.values())
    print(f"\n{title}: {total:.2f} s")
    for name, seconds in stages.items():
        print(f"  {name:<14}{seconds * 1e3:9.1f} ms {seconds / total:6.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    report: dict[str, Any] = {"memory_mb": {"start": round(peak_mb())}}
    with tempfile.TemporaryDirectory() as name, Pipeline(data_dir=Path(name) / "data") as pipeline:
        folder = Path(name)
        outcomes = [pipeline.generate("a red sailboat on a blue sea", seed=seed) for seed in range(options.runs + 1)]
        released = [outcome for outcome in outcomes if isinstance(outcome, Release)]
        if len(released) < 2:
            raise SystemExit(f"not released: {[getattr(o, 'code', '') for o in outcomes]}")
        picture = medians([outcome.stages for outcome in released[1:]])
        report["memory_mb"]["pictures"] = round(peak_mb())
        clip(folder / "clip.mp4")
        sealed = pipeline.seal(folder / "clip.mp4", source_type="ai")
        report["memory_mb"]["clip"] = round(peak_mb())
        verify = []
        for outcome in released[1:]:
            started = time.perf_counter()
            pipeline.verify(outcome.file)
            verify.append(time.perf_counter() - started)
        generating = sum(seconds for stage, seconds in picture.items() if stage in GENERATING)
        safety = sum(seconds for stage, seconds in picture.items() if stage in SAFETY)
        total = sum(picture.values())
        report |= {
            "first": released[0].stages,
            "picture": picture,
            "clip": sealed.stages if isinstance(sealed, Release) else {},
            "verify_seconds": statistics.median(verify),
            "joules": statistics.median(outcome.energy.joules for outcome in released[1:]),
            "share": {
                "generating": generating / total,
                "safety": safety / total,
                "provenance": (total - generating - safety) / total,
            },
        }
    if options.json:
        print(json.dumps(report))
        return
    table(f"one picture at 512 x 512, median of {len(released) - 1}", report["picture"])
    table("the first one, with loading", report["first"])
    table("one sealed clip, 2 s at 640 x 360", report["clip"])
    print("\nshare of a picture: " + ", ".join(f"{name} {share:.0%}" for name, share in report["share"].items()))
    print(f"verify: {report['verify_seconds'] * 1e3:.0f} ms · energy: {report['joules']:.1f} J a picture")
    print("peak memory: " + ", ".join(f"{name} {mb} MB" for name, mb in report["memory_mb"].items()))


if __name__ == "__main__":
    main()
