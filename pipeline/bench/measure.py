"""Does one unit of a bench run and returns what it measured as plain JSON values. Runs in worker processes."""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from ...errors import FiligranaError
from ...provenance.identity import AssetId
from . import metrics, shapes
from .attacks import Attack
from .null import unmarked
from .peers import Contestant, Port, contestant
from .pictures import RGB, Picture, names, picture
from .plan import NULL_CHUNK, BenchSettings, Unit

CROP = 160
"""Side in px of the example crops."""
Find = Callable[[str], Contestant]


def id_for(seed: int, *labels: str) -> AssetId:
    """The id that is put into a picture: by the seed and the labels, the same in every run."""
    rng = np.random.default_rng([seed, *(zlib.crc32(label.encode()) for label in labels)])
    return AssetId(int(rng.integers(0, 1 << 60)))


def measure(unit: Unit, settings: BenchSettings, find: Find = contestant) -> dict[str, Any]:
    """What a unit measured. A FiligranaError (a picture that a codec refuses, a package that is not there) is a
    result, under `error`; anything else is a fault and is raised."""
    cv2.setNumThreads(1)
    started = time.perf_counter()
    try:
        values = _MEASURES[unit.kind](unit, settings, find)
    except FiligranaError as error:
        values = {"error": error.message, "code": error.code, "hint": error.hint}
    return {
        "key": unit.key,
        "kind": unit.kind,
        "codec": unit.codec,
        "group": unit.group,
        "name": unit.name,
        **values,
    } | {"seconds": round(time.perf_counter() - started, 3)}


@cache
def _art(count: int, folder: Path, seed: int) -> list[Picture]:
    from .generated import generated

    return generated(count, folder, seed)


def _load(unit: Unit, settings: BenchSettings) -> Picture:
    if unit.kind == "art":
        return _art(settings.generated, settings.cache, settings.seed)[unit.index]
    found = picture(settings.split, int(unit.group), settings.count, unit.index)
    if unit.name and found.name != unit.name:
        raise FiligranaError(f"the list of pictures changed: {found.name}, not {unit.name}", code="bench.pictures")
    return found


def _round(value: float) -> float | None:
    return round(value, 5) if math.isfinite(value) else None


def attacked(codec: Contestant, marked: RGB, asset_id: AssetId, attack: Attack, seed: int, name: str) -> dict[str, Any]:
    """One cell: exact or not, a wrong id or not, and the CPU seconds of the detection."""
    copy = attack.run(marked, attack.rng(seed, name))
    started = time.process_time()
    answer = codec.detect(copy, asset_id)
    return {
        "exact": answer.exact,
        "wrong": bool(codec.claims and answer.found is not None and not answer.exact),
        "score": round(answer.score, 3),
        "cpu": round(time.process_time() - started, 4),
    }


def _picture(unit: Unit, settings: BenchSettings, find: Find) -> dict[str, Any]:
    codec, shown = find(unit.codec), _load(unit, settings)
    asset_id = id_for(settings.seed, shown.name, unit.group)
    started = time.process_time()
    marked = codec.embed(shown.rgb, asset_id)
    cpu = time.process_time() - started
    cells = {a.name: attacked(codec, marked, asset_id, a, settings.seed, shown.name) for a in settings.chosen()}
    _example(unit, settings, shown.rgb, marked)
    return {
        "name": shown.name,
        "about": {"licence": shown.licence, "author": shown.author, "package": shown.package, "kind": shown.kind},
        "width": shown.rgb.shape[1],
        "height": shown.rgb.shape[0],
        "claims": codec.claims,
        "bits": codec.bits,
        "called": codec.name,
        "psnr": _round(metrics.psnr(shown.rgb, marked)),
        "ssim": _round(metrics.ssim(shown.rgb, marked)),
        "flip": metrics.flip(shown.rgb, marked),
        "embed_cpu": round(cpu, 4),
        "attacks": cells,
    }


