"""The index of requests: what it names is read out of the log, what it lacks is found, and a long log costs nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import delete, event, insert, select, text, update
from typer.testing import CliRunner

from filigrana.errors import InputError, LogError, TamperError
from filigrana.pipeline.appeals import entries_of as told
from filigrana.pipeline.cli.app import app
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.jobs.model import Order
from filigrana.pipeline.released import catalog_problems, released_asset
from filigrana.pipeline.request import GenerateRequest, Release, no_progress
from filigrana.pipeline.review import Desk
from filigrana.pipeline.settings import load_settings
from filigrana.provenance.by_request import entries_of, problems, search
from filigrana.provenance.database import HEAD, migrate, session
from filigrana.provenance.identity import AssetId
from filigrana.provenance.log.search import Query
from filigrana.provenance.tables import Asset, IntentEntry
from filigrana.tests.conftest import MakeEngine
from filigrana.tests.serving import released


@pytest.fixture(params=["sqlite", "postgresql"])
def house(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Installation]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    opened = Installation(load_settings(data_dir=tmp_path / "house", database=url))
    yield opened
    opened.close()


def made(house: Installation) -> UUID:
    """A request that was released."""
    return UUID(released_asset(house.log, released(house).asset_id).intent)


def test_every_entry_of_a_request_is_found_and_no_other(house: Installation) -> None:
    first, second = made(house), made(house)
    for one in (first, second):
        found = entries_of(house.log, one)
        assert found == list(house.log.search(Query(intent=str(one))))
        assert [entry["type"] for _, entry in found][-1] == "release"
    assert entries_of(house.log, uuid4()) == []
    assert problems(house.log, house.log.size()) == []
    assert catalog_problems(house.log, no_progress) == []


def test_what_was_logged_before_there_was_an_index_is_in_it(house: Installation) -> None:
    release = made(house)
    was = entries_of(house.log, release)
    with house.log.engine.begin() as connection:
        connection.execute(text("DROP TABLE intent_entries"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0009'"))
    migrate(house.log.engine)
    assert entries_of(house.log, release) == was
    assert problems(house.log, house.log.size()) == []


def test_an_index_that_lies_is_caught(house: Installation) -> None:
    first, second = made(house), made(house)
    with session(house.log.engine, write=True) as rows:
        index = rows.scalar(select(IntentEntry.log_index).where(IntentEntry.intent_id == first).limit(1))
        rows.execute(insert(IntentEntry), {"intent_id": second, "log_index": index})
    with pytest.raises(TamperError, match=f"entry {index} "):
        entries_of(house.log, second)
    assert [f"of entry {index} " in line for line in problems(house.log, house.log.size())] == [True]


def test_what_an_index_leaves_out_is_found_by_who_verifies(house: Installation) -> None:
    first, second = made(house), made(house)
    with session(house.log.engine, write=True) as rows:
        rows.execute(delete(IntentEntry).where(IntentEntry.intent_id == second))
    lost = len(list(house.log.search(Query(intent=str(second)))))
    assert len(problems(house.log, house.log.size())) == lost
    assert len(catalog_problems(house.log, no_progress)) >= lost
    assert entries_of(house.log, first)
    with session(house.log.engine, write=True) as rows:
        rows.execute(insert(IntentEntry), {"intent_id": uuid4(), "log_index": 0})
    told = CliRunner().invoke(
        app, ["--data-dir", str(house.folder), "--database", house.settings.database_url, "audit", "reindex", "--json"]
    )
    assert json.loads(told.stdout) == {"entries": len(entries_of(house.log, first)) + lost}
    assert problems(house.log, house.log.size()) == []
    assert entries_of(house.log, second) == list(house.log.search(Query(intent=str(second))))


def test_it_never_grows_without_the_log(house: Installation) -> None:
    """An entry that is taken back takes its row in the index with it."""
    release = made(house)
    size = house.log.size()
    with pytest.raises(KeyError), house.ledger.change() as change:  # noqa: PT012
        change.append({"type": "note", "time": "2026-11-30T12:00:00Z", "intent": str(release)})
        raise KeyError
    assert house.log.size() == size
    with session(house.log.engine) as rows:
        assert rows.scalars(select(IntentEntry.log_index).where(IntentEntry.log_index >= size)).all() == []


def test_a_search_of_one_request_says_what_a_search_of_the_log_says(house: Installation) -> None:
    release, _other = made(house), made(house)
    size = house.log.size()
    its = str(release)
    for query in (
        Query(intent=its), Query(intent=its.upper()), Query(intent=its, type="release"), Query(intent="?"),
        Query(type="release"), Query(intent=its, type="nothing"),
    ):  # fmt: skip
        for start, stop in ((0, size), (1, size - 1), (size, size)):
            assert list(search(house.log, query, start, stop)) == list(house.log.search(query, start, stop))


def test_nothing_reads_the_whole_log_to_tell_of_one_request(
    installation: Installation, make_engine: MakeEngine
) -> None:
    """What was refused, what was released and what never was: no statement runs through the entries."""
    outcome = make_engine().generate(GenerateRequest("a red sailboat on a blue sea", seed=7))
    assert isinstance(outcome, Release)
    intent = UUID(released_asset(installation.log, outcome.asset_id).intent)
    statements: list[str] = []

    def seen(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(installation.log.engine, "before_cursor_execute", seen)
    desk = Desk(installation.ledger, installation.pack)
    assert told(desk, intent)
    assert released_asset(installation.log, outcome.asset_id).index
    with pytest.raises(InputError):
        released_asset(installation.log, AssetId(12345))
    assert statements
    assert not [one for one in statements if "instr(" in one or "log_entries WHERE seq >=" in one]
    statements.clear()
    assert list(installation.log.search(Query(intent=str(intent))))  # what would be seen of one that does
    assert [one for one in statements if "instr(" in one]


def test_a_release_whose_row_is_gone_is_told_from_what_never_was(
    installation: Installation, make_engine: MakeEngine
) -> None:
    outcome = make_engine().generate(GenerateRequest("a red sailboat on a blue sea", seed=7))
    assert isinstance(outcome, Release)
    with session(installation.log.engine, write=True) as rows:
        rows.execute(update(Asset).where(Asset.asset_id == outcome.asset_id.value).values(log_index=None))
    with pytest.raises(TamperError, match="row of it is gone"):
        released_asset(installation.log, outcome.asset_id)


def test_a_process_of_an_older_version_begins_nothing_more(installation: Installation, make_engine: MakeEngine) -> None:
    """Another version brought the schema elsewhere while this one ran: what it would write lacks something."""
    engine = make_engine()
    installation.jobs.put(Order("press", "ana", "generate", {"mime": "image/png"}, {"prompt": "a boat"}))
    with installation.log.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    size = installation.log.size()
    with pytest.raises(LogError) as caught:
        engine.generate(GenerateRequest("a boat"))
    assert caught.value.code == "log.version"
    with pytest.raises(LogError, match="schema 9999"):
        installation.jobs.lease("worker")
    assert installation.log.size() == size
    assert installation.jobs.counts()["queued"] == 1
    with installation.log.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :now"), {"now": HEAD})
    assert installation.jobs.lease("worker") is not None
    assert engine.generate(GenerateRequest("a boat")).released
