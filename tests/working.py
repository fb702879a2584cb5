"""Workers of real parts with doubles where models would be: in this process, and in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filigrana.pipeline.engine import Engine
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.jobs.chores import Chores
from filigrana.pipeline.jobs.listening import waiting
from filigrana.pipeline.jobs.model import Order
from filigrana.pipeline.jobs.worker import Worker
from filigrana.pipeline.parts import Parts
from filigrana.pipeline.settings import load_settings
from filigrana.provenance.media import Frame
from filigrana.tests.doubles import FakeGenerator, FakeGuard, calm, quiet_classifier, scene

SIDE = 320
"""Pictures of this size are marked and signed quickly."""


REQUEST: dict[str, Any] = {"seed": 3, "mime": "image/png"}


def order(prompt: str = "a red boat", **changes: Any) -> Order:
    given = {"tenant": "press", "subject": "ana", "kind": "generate", "request": REQUEST, "texts": {"prompt": prompt}}
    return Order(**(given | changes))


def draw(sampling: Any, progress: Any) -> Any:
    """A picture of its seed. Takes as long as its prompt says: `slow 3 …` three seconds."""
    words = sampling.prompt.split()
    steps = int(10 * float(words[1])) if words[0] == "slow" else 1
    for step in range(steps):
        progress(step, steps)
        if steps > 1:
            time.sleep(0.1)
    return (Frame(scene(sampling.seed % 97, SIDE, SIDE)),)


def engine(house: Installation, **changes: Any) -> Engine:
    parts: dict[str, Any] = {
        "ledger": house.ledger,
        "pack": house.pack,
        "generator": FakeGenerator(fault=draw, kinds=frozenset({"image", "video"})),
        "text_guards": (quiet_classifier(),),
        "frame_guards": lambda _generated: calm(),
        "finisher": house.finisher,
        "staging": house.staging,
        "store": house.store,
        "clock": house.clock,
        "guard_timeout": 30.0,
        "stage_timeout": 60.0,
    }
    return Engine(Parts(**(parts | changes)))


class Made:
    """What a worker needs of a pipeline."""

    def __init__(self, made: Engine) -> None:
        self.engine = made


def worker(house: Installation, stop: threading.Event, name: str = "w", **changes: Any) -> Worker:
    made = Made(engine(house, **changes))
    return Worker(
        made,
        house.jobs,
        name,
        waiting(house.jobs.engine, stop),
        besides=Chores(house, lambda: made.engine),
        incoming=house.incoming,
    )


@contextmanager
def working(house: Installation, **changes: Any) -> Iterator[Worker]:
    """A worker in a thread, until the block ends."""
    stop = threading.Event()
    made = worker(house, stop, **changes)
    thread = threading.Thread(target=made.run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        stop.set()
        thread.join(60)
        assert not thread.is_alive()


@contextmanager
def process(program: str, *words: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process, ended with the block."""
    started = subprocess.Popen(
        [sys.executable, "-c", program, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        yield started
    finally:
        if started.poll() is None:
            started.kill()
        started.communicate()


def until(true: Callable[[], Any], seconds: float = 180.0) -> Any:
    """What ``true`` answers once it is true."""
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.05)
    return found


def main() -> None:
    """A worker process: data folder, database, name, and optionally a lease's seconds and a job's attempts. Says
    `ready`."""
    from filigrana.pipeline.cli.worker import listen

    folder, database, name, *rest = sys.argv[1:]
    lease, attempts = (*rest, "30", "3")[:2] if len(rest) != 1 else (rest[0], "3")
    house = Installation(
        load_settings(data_dir=Path(folder), database=database, jobs_lease=float(lease), jobs_attempts=int(attempts))
    )
    stop = threading.Event()
    made = worker(house, stop, name)
    made.pipeline.engine.recover()
    listen(made, stop)
    print("ready", flush=True)
    made.run(stop)
    house.close()


__all__ = ["SIDE", "FakeGuard", "draw", "engine", "main", "process", "until", "worker", "working"]
