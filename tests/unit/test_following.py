"""Jobs before people: they stay there until people decide, and then end without anybody looking at them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update

from filigrana.pipeline.appeals import appeal
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.jobs import following
from filigrana.pipeline.jobs.chores import Chores
from filigrana.pipeline.jobs.fence import intent_of, standing
from filigrana.pipeline.jobs.model import Job, Order
from filigrana.pipeline.request import Release
from filigrana.pipeline.resuming import go_on
from filigrana.pipeline.review import Desk
from filigrana.pipeline.settings import load_settings
from filigrana.pipeline.webhooks import Webhooks
from filigrana.provenance.database import session
from filigrana.provenance.service_tables import Job as Row
from filigrana.provenance.service_tables import JobOwner, WebhookDelivery
from filigrana.tests.doubles import FakeClock, FakeGenerator, calm
from filigrana.tests.working import draw, worker


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def house(tmp_path: Path, clock: FakeClock) -> Iterator[Installation]:
    opened = Installation(load_settings(data_dir=tmp_path / "data", fetch_allow=["hooks.example:8080"]), clock)
    Webhooks(opened).add("press", "ana", "http://hooks.example:8080/", ["job.released", "job.refused"])
    yield opened
    opened.close()


def put(house: Installation, **changes: Any) -> UUID:
    order = Order("press", "ana", "generate", {"seed": 3, "mime": "image/png"}, {"prompt": "a boat"}, **changes)
    return house.jobs.put(order)[0].id


def work(house: Installation, **parts: Any) -> None:
    """One job. One guard gives no answer, so that whatever is made is held."""
    parts = {"frame_guards": lambda _generated: calm("clip"), **parts}
    worker(house, threading.Event(), **parts).run(threading.Event(), once=True)


def chores(house: Installation) -> Chores:
    made = worker(house, threading.Event(), frame_guards=lambda _generated: calm("clip"))
    return Chores(house, lambda: made.pipeline.engine)


def held(house: Installation) -> Job:
    ident = put(house)
    work(house)
    job = house.jobs.get(ident)
    assert job.state == "held"
    return job


class Broken(FakeGenerator):
    def generate(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("the card fell off")


def held_at_its_second_try(house: Installation) -> Job:
    ident = put(house)
    work(house, generator=Broken())
    with session(house.jobs.engine, write=True) as opened:
        opened.execute(update(Row).values(run_after=0))
    work(house, generator=FakeGenerator(fault=draw))
    job = house.jobs.get(ident)
    assert (job.state, job.attempts) == ("held", 2)
    return job


def approved(house: Installation, intent: UUID) -> None:
    desk = Desk(house.ledger, house.pack)
    for name in ("ruth", "rob"):
        if desk.case(intent).status == "open":
            desk.approve(intent, name, "looked at")


def told(house: Installation) -> list[str]:
    with session(house.jobs.engine) as opened:
        return [row.event for row in opened.scalars(select(WebhookDelivery).order_by(WebhookDelivery.created_at))]


def test_what_is_held_at_its_second_try_stays_before_people(house: Installation) -> None:
    job = held_at_its_second_try(house)
    ident = job.id
    assert house.ledger.state(intent_of(ident, 1)) == "failed"
    assert standing(house.ledger, job) is None, "the first try says nothing about the second"
    approved(house, intent_of(ident, 2))
    chores(house)()
    assert house.jobs.get(ident).state == "released"


def test_those_that_stay_before_people_keep_nobody_waiting(
    house: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their first try, which failed, is found at every look."""
    monkeypatch.setattr(following, "AT_ONCE", 1)
    stay = [held_at_its_second_try(house) for _ in range(2)]
    job = held(house)
    approved(house, intent_of(job.id, 1))
    chores(house)()
    assert house.jobs.get(job.id).state == "released"
    assert [house.jobs.get(each.id).state for each in stay] == ["held", "held"]


def test_what_people_approve_is_told_and_found_without_anybody_asking(house: Installation) -> None:
    job = held(house)
    approved(house, intent_of(job.id, 1))
    todo = chores(house)
    todo()
    assert house.jobs.get(job.id).state == "released"
    assert told(house) == ["job.released"]
    with session(house.jobs.engine) as opened:
        owner = opened.get(JobOwner, intent_of(job.id, 1))
        assert owner is not None
        assert owner.asset_id is not None, "the page of assets lists it"
    todo()
    assert told(house) == ["job.released"], "once"


def test_an_asset_is_its_tenants_from_the_release_on(house: Installation) -> None:
    """Also while nobody has written down yet how its job ended, however much of the tenant is held."""
    job = held(house)
    intent, made = intent_of(job.id, 1), worker(house, threading.Event(), frame_guards=lambda _generated: calm("clip"))
    approved(house, intent)
    done = go_on(made.pipeline.engine, intent)
    assert isinstance(done, Release)
    assert house.jobs.get(job.id).state == "held"
    assert house.jobs.of_asset(done.asset_id.value, "press") == job.id
    assert house.jobs.of_asset(done.asset_id.value, "agency") is None


def test_what_people_reject_is_told_and_so_is_what_others_overturn(house: Installation) -> None:
    job = held(house)
    intent, desk = intent_of(job.id, 1), Desk(house.ledger, house.pack)
    desk.reject(intent, "rita", "misleads")
    todo = chores(house)
    todo()
    assert (house.jobs.get(job.id).state, told(house)) == ("refused", ["job.refused"])
    appeal(desk, intent, "ana", "it does not")
    approved(house, intent)
    todo()
    assert (house.jobs.get(job.id).state, told(house)) == ("released", ["job.refused", "job.released"])


def test_what_nobody_decides_in_time_is_refused_and_told(house: Installation, clock: FakeClock) -> None:
    job = held(house)
    clock.jump(hours=house.pack.document.review.hours, minutes=1)
    chores(house)()
    assert (house.jobs.get(job.id).state, told(house)) == ("refused", ["job.refused"])


@pytest.mark.parametrize(("busy", "looks"), [(0.0, 3), (3600.0, 0)])
def test_a_worker_that_always_finds_a_job_looks_besides_now_and_then(
    house: Installation, busy: float, looks: int
) -> None:
    for _ in range(3):
        put(house)
    made, seen, stop = worker(house, threading.Event()), [], threading.Event()
    made._busy = busy
    made._besides = lambda: seen.append(house.jobs.counts().get("queued", 0))
    made._idle = lambda _seconds: stop.set()
    made._after = lambda: stop.set() if house.jobs.counts().get("queued", 0) == 0 else None
    made.run(stop)
    assert len(seen) == looks
