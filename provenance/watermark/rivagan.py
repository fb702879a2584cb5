"""rivaGan as a tag: 32 bits by a small neural codec whose weights come with `invisible-watermark`, run without torch.

K. A. Zhang, L. Xu, A. Cuesta-Infante and K. Veeramachaneni, *Robust Invisible Video Watermarking with Attention*
(arXiv:1909.01285). The package (MIT) ships the encoder and decoder as ONNX; importing the package loads torch, so its
files are found without an import and run by onnxruntime. Its own decoder reads our marks, and we read its, in pictures
of up to 512 px on the shorter side. Larger ones are marked and read at 512 px (the change is enlarged and added): that
bounds time and memory, and a copy at another size is brought to the same one.

The decoder answers with 32 numbers whatever it is shown, and on unmarked pictures they are neither fair nor
independent (docs/adr/0010). Their size says nothing by itself either: texture gives 0.2 to 12, the mark 2 to 20. But
turned by 180 degrees a picture has the same power spectrum, and the decoder does not find its mark. So each picture
brings its own null: the score is the logarithm of the ratio of the mean magnitudes of the picture and of itself turned,
whichever is larger above the other. A copy that stands on its head is thereby found too. The score's distribution on
unmarked pictures was measured (benchmarks/rivagan_null.py), and a tag is claimed only above a floor. (A mirror image is
a worse null: it changes the direction of stripes. The largest of 360 scores was 1.65 with it.)

It is a weak mark, kept because other people's tools read it: of textured or dark photographs some bits are wrong
before anything happened to them. The tag of an asset is looked up with `tags.nearest`, which says how many assets are
near by chance.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from itertools import islice
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ...errors import WatermarkError
from ..media.values import Frame
from . import optional
from .base import RGB
from .tags import BITS, TagDetection

ALG = "org.filigrana.rivagan.1"
SIDE = 512
"""Larger pictures are worked on at this shorter side, in px."""
MIN_SIDE = 256
"""The package refuses smaller pictures."""
NULL_SCALE = 0.15
"""Of the logistic distribution that lies above the scores of unmarked pictures in their upper tenth: 0.146 was needed
(220 pictures, 440 decodes; benchmarks/rivagan_null.py 110 0 2026 and 110 0 2027)."""
FLOOR = 0.8
"""A tag is claimed from here on, p = 0.0096: none of the 220 unmarked pictures, whose largest score was 0.79."""
_MAX_FRAMES, _EVERY = 8, 5
_TINY = 1e-9

Logits = NDArray[np.float64]


@cache
def _session(name: str, threads: int) -> Any:
    folder = optional.folder_of("imwatermark", "invisible-watermark")
    runtime = optional.load("onnxruntime", "onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        return runtime.InferenceSession(str(folder / name), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises classes of its own that derive from Exception alone
        raise WatermarkError(
            f"the weights of rivaGan cannot be loaded: {name}",
            code=optional.NO_WEIGHTS,
            hint="pip install --force-reinstall invisible-watermark==0.2.0",
        ) from error


def available() -> bool:
    """Whether the weights are there. Imports nothing."""
    return optional.installed("imwatermark") and optional.installed("onnxruntime")


def p_value(score: float) -> float:
    """The chance that an unmarked picture scores as high, by the logistic distribution that lies above the measured
    scores' tail; two-sided, since the score is of whichever way up is the larger."""
    return min(1.0, 2.0 / (1.0 + math.exp(min(score / NULL_SCALE, 700.0))))


