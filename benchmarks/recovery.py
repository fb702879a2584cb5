"""How long a stripped copy takes to its manifest, through the real service: POST /c2pa/v1/matches/byContent, over HTTP.

python benchmarks/recovery.py [--count N] [--json]

Pictures: rendered scenes of 512, 1024 and 2048 px, sealed by the real chain; each attacked as in docs/watermark.md. A
copy counts as found when the answer is exactly its own manifest.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1].parent))

from filigrana.pipeline.request import Release, SealRequest
from filigrana.tests.doubles import scene
from filigrana.tests.serving import engine, installed, running


def attacked(picture: Image.Image) -> dict[str, tuple[bytes, str]]:
    width, height = picture.size

    def saved(image: Image.Image, kind: str = "JPEG", **options: int) -> tuple[bytes, str]:
        out = io.BytesIO()
        image.save(out, kind, **options)
        return out.getvalue(), f"image/{kind.lower()}"

    page = Image.new("RGB", (int(width * 1.5), int(height * 1.4)), (236, 236, 238))
    page.paste(picture, (int(width * 0.2), int(height * 0.15)))
    return {
        "jpeg 75": saved(picture, quality=75),
        "webp 70": saved(picture, "WEBP", quality=70),
        "resize 60 %": saved(
            picture.resize((int(width * 0.6), int(height * 0.6)), Image.Resampling.LANCZOS), quality=85
        ),
        "crop 70 %": saved(
            picture.crop((width // 8, height // 8, width // 8 + int(width * 0.7), height // 8 + int(height * 0.7))),
            quality=85,
        ),
        "rotate 5°": saved(picture.rotate(5, Image.Resampling.BICUBIC, expand=True), quality=85),
        "screenshot": saved(page, "PNG"),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=4, help="pictures of each size")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        house = installed(Path(folder) / "data")
        made = []
        for size in (512, 1024, 2048):
            for seed in range(options.count):
                path = Path(folder) / f"{size}-{seed}.png"
                Image.fromarray(scene(1000 + seed, size, size * 3 // 4)).save(path)
                outcome = engine(house).seal(SealRequest(path, source_type="camera"))
                assert isinstance(outcome, Release), outcome
                made.append((size, outcome))
        times: dict[str, list[float]] = {}
        found: dict[str, int] = {}
        with running(house) as url, httpx.Client(base_url=url, timeout=60) as client:
            for size, release in made:
                label = client.get(f"/v1/records/{release.asset_id}").json()["manifest_id"]
                with Image.open(release.file) as opened:
                    picture = opened.convert("RGB")
                for name, (data, mime) in attacked(picture).items():
                    client.post("/c2pa/v1/matches/byContent", content=data, headers={"Content-Type": mime})  # warm
                    started = time.perf_counter()
                    answer = client.post("/c2pa/v1/matches/byContent", content=data, headers={"Content-Type": mime})
                    times.setdefault(f"{name} @{size}", []).append(1000 * (time.perf_counter() - started))
                    right = [m["manifestId"] for m in answer.json()["matches"]] == [label]
                    found[f"{name} @{size}"] = found.get(f"{name} @{size}", 0) + right
        house.close()
    rows = [
        {
            "attack": name,
            "found": found[name],
            "of": len(taken),
            "p50_ms": round(statistics.median(taken)),
            "p95_ms": round(float(np.percentile(taken, 95))),
        }
        for name, taken in sorted(times.items())
    ]
    everything = [one for taken in times.values() for one in taken]
    total = {
        "attack": "all",
        "found": sum(found.values()),
        "of": len(everything),
        "p50_ms": round(statistics.median(everything)),
        "p95_ms": round(float(np.percentile(everything, 95))),
    }
    if options.json:
        print(json.dumps([*rows, total]))
        return
    for row in [*rows, total]:
        print(
            f"{row['attack']:<20} found {row['found']}/{row['of']}   p50 {row['p50_ms']:>5} ms   p95 {row['p95_ms']:>5} ms"
        )


if __name__ == "__main__":
    main()
