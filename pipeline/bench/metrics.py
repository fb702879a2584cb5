"""How much a mark shows, and how sure a rate is."""

from __future__ import annotations

import math
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import cv2
import numpy as np

from .pictures import RGB

_TILE = 1024


def wilson(hits: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """E. B. Wilson's score interval of a proportion (1927), 95 % by default. No trials: (0, 1)."""
    if not 0 <= hits <= trials:
        raise ValueError(f"{hits} hits of {trials} trials")
    if trials == 0:
        return 0.0, 1.0
    rate, square = hits / trials, z * z / trials
    centre = rate + square / 2
    spread = z * math.sqrt((rate * (1 - rate) + square / 4) / trials)
    low, high = (centre - spread) / (1 + square), (centre + spread) / (1 + square)
    # At the ends the interval touches 0 or 1 exactly; rounding must not say otherwise.
    return (0.0 if hits == 0 else low), (1.0 if hits == trials else high)


def psnr(original: RGB, changed: RGB) -> float:
    """Peak signal-to-noise ratio in dB over all three channels; infinite for the same picture."""
    if original.shape != changed.shape:
        raise ValueError(f"sizes differ: {original.shape} and {changed.shape}")
    error = float(cv2.norm(original, changed, cv2.NORM_L2SQR)) / original.size
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def ssim(original: RGB, changed: RGB) -> float:
    """Structural similarity (Z. Wang and others, 2004): 11 x 11 Gaussian window, sigma 1.5, K .01 and .03, the mean
    over every place where the window lies inside the picture and over the channels red, green and blue, so that a
    mark in the colour counts as well."""

    def mean(plane: Any) -> Any:
        return cv2.GaussianBlur(plane, (11, 11), 1.5)[5:-5, 5:-5]

    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    total = 0.0
    for channel in range(3):
        x, y = (picture[..., channel].astype(np.float64) for picture in (original, changed))
        mx, my = mean(x), mean(y)
        vx, vy, both = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
        values = (2 * mx * my + c1) * (2 * both + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
        total += float(np.mean(values))
    return total / 3


def flip(original: RGB, changed: RGB) -> float | None:
    """Mean LDR-FLIP (P. Andersson and others, 2020; NVIDIA's package, BSD) at 67 pixels per degree: 0 is no visible
    difference, 1 the largest. None where the package is not installed. Pictures above 1024 px are measured on their
    central 1024 px, since the metric costs a second a megapixel."""
    if find_spec("flip_evaluator") is None:
        return None
    evaluator = import_module("flip_evaluator")
    height, width = original.shape[:2]
    top, left = max(0, (height - _TILE) // 2), max(0, (width - _TILE) // 2)
    x, y = (
        np.ascontiguousarray(p[top : top + _TILE, left : left + _TILE], np.float32) / 255 for p in (original, changed)
    )
    _, value, _ = evaluator.evaluate(x, y, "LDR", inputsRGB=True, applyMagma=False, computeMeanError=True)
    return float(value)
