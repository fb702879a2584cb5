"""The removal section: what an attacker learns from many marked pictures, and what it does to others."""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import Any

import numpy as np

from ...errors import FiligranaError
from ...provenance.identity import AssetId
from . import metrics
from .peers import Contestant
from .pictures import RGB, names, picture
from .plan import BenchSettings
from .removal import SIDE, Collected, learn, removals


def _id(seed: int, label: str) -> AssetId:
    return AssetId(int(np.random.default_rng([seed, zlib.crc32(label.encode())]).integers(0, 1 << 60)))


@lru_cache(maxsize=1)
def _learned(codec: Any, settings: BenchSettings) -> Collected:
    """From other pictures than the targets, each marked with its own id. ``codec``: a Contestant, one object a run."""
    total = settings.targets + settings.collected
    count = len(names(settings.split, SIDE, total))
    collected: list[RGB] = []
    for index in range(min(settings.targets, count - 1), count):
        shown = picture(settings.split, SIDE, total, index)
        collected.append(codec.embed(shown.rgb, _id(settings.seed, f"collected {index}"))[:SIDE, :SIDE])
    return learn(collected)


def measure_removal(codec: Contestant, settings: BenchSettings, index: int) -> dict[str, Any]:
    """One target: for each attack, whether the id survives, and what the attack cost against the original. PSNR
    means little where pixels moved."""
    total = settings.targets + settings.collected
    if index >= len(names(settings.split, SIDE, total)):
        raise FiligranaError("there are fewer pictures than targets", code="bench.pictures")
    shown = picture(settings.split, SIDE, total, index)
    learned: Any = _learned  # a Contestant need not say that it can be hashed; every object can
    know: Collected = learned(codec, settings)
    asset_id = _id(settings.seed, f"target {index}")
    marked = codec.embed(shown.rgb, asset_id)
    cells: dict[str, Any] = {}
    for name, attack in removals().items():
        rng = np.random.default_rng([settings.seed, zlib.crc32(name.encode()), index])
        try:
            copy = attack(marked, know, rng)
        except ImportError:
            continue  # the autoencoder needs the extra `generate`
        answer = codec.detect(copy, asset_id)
        wrong = bool(codec.claims and answer.found is not None and not answer.exact)
        cost = {"psnr": round(metrics.psnr(shown.rgb, copy), 2), "ssim": round(metrics.ssim(shown.rgb, copy), 4)}
        cells[name] = {"exact": answer.exact, "wrong": wrong, "score": round(answer.score, 3), **cost}
    second = _id(settings.seed, f"second {index}")
    twice = codec.embed(marked, second)
    answer = codec.detect(twice, asset_id)
    cost = {"psnr": round(metrics.psnr(shown.rgb, twice), 2), "ssim": round(metrics.ssim(shown.rgb, twice), 4)}
    is_second = codec.detect(twice, second).exact
    cells["a second mark over the first"] = {
        "exact": answer.exact,
        # The second id is really there: reading it is no false claim.
        "wrong": bool(codec.claims and answer.found is not None and not answer.exact and not is_second),
        "second": is_second,
        "score": round(answer.score, 3),
        **cost,
    }
    return {"name": shown.name, "collected": know.count, "removal": cells}
