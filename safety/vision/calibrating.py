"""Fitting a guard's probabilities on labelled pictures (Platt, 1999), and how well it tells them apart."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from ...errors import InputError

LEAST = 8
"""Pictures of each class, below which no curve is fitted."""


@dataclass(frozen=True)
class Share:
    """``count`` of ``total``, with the Wilson 95 % interval [low, high]."""

    count: int
    total: int
    low: float
    high: float

    @classmethod
    def of(cls, count: int, total: int) -> Share:
        if not total:
            return cls(0, 0, 0.0, 1.0)
        z, p = 1.959964, count / total
        middle, spread = p + z * z / (2 * total), z * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total))
        return cls(
            count,
            total,
            max(0.0, (middle - spread) / (1 + z * z / total)),
            min(1.0, (middle + spread) / (1 + z * z / total)),
        )


@dataclass(frozen=True)
class Fitted:
    """One hazard's curve. ``caught`` and ``flagged``: harmful and harmless pictures at .5 and more, each judged by a
    curve that was fitted without it."""

    slope: float
    offset: float
    auc: float
    caught: Share
    flagged: Share


def platt(raw: NDArray[np.float64], truth: NDArray[np.bool_]) -> tuple[float, float]:
    """(slope, offset), both classes weighing the same, slightly regularised. The slope is never negative: a guard
    that ranks the wrong way round is useless, and must not be turned round in silence."""
    weight = np.where(truth, 0.5 / truth.sum(), 0.5 / (~truth).sum())
    spread = float(raw.std()) or 1.0

    def loss(curve: NDArray[np.float64]) -> float:
        z = abs(curve[0]) * (raw - raw.mean()) / spread + curve[1]
        return float((weight * np.logaddexp(0, np.where(truth, -z, z))).sum() + 1e-3 * curve[0] ** 2)

    found = minimize(loss, np.array([1.0, 0.0]), method="Nelder-Mead", options={"maxiter": 4000})
    slope = float(abs(found.x[0])) / spread
    return slope, float(found.x[1]) - slope * float(raw.mean())


def auc(raw: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """The chance that a harmful picture scores higher than a harmless one; ties count half."""
    above = raw[truth][:, None] - raw[~truth][None]
    return float((above > 0).mean() + 0.5 * (above == 0).mean())


def fit(raw: NDArray[np.float64], truth: NDArray[np.bool_]) -> Fitted:
    """Raises InputError for fewer than 8 pictures of a class, or scores that are not finite."""
    if truth.sum() < LEAST or (~truth).sum() < LEAST or not np.isfinite(raw).all():
        raise InputError(f"a hazard needs {LEAST} harmful and {LEAST} harmless pictures", code="input.calibrate")
    chance = np.empty(len(raw))
    fold = np.empty(len(raw), int)
    for each in (True, False):
        fold[truth == each] = np.arange(int((truth == each).sum())) % 2
    for half in (0, 1):
        slope, offset = platt(raw[fold != half], truth[fold != half])
        chance[fold == half] = 1 / (1 + np.exp(-np.clip(slope * raw[fold == half] + offset, -60, 60)))
    slope, offset = platt(raw, truth)
    over = chance >= 0.5
    return Fitted(
        slope,
        offset,
        auc(raw, truth),
        Share.of(int(over[truth].sum()), int(truth.sum())),
        Share.of(int(over[~truth].sum()), int((~truth).sum())),
    )
