"""Orders that come at once, and workers that hold what is somebody else's by now: on SQLite and on PostgreSQL."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from filigrana.errors import ServiceError
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.jobs import announcing, pruning
from filigrana.pipeline.jobs import worker as module
from filigrana.pipeline.jobs.queue import JobQueue
from filigrana.pipeline.jobs.worker import Worker
from filigrana.pipeline.settings import load_settings
from filigrana.pipeline.webhooks import Webhooks
from filigrana.provenance.database import connect, migrate, session
from filigrana.provenance.service_tables import Job as Row
from filigrana.provenance.tables import Asset, SealedText, SubjectKey, TenantKey
from filigrana.provenance.vault import Vault
from filigrana.tests import working
from filigrana.tests.meeting import before, meeting, together
from filigrana.tests.working import order


@pytest.fixture
def queue(database_url: str) -> Iterator[JobQueue]:
    engine = connect(database_url)
    migrate(engine)
    yield JobQueue(engine, limit=50, tenant_limit=20, seconds=30.0, attempts=3)
    engine.dispose()


@pytest.fixture
def house(tmp_path: Path, database_url: str) -> Iterator[Installation]:
    opened = Installation(load_settings(data_dir=tmp_path / "data", database=database_url))
    yield opened
    opened.close()


def full(found: list[Any]) -> list[str]:
    return [one.code for one in found if isinstance(one, ServiceError)]


@pytest.mark.parametrize("which", ["key", "tenant", "all"])
def test_orders_at_once_do_not_pass_a_limit_together(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    queue.put(order())  # the subject's key, and the tenant's, are there
    more: dict[str, Any] = {}
    if which == "key":
        more = {"caller": "k" * 12, "in_flight": 2}
        queue.put(order(**more))
    elif which == "tenant":
        queue.tenant_limit = 2
    else:
        queue.limit = 2
    monkeypatch.setattr(queue, "_add", before(meeting(4), queue._add))
    found = together(4, lambda n: queue.put(order(f"boat {n}", **more)))
    assert full(found) == ["access.in_flight" if which == "key" else "jobs.full"] * 3, found


def test_the_first_orders_of_all_at_once_are_known_again_by_their_keys(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key that commitments are made with is drawn once, whoever comes first."""
    monkeypatch.setattr(Vault, "rotate", before(meeting(4), Vault.rotate))
    found = together(4, lambda n: queue.put(order(f"boat {n}", key=f"k{n}", subject=f"ana{n}")))
    jobs = [one[0].id for one in found if isinstance(one, tuple)]
    assert len(jobs) == 4, found
    again = [queue.put(order(f"boat {n}", key=f"k{n}", subject=f"ana{n}"))[0].id for n in range(4)]
    assert again == jobs
    with session(queue.engine) as opened:
        assert opened.scalar(select(func.count()).select_from(TenantKey)) == 1


def test_a_job_that_is_tried_again_is_not_forgotten_at_that_moment(
    house: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, _ = house.jobs.put(order())
    lease = house.jobs.lease("w")
    assert lease is not None
    house.jobs.finish(lease, "failed", {"code": "engine.timeout"})
    house.clock = lambda: dt.datetime.now(dt.UTC) + dt.timedelta(days=91)
    with ThreadPoolExecutor(1) as pool:
        again: list[Future[Any]] = []

        def tried_again() -> None:
            again.append(pool.submit(house.jobs.retry, job.id))
            time.sleep(0.5)  # it gets through, or waits

        monkeypatch.setattr(pruning, "_jobs", before(tried_again, pruning._jobs))
        pruning.prune(house)
        told = again[0].exception()
        there = bool(house.jobs.some([job.id]))
    assert there is (told is None), "somebody was told that it is tried again"
    assert told is None or getattr(told, "code", None) == "jobs.unknown"


def first_of_all(house: Installation, when: Callable[[], object]) -> working.Made:
    """A worker's engine; ``when``: what happens before anything of a request is opened."""
    left = [when]

    def finisher() -> Any:
        if left:
            left.pop()()
        return house.finisher()

    return working.Made(working.engine(house, finisher=finisher))


def releases(house: Installation) -> int:
    with session(house.log.engine) as opened:
        return opened.scalar(select(func.count()).select_from(Asset)) or 0


def test_a_worker_that_stood_still_before_it_began_releases_nothing(
    house: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database's clock jumps, or the machine stands still: another worker has the job, and ends it. The one from
    before hears of it too late: its heart would tell it in ten seconds."""
    monkeypatch.setattr(module, "TELLING", 60.0)
    job, _ = house.jobs.put(order())
    second = Worker(working.Made(working.engine(house)), house.jobs, "second")

    def meanwhile() -> None:
        with session(house.jobs.engine, write=True) as opened:
            opened.execute(update(Row).values(lease_until=1))
        assert second.run(threading.Event(), once=True) == 1

    first = Worker(first_of_all(house, meanwhile), house.jobs, "first")
    assert first.run(threading.Event(), once=True) == 0
    assert (house.jobs.get(job.id).state, releases(house)) == ("released", 1)
    assert sum(entry["type"] == "release" for _, entry in house.log.entries()) == 1


def test_a_job_of_somebody_who_is_erased_before_it_begins_brings_nobody_back(house: Installation) -> None:
    job, _ = house.jobs.put(order())
    made = first_of_all(house, lambda: house.ledger.erase("ana"))
    assert Worker(made, house.jobs).run(threading.Event(), once=True) == 1
    now = house.jobs.get(job.id)
    assert (now.state, now.subject, (now.outcome or {})["code"]) == ("failed", None, "provenance.erased")
    with session(house.log.engine) as opened:
        assert opened.get(SubjectKey, "ana") is None
        assert opened.scalars(select(SealedText)).all() == []
    assert releases(house) == 0


def test_a_job_ends_although_a_webhook_that_hears_of_it_goes(
    house: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks = Webhooks(house)
    hook, _ = hooks.add("press", "ana", "https://1.1.1.1/x", ["job.cancelled"])
    job, _ = house.jobs.put(order())
    with ThreadPoolExecutor(1) as pool:

        def meanwhile() -> None:
            removing.append(pool.submit(hooks.remove, "press", hook.id, "ana"))
            time.sleep(0.5)  # it gets through, or waits

        removing: list[Future[None]] = []
        monkeypatch.setattr(announcing, "message", before(meanwhile, announcing.message))
        assert house.jobs.cancel(job.id).state == "cancelled"
        removing[0].result()
    assert house.jobs.get(job.id).state == "cancelled"
