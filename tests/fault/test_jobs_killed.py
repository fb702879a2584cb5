"""SIGKILL at random moments while three worker processes make forty jobs, on SQLite and on PostgreSQL: every job ends
once, and the log has one release for each job that was released. And a control: without the fence it does not.

A process that has everything imported forks a child for each worker.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from filigrana.pipeline.installation import Installation
from filigrana.pipeline.jobs.fence import intent_of
from filigrana.pipeline.jobs.model import Order
from filigrana.pipeline.settings import load_settings
from filigrana.tests.working import until

pytestmark = pytest.mark.timeout(900)  # forty jobs and many processes, also where other work keeps the machine busy
LEASE = 3.0
PROGRAM = """
import json, os, signal, sys, threading
from filigrana.tests import working
from filigrana.pipeline.jobs import worker as module
from filigrana.pipeline.jobs.queue import JobQueue
from filigrana.tests.doubles import scene

for seed in range(50):
    scene(seed, working.SIDE, working.SIDE)
print("ready", flush=True)

def child(job):
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    sys.stdin.close()
    if job.get("no_fence"):
        module.settle = lambda *_: None
    if job.get("die_before_finish"):
        JobQueue.finish = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    sys.argv = ["worker", job["folder"], job["database"], job["name"], str(job["lease"]), str(job["attempts"])]
    sys.stdout = open(os.devnull, "w")
    working.main()

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        try:
            child(json.loads(line))
        finally:
            os._exit(0)
    print(pid, flush=True)
"""


class Mother:
    """Forks workers, and knows which of them live."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"
        self.living: list[int] = []

    def start(self, house: Installation, name: str, **how: Any) -> int:
        job = {
            "folder": str(house.folder),
            "database": house.settings.database_url,
            "name": name,
            "lease": LEASE,
            "attempts": 50,
            **how,
        }
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        pid = int(self.process.stdout.readline())
        self.living.append(pid)
        return pid

    def kill(self, pid: int, how: int = signal.SIGKILL) -> None:
        self.living.remove(pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, how)

    def lives(self, pid: int) -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return True

    def close(self) -> None:
        for pid in list(self.living):
            self.kill(pid)
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)


@pytest.fixture(scope="module")
def mother() -> Iterator[Mother]:
    made = Mother()
    yield made
    made.close()


@pytest.fixture
def house(tmp_path: Path, database_url: str) -> Iterator[Installation]:
    opened = Installation(
        load_settings(data_dir=tmp_path / "data", database=database_url, jobs_lease=LEASE, jobs_attempts=50)
    )
    opened.ledger.unfinished()
    yield opened
    opened.close()


def put(house: Installation, count: int) -> None:
    request = {"mime": "image/png"}
    house.jobs.put_all(
        [
            Order("press", "ana", "generate", {**request, "seed": seed}, {"prompt": f"boat {seed}"})
            for seed in range(count)
        ]
    )


def releases(house: Installation) -> Counter[str]:
    """How many release entries the log has, by the job that they belong to."""
    of = {
        str(intent_of(job.id, attempt)): str(job.id)
        for job in house.jobs.list(limit=1000)
        for attempt in range(1, job.attempts + 1)
    }
    return Counter(of[entry["intent"]] for _, entry in house.log.entries() if entry["type"] == "release")


@pytest.mark.slow
def test_whatever_is_killed_every_job_ends_once(house: Installation, mother: Mother) -> None:
    draw = random.Random(7)
    put(house, 40)
    workers = [mother.start(house, f"w{number}") for number in range(3)]
    kills, deadline = 0, time.monotonic() + 800
    while set(house.jobs.counts()) & {"queued", "running"}:
        assert time.monotonic() < deadline, house.jobs.counts()
        time.sleep(draw.uniform(0.3, 2.0))
        if kills < 25:
            victim = draw.randrange(3)
            mother.kill(workers[victim])
            kills += 1
            workers[victim] = mother.start(house, f"w{victim}.{kills}")
    for pid in workers:
        mother.kill(pid, signal.SIGTERM)
    until(lambda: not any(mother.lives(pid) for pid in workers))
    jobs = house.jobs.list(limit=100)
    assert kills >= 10
    assert Counter(job.state for job in jobs) == {"released": 40}, [
        job.outcome for job in jobs if job.state == "failed"
    ]
    assert max(job.attempts for job in jobs) > 1, "no kill met a job"
    found = releases(house)
    assert found == Counter({str(job.id): 1 for job in jobs})
    assert house.jobs.lease("anybody") is None, "no lease is stuck, nothing is left over"
    assert house.log.verify().ok
    with contextlib.closing(Installation(house.settings)) as again:
        again.staging.recover(again.ledger, again.store)
        for job in jobs:
            asset = str((job.outcome or {})["asset_id"])
            assert again.store.path(f"{asset[:2]}/{asset}.png").is_file()


def killed_between_release_and_finish(house: Installation, mother: Mother, **how: Any) -> Counter[str]:
    """One job: its worker dies after the release, before it can say so; then another one comes."""
    put(house, 1)
    first = mother.start(house, "dies", die_before_finish=True, **how)
    until(lambda: not mother.lives(first))
    mother.living.remove(first)
    assert house.jobs.counts() == {"running": 1}
    second = mother.start(house, "comes", **how)
    until(lambda: house.jobs.counts() == {"released": 1})
    mother.kill(second)
    return releases(house)


def test_a_kill_between_release_and_finish_repeats_nothing(house: Installation, mother: Mother) -> None:
    assert list(killed_between_release_and_finish(house, mother).values()) == [1]


def test_without_the_fence_the_same_kill_releases_twice(house: Installation, mother: Mother) -> None:
    """The checks above can fail: the lease alone does not keep a job from being made again."""
    assert list(killed_between_release_and_finish(house, mother, no_fence=True).values()) == [2]


def test_a_kill_of_the_last_attempt_after_its_release_does_not_make_a_failure_of_it(
    house: Installation, mother: Mother
) -> None:
    assert list(killed_between_release_and_finish(house, mother, attempts=1).values()) == [1]


@pytest.fixture
def working_on_it(house: Installation, mother: Mother) -> Callable[[], int]:
    def start() -> int:
        house.jobs.put(Order("press", "ana", "generate", {"mime": "image/png", "seed": 1}, {"prompt": "slow 3 boat"}))
        pid = mother.start(house, "w")
        until(lambda: house.jobs.counts() == {"running": 1})
        time.sleep(0.5)
        return pid

    return start


def test_a_worker_that_is_told_to_end_ends_its_job_first(
    house: Installation, mother: Mother, working_on_it: Callable[[], int]
) -> None:
    pid = working_on_it()
    mother.kill(pid, signal.SIGTERM)
    until(lambda: not mother.lives(pid))
    assert house.jobs.counts() == {"released": 1}
    assert house.jobs.list()[0].attempts == 1


def test_a_worker_that_is_told_twice_gives_its_job_back_at_once(
    house: Installation, mother: Mother, working_on_it: Callable[[], int]
) -> None:
    pid = working_on_it()
    os.kill(pid, signal.SIGTERM)
    time.sleep(0.3)
    mother.kill(pid, signal.SIGTERM)
    until(lambda: not mother.lives(pid), 10)
    assert house.jobs.counts() == {"queued": 1}
    again = mother.start(house, "another")
    until(lambda: house.jobs.counts() == {"released": 1})
    mother.kill(again)
    job = house.jobs.list()[0]
    assert job.attempts == 2
    assert house.ledger.state(intent_of(job.id, 1)) == "abandoned"
    assert list(releases(house).values()) == [1]
