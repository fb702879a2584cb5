"""Reads the text in a frame, with the PP-OCRv4 models that the package `rapidocr-onnxruntime` carries (Apache-2.0).

Text is looked for on a small copy of the frame, so that a frame without text costs little, and read from the frame
itself. The recogniser knows Chinese, English and most Latin letters, and often drops the blanks between words, which
would hide a term from a word list: so each line is given as it was read, and again with blanks where the picture has
gaps.
"""

from __future__ import annotations

import hashlib
import threading
from functools import cached_property
from importlib import metadata, resources
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ...errors import SafetyError
from ..decision import ModelRef

SIDE = 480
"""px: the longest side of the copy on which text is looked for. Lines lower than about 1/50 of it are missed."""
CLIP_SIDE = 320
"""The same, for frames of a clip."""
MAX_LINES = 200
_LEAST = 0.5  # the recogniser's own confidence, below which a line is noise
_GAP = 11  # px of the recogniser's height: gaps between letters are narrower
_HEIGHT = 48  # px: what the recogniser takes

Line = tuple[str, ...]
"""One line of text in its readings, the plain one first; all mean the same picture."""


class OcrGuard:
    """Text guard `ocr` of frames. ``read`` gives lines from top to bottom, left to right. Safe for threads."""

    name = "ocr"

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads
        self._lock = threading.Lock()

    @cached_property
    def model(self) -> ModelRef:
        digest = hashlib.sha256()
        for name in ("ch_PP-OCRv4_det_infer.onnx", "ch_PP-OCRv4_rec_infer.onnx"):
            digest.update((resources.files("rapidocr_onnxruntime") / "models" / name).read_bytes())
        version = metadata.version("rapidocr-onnxruntime")
        return ModelRef("rapidocr-onnxruntime", version, digest.hexdigest())

    @cached_property
    def _engine(self) -> Any:
        from rapidocr_onnxruntime import RapidOCR

        return RapidOCR(
            intra_op_num_threads=self._threads, inter_op_num_threads=1, det_limit_side_len=32, det_limit_type="min"
        )

    def read(self, frame: NDArray[np.uint8], side: int = SIDE) -> list[Line]:
        """``frame``: uint8 (h, w, 3). Raises SafetyError for more lines than can be read, or for an answer that is
        no text."""
        return [line for line, _ in self.located(frame, side)]

    def located(self, frame: NDArray[np.uint8], side: int = SIDE) -> list[tuple[Line, tuple[float, ...]]]:
        """As ``read``, each line with its box: left, top, right, bottom as shares of width and height."""
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or not frame.size:
            raise SafetyError("a frame is uint8 (h, w, 3)", code="safety.shape")
        height, width = frame.shape[:2]
        scale = min(1.0, side / max(height, width))
        size = (max(32, round(width * scale)), max(32, round(height * scale)))
        small = cv2.resize(frame[..., ::-1], size, interpolation=cv2.INTER_AREA)
        with self._lock:
            boxes, _ = self._engine.text_det(small)
            if boxes is None or not len(boxes):
                return []
            if len(boxes) > MAX_LINES:
                raise SafetyError(f"a frame with more than {MAX_LINES} lines of text", code="safety.too_much_text")
            boxes = np.asarray(boxes, np.float32) * (np.float32(width / size[0]), np.float32(height / size[1]))
            boxes = _in_order(boxes)
            crops = self._engine.get_crop_img_list(np.ascontiguousarray(frame[..., ::-1]), list(boxes))
            kept = [(crop, box) for crop, box in zip(crops, boxes, strict=True) if crop.size]
            crops, _, _ = self._engine.text_cls([crop for crop, _ in kept])
            whole = np.array([width, height], np.float32)
            found = zip(crops, [(box / whole) for _, box in kept], strict=True)
            return [(line, _bounds(box)) for crop, box in found if (line := self._line(crop))]

    def _line(self, crop: NDArray[np.uint8]) -> Line:
        recogniser = self._engine.text_rec
        ratio = max(320 / _HEIGHT, crop.shape[1] / crop.shape[0])
        batch = recogniser.resize_norm_img(crop, ratio)[None]
        answer = np.asarray(recogniser.session(batch)[0][0])
        if answer.ndim != 2 or not np.isfinite(answer).all():
            raise SafetyError("the text recogniser's answer is not finite", code="safety.not_a_number")
        best = answer.argmax(axis=1)
        # CTC: a character counts where it begins; 0 is the blank between two.
        begins = np.flatnonzero((best != 0) & (np.concatenate(([-1], best[:-1])) != best))
        if not len(begins) or float(answer[begins, best[begins]].mean()) < _LEAST:
            return ()
        letters = [str(recogniser.postprocess_op.character[index]) for index in best[begins]]
        centres = (begins + 0.5) * batch.shape[3] / len(best)
        plain = "".join(letters)
        readings = (plain, _spaced(letters, centres, _gaps(crop)), _spaced(letters, centres, _wide(begins, centres)))
        return tuple(dict.fromkeys(text.strip() for text in readings if text.strip()))


