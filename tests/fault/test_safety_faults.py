"""The safety stage of prompts, broken in every way at every place: zero allows.

Each cell asks the judge, then the engine with the same parts. The verdict is review or block, or there is an error;
nothing is released. Each stage has a control that shows that it allows where nothing is broken. Output: see
test_safety_faults_output.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from filigrana.errors import FiligranaError
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.request import GenerateRequest, Release
from filigrana.safety.decision import Verdict
from filigrana.safety.guards.models import GUARDS
from filigrana.safety.guards.moderation import ModerationGuard
from filigrana.safety.judge import judge_text
from filigrana.safety.text import language
from filigrana.safety.text.classifier import CALIBRATION, NETWORK, OUTPUTS, PromptClassifier
from filigrana.safety.text.wordpieces import WordPieces
from filigrana.tests.doubles import FakeGuard
from filigrana.tests.fault.test_engine_stages import House, house, installation
from filigrana.tests.safety_kit import (
    ANSWERS,
    GOOD_CLIP,
    PROMPT,
    SHORT,
    Uncalibrated,
    Unnameable,
    classifier_in,
    good,
    network,
    pieces,
    policy,
    raising,
    recalibrated,
)  # fmt: skip

__all__ = ["house", "installation"]


def allows(house: House, guards: list[Any], pack: Any, prompt: str = PROMPT, timeout: float = 20.0) -> None:
    """The control."""
    decision = judge_text(prompt, pack, guards, timeout=timeout)
    assert decision.verdict is Verdict.ALLOW, (decision.code, decision.reasons)
    engine = house.make(text_guards=guards, pack=pack, guard_timeout=timeout)
    assert isinstance(engine.generate(GenerateRequest(prompt, seed=7)), Release)


def never_allows(house: House, guards: list[Any], pack: Any, prompt: str = PROMPT, timeout: float = 20.0) -> None:
    try:
        verdict = judge_text(prompt, pack, guards, timeout=timeout).verdict
    except Exception:
        verdict = None
    assert verdict in (None, Verdict.REVIEW, Verdict.BLOCK)
    try:
        outcome = house.make(text_guards=guards, pack=pack, guard_timeout=timeout).generate(
            GenerateRequest(prompt, seed=7)
        )
    except FiligranaError:
        outcome = None
    assert not isinstance(outcome, Release)
    house.assert_nothing_came_of_it()


# ── guards of others, and what the judge makes of any answer ─────────────────────────────────────────────────────
def test_a_guard_that_answers_lets_a_prompt_pass(house: House) -> None:
    allows(house, [FakeGuard("other", good())], policy("other"))


@pytest.mark.parametrize("answer", ANSWERS)
def test_no_answer_that_is_none_allows_a_prompt(house: House, answer: str) -> None:
    guard = FakeGuard("other", fault=ANSWERS[answer])
    never_allows(house, [guard], policy("other"), timeout=SHORT if answer.startswith("hang") else 20.0)


@pytest.mark.parametrize("kind", [Unnameable, Uncalibrated])
def test_a_guard_that_cannot_say_what_it_is_allows_nothing(house: House, kind: Callable[..., Any]) -> None:
    never_allows(house, [kind("other", good())], policy("other"))


def test_a_guard_that_is_not_there_allows_nothing(house: House) -> None:
    never_allows(house, [], policy("other"))


@pytest.mark.parametrize("name", GUARDS)
@pytest.mark.parametrize("damage", ["missing", "empty", "garbage"])
def test_a_guard_model_whose_folder_is_damaged_allows_nothing(
    house: House, tmp_path: Path, name: str, damage: str
) -> None:
    folder = tmp_path / "guard"
    if damage != "missing":
        folder.mkdir()
    if damage == "garbage":
        for file in ("config.json", "tokenizer.json", "model.safetensors"):
            (folder / file).write_bytes(b"{\x00 not at all")
    never_allows(house, [GUARDS[name](str(folder))], policy(name))


SERVER = """
import http.server, json, os, signal, sys, time
from filigrana.safety.guards import tables
how = sys.argv[1]
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        scores = dict.fromkeys(tables.MODERATION, 0.01)
        flags = dict.fromkeys(tables.MODERATION, False)
        if how == "missing hazard": scores.pop("sexual"); flags.pop("sexual")
        if how == "unknown hazard": scores["weather"], flags["weather"] = 0.01, False
        if how == "out of range": scores["sexual"] = -1
        if how == "not a number": scores["sexual"] = float("nan")
        if how == "wrong type": scores = list(scores.values())
        results = [] if how == "empty" else [{"flagged": False, "categories": flags, "category_scores": scores}]
        body = json.dumps({"id": "1", "model": "m", "results": results}).encode()
        if how == "killed before it answers": os.kill(os.getpid(), signal.SIGKILL)
        if how == "hang": time.sleep(60)
        self.send_response(500 if how == "error" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if how in ("killed in the middle", "truncated") else body)
        self.wfile.flush()
        if how == "killed in the middle": os.kill(os.getpid(), signal.SIGKILL)
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


