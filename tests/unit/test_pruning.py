"""What is old is forgotten, what is still of use is not, and whose asset it is stays."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from filigrana.errors import JobError
from filigrana.pipeline.access import Limits
from filigrana.pipeline.cli.app import app
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.jobs.model import Order
from filigrana.pipeline.jobs.pruning import prune
from filigrana.pipeline.settings import load_settings
from filigrana.provenance.database import session
from filigrana.provenance.identity import AssetId
from filigrana.provenance.service_tables import IdempotencyKey, JobOwner
from filigrana.tests.doubles import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def house(tmp_path: Path, database_url: str, clock: FakeClock) -> Iterator[Installation]:
    opened = Installation(load_settings(data_dir=tmp_path / "data", database=database_url), clock)
    yield opened
    opened.close()


def order(key: str | None = None) -> Order:
    return Order("press", "ana", "generate", {"seed": 3, "mime": "image/png"}, {"prompt": "a boat"}, key=key)


def test_old_ended_jobs_go_and_others_stay(house: Installation) -> None:
    asset = AssetId.random()
    released, _ = house.jobs.put(order("k1"))
    lease = house.jobs.lease("w")
    assert lease is not None
    house.jobs.finish(lease, "released", {"released": True, "asset_id": str(asset)})
    held, _ = house.jobs.put(order())
    lease = house.jobs.lease("w")
    assert lease is not None
    house.jobs.finish(lease, "held", {"code": "prompt.pub"})
    waiting, _ = house.jobs.put(order("k2"))
    assert prune(house).as_dict() == dict.fromkeys(("jobs", "keys", "sessions", "deliveries", "files"), 0)
    house.clock = lambda: dt.datetime.now(dt.UTC) + dt.timedelta(days=91)
    found = prune(house)
    assert (found.jobs, found.keys) == (1, 1), "the key of the pruned job goes with it, the other one by its age"
    with pytest.raises(JobError):
        house.jobs.get(released.id)
    assert {house.jobs.get(job.id).state for job in (held, waiting)} == {"held", "queued"}
    assert house.jobs.of_asset(asset.value, "press") == released.id, "whose asset it is stays"
    assert house.jobs.of_asset(asset.value, "agency") is None
    with session(house.jobs.engine) as opened:
        assert opened.scalars(select(IdempotencyKey)).all() == []
        assert len(opened.scalars(select(JobOwner)).all()) == 2


def test_a_refusal_stays_while_somebody_may_appeal_against_it(house: Installation) -> None:
    refused, _ = house.jobs.put(order())
    lease = house.jobs.lease("w")
    assert lease is not None
    house.jobs.finish(lease, "refused", {"code": "prompt.vio"})
    days = house.pack.document.review.appeal_days
    assert days > house.settings.jobs_keep_days, "the law gives half a year"

    def after(days: int) -> None:
        house.clock = lambda: dt.datetime.now(dt.UTC) + dt.timedelta(days=days)

    for later in (91, days):
        after(later)
        assert (prune(house).jobs, prune(house, days=0).jobs) == (0, 0)
        assert house.jobs.get(refused.id).state == "refused"
    after(days + 30)
    assert prune(house).jobs == 1


def test_the_commands_do_it_too(tmp_path: Path) -> None:
    house = Installation(load_settings(data_dir=tmp_path / "data"))
    house.jobs.cancel(house.jobs.put(order())[0].id)
    key, _ = house.access.add("press", "ana", ["creator"])
    house.close()
    runner = CliRunner()
    found = runner.invoke(app, ["jobs", "prune", "--days", "0", "--json"])
    assert found.exit_code == 0, found.output
    assert '"jobs":1' in found.output.replace(" ", "")
    found = runner.invoke(app, ["access", "limit", key.id, "--rate", "30", "--priority", "2"])
    assert found.exit_code == 0, found.output
    assert "rate 30" in found.output
    house = Installation(load_settings(data_dir=tmp_path / "data"))
    assert house.access.get(key.id).limits == Limits(rate=30, priority=2)
    entries = [entry for _, entry in house.log.entries() if entry["type"] == "access"]
    assert entries[-1]["limits"] == {"rate": "30", "priority": 2}
    rotated, _ = house.access.rotate(key.id)
    assert rotated.limits == Limits(rate=30, priority=2), "a new secret is no new allowance"
    house.close()
