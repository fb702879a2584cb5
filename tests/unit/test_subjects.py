"""What is kept of a person: handed out, held back, erased; and what the public answer may say."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import delete, update

from filigrana.errors import InputError
from filigrana.pipeline.access import ApiKeys
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.ledger import Ledger
from filigrana.pipeline.request import GenerateRequest, Release
from filigrana.pipeline.subjects import export, hold
from filigrana.provenance.database import session
from filigrana.provenance.identity import AssetId
from filigrana.provenance.log.canonical import time_text
from filigrana.provenance.log.sequencer import AuditLog
from filigrana.provenance.log.signer import Ed25519LogSigner
from filigrana.provenance.reports.answers import private_parts
from filigrana.provenance.service_tables import WebSession
from filigrana.provenance.tables import SealedText, SubjectKey
from filigrana.provenance.vault import Vault
from filigrana.tests.comply_kit import engine_of, house_of
from filigrana.tests.doubles import FakeClock

POLICY = {"id": "newsroom", "version": "1.0.0", "digest": "0" * 64}


def ledger_of(url: str, folder: Path, clock: FakeClock) -> Ledger:
    signer = Ed25519LogSigner.create(folder / "log.key", "example.org/subjects")
    return Ledger(AuditLog(url, signer=signer, guard_path=folder / "guard"), clock, "node")


def asked(ledger: Ledger, subject: str, text: str = "a red boat", **request: object) -> None:
    from filigrana.pipeline.ledger import new_intent_id

    ledger.open("generate", dict(request), texts={"prompt": text}, subject=subject, intent_id=new_intent_id())


def test_a_legal_hold_keeps_everything_until_it_is_lifted(database_url: str, tmp_path: Path) -> None:
    clock = FakeClock()
    ledger = ledger_of(database_url, tmp_path, clock)
    asked(ledger, "ana")
    asked(ledger, "ben")
    index, actor = hold(ledger, "ana", "case 12/26")
    assert ledger.log.entry(index)["actor"] == actor
    with pytest.raises(InputError) as error:
        ledger.erase("ana")
    assert error.value.code == "input.subject.held"
    clock.jump(days=400)
    done = ledger.expire(clock() - dt.timedelta(days=1), POLICY)
    assert done is not None
    assert done[1]["texts"] == 1  # ben's alone
    assert [text["text"] for text in export(ledger, "ana")["texts"]] == ["a red boat"]
    hold(ledger, "ana", "settled", lift=True)
    _, entry = ledger.erase("ana")
    assert entry == {"type": "erase", "actor": actor, "texts": 1, "time": entry["time"]}
    assert [e["type"] for _, e in ledger.log.entries()][-3:] == ["subject-export", "legal-hold.lifted", "erase"]
    ledger.log.close()


def test_a_hold_stands_once_and_only_of_somebody(database_url: str, tmp_path: Path) -> None:
    ledger = ledger_of(database_url, tmp_path, FakeClock())
    asked(ledger, "ana")
    size = ledger.log.size()
    for subject, reason, lift in (
        ("nobody", "x", False),
        ("ana", "x", True),
        ("ana", "", False),
        ("ana", "y" * 201, False),
    ):
        with pytest.raises(InputError):
            hold(ledger, subject, reason, lift=lift)
    assert ledger.log.size() == size
    hold(ledger, "ana", "one")
    with pytest.raises(InputError):
        hold(ledger, "ana", "two")
    hold(ledger, "ana", "done", lift=True)
    hold(ledger, "ana", "again")
    with pytest.raises(InputError):
        ledger.erase("ana")
    ledger.log.close()


def test_what_is_kept_of_a_person_is_handed_out_whole_and_of_nobody_else(database_url: str, tmp_path: Path) -> None:
    ledger = ledger_of(database_url, tmp_path, FakeClock())
    asked(ledger, "ana", "a red boat")
    asked(ledger, "ben", "a secret of ben's")
    found = export(ledger, "ana")
    assert [(t["kind"], t["text"]) for t in found["texts"]] == [("prompt", "a red boat")]
    assert [e["entry"]["type"] for e in found["entries"]] == ["intent"]
    assert "ben" not in json.dumps(found)
    entry = ledger.log.entry(found["logged"])
    assert (entry["type"], entry["texts"]) == ("subject-export", 1)
    with pytest.raises(InputError):
        export(ledger, "nobody")
    ledger.log.close()


def test_what_lets_a_person_in_is_handed_out_without_its_secret(database_url: str, tmp_path: Path) -> None:
    ledger = ledger_of(database_url, tmp_path, FakeClock())
    keys = ApiKeys(ledger)
    key, secret = keys.add("acme", "ana", ["creator"])
    keys.add("acme", "ben", ["creator"])
    with session(ledger.log.engine, write=True) as rows:
        for name in ("ana", "ben"):
            rows.add(
                WebSession(digest=name.encode() * 10, tenant="acme", subject=name, scopes=[], expires_at=FakeClock()())
            )
    found = export(ledger, "ana")
    assert [(one["key"], one["tenant"]) for one in found["keys"]] == [(key.id, "acme")]
    assert [one["tenant"] for one in found["sessions"]] == ["acme"]
    assert not set(secret.split("_")[2:]) & set(json.dumps(found).split('"'))
    ledger.log.close()


def test_a_reviewer_is_handed_the_acts_and_not_the_requests_of_others(database_url: str, tmp_path: Path) -> None:
    ledger = ledger_of(database_url, tmp_path, FakeClock())
    asked(ledger, "ana", "a secret of ana's")
    asked(ledger, "ruth", "a red boat")
    theirs, own = (entry["intent"] for _, entry in ledger.log.entries())
    with ledger.change() as change:
        actor = Vault(change.session).actor("ruth")
        for entry in (
            {"type": "review.approved", "intent": theirs, "actor": actor},
            {"type": "refused", "intent": theirs, "code": "prompt.cse"},
            {"type": "refused", "intent": own, "code": "prompt.pub"},
        ):
            change.append({**entry, "time": "2026-11-30T12:00:00.000Z"})
    found = export(ledger, "ruth")["entries"]
    assert [(one["entry"]["type"], one["entry"]["intent"] == own) for one in found] == [
        ("intent", True), ("review.approved", False), ("refused", True)]  # fmt: skip
    ledger.log.close()


@pytest.mark.parametrize("days", [400, 3650])
def test_what_was_promised_to_be_kept_is_kept_although_the_profile_is_chosen_no_more(
    database_url: str, tmp_path: Path, days: int
) -> None:
    """A profile of one's own may ask for longer than any that ships."""
    clock = FakeClock()
    ledger = ledger_of(database_url, tmp_path, clock)
    asked(ledger, "ana", unlabelled="consent", keep_days=days)
    clock.jump(days=days - 1)
    assert ledger.expire(clock(), POLICY) is None
    clock.jump(days=2)
    assert ledger.expire(clock(), POLICY) is not None
    ledger.log.close()


