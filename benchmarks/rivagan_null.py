"""rivaGan on unmarked pictures, and on marked ones: what its floor and p-value rest on.

    OMP_NUM_THREADS=1 python benchmarks/rivagan_null.py [UNMARKED] [MARKED] [SEED]

Decodes UNMARKED (default 400) pictures of the bench's null (pieces of the tuning photographs and art under random
scales, tones and JPEG, text pages, noise), each as it is and turned by 180 degrees, and MARKED (default 40) photographs
at 256 px, untouched and after JPEG 75. Prints one JSON object:

- `share of ones`: of each bit on unmarked pictures, lowest and highest (0.5 for a fair coin);
- `independent bits`: the participation ratio of the logits' covariance (32 for independent ones);
- `agreement of unrelated`: bits that two unmarked pictures of different sources share, mean and 99.9 % quantile;
- `score`: quantiles of the absolute score, how many lie over the floor, and the distribution that bounds the tail;
- `marked`: exact words, words with at most 2 wrong bits, and how many are over the floor.
"""

from __future__ import annotations

import json
import sys
import time

import cv2
import numpy as np

from filigrana.pipeline.bench.null import unmarked
from filigrana.pipeline.bench.pictures import pictures
from filigrana.pipeline.bench.pixels import jpeg
from filigrana.provenance.media.values import Frame
from filigrana.provenance.watermark.rivagan import FLOOR, NULL_SCALE, RivaGan, p_value, presence, word_of

SIDE = 256
"""The middle of each picture, in px: decoding takes time with the area."""


def middle(rgb: np.ndarray) -> np.ndarray:
    top, left = (max(0, (n - SIDE) // 2) for n in rgb.shape[:2])
    return np.ascontiguousarray(rgb[top : top + SIDE, left : left + SIDE])


def turned(rgb: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(rgb[::-1, ::-1])


def null(codec: RivaGan, count: int, seed: int) -> dict[str, object]:
    pool = pictures("tuning", 512, 64)
    photos, art = [p for p in pool if p.kind == "photograph"], [p for p in pool if p.kind == "art"]
    logits: list[np.ndarray] = []
    scores: list[float] = []
    by_kind: dict[str, list[float]] = {}
    for number in range(count):
        kind, rgb = unmarked(seed, number, photos, art, [], [])
        piece = middle(rgb)
        pair = codec.logits(piece), codec.logits(turned(piece))
        logits.append(pair[0])
        scores.append(abs(presence(*pair)))
        by_kind.setdefault(kind, []).append(scores[-1])
    values, score = np.array(logits), np.array(scores)
    ones = (values > 0).mean(0)
    unit = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-9)
    spectrum = np.linalg.eigvalsh(unit.T @ unit)
    words = np.array([word_of(v) for v in values], np.uint32)
    pairs = np.bitwise_count(words[:, None] ^ words[None])[np.triu_indices(len(words), 1)]
    ranked = np.sort(score)[::-1]
    # The logistic scale that puts each ranked score's p-value no lower than its empirical rank, over the upper tenth.
    needed = [s / np.log(2 * count / (i + 1) - 1) for i, s in enumerate(ranked[: max(1, count // 10)])]
    quantiles = {f"{q:g}": round(float(np.quantile(score, q)), 3) for q in (0.5, 0.9, 0.99, 0.999, 1.0)}
    return {
        "decodes": 2 * count,
        "pictures": count,
        "share of ones": [round(float(ones.min()), 3), round(float(ones.max()), 3)],
        "independent bits": round(float(spectrum.sum() ** 2 / (spectrum**2).sum()), 1),
        "agreement of unrelated": [round(float(32 - np.quantile(pairs, q)), 1) for q in (0.5, 0.001)],
        "pairs with at most 2 bits apart": [int((pairs <= 2).sum()), len(pairs)],
        "score": quantiles,
        "over the floor": int((score >= FLOOR).sum()),
        "floor": [FLOOR, p_value(FLOOR)],
        "logistic scale": {"needed": round(float(max(needed)), 4), "stored": NULL_SCALE},
        "by kind, 99 %": {k: [len(v), round(float(np.quantile(v, 0.99)), 2)] for k, v in sorted(by_kind.items())},
    }


def marked(codec: RivaGan, count: int, seed: int) -> dict[str, object]:
    rng = np.random.default_rng([seed, 1])
    outcome: dict[str, list[tuple[int, float]]] = {"untouched": [], "JPEG 75": []}
    for picture in pictures("tuning", 256, count):
        tag = int(rng.integers(0, 1 << 32))
        done = next(codec.embed([Frame(middle(picture.rgb))], tag)).rgb
        for name, copy in (("untouched", done), ("JPEG 75", jpeg(done, 75))):
            read = codec.logits(copy)
            wrong = (word_of(read) ^ tag).bit_count()
            outcome[name].append((wrong, presence(read, codec.logits(turned(copy)))))
    return {
        name: {
            "pictures": len(rows),
            "exact": sum(w == 0 for w, _ in rows),
            "at most 2 wrong": sum(w <= 2 for w, _ in rows),
            "over the floor": sum(s >= FLOOR for _, s in rows),
            "over the floor with at most 2 wrong": sum(s >= FLOOR and w <= 2 for w, s in rows),
        }
        for name, rows in outcome.items()
    }


def main() -> None:
    count, with_mark, seed = (int(sys.argv[i]) if len(sys.argv) > i else d for i, d in ((1, 400), (2, 40), (3, 2026)))
    cv2.setNumThreads(1)
    codec, started = RivaGan(threads=1), time.process_time()
    answer: dict[str, object] = {}
    if count:
        answer["unmarked"] = null(codec, count, seed)
        answer["unmarked, CPU seconds"] = round(time.process_time() - started)
    if with_mark:
        answer["marked"] = marked(codec, with_mark, seed)
    print(json.dumps(answer, indent=1))


if __name__ == "__main__":
    main()
