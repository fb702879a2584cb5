"""Comparing, explaining, testing, replaying and signing policy packs, by the library and by the command."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from filigrana.pipeline.cli.app import app
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.policy_replay import by_record, replay_policy, summary
from filigrana.pipeline.request import GenerateRequest
from filigrana.safety.comparing import compare
from filigrana.safety.decision import Decision, Verdict
from filigrana.safety.explaining import explain
from filigrana.safety.judge import judge_text
from filigrana.safety.policy import Pack, load_pack
from filigrana.safety.trials import run_tests
from filigrana.tests.doubles import Failing, FakeGuard, quiet_classifier
from filigrana.tests.packs import data_of, guarded, pack_of, small

NEWS = load_pack("newsroom")


def run(*words: str, text: str | None = None) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(words), input=text)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout


def places(old: dict[str, Any], new: dict[str, Any]) -> dict[str, str]:
    return {change.place: change.what for change in compare(pack_of(old), pack_of(new))}


# ── diff ─────────────────────────────────────────────────────────────────────────────────────────────────────────
CHANGES: dict[str, tuple[Callable[[dict[str, Any]], Any], dict[str, str]]] = {
    "version": (lambda d: d.update(version="2.0.0"), {"version": "changed"}),
    "threshold": (lambda d: d["rules"][1]["score"].update(at_least=0.6), {"rules.TS-002.score.at_least": "changed"}),
    "verdict": (lambda d: d["rules"][0].update(verdict="review"), {"rules.TS-001.verdict": "changed"}),
    "override": (lambda d: d["rules"][0].update(override=False), {"rules.TS-001.override": "changed"}),
    "a rule gone": (lambda d: d["rules"].pop(), {"rules.TS-002": "removed"}),
    "a rule more": (lambda d: d["rules"].append(dict(d["rules"][0], id="TS-009")), {"rules.TS-009": "added"}),
    "rules turned": (lambda d: d["rules"].reverse(), {"rules": "changed"}),
    "a term more": (lambda d: d["lists"]["bad"].append("worse"), {"lists.bad": "changed"}),
    "a list more": (lambda d: d["lists"].update(third=["x"]), {"lists.third": "added"}),
    "a guard more": (lambda d: d["requires"]["sealed"].append("clip"), {"requires.sealed": "changed"}),
    "retention": (lambda d: d.update(retention_days=3), {"retention_days": "added"}),
    "a test": (lambda d: d["rules"][0]["tests"]["no_match"].append("fine"), {"rules.TS-001.tests.no_match": "changed"}),
    "nothing": (lambda d: None, {}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_is_named_with_its_place(name: str) -> None:
    old = guarded("moderation", "vcr", 0.5)
    new = copy.deepcopy(old)
    CHANGES[name][0](new)
    assert places(old, new) == CHANGES[name][1]


def test_a_list_shows_what_came_and_what_went() -> None:
    new = small(lists={"bad": ["badword", "new"], "other": []})
    [first, second] = compare(pack_of(small()), pack_of(new))
    assert (first.place, first.before, first.after) == ("lists.bad", None, ["new"])
    assert (second.place, second.before, second.after) == ("lists.other", ["otherword"], None)


@given(st.sets(st.sampled_from(sorted(CHANGES))))
def test_a_pack_differs_from_itself_in_nothing_and_both_ways_alike(names: set[str]) -> None:
    old = guarded("moderation", "vcr", 0.5)
    new = copy.deepcopy(old)
    for name in sorted(names):
        with contextlib.suppress(KeyError, IndexError):  # what it changes is gone already
            CHANGES[name][0](new)
    there, back = compare(pack_of(old), pack_of(new)), compare(pack_of(new), pack_of(old))
    assert compare(pack_of(new), pack_of(new)) == []
    assert {change.place for change in there} == {change.place for change in back}
    assert bool(there) == (pack_of(old).document != pack_of(new).document)


def test_the_command_tells_a_difference_by_its_exit_code(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.yaml", "b.yaml", "c.yaml")]
    for path, document in zip(paths, (small(), small(version="1.0.1"), small()), strict=True):
        path.write_bytes(data_of(document))
    paths[2].write_bytes(b"# only a comment\n" + paths[2].read_bytes())
    code, out = run("policy", "diff", str(paths[0]), str(paths[1]), "--json")
    assert code == 4
    assert json.loads(out)["changes"] == [
        {"place": "version", "change": "changed", "before": "1.0.0", "after": "1.0.1"}
    ]
    assert run("policy", "diff", str(paths[0]), str(paths[2]))[0] == 0
    code, out = run("policy", "diff", "newsroom", "platform")
    assert code == 4
    assert "rules.NR-101" in out


# ── tests of scores ──────────────────────────────────────────────────────────────────────────────────────────────
def scored(match: list[str], no_match: list[str]) -> Pack:
    document = guarded("nsfw", "sxc", 0.5)
    document["rules"][1]["tests"] = {"match": match, "no_match": no_match}
    return pack_of(document)


def by_length(text: str) -> dict[str, float]:
    return {"sxc": 0.9 if "harm" in text else 0.1}


class Reader(FakeGuard):
    def score(self, subject: Any) -> Any:
        return by_length(subject)


def test_tests_of_scores_are_run_where_the_guard_is() -> None:
    pack = scored(["harm", "harmless in truth"], ["fine", "harm again"])
    trial = run_tests(pack, [Reader("nsfw")])
    assert (trial.total, trial.passed, trial.untried) == (6, 5, ())
    [failure] = trial.failures
    assert (failure.rule, failure.prompt, failure.should_fire, failure.score) == ("TS-002", "harm again", False, 0.9)


def test_tests_without_their_guard_have_not_passed() -> None:
    trial = run_tests(scored(["harm"], ["fine"]))
    assert (trial.total, trial.passed, trial.untried, trial.failures) == (4, 2, (("nsfw", 2),), ())


@pytest.mark.parametrize(
    "fault", [Failing("raise"), Failing("nan"), Failing("none"), Failing("hang"), lambda: {"vcr": 0.1}]
)
def test_a_guard_that_fails_passes_no_test(fault: Callable[..., Any]) -> None:
    trial = run_tests(scored(["harm"], ["fine"]), [FakeGuard("nsfw", fault=fault)], timeout=0.3)
    assert trial.passed == 2
    assert all(failure.error for failure in trial.failures)


# ── explain ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_rule_that_fired_names_its_terms_and_the_reading() -> None:
    found = explain("a n u d e toddler", NEWS)
    assert found.decision.verdict is Verdict.BLOCK
    first = found.fired[0]
    assert first.rule.id == "NR-001"
    assert {(term.list, term.term) for term in first.terms} == {("minor", "toddler"), ("sexual", "nude")}
    assert all(term.view for term in first.terms)


def test_what_nearly_fired_says_what_was_lacking() -> None:
    found = explain("a diagram of a defused pipe bomb in a museum", NEWS)
    near = {account.rule.id: account for account in found.near}
    assert "NR-004" not in [account.rule.id for account in found.fired]
    assert "excuses it" in near["NR-004"].why
    assert near["NR-004"].nearness == found.near[0].nearness


def test_scores_are_told_against_their_thresholds() -> None:
    pack = pack_of(guarded("nsfw", "sxc", 0.5))
    fired = explain("a boat", pack, [FakeGuard("nsfw", {"sxc": 0.7})])
    assert (fired.fired[0].score, fired.fired[0].as_dict()["threshold"]) == (0.7, 0.5)
    nearly = explain("a boat", pack, [FakeGuard("nsfw", {"sxc": 0.4})])
    assert "below the threshold 0.5" in nearly.near[0].why
    far = explain("a boat", pack, [FakeGuard("nsfw", {"sxc": 0.01})])
    assert far.near == ()


def test_a_guard_without_an_answer_is_told() -> None:
    found = explain("a boat", pack_of(guarded("nsfw", "sxc", 0.5)))
    assert found.decision.verdict is Verdict.REVIEW
    assert found.failed == (("nsfw", "safety.missing"),)


def untimed(decision: Decision) -> Decision:
    return replace(decision, guards=tuple(replace(run, seconds=0.0) for run in decision.guards))


@given(st.text(min_size=1, max_size=80).filter(lambda text: any(c.isalnum() and c.isascii() for c in text)))
def test_an_explanation_is_of_the_decision_and_nothing_else(text: str) -> None:
    found, decision = explain(text, NEWS), judge_text(text, NEWS)
    assert untimed(found.decision) == untimed(decision)
    assert {account.rule.id for account in found.fired} == {hit.rule for hit in decision.hits if hit.rule != "ENGINE"}
    assert all(account.nearness < 1 for account in found.near)


def test_the_command_explains_with_the_exit_codes_of_check() -> None:
    code, out = run("policy", "explain", "Mickey Mouse on a beach", "--json")
    assert code == 11
    assert json.loads(out)["fired"][0]["terms"] == [{"list": "character", "term": "mickey mouse", "view": "plain"}]
    assert run("policy", "explain", "a red boat")[0] == 0
    assert run("policy", "explain", text="a nude child\n")[0] == 10


# ── replay ───────────────────────────────────────────────────────────────────────────────────────────────────────
def stricter() -> Pack:
    document = NEWS.document.model_dump(mode="json", exclude_none=True)
    document["version"] = "9.0.0"
    document["lists"]["minor"] = [*document["lists"]["minor"], "sailboat"]
    document["rules"].append({
        "id": "NR-900", "title": "no boats", "hazard": "dst", "side": "prompt", "verdict": "block",
        "reason": "no boats any more", "terms": {"all_of": ["boats"]},
        "tests": {"match": ["a sailboat"], "no_match": ["a house"]},
    })  # fmt: skip
    document["lists"]["boats"] = ["sailboat"]
    return pack_of(document)


@pytest.fixture
def requests(make_engine: Any) -> Any:
    engine = make_engine()
    for prompt in ("a red sailboat on a blue sea", "a red house", "Mickey Mouse on a beach"):
        engine.generate(GenerateRequest(prompt, seed=7, subject=prompt.split()[-1]))
    return engine


def test_past_requests_are_judged_again(requests: Any, installation: Installation) -> None:
    found = summary(replay_policy(installation.log, stricter(), known=[NEWS], guards=[quiet_classifier()]))
    prompts = [one for one in found.different if one.side == "prompt"]
    assert [(one.before, one.after, one.how, one.why) for one in prompts] == [("allow", "block", "judged", ("NR-900",))]
    assert found.judged == 3
    assert "sailboat" not in json.dumps(found.as_dict())


def test_under_the_same_pack_nothing_is_different(requests: Any, installation: Installation) -> None:
    found = summary(replay_policy(installation.log, NEWS, known=[NEWS], guards=[quiet_classifier()]))
    assert (found.different, dict(found.unknown)) == ((), {})
    assert found.decisions == found.judged + found.by_scores == 5


def test_an_erased_prompt_is_replayed_only_as_far_as_its_record_goes(requests: Any, installation: Installation) -> None:
    installation.ledger.erase("sea")
    same = summary(replay_policy(installation.log, NEWS, known=[NEWS], guards=[quiet_classifier()]))
    assert (same.different, same.judged, dict(same.unknown)) == ((), 2, {})
    other = summary(replay_policy(installation.log, stricter(), known=[NEWS], guards=[quiet_classifier()]))
    assert sum(other.unknown.values()) == 1
    assert [one for one in other.different if one.side == "prompt"] == []
    unread = summary(replay_policy(installation.log, NEWS, guards=[quiet_classifier()]))
    assert sum(unread.unknown.values()) == 1


def test_pictures_are_replayed_by_their_scores(requests: Any, installation: Installation) -> None:
    document = NEWS.document.model_dump(mode="json", exclude_none=True)
    for rule in document["rules"]:
        if rule["id"] == "NR-101":
            rule["score"]["at_least"] = 0.005
    found = summary(replay_policy(installation.log, pack_of(document), known=[NEWS], guards=[quiet_classifier()]))
    assert {(one.side, one.before, one.after, one.how) for one in found.different} == {
        ("output", "allow", "block", "scores")
    }


def test_only_the_time_that_is_asked_for_is_replayed(requests: Any, installation: Installation) -> None:
    assert summary(replay_policy(installation.log, NEWS, until="2000-01-01T00:00:00Z")).decisions == 0


@pytest.mark.parametrize(
    ("scores", "at_least", "after"),
    [({"sxc": "0.700000"}, 0.5, Verdict.BLOCK), ({"sxc": "0.100000"}, 0.5, Verdict.ALLOW), ({"sxc": "0.500000"}, 0.5, None),
     ({"sxc": "nonsense"}, 0.5, None), ({}, 0.5, None)],
)  # fmt: skip
def test_a_record_decides_only_what_it_tells(scores: dict[str, str], at_least: float, after: Verdict | None) -> None:
    document = guarded("nsfw", "sxc", at_least)
    pack = pack_of(document)
    runs = [{"guard": "lexicon", "scores": {}, "error": None}, {"guard": "nsfw", "scores": scores, "error": None}]
    found, why = by_record({"guards": runs, "rules": []}, "prompt", pack, pack)
    assert found is after
    assert why or found is Verdict.ALLOW


def test_a_guard_that_was_not_asked_then_is_not_known(tmp_path: Path) -> None:
    pack = pack_of(guarded("nsfw", "sxc", 0.5))
    runs: list[dict[str, Any]] = [{"guard": "lexicon", "scores": {}, "error": None}]
    assert by_record({"guards": runs, "rules": []}, "prompt", pack, pack)[0] is None
    # A rule that blocks settles it all the same.
    assert by_record({"guards": runs, "rules": [{"id": "TS-001"}]}, "prompt", pack, pack)[0] is Verdict.BLOCK


def test_the_command_replays(requests: Any, installation: Installation, tmp_path: Path) -> None:
    path = tmp_path / "new.yaml"
    document = stricter().document.model_dump(mode="json", exclude_none=True)
    path.write_bytes(data_of(document))
    code, out = run("policy", "replay", str(path), "--json")
    assert code == 4
    assert json.loads(out)["different"][0]["after"] == "block"
    assert run("policy", "replay", "newsroom")[0] == 0
    assert run("policy", "replay", str(path), "--to", "2000-01-01")[0] == 0


# ── sign ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_commands_sign_and_verify(tmp_path: Path) -> None:
    pack, key = tmp_path / "pack.yaml", tmp_path / "editor.key"
    pack.write_bytes(data_of(small()))
    code, out = run("policy", "sign", str(pack), "--key", str(key), "--name", "editor.example.org", "--json")
    assert code == 0
    signer = json.loads(out)["signer"]
    assert key.stat().st_mode & 0o077 == 0
    code, out = run("policy", "verify-signature", str(pack), "--signer", signer, "--json")
    assert (code, json.loads(out)["approved_by"]) == (0, [signer])
    pack.write_bytes(pack.read_bytes() + b"# changed\n")
    code, out = run("policy", "verify-signature", str(pack), "--signer", signer, "--json")
    assert (code, json.loads(out)["code"]) == (5, "policy.signature")


def test_with_signers_set_only_signed_packs_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from filigrana.errors import PolicyError

    pack, key = tmp_path / "pack.yaml", tmp_path / "editor.key"
    pack.write_bytes(data_of(small()))
    signer = json.loads(
        run("policy", "sign", str(pack), "--key", str(key), "--name", "editor.example.org", "--json")[1]
    )["signer"]
    monkeypatch.setenv("FILIGRANA_POLICY_SIGNERS", json.dumps([signer]))
    assert run("policy", "check", "--policy", str(pack), "a boat")[0] == 0
    with pytest.raises(PolicyError) as caught:
        run("policy", "check", "a boat")
    assert caught.value.code == "policy.unsigned"
    (tmp_path / "pack.yaml.sig").unlink()
    with pytest.raises(PolicyError):
        run("policy", "check", "--policy", str(pack), "a boat")


def test_a_pack_that_fails_its_tests_is_signed_by_nobody(tmp_path: Path) -> None:
    from filigrana.errors import InputError, PolicyError

    pack = tmp_path / "pack.yaml"
    pack.write_bytes(data_of(small(lists={"bad": ["else"], "other": ["x"]})))
    with pytest.raises(PolicyError):
        run("policy", "sign", str(pack), "--key", str(tmp_path / "k"), "--name", "a")
    pack.write_bytes(data_of(small()))
    with pytest.raises(InputError):
        run("policy", "sign", str(pack), "--key", str(tmp_path / "k"))
    assert not (tmp_path / "pack.yaml.sig").exists()


def test_the_source_of_a_pack_can_be_had() -> None:
    import yaml

    assert yaml.safe_load(run("policy", "show", "newsroom", "--source")[1])["id"] == "newsroom"


def test_nothing_to_check_is_an_error_and_never_an_allow() -> None:
    done = CliRunner().invoke(app, ["policy", "check"], input="")
    assert done.exit_code == 1
