"""Measuring a visible label on decoded pixels: height of its letters, contrast, how long it is there. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..media import Frame
from .measured import Claimed, Measured

_LONGEST = 2.5
"""Seconds that are looked at: two are asked for."""
_ALIKE = 0.7
"""Correlation with the label drawn anew, from which on it is taken for it: noise and other words stay below 0.5."""
_COEFFICIENTS = np.array([0.2126, 0.7152, 0.0722])


def luminance(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Relative luminance, 0..1 (WCAG 2.1)."""
    share = rgb.astype(np.float64) / 255.0
    linear = np.where(share <= 0.03928, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return np.asarray(linear @ _COEFFICIENTS)


def contrast(one: float, other: float) -> float:
    light, dark = max(one, other), min(one, other)
    return (light + 0.05) / (dark + 0.05)


def letters(rgb: NDArray[np.uint8]) -> tuple[int, float] | None:
    """Height in px of the first letter of the first line on a plate (h, w, 3), and contrast of the letters; None where
    there are none. The plate is what its rim shows most; letters are what is nearer to the other extreme."""
    if min(rgb.shape[:2]) < 5:
        return None
    light = luminance(rgb)
    rim = np.concatenate([light[1], light[-2], light[:, 1], light[:, -2]])
    ground = float(np.median(rim))
    apart = np.abs(light - ground)
    far = float(np.percentile(apart, 99.5))
    if far < 0.02:
        return None
    ink: NDArray[np.bool_] = np.asarray(apart > far / 2)
    # The rim is the plate's: what of the picture shows there is no letter.
    ink[:2], ink[-2:], ink[:, :2], ink[:, -2:] = False, False, False, False
    rows = _runs(np.any(ink, axis=1))
    if not rows:
        return None
    top, bottom = max(rows[:2], key=lambda run: run[1] - run[0]) if rows[0][1] - rows[0][0] < 4 else rows[0]
    columns = _runs(np.any(ink[top:bottom], axis=0))
    first = np.flatnonzero(np.any(ink[top:bottom, slice(*columns[0])], axis=1))
    # The colour of letters is that of their cores: rims of thin strokes are mixed with the plate.
    core = light[ink][apart[ink] >= np.percentile(apart[ink], 75)]
    return int(first[-1] - first[0] + 1), contrast(ground, float(np.median(core)))


def _runs(flags: Any) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def measure(rgb: NDArray[np.uint8], box: Sequence[float]) -> tuple[float, int, float] | None:
    """Letters in ``box`` (left, top, right, bottom as shares): their height as a share of the shorter side, in px, and
    their contrast."""
    height, width = rgb.shape[:2]
    left, top, right, bottom = (min(1.0, max(0.0, side)) for side in box)
    part = rgb[round(top * height) : round(bottom * height), round(left * width) : round(right * width)]
    found = letters(part) if part.size else None
    return None if found is None else (found[0] / min(width, height), found[0], found[1])


def alike(rgb: NDArray[np.uint8], box: Sequence[float], drawn: NDArray[np.uint8]) -> float:
    """How much the pixels in ``box`` look like a label that was drawn anew (h, w, 3), from 0 to 1, dark or light."""
    height, width = rgb.shape[:2]
    left, top, right, bottom = box
    part = rgb[round(top * height) : round(bottom * height), round(left * width) : round(right * width)]
    if min(part.shape[:2]) < 5:
        return 0.0
    one = cv2.cvtColor(part, cv2.COLOR_RGB2GRAY).astype(np.float32)
    other = cv2.resize(drawn[..., 0], (one.shape[1], one.shape[0]), interpolation=cv2.INTER_AREA).astype(np.float32)
    one, other = one - one.mean(), other - other.mean()
    size = float(np.sqrt((one**2).sum() * (other**2).sum()))
    return abs(float((one * other).sum())) / size if size > 1e-6 else 0.0


def measure_stream(frames: Iterable[Frame], claimed: Claimed, drawn: NDArray[np.uint8]) -> Measured | None:
    """The label that a signed record claims, on a picture or the first seconds of a clip; None where the pixels do not
    show it. ``drawn``: the same label, drawn anew. The worst frame counts; ``seconds`` ends where the first frame
    without the label begins."""
    worst: tuple[float, int, float] | None = None
    seconds = 0.0
    for frame in frames:
        seconds = float(frame.time)
        found = measure(frame.shown, claimed.box) if alike(frame.shown, claimed.box, drawn) >= _ALIKE else None
        if found is None:
            break
        worst = found if worst is None else (min(worst[0], found[0]), min(worst[1], found[1]), min(worst[2], found[2]))
        if seconds >= _LONGEST:
            break
    return None if worst is None else Measured(*worst, seconds, claimed.text, "record", claimed.box)
