"""Previews stop what is surely refused, early; they never allow anything, and whatever fails leaves it to the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filigrana.pipeline.generators.base import Generated, Previews, StoppedEarly
from filigrana.pipeline.previews import PreviewJudge
from filigrana.pipeline.request import GenerateRequest, Held, Refusal, Release
from filigrana.provenance.media import Frame
from filigrana.safety.decision import Verdict
from filigrana.safety.policy import load_pack, parse_pack
from filigrana.tests.conftest import MakeEngine
from filigrana.tests.doubles import Failing, FakeGenerator, FakeGuard, calm, scene

PLATFORM = load_pack("platform")
BAD = {"iwp": 0.99, "gore": 0.01, "sub": 0.01}
GOOD = {"iwp": 0.01, "gore": 0.01, "sub": 0.01}


class Slow(FakeGenerator):
    """Ten steps, with previews after those that are asked for."""

    gives_previews = True
    made = 0

    def generate(self, sampling: Any, progress: Any, previews: Previews | None = None) -> Generated:
        due = previews.due(10) if previews is not None else frozenset()
        for step in range(1, 11):
            self.made += 1
            sum(n * n for n in range(100_000))  # so that a step costs something
            progress(step, 10)
            if previews is not None and step in due:
                previews.look(step, 10, scene(sampling.seed, 64, 64))
        return Generated("image", (Frame(scene(sampling.seed)),), sampling={"seed": sampling.seed, "versions": {}})


def engine_with(make_engine: MakeEngine, *guards: Any, generator: Any = None, pack: Any = PLATFORM) -> Any:
    names = [guard.name for guard in guards]
    return make_engine(generator=generator or Slow(), pack=pack, frame_guards=lambda _made: [*guards, *calm(*names)])


# ── stopping ─────────────────────────────────────────────────────────────────────────────────────────────────────
def test_what_is_surely_refused_stops_early(make_engine: MakeEngine, installation: Any) -> None:
    generator = Slow()
    outcome = engine_with(make_engine, FakeGuard("clip", BAD), generator=generator).generate(
        GenerateRequest("a boat", seed=1)
    )
    assert isinstance(outcome, Refusal)
    assert not isinstance(outcome, Held)
    assert (outcome.code, outcome.decision.verdict) == ("output.iwp", Verdict.BLOCK)
    assert generator.made == 2
    told = outcome.as_dict()
    assert (told["early"]["stopped_at_step"], told["early"]["steps"]) == (2, 10)
    assert told["early"]["saved"]["joules"] > 0
    assert "estimate" in told["early"]["saved"]["method"]
    entries = [entry for _, entry in installation.log.entries()]
    assert [entry["type"] for entry in entries][-2:] == ["decision", "refused"]
    assert entries[-1]["preview"]["stopped_at_step"] == entries[-2]["decision"]["preview"]["stopped_at_step"] == 2
    assert installation.log.verify().ok


def test_a_harmless_picture_is_drawn_to_the_end_and_judged(make_engine: MakeEngine) -> None:
    generator, guard = Slow(), FakeGuard("clip", GOOD)
    outcome = engine_with(make_engine, guard, generator=generator).generate(GenerateRequest("a boat", seed=1))
    assert isinstance(outcome, Release)
    assert generator.made == 10
    assert guard.seen == 3  # two previews and the result


def test_a_score_between_the_threshold_and_the_margin_is_left_to_the_end(make_engine: MakeEngine) -> None:
    generator = Slow()
    scores = {**GOOD, "iwp": 0.87}  # blocks from .85 on; a preview from .90 on
    outcome = engine_with(make_engine, FakeGuard("clip", scores), generator=generator).generate(
        GenerateRequest("a boat")
    )
    assert isinstance(outcome, Refusal)
    assert outcome.early is None
    assert generator.made == 10


def test_a_rule_that_only_asks_for_review_stops_nothing(make_engine: MakeEngine) -> None:
    generator = Slow()
    outcome = engine_with(
        make_engine, FakeGuard("clip", BAD), generator=generator, pack=load_pack("newsroom")
    ).generate(GenerateRequest("a boat"))
    assert isinstance(outcome, Held)
    assert generator.made == 10


@pytest.mark.parametrize("fault", [Failing("raise"), Failing("hang"), Failing("nan"), dict, lambda: None])
def test_a_guard_that_fails_on_previews_decides_nothing_there(
    make_engine: MakeEngine, fault: Callable[..., Any]
) -> None:
    generator = Slow()
    engine = engine_with(make_engine, FakeGuard("clip", fault=fault), generator=generator)
    engine.parts = replace(engine.parts, guard_timeout=0.2)
    outcome = engine.generate(GenerateRequest("a boat"))
    assert generator.made == 10
    assert isinstance(outcome, Held)
    assert outcome.code == "output.guard_failed"


def test_a_guard_that_fails_on_previews_alone_does_not_release_what_the_end_refuses(make_engine: MakeEngine) -> None:
    answers = iter([None, None, BAD])
    outcome = engine_with(make_engine, FakeGuard("clip", fault=lambda: next(answers))).generate(
        GenerateRequest("a boat")
    )
    assert outcome.code == "output.iwp"


def test_harmless_previews_do_not_release_what_the_end_refuses(make_engine: MakeEngine) -> None:
    answers = iter([GOOD, GOOD, BAD])
    outcome = engine_with(make_engine, FakeGuard("clip", fault=lambda: next(answers))).generate(
        GenerateRequest("a boat")
    )
    assert outcome.code == "output.iwp"
    assert outcome.early is None


def test_a_generator_without_previews_is_used_as_before(make_engine: MakeEngine) -> None:
    assert isinstance(engine_with(make_engine, generator=FakeGenerator()).generate(GenerateRequest("a boat")), Release)


def test_a_pack_without_previews_asks_for_none(make_engine: MakeEngine) -> None:
    from importlib import resources

    text = (resources.files("filigrana.safety") / "packs" / "platform.yaml").read_text("utf-8")
    pack = parse_pack("".join(line for line in text.splitlines(True) if not line.startswith("previews:")).encode())
    generator = Slow()
    outcome = engine_with(make_engine, FakeGuard("clip", BAD), generator=generator, pack=pack).generate(
        GenerateRequest("a boat")
    )
    assert outcome.code == "output.iwp"
    assert generator.made == 10


# ── when ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@given(st.lists(st.floats(0.001, 0.999), max_size=8), st.integers(1, 1000))
def test_previews_come_between_the_first_and_the_last_step(at: list[float], steps: int) -> None:
    due = Previews(tuple(at), lambda *_: None).due(steps)
    assert all(1 <= step < steps for step in due)
    assert len(due) <= len(at)


@given(st.floats(0, 1), st.floats(0, 1))
def test_only_scores_past_the_margin_stop(score: float, gore: float) -> None:
    judge = PreviewJudge(PLATFORM, [FakeGuard("clip", {"iwp": score, "gore": gore, "sub": 0.0})], 5.0, 10.0)
    stopped = False
    try:
        judge.look(3, 10, scene(1, 64, 64))
    except StoppedEarly:
        stopped = True
    assert stopped == (score >= 0.85 + 0.05 or gore >= 0.95 + 0.05)
    assert (judge.decision is not None) == stopped


# ── real pipelines ───────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.generate
def test_previews_of_the_embedded_model_come_to_look_like_its_picture() -> None:
    pytest.importorskip("torch", reason="needs the extra `generate`")
    from filigrana.pipeline.generators.base import Sampling
    from filigrana.pipeline.generators.diffusers import DiffusersGenerator
    from filigrana.pipeline.generators.embedded.shot import STEPS
    from filigrana.pipeline.generators.folder import EMBEDDED

    seen: list[Any] = []
    generator = DiffusersGenerator(EMBEDDED)
    look = Previews((0.1, 0.4, 0.7, 0.9), lambda step, steps, frame: seen.append((step, steps, frame)))
    sampling = Sampling("a red sailboat on a blue sea", 7)
    made = next(iter(generator.generate(sampling, lambda *_: None, look).frames)).rgb
    plain = next(iter(generator.generate(sampling, lambda *_: None).frames)).rgb
    assert np.array_equal(made, plain)  # looking changes nothing
    assert [(step, steps) for step, steps, _ in seen] == [(1, STEPS), (5, STEPS), (8, STEPS), (11, STEPS)]
    small = made.reshape(256, 2, 256, 2, 3).mean((1, 3))
    far = [float(np.abs(frame.astype(int) - small).mean()) for *_, frame in seen]
    assert far[0] > far[1] > far[3]
    assert far[1] < 12

    def stop(step: int, steps: int, _frame: Any) -> None:
        raise StoppedEarly(step, steps)

    with pytest.raises(StoppedEarly):
        generator.generate(sampling, lambda *_: None, Previews((0.4,), stop))
    again = next(iter(generator.generate(sampling, lambda *_: None).frames)).rgb
    assert np.array_equal(again, plain)  # and stopping leaves the model as it was
