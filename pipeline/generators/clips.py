"""Clips out of a diffusers pipeline: frames that can be gone through more than once, and a file with their sound."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from ...errors import GenerationError
from ...provenance.media import Frame, MediaFile, open_media
from ...provenance.scratch import ScratchFolder

EMPTY = "generate.empty"


def checked(array: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A frame in 0..1 as uint8 (h, w, 3). Raises GenerationError for what is no picture."""
    if array.ndim != 3 or array.shape[2] != 3 or not array.size or not np.isfinite(array).all():
        raise GenerationError("the model gave no usable picture (empty, or not finite)", code=EMPTY)
    return np.asarray(np.rint(np.clip(array, 0, 1) * 255), np.uint8)


@dataclass(frozen=True)
class ArrayFrames:
    """Frames of an array (frames, h, w, 3) float in 0..1."""

    array: NDArray[np.float32]
    rate: Fraction

    def __iter__(self) -> Iterator[Frame]:
        for number, each in enumerate(self.array):
            yield Frame(checked(np.asarray(each, np.float32)), Fraction(number) / self.rate)


@dataclass(frozen=True)
class SceneFrames:
    """Frames of a scene of the embedded family, drawn one by one: memory does not grow with their number."""

    scene: Any
    side: int
    count: int
    rate: Fraction

    def __iter__(self) -> Iterator[Frame]:
        from .embedded.tracks import frames

        for number, rgb in enumerate(frames(self.scene, self.side, self.count)):
            yield Frame(rgb, Fraction(number) / self.rate)


def sound_file(samples: NDArray[np.float32], rate: int) -> MediaFile:
    """A WAV of (samples,) or (channels, samples) in -1..1, gone when nobody holds the result any longer."""
    wide = np.atleast_2d(np.asarray(samples, np.float32))
    if wide.ndim != 2 or not wide.size or len(wide) > 8 or not np.isfinite(wide).all():
        raise GenerationError("the model gave no usable sound (empty, or not finite)", code=EMPTY)
    whole = np.rint(wide.clip(-1, 1) * 32767).astype("<i2")
    folder = ScratchFolder()
    path = folder.path / "sound.wav"
    with wave.open(str(path), "wb") as out:
        out.setnchannels(len(whole))
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(whole.T.tobytes())
    media = open_media(path)
    finalize(media, folder.close)
    return media
