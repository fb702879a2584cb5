"""Workers on a Ray cluster of this machine, with doubles where models would be."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from filigrana.pipeline.executors.clustered import Together
from filigrana.pipeline.executors.ray import Cluster, Plan, RayGenerator, guards_on
from filigrana.pipeline.generators.base import Generated, Sampling, StepProgress
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.settings import load_settings
from filigrana.provenance.media import Frame
from filigrana.tests import working
from filigrana.tests.doubles import FakeGenerator, calm, scene

NAMES = frozenset({"nsfw", "clip", "ocr"})


class Drawing(FakeGenerator):
    """Draws for as many seconds as the prompt says (`slow 3 …`), busy or asleep. `dies …`: takes its process along."""

    def generate(self, sampling: Sampling, progress: StepProgress) -> Generated:
        words = sampling.prompt.split()
        if words[0] == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        steps = int(10 * float(words[1])) if words[0] == "slow" else 1
        for step in range(steps):
            progress(step, steps)
            time.sleep(0.1)
        used = {"seed": sampling.seed, "steps": steps, "width": working.SIDE, "height": working.SIDE, "versions": {}}
        frame = Frame(scene(sampling.seed % 97, working.SIDE, working.SIDE))
        return Generated("image", (frame,), sampling=used)


def drawing() -> Drawing:
    return Drawing(kinds=frozenset({"image"}))


def judging() -> dict[str, Any]:
    return {guard.name: guard for guard in calm()}


def workers(house: Installation, cluster: Cluster, stop: threading.Event, name: str, count: int = 2) -> Together:
    generator = RayGenerator(cluster.drawing, house.limits)
    made = [
        working.worker(
            house,
            stop,
            f"{name}/{number}",
            generator=generator,
            frame_guards=lambda _generated: guards_on(cluster, calm(), NAMES, 30.0),
        )
        for number in range(count)
    ]
    return Together(made, cluster)


def main() -> None:
    """A worker process: data folder, database, name, the cluster's head, a lease's seconds, attempts, GPUs a drawing
    actor, drawing actors, jobs at once."""
    folder, database, name, head, lease, attempts, gpus, draws, jobs = sys.argv[1:]
    house = Installation(
        load_settings(data_dir=Path(folder), database=database, jobs_lease=float(lease), jobs_attempts=int(attempts))
    )
    plan = Plan(head, int(draws), 1, float(gpus), float(gpus) / 3)
    cluster = Cluster(plan, drawing, judging)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    together = workers(house, cluster, stop, name, int(jobs))
    together.workers[0].pipeline.engine.recover()
    processes = [cluster._ray.get(each.process.remote()) for each in (*cluster.drawing, *cluster.judging)]
    print("ready", *processes, flush=True)
    print("ended", together.run(stop), flush=True)
    house.close()
    cluster.close()
