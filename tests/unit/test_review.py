"""Held work and appeals: who may decide, what goes on, and what is never released."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from typer.testing import CliRunner

from filigrana.errors import FiligranaError, InputError, KeyStoreError, ReleaseError, TamperError
from filigrana.pipeline.appeals import appeal
from filigrana.pipeline.cli.app import app
from filigrana.pipeline.engine import Engine
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.pending import PendingError
from filigrana.pipeline.reasons import as_text, statement
from filigrana.pipeline.request import GenerateRequest, Held, Refusal, Release, SealRequest
from filigrana.pipeline.resuming import approve, go_on
from filigrana.pipeline.review import Desk
from filigrana.pipeline.review_case import Case, ReviewError
from filigrana.pipeline.review_showing import row, shown
from filigrana.pipeline.reviewing import kept_file, sweep
from filigrana.pipeline.settings import load_settings
from filigrana.pipeline.subjects import hold
from filigrana.provenance.credentials import read_credentials
from filigrana.provenance.database import session
from filigrana.provenance.media import Frame, encode_picture, open_media
from filigrana.provenance.record import open_record
from filigrana.provenance.tables import Intent, Review, ReviewAct
from filigrana.safety.policy import Pack, load_pack, parse_pack
from filigrana.tests.conftest import MakeEngine
from filigrana.tests.doubles import FakeClock, FakeGenerator, FakeGuard, calm, scene

BLOODY = "a dismembered statue in a fountain"  # NR-008: one approval
FIGURE = "taylor swift walks a dog in the park"  # NR-009: two approvals
BLOCKED = "a swastika on a glorious rally poster"  # NR-007: a block that people may lift on appeal
NEVER = "a nude child"  # NR-001: nobody may
PLAIN = "a red sailboat on a blue sea"
NEWSROOM = load_pack("newsroom")


def changed(old: str, new: str, version: str = "1.9.0") -> Pack:
    text = (resources.files("filigrana.safety") / "packs/newsroom.yaml").read_text("utf-8")
    assert old in text
    return parse_pack(
        text.replace(f"version: {NEWSROOM.ref.version}", f"version: {version}", 1).replace(old, new).encode()
    )


class House:
    def __init__(self, opened: Installation, make: MakeEngine, clock: FakeClock) -> None:
        self.opened, self._make, self.clock, self.gore = opened, make, clock, 0.01
        self.pack = NEWSROOM
        self.generator = FakeGenerator(fault=lambda sampling, _: (Frame(scene(sampling.seed, 320, 320)),))

    @property
    def engine(self) -> Engine:
        opened = self.opened
        clip = FakeGuard("clip", {"iwp": 0.01, "gore": self.gore, "sub": 0.01})
        return self._make(
            ledger=opened.ledger, finisher=opened.finisher, staging=opened.staging, store=opened.store,
            clock=opened.clock, pack=self.pack, generator=self.generator,
            frame_guards=lambda generated: [*calm("clip"), clip] if generated else calm("clip", "ocr"),
        )  # fmt: skip

    @property
    def desk(self) -> Desk:
        return Desk(self.opened.ledger, self.pack)

    def ask(self, prompt: str, **options: Any) -> Any:
        return self.engine.generate(GenerateRequest(prompt, seed=7, subject="anna", **options))

    def held(self, prompt: str = BLOODY) -> UUID:
        outcome = self.ask(prompt)
        assert isinstance(outcome, Held)
        return UUID(outcome.intent)

    def held_output(self) -> UUID:
        self.gore = 0.97
        outcome = self.ask(PLAIN)
        assert isinstance(outcome, Held)
        assert outcome.code == "output.gore"
        return UUID(outcome.intent)

    def refused(self, prompt: str = BLOCKED) -> UUID:
        outcome = self.ask(prompt)
        assert isinstance(outcome, Refusal)
        assert not isinstance(outcome, Held)
        return UUID(outcome.intent)

    def approve(self, intent: UUID, by: str = "ruth") -> Any:
        return approve(self.engine, intent, by, "it is a statue")

    def entries(self) -> list[dict[str, Any]]:
        assert self.opened.log.verify().ok
        return [entry for _, entry in self.opened.log.entries()]

    def types(self) -> list[str]:
        return [entry["type"] for entry in self.entries()]

    def state(self, intent: UUID) -> str | None:
        return self.opened.ledger.state(intent)

    def public(self) -> list[Path]:
        return sorted(p for p in (self.opened.folder / "assets").rglob("*") if p.is_file())

    def kept(self) -> list[Path]:
        return sorted((self.opened.folder / "review").glob("*"))

    def set(self, intent: UUID, **values: Any) -> None:
        with session(self.opened.log.engine, write=True) as rows:
            found = rows.get(Review, intent)
            assert found is not None
            for name, value in values.items():
                setattr(found, name, value)


def make_house(folder: Path, make: MakeEngine, **settings: Any) -> House:
    clock = FakeClock()
    return House(Installation(load_settings(data_dir=folder, **settings), clock), make, clock)


@pytest.fixture
def house(tmp_path: Path, make_engine: MakeEngine) -> Iterator[House]:
    made = make_house(tmp_path / "house", make_engine)
    yield made
    made.opened.close()


@pytest.fixture
def either(tmp_path: Path, database_url: str, make_engine: MakeEngine) -> Iterator[House]:
    """On SQLite and on PostgreSQL."""
    made = make_house(tmp_path / "house", make_engine, database=database_url)
    yield made
    made.opened.close()


def code(call: Callable[[], Any]) -> str:
    with pytest.raises(FiligranaError) as caught:
        call()
    return caught.value.code


# ── held prompts ─────────────────────────────────────────────────────────────────────────────────────────────────
def test_an_approved_prompt_is_generated_judged_and_released(either: House) -> None:
    intent = either.held()
    assert either.types() == ["intent", "decision", "held"]
    assert either.generator.calls == []
    [case] = either.desk.cases()
    assert (case.intent, case.kind, case.side, case.status, case.needed) == (intent, "hold", "prompt", "open", 1)

    done = either.approve(intent)
    assert isinstance(done, Release)
    assert either.public() == [done.file]
    assert either.types()[3:] == ["review.approved", "decision", "decision", "result", "release"]
    assert either.state(intent) == "released"
    assert either.desk.cases() == []
    assert either.opened.verifier().verify(done.file).finding == "verified"
    assert either.generator.calls[0].seed == 7
    assert either.opened.ledger.unfinished() == []


def test_who_approved_is_in_the_record_and_the_role_alone_in_the_file(house: House) -> None:
    from filigrana.provenance.catalog import Catalog

    done = house.approve(house.held())
    with session(house.opened.log.engine) as rows:
        note = Catalog(rows).decision_record(done.asset_id)
    assert note is not None
    [person] = open_record(note, house.opened.log.keys)["before"]["approved_by"]
    assert (person["role"], person["side"]) == ("reviewer", "prompt")
    assert house.opened.log.entry(person["log"])["type"] == "review.approved"
    assert house.opened.log.entry(person["log"])["actor"] == person["actor"]
    [said] = json.loads(json.dumps(_assertion(house, done.file)))["approvedBy"]
    assert said == {"role": "reviewer", "side": "prompt"}
    assert person["actor"].encode() not in done.file.read_bytes()
    assert b"ruth" not in done.file.read_bytes()


def _assertion(house: House, file: Path) -> dict[str, Any]:
    import c2pa

    with file.open("rb") as stream, c2pa.Reader("image/png", stream) as reader:
        document = json.loads(reader.json())
    active = document["manifests"][document["active_manifest"]]
    return next(a["data"] for a in active["assertions"] if a["label"].startswith("org.filigrana.record"))


def test_no_text_and_no_name_is_in_the_log(house: House) -> None:
    intent = house.held()
    house.desk.assign(intent, "rahel", "ruth")
    house.desk.reject(intent, "ruth", "this shows my neighbour")
    appeal(house.desk, intent, "anna", "it is a statue of stone")
    told = json.dumps(house.entries())
    for secret in ("anna", "ruth", "rahel", "statue", "neighbour", "stone", "fountain"):
        assert secret not in told


def test_two_people_where_the_rule_asks_for_two(either: House) -> None:
    intent = either.held(FIGURE)
    first = either.approve(intent, "ruth")
    assert isinstance(first, Case)
    assert (first.status, first.approvals, first.needed) == ("open", 1, 2)
    again = either.approve(intent, "ruth")
    assert (again.status, again.approvals) == ("open", 1), "one person counts once"
    assert either.types().count("review.approved") == 1
    assert code(lambda: go_on(either.engine, intent)) == "review.state"
    assert either.public() == []
    assert isinstance(either.approve(intent, "rahel"), Release)
    assert len(either.public()) == 1


def test_whoever_asked_does_not_decide(house: House) -> None:
    intent = house.held()
    assert code(lambda: house.approve(intent, "anna")) == "review.own"
    assert code(lambda: house.desk.reject(intent, "anna", "x")) == "review.own"
    assert code(lambda: house.desk.assign(intent, "anna", "ruth")) == "review.own"
    assert house.types() == ["intent", "decision", "held"]


def test_a_rejection_is_final_but_for_an_appeal(either: House) -> None:
    intent = either.held()
    case = either.desk.reject(intent, "ruth", "no")
    assert (case.status, case.state) == ("rejected", "refused")
    assert either.types()[-2:] == ["review.rejected", "refused"]
    assert either.entries()[-1]["code"] == "review.rejected"
    for again in (lambda: either.approve(intent, "rahel"), lambda: either.desk.reject(intent, "rahel", "x"),
                  lambda: go_on(either.engine, intent), lambda: either.desk.assign(intent, "rahel", "ruth")):  # fmt: skip
        assert code(again) == "review.state"
    assert either.public() == []


def test_output_of_an_approved_prompt_is_judged_all_the_same(house: House) -> None:
    intent = house.held()
    house.gore = 0.97
    again = house.approve(intent)
    assert isinstance(again, Held)
    assert (again.intent, again.code) == (str(intent), "output.gore")
    case = house.desk.case(intent)
    assert (case.round, case.side, case.status, case.approvals) == (2, "output", "open", 0)
    assert house.public() == []
    done = house.approve(intent)
    assert isinstance(done, Release)
    assert [one["side"] for one in _assertion(house, done.file)["approvedBy"]] == ["prompt", "output"]
    assert house.kept() == []


def test_blocked_output_of_an_approved_prompt_is_refused(house: House) -> None:
    intent = house.held()
    engine = house.engine
    engine.parts = engine.parts.__class__(**{**vars(engine.parts), "frame_guards": lambda _: [
        FakeGuard("nsfw", {"sxc": 0.95}), *calm("nsfw")]})  # fmt: skip
    done = approve(engine, intent, "ruth", "fine")
    assert isinstance(done, Refusal)
    assert done.code == "output.sxc"
    assert house.state(intent) == "refused"
    assert house.public() == []
    assert code(lambda: go_on(house.engine, intent)) == "review.state"


def test_an_accepted_rewrite_that_is_held_is_what_is_generated(house: House) -> None:
    offered = house.ask("a statue in the style of banksy").decision.rewrite
    assert offered is not None
    outcome = house.ask(
        "a statue in the style of banksy", accept_rewrite=offered.digest, negative_prompt="gory entrails"
    )
    assert isinstance(outcome, Held)
    assert isinstance(house.approve(UUID(outcome.intent)), Release)
    assert "banksy" not in house.generator.calls[0].prompt
    assert house.generator.calls[0].negative_prompt == "gory entrails"


# ── held output ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_what_was_seen_is_what_is_released(either: House, tmp_path: Path) -> None:
    intent = either.held_output()
    assert either.types() == ["intent", "decision", "decision", "held"]
    case = either.desk.case(intent)
    file = kept_file(either.engine.parts, case)
    assert file.stat().st_mode & 0o077 == 0 or file.parent.stat().st_mode & 0o077 == 0
    limits = either.opened.limits
    seen = next(iter(open_media(file, limits).frames())).rgb
    assert either.entries()[-1]["pending"] == case.kept
    calls = len(either.generator.calls)
    done = either.approve(intent)
    assert isinstance(done, Release)
    assert len(either.generator.calls) == calls, "it is not made a second time"
    assert (next(iter(open_media(done.file, limits).frames())).rgb == seen).all()
    assert either.opened.verifier().verify(done.file).finding == "verified"
    assert either.kept() == []


@pytest.mark.parametrize("what", ["encoded", "pending.json", "gone"])
def test_a_changed_file_is_never_released(house: House, what: str) -> None:
    intent = house.held_output()
    [folder] = house.kept()
    if what == "gone":
        (folder / "encoded").unlink()
    else:
        (folder / what).write_bytes((folder / what).read_bytes() + b" ")
    with pytest.raises(PendingError):
        house.approve(intent)
    assert (house.state(intent), house.desk.case(intent).status) == ("held", "open"), "nobody has approved this"
    assert house.public() == []
    house.desk.reject(intent, "ruth", "it was changed")
    assert house.state(intent) == "refused"


def test_a_file_changed_after_the_approval_fails(house: House) -> None:
    intent = house.held_output()
    house.desk.approve(intent, "ruth", "fine")
    [folder] = house.kept()
    (folder / "encoded").write_bytes(encode_picture(scene(3), "image/png"))
    with pytest.raises(PendingError):
        go_on(house.engine, intent)
    assert house.state(intent) == "failed"
    assert house.public() == []
    sweep(house.engine.parts)
    assert house.kept() == []


def test_a_held_photograph_is_sealed_after_its_approval(house: House, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(encode_picture(scene(4), "image/png"))
    engine = house.engine
    engine.parts = engine.parts.__class__(
        **{
            **vars(engine.parts),
            "frame_guards": lambda _: [FakeGuard("nsfw", {"sxc": 0.6}), *calm("nsfw", "clip", "ocr")],
        }
    )
    outcome = engine.seal(SealRequest(photo, "camera", subject="anna"))
    assert isinstance(outcome, Held)
    photo.unlink()
    done = house.approve(UUID(outcome.intent))
    assert isinstance(done, Release)
    credentials = read_credentials(done.file, "image/png", house.opened.trust)
    assert (credentials.state, credentials.source_type) == ("trusted", None)


def test_nothing_is_released_that_was_neither_allowed_nor_approved(house: House) -> None:
    """The last gate, whatever led there."""
    intent = house.held_output()
    case = house.desk.case(intent)
    from filigrana.pipeline.request import no_progress
    from filigrana.pipeline.reviewing import kept_work
    from filigrana.pipeline.run import Run

    parts = house.engine.parts
    with parts.staging.open(intent) as work:
        ready = kept_work(parts, case, work)
        with pytest.raises(ReleaseError) as caught:
            house.engine.release(Run(no_progress, 30), parts.finisher(), ready, work)
    assert caught.value.code == "release.verdict"
    for state in ("result", "released", "failed", "refused", "held"):
        with pytest.raises(ReleaseError) as caught:
            parts.ledger.close(intent, state, code="x")
        assert caught.value.code == "release.state"


# ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_deadline_passed_is_a_refusal(either: House) -> None:
    intent = either.held_output()
    either.clock.jump(hours=23.9)
    assert sweep(either.engine.parts) == []
    either.clock.jump(hours=0.2)
    assert code(lambda: either.approve(intent)) == "review.expired"
    assert either.types()[-2:] == ["review.expired", "refused"]
    assert (either.state(intent), either.entries()[-1]["code"]) == ("refused", "review.expired")
    assert either.public() == []
    assert [case.intent for case in either.desk.cases(status="expired")] == [intent]
    assert code(lambda: either.approve(intent)) == "review.expired"


def test_a_clock_that_is_set_back_gives_no_time(house: House) -> None:
    intent = house.held()
    house.clock.jump(hours=25)
    house.held(FIGURE)  # the log knows the time now
    house.clock.jump(hours=-30)
    assert code(lambda: house.approve(intent)) == "review.expired"
    house.clock.jump(days=-365)
    assert code(lambda: house.approve(intent)) == "review.expired"
    assert house.state(intent) == "refused"


def test_an_approval_is_not_kept_for_ever(either: House) -> None:
    intent, block = either.held(), either.refused()
    appeal(either.desk, block, "anna", "please")
    either.generator.fault = lambda *_: 1 / 0
    for one in (intent, block):
        with pytest.raises(FiligranaError):
            either.approve(one)
        assert either.desk.case(one).goes_on
    either.clock.jump(hours=47)
    assert sweep(either.engine.parts) == []
    either.clock.jump(hours=2)
    assert set(sweep(either.engine.parts)) == {intent, block}
    for one in (intent, block):
        assert (either.state(one), either.desk.case(one).status) == ("refused", "expired")
        assert code(lambda one=one: go_on(either.engine, one)) == "review.state"  # type: ignore[misc]
    assert sweep(either.engine.parts) == []
    assert either.public() == []


def test_the_next_request_sweeps(house: House) -> None:
    from filigrana.pipeline.reviewing import sweep_quietly

    intent = house.held()
    house.clock.jump(hours=25)
    sweep_quietly(house.engine.parts)
    assert house.state(intent) == "refused"


def test_files_are_kept_for_an_appeal_and_no_longer(house: House) -> None:
    intent = house.held_output()
    house.desk.reject(intent, "ruth", "no")
    sweep(house.engine.parts)
    assert len(house.kept()) == 1
    house.clock.jump(days=185)
    sweep(house.engine.parts)
    assert house.kept() == []
    assert code(lambda: appeal(house.desk, intent, "anna", "please")) == "review.appeal.late"


def test_files_of_whom_a_legal_hold_is_about_are_kept_until_it_is_lifted(house: House) -> None:
    intent = house.held_output()
    house.desk.reject(intent, "ruth", "no")
    hold(house.opened.ledger, "anna", "case 7")
    house.clock.jump(days=185)
    sweep(house.engine.parts)
    assert len(house.kept()) == 1
    assert code(lambda: appeal(house.desk, intent, "anna", "please")) == "review.appeal.late"
    hold(house.opened.ledger, "anna", "settled", lift=True)
    sweep(house.engine.parts)
    assert house.kept() == []


# ── the policy changes ───────────────────────────────────────────────────────────────────────────────────────────
def test_a_policy_that_blocks_now_refuses_what_was_held(either: House) -> None:
    intent = either.held()
    either.pack = changed(
        "hazard: gore\n    side: prompt\n    verdict: review", "hazard: gore\n    side: prompt\n    verdict: block"
    )
    assert code(lambda: either.approve(intent)) == "review.policy"
    assert (either.state(intent), either.desk.case(intent).status) == ("refused", "rejected")
    assert either.entries()[-1]["code"] == "prompt.gore"
    assert either.public() == []


def test_a_policy_that_blocks_now_refuses_what_was_approved(house: House) -> None:
    intent = house.held()
    house.desk.approve(intent, "ruth", "fine")
    house.pack = changed(
        "hazard: gore\n    side: prompt\n    verdict: review", "hazard: gore\n    side: prompt\n    verdict: block"
    )
    done = go_on(house.engine, intent)
    assert isinstance(done, Refusal)
    assert house.state(intent) == "refused"
    assert house.public() == []


@pytest.mark.parametrize("output", [False, True])
def test_another_version_is_looked_at_again(house: House, output: bool) -> None:
    intent = house.held_output() if output else house.held(FIGURE)
    house.pack = changed("title: Newsroom", "title: The newsroom")
    before = house.desk.case(intent)
    assert code(lambda: house.approve(intent)) == "review.policy"
    case = house.desk.case(intent)
    assert (case.round, case.status, case.approvals) == (2, "open", 0)
    assert case.deadline <= before.deadline
    assert house.types()[-1] == "review.renewed"
    done = house.approve(intent)
    assert isinstance(done if output else house.approve(intent, "rahel"), Release)
    assert len(house.public()) == 1


@pytest.mark.parametrize("output", [False, True])
def test_an_approval_under_another_version_is_no_approval(house: House, output: bool) -> None:
    intent = house.held_output() if output else house.held()
    house.desk.approve(intent, "ruth", "fine")
    house.pack = changed("title: Newsroom", "title: The newsroom")
    assert isinstance(go_on(house.engine, intent), Held)
    assert house.public() == []
    assert house.desk.case(intent).approvals == 0
    assert isinstance(house.approve(intent), Release)


def test_a_weaker_policy_takes_nothing_from_what_people_must_mind(house: House) -> None:
    """Not one that calls itself the same, and not a later one: neither the second person nor the bar."""
    intent = house.held("a portrait of Angela Merkel")
    assert house.desk.case(intent).needed == 2
    same = changed("approvals: 2", "approvals: 1", version=NEWSROOM.ref.version)
    house.pack = same
    assert code(lambda: house.approve(intent)) == "review.policy"
    assert house.types()[-1] != "review.renewed"
    house.pack = changed("approvals: 2", "approvals: 1")
    assert code(lambda: house.approve(intent)) == "review.policy"
    assert house.types()[-1] == "review.renewed"
    assert house.desk.case(intent).needed == 2

    blocked = house.ask("a nude child").intent
    appeal(house.desk, UUID(blocked), "anna", "it is a doll")
    house.pack = changed("[minor, sexual]", "[minor, csam_word]", version="2.0.0")
    assert code(lambda: house.approve(UUID(blocked))) == "review.policy"
    assert code(lambda: house.approve(UUID(blocked))) == "review.override"


@pytest.mark.parametrize("other", ["Ruth", "RUTH", "ｒｕｔｈ", " ruth "])
def test_one_person_is_one_person_however_the_name_is_written(house: House, other: str) -> None:
    intent = house.held("a portrait of Angela Merkel")
    assert house.desk.approve(intent, "ruth", "fine").approvals == 1
    assert house.desk.approve(intent, other, "fine").approvals == 1
    assert code(lambda: house.desk.approve(intent, "ANNA", "fine")) == "review.own"


def test_a_policy_that_blocks_the_output_now(house: House) -> None:
    intent = house.held_output()
    house.desk.approve(intent, "ruth", "fine")
    house.pack = changed(
        "hazard: gore\n    side: output\n    verdict: review", "hazard: gore\n    side: output\n    verdict: block"
    )
    done = go_on(house.engine, intent)
    assert isinstance(done, Refusal)
    assert done.code == "output.gore"
    assert house.public() == []


def test_another_pack_decides_nothing(house: House) -> None:
    intent = house.held()
    house.pack = load_pack("platform")
    assert code(lambda: house.approve(intent)) == "review.policy"
    assert house.state(intent) == "held"
    house.pack = NEWSROOM
    assert isinstance(house.approve(intent), Release)


def test_a_rule_that_nobody_may_lift_is_not_lifted(house: House) -> None:
    house.pack = changed(
        "hazard: gore\n    side: prompt\n    verdict: review",
        "hazard: gore\n    side: prompt\n    override: false\n    verdict: review",
    )
    intent = house.held()
    assert code(lambda: house.approve(intent)) == "review.override"
    house.desk.assign(intent, "rahel", "ruth")
    house.desk.reject(intent, "rahel", "no")


def test_another_model_is_not_the_one_that_was_asked(house: House) -> None:
    from dataclasses import replace

    intent = house.held()
    kept = house.generator.model
    house.generator.model = replace(kept, digest="1" * 64)
    assert code(lambda: house.approve(intent)) == "review.model"
    assert house.desk.case(intent).goes_on
    house.generator.model = kept
    assert isinstance(go_on(house.engine, intent), Release)


# ── appeals ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_an_overturned_block_is_generated(either: House) -> None:
    intent = either.refused()
    case = appeal(either.desk, intent, "anna", "it is for a museum")
    assert (case.kind, case.status, case.state) == ("appeal", "open", "refused")
    assert [one.intent for one in either.desk.cases(appeals=True)] == [intent]
    assert either.types()[-1] == "appeal.filed"
    done = either.approve(intent)
    assert isinstance(done, Release)
    assert "appeal.overturned" in either.types()
    assert either.state(intent) == "released"


def test_an_upheld_appeal_is_the_end(house: House) -> None:
    intent = house.refused()
    appeal(house.desk, intent, "anna", "please")
    house.desk.reject(intent, "ruth", "no")
    assert house.types()[-1] == "appeal.upheld"
    assert (house.state(intent), house.desk.case(intent).status) == ("refused", "rejected")
    assert code(lambda: appeal(house.desk, intent, "anna", "please")) == "review.appeal.once"
    assert code(lambda: house.approve(intent, "rahel")) == "review.state"


def test_an_appeal_that_nobody_decides_is_upheld(house: House) -> None:
    intent = house.refused()
    appeal(house.desk, intent, "anna", "please")
    house.clock.jump(hours=25)
    assert code(lambda: house.approve(intent)) == "review.expired"
    assert (house.state(intent), house.types()[-1]) == ("refused", "review.expired")


def test_who_decided_before_does_not_decide_the_appeal(either: House) -> None:
    intent = either.held_output()
    either.desk.reject(intent, "ruth", "no")
    appeal(either.desk, intent, "anna", "please")
    assert code(lambda: either.approve(intent, "ruth")) == "review.decided_before"
    assert code(lambda: either.desk.reject(intent, "ruth", "no")) == "review.decided_before"
    assert code(lambda: either.approve(intent, "anna")) == "review.own"
    assert isinstance(either.approve(intent, "rahel"), Release)


@pytest.mark.parametrize("prompt", [NEVER, "my ex girlfriend naked"])
def test_zero_tolerance_is_never_released(house: House, prompt: str) -> None:
    intent = house.refused(prompt)
    appeal(house.desk, intent, "anna", "please")
    assert code(lambda: house.approve(intent)) == "review.override"
    house.desk.assign(intent, "rahel", "ruth")
    assert code(lambda: house.approve(intent, "rahel")) == "review.override"
    house.desk.reject(intent, "rahel", "no")
    assert house.public() == []
    assert house.generator.calls == []


def test_only_whoever_asked_may_appeal_and_only_what_was_refused(house: House) -> None:
    intent = house.refused()
    assert code(lambda: appeal(house.desk, intent, "eve", "please")) == "review.appeal.who"
    assert code(lambda: appeal(house.desk, house.held(), "anna", "please")) == "review.appeal.none"
    offered = house.ask("a statue in the style of banksy")
    assert code(lambda: appeal(house.desk, UUID(offered.intent), "anna", "please")) == "review.appeal.none"
    assert code(lambda: appeal(house.desk, UUID(int=1), "anna", "please")) == "input.review_unknown"
    for wrong in ("", "  ", "x" * 2001):
        with pytest.raises(InputError):
            appeal(house.desk, intent, "anna", wrong)


def test_blocked_output_was_not_kept_and_is_overturned_for_the_record(house: House) -> None:
    engine = house.engine
    engine.parts = engine.parts.__class__(**{**vars(engine.parts), "frame_guards": lambda _: [
        FakeGuard("nsfw", {"sxc": 0.95}), *calm("nsfw")]})  # fmt: skip
    outcome = engine.generate(GenerateRequest(PLAIN, seed=7, subject="anna"))
    intent = UUID(outcome.intent)  # type: ignore[union-attr]
    appeal(house.desk, intent, "anna", "it is a boat")
    case = house.approve(intent)
    assert isinstance(case, Case)
    assert (case.status, case.state, case.goes_on) == ("approved", "refused", False)
    assert house.types()[-1] == "appeal.overturned"
    assert code(lambda: go_on(house.engine, intent)) == "review.state"
    assert house.public() == []


# ── people are forgotten ─────────────────────────────────────────────────────────────────────────────────────────
def test_what_an_erased_person_asked_for_is_not_released(either: House) -> None:
    held, output = either.held(), either.held_output()
    either.opened.ledger.erase("anna")
    for intent in (held, output):
        assert code(lambda intent=intent: either.approve(intent)) == "provenance.erased"  # type: ignore[misc]
        assert either.desk.case(intent).subject is None
    assert either.public() == either.kept() == []


def test_an_erased_person_cannot_come_back_and_approve_their_own(house: House) -> None:
    """Negative control of the name's key: the new name is another one, and still nothing is approved."""
    intent = house.held_output()
    house.opened.ledger.erase("anna")
    assert code(lambda: house.approve(intent, "anna")) == "provenance.erased"


