"""`audit explain`: one decision as a person would ask it, from the log and the database alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from typer.testing import CliRunner

from filigrana.errors import InputError, TamperError
from filigrana.pipeline.appeals import appeal
from filigrana.pipeline.cli.app import app
from filigrana.pipeline.engine import Engine
from filigrana.pipeline.explained import explained
from filigrana.pipeline.explained_words import NOT_RECORDED, lines
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.request import GenerateRequest, Held, Refusal, Release
from filigrana.pipeline.resuming import approve
from filigrana.pipeline.review import Desk
from filigrana.pipeline.settings import load_settings
from filigrana.provenance.catalog import Catalog
from filigrana.provenance.database import session
from filigrana.provenance.media import Frame
from filigrana.provenance.tables import Asset
from filigrana.safety.decision import Decision
from filigrana.safety.policy import load_pack
from filigrana.tests.conftest import MakeEngine
from filigrana.tests.doubles import FakeClock, FakeGenerator, FakeGuard, calm, scene

PLAIN = "a red sailboat on a blue sea"
BLOODY = "a dismembered statue in a fountain"
BLOCKED = "a swastika on a glorious rally poster"
PACK = load_pack("newsroom")
NAMED = f"newsroom {PACK.ref.version}"
SIGNERS = ("editor+00000000+AAAA",)


class House:
    """An installation, and requests to it. ``gore``: what the guard of pictures says."""

    def __init__(self, opened: Installation, make: MakeEngine, clock: FakeClock) -> None:
        self.opened, self._make, self.clock, self.gore = opened, make, clock, 0.25
        self.pack = PACK

    @property
    def engine(self) -> Engine:
        opened = self.opened
        clip = FakeGuard("clip", {"iwp": 0.01, "gore": self.gore, "sub": 0.01})
        clip.calibration_digest = "c" * 64  # type: ignore[attr-defined]
        return self._make(
            ledger=opened.ledger, finisher=opened.finisher, staging=opened.staging, store=opened.store,
            clock=opened.clock, pack=self.pack, frame_guards=lambda _: [*calm("clip"), clip],
            generator=FakeGenerator(fault=lambda sampling, _: (Frame(scene(sampling.seed, 320, 320)),)),
        )  # fmt: skip

    def ask(self, prompt: str = PLAIN) -> Any:
        return self.engine.generate(GenerateRequest(prompt, seed=7, subject="anna"))

    def desk(self) -> Desk:
        return Desk(self.opened.ledger, self.pack)

    def explained(self, what: Any, **options: Any) -> dict[str, Any]:
        said = explained(self.opened.log, what, **options)
        json.dumps(said, allow_nan=False)
        assert all(isinstance(name, str) and isinstance(text, str) for name, text in lines(said))
        return said

    def command(self, *words: str, code: int = 0) -> str:
        options = [
            "--data-dir",
            str(self.opened.folder),
            "--database",
            self.opened.log.engine.url.render_as_string(False),
        ]
        result = CliRunner().invoke(app, [*options, "audit", "explain", *words])
        assert result.exit_code == code, (result.output, result.exception)
        return str(result.stdout)


@pytest.fixture
def either(tmp_path: Path, database_url: str, make_engine: MakeEngine) -> Iterator[House]:
    """On SQLite and on PostgreSQL."""
    clock = FakeClock()
    opened = Installation(load_settings(data_dir=tmp_path / "house", database=database_url), clock)
    yield House(opened, make_engine, clock)
    opened.close()


@pytest.fixture
def house(tmp_path: Path, make_engine: MakeEngine) -> Iterator[House]:
    clock = FakeClock()
    opened = Installation(load_settings(data_dir=tmp_path / "house"), clock)
    yield House(opened, make_engine, clock)
    opened.close()


def told(said: dict[str, Any]) -> str:
    return "\n".join(f"{name}: {text}" for name, text in lines(said))


# ── what was allowed ─────────────────────────────────────────────────────────────────────────────────────────────
def test_a_released_asset_is_explained_from_the_prompt_to_the_joules(either: House) -> None:
    either.pack = replace(PACK, ref=replace(PACK.ref, approved_by=SIGNERS))
    done = either.ask()
    assert isinstance(done, Release)
    said = either.explained(done.asset_id)
    read = [r for r in PACK.rules if r.score and (r.score.guard, r.hazard) == ("clip", "gore")]
    limit, rule = min((r.score.at_least, r.id) for r in read)
    near = f"nearest was gore by clip, 0.250 of {limit:.3f} ({rule})"
    assert said["summary"] == f"Allowed by {NAMED}: nothing scored above its threshold; {near}."
    asked = said["asked"]
    assert asked["texts"]["prompt"] == {"kept": True, "text": PLAIN}
    assert asked["commitments"]["prompt"].startswith("hmac-sha256")
    assert (asked["kind"], asked["seed"], asked["actor"][:6]) == ("generate", 7, "actor:")
    assert said["policy"] == PACK.ref.record() | {"approved_by": list(SIGNERS)}
    assert said["released"]["sha256"] == done.sha256
    assert said["energy"] == done.energy.as_dict()
    assert [act["act"] for act in said["history"]] == ["release"]

    prompt, output = said["decisions"]
    assert (prompt["side"], output["side"]) == ("prompt", "output")
    assert prompt["input"] == asked["commitments"]["prompt"]
    assert output["input"].startswith("sha256:")
    clip = next(run for run in output["guards"] if run["guard"] == "clip")
    assert (clip["model"]["digest"], clip["calibration"], clip["inputs"]) == ("0" * 64, "c" * 64, 1)
    assert isinstance(clip["milliseconds"], int)
    assert clip["not_recorded"] == output["not_recorded"] == []
    gore = next(score for score in clip["scores"] if score["hazard"] == "gore")
    wanted = sorted(
        (r.score.at_least, r.id) for r in PACK.rules if r.score and (r.score.guard, r.hazard) == ("clip", "gore")
    )
    assert [(one["at_least"], one["rule"]) for one in gore["thresholds"]] == wanted
    assert output["nearest"][0]["hazard"] == "gore"
    assert output["nearest"][0]["share"] == round(0.25 / wanted[0][0], 4)
    assert output["time"] == either.opened.log.entry(output["index"])["time"]


def test_the_nearest_rules_are_those_that_nearly_fired_and_no_more_than_five(house: House) -> None:
    house.gore = 0.8
    nearest = house.explained(house.ask().asset_id)["decisions"][1]["nearest"]
    assert len(nearest) <= 5
    assert nearest == sorted(nearest, key=lambda one: -one["share"])
    assert all(one["score"] < one["threshold"] for one in nearest)


# ── what was not ─────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_refusal_names_the_rule_in_its_own_words(either: House) -> None:
    refused = either.ask(BLOCKED)
    assert isinstance(refused, Refusal)
    said = either.explained(UUID(refused.intent))
    assert said["summary"].startswith(f"Refused by {NAMED}: NR-007 (")
    assert said["summary"].endswith("fired on the prompt.")
    assert said["released"] is said["asset_id"] is said["energy"] is None
    rule = said["decisions"][0]["fired"][0]
    assert rule["reason"] == next(r.reason for r in PACK.rules if r.id == "NR-007")
    assert said["history"][0]["appeal_until"]


def test_an_appeal_is_part_of_the_story_to_its_end(either: House) -> None:
    intent = UUID(either.ask(BLOCKED).intent)
    appeal(either.desk(), intent, "anna", "it is for a museum")
    assert "an appeal is before people" in either.explained(intent)["summary"]
    either.desk().reject(intent, "ruth", "it is a rally")
    said = either.explained(intent)
    assert "upheld on appeal" in said["summary"]
    assert [act["act"] for act in said["history"]] == ["refused", "appeal.filed", "appeal.upheld"]
    assert [(act["name"], act["reason"]) for act in said["history"][1:]] == [
        ("anna", "it is for a museum"), ("ruth", "it is a rally"),
    ]  # fmt: skip
    hidden = json.dumps(either.explained(intent, texts=False))
    assert not any(word in hidden for word in ("anna", "ruth", "museum", "rally poster"))


def test_held_work_is_told_before_and_after_people_decided(either: House) -> None:
    held = either.ask(BLOODY)
    assert isinstance(held, Held)
    intent = UUID(held.intent)
    assert either.explained(intent)["summary"].startswith(f"Held by {NAMED} for people to decide: NR-008 (")
    done = approve(either.engine, intent, "ruth", "it is a statue")
    assert isinstance(done, Release)
    said = either.explained(done.asset_id)
    assert "approved by one person and released" in said["summary"]
    assert {"held", "review.approved", "release"} <= {act["act"] for act in said["history"]}
    assert "it is a statue" in told(said)


def test_nobody_decided_in_time(house: House) -> None:
    intent = UUID(house.ask(BLOODY).intent)
    house.clock.jump(hours=25)
    house.desk().sweep()
    assert "after nobody decided in time" in house.explained(intent)["summary"]


def test_a_guard_without_an_answer_is_told_as_such(house: House) -> None:
    engine = house.engine
    engine.parts = replace(engine.parts, text_guards=[FakeGuard("classifier", fault=lambda: {"sxc": float("nan")})])
    held = engine.generate(GenerateRequest(PLAIN, seed=7))
    assert isinstance(held, Held)
    said = house.explained(UUID(held.intent))
    assert "ENGINE (a guard did not answer) fired on the prompt" in said["summary"]
    assert "did not answer (safety.not_a_number)" in told(said)


def test_a_failed_request_made_nothing_public(house: House) -> None:
    engine = house.engine
    engine.parts = replace(engine.parts, generator=FakeGenerator(fault=lambda *_: ()))
    with pytest.raises(Exception, match="picture"):
        engine.generate(GenerateRequest(PLAIN, seed=7))
    intent = next(entry["intent"] for _, entry in house.opened.log.entries() if entry["type"] == "intent")
    assert "nothing was made public" in house.explained(UUID(intent))["summary"]


# ── what is gone, old or unknown ─────────────────────────────────────────────────────────────────────────────────
def test_an_erased_prompt_is_not_shown_and_the_rest_is(either: House) -> None:
    done = either.ask()
    either.opened.ledger.erase("anna")
    said = either.explained(done.asset_id)
    assert said["asked"]["texts"]["prompt"] == {"kept": False, "text": None}
    assert "no longer kept" in told(said)
    assert said["summary"].startswith(f"Allowed by {NAMED}")


def test_what_an_old_entry_does_not_say_is_not_recorded(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    now = Decision.record

    def old(self: Decision) -> dict[str, Any]:
        said = now(self)
        for name in ("input", "reads"):
            del said[name]
        for run in said["guards"]:
            del run["calibration"], run["milliseconds"]
        return said

    monkeypatch.setattr(Decision, "record", old)
    said = house.explained(house.ask().asset_id)
    assert said["summary"] == f"Allowed by {NAMED}: no rule fired."
    assert all(d["not_recorded"] == ["input", "reads"] and d["nearest"] == [] for d in said["decisions"])
    assert all(g["not_recorded"] == ["calibration", "milliseconds"] for d in said["decisions"] for g in d["guards"])
    assert told(said).count(NOT_RECORDED) >= 8


def test_today_s_policy_is_not_asked(house: House) -> None:
    """A changed or damaged pack changes nothing of what was decided."""
    done = house.ask()
    before = house.explained(done.asset_id)
    (house.opened.folder / "mine.yaml").write_text("rules: [")
    text = CliRunner().invoke(
        app, ["--data-dir", str(house.opened.folder), "--policy", str(house.opened.folder / "mine.yaml"),
              "audit", "explain", str(done.asset_id), "--json"],
    )  # fmt: skip
    assert text.exit_code == 0, text.output
    assert json.loads(text.stdout) == before | {"file": None}


def test_a_row_that_is_not_what_the_log_says_explains_nothing(house: House) -> None:
    done = house.ask()
    with session(house.opened.log.engine, write=True) as rows:
        row = rows.query(Asset).one()
        row.sha256 = b"\0" * 32
    with pytest.raises(TamperError):
        explained(house.opened.log, done.asset_id)


def test_an_unknown_request_is_an_error(house: House) -> None:
    house.ask()
    with pytest.raises(InputError):
        explained(house.opened.log, uuid4())


# ── the command ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_command_takes_an_asset_a_request_or_a_file(either: House, tmp_path: Path) -> None:
    done = either.ask()
    copied = tmp_path / "elsewhere.png"
    shutil.copy(done.file, copied)
    asset = json.loads(either.command(str(done.asset_id), "--json"))
    file = json.loads(either.command(str(copied), "--json"))
    request = json.loads(either.command(asset["request"], "--json"))
    assert asset == request
    assert file == asset | {"file": {"path": str(copied), "finding": "the very bytes that were released"}}
    shown = either.command(str(done.asset_id))
    assert shown.splitlines()[0] == asset["summary"]
    assert PLAIN in shown
    assert PLAIN not in either.command(str(done.asset_id), "--no-texts")
    assert PLAIN not in either.command(str(done.asset_id), "--no-texts", "--json")


def test_a_file_without_its_credentials_is_found_by_its_mark(house: House, tmp_path: Path) -> None:
    from PIL import Image

    done = house.engine.generate(GenerateRequest(PLAIN, seed=7))
    bare = tmp_path / "bare.png"
    with Image.open(done.file) as picture:
        Image.frombytes("RGB", picture.size, picture.convert("RGB").tobytes()).save(bare)
    said = json.loads(house.command(str(bare), "--json"))
    assert said["asset_id"] == str(done.asset_id)
    assert said["file"]["finding"] == "recovered"


def test_what_is_unknown_exits_with_an_error(house: House, tmp_path: Path) -> None:
    house.ask()
    foreign = tmp_path / "foreign.png"
    foreign.write_bytes(b"no picture")
    for what in ("0" * 12, str(uuid4()), str(foreign), "no such thing"):
        house.command(what, code=1)
    with session(house.opened.log.engine) as rows:
        assert Catalog(rows).count() == 1