def test_records_of_what_went_out_unlabelled_are_kept_as_long_as_the_law_asks(
    database_url: str, tmp_path: Path
) -> None:
    clock = FakeClock()
    ledger = ledger_of(database_url, tmp_path, clock)
    asked(ledger, "ana", unlabelled="consent")
    with pytest.raises(InputError, match="kept until"):
        ledger.erase("ana", 184)
    assert ledger.expire(clock() + dt.timedelta(days=1), POLICY, 184) is None
    clock.jump(days=185)
    assert ledger.erase("ana", 184)[1]["texts"] == 1
    ledger.log.close()


def test_the_record_is_kept_from_the_release_on_also_of_what_people_looked_at_for_long(
    database_url: str, tmp_path: Path
) -> None:
    clock = FakeClock()
    ledger = ledger_of(database_url, tmp_path, clock)
    asked(ledger, "ana", unlabelled="consent", keep_days=184)
    intent = ledger.log.entry(0)["intent"]
    clock.jump(days=180)
    for kind in ("refused", "appeal.overturned", "release"):
        with ledger.change() as change:
            change.append({"type": kind, "intent": intent, "time": time_text(clock())})
    clock.jump(days=183)
    assert ledger.expire(clock(), POLICY, 184) is None
    with pytest.raises(InputError, match="kept until"):
        ledger.erase("ana", 184)
    clock.jump(days=2)
    ledger.erase("ana", 184)
    ledger.log.close()


