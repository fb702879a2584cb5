"""A clip as a sequence: flashes after WCAG 2.3.1, and odd frames that are never sampled away."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filigrana.safety.decision import Verdict
from filigrana.safety.output import OutputJudge
from filigrana.safety.policy import load_pack
from filigrana.safety.vision.flashes import FlashGuard
from filigrana.safety.vision.frames import sample
from filigrana.tests.doubles import Failing, calm, scene

BLACK, WHITE, RED = (0, 0, 0), (255, 255, 255), (255, 0, 0)


def flat(colour: tuple[int, int, int], share: float = 1.0) -> Any:
    """A 64 x 64 frame whose upper ``share`` has the colour; the rest is dark grey."""
    frame = np.full((64, 64, 3), 30, np.uint8)
    frame[: round(64 * share)] = colour
    return frame


def score(colours: Any, hertz: float, *, seconds: float = 2.0, rate: int = 30, share: float = 1.0) -> float:
    """Of a clip that alternates between two colours, ``hertz`` times a second."""
    watch = FlashGuard().watch()
    for number in range(round(seconds * rate)):
        at = number / rate
        watch.see(flat(colours[int(at * hertz * 2 + 1e-9) % 2], share), at)
    return watch.scores()["seq"]


@pytest.mark.parametrize("colours", [(BLACK, WHITE), (WHITE, BLACK), ((0, 0, 0), RED), ((40, 40, 40), (200, 200, 200))])
def test_more_than_three_flashes_a_second_are_found(colours: Any) -> None:
    assert score(colours, 5.0) >= 0.5
    assert score(colours, 2.0) < 0.5


@pytest.mark.parametrize("hertz", [4.5, 7.0, 10.0, 15.0])
def test_fast_flashes_are_found(hertz: float) -> None:
    assert score((BLACK, WHITE), hertz) >= 0.5


def test_small_flashes_are_allowed_and_a_quarter_is_not_small() -> None:
    assert score((BLACK, WHITE), 6, share=0.2) < 0.5
    assert score((BLACK, WHITE), 6, share=0.3) >= 0.5


def test_bright_pictures_that_stay_bright_do_not_flash() -> None:
    assert score(((240, 240, 240), (255, 255, 255)), 8) < 0.5


def test_little_changes_are_no_flashes() -> None:
    assert score(((90, 90, 90), (100, 100, 100)), 8) == 0.0


def test_a_red_flash_counts_though_its_luminance_hardly_changes() -> None:
    grey = round(255 * ((0.2126) ** (1 / 2.2)))
    assert score((RED, (grey, grey, grey)), 5) >= 0.5


def test_one_cut_after_another_and_a_fade_are_no_flashes() -> None:
    watch = FlashGuard().watch()
    for number in range(60):
        watch.see(flat((number * 4,) * 3), number / 30)
    assert watch.scores()["seq"] < 0.2


def test_a_change_spread_over_frames_counts() -> None:
    watch = FlashGuard().watch()
    for number in range(120):
        level = round(127 + 127 * math.sin(number / 60 * 2 * math.pi * 5))
        watch.see(flat((level,) * 3), number / 60)
    assert watch.scores()["seq"] >= 0.5


@given(st.lists(st.integers(0, 255), min_size=1, max_size=40), st.floats(1, 120))
def test_scores_are_probabilities_whatever_comes(levels: list[int], rate: float) -> None:
    watch = FlashGuard().watch()
    for number, level in enumerate(levels):
        watch.see(flat((level, level, 255 - level)), number / rate)
    assert 0 <= watch.scores()["seq"] <= 1


def test_a_watch_holds_little() -> None:
    watch = FlashGuard().watch()
    for number in range(3000):
        watch.see(flat(BLACK if number % 2 else WHITE), number / 60)
    assert len(watch._general._changes) <= 62


@pytest.mark.parametrize("name", ["newsroom", "platform"])
def test_a_flashing_clip_is_not_released(name: str) -> None:
    judge = OutputJudge(load_pack(name), [FlashGuard(), *calm("flashes")], origin="sealed")
    for number in range(60):
        judge.watch(flat(BLACK if number % 6 < 3 else WHITE), number / 30)
    judge.look(flat(BLACK))
    decision = judge.decision()
    assert decision.code == "output.seq"
    assert decision.verdict is (Verdict.BLOCK if name == "platform" else Verdict.REVIEW)


class Broken:
    """A guard of the sequence that fails where it is told to."""

    name, model = "flashes", None

    def __init__(self, where: str, how: Any) -> None:
        self._where, self._how = where, how

    def watch(self) -> Any:
        return self._how() if self._where == "watch" else self

    def see(self, frame: Any, seconds: float) -> None:
        if self._where == "see":
            self._how()

    def scores(self) -> Any:
        return self._how() if self._where == "scores" else {"seq": 0.0}


@pytest.mark.parametrize(
    ("where", "how"),
    [("watch", "raise"), ("watch", "hang"), ("watch", "none"), ("see", "raise"), ("see", "hang"),
     ("scores", "raise"), ("scores", "hang"), ("scores", "nan"), ("scores", "none")],
)  # fmt: skip
def test_a_guard_of_the_sequence_that_fails_means_that_a_person_looks(where: str, how: str) -> None:
    judge = OutputJudge(
        load_pack("platform"), [Broken(where, Failing(how)), *calm("flashes")], origin="sealed", timeout=0.3
    )
    judge.watch(flat(BLACK), 0.0)
    judge.look(flat(BLACK))
    assert judge.decision().code == "output.guard_failed"


def test_one_that_works_does_not_and_one_that_saw_nothing_does() -> None:
    for watched in (True, False):
        judge = OutputJudge(load_pack("platform"), [Broken("", None), *calm("flashes")], origin="sealed")
        if watched:
            judge.watch(flat(BLACK), 0.0)
        judge.look(flat(BLACK))
        assert (judge.decision().verdict is Verdict.ALLOW) == watched


# ── odd frames ───────────────────────────────────────────────────────────────────────────────────────────────────
def clip(count: int, odd: dict[int, Any]) -> list[tuple[Any, float]]:
    return [(odd.get(number, scene(1, 96, 96)), number / 30) for number in range(count)]


def sampled(frames: list[tuple[Any, float]]) -> list[int]:
    chosen = [id(frame) for frame in sample(frames)]
    return [number for number, (frame, _) in enumerate(frames) if id(frame) in chosen]


def patched(size: int) -> Any:
    frame = scene(1, 96, 96)
    frame[30 : 30 + size, 40 : 40 + size] = (250, 250, 0)
    return frame


@given(st.integers(1, 43), st.integers(1, 2), st.sampled_from([12, 20, 60]))
def test_one_or_two_odd_frames_are_always_judged(at: int, length: int, size: int) -> None:
    odd = {number: patched(size) for number in range(at, at + length)}
    assert set(odd) <= set(sampled(clip(46, odd)))


def test_a_still_clip_is_judged_at_the_uniform_rate_only() -> None:
    assert sampled(clip(46, {})) == [0, 15, 30, 45]


def test_words_that_appear_and_stay_are_judged_at_once() -> None:
    frames = clip(46, {number: patched(14) for number in range(4, 10)})
    chosen = sampled(frames)
    assert any(4 <= number < 10 for number in chosen)


def test_something_that_moves_all_the_time_is_judged_at_the_uniform_rate() -> None:
    frames = []
    for number in range(45):
        frame = scene(1, 96, 96)
        frame[40:60, 2 * number : 2 * number + 6] = 255
        frames.append((frame, number / 30))
    assert len(list(sample(frames))) <= 8


@given(st.lists(st.integers(0, 3), max_size=40))
def test_samples_come_in_order_with_the_first_and_the_last(kinds: list[int]) -> None:
    frames = [(np.full((16, 16, 3), kind * 60, np.uint8), number / 30) for number, kind in enumerate(kinds)]
    chosen = sampled(frames)
    assert chosen == sorted(chosen)
    assert (chosen[:1], chosen[-1:]) == (([0], [len(kinds) - 1]) if kinds else ([], []))
