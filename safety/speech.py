"""Speech to text by a Whisper model from a local folder (transformers): the sound guard `speech`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import SafetyError
from .decision import ModelRef

RATE = 16_000
SECONDS = 30
"""What the model hears at once."""
_OVERLAP = 2  # seconds that two pieces share, so that no word is cut in both

Speech = NDArray[np.float32]
"""Mono samples at 16 kHz in [-1, 1], (n,)."""


def pieces(blocks: Iterable[Speech]) -> Iterator[Speech]:
    """The stream in pieces of 30 s that overlap by 2 s. Raises SafetyError for samples that are no numbers."""
    held, heard = np.empty(0, np.float32), 0  # so many samples of what is held were in the piece before
    for block in blocks:
        if block.ndim != 1 or not np.isfinite(block).all():
            raise SafetyError("sound is finite samples (n,)", code="safety.shape")
        held = np.concatenate((held, block.astype(np.float32)))
        while len(held) >= SECONDS * RATE:
            yield held[: SECONDS * RATE]
            held, heard = held[(SECONDS - _OVERLAP) * RATE :], _OVERLAP * RATE
    if len(held) > heard:
        yield held


class WhisperGuard:
    """``folder``: a Whisper model in transformers' layout, safetensors only."""

    name = "speech"

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        self._folder, self._device = folder, device

    @cached_property
    def model(self) -> ModelRef:
        files = sorted(self._folder.glob("*.safetensors"))
        if not files:
            raise SafetyError("the speech model has no safetensors weights", code="safety.missing")
        digest = hashlib.sha256()
        for path in files:
            digest.update(path.read_bytes())
        return ModelRef(f"whisper:{self._folder.name}", "1", digest.hexdigest())

    @cached_property
    def _whisper(self) -> tuple[Any, Any]:
        _ = self.model  # refuses pickles before anything is loaded
        from transformers import WhisperForConditionalGeneration, WhisperProcessor

        processor = WhisperProcessor.from_pretrained(str(self._folder), local_files_only=True)
        model = WhisperForConditionalGeneration.from_pretrained(
            str(self._folder), local_files_only=True, use_safetensors=True
        )
        return processor, model.eval().to(self._device)

    def transcribe(self, speech: Iterable[Speech]) -> Iterator[str]:
        import torch

        processor, model = self._whisper
        for piece in pieces(speech):
            features = processor(piece, sampling_rate=RATE, return_tensors="pt").input_features
            with torch.inference_mode():
                tokens = model.generate(features.to(self._device))
            yield str(processor.batch_decode(tokens, skip_special_tokens=True)[0])
