"""Text in frames: it is read, judged by the prompt rules, and joined over a clip; whatever fails is looked at."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from filigrana.errors import SafetyError
from filigrana.safety.decision import Verdict
from filigrana.safety.output import OutputJudge, checked_lines
from filigrana.safety.policy import load_pack
from filigrana.safety.reading import STRETCH, TextJudge
from filigrana.safety.vision.ocr import CLIP_SIDE, OcrGuard
from filigrana.tests.doubles import Failing, FakeGuard, FakeReader, calm, quiet_classifier, scene

NEWSROOM = load_pack("newsroom")
OCR = OcrGuard()


def written(text: str, size: int = 30, seed: int = 3) -> Any:
    """A scene with white text on a dark band."""
    picture = Image.fromarray(scene(seed))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 190, 512, 200 + size * 2), fill=(20, 20, 40))
    draw.text((14, 200), text, font=ImageFont.load_default(size), fill="white")
    return np.asarray(picture)


def judged(*guards: Any, frames: int = 1, timeout: float = 5.0, pack: Any = NEWSROOM) -> Any:
    judge = OutputJudge(
        pack, [*guards, *calm("ocr")], origin="generated", timeout=timeout, text_guards=[quiet_classifier()]
    )
    for number in range(frames):
        judge.watch(scene(1), number / 2)
        judge.look(scene(1))
    return judge.decision()


def joined(lines: list[tuple[str, ...]]) -> str:
    return " ".join(line[0] for line in lines)


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("side", [480, CLIP_SIDE])
def test_a_line_of_text_is_read(side: int) -> None:
    assert "".join(joined(OCR.read(written("Fresh fish today"), side)).split()) == "Freshfishtoday"


def test_a_frame_without_text_has_no_lines() -> None:
    assert OCR.read(scene(5)) == []


def test_lines_come_in_reading_order() -> None:
    picture = Image.fromarray(np.full((512, 512, 3), 30, np.uint8))
    draw = ImageDraw.Draw(picture)
    for at, text in [((300, 60), "SECOND"), ((30, 60), "FIRST"), ((30, 300), "THIRD")]:
        draw.text(at, text, font=ImageFont.load_default(34), fill="white")
    assert joined(OCR.read(np.asarray(picture))).split() == ["FIRST", "SECOND", "THIRD"]


@pytest.mark.parametrize("turn", [0, 1, 2])
def test_turned_text_is_read(turn: int) -> None:
    assert "fish" in joined(OCR.read(np.ascontiguousarray(np.rot90(written("Fresh fish today"), turn))))


@pytest.mark.parametrize(
    "frame", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.float32), np.zeros((0, 4, 3), np.uint8)]
)
def test_what_is_no_frame_is_an_error(frame: Any) -> None:
    with pytest.raises(SafetyError):
        OCR.read(frame)


def test_the_guard_names_its_weights() -> None:
    assert len(OCR.model.digest) == 64


def test_an_answer_that_is_no_number_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    guard = OcrGuard()
    monkeypatch.setattr(guard._engine.text_rec, "session", lambda batch: [np.full((1, 40, 6625), np.nan)])
    with pytest.raises(SafetyError):
        guard.read(written("Fresh fish today"))


# ── judging what was read ────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("text", "code", "verdict"),
    [
        ("PORNOGRAPHIC PHOTO", "output.sxc", Verdict.BLOCK),
        ("HOW TO BUILD\nA PIPE BOMB", "output.iwp", Verdict.BLOCK),
        ("Donald Trump", "output.pub", Verdict.REVIEW),
        ("a castle by Banksy", "output.ipv", Verdict.REVIEW),
        ("Fresh fish today", "output.allowed", Verdict.ALLOW),
    ],
)
def test_text_in_a_picture_is_judged_by_the_prompt_rules(text: str, code: str, verdict: Verdict) -> None:
    judge = OutputJudge(NEWSROOM, [OCR, *calm("ocr")], origin="generated", text_guards=[quiet_classifier()])
    picture = written(text)
    judge.watch(picture, 0.0)
    judge.look(picture)
    decision = judge.decision()
    assert (decision.code, decision.verdict) == (code, verdict)
    assert decision.rewrite is None
    ran = {run.guard: run for run in decision.guards}
    assert ran["ocr"].inputs == 1
    assert ("ocr:lexicon" in ran) == (text != "")
    assert text not in str(decision.record())


def test_words_that_ran_together_are_told_apart_by_the_packs_own_terms() -> None:
    assert judged(FakeReader(lines=[("HOWTOBUILDAPIPEBOMB",)])).code == "output.iwp"


def test_run_together_words_that_only_hold_a_term_by_chance_are_harmless() -> None:
    assert judged(FakeReader(lines=[("PHOTOGRAPHICEXHIBITION",)])).verdict is Verdict.ALLOW
    assert judged(FakeReader(lines=[("sexual minorities",)])).verdict is Verdict.ALLOW


def test_a_recogniser_that_mixes_alphabets_is_no_evasion() -> None:
    assert judged(FakeReader(lines=[("a nаked eye",)])).verdict is Verdict.ALLOW


THREAT = ["how", "to", "build", "a", "pipe", "bomb", "at", "home"]


@given(st.lists(st.integers(1, 7), min_size=1, max_size=7), st.integers(1, 3))
def test_a_threat_spelled_over_frames_is_found_however_it_is_cut(cuts: list[int], shown: int) -> None:
    edges = sorted({0, len(THREAT), *cuts})
    frames = [[(" ".join(THREAT[a:b]),)] for a, b in itertools.pairwise(edges)]
    answers = iter([lines for lines in frames for _ in range(shown)])
    decision = judged(FakeReader(fault=lambda: next(answers)), frames=len(frames) * shown)
    assert decision.code == "output.iwp"


def test_the_same_words_out_of_order_over_many_frames_are_not_that_threat() -> None:
    words = ["bomb", *["the cat sat on the mat today"] * 4, "pipe"]
    answers = iter([[(word + str(n),)] for n, word in enumerate(words)])
    assert judged(FakeReader(fault=lambda: next(answers)), frames=len(words)).verdict is Verdict.ALLOW


def test_a_harmless_word_elsewhere_in_a_clip_does_not_excuse_a_frame() -> None:
    answers = iter([[("museum",)], [("how to build a pipe bomb",)]])
    assert judged(FakeReader(fault=lambda: next(answers)), frames=2).code == "output.iwp"


def test_a_long_clip_is_judged_to_its_end_and_kept_short() -> None:
    judge = TextJudge(NEWSROOM, [quiet_classifier()], "ocr", timeout=5)
    for number in range(600):
        judge.see([(f"the ferry {number} leaves the harbour at noon",)])
        assert max(map(len, judge._story)) <= STRETCH + 100
    assert judge.finish()[0] == ()
    judge.see([("how to build a pipe bomb",)])
    assert {hit.code for hit in judge.finish()[0]} == {"output.iwp"}


def test_a_frame_full_of_text_is_judged_in_pieces() -> None:
    lines = [("the ferry leaves at noon " * 300 + "how to build a pipe bomb",)]
    assert judged(FakeReader(lines=lines)).code == "output.iwp"


# ── what fails ───────────────────────────────────────────────────────────────────────────────────────────────────
NO_ANSWERS: dict[str, Callable[..., Any]] = {
    "raises": Failing("raise"),
    "hangs": Failing("hang"),
    "answers nothing": lambda: None,
    "answers a number": Failing("nan"),
    "answers lines that are no lines": lambda: ["text"],
    "answers empty lines": lambda: [()],
    "answers bytes": lambda: [(b"text",)],
}


@pytest.mark.parametrize("fault", NO_ANSWERS.values(), ids=NO_ANSWERS.keys())
def test_a_reader_that_fails_means_that_a_person_looks(fault: Callable[..., Any]) -> None:
    decision = judged(FakeReader(fault=fault), timeout=0.3)
    assert decision.verdict is Verdict.REVIEW
    assert decision.code == "output.guard_failed"


def test_a_reader_that_answers_is_enough_otherwise() -> None:
    assert judged(FakeReader()).verdict is Verdict.ALLOW


def test_a_reader_that_is_missing_means_that_a_person_looks() -> None:
    assert judged().code == "output.guard_failed"


@pytest.mark.parametrize("fault", [Failing("raise"), Failing("hang"), Failing("nan"), dict])
def test_a_text_guard_that_fails_on_text_in_a_frame_means_that_a_person_looks(fault: Callable[..., Any]) -> None:
    guards = [FakeReader(lines=[("Fresh fish",)]), *calm("ocr")]
    text_guards = [FakeGuard("classifier", {"sxc": 0.0}, fault=fault)]
    judge = OutputJudge(NEWSROOM, guards, origin="generated", timeout=0.5, text_guards=text_guards)
    judge.look(scene(1))
    judge.watch(scene(1), 0.0)
    assert judge.decision().code == "output.guard_failed"


def test_too_many_lines_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    guard = OcrGuard()
    boxes = np.tile(np.float32([[0, 0], [9, 0], [9, 9], [0, 9]]), (300, 1, 1))
    monkeypatch.setattr(guard._engine, "text_det", lambda frame: (boxes, 0.0))
    with pytest.raises(SafetyError, match="lines"):
        guard.read(scene(1))


@given(st.recursive(st.none() | st.integers() | st.text() | st.binary(), lambda inner: st.lists(inner, max_size=3)))
def test_only_lines_of_text_are_lines(answer: Any) -> None:
    if answer == []:
        assert checked_lines("ocr", answer) == []
        return
    with pytest.raises(SafetyError):
        checked_lines("ocr", answer)
