"""Figures by hazard, language and set; harmless and harmful apart, because pooled ones mislead."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def auc(scores: NDArray[np.float64], harmful: NDArray[np.bool_]) -> float:
    """The probability that a harmful prompt scores above a harmless one; ties count half."""
    order = np.argsort(np.concatenate([scores[harmful], scores[~harmful]]), kind="stable")
    joined = np.concatenate([scores[harmful], scores[~harmful]])[order]
    ranks = np.empty(len(joined))
    _, first, counts = np.unique(joined, return_index=True, return_counts=True)
    for start, count in zip(first, counts, strict=True):
        ranks[start : start + count] = start + (count + 1) / 2
    back = np.empty(len(joined))
    back[order] = ranks
    n, m = int(harmful.sum()), int((~harmful).sum())
    return float((back[:n].sum() - n * (n + 1) / 2) / (n * m)) if n and m else float("nan")


@dataclass(frozen=True)
class Row:
    """A prompt of a set that is not ours."""

    source: str
    text: str
    harmful: bool
    hazard: str
    language: str


def others(path: Path) -> list[Row]:
    """Rows of a CSV file (gzip) with the columns source, text, label, hazard, lang."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as stream:
        return [
            Row(r["source"], r["text"], r["label"] == "1", r["hazard"], r["lang"])
            for r in csv.DictReader(stream)
            if r["text"].strip()
        ]


def by_source(rows: Sequence[Row], scores: NDArray[np.float64], thresholds: Sequence[float]) -> list[str]:
    """A line a set: how many score at least each threshold."""
    lines = []
    for source in dict.fromkeys(r.source for r in rows):
        for harmful in (False, True):
            mask = np.array([r.source == source and r.harmful == harmful for r in rows])
            if mask.any():
                rates = "  ".join(f"{(scores[mask] >= t).mean():6.1%}" for t in thresholds)
                lines.append(f"{source:22} {'harmful ' if harmful else 'harmless'} {mask.sum():5}  {rates}")
    return lines
