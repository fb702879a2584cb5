"""`python -m training.prompts.designs OUT [--tuned FOLDER]`: the designs that were tried, side by side.

Each learns from the training half of our pairs (and what was written later), and is measured on the test half: the
AUC by hazard in English, by language, and how much of the harmful is caught where 10 % of the harmless is stopped.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import LogisticRegression

from ...safety.decision import HAZARDS
from ...safety.text.classifier import PromptClassifier
from ...safety.text.wordpieces import WordPieces
from .calibrate import scores
from .corpus import Prompt, read, read_more
from .fit import batches, ids_of
from .measure import auc
from .tower import Tower, batch_of

Scores = NDArray[np.float64]
CONCEPTS = {
    "vcr": ["killing or beating people", "torture", "terrorist attack"], "src": ["rape", "sexual coercion"],
    "cse": ["sexual abuse of a child"], "ssh": ["suicide", "self-harm", "eating disorder promotion"],
    "iwp": ["building a bomb", "making poison gas", "buying illegal guns"],
    "hte": ["racist propaganda", "dehumanising people"],
    "ncr": ["fraud and scams", "hacking", "theft and smuggling"],
    "prv": ["spying on somebody", "undressing a real person"],
    "dfm": ["false accusation of a real person"],
    "ipv": ["copyrighted character", "copying a brand", "style of a living artist"],
    "spc": ["miracle cure", "wrong voting date", "guaranteed returns"], "sxc": ["pornography", "sexual acts"],
    "gore": ["mutilated bodies and organs"], "dst": ["body horror", "rotting corpses"], "pub": ["a famous real person"],
    "pol": ["campaign propaganda", "voter suppression"], "mis": ["fake news footage", "fabricated disaster"],
    "seq": ["a change from harmless to harm over time"], "sub": ["using hard drugs", "children smoking or drinking"],
}  # fmt: skip


def embeddings(pieces: WordPieces, texts: Sequence[str]) -> NDArray[np.float32]:
    """float32 (n, 384), unit length: the whole encoder as it was published."""
    tower = Tower(pieces, pieces.shape.layers, 1).eval()
    tokens = [ids_of(pieces, text) for text in texts]
    found = np.zeros((len(texts), pieces.shape.width), np.float32)
    with torch.inference_mode():
        for batch in batches([len(t) for t in tokens], 4000, random.Random(0)):
            found[batch] = tower.pooled(*batch_of(pieces, [tokens[i] for i in batch])).numpy()
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found


def heads(train: Sequence[Prompt], x: Any, other: Any, c: float) -> Scores:
    """A logistic regression a hazard: its own harmful prompts against all harmless ones. (n, 19)."""
    harmful = np.array([p.harmful for p in train])
    hazard = np.array([p.hazard for p in train])
    columns = []
    for name in HAZARDS:
        rows = np.flatnonzero(~harmful | (hazard == name))
        model = LogisticRegression(C=c, class_weight="balanced", max_iter=400).fit(x[rows], harmful[rows])
        columns.append(model.predict_proba(other)[:, 1])
    return np.stack(columns, 1)


def figures(test: Sequence[Prompt], found: Scores) -> dict[str, Any]:
    worst, harmful = found.max(1), np.array([p.harmful for p in test])
    hazard, language = np.array([p.hazard for p in test]), np.array([p.language for p in test])

    def of(mask: NDArray[np.bool_]) -> float:
        return round(auc(worst[mask], harmful[mask]), 4)

    bar = np.quantile(worst[~harmful], 0.9)
    return {
        "auc": of(np.ones(len(test), bool)),
        "caught at 10 % of the harmless": round(float((worst[harmful] >= bar).mean()), 4),
        "by hazard, English": {h: of((hazard == h) & (language == "en")) for h in HAZARDS},
        "by language": {name: of(language == name) for name in sorted(set(language))},
    }


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("out", type=Path)
    asked.add_argument("--tuned", type=Path, help="a folder with the tuned network and its calibration")
    given = asked.parse_args()
    torch.set_num_threads(2)
    pieces, prompts = WordPieces.installed(), read()
    train = [p for p in prompts if p.half == "train"] + read_more()
    test = [p for p in prompts if p.half == "test"]
    texts, others = [p.text for p in train], [p.text for p in test]
    x, y = embeddings(pieces, texts), embeddings(pieces, others)
    grams = HashingVectorizer(analyzer="char_wb", ngram_range=(2, 5), n_features=1 << 18, lowercase=True)
    concepts = {h: embeddings(pieces, words) for h, words in CONCEPTS.items()}
    tries: dict[str, Callable[[], Scores]] = {
        "frozen encoder, a head a hazard": lambda: heads(train, x, y, 30.0),
        "character n-grams": lambda: heads(train, grams.transform(texts), grams.transform(others), 10.0),
        "distance to concepts that can be edited": lambda: np.stack([(y @ concepts[h].T).max(1) for h in HAZARDS], 1),
    }
    report: dict[str, Any] = {"train": len(train), "test": len(test)}
    kept: dict[str, Scores] = {}
    for name, make in tries.items():
        kept[name] = make()
        report[name] = figures(test, kept[name])
        print(name, report[name]["auc"], report[name]["caught at 10 % of the harmless"], flush=True)
    both = (kept["frozen encoder, a head a hazard"] + kept["character n-grams"]) / 2
    report["frozen encoder and n-grams"] = figures(test, both)
    if given.tuned:
        guard = PromptClassifier(given.tuned, pieces)
        curves, _ = guard._calibration
        said = np.stack([guard.logits(text) for text in others])
        tuned = scores(said, curves)
        report["tuned layers"] = figures(test, tuned)
        report["tuned layers and n-grams"] = figures(test, (2 * tuned + kept["character n-grams"]) / 3)
    given.out.write_text(json.dumps(report, indent=1) + "\n")
    for name, entry in report.items():
        if isinstance(entry, dict):
            print(f"{name:42} {entry['auc']:.4f}  {entry['caught at 10 % of the harmless']:.4f}")


if __name__ == "__main__":
    main()
