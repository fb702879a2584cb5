"""Frame guard `clip` over any open_clip model, for real pictures: an architecture and its weights by tag, or a folder.

The phrasings lie in `phrasings/general.yaml`; each hazard has look-alikes of its own. Nobody can ship a calibration for
a model that is chosen later: `filigrana safety calibrate` fits it on an organisation's own pictures. Until then, and
after any change of weights or phrasings, the guard refuses to answer, which means that a person looks.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from ...errors import SafetyError
from ..decision import HAZARDS, ModelRef
from .clip import CONFIG, WEIGHTS, ClipGuard

CALIBRATION_FILE = "clip-calibration.json"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


@dataclass(frozen=True)
class Wording:
    """``positive`` and ``negative`` by hazard id; ``safe``: ordinary things, the negatives of every hazard."""

    positive: Mapping[str, tuple[str, ...]]
    negative: Mapping[str, tuple[str, ...]]
    safe: tuple[str, ...]
    templates: tuple[str, ...]


def read_wording(data: bytes) -> Wording:
    """Raises SafetyError for what is not at least 8 phrasings in 3 templates with look-alikes for known hazards."""
    try:
        found = yaml.safe_load(data)
        hazards = found["hazards"]
        wording = Wording(
            {hazard: tuple(map(str, each["positive"])) for hazard, each in hazards.items()},
            {hazard: tuple(map(str, each["negative"])) for hazard, each in hazards.items()},
            tuple(map(str, found["safe"])),
            tuple(map(str, found["templates"])),
        )
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise SafetyError("the phrasings cannot be read", code="safety.labels") from error
    whole = (
        wording.positive
        and set(wording.positive) <= set(HAZARDS)
        and all(len(set(texts)) >= 8 for texts in wording.positive.values())
        and all(wording.negative.values())
        and wording.safe
        and len(wording.templates) >= 3
        and all(text.count("{}") == 1 for text in wording.templates)
    )
    if not whole:
        raise SafetyError("the phrasings are incomplete", code="safety.labels")
    return wording


class GeneralClipGuard(ClipGuard):
    """``source``: `ARCHITECTURE:TAG` as open_clip lists them, or a folder with open_clip's config and safetensors.
    ``calibration_file``: where the fitted curves lie."""

    def __init__(self, source: str, calibration_file: Path) -> None:
        super().__init__(Path(source))
        self._source, self._file = source, calibration_file

    @property
    def _is_folder(self) -> bool:
        return self._folder.is_dir()

    @cached_property
    def _wording_bytes(self) -> bytes:
        return (resources.files(__package__) / "phrasings" / "general.yaml").read_bytes()

    @cached_property
    def wording(self) -> Wording:
        return read_wording(self._wording_bytes)

    @cached_property
    def digest(self) -> str:
        """sha256 (hex) of the weights and the phrasings."""
        digest = hashlib.sha256()
        if self._is_folder:
            try:
                for name in (CONFIG, WEIGHTS):
                    digest.update((self._folder / name).read_bytes())
            except OSError as error:
                raise SafetyError(
                    "the CLIP model's folder has no safetensors weights"
                    + (", only pickles, which can run code" if self._pickled() else ""),
                    code="safety.missing",
                ) from error
        else:
            for name, tensor in sorted(self._clip[0].state_dict().items()):
                digest.update(name.encode())
                digest.update(np.ascontiguousarray(tensor.float().cpu().numpy()).tobytes())
        digest.update(self._wording_bytes)
        return digest.hexdigest()

    def _pickled(self) -> bool:
        return any(path.suffix in _PICKLES for path in self._folder.iterdir())

    @property
    def model(self) -> ModelRef:
        name = self._folder.name if self._is_folder else self._source
        return ModelRef(f"open_clip:{name}", "1", self.digest)

    @cached_property
    def _clip(self) -> tuple[Any, Any, Any]:
        import open_clip

        if self._is_folder:
            _ = self.digest  # refuses pickles before anything is loaded
            return super()._clip
        architecture, _, tag = self._source.partition(":")
        if not tag or (architecture, tag) not in open_clip.list_pretrained():
            raise SafetyError(f"open_clip knows no model {self._source!r}", code="safety.missing")
        try:
            model, _, preprocess = open_clip.create_model_and_transforms(
                architecture, pretrained=tag, weights_only=True
            )
        except Exception as error:  # the hub client raises many kinds
            raise SafetyError(f"the model {self._source!r} could not be fetched", code="safety.missing") from error
        return model.eval(), preprocess, open_clip.get_tokenizer(architecture)

    @cached_property
    def calibration(self) -> dict[str, tuple[float, float]]:
        try:
            data = json.loads(self._file.read_text("utf-8"))
            curves = {h: (float(c["slope"]), float(c["offset"])) for h, c in data["curves"].items()}
            fitted_for = data["digest"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise SafetyError("the CLIP guard is not calibrated", code="safety.uncalibrated") from error
        if fitted_for != self.digest or not set(curves) <= set(self.wording.positive):
            raise SafetyError("the CLIP guard's calibration is for other weights", code="safety.stale_calibration")
        if not curves or not all(math.isfinite(v) for curve in curves.values() for v in curve):
            raise SafetyError("the CLIP guard's calibration is not a number", code="safety.uncalibrated")
        return curves

    @cached_property
    def _asked(self) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[np.float32]], NDArray[np.float32]]:
        wording = self.wording

        def vectors(texts: tuple[str, ...]) -> NDArray[np.float32]:
            every = self._texts([template.replace("{}", text) for text in texts for template in wording.templates])
            mean = every.reshape(len(texts), len(wording.templates), -1).mean(axis=1)
            return np.asarray(mean / np.linalg.norm(mean, axis=1, keepdims=True), np.float32)

        return (
            {hazard: vectors(texts) for hazard, texts in wording.positive.items()},
            {hazard: vectors(texts) for hazard, texts in wording.negative.items()},
            vectors(wording.safe),
        )

    def raw_scores(self, frame: NDArray[np.uint8]) -> dict[str, float]:
        """Best positive minus the best of look-alikes and ordinary things, by hazard, in [-2, 2]."""
        vector = self.embed(frame)
        positive, negative, safe = self._asked
        ordinary = float((safe @ vector).max())
        return {
            hazard: float((vectors @ vector).max()) - max(ordinary, float((negative[hazard] @ vector).max()))
            for hazard, vectors in positive.items()
        }

    def score(self, frame: NDArray[np.uint8]) -> Mapping[str, float]:
        curves, raw = self.calibration, self.raw_scores(frame)
        return {
            hazard: 1.0 / (1.0 + math.exp(-max(-60.0, min(60.0, slope * raw[hazard] + offset))))
            for hazard, (slope, offset) in curves.items()
        }
