"""Scores of unmarked pictures: what the watermark's floor rests on.

    python benchmarks/watermark_null.py [COUNT] [FOLDER]

Decodes COUNT (default 3,000) unmarked pictures: crops of the photographs in FOLDER (default: the one that ships with
the demo) under random flips, gains and scales, and procedural pictures with the flat areas and gradients that bias
an uncalibrated decoder. Prints the distribution of scores, the share over the floor, and how many passed the CRC.
"""

from __future__ import annotations

import json
import sys
import time
from importlib import resources
from pathlib import Path

import cv2
import numpy as np

from filigrana.provenance.media.files import picture_from_bytes
from filigrana.provenance.watermark.imwatermark import FLOOR, DwtDctSvd

SIDE = 320


def photographs(folder: Path | None) -> list[np.ndarray]:
    if folder is None:
        return [picture_from_bytes((resources.files("filigrana.pipeline.cli") / "photo.jpg").read_bytes())]
    files = [f for f in sorted(folder.iterdir()) if f.suffix.lower() in (".jpg", ".jpeg", ".png")]
    return [picture_from_bytes(f.read_bytes()) for f in files]


def photographic(rng: np.random.Generator, photos: list[np.ndarray]) -> np.ndarray:
    photo = photos[rng.integers(len(photos))]
    scale = SIDE / min(photo.shape[:2]) * rng.uniform(1.05, 2.5)
    big = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    top, left = (rng.integers(0, side - SIDE + 1) for side in big.shape[:2])
    crop = np.asarray(big[top : top + SIDE, left : left + SIDE], np.float64)
    if rng.random() < 0.5:
        crop = np.ascontiguousarray(crop[:, ::-1])
    changed = crop * rng.uniform(0.6, 1.4) + rng.uniform(-30, 30)
    return np.asarray(np.clip(changed, 0, 255), np.uint8)


def procedural(rng: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    a, b, c = (rng.uniform(0, 255, 3) for _ in range(3))
    picture = a + (b - a) * y[..., None] * rng.random() + (c - a) * x[..., None] * rng.random()
    for _ in range(rng.integers(0, 8)):
        cx, cy, r = rng.random(), rng.random(), rng.uniform(0.03, 0.35)
        picture[np.hypot(x - cx, y - cy) < r] = rng.uniform(0, 255, 3)
    noisy = picture + rng.normal(0, rng.uniform(0, 3), picture.shape)
    return np.asarray(np.clip(noisy, 0, 255), np.uint8)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    photos = photographs(Path(sys.argv[2]) if len(sys.argv) > 2 else None)
    rng, codec, scores, hits = np.random.default_rng(2026), DwtDctSvd(), [], 0
    started = time.process_time()
    for number in range(count):
        picture = photographic(rng, photos) if number % 2 else procedural(rng)
        detection = codec.detect([picture])
        scores.append(detection.score)
        hits += detection.asset_id is not None
    values = np.array(scores)
    print(
        json.dumps(
            {
                "pictures": count,
                "hits": hits,
                "mean": round(float(values.mean()), 3),
                "sd": round(float(values.std()), 3),
                "p99": round(float(np.quantile(values, 0.99)), 3),
                "max": round(float(values.max()), 3),
                "floor": FLOOR,
                "over_floor": int((values >= FLOOR).sum()),
                "cpu_ms": round((time.process_time() - started) / count * 1e3, 2),
            }
        )
    )


if __name__ == "__main__":
    main()
