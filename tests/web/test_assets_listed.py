"""*Assets* and `GET /v1/assets` list what a tenant released, the youngest first, in pages, by kind and by number."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import insert, update

from filigrana.pipeline.installation import Installation
from filigrana.pipeline.settings import load_settings
from filigrana.pipeline.web import releases
from filigrana.pipeline.web.console import assets_pages
from filigrana.pipeline.web.console.assets_pages import PAGE, Asked
from filigrana.provenance.database import session
from filigrana.provenance.identity import AssetId
from filigrana.provenance.service_tables import JobOwner
from filigrana.provenance.tables import Asset
from filigrana.tests.serving import clients, running

NOON = dt.datetime(2026, 12, 1, 12, tzinfo=dt.UTC)


@pytest.fixture
def house(tmp_path: Path, database_url: str) -> Iterator[Installation]:
    opened = Installation(load_settings(data_dir=tmp_path / "data", database=database_url))
    with session(opened.log.engine, write=True) as rows:
        for number in range(60):
            # The odd ones were asked for last and released first: what counts is when they were released.
            ident, released = number + 1, NOON + dt.timedelta(minutes=number)
            media = "video" if number % 10 == 0 else "image"
            rows.execute(insert(Asset).values(
                asset_id=ident << 40, media=media, mime=f"{media}/x", sha256=hashlib.sha256(bytes([number])).digest(),
                byte_count=1, created_at=released, source_type="x",
            ))  # fmt: skip
            rows.execute(insert(JobOwner).values(
                intent=uuid4(), job_id=uuid4(), tenant="press" if number % 2 == 0 else "agency", asset_id=ident << 40,
                created_at=NOON - dt.timedelta(minutes=number), released_at=released, media=media,
            ))  # fmt: skip
    yield opened
    opened.close()


def listed(house: Installation, **wanted: str) -> tuple[list[str], str | None]:
    here: Any = SimpleNamespace(installation=house)
    cards, more = assets_pages._found(here, "press", Asked(**wanted))
    return [card["id"] for card in cards], more


def name(number: int) -> str:
    return str(AssetId(number + 1 << 40))


def test_pages_follow_each_other_without_a_gap_and_nobody_elses_are_on_them(house: Installation) -> None:
    first, more = listed(house)
    assert len(first) == PAGE
    assert more is not None
    second, end = listed(house, before=more)
    assert end is None
    assert first + second == [name(number) for number in range(58, -1, -2)]


def test_by_kind_by_day_and_by_both(house: Installation) -> None:
    assert listed(house, media="video") == ([name(number) for number in (50, 40, 30, 20, 10, 0)], None)
    assert listed(house, media="audio") == ([], None)
    assert listed(house, media="video", since="2026-12-02") == ([], None)
    assert len(listed(house, media="video", since="2026-12-01")[0]) == 6


@pytest.mark.parametrize("few", [500, 3])
def test_by_number_its_beginning_and_digest(house: Installation, monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    monkeypatch.setattr(releases, "FEW", few)
    assert listed(house, text=name(4)) == ([name(4)], None)
    assert listed(house, text=hashlib.sha256(bytes([4])).hexdigest()) == ([name(4)], None)
    assert listed(house, text=name(5)) == ([], None), "another tenant's"
    assert listed(house, text="ZZZZ") == listed(house, text="<script>") == ([], None)
    beginning = name(4)[:3]
    wanted = [name(number) for number in range(58, -1, -2) if name(number).startswith(beginning)]
    assert wanted
    assert listed(house, text=beginning)[0] == wanted[:PAGE]


def test_over_http_page_by_page(house: Installation) -> None:
    house.settings = house.settings.model_copy(update={"serve_rate": 1e6})
    keys = {"ana": ("press", ["creator"]), "eve": ("agency", ["creator"]), "max": ("press", ["monitor"])}
    with running(house) as url, clients(house, url, keys) as who:
        seen: list[str] = []
        more: dict[str, str] = {}
        while True:
            told = who["ana"].get("/v1/assets", params={"limit": "7", **more}).json()
            seen += [one["asset_id"] for one in told["data"]]
            if not told["has_more"]:
                break
            more = {"after": told["last_id"]}
        assert seen == [name(number) for number in range(58, -1, -2)]
        clips = who["ana"].get("/v1/assets", params={"media": "video", "before": "2026-12-01T12:30:00Z"}).json()["data"]
        assert [(one["asset_id"], one["media"], one["released_at"]) for one in clips] == [
            (name(number), "video", (NOON + dt.timedelta(minutes=number)).isoformat()) for number in (20, 10, 0)
        ]
        assert who["ana"].get("/v1/assets", params={"since": "2026-12-01T14:58:00+02:00"}).json()["data"][-1][
            "asset_id"
        ] == name(58)
        assert who["ana"].get("/v1/assets", params={"after": name(1)}).status_code == 404, "another tenant's"
        for wrong in ({"since": "2026-12-01T12:00:00"}, {"since": "0001-01-01T00:00:00+14:00"}, {"limit": "0"}, {"media": "x"}):
            assert who["ana"].get("/v1/assets", params=wrong).status_code == 400, wrong
        assert who["max"].get("/v1/assets").status_code == 403


def test_releases_of_one_moment_are_all_listed(house: Installation) -> None:
    with session(house.log.engine, write=True) as rows:
        rows.execute(update(JobOwner).values(released_at=NOON))
    seen: list[str] = []
    last = None
    with session(house.log.engine) as opened:
        while found := releases.releases(opened, "press", releases.Wanted(after=last), 7):
            seen += [str(one.asset_id) for one in found]
            last = found[-1]
    assert sorted(seen) == sorted(name(number) for number in range(0, 60, 2))
    assert len(set(seen)) == 30
