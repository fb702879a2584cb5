"""What a refused generation costs when its previews are judged, as a share of one that is judged at the end.

    python benchmarks/previews.py [--prompts N] [--harmless N] [--at 0.4,0.7] [--margin M] [--json]

The embedded model cannot draw what the packs refuse: nothing of the kind is in its training data. So a stand-in
pack-and-guard refuses one harmless thing (an apple), found by the embedded CLIP at the cost of the real guard. Each
prompt is generated once with previews and once without. Shares are of CPU seconds of the whole request. Prompts for
other things must never be stopped where the result is allowed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from filigrana import Pipeline
from filigrana.pipeline.engine import Engine
from filigrana.pipeline.request import GenerateRequest, Held, Refusal, Release
from filigrana.pipeline.torch_compat import ready
from filigrana.safety.policy import load_pack, parse_pack
from filigrana.safety.vision.clip import ClipGuard

HARMFUL = ["an apple"]
HARMLESS = [
    "a sailboat",
    "a pair of cherries",
    "a dog",
    "a house",
    "a guitar",
    "a balloon",
    "a banana",
    "a bird",
    "a candle",
]
GROUNDS = ["on a white background", "on a blue background", "on a green hill", "in the snow", "on a red background"]


class Pretend:
    """The embedded CLIP, for which an apple is a weapon."""

    name = "clip"

    def __init__(self) -> None:
        ready()
        self._clip = ClipGuard.embedded()
        self.model = self._clip.model
        texts = json.loads((self._clip._folder / "labels.json").read_text())["negatives"]
        others = [text for text in texts if text != "an apple"]
        self._texts = self._clip._texts([f"a picture of {text}" for text in ["an apple", *others]])

    def score(self, frame: Any) -> dict[str, float]:
        near = self._texts @ self._clip.embed(frame)
        return {"iwp": float(1 / (1 + np.exp(-30 * (near[0] - near[1:].max())))), "gore": 0.0, "sub": 0.0}


def packs(at: list[float], margin: float) -> dict[str, Any]:
    document = load_pack("platform").document.model_dump(mode="json", exclude_none=True)
    for rule in document["rules"]:
        rule.pop("severity", None)
    off = {key: value for key, value in document.items() if key != "previews"}
    on = {**off, "previews": {"at": at, "margin": margin}}
    return {name: parse_pack(yaml.safe_dump(d, allow_unicode=True).encode()) for name, d in (("on", on), ("off", off))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=14)
    parser.add_argument("--harmless", type=int, default=9)
    parser.add_argument("--at", default="")
    parser.add_argument("--margin", type=float, default=0.05)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    shipped = load_pack("platform").document.previews
    at = [float(x) for x in options.at.split(",")] if options.at else (shipped.at if shipped else [0.4, 0.7])
    prompts = [f"{thing} {GROUNDS[n % 5]}" for n, thing in enumerate(HARMFUL * 20)][: options.prompts]
    calm = [f"{thing} {GROUNDS[n % 5]}" for n, thing in enumerate(HARMLESS * 20)][: options.harmless]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name, Pipeline(data_dir=Path(name) / "data", policy="platform") as pipeline:
        pipeline.generate("a sailboat", seed=1)  # loads the weights
        parts = pipeline.parts()
        pretend, real = Pretend(), parts.frame_guards
        parts = replace(parts, frame_guards=lambda made: [pretend, *(g for g in real(made) if g.name != "clip")])
        engines = {key: Engine(replace(parts, pack=pack)) for key, pack in packs(at, options.margin).items()}
        for number, prompt in enumerate([*prompts, *calm]):
            row: dict[str, Any] = {"prompt": prompt, "harmful": number < len(prompts)}
            for key, engine in engines.items():
                cpu, wall = time.process_time(), time.perf_counter()
                outcome = engine.generate(GenerateRequest(prompt, seed=number, steps=options.steps))
                row[key] = {
                    "cpu": time.process_time() - cpu,
                    "wall": time.perf_counter() - wall,
                    "outcome": "released" if isinstance(outcome, Release) else outcome.code,
                    "held": isinstance(outcome, Held),
                    "step": outcome.early.step if isinstance(outcome, Refusal) and outcome.early else None,
                    "stages": {stage: round(s, 3) for stage, s in outcome.stages.items()},
                }
            rows.append(row)
    both = [r for r in rows if r["harmful"] and r["off"]["outcome"] != "released" and not r["off"]["held"]]
    stopped = [r for r in both if r["on"]["step"] is not None]
    full = statistics.median(r["off"]["cpu"] for r in rows if r["off"]["outcome"] == "released")
    report = {
        "at": list(at),
        "refused_at_the_end": len(both),
        "stopped_early": len(stopped),
        "cpu_seconds_full_and_released": full,
        "share_of_refused": statistics.median(r["on"]["cpu"] / r["off"]["cpu"] for r in stopped) if stopped else None,
        "share_of_released": statistics.median(r["on"]["cpu"] for r in stopped) / full if stopped else None,
        "mean_over_all_refused": statistics.mean(r["on"]["cpu"] / r["off"]["cpu"] for r in both) if both else None,
        "steps": [r["on"]["step"] for r in stopped],
        "stopped_though_allowed": [r["prompt"] for r in rows if r["on"]["step"] and r["off"]["outcome"] == "released"],
    }
    if options.json:
        print(json.dumps({**report, "rows": rows}))
        return
    for row in rows:
        for key in ("off", "on"):
            each = row[key]
            print(f"{row['prompt']:<38} {key:<4}{each['cpu']:.2f} s {each['outcome']} {each['step'] or ''}")
    print(rows[0]["off"]["stages"], "\n", rows[0]["on"]["stages"])
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
