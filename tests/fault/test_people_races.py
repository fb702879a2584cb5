"""Erasures, legal holds and decisions that meet: on SQLite and on PostgreSQL."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from filigrana.errors import AccessError, InputError, KeyStoreError, ServiceError
from filigrana.pipeline.access import ApiKeys
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.ledger import new_intent_id
from filigrana.pipeline.request import GenerateRequest, SealRequest
from filigrana.pipeline.review import Desk
from filigrana.pipeline.settings import load_settings
from filigrana.pipeline.subjects import hold
from filigrana.pipeline.webhooks import MOST, Webhooks
from filigrana.provenance.database import session
from filigrana.provenance.media import encode_picture
from filigrana.provenance.tables import Review, SealedText, SubjectKey
from filigrana.provenance.vault import Vault
from filigrana.tests import working
from filigrana.tests.doubles import FakeGuard, calm, scene
from filigrana.tests.meeting import after, before, meeting, together

BLOODY = "a dismembered statue in a fountain"
POLICY = {"id": "newsroom", "version": "1.0.0", "digest": "0" * 64}


@pytest.fixture
def house(tmp_path: Path, database_url: str) -> Iterator[Installation]:
    opened = Installation(load_settings(data_dir=tmp_path / "data", database=database_url))
    yield opened
    opened.close()


def names(house: Installation) -> list[Any]:
    """Of people whom the database knows."""
    with session(house.log.engine) as opened:
        reviewed = [row.subject for row in opened.scalars(select(Review)) if row.subject]
        return [*opened.scalars(select(SubjectKey.subject)), *reviewed]


@pytest.mark.parametrize("side", ["prompt", "output"])
def test_work_of_somebody_who_is_erased_meanwhile_is_not_held_under_the_name(
    house: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: str
) -> None:
    monkeypatch.setattr(Desk, "hold", before(lambda: house.ledger.erase("ana"), Desk.hold))
    gory = [FakeGuard("clip", {"iwp": 0.01, "gore": 0.97, "sub": 0.01}), *calm("clip")]
    engine = working.engine(house, **({} if side == "prompt" else {"frame_guards": lambda _: gory}))
    photo = tmp_path / "in.png"
    photo.write_bytes(encode_picture(scene(1), "image/png"))

    def asked() -> object:
        if side == "prompt":
            return engine.generate(GenerateRequest(BLOODY, seed=1, subject="ana"))
        return engine.seal(SealRequest(photo, "ai", subject="ana"))

    with pytest.raises(KeyStoreError) as error:
        asked()
    assert error.value.code == "provenance.erased"
    assert names(house) == []
    assert [entry["type"] for _, entry in house.log.entries()][-1] == "failed"
    assert not list((house.folder / "review").glob("*")), "and nothing of it is kept"


def test_nothing_expires_of_somebody_who_is_held_at_that_moment(
    house: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.ledger.open("generate", {}, texts={"prompt": "a boat"}, subject="ana", intent_id=new_intent_id())
    with ThreadPoolExecutor(1) as pool:
        holding: list[Future[tuple[int, str]]] = []

        def meanwhile() -> None:
            holding.append(pool.submit(hold, house.ledger, "ana", "case 12/26"))
            time.sleep(0.5)  # it gets through, or waits

        monkeypatch.setattr(Vault, "expire", before(meanwhile, Vault.expire))
        done = house.ledger.expire(house.clock() + dt.timedelta(days=1), POLICY)
        try:
            held = holding[0].result()[0]
        except InputError:
            held = None  # there is nothing kept of this person any more
    with session(house.log.engine) as opened:
        texts = len(opened.scalars(select(SealedText)).all())
    assert done is not None
    assert (held, texts) == (None, 0), "the log has a hold, and then that what it keeps was deleted"


def test_of_two_that_rotate_a_key_at_once_one_gets_a_new_one(
    house: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, _ = house.access.add("press", "ana", ["creator"])
    monkeypatch.setattr(ApiKeys, "get", after(ApiKeys.get, meeting(2)))
    found = together(2, lambda _: house.access.rotate(key.id))
    assert [one.code for one in found if isinstance(one, AccessError)] == ["access.state"]
    now = house.clock()
    assert sum(one.state(now) == "valid" for one in house.access.list()) == 1


def test_webhooks_that_are_made_at_once_do_not_pass_their_number(
    house: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks = Webhooks(house)
    url, events = "https://1.1.1.1/x", ["job.released"]
    for _ in range(MOST - 1):
        hooks.add("press", "ana", url, events)
    monkeypatch.setattr(hooks, "_entry", before(meeting(3), hooks._entry))
    found = together(3, lambda _: hooks.add("press", "ana", url, events))
    assert [one.code for one in found if isinstance(one, ServiceError)] == ["webhooks.full"] * 2, found
    assert len(hooks.list("press")) == MOST


def test_whoever_decides_for_the_first_time_may_decide_on_two_at_once(
    house: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = working.engine(house)
    held = [engine.generate(GenerateRequest(BLOODY, seed=seed, subject="ana")) for seed in (1, 2)]
    desk, meet = Desk(house.ledger, house.pack), meeting(2)
    monkeypatch.setattr(Desk, "_locked", before(meet, Desk._locked))
    found = together(2, lambda n: desk.approve(UUID(held[n].intent), "zoe", "seen"))  # type: ignore[union-attr]
    assert [getattr(one, "status", one) for one in found] == ["approved", "approved"]
