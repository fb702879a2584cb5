"""Resemble AI's Perth as a detector of presence in sound: used where the package `resemble-perth` (MIT) is installed.

Its mark says yes or no: it names no asset, so it is evidence beside a soft binding and never one, and it costs about
15 dB of SNR, so we offer to read it and not to write it. Text-to-speech models of its maker put it into everything
they say. The weights are inside the wheel. It wants `setuptools<81`, librosa, and a torchaudio of torch's own build;
where one of them is missing it sets its class to None and says nothing.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ...errors import WatermarkError
from . import optional
from .base import SoundBlock

ALG = "ai.resemble.perth"
PACKAGE = "resemble-perth"


class Perth:
    """`PresenceDetector` port."""

    alg = ALG

    def __init__(self) -> None:
        self._model: Any = None

    def present(self, block: SoundBlock) -> float:
        """0 to 1 for one stretch of sound, its channels averaged. Raises WatermarkError where the package is missing,
        or where its answer is no number, as it is for silence."""
        model = self._ready()
        mono = np.ascontiguousarray(block.samples.mean(1), np.float32)
        if not np.any(mono):
            return 0.0
        with optional.quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answer = np.asarray(model.get_watermark(mono, sample_rate=block.rate, round=False), np.float64)
        if answer.size != 1 or not np.isfinite(answer).all():
            raise WatermarkError("Perth gave no number for this sound", code="provenance.watermark.no_answer")
        return float(np.clip(answer.reshape(-1)[0], 0.0, 1.0))

    def _ready(self) -> Any:
        if self._model is None:
            make = getattr(optional.load("perth", PACKAGE), "PerthImplicitWatermarker", None)
            if make is None:
                raise WatermarkError(
                    "resemble-perth is installed, but something that it needs is not",
                    code=optional.MISSING,
                    hint="pip install 'setuptools<81' librosa torchaudio resemble-perth",
                )
            with optional.quiet(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._model = make()
        return self._model
