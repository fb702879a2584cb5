"""From logits to probabilities (Platt, 1999), and to the thresholds at which a pack acts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from ...safety.decision import HAZARDS
from ...safety.text.classifier import ANY, OUTPUTS
from .corpus import Prompt


def platt(logit: NDArray[np.float64], harmful: NDArray[np.bool_]) -> tuple[float, float]:
    """(slope, offset) of the logistic with the least log loss, both labels counting the same; slope > 0."""
    weight = np.where(harmful, 0.5 / max(1, harmful.sum()), 0.5 / max(1, (~harmful).sum()))
    # Targets a little inside 0 and 1, as in Platt's paper: few prompts never make a certainty.
    goal = np.where(harmful, 1 - 1 / (harmful.sum() + 2), 1 / ((~harmful).sum() + 2))

    def loss(at: NDArray[np.float64]) -> float:
        z = np.exp(at[0]) * logit + at[1]
        # Softplus: the logarithm of 1 + e^z without overflow.
        return float((weight * (np.logaddexp(0, z) - goal * z)).sum())

    found = minimize(loss, np.array([0.0, 0.0]), method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-8})
    return float(np.exp(found.x[0])), float(found.x[1])


def curves(prompts: Sequence[Prompt], logits: NDArray[np.float32]) -> dict[str, tuple[float, float]]:
    """A curve for each output: a hazard's own harmful prompts against all harmless ones."""
    harmful = np.array([p.harmful for p in prompts])
    hazard = np.array([p.hazard for p in prompts])
    found = {}
    for column, name in enumerate(OUTPUTS):
        mask = np.ones(len(prompts), bool) if name == ANY else ~harmful | (hazard == name)
        found[name] = platt(logits[mask, column].astype(np.float64), harmful[mask])
    return found


def scores(logits: NDArray[np.float32], fitted: dict[str, tuple[float, float]]) -> NDArray[np.float64]:
    """float64 (n, 19): what the classifier answers, as :meth:`PromptClassifier.score` does for one."""
    slope = np.array([fitted[name][0] for name in OUTPUTS])
    offset = np.array([fitted[name][1] for name in OUTPUTS])
    chance = 1 / (1 + np.exp(-np.clip(slope * logits + offset, -60, 60)))
    each: NDArray[np.float64] = chance[:, : len(HAZARDS)].copy()
    anything = chance[:, -1]
    rows, best = np.arange(len(each)), each.argmax(1)
    each[rows, best] = np.maximum(each[rows, best], anything)
    return each