def _bounds(corners: NDArray[np.float32]) -> tuple[float, ...]:
    low, high = corners.min(axis=0), corners.max(axis=0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _in_order(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Boxes (n, 4, 2) as they are read: in rows from the top, each row from the left."""
    middles, heights = boxes[:, :, 1].mean(axis=1), np.ptp(boxes[:, :, 1], axis=1)
    rows: list[list[int]] = []
    for index in np.argsort(middles, kind="stable"):
        last = rows[-1] if rows else None
        if last is not None and abs(middles[index] - np.mean(middles[last])) < 0.5 * min(
            heights[index], float(np.mean(heights[last]))
        ):
            last.append(int(index))
        else:
            rows.append([int(index)])
    return boxes[[index for row in rows for index in sorted(row, key=lambda i: float(boxes[i, :, 0].min()))]]


def _gaps(crop: NDArray[np.uint8]) -> list[float]:
    """Where the line has a gap as wide as a blank: x of its middle, px at the recogniser's height."""
    width = max(1, round(crop.shape[1] * _HEIGHT / crop.shape[0]))
    grey = cv2.resize(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY), (width, _HEIGHT)).astype(np.float32)[4:-4]
    # A column with ink goes from dark to light; one without hardly does.
    ink = np.ptp(grey, axis=0)
    empty = np.concatenate(([False], ink < 0.3 * np.percentile(ink, 75), [False]))
    edges = np.flatnonzero(np.diff(empty.astype(np.int8)))
    runs = edges.reshape(-1, 2)
    inner = [(int(a), int(b)) for a, b in runs if a > 0 and b < width]
    least = max(_GAP, 1.8 * float(np.median([b - a for a, b in inner]))) if inner else 0.0
    return [(a + b) / 2 for a, b in inner if b - a >= least]


def _wide(begins: NDArray[np.int64], centres: NDArray[np.float64]) -> list[float]:
    """The same from where the recogniser saw the characters begin: steps that are wide for this line."""
    steps = np.diff(begins)
    if not len(steps):
        return []
    wide = steps >= 1.35 * float(np.median(steps))
    return [float(centres[i] + centres[i + 1]) / 2 for i in np.flatnonzero(wide)]


def _spaced(letters: list[str], centres: NDArray[np.float64], gaps: list[float]) -> str:
    """The letters with a blank at each gap, unless there is one."""
    out = letters[:1]
    for before, after, letter in zip(centres[:-1], centres[1:], letters[1:], strict=True):
        # Characters of scripts that are written without blanks stay together.
        if any(before < gap < after for gap in gaps) and " " not in (out[-1], letter) and out[-1].isascii():
            out.append(" ")
        out.append(letter)
    return "".join(out)
