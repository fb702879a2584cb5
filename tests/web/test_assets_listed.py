"""*Assets* lists what a tenant released, the youngest first, in pages, by kind and by the beginning of a number."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import insert

from filigrana.pipeline.installation import Installation
from filigrana.pipeline.settings import load_settings
from filigrana.pipeline.web.console import assets_pages
from filigrana.pipeline.web.console.assets_pages import PAGE, Wanted
from filigrana.provenance.database import session
from filigrana.provenance.identity import AssetId
from filigrana.provenance.service_tables import JobOwner
from filigrana.provenance.tables import Asset

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
    cards, more = assets_pages._found(here, "press", Wanted(**wanted))
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
    monkeypatch.setattr(assets_pages, "FEW", few)
    assert listed(house, text=name(4)) == ([name(4)], None)
    assert listed(house, text=hashlib.sha256(bytes([4])).hexdigest()) == ([name(4)], None)
    assert listed(house, text=name(5)) == ([], None), "another tenant's"
    assert listed(house, text="ZZZZ") == listed(house, text="<script>") == ([], None)
    beginning = name(4)[:3]
    wanted = [name(number) for number in range(58, -1, -2) if name(number).startswith(beginning)]
    assert wanted
    assert listed(house, text=beginning)[0] == wanted[:PAGE]