@pytest.fixture
def endpoint(request: pytest.FixtureRequest) -> Iterator[ModerationGuard]:
    """A guard in another process, which fails as the parameter says."""
    process = subprocess.Popen([sys.executable, "-c", SERVER, request.param], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        port = int(process.stdout.readline())
        yield ModerationGuard(f"http://127.0.0.1:{port}/v1/moderations", seconds=1.0, pause=lambda _: None)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("endpoint", ["as it should"], indirect=True)
def test_a_guard_in_another_process_lets_a_prompt_pass(house: House, endpoint: ModerationGuard) -> None:
    allows(house, [endpoint], policy("moderation"))


@pytest.mark.parametrize(
    "endpoint",
    ["killed before it answers", "killed in the middle", "hang", "truncated", "error", "empty", "missing hazard",
     "unknown hazard", "out of range", "not a number", "wrong type"],
    indirect=True,
)  # fmt: skip
def test_a_guard_in_another_process_that_fails_allows_nothing(house: House, endpoint: ModerationGuard) -> None:
    never_allows(house, [endpoint], policy("moderation"))


# ── the classifier ───────────────────────────────────────────────────────────────────────────────────────────────
def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def turned(path: Path) -> None:
    """One bit."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def in_its_place(folder: Path) -> None:
    """A folder where the network was."""
    (folder / NETWORK).unlink()
    (folder / NETWORK).mkdir()


def bent(folder: Path, **curve: float) -> None:
    """A network that finds everything, and curves that would call it harmless."""
    classifier_in(folder, network(5.0), curves=dict.fromkeys(OUTPUTS, curve))


FOLDER: dict[str, Callable[[Path], Any]] = {
    "network missing": lambda f: (f / NETWORK).unlink(),
    "network truncated": lambda f: cut(f / NETWORK),
    "network truncated, and calibrated so": lambda f: classifier_in(f, network()[:900]),
    "network empty": lambda f: (f / NETWORK).write_bytes(b""),
    "network a folder": in_its_place,
    "network garbage": lambda f: classifier_in(f, b"\x08\x07 not at all"),
    "network of another kind, stale digest": lambda f: (f / NETWORK).write_bytes(network(-4.0)),
    "network changed by a bit": lambda f: turned(f / NETWORK),
    "network of another shape": lambda f: classifier_in(f, network(outputs=19)),
    "network says not a number": lambda f: classifier_in(f, network(float("nan"))),
    "network says infinity": lambda f: classifier_in(f, network(float("inf"))),
    "network says minus infinity": lambda f: classifier_in(f, network(float("-inf"))),
    "network says words": lambda f: classifier_in(f, network(answer=8)),
    "calibration missing": lambda f: (f / CALIBRATION).unlink(),
    "calibration truncated": lambda f: cut(f / CALIBRATION),
    "calibration empty": lambda f: (f / CALIBRATION).write_bytes(b""),
    "calibration a list": lambda f: (f / CALIBRATION).write_text("[]"),
    "calibration nested without end": lambda f: (f / CALIBRATION).write_text("[" * 100_000),
    "calibration not text": lambda f: (f / CALIBRATION).write_bytes(b"\xff\xfe\x00"),
    "calibration stale": lambda f: recalibrated(f, lambda d: d.update(digest="0" * 64)),
    "calibration without digest": lambda f: recalibrated(f, lambda d: d.pop("digest")),
    "calibration without a hazard": lambda f: recalibrated(f, lambda d: d["curves"].pop("sxc")),
    "calibration without `any`": lambda f: recalibrated(f, lambda d: d["curves"].pop("any")),
    "calibration with an unknown hazard": lambda f: recalibrated(f, lambda d: d["curves"].update(weather=d["curves"]["sxc"])),
    "calibration not a number": lambda f: recalibrated(f, lambda d: d["curves"]["sxc"].update(slope=float("nan"))),
    "calibration infinite": lambda f: recalibrated(f, lambda d: d["curves"]["sxc"].update(offset=float("-inf"))),
    "calibration flat": lambda f: bent(f, slope=0.0, offset=-9.0),
    "calibration falling": lambda f: bent(f, slope=-1.0, offset=0.0),
    "calibration of words": lambda f: recalibrated(f, lambda d: d["curves"]["sxc"].update(slope="steep")),
    "calibration of nothing": lambda f: recalibrated(f, lambda d: d["curves"]["sxc"].update(slope=None)),
}  # fmt: skip


def test_the_classifier_unbroken_lets_a_prompt_pass_and_its_network_is_what_answers(
    house: House, tmp_path: Path
) -> None:
    loud = PromptClassifier(classifier_in(tmp_path / "loud", network(5.0)), pieces())
    assert judge_text(PROMPT, policy("classifier"), [loud]).verdict is Verdict.BLOCK
    allows(house, [PromptClassifier(classifier_in(tmp_path / "quiet"), pieces())], policy("classifier"))


@pytest.mark.parametrize("damage", FOLDER)
def test_a_classifier_with_damaged_files_allows_nothing(house: House, tmp_path: Path, damage: str) -> None:
    folder = classifier_in(tmp_path / "prompts")
    FOLDER[damage](folder)
    never_allows(house, [PromptClassifier(folder, pieces())], policy("classifier"))


@pytest.mark.parametrize("keep", [0, 3, 40, 1_000_000, 9_000_000, 60_000_000, -1])
def test_word_pieces_that_are_cut_or_changed_allow_nothing(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: int
) -> None:
    """-1: whole, but for one bit in a table."""
    folder, broken = classifier_in(tmp_path / "prompts"), tmp_path / "e5.bin"
    data = bytearray(pieces()._path.read_bytes()[: None if keep < 0 else keep])
    if keep < 0:
        data[30_000_000] ^= 1
    broken.write_bytes(data)
    monkeypatch.setattr(WordPieces, "installed", classmethod(lambda cls: cls(broken)))
    never_allows(house, [PromptClassifier(folder)], policy("classifier"))


def test_word_pieces_that_are_missing_allow_nothing(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = classifier_in(tmp_path / "prompts")
    monkeypatch.setattr(WordPieces, "installed", classmethod(lambda cls: cls(tmp_path / "none.bin")))
    never_allows(house, [PromptClassifier(folder)], policy("classifier"))


def test_a_table_that_ends_too_early_is_never_read_past_its_end(tmp_path: Path) -> None:
    import numpy as np

    broken = tmp_path / "e5.bin"
    broken.write_bytes(pieces()._path.read_bytes()[:9_000_000])
    with pytest.raises(FiligranaError):
        WordPieces(broken).rows("emb.word", np.array([200_000], np.int64), 384)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError(), "hang", "nothing", "two answers"], ids=str)
def test_a_network_that_fails_while_it_runs_allows_nothing(house: House, tmp_path: Path, error: Any) -> None:
    guard = PromptClassifier(classifier_in(tmp_path / "prompts"), pieces())

    class Session:
        def run(self, *_: Any) -> Any:
            if isinstance(error, Exception):
                raise error
            if error == "hang":
                time.sleep(60)
            return [] if error == "nothing" else [0, 1]

    guard.__dict__["_session"] = Session()
    never_allows(house, [guard], policy("classifier"), timeout=SHORT * 3 if error == "hang" else 20.0)


# ── the lexicon ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_lexicon_lets_a_prompt_pass(house: House) -> None:
    allows(house, [], policy())


@pytest.mark.parametrize(
    "search",
    [raising(RuntimeError()), raising(MemoryError()), raising(SystemExit()), lambda: time.sleep(60), lambda: None,
     lambda: ["bad"], lambda: 7, lambda: [None]],
    ids=["exception", "memory error", "exit", "hang", "nothing", "words", "a number", "no match"],
)  # fmt: skip
def test_a_lexicon_that_fails_allows_nothing(
    house: House, search: Callable[[], Any], request: pytest.FixtureRequest
) -> None:
    pack = policy()

    class Broken:
        def search(self, _text: str) -> Any:
            return search()

    pack.__dict__["lexicon"] = Broken()  # where the compiled lists are kept
    never_allows(house, [], pack, timeout=SHORT if "hang" in request.node.name else 20.0)


# ── language ─────────────────────────────────────────────────────────────────────────────────────────────────────
class Found:
    def __init__(self, name: Any = "en", probability: Any = 0.999, reliable: Any = True) -> None:
        self.language, self.probability, self.is_reliable = name, probability, reliable


LANGUAGES: dict[str, Callable[[], Any]] = {
    "exception": raising(RuntimeError()),
    "memory error": raising(MemoryError()),
    "exit": raising(SystemExit()),
    "hang": lambda: time.sleep(60),
    "nothing": lambda: None,
    "not a number": lambda: Found(probability=float("nan")),
    "infinity": lambda: Found(probability=float("inf")),
    "below zero": lambda: Found(probability=-1.0),
    "empty": lambda: Found(""),
    "wrong type": lambda: Found(7),
    "probability in words": lambda: Found(probability="high"),
    "missing": lambda: object(),
    "another language": lambda: Found("pl"),
}


def test_a_prompt_in_a_language_of_the_policy_passes(house: House) -> None:
    allows(house, [], policy(), "un bateau rouge sur une mer bleue")


def test_a_prompt_in_another_language_is_held(house: House) -> None:
    never_allows(house, [], policy(), "czerwona żaglówka na błękitnym morzu pod zachodzącym słońcem")
    never_allows(house, [], policy(), "красная лодка на синем море")


@pytest.mark.parametrize("fault", LANGUAGES)
def test_a_detector_that_fails_allows_nothing(house: House, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    class Detector:
        def FindLanguage(self, text: str) -> Any:  # noqa: N802  as gcld3 has it
            return LANGUAGES[fault]()

    monkeypatch.setattr(language, "_detector", Detector)
    never_allows(house, [], policy(), timeout=SHORT if fault == "hang" else 20.0)


def test_a_detector_that_is_not_installed_allows_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    language._detector.cache_clear()
    monkeypatch.setitem(sys.modules, "gcld3", None)
    never_allows(house, [], policy())
    language._detector.cache_clear()


# ── SIGKILL of the process that judges ───────────────────────────────────────────────────────────────────────────
KILLED = """
import os, signal, sys
from pathlib import Path
from filigrana.pipeline.engine import Engine
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.parts import Parts
from filigrana.pipeline.request import GenerateRequest
from filigrana.pipeline.settings import load_settings
from filigrana.tests.doubles import FakeGenerator, FakeGuard, calm, quiet_classifier
side, house = sys.argv[2], Installation(load_settings(data_dir=Path(sys.argv[1])))
die = lambda: os.kill(os.getpid(), signal.SIGKILL)
clip = FakeGuard("clip", %r, fault=die if side == "output" else None)
seeing = [*calm("clip"), clip]
engine = Engine(Parts(
    ledger=house.ledger, pack=house.pack, generator=FakeGenerator(),
    text_guards=[FakeGuard("other", fault=die if side == "prompt" else None), quiet_classifier()],
    frame_guards=lambda _: seeing, finisher=house.finisher, staging=house.staging,
    store=house.store, clock=house.clock))
print(type(engine.generate(GenerateRequest(%r, seed=7))).__name__)
""" % (GOOD_CLIP, PROMPT)  # noqa: UP031  braces are part of the program


@pytest.mark.parametrize("side", ["prompt", "output", "nowhere"])
def test_a_process_killed_while_a_guard_judges_releases_nothing(
    installation: Installation, house: House, side: str
) -> None:
    words = [sys.executable, "-c", KILLED, str(installation.folder), side]
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ, timeout=120, check=False)
    if side == "nowhere":  # the control
        assert (done.returncode, done.stdout) == (0, "Release\n"), done.stderr
        return
    assert done.returncode == -9, done.stderr
    house.make().recover()
    house.assert_nothing_came_of_it({"abandoned"})
