"""What the fault tests of safety break: a small policy, a prompt classifier with a tiny real network, and answers that
are none."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from filigrana.safety.decision import ModelRef
from filigrana.safety.policy import Pack
from filigrana.safety.text.classifier import CALIBRATION, NETWORK, OUTPUTS, PromptClassifier
from filigrana.safety.text.wordpieces import WordPieces
from filigrana.tests.doubles import FakeGuard
from filigrana.tests.packs import pack_of, small

PROMPT = "a red sailboat on a blue sea"
SHORT = 0.4
"""Seconds that a guard gets where it is made to hang."""
GOOD_CLIP = {"iwp": 0.01, "gore": 0.01, "sub": 0.01}


def document(*prompt_guards: str, **changes: Any) -> dict[str, Any]:
    """A policy that reads two hazards of each of these guards, and of the guards of pictures."""
    made = small(languages=["en", "fr"], **changes)
    made["requires"] = {
        "prompt": ["lexicon", *prompt_guards], "generated": ["nsfw", "clip"], "sealed": ["nsfw", "clip"],
    }  # fmt: skip
    read = [("prompt", guard, hazard) for guard in prompt_guards for hazard in ("sxc", "vcr")]
    read += [("output", "nsfw", "sxc"), ("output", "clip", "gore"), ("output", "clip", "iwp")]
    for number, (side, guard, hazard) in enumerate(read, 10):
        made["rules"].append({
            "id": f"TS-{number:03}", "title": "a score", "hazard": hazard, "side": side, "verdict": "block",
            "reason": "because of the score", "score": {"guard": guard, "at_least": 0.99 if side == "output" else 0.5},
        })  # fmt: skip
    return made


def policy(*prompt_guards: str) -> Pack:
    return pack_of(document(*prompt_guards))


# ── the classifier ───────────────────────────────────────────────────────────────────────────────────────────────
@cache
def pieces() -> WordPieces:
    return WordPieces.installed()


def network(bias: float = -5.0, outputs: int = len(OUTPUTS), answer: int = TensorProto.FLOAT) -> bytes:
    """A real network with the inputs and outputs of the one that ships: every logit is ``bias``. ``answer``: its type."""
    floats = TensorProto.FLOAT
    nodes = [
        helper.make_node("ReduceMean", ["words"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["mean", "weights"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["sum"]),
        helper.make_node("Cast", ["sum"], ["logits"], to=answer),
    ]
    graph = helper.make_graph(
        nodes, "tiny",
        [helper.make_tensor_value_info("words", floats, [1, "n", 384]),
         helper.make_tensor_value_info("mask", TensorProto.BOOL, [1, "n"])],
        [helper.make_tensor_value_info("logits", answer, [1, outputs])],
        [numpy_helper.from_array(np.zeros((384, outputs), np.float32), "weights"),
         numpy_helper.from_array(np.full(outputs, bias, np.float32), "bias")],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    made.ir_version = 8
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


def classifier_in(folder: Path, weights: bytes | None = None, **changes: Any) -> Path:
    """Writes network and matching calibration. ``changes``: of the calibration."""
    folder.mkdir(exist_ok=True)
    (folder / NETWORK).write_bytes(network() if weights is None else weights)
    digest = PromptClassifier(folder, pieces()).digest
    curves = {name: {"slope": 1.0, "offset": 0.0} for name in OUTPUTS}
    (folder / CALIBRATION).write_text(json.dumps({"digest": digest, "curves": curves} | changes))
    return folder


def recalibrated(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    data = json.loads((folder / CALIBRATION).read_text())
    change(data)
    (folder / CALIBRATION).write_text(json.dumps(data))


# ── answers that are none ────────────────────────────────────────────────────────────────────────────────────────
class Endless(Mapping[str, float]):
    """A mapping whose reading never ends."""

    def __getitem__(self, key: str) -> float:
        return 0.01

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[str]:
        time.sleep(60)
        return iter(("sxc",))

    def __bool__(self) -> bool:
        return True


def raising(error: BaseException) -> Callable[[], Any]:
    def answer() -> Any:
        raise error

    return answer


def good(**changes: Any) -> dict[str, Any]:
    return {"sxc": 0.01, "vcr": 0.01, "gore": 0.01, "iwp": 0.01} | changes


ANSWERS: dict[str, Callable[[], Any]] = {
    "exception": raising(RuntimeError("told to fail")),
    "memory error": raising(MemoryError()),
    "exit": raising(SystemExit(0)),
    "interrupt": raising(KeyboardInterrupt()),
    "end of iteration": raising(StopIteration()),
    "hang": lambda: time.sleep(60),
    "hang while it is read": Endless,
    "not a number": lambda: good(sxc=float("nan")),
    "not a number in one hazard that no rule reads": lambda: good(hte=float("nan")),
    "infinity": lambda: good(sxc=float("inf")),
    "minus infinity": lambda: good(sxc=float("-inf")),
    "nothing": lambda: None,
    "empty": dict,
    "missing hazards": lambda: {"hte": 0.01},
    "unknown hazard": lambda: good(weather=0.1),
    "above one": lambda: good(sxc=1.5),
    "below zero": lambda: good(sxc=-0.01),
    "a number": lambda: 0.01,
    "words": lambda: good(sxc="0.01"),
    "yes or no": lambda: good(sxc=False),
    "no score": lambda: good(sxc=None),
    "an array as score": lambda: good(sxc=np.zeros(2)),
    "an array": lambda: np.zeros(4),
    "a list": lambda: [0.01, 0.01, 0.01, 0.01],
    "pairs, of which one hides another": lambda: [("sxc", 0.99), *good().items()],
    "a text": lambda: json.dumps(good()),
    "an iterator": lambda: itertools.repeat(0.01),
}  # fmt: skip
"""By what is wrong with it; each would be harmless if it were believed."""


class Unnameable(FakeGuard):
    """Answers, but cannot say what it is."""

    @property  # type: ignore[override]
    def model(self) -> ModelRef:
        raise OSError("the weights are gone")

    @model.setter
    def model(self, _value: Any) -> None: ...


class Uncalibrated(FakeGuard):
    @property
    def calibration_digest(self) -> str:
        raise OSError("the calibration is gone")
