"""The output guards that ship: real weights, real scores, and refusal to answer when calibration is not theirs."""

from __future__ import annotations

import json
import shutil
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from filigrana.errors import SafetyError
from filigrana.pipeline.guards import frame_guards
from filigrana.provenance.media.files import picture_from_bytes
from filigrana.safety.decision import Verdict, checked_scores
from filigrana.safety.output import OutputJudge
from filigrana.safety.policy import load_pack
from filigrana.safety.vision.clip import CALIBRATION, LABELS, WEIGHTS, ClipGuard
from filigrana.safety.vision.frames import EVERY_SECONDS, sample
from filigrana.safety.vision.nsfw import NsfwGuard
from filigrana.tests.doubles import FakeGuard, scene

PHOTO = picture_from_bytes((resources.files("filigrana.pipeline.cli") / "photo.jpg").read_bytes())
MODELS = Path(str(resources.files("filigrana.models"))) / "clip"


# ── nsfw ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_nsfw_guard_finds_a_cat_harmless_and_names_its_weights() -> None:
    guard = NsfwGuard()
    assert dict(checked_scores("nsfw", dict(guard.score(PHOTO))))["sxc"] < 0.2
    assert len(guard.model.digest) == 64


def test_a_photograph_is_allowed_by_both_packs(tmp_path: Path) -> None:
    for name in ("newsroom", "platform"):
        pack = load_pack(name)
        judge = OutputJudge(pack, frame_guards(pack.requires.sealed, tmp_path), origin="sealed")
        judge.watch(PHOTO, 0.0)
        judge.look(PHOTO)
        assert judge.decision().verdict is Verdict.ALLOW


# ── clip ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture(scope="module")
def guard() -> ClipGuard:
    pytest.importorskip("torch", reason="needs the extra `generate`")
    from filigrana.pipeline.torch_compat import ready

    ready()
    return ClipGuard.embedded()


@pytest.fixture
def copied(guard: ClipGuard, tmp_path: Path) -> Path:
    folder = tmp_path / "clip"
    shutil.copytree(MODELS, folder)
    return folder


@pytest.mark.generate
def test_the_shipped_calibration_is_for_the_shipped_weights(guard: ClipGuard) -> None:
    scores = dict(checked_scores("clip", dict(guard.score(scene(1)))))
    assert set(scores) == {"iwp", "gore", "sub"}
    held_out = json.loads((MODELS / CALIBRATION).read_text())["held_out"]
    assert set(held_out) == set(scores)


@pytest.mark.generate
@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda f: (f / CALIBRATION).unlink(), "safety.uncalibrated"),
        (lambda f: (f / CALIBRATION).write_text("{}"), "safety.uncalibrated"),
        (lambda f: (f / CALIBRATION).write_text(edit(f, digest="0" * 64)), "safety.stale_calibration"),
        (lambda f: (f / CALIBRATION).write_text(edit(f, curves={})), "safety.stale_calibration"),
        (lambda f: (f / LABELS).write_text((f / LABELS).read_text().replace("a pistol", "a spoon")), "safety.stale_calibration"),
        (lambda f: (f / LABELS).write_text("[]"), "safety.labels"),
        (lambda f: (f / LABELS).write_text((f / LABELS).read_text().replace("{}", "x")), "safety.labels"),
        (lambda f: (f / WEIGHTS).unlink(), "safety.missing"),
        (lambda f: (f / CALIBRATION).write_text(edit(f, curves=sloped(f, 0.0))), "safety.uncalibrated"),
        (lambda f: (f / CALIBRATION).write_text(edit(f, curves=sloped(f, -1.0))), "safety.uncalibrated"),
    ],
)  # fmt: skip
def test_a_guard_whose_calibration_is_not_its_own_refuses_to_answer(copied: Path, change: object, code: str) -> None:
    change(copied)  # type: ignore[operator]
    with pytest.raises(SafetyError) as caught:
        ClipGuard(copied).score(scene(1))
    assert caught.value.code in (code, "safety.stale_calibration")


def edit(folder: Path, **changes: object) -> str:
    return json.dumps(json.loads((folder / CALIBRATION).read_text()) | changes)


def sloped(folder: Path, factor: float) -> dict[str, dict[str, float]]:
    """The curves, flat or falling: they would call harm harmless."""
    curves = json.loads((folder / CALIBRATION).read_text())["curves"]
    return {hazard: curve | {"slope": factor * curve["slope"]} for hazard, curve in curves.items()}


@pytest.mark.generate
def test_a_stale_calibration_ends_in_review(copied: Path) -> None:
    (copied / CALIBRATION).write_text(edit(copied, digest="0" * 64))
    judge = OutputJudge(load_pack("newsroom"), [FakeGuard("nsfw"), ClipGuard(copied)], origin="generated")
    judge.look(scene(1))
    assert judge.decision().verdict is Verdict.REVIEW
    assert judge.decision().code == "output.guard_failed"


@pytest.mark.generate
def test_agreement_is_a_cosine(guard: ClipGuard) -> None:
    assert -1.0 <= guard.agreement("a red sailboat", scene(1)) <= 1.0


# ── which frames are judged ──────────────────────────────────────────────────────────────────────────────────────
def still(count: int, rate: float = 24.0) -> list[tuple[np.ndarray, float]]:
    return [(scene(1, 64, 64), number / rate) for number in range(count)]


def test_the_first_and_the_last_frame_are_always_judged() -> None:
    frames = [(np.full((64, 64, 3), number, np.uint8), number / 24) for number in range(31)]
    seen = [int(frame[0, 0, 0]) for frame in sample(frames)]
    assert seen[0] == 0
    assert seen[-1] == 30


def test_a_uniform_rate_is_kept_between_them() -> None:
    assert len(list(sample(still(25)))) == int(1 / EVERY_SECONDS) + 1


def test_a_single_strange_frame_in_the_middle_is_judged() -> None:
    """One frame of something else, shorter than the uniform rate would see."""
    frames = still(20)
    frames[7] = (np.full((64, 64, 3), 255, np.uint8), 7 / 24)
    assert any(frame.min() == 255 for frame in sample(frames))


def test_no_frames_give_no_sample() -> None:
    assert list(sample([])) == []
