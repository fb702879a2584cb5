"""Decodes of unmarked pictures: what the watermark's floor and its p-values rest on.

    python benchmarks/watermark_null.py [DECODES] [SPLIT]

A search decodes only what its pilots promise, three or four times a picture. Here every unmarked picture (photographs
of the bench's split, text pages, noise, other codecs' and other keys' marks) is decoded in each of its eight
orientations and under each of the sixteen variants, at the shift that suits the variant best: 128 decodes that a search
could have made. Prints as JSON how many passed the CRC, the distribution of scores, and how it compares with the
p-value's model.
"""

from __future__ import annotations

import json
import sys
import time

import cv2
import numpy as np

from filigrana.pipeline.bench.null import unmarked
from filigrana.pipeline.bench.peers import contestant
from filigrana.pipeline.bench.pictures import pictures
from filigrana.provenance.watermark import imwatermark
from filigrana.provenance.watermark.detecting import _TURNS, _oriented, decode, view
from filigrana.provenance.watermark.dft import ALG, FLOOR, p_value
from filigrana.provenance.watermark.lattice import lattice
from filigrana.provenance.watermark.tile import fold, synchronise
from filigrana.provenance.watermark.variation import VARIANTS


def main() -> None:
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    split = sys.argv[2] if len(sys.argv) > 2 else "test"
    cv2.setNumThreads(1)
    photos = pictures(split, 1024, 24)  # type: ignore[arg-type]
    others, keyed = [contestant(imwatermark.ALG)], [contestant(ALG, bytes([n]) * 16) for n in range(3)]
    layout, passed, hits, number = lattice(), 0, 0, 0
    scores: list[float] = []
    kinds: dict[str, int] = {}
    started = time.process_time()
    while len(scores) < wanted:
        kind, picture = unmarked(2026, number, photos, [], others, keyed)
        number += 1
        kinds[kind] = kinds.get(kind, 0) + 1
        seen = view(picture)
        for turn, mirrored in _TURNS:
            folded = fold(_oriented(seen.plane, turn, mirrored))
            for sync in synchronise(layout, folded.spectrum, best=VARIANTS):
                decoded, _ = decode(layout, folded, sync)
                scores.append(decoded.score)
                passed += decoded.asset_id is not None
                hits += decoded.asset_id is not None and decoded.score >= FLOOR
    values = np.array(scores)
    model = np.array([p_value(score, 1, False) for score in values])
    print(
        json.dumps(
            {
                "decodes": len(values),
                "pictures": number,
                "kinds": kinds,
                "crc_passed": passed,
                "hits": hits,
                "score": {
                    "mean": round(float(values.mean()), 3),
                    "sd": round(float(values.std()), 3),
                    "p99": round(float(np.quantile(values, 0.99)), 3),
                    "p99.9": round(float(np.quantile(values, 0.999)), 3),
                    "max": round(float(values.max()), 3),
                },
                "floor": FLOOR,
                "over_floor": int((values >= FLOOR).sum()),
                "share_of_p_values_below": {
                    str(level): float(np.mean(model <= level)) for level in (0.5, 0.1, 0.01, 0.001, 0.0001)
                },
                "cpu_seconds": round(time.process_time() - started, 1),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
