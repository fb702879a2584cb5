"""How much more is made with two drawing actors than with one, on a Ray cluster of this machine. Prints JSON.

python benchmarks/ray_scaling.py [--jobs N] [--seconds S]

The model is a stand-in that sleeps for S seconds a picture, as a card would keep its process waiting; everything else
is real: queue, marking, signing, log, Ray. On a busy machine the chain's own work limits what the second actor can
bring, so its share is told, too.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from filigrana.pipeline.executors.ray import Cluster, Plan
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.jobs.model import Order
from filigrana.pipeline.settings import load_settings
from filigrana.tests.clustered import drawing, judging, workers


def measured(folder: Path, actors: int, jobs: int, seconds: float) -> dict[str, float]:
    house = Installation(load_settings(data_dir=folder))
    cluster = Cluster(Plan(None, actors, 1, 0.0, 0.0), drawing, judging)
    together = workers(house, cluster, threading.Event(), "bench", 2 * actors)

    def put(count: int, prompt: str) -> None:
        for number in range(count):
            request = {"seed": number, "mime": "image/png"}
            house.jobs.put(Order("press", "ana", "generate", request, {"prompt": prompt}))

    put(2 * actors, "slow 0.1 boat")
    together.run(threading.Event(), drain=True)
    put(jobs, f"slow {seconds} boat")
    started, used = time.monotonic(), time.process_time()
    ended = together.run(threading.Event(), drain=True)
    took = time.monotonic() - started
    assert ended == jobs, f"{ended} of {jobs}"
    assert house.jobs.counts().get("released") == jobs + 2 * actors
    cluster.close()
    house.close()
    return {
        "actors": actors,
        "jobs_per_second": round(jobs / took, 3),
        "drawing_busy_percent": round(100 * jobs * seconds / (actors * took), 1),
        "worker_cpu_seconds_a_job": round((time.process_time() - used) / jobs, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=20, help="a measurement")
    parser.add_argument("--seconds", type=float, default=3.0, help="that drawing one takes")
    options = parser.parse_args()
    said: dict[str, Any] = {"load": round(os.getloadavg()[0], 1), "seconds_a_drawing": options.seconds}
    with tempfile.TemporaryDirectory() as name:
        one, two = (measured(Path(name) / str(n), n, options.jobs, options.seconds) for n in (1, 2))
    ratio = round(two["jobs_per_second"] / one["jobs_per_second"], 2)
    said |= {"one": one, "two": two, "ratio": ratio, "load_after": round(os.getloadavg()[0], 1)}
    print(json.dumps(said, indent=1))


if __name__ == "__main__":
    main()
