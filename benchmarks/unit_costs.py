"""What one picture costs beside drawing it: the processor's time by stage of the chain, which a busy machine stretches
far less than the time on the wall. Prints JSON.

python benchmarks/unit_costs.py [--runs N] [--side PX] [--s3]

Guards, marking, signing, log and store are real; the picture is drawn by a stand-in, which is not counted. With --s3
the store is a real S3-compatible server in a process of its own, which is not counted either. Milliseconds a picture,
over all threads of the process; the time-stamp authority is within it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from filigrana.pipeline.api import Pipeline
from filigrana.pipeline.engine import Engine
from filigrana.pipeline.request import GenerateRequest, Release
from filigrana.pipeline.settings import load_settings
from filigrana.provenance.media import Frame
from filigrana.tests.doubles import FakeGenerator, scene
from filigrana.tests.s3_kit import S3, aws


def used() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


class Watch:
    """Told of each stage's beginning and end."""

    def __init__(self) -> None:
        self.found: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self._began = (0.0, 0.0)

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = (time.process_time(), time.perf_counter())
        if (done, total) == (0, 0):
            self._began = now
        elif (done, total) == (1, 1):
            self.found[stage].append((now[0] - self._began[0], now[1] - self._began[1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--s3", action="store_true", help="a real S3-compatible server as the store")
    options = parser.parse_args()
    side = options.side
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        store = None
        if options.s3:
            server = S3()
            stack.callback(server.down)
            stack.enter_context(aws(server.url))
            store = f"s3://{server.bucket()}/assets"
        pipeline = stack.enter_context(Pipeline(load_settings(data_dir=Path(name), store=store)))
        drawn = FakeGenerator(fault=lambda sampling, _: (Frame(scene(sampling.seed % 97, side, side)),))
        pipeline._generator = drawn
        engine: Engine = pipeline.engine
        watch, sizes, whole, took, released = Watch(), [], [], [], 0
        for number in range(options.runs + 1):
            scene(number, side, side)
            if number == 1:  # the first loads what the guards need
                watch = Watch()
            began, wall = used(), time.perf_counter()
            asked = GenerateRequest("a red sailboat on a blue sea", seed=number, size=(side, side))
            made = engine.generate(asked, watch)
            if number:
                whole.append(used() - began)
                took.append(time.perf_counter() - wall)
            if isinstance(made, Release):
                released += 1
                sizes.append(made.file.stat().st_size)
    counted = {stage: values for stage, values in watch.found.items() if stage not in ("generate", "load")}
    said: dict[str, Any] = {
        "side": side, "runs": options.runs, "released": released, "bytes": round(statistics.median(sizes or [0])),
        "cpu_ms": {
            stage: round(1000 * sum(each[0] for each in values) / options.runs, 1) for stage, values in counted.items()
        },
        "wall_ms": {
            stage: round(1000 * sum(each[1] for each in values) / options.runs, 1) for stage, values in counted.items()
        },
        "cpu_whole_ms": round(1000 * statistics.median(whole), 1),
        "wall_whole_ms": round(1000 * statistics.median(took), 1),
        "load": round(os.getloadavg()[0], 1),
    }  # fmt: skip
    print(json.dumps(said, indent=1))


if __name__ == "__main__":
    main()
