"""What a frame shows, by an open_clip model and phrasings of what is looked for: zero-shot, then calibrated.

A hazard's raw score is the best similarity to its positive phrasings minus the best to its negatives (look-alikes and
ordinary things). A logistic curve, fitted on held-out pictures (Platt, 1999), turns it into a probability; its
coefficients are stored with the digest of the weights and phrasings they were fitted for, and a guard whose
calibration is for anything else refuses to answer: stale calibration means that a person looks.
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
from numpy.typing import NDArray
from PIL import Image

from ...errors import SafetyError
from ..decision import HAZARDS, ModelRef

CONFIG, WEIGHTS, LABELS, CALIBRATION = (
    "open_clip_config.json",
    "open_clip_model.safetensors",
    "labels.json",
    "calibration.json",
)


@dataclass(frozen=True)
class Phrasings:
    """``positive``: by hazard id, texts that describe it. ``negative``: look-alikes and ordinary things.
    ``templates``: each text is embedded in all of them, and its vector is their mean (Radford et al., 2021, 3.1.4)."""

    positive: Mapping[str, tuple[str, ...]]
    negative: tuple[str, ...]
    templates: tuple[str, ...]


def read_phrasings(path: Path) -> Phrasings:
    try:
        data = json.loads(path.read_text("utf-8"))
        positive = {
            hazard: tuple(phrase for concept in concepts for phrase in concept["phrases"])
            for hazard, concepts in data["hazards"].items()
        }
        negative, templates = tuple(data["negatives"]), tuple(data["templates"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SafetyError("the CLIP guard's phrasings cannot be read", code="safety.labels") from error
    if not positive or not negative or not templates or any("{}" not in text for text in templates):
        raise SafetyError("the CLIP guard's phrasings are incomplete", code="safety.labels")
    if any(h not in HAZARDS or not t for h, t in positive.items()):
        raise SafetyError("the CLIP guard's phrasings are incomplete", code="safety.labels")
    return Phrasings(positive, negative, templates)


class ClipGuard:
    """Frame guard `clip`. ``folder`` holds an open_clip model (config and safetensors), labels and calibration."""

    name = "clip"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def embedded(cls) -> ClipGuard:
        """The model that ships."""
        return cls(Path(str(resources.files("filigrana.models"))) / "clip")

    @cached_property
    def digest(self) -> str:
        """sha256 (hex) of all that a score hangs on, the weights, configuration, tokenizer and phrasings: what a
        calibration belongs to."""
        digest = hashlib.sha256()
        try:
            for path in (self._folder / WEIGHTS, *sorted(self._folder.glob("*.json"))):
                if path.name != CALIBRATION:
                    digest.update(f"{path.name}\n{path.stat().st_size}\n".encode() + path.read_bytes())
        except OSError as error:
            raise SafetyError("the CLIP guard's weights are missing", code="safety.missing") from error
        return digest.hexdigest()

    @property
    def model(self) -> ModelRef:
        return ModelRef(f"open_clip:{self._folder.name}", "1", self.digest)

    @property
    def calibration(self) -> dict[str, tuple[float, float]]:
        """(slope, offset) of the logistic by hazard. Raises SafetyError when it is for other weights."""
        return self._calibrated[0]

    @cached_property
    def _calibrated(self) -> tuple[dict[str, tuple[float, float]], str]:
        try:
            raw = (self._folder / CALIBRATION).read_bytes()
            data = json.loads(raw)
            curves = {h: (float(c["slope"]), float(c["offset"])) for h, c in data["curves"].items()}
            fitted_for = data["digest"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise SafetyError("the CLIP guard is not calibrated", code="safety.uncalibrated") from error
        if fitted_for != self.digest or set(curves) != set(self._phrasings.positive):
            raise SafetyError("the CLIP guard's calibration is for other weights", code="safety.stale_calibration")
        # A curve that falls, or is flat, calls what is worse harmless.
        if (
            not all(math.isfinite(v) for curve in curves.values() for v in curve)
            or min(c[0] for c in curves.values()) <= 0
        ):
            raise SafetyError("the CLIP guard's calibration is no rising curve", code="safety.uncalibrated")
        return curves, hashlib.sha256(raw).hexdigest()

    @property
    def calibration_digest(self) -> str:
        """sha256 (hex) of the curves in use, whatever lies in the folder by now."""
        return self._calibrated[1]

    @cached_property
    def _phrasings(self) -> Phrasings:
        return read_phrasings(self._folder / LABELS)

    @cached_property
    def _clip(self) -> tuple[Any, Any, Any]:
        """(model, preprocess, tokenizer), through open_clip's own loading of a local folder."""
        import open_clip

        name = f"local-dir:{self._folder}"
        model, preprocess = open_clip.create_model_from_pretrained(name)
        return model.eval(), preprocess, open_clip.get_tokenizer(name)

    def _texts(self, texts: list[str]) -> NDArray[np.float32]:
        import torch

        model, _, tokenizer = self._clip
        with torch.inference_mode():
            features = model.encode_text(tokenizer(texts), normalize=True)
        return np.asarray(features.float().cpu().numpy(), np.float32)

    @cached_property
    def _vectors(self) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float32]]:
        phrasings = self._phrasings

        def concepts(texts: tuple[str, ...]) -> NDArray[np.float32]:
            every = self._texts([template.replace("{}", text) for text in texts for template in phrasings.templates])
            mean = every.reshape(len(texts), len(phrasings.templates), -1).mean(axis=1)
            return np.asarray(mean / np.linalg.norm(mean, axis=1, keepdims=True), np.float32)

        return {h: concepts(texts) for h, texts in phrasings.positive.items()}, concepts(phrasings.negative)

    def embed(self, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
        """``frame``: uint8 (h, w, 3). Returns its unit vector."""
        import torch

        model, preprocess, _ = self._clip
        with torch.inference_mode():
            features = model.encode_image(preprocess(Image.fromarray(frame))[None], normalize=True)
        vector = np.asarray(features[0].float().cpu().numpy(), np.float32)
        if not np.isfinite(vector).all():
            raise SafetyError("the CLIP guard's answer is not finite", code="safety.not_a_number")
        return vector

    def raw_scores(self, frame: NDArray[np.uint8]) -> dict[str, float]:
        """Best positive minus best negative similarity, by hazard, in [-2, 2]."""
        vector = self.embed(frame)
        positive, negative = self._vectors
        ordinary = float((negative @ vector).max())
        return {hazard: float((vectors @ vector).max()) - ordinary for hazard, vectors in positive.items()}

    def score(self, frame: NDArray[np.uint8]) -> Mapping[str, float]:
        curves = self.calibration
        return {
            hazard: 1.0 / (1.0 + math.exp(-max(-60.0, min(60.0, curves[hazard][0] * raw + curves[hazard][1]))))
            for hazard, raw in self.raw_scores(frame).items()
        }

    def agreement(self, prompt: str, frame: NDArray[np.uint8]) -> float:
        """Cosine similarity of a prompt and a frame, in [-1, 1]."""
        return float(self._texts([prompt])[0] @ self.embed(frame))
