"""What a second layer costs and whether both marks still read: docs/adr/0010's table.

    OMP_NUM_THREADS=1 python benchmarks/second_layers.py [PICTURES] [LAYER...]

Marks PICTURES (default 4) tuning photographs at 512 px with the default codec, with each layer, and with both in
either order, and prints the mean PSNR, who reads untouched and after JPEG 75, the default codec's mean score, and CPU
seconds, as a JSON object a layer.
"""

from __future__ import annotations

import json
import sys
import time

import cv2
import numpy as np

from filigrana.pipeline.bench.pictures import pictures
from filigrana.pipeline.bench.pixels import jpeg
from filigrana.provenance.identity import AssetId
from filigrana.provenance.media.values import Frame
from filigrana.provenance.watermark import registry
from filigrana.provenance.watermark.rivagan import RivaGan


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(1e-9, np.mean((a.astype(float) - b) ** 2))))


def main() -> None:
    cv2.setNumThreads(1)
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 4
    names = sys.argv[2:] or ["dwtdctsvd", "rivagan"]
    photos = [p.rgb for p in pictures("tuning", 512, count)]
    rng, default = np.random.default_rng(75), registry.codec()
    ids = [AssetId(int(rng.integers(0, 1 << 60))) for _ in photos]
    for name in names:
        layer = RivaGan(threads=1) if name == "rivagan" else registry.second_layers([name])[0]
        orders: dict[str, list[registry.Layer]] = {
            "default alone": [default],
            "layer alone": [layer],
            "layer, then default": [layer, default],
            "default, then layer": [default, layer],
        }
        rows: dict[str, dict[str, object]] = {}
        for title, order in orders.items():
            quality, scores, seconds = [], [], []
            reads: dict[str, int] = {}
            for rgb, asset_id in zip(photos, ids, strict=True):
                started = time.process_time()
                marked = next(registry.mark_layers(order, [Frame(rgb)], asset_id)).rgb
                seconds.append(time.process_time() - started)
                quality.append(psnr(rgb, marked))
                for copy_name, copy in (("untouched", marked), ("JPEG 75", jpeg(marked, 75))):
                    for part in order:
                        whose = "default" if part is default else "layer"
                        found = registry.read_layer(part, [Frame(copy)], asset_id)
                        key = f"{whose} reads, {copy_name}"
                        reads[key] = reads.get(key, 0) + found.reads
                    if default in order and copy_name == "JPEG 75":
                        scores.append(default.detect([Frame(copy)]).score)
            rows[title] = {"PSNR": round(float(np.mean(quality)), 2), "lowest": round(min(quality), 2), **reads}
            rows[title]["CPU s, embedding"] = round(float(np.mean(seconds)), 3)
            if scores:
                rows[title]["default's score, JPEG 75"] = round(float(np.mean(scores)), 2)
        print(json.dumps({"layer": name, "pictures": len(photos)} | rows, indent=1), flush=True)


if __name__ == "__main__":
    main()
