"""Ray carries work and nothing else: whichever part of a cluster dies, each job ends once, and is released once."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest

pytest.importorskip("ray")

from filigrana.errors import SettingsError
from filigrana.pipeline.executors.ray import Cluster as Connected
from filigrana.pipeline.executors.ray import Plan
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.jobs.model import Job, Order
from filigrana.pipeline.settings import load_settings
from filigrana.tests import clustered
from filigrana.tests.working import process, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
LEASE = 4
WORKER = "from filigrana.tests.clustered import main; main()"
SMALL = {"include_dashboard": False, "object_store_memory": 150 << 20}


class Nodes:
    """A cluster of processes on loopback: a head, and machines with a card each that is not there."""

    def __init__(self, machines: int) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 0, **SMALL})
        self.machines = [self.add() for _ in range(machines)]

    @property
    def head(self) -> str:
        return str(self.cluster.address)

    def add(self) -> Any:
        return self.cluster.add_node(num_cpus=1, num_gpus=1, object_store_memory=150 << 20)

    def machine_of(self, pid: int) -> Any:
        """The machine that this process belongs to."""
        parents = {parent.pid for parent in psutil.Process(pid).parents()}
        for node in self.machines:
            if any(each.process.pid in parents for each in node.all_processes["raylet"]):
                return node
        raise AssertionError("no machine has this process")

    def kill_head(self) -> None:
        for infos in self.cluster.head_node.all_processes.values():
            for each in infos:
                each.process.kill()
                each.process.wait()

    def end(self) -> None:
        self.cluster.shutdown()


@pytest.fixture
def nodes() -> Iterator[Callable[[int], Nodes]]:
    made: list[Nodes] = []

    def make(machines: int = 1) -> Nodes:
        made.append(Nodes(machines))
        return made[-1]

    yield make
    for each in made:
        each.end()


@pytest.fixture
def house(tmp_path: Path, postgres_url: str) -> Iterator[Installation]:
    opened = Installation(load_settings(data_dir=tmp_path / "data", database=postgres_url, jobs_lease=LEASE))
    opened.ledger.unfinished()
    yield opened
    opened.close()


def put(house: Installation, *prompts: str) -> list[UUID]:
    orders = [
        Order("press", "ana", "generate", {"seed": number, "mime": "image/png"}, {"prompt": prompt})
        for number, prompt in enumerate(prompts)
    ]
    return [job.id for job, _ in house.jobs.put_all(orders)]


Started = tuple["subprocess.Popen[str]", list[int]]


def worker(
    house: Installation,
    head: str,
    name: str = "w",
    *,
    attempts: int = 5,
    gpus: float = 0.75,
    draws: int = 1,
    jobs: int = 2,
) -> AbstractContextManager[Started]:
    """A worker process, and the processes of its actors: those that draw, then the one that judges."""

    @contextmanager
    def started() -> Iterator[Started]:
        words = (str(house.folder), str(house.settings.database), name, head, LEASE, attempts, gpus, draws, jobs)
        with process(WORKER, *map(str, words)) as one:
            assert one.stdout is not None
            said = one.stdout.readline().split()
            assert said[:1] == ["ready"], one.communicate()
            yield one, [int(each) for each in said[1:]]

    return started()


def ended(house: Installation, jobs: list[UUID], seconds: float = 400.0) -> list[Job]:
    return until(lambda: (found := house.jobs.some(jobs)) and all(job.ended for job in found) and found, seconds)  # type: ignore[no-any-return]


def drawing(house: Installation, job: UUID) -> bool:
    found = house.jobs.get(job)
    return (found.progress or {}).get("stage") == "generate" and found.progress["done"] > 0  # type: ignore[index]


def assert_each_released_once(house: Installation, jobs: list[Job]) -> None:
    assert [job.state for job in jobs] == ["released"] * len(jobs), [job.outcome for job in jobs]
    released = Counter(str(entry["asset_id"]) for _, entry in house.log.entries() if entry["type"] == "release")
    assert released == Counter(str((job.outcome or {})["asset_id"]) for job in jobs)
    for asset in released:
        assert house.store.exists(f"{asset[:2]}/{asset}.png")
    assert house.log.verify().ok


# ── on a cluster ─────────────────────────────────────────────────────────────────────────────────────────────────
def test_drawing_is_on_a_machine_with_a_card_and_everything_else_here(
    house: Installation, nodes: Callable[[int], Nodes]
) -> None:
    cluster = nodes(2)
    jobs = put(house, "slow 1.5 boat", "a red boat", "a blue boat")
    with worker(house, cluster.head) as (one, actors):
        assert one.pid not in actors
        assert {cluster.machine_of(pid) for pid in actors} <= set(cluster.machines), "the head has no card"
        until(lambda: drawing(house, jobs[0]))
        found = ended(house, jobs)
        assert_each_released_once(house, found)
        assert [job.attempts for job in found] == [1, 1, 1]
        assert "estimate" in found[0].outcome["energy"]["method"]  # type: ignore[index]
        stages = found[0].outcome["stages"]  # type: ignore[index]
        assert stages["generate"] > 1.4
        one.send_signal(signal.SIGTERM)
        assert one.wait(60) == 0
    # what it recorded of its guards is what the actors loaded
    decisions = [entry["decision"] for _, entry in house.log.entries() if entry["type"] == "decision"]
    named = {run["guard"]: run for each in decisions for run in each["guards"]}
    assert named["nsfw"]["model"]["digest"] == "0" * 64


def test_a_drawing_process_that_is_killed_costs_a_try(house: Installation, nodes: Callable[[int], Nodes]) -> None:
    cluster = nodes(1)
    jobs = put(house, "slow 3 boat", "a red boat")
    with worker(house, cluster.head) as (_, actors):
        until(lambda: drawing(house, jobs[0]))
        os.kill(actors[0], signal.SIGKILL)
        found = ended(house, jobs)
        assert_each_released_once(house, found)
        assert found[0].attempts == 2


def test_a_prompt_that_kills_its_model_ends_as_failed_and_the_next_one_is_drawn(
    house: Installation, nodes: Callable[[int], Nodes]
) -> None:
    cluster = nodes(1)
    jobs = put(house, "dies at once", "a red boat")
    with worker(house, cluster.head, attempts=2):
        bad, good = ended(house, jobs)
    assert (bad.state, bad.outcome["code"], bad.attempts) == ("failed", "engine.executor", 2)  # type: ignore[index]
    assert good.state == "released"


def test_a_judge_that_is_killed_is_asked_again(house: Installation, nodes: Callable[[int], Nodes]) -> None:
    """Started anew it answers in time; nothing is held for people because of it."""
    cluster = nodes(1)
    with worker(house, cluster.head, jobs=1) as (_, actors):
        assert_each_released_once(house, ended(house, put(house, "a boat")))
        os.kill(actors[-1], signal.SIGKILL)
        jobs = put(house, "a red boat")
        found = ended(house, jobs)
    assert [job.state for job in found] == ["released"]


def test_a_machine_that_dies_costs_a_try_and_its_work_goes_to_another(
    house: Installation, nodes: Callable[[int], Nodes]
) -> None:
    cluster = nodes(2)
    jobs = put(house, "slow 4 boat", "a red boat", "a blue boat")
    with worker(house, cluster.head) as (_, actors):
        until(lambda: drawing(house, jobs[0]))
        dead = cluster.machine_of(actors[0])
        cluster.cluster.remove_node(dead, allow_graceful=False)
        found = ended(house, jobs)
        assert_each_released_once(house, found)
        assert found[0].attempts >= 2


def test_a_head_that_dies_ends_the_worker_and_its_jobs_go_to_one_on_another_cluster(
    house: Installation, nodes: Callable[[int], Nodes]
) -> None:
    cluster = nodes(1)
    jobs = put(house, "slow 20 boat", "slow 20 ship", "a red boat")
    with worker(house, cluster.head) as (one, _):
        until(lambda: drawing(house, jobs[0]) or drawing(house, jobs[1]))
        cluster.kill_head()
        assert one.wait(180) != 0, "whoever started it starts it again"
    assert all(not job.ended for job in house.jobs.some(jobs))
    cluster.end()
    with worker(house, nodes(1).head, "again", draws=1):
        assert_each_released_once(house, ended(house, jobs, 300))


def test_a_worker_that_is_killed_leaves_its_jobs_to_another_on_the_same_cluster(
    house: Installation, nodes: Callable[[int], Nodes]
) -> None:
    cluster = nodes(2)
    jobs = put(house, "slow 5 boat", "a red boat")
    with worker(house, cluster.head) as (one, actors):
        until(lambda: drawing(house, jobs[0]))
        one.kill()
        one.wait()
        until(lambda: not any(psutil.pid_exists(pid) and _lives(pid) for pid in actors))
    with worker(house, cluster.head, "other"):
        assert_each_released_once(house, ended(house, jobs))


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_cancelled_job_stops_being_drawn(house: Installation, nodes: Callable[[int], Nodes]) -> None:
    cluster = nodes(1)
    jobs = put(house, "slow 60 boat")
    with worker(house, cluster.head, jobs=1):
        until(lambda: drawing(house, jobs[0]))
        house.jobs.cancel(jobs[0], "press")
        started = time.monotonic()
        assert ended(house, jobs)[0].state == "cancelled"
        after = put(house, "a red boat")
        assert ended(house, after)[0].state == "released"
        assert time.monotonic() - started < 45, "the card was free again"


# ── what cannot be ───────────────────────────────────────────────────────────────────────────────────────────────
def test_a_cluster_without_the_cards_that_are_asked_for_is_an_error_and_no_endless_wait(
    nodes: Callable[[int], Nodes],
) -> None:
    head = nodes(0).head
    with pytest.raises(SettingsError) as caught:
        Connected(Plan(head, drawing_gpus=1.0), clustered.drawing, clustered.judging)
    assert caught.value.code == "settings.ray"
    assert "GPU" in caught.value.message


def test_a_head_that_is_not_there_is_an_error_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Connected(Plan("127.0.0.1:9"), clustered.drawing, clustered.judging)
    assert caught.value.code == "settings.ray"


# ── the real parts ───────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.generate
def test_the_command_draws_and_judges_with_the_models_that_ship(tmp_path: Path) -> None:
    opened = Installation(load_settings(data_dir=tmp_path / "real"))
    opened.ledger.unfinished()
    job = put(opened, "a red sailboat on a blue sea")
    program = "import sys; from filigrana.pipeline.cli import main; sys.argv[0] = 'filigrana'; main()"
    words = ("worker", "--executor", "ray", "--once", "--json")
    environment = {
        "FILIGRANA_DATA_DIR": str(tmp_path / "real"), "FILIGRANA_RAY_JOBS": "1",
        "FILIGRANA_RAY_DRAWING_GPUS": "0", "FILIGRANA_RAY_JUDGING_GPUS": "0",
    }  # fmt: skip
    with process(program, *words, **environment) as one:
        said, told = one.communicate(timeout=400)
    assert one.returncode == 0, told
    assert said.strip() == '{"ended": 1}'
    assert_each_released_once(opened, opened.jobs.some(job))
    decisions = [entry["decision"] for _, entry in opened.log.entries() if entry["type"] == "decision"]
    ran = {run["guard"]: run for each in decisions for run in each["guards"]}
    assert ran["nsfw"]["model"]["digest"], "proof of what judged, from the process that did"
    opened.close()