def _example(unit: Unit, settings: BenchSettings, original: RGB, marked: RGB) -> None:
    """Keeps a strip original | marked | ten times the difference, where the difference is largest."""
    if unit.codec != settings.codecs[0]:
        return
    change = np.abs(marked.astype(np.float32) - original).mean(2)
    where = cv2.boxFilter(change, -1, (CROP, CROP), borderType=cv2.BORDER_REFLECT)
    y, x = (int(v) for v in np.unravel_index(int(where.argmax()), where.shape))
    top = min(max(0, y - CROP // 2), max(0, original.shape[0] - CROP))
    left = min(max(0, x - CROP // 2), max(0, original.shape[1] - CROP))
    a, b = (p[top : top + CROP, left : left + CROP].astype(np.int16) for p in (original, marked))
    strip = np.concatenate([a, b, np.clip(128 + 10 * (b - a), 0, 255)], 1).astype(np.uint8)
    folder = settings.cache / "examples"
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(strip).save(folder / f"{zlib.crc32(unit.key.encode()):08x}.png", optimize=True)


# ── false positives ──────────────────────────────────────────────────────────────────────────────────────────────
@cache
def _material(settings: BenchSettings) -> tuple[list[Picture], list[Picture]]:
    size = min(1024, max(settings.sizes))
    count = len(names(settings.split, size, 24))
    try:
        art = _art(settings.generated, settings.cache, settings.seed) if settings.generated else []
    except FiligranaError:
        art = []  # without the extra `generate` the count goes on without art, and its table says so
    return [picture(settings.split, size, 24, i) for i in range(count)], art


def _null(unit: Unit, settings: BenchSettings, find: Find) -> dict[str, Any]:
    codec = find(unit.codec)
    photos, art = _material(settings)
    others = [find(name) for name in settings.codecs if name != unit.codec and find(name).name.count("rivaGan") == 0]
    keyed: list[Contestant] = []
    if isinstance(codec, Port):
        keyed = [contestant(unit.codec, f"another key {i}".encode()) for i in range(8)] if find is contestant else []
    scores, p_values, kinds, hits = [], [], [], []
    cpu = 0.0
    for number in range(unit.index * NULL_CHUNK, min(settings.null, (unit.index + 1) * NULL_CHUNK)):
        kind, rgb = unmarked(settings.seed, number, photos, art, others, keyed)
        started = time.process_time()
        answer = codec.detect(rgb, None)
        cpu += time.process_time() - started
        scores.append(round(answer.score, 3))
        p_values.append(float(f"{answer.p_value:.4g}"))
        kinds.append(kind)
        if answer.found is not None:
            hits.append({"number": number, "kind": kind, "id": str(answer.found), "score": answer.score})
    return {"scores": scores, "p_values": p_values, "kinds": kinds, "hits": hits, "cpu": round(cpu, 3)}


# ── speed ────────────────────────────────────────────────────────────────────────────────────────────────────────
def _speed(unit: Unit, settings: BenchSettings, find: Find) -> dict[str, Any]:
    """The median of CPU seconds over squares of three photographs, three times each after one to warm up."""
    codec, size = find(unit.codec), int(unit.group)
    works: dict[str, Callable[[RGB, RGB], Any]] = {
        "embed": lambda plain, _marked: codec.embed(plain, id_for(settings.seed, "speed")),
        "detect untouched": lambda _plain, marked: codec.detect(marked, None),
        "detect half size": lambda _plain, marked: codec.detect(shapes.resize(marked, 0.5), None),
        "detect rotated": lambda _plain, marked: codec.detect(
            shapes.rotate(marked, np.random.default_rng(3), 5, False), None
        ),
        "search unmarked": lambda plain, _marked: codec.detect(plain, None),
    }
    taken: dict[str, list[float]] = {name: [] for name in works}
    for index in range(min(3, len(names(settings.split, size, 24)))):
        rgb = picture(settings.split, size, 24, index).rgb
        top, left = (rgb.shape[0] - size) // 2, (rgb.shape[1] - size) // 2
        plain = np.ascontiguousarray(rgb[top : top + size, left : left + size])
        marked = codec.embed(plain, id_for(settings.seed, "speed"))
        for name, work in works.items():
            for turn in range(2 if codec.name.endswith("rivaGan") else 4):
                started = time.process_time()
                work(plain, marked)
                if turn:
                    taken[name].append(time.process_time() - started)
    return {"called": codec.name, "cpu": {name: round(float(np.median(t)), 4) for name, t in taken.items() if t}}


# ── removal, video, sound ────────────────────────────────────────────────────────────────────────────────────────
def _removal(unit: Unit, settings: BenchSettings, find: Find) -> dict[str, Any]:
    from .removing import measure_removal

    return measure_removal(find(unit.codec), settings, unit.index)


def _video(unit: Unit, settings: BenchSettings, find: Find) -> dict[str, Any]:
    from .filming import measure_video

    codec = find(unit.codec)
    if not isinstance(codec, Port):
        raise FiligranaError(f"{codec.name} takes no clips", code="bench.video")
    return measure_video(codec.codec, settings, unit)


def _sound(unit: Unit, settings: BenchSettings, _find: Find) -> dict[str, Any]:
    from .sounding import measure_sound

    return measure_sound(unit.index, settings.split, settings.seed)


_MEASURES: dict[str, Callable[[Unit, BenchSettings, Find], dict[str, Any]]] = {
    "picture": _picture,
    "art": _picture,
    "null": _null,
    "speed": _speed,
    "removal": _removal,
    "video": _video,
    "sound": _sound,
}