@pytest.mark.parametrize("end", ["refused", "failed"])
def test_what_never_went_out_keeps_nothing_whatever_label_it_was_to_have(
    database_url: str, tmp_path: Path, end: str
) -> None:
    """The law asks for a record of to whom something went without a label: nothing did."""
    clock = FakeClock()
    ledger = ledger_of(database_url, tmp_path, clock)
    for name in ("ana", "ben"):
        asked(ledger, name, unlabelled="consent", keep_days=184)
    first = ledger.log.entry(0)["intent"]
    ledger.close(UUID(first), end, code="prompt.gore")
    found = ledger.expire(clock() + dt.timedelta(days=1), POLICY, 184)
    assert found is not None
    assert found[1]["texts"] == 1  # ana's: ben's may still be released
    asked(ledger, "ana", unlabelled="consent", keep_days=184)
    with pytest.raises(InputError, match="kept until"):
        ledger.erase("ana", 184)
    ledger.close(UUID(list(ledger.log.entries())[-1][1]["intent"]), end, code="prompt.gore")
    ledger.erase("ana", 184)
    ledger.log.close()


def test_whoever_has_an_api_key_can_be_erased_after_their_texts_expired(database_url: str, tmp_path: Path) -> None:
    clock = FakeClock()
    ledger = ledger_of(database_url, tmp_path, clock)
    keys = ApiKeys(ledger)
    keys.add("acme", "ana", ["creator"])
    asked(ledger, "ana")
    with session(ledger.log.engine, write=True) as rows:
        actor = Vault(rows).known_actor("ana")
        rows.execute(update(SubjectKey).values(created_at=clock()))
        rows.execute(update(SealedText).values(created_at=clock()))
    clock.jump(days=400)
    assert ledger.expire(clock(), POLICY) is not None
    assert export(ledger, "ana")["actor"] == actor  # the same pseudonym as before
    assert ledger.erase("ana")[1]["actor"] == actor
    assert keys.list() == []
    ledger.log.close()


def test_a_name_that_an_older_release_left_beside_a_key_can_be_erased(database_url: str, tmp_path: Path) -> None:
    ledger = ledger_of(database_url, tmp_path, FakeClock())
    keys = ApiKeys(ledger)
    keys.add("acme", "ana", ["creator"])
    with session(ledger.log.engine, write=True) as rows:
        rows.execute(delete(SubjectKey))
    assert ledger.erase("ana")[1]["texts"] == 0
    assert keys.list() == []
    with pytest.raises(InputError):
        ledger.erase("ana")
    ledger.log.close()


def test_retention_is_never_shorter_than_the_profiles_ask(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from filigrana.pipeline.cli.app import app

    opened = house_of(tmp_path)
    opened.log.append({"type": "note"})
    opened.close()
    run = CliRunner(env={"FILIGRANA_PROFILES": '["cn"]'})
    found = run.invoke(app, ["--data-dir", str(tmp_path / "data"), "audit", "retain", "--days", "30", "--json"])
    assert isinstance(found.exception, InputError)
    assert found.exception.code == "input.retention"
    assert (
        run.invoke(app, ["--data-dir", str(tmp_path / "data"), "audit", "retain", "--days", "200", "--json"]).exit_code
        == 0
    )


# ── the public answer ────────────────────────────────────────────────────────────────────────────────────────────
def test_the_detectors_answer_holds_nothing_of_a_person(tmp_path: Path) -> None:
    opened: Installation = house_of(tmp_path, profiles=["cn"])
    outcome = engine_of(opened).generate(GenerateRequest("a portrait for ana", seed=5, subject="ana@example.org"))
    assert isinstance(outcome, Release)
    answer = opened.inspector.verify(outcome.file).as_dict()
    assert private_parts(answer) == []
    text = json.dumps(answer)
    for private in ("ana@", "actor:", "portrait"):
        assert private not in text, private
    opened.close()


@pytest.mark.parametrize(
    "change",
    [{"subject": "ana"}, {"record": {"intent_id": "x"}}, {"history": {"nodes": [{"author": "ana"}]}}, {"signer": "+34 612 345 678"},
     {"made_by": {"generator": "x", "prompt": "a boat"}}, {"evidence": [{"technique": "x", "user": "ana"}]}],
)  # fmt: skip
def test_what_is_not_on_the_list_is_seen(change: dict[str, object]) -> None:
    assert private_parts({"file": "a.png", "asset_id": str(AssetId(7)), **change})
