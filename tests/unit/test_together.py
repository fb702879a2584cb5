"""Several workers of one process, as a Ray cluster has them, without a cluster: what they end, and what they give back
when it is gone. On a real one: fault/test_ray_executor.py."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from filigrana.errors import SettingsError
from filigrana.pipeline.energy import Energy, together
from filigrana.pipeline.executors import clustered
from filigrana.pipeline.executors.clustered import LOST, Together
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.jobs.model import Order
from filigrana.pipeline.settings import load_settings
from filigrana.tests import working
from filigrana.tests.working import until


class Cluster:
    """Answers as long as it is told to."""

    alive = True

    def answers(self) -> bool:
        return self.alive


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Installation]:
    opened = Installation(load_settings(data_dir=tmp_path / "data"))
    opened.ledger.unfinished()
    yield opened
    opened.close()


def order(prompt: str, seed: int) -> Order:
    return Order("press", "ana", "generate", {"seed": seed, "mime": "image/png"}, {"prompt": prompt})


def of(house: Installation, stop: threading.Event, cluster: Cluster, ended: Any = None) -> Together:
    workers = [working.worker(house, stop, f"w/{number}") for number in range(2)]
    return Together(workers, cluster, ended or (lambda code: None))  # type: ignore[arg-type]


def test_all_jobs_end_and_two_are_worked_on_at_once(house: Installation) -> None:
    jobs = [house.jobs.put(order("slow 1.5 boat", number))[0].id for number in range(4)]
    seen: set[int] = set()
    stop = threading.Event()
    made = of(house, stop, Cluster())
    thread = threading.Thread(target=lambda: seen.add(-made.run(stop, drain=True)))
    thread.start()
    while thread.is_alive():
        seen.add(house.jobs.counts().get("running", 0))
        thread.join(0.1)
    assert -4 in seen, "what it ended"
    assert 2 in seen
    assert [job.state for job in house.jobs.some(jobs)] == ["released"] * 4


def test_without_its_cluster_it_gives_its_jobs_back_untried_and_ends(
    house: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clustered, "WATCHED", 0.05)
    job = house.jobs.put(order("slow 60 boat", 1))[0].id
    codes: list[int] = []
    cluster, stop = Cluster(), threading.Event()
    made = of(house, stop, cluster, codes.append)
    threading.Thread(target=made.run, args=(stop,), daemon=True).start()
    until(lambda: house.jobs.get(job).state == "running")
    stop.set()  # so that nobody takes it again here
    cluster.alive = False
    until(lambda: codes)
    assert codes == [LOST]
    found = house.jobs.get(job)
    assert (found.state, found.request["_first"]) == ("queued", 1), "this try does not count"


def test_energy_of_several_processes_is_told_with_every_method() -> None:
    found = together([Energy(1.5, "nvml"), Energy(2.0, "rapl"), Energy(0.5, "nvml")])
    assert (found.joules, found.method) == (4.0, "nvml + rapl")


def test_an_executor_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(executor="slurm")
    assert "executor" in caught.value.message