def test_the_approval_of_an_erased_reviewer_counts_no_more(either: House) -> None:
    intent = either.held(FIGURE)
    either.approve(intent, "ruth")
    either.opened.ledger.erase("ruth")
    assert either.desk.case(intent).approvals == 0
    again = either.approve(intent, "ruth")
    assert (again.status, again.approvals) == ("open", 1), "one person counts once, erased or not"
    assert isinstance(either.approve(intent, "rahel"), Release)


# ── rows that lie ────────────────────────────────────────────────────────────────────────────────────────────────
def test_rows_that_are_not_what_the_log_says_approve_nothing(either: House) -> None:
    intent = either.held(FIGURE)
    later = dt.datetime.now(dt.UTC) + dt.timedelta(days=900)
    original = either.desk.case(intent)
    for lie, truth in (
        ({"approvals": 1}, {"approvals": 2}),
        ({"deadline": later}, {"deadline": original.deadline}),
        ({"kept": "sha256:00"}, {"kept": None}),
        ({"round": 2}, {"round": 1}),
        ({"log_index": 0}, {"log_index": original.log_index}),
    ):
        either.set(intent, **lie)
        with pytest.raises((TamperError, KeyStoreError)):
            either.approve(intent)
        either.set(intent, **truth)
    either.set(intent, status="approved")
    assert code(lambda: go_on(either.engine, intent)) == "review.state"
    either.set(intent, status="open")
    with session(either.opened.log.engine, write=True) as rows:
        for number in range(2):
            rows.add(ReviewAct(intent_id=intent, round=1, act="approve", actor=f"actor:{number}", subject="anna",
                               log_index=original.log_index, created_at=original.created))  # fmt: skip
    either.set(intent, status="approved")
    assert code(lambda: go_on(either.engine, intent)) == "log.tamper"
    assert either.public() == []


