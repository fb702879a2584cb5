"""What the tools of everyday use change everywhere in a picture, fitted: contrast, brightness, gamma, saturation, tint.
Pure.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]
Mask = NDArray[np.bool_]

_SATURATIONS = (1.0, 0.0, 0.5, 0.7, 0.85, 1.15, 1.3, 1.6)
_SAMPLES = 1200
_EXPLAINED = 0.05
"""Cost of a fit that is off by about a grey level: saturation did not change."""
_SCALES = (0.12, 0.06, 0.03, 0.02, 0.014)
"""The fit begins with all px and ends with those that agree within 3.5 grey levels."""

_STEPS = np.linspace(0.02, 1.0, 15)
IDENTITY = np.array([0.0, 1.0, 0.0, 0.0])

Values = NDArray[np.float64]


def predict(a: Plane, b: Plane, mask: Mask) -> tuple[Plane, float]:
    """What the copy would look like if nothing but its tones had changed, (h, w, 3), and the gain of the change.

    Saturation by one factor from 0 (grey) to 1.6, then one parabola for all channels (contrast, brightness, gamma),
    then a tint a channel, cut off at black and white. Hues do not turn into others. Fitted on the px that agree, so
    that an edit does not bend the fit; of several that explain them, the one that explains most."""
    inside = np.flatnonzero(mask.ravel())
    inside = inside[:: max(1, len(inside) // _SAMPLES)]
    u, v = (plane.reshape(-1, 3)[inside].astype(np.float64) / 255.0 for plane in (a, b))
    grey = u @ np.array([0.299, 0.587, 0.114])
    tried: list[tuple[float, float, Values]] = []
    for saturation in _SATURATIONS:
        mixed = np.maximum(grey[:, None] + saturation * (u - grey[:, None]), 0.0)
        if tried and min(tried, key=lambda t: t[0])[0] < _EXPLAINED:
            break
        starts = _starts(mixed, v) if not tried else [min(tried, key=lambda t: t[0])[2]]
        for start in starts:
            curve = _curve(mixed.ravel(), v.ravel(), start)
            # Unchanged saturation needs no explanation.
            tried.append((_cost(curve, mixed, v) * (1.0 if saturation == 1.0 else 1.03), saturation, curve))
    cost, saturation, curve = min(tried, key=lambda t: t[0])
    if cost >= _EXPLAINED:
        saturation, curve = _between(saturation, curve, u, grey, v)
    mixed = np.maximum(grey[:, None] + saturation * (u - grey[:, None]), 0.0)
    tint = np.clip(np.median(v - np.clip(_apply(curve, mixed), 0.0, 1.0), axis=0), -0.12, 0.12)
    y = luma_of(a)[..., None]
    whole = (y + np.float32(saturation) * (a - y)) / np.float32(255.0)
    out = np.float32(255.0) * (_apply(curve, whole) + tint).astype(np.float32)
    return np.clip(out, 0.0, 255.0), _steepness(curve, float(np.mean(grey)))


def _between(saturation: float, curve: Values, u: Values, grey: Values, v: Values) -> tuple[float, Values]:
    """The saturation by least squares around the best one that was tried, and its curve."""
    centre = v @ np.array([0.299, 0.587, 0.114])
    slope = np.clip(_steepness(curve, grey), 0.2, 3.0)
    x, y = (u - grey[:, None]) * slope[:, None], v - centre[:, None]
    error = np.abs(saturation * x - y).max(axis=1)
    weight = 1.0 / (1.0 + (error / 0.03) ** 2)
    top, bottom = float((weight[:, None] * x * y).sum()), float((weight[:, None] * x * x).sum())
    if bottom < 1e-4 * len(u):
        return saturation, curve
    finer = float(np.clip(top / bottom, max(0.0, saturation - 0.2), saturation + 0.2))
    mixed = np.maximum(grey[:, None] + finer * (u - grey[:, None]), 0.0)
    again = _curve(mixed.ravel(), v.ravel(), curve)
    before = np.maximum(grey[:, None] + saturation * (u - grey[:, None]), 0.0)
    return (finer, again) if _cost(again, mixed, v) < _cost(curve, before, v) else (saturation, curve)


def _curve(u: Values, v: Values, start: Values | None = None) -> Values:
    """(4,): v about offset + slope u + bend u^2 + root sqrt(u), both in [0, 1], which holds a gamma of 0.7 to 1.4
    within 1.3 grey levels. Drawn a little towards the identity, and with ever less say for px that are off (graduated
    non-convexity, A. Blake and A. Zisserman, 1987), from ``start`` on, else from all px."""
    design = np.stack([np.ones_like(u), u, u * u, np.sqrt(u)], axis=1)
    # Clipped whites and blacks lie off the curve, whatever it is.
    trust = np.where((v > 0.985) | (v < 0.015), 0.02, 1.0)
    prior = np.diag([1e-4, 1e-4, 1e-3, 1e-3]) * len(u)
    weight = trust if start is None else trust / (1.0 + ((design @ start - v) / (2 * _SCALES[0])) ** 2)
    found = IDENTITY
    for scale in (*_SCALES, 0.0):
        weighted = design * weight[:, None]
        found = _sane(np.linalg.solve(weighted.T @ design + prior, weighted.T @ v + prior @ IDENTITY))
        if scale:
            weight = trust / (1.0 + ((design @ found - v) / scale) ** 2)
    return found


def _starts(u: Values, v: Values) -> list[Values | None]:
    """From all px; from no change; from the brightness of most."""
    gain = float(np.clip(np.median(v) / max(float(np.median(u)), 0.02), 0.5, 2.0))
    return [None, IDENTITY, np.array([0.0, gain, 0.0, 0.0])]


def _sane(curve: Values) -> Values:
    """Rising from black to white, neither a flat grey nor a threshold: else it is no change of tones, and the nearest
    straight line within bounds is taken."""
    steepness = _steepness(curve, _STEPS)
    if steepness.min() >= 0.3 and steepness[2:].max() <= 3.5 and abs(curve[0]) <= 0.6:
        return curve
    values = _apply(curve, _STEPS)
    slope = float(np.clip((values[-1] - values[0]) / (_STEPS[-1] - _STEPS[0]), 0.4, 2.4))
    offset = float(np.clip((values - slope * _STEPS).mean(), -0.6, 0.6))
    return np.array([offset, slope, 0.0, 0.0])


def _apply(curve: Values, x: NDArray[np.floating]) -> NDArray[np.floating]:
    offset, slope, bend, root = (x.dtype.type(value) for value in curve)
    return np.asarray(offset + x * (slope + bend * x) + root * np.sqrt(np.maximum(x, 0)))


def _steepness(curve: Values, x: Any) -> Any:
    return curve[1] + 2 * curve[2] * x + 0.5 * curve[3] / np.sqrt(np.maximum(x, 0.01))


def _cost(curve: Values, u: Values, v: Values) -> float:
    error = np.clip(_apply(curve, u), 0.0, 1.0) - v
    return float(np.log1p((error / 0.02) ** 2).mean()) + 1e-3


def luma_of(picture: Plane) -> Plane:
    """(h, w, 3) float32 -> (h, w)."""
    return np.asarray(picture @ np.array([0.299, 0.587, 0.114], np.float32), np.float32)
