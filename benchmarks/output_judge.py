"""What the output stage costs, guard by guard: a picture, and a clip of 10 seconds.

    python benchmarks/output_judge.py [--size 512] [--works N] [--json]

Wall and CPU milliseconds, the best of several runs after one that loads the weights. ``--works``: how many works the
register holds. The clip has 250 frames of 640 x 360; a scene that moves all the time, with a cut every 4 seconds.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from filigrana.pipeline.guards import frame_guards
from filigrana.pipeline.register import FILE, Register
from filigrana.safety.output import OutputJudge
from filigrana.safety.policy import load_pack
from filigrana.safety.vision.frames import sample
from filigrana.safety.vision.ocr import CLIP_SIDE
from filigrana.tests.doubles import scene


def clip() -> list[tuple[Any, float]]:
    scenes = [scene(seed, 900, 500) for seed in range(3)]
    return [(scenes[n // 100][40:400, n : n + 640].copy(), n / 25) for n in range(250)]


def timed(call: Callable[[], Any], runs: int) -> dict[str, float]:
    best = {"wall_ms": 1e9, "cpu_ms": 1e9}
    for _ in range(runs):
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        best["wall_ms"] = min(best["wall_ms"], (time.perf_counter() - wall) * 1e3)
        best["cpu_ms"] = min(best["cpu_ms"], (time.process_time() - cpu) * 1e3)
    return {name: round(value, 1) for name, value in best.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--works", type=int, default=0)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    pack, side = load_pack("platform"), options.size
    report: dict[str, Any] = {"size": side, "works": options.works, "opencv_threads": cv2.getNumThreads()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        register = Register(folder / FILE)
        for number in range(options.works):
            path = folder / f"{number}.png"
            Image.fromarray(scene(1000 + number, 320, 240)).save(path)
            register.add(path)
        guards = {guard.name: guard for guard in frame_guards(pack.requires.generated, folder)}
        picture, moving = scene(1, side, side), clip()
        lettered = Image.fromarray(picture)
        ImageDraw.Draw(lettered).text((20, side // 2), "Fresh fish today", font=ImageFont.load_default(side // 14))
        written = np.asarray(lettered)

        def judged(chosen: list[Any], frames: list[tuple[Any, float]], text_side: int | None) -> None:
            judge = OutputJudge(pack, chosen, origin="generated", side=text_side)

            def every() -> Any:
                for frame, at in frames:
                    judge.watch(frame, at)
                    yield frame, at

            for frame in sample(every()):
                judge.look(frame)
            judge.decision()

        judged(list(guards.values()), [(picture, 0.0)], None)
        everything = list(guards.values())
        for guard, each in guards.items():
            report[guard] = {
                "picture": timed(lambda each=each: judged([each], [(picture, 0.0)], None), options.runs),  # type: ignore[misc]
                "clip": timed(lambda each=each: judged([each], moving, CLIP_SIDE), 2),  # type: ignore[misc]
            }
        report["sampling"] = {"frames": len(list(sample(moving))), "clip": timed(lambda: list(sample(moving)), 2)}
        report["all"] = {
            "picture": timed(lambda: judged(everything, [(picture, 0.0)], None), options.runs),
            "picture with text": timed(lambda: judged(everything, [(written, 0.0)], None), options.runs),
            "clip": timed(lambda: judged(everything, moving, CLIP_SIDE), 2),
            "clip as sealed": timed(lambda: judged([g for g in everything if g.name != "clip"], moving, CLIP_SIDE), 2),
        }
    print(json.dumps(report, indent=None if options.json else 1))


if __name__ == "__main__":
    main()