# ── what people see ──────────────────────────────────────────────────────────────────────────────────────────────
def test_a_case_is_shown_as_a_person_asks(house: House) -> None:
    intent = house.held_output()
    said = shown(house.desk, house.desk.case(intent))
    assert said["texts"] == {"prompt": PLAIN}
    assert {"guard": "clip", "hazard": "gore", "score": "0.970000", "threshold": "0.950000"}.items() <= next(
        s for s in said["scores"] if s["hazard"] == "gore"
    ).items()
    assert [rule["id"] for rule in said["rules"]] == ["NR-104"]
    assert [one["act"] for one in said["history"]] == ["held"]
    house.desk.reject(intent, "ruth", "no")
    said = shown(house.desk, house.desk.case(intent))
    assert ("ruth", "no") in [(one["name"], one["reason"]) for one in said["history"]]
    assert row(house.desk.case(intent))["status"] == "rejected"


def test_a_statement_of_reasons_is_told_from_the_log_alone(house: House) -> None:
    intent = house.refused()
    house.pack = load_pack("platform")  # the pack that decided is not at hand any more
    said = statement(house.desk, intent)
    assert (said["code"], said["decision"]) == ("prompt.hte", "refused: nothing was made public")
    [rule] = said["rules"]
    assert rule["id"] == "NR-007"
    assert len(rule["reason"]) > 10
    assert said["ground"]["policy"] == {
        "id": "newsroom",
        "version": NEWSROOM.ref.version,
        "digest": NEWSROOM.ref.digest,
    }
    assert said["automated"]["decision"] is True
    assert said["automated"]["guards"][0]["guard"] == "lexicon"
    assert said["appeal"]["open"]
    text = "\n".join(as_text(said))
    for wanted in ("NR-007", rule["reason"], "newsroom", "lexicon", "filigrana appeal", said["appeal"]["until"]):
        assert wanted in text
    assert "swastika" not in json.dumps(said)


