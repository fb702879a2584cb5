"""The video section: marks a clip, encodes it once, and detects on many pieces of the copy."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from ...errors import FiligranaError
from ...provenance.identity import AssetId
from ...provenance.media.values import Frame
from . import metrics
from .clips import VIDEO_ATTACKS, clip, encoded
from .pictures import RGB, names, picture
from .plan import BenchSettings, Unit


class _Stopwatch:
    """CPU seconds that a stream of frames took to make, itself not counted in what consumes it."""

    def __init__(self, frames: Iterator[Frame]) -> None:
        self._frames, self.seconds, self.count = frames, 0.0, 0

    def __iter__(self) -> Iterator[Frame]:
        while True:
            started = time.process_time()
            frame = next(self._frames, None)
            self.seconds += time.process_time() - started
            if frame is None:
                return
            self.count += 1
            yield frame


def measure_video(codec: Any, settings: BenchSettings, unit: Unit) -> dict[str, Any]:
    """All attacks that share the unit's encoding, on one clip; ``codec``: the port for frames."""
    name, crf, scale = unit.group.split("|")
    listed = names(settings.split, 1024, max(24, settings.clips))
    if unit.index >= len(listed):
        raise FiligranaError("there are fewer photographs than clips", code="bench.pictures")
    photo = picture(settings.split, 1024, max(24, settings.clips), unit.index)
    label = zlib.crc32(photo.name.encode())
    asset_id = AssetId(int(np.random.default_rng([settings.seed, label, 25]).integers(0, 1 << 60)))
    made = _Stopwatch(clip(photo.rgb, settings.seed + unit.index, settings.clip_seconds, *settings.clip_size))
    marked = _Stopwatch(iter(codec.embed(made, asset_id)))
    data = encoded(marked, name, int(crf), float(scale))
    embed_cpu = marked.seconds - made.seconds
    cells: dict[str, list[dict[str, Any]]] = {}
    for attack in VIDEO_ATTACKS:
        if "|".join(map(str, attack.encoding)) != unit.group:
            continue
        rng = attack.rng(settings.seed, photo.name)
        cells[attack.name] = []
        last = max(0.0, settings.clip_seconds - max(attack.seconds, 0.04))
        for _ in range(10 if attack.seconds == 0 else 5 if attack.seconds <= 1 else 3):
            copy = _Stopwatch(attack.copy(data, round(float(rng.uniform(0, last)), 3), rng))
            started = time.process_time()
            found = codec.detect(copy)
            cpu = time.process_time() - started - copy.seconds
            wrong = found.asset_id is not None and found.asset_id != asset_id
            cells[attack.name].append(
                {
                    "exact": found.asset_id == asset_id,
                    "wrong": wrong,
                    "score": round(float(found.score), 3),
                    "frames": found.frames,
                    "cpu": round(cpu, 4),
                }
            )
    about = {"licence": photo.licence, "author": photo.author, "package": photo.package}
    return {
        "name": photo.name,
        "about": about,
        "frames": made.count,
        "bytes": len(data),
        "embed_fps": round(made.count / max(1e-9, embed_cpu), 1),
        **_quality(codec, photo.rgb, settings, unit.index, asset_id),
        "video": cells,
    }


def _quality(codec: Any, photo: RGB, settings: BenchSettings, index: int, asset_id: AssetId) -> dict[str, Any]:
    """Mean PSNR and SSIM of every fifth frame of the first second, before it is encoded."""
    plain = list(clip(photo, settings.seed + index, 1.0, *settings.clip_size))
    pairs = [
        (a, b) for i, (a, b) in enumerate(zip(plain, codec.embed(iter(plain), asset_id), strict=True)) if i % 5 == 0
    ]
    return {
        "psnr": round(float(np.mean([metrics.psnr(a.rgb, b.rgb) for a, b in pairs])), 3),
        "ssim": round(float(np.mean([metrics.ssim(a.rgb, b.rgb) for a, b in pairs])), 5),
    }