class RivaGan:
    """`TagCodec` port. ``threads``: of onnxruntime, 0 for all cores."""

    alg = ALG
    tag_bits = BITS

    def __init__(self, threads: int = 0) -> None:
        self._threads = threads

    def embed(self, frames: Iterable[Frame], tag: int) -> Iterator[Frame]:
        """Yields each frame marked by itself: 1.5 s of one core at 512 x 512. Raises WatermarkError for frames under
        256 px, and where the package is missing."""
        if not 0 <= tag < 1 << BITS:
            raise ValueError(f"a tag has {BITS} bits")
        bits = np.array([[tag >> shift & 1 for shift in range(BITS - 1, -1, -1)]], np.float32)
        encoder = _session("rivagan_encoder.onnx", self._threads)
        for frame in frames:
            _check(frame.rgb)
            small = _working(frame.rgb)
            planes = _planes(small)
            change = (encoder.run(None, {"frame": planes, "data": bits})[0] - planes)[0, :, 0] * np.float32(127.5)
            yield replace(frame, rgb=_added(frame.rgb, np.ascontiguousarray(change.transpose(1, 2, 0))))

    def logits(self, rgb: RGB) -> Logits:
        """(32,): what the decoder says of one picture, above 0 for a 1. 2 s of one core at 512 x 512."""
        _check(rgb)
        planes = _planes(_working(rgb))
        answer = _session("rivagan_decoder.onnx", self._threads).run(None, {"frame": planes})[0][0]
        return np.nan_to_num(np.asarray(answer, np.float64), posinf=0.0, neginf=0.0)

    def detect(self, frames: Iterable[Frame]) -> TagDetection:
        """Of a clip, the logits of up to 8 frames (every fifth) are averaged: they are of one scene, so the null of
        one picture holds for them too."""
        started = time.perf_counter()
        plain, turned, used = np.zeros(BITS), np.zeros(BITS), 0
        for frame in islice(frames, 0, _MAX_FRAMES * _EVERY, _EVERY):
            if min(frame.rgb.shape[:2]) < MIN_SIDE:
                break
            plain += self.logits(frame.rgb)
            turned += self.logits(np.ascontiguousarray(frame.rgb[::-1, ::-1]))
            used += 1
        seconds = time.perf_counter() - started
        if not used:
            return TagDetection(None, (), 0.0, 1.0, seconds, 0)
        score = presence(plain, turned)
        words = tuple(word_of(v) for v in ((plain, turned) if score >= 0 else (turned, plain)))
        hit = abs(score) >= FLOOR
        return TagDetection(
            tag=words[0] if hit else None,
            words=words,
            score=round(abs(score), 3),
            p_value=p_value(abs(score)),
            seconds=seconds,
            frames=used,
            turned=score < 0,
        )


def presence(plain: Logits, turned: Logits) -> float:
    """ln of the ratio of the mean magnitudes: 0 for no mark either way, below 0 where the turned picture has it."""
    return math.log((float(np.abs(plain).mean()) + _TINY) / (float(np.abs(turned).mean()) + _TINY))


def word_of(logits: Logits) -> int:
    """The 32 bits, most significant first."""
    return int("".join("1" if value > 0 else "0" for value in logits), 2)


def _working(rgb: RGB) -> RGB:
    height, width = rgb.shape[:2]
    scale = SIDE / min(height, width)
    if scale >= 1:
        return rgb
    size = (max(SIDE, round(width * scale)), max(SIDE, round(height * scale)))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


def _planes(rgb: RGB) -> NDArray[np.float32]:
    """(h, w, 3) of 0..255 -> (1, 3, 1, h, w) of -1..1: one picture, three channels, one frame."""
    return np.ascontiguousarray(rgb.transpose(2, 0, 1)[None, :, None], np.float32) / np.float32(127.5) - np.float32(1)


def _added(rgb: RGB, change: NDArray[np.float32]) -> RGB:
    height, width = rgb.shape[:2]
    if change.shape[:2] != (height, width):
        change = np.asarray(cv2.resize(change, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)
    # The package cuts the fractions off instead of rounding them, which darkens the picture by half a level.
    return np.asarray(np.clip(np.rint(rgb + change), 0, 255), np.uint8)


def _check(rgb: RGB) -> None:
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise WatermarkError(f"a frame is uint8 of shape (h, w, 3), not {rgb.dtype} of shape {rgb.shape}")
    if min(rgb.shape[:2]) < MIN_SIDE:
        raise WatermarkError(
            f"a mark needs at least {MIN_SIDE} px on the shorter side, this frame is {rgb.shape[1]} x {rgb.shape[0]}",
            code="provenance.watermark.too_small",
            hint="Seal a larger version of the picture.",
        )