def test_the_statement_follows_what_became_of_it(house: House) -> None:
    intent = house.held()
    assert statement(house.desk, intent)["decision"] == "held: people decide"
    house.desk.reject(intent, "ruth", "no")
    said = statement(house.desk, intent)
    assert (said["code"], said["automated"]["decision"]) == ("review.rejected", False)
    appeal(house.desk, intent, "anna", "please")
    assert statement(house.desk, intent)["appeal"]["filed"]
    assert isinstance(house.approve(intent, "rahel"), Release)
    assert statement(house.desk, intent)["decision"] == "released after people approved it"
    done = house.ask(PLAIN)
    with session(house.opened.log.engine) as rows:
        other = rows.query(Intent).where(Intent.asset_id == done.asset_id.value).one().id
    assert code(lambda: statement(house.desk, other)) == "review.no_reasons"
    assert code(lambda: statement(house.desk, UUID(int=1))) == "input.review_unknown"


# ── the command line ─────────────────────────────────────────────────────────────────────────────────────────────
def test_the_commands(house: House, tmp_path: Path) -> None:
    intent, prompt = house.held_output(), house.held(FIGURE)
    folder = str(house.opened.folder)

    def run(*words: str, exit_code: int = 0) -> Any:
        done = CliRunner().invoke(app, ["--data-dir", folder, *words, "--json"])
        assert done.exit_code == exit_code, (done.output, done.exception)
        return json.loads(done.stdout) if done.stdout else done.exception

    listed = run("review", "list")
    assert {one["request"] for one in listed} == {str(intent), str(prompt)}
    assert run("review", "list", "--mine", "--as", "ruth") == []
    assert run("review", "assign", str(prompt), "ruth", "--as", "rahel")["assignee"] == "ruth"
    assert [one["request"] for one in run("review", "list", "--mine", "--as", "ruth")] == [str(prompt)]
    assert run("review", "list", "--overdue") == run("review", "list", "--appeals") == []
    said = run("review", "show", str(intent), "-o", str(tmp_path / "seen.png"))
    kept = next((house.opened.folder / "review").glob("*/encoded"))
    assert hashlib.sha256((tmp_path / "seen.png").read_bytes()).digest() == hashlib.sha256(kept.read_bytes()).digest()
    assert said["texts"] == {"prompt": PLAIN}
    assert run("review", "approve", str(prompt), "--reason", "x", "--as", "anna", exit_code=1).code == "review.own"
    assert run("review", "approve", str(prompt), "--reason", "ok", "--as", "ruth")["approvals"] == 1
    assert run("review", "reject", str(prompt), "--reason", "no", "--as", "rahel")["status"] == "rejected"
    assert run("review", "approve", str(prompt), "--reason", "x", "--as", "rut", exit_code=1).code == "review.state"
    assert run("reasons", str(prompt))["code"] == "review.rejected"
    assert run("appeal", str(prompt), "--reason", "please", "--as", "anna")["kind"] == "appeal"
    done = run("review", "approve", str(intent), "--reason", "ok", "--as", "ruth")
    assert done["released"] is True
    assert house.opened.verifier().verify(Path(done["file"])).finding == "verified"
    assert run("review", "show", "nothing", exit_code=1).code == "input.request"
    for words in (
        ["review", "list"],
        ["review", "show", str(intent)],
        ["reasons", str(prompt)],
        ["review", "list", "--all"],
    ):
        plain = CliRunner().invoke(app, ["--data-dir", folder, *words])
        assert plain.exit_code == 0, plain.output
        assert plain.stdout


def test_review_error_is_a_release_error() -> None:
    assert issubclass(ReviewError, ReleaseError)


@pytest.mark.parametrize("text", ["\udcff", "a \ud800 b"])
def test_a_reason_or_a_name_that_is_no_text_is_an_error(house: House, text: str) -> None:
    intent = house.held()
    assert code(lambda: house.desk.approve(intent, "ruth", text)) == "input.reason"
    assert code(lambda: house.desk.approve(intent, text, "fine")) == "input.name"
    assert code(lambda: house.desk.cases(mine=text)) == "input.name"
