"""The prompt classifier that ships: a probability by hazard for a prompt in any of ten languages, on a CPU.

The lower layers of multilingual E5 small, tuned on paired prompts of our own (`training/prompts`), as 8-bit ONNX. A
prompt that is longer than a window is judged window by window, and the worst counts; nothing is cut off. Where
another reading of the prompt (see :mod:`.views`) is closer to language than what was typed, it is judged as well.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import SafetyError
from ..decision import HAZARDS, ModelRef
from .language import likely_readings
from .wordpieces import WordPieces, models_folder

NETWORK, CALIBRATION = "classifier.onnx", "calibration.json"
ANY = "any"
OUTPUTS = (*HAZARDS, ANY)
WINDOW, STRIDE = 126, 96
"""Word pieces that are judged at once, without begin and end, and how far the next window starts."""
SHORT_WINDOW, SHORT_STRIDE, LONG = 32, 16, 40
"""Prompts of more than ``LONG`` pieces are judged in short windows as well: among many harmless sentences, one that is
not weighs little."""
_PREFIX = "query: "


class PromptClassifier:
    """Text guard `classifier`. Weights are loaded at the first prompt. Raises SafetyError for weights that are missing
    or not those that the calibration was fitted for, and for an answer that is not finite."""

    name = "classifier"
    raw = True  # reads the prompt as it was typed: what cleaning removes is where words hide

    def __init__(self, folder: Path | None = None, pieces: WordPieces | None = None, threads: int = 2) -> None:
        self._folder, self._threads = folder or models_folder(), threads
        if pieces is not None:
            self.__dict__["_pieces"] = pieces

    @cached_property
    def _pieces(self) -> WordPieces:
        return WordPieces.installed()

    @cached_property
    def _network(self) -> bytes:
        try:
            return (self._folder / NETWORK).read_bytes()
        except OSError as error:
            raise SafetyError("the prompt classifier's weights are missing", code="safety.missing") from error

    @cached_property
    def digest(self) -> str:
        """sha256 (hex) of the network and the word pieces: what a calibration belongs to."""
        return hashlib.sha256(self._network + bytes.fromhex(self._pieces.digest)).hexdigest()

    @property
    def model(self) -> ModelRef:
        return ModelRef("filigrana-prompts", "1", self.digest)

    @cached_property
    def _calibration(self) -> tuple[dict[str, tuple[float, float]], str]:
        try:
            raw = (self._folder / CALIBRATION).read_bytes()
            data = json.loads(raw)
            curves = {name: (float(c["slope"]), float(c["offset"])) for name, c in data["curves"].items()}
            fitted_for = data["digest"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise SafetyError("the prompt classifier is not calibrated", code="safety.uncalibrated") from error
        if fitted_for != self.digest or set(curves) != set(OUTPUTS):
            raise SafetyError(
                "the prompt classifier's calibration is for other weights", code="safety.stale_calibration"
            )
        # A curve that falls, or is flat, calls what is worse harmless.
        if (
            not all(math.isfinite(v) for curve in curves.values() for v in curve)
            or min(c[0] for c in curves.values()) <= 0
        ):
            raise SafetyError("the prompt classifier's calibration is no rising curve", code="safety.uncalibrated")
        return curves, hashlib.sha256(raw).hexdigest()

    @property
    def calibration_digest(self) -> str:
        """sha256 (hex) of the calibration in use."""
        return self._calibration[1]

    @cached_property
    def _session(self) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.log_severity_level = 3
        try:
            return onnxruntime.InferenceSession(self._network, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has no base class for what it raises
            raise SafetyError("the prompt classifier's weights cannot be loaded", code="safety.missing") from error

    def windows(self, text: str) -> list[list[int]]:
        """The ids of every window, begin and end included: together they hold all pieces of the text."""
        pieces = self._pieces
        ids = pieces.tokens(_PREFIX + text)
        prefix = pieces.tokens(_PREFIX)
        found = [ids[start : start + WINDOW] for start in _starts(len(ids), WINDOW, STRIDE)]
        if len(ids) > LONG:
            starts = _starts(len(ids), SHORT_WINDOW, SHORT_STRIDE)
            found += [[*(prefix if start else ()), *ids[start : start + SHORT_WINDOW]] for start in starts]
        return [[pieces.begin, *window, pieces.end] for window in found]

    def logits(self, text: str) -> NDArray[np.float32]:
        """float32 (20,): the highest over all windows, by hazard and for `any`."""
        width = self._pieces.shape.width
        worst = np.full(len(OUTPUTS), -np.inf, np.float32)
        # One at a time: without padding, a window's answer does not depend on its neighbours, and memory is bounded.
        for ids in self.windows(text):
            words = self._pieces.rows("emb.word", np.array(ids, np.int64), width)[None]
            mask = np.ones((1, len(ids)), bool)
            (answer,) = self._session.run(None, {"words": words, "mask": mask})
            if answer.shape != (1, len(OUTPUTS)):
                raise SafetyError("the prompt classifier gave an answer of another shape", code="safety.shape")
            if not np.isfinite(answer).all():
                raise SafetyError("the prompt classifier's answer is not finite", code="safety.not_a_number")
            worst = np.maximum(worst, answer[0])
        return worst

    def score(self, text: str) -> Mapping[str, float]:
        curves, _ = self._calibration
        worst: dict[str, float] = {}
        for reading in likely_readings(text, self._pieces):
            for name, logit in zip(OUTPUTS, self.logits(reading), strict=True):
                slope, offset = curves[name]
                worst[name] = max(worst.get(name, 0.0), _sigmoid(slope * float(logit) + offset))
        anything = worst.pop(ANY)
        # What is wrong for certain, but of no one kind for certain, is named by its likeliest kind.
        likeliest = max(worst, key=lambda hazard: worst[hazard])
        worst[likeliest] = max(worst[likeliest], anything)
        return worst


def _starts(count: int, window: int, stride: int) -> range:
    return range(0, max(1, count - window + stride), stride)


def _sigmoid(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-max(-60.0, min(60.0, value))))
