"""From finished units to the report: rates with their intervals, bars met or not, quality, speed. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from .attacks import ATTACKS, BARS, GROUPS
from .clips import VIDEO_ATTACKS
from .metrics import wilson
from .sounding import BARS as SOUND_BARS

SCHEMA = "org.filigrana.watermark-bench.1"
_CALLED = {
    "psnr_mean": "PSNR in dB, mean",
    "psnr_min": "PSNR in dB, worst picture",
    "ssim_mean": "SSIM, mean",
}
QUALITY = {"psnr_mean": 42.0, "psnr_min": 39.5, "ssim_mean": 0.985}
SPEED = {
    ("1024", "embed"): 0.060,
    ("1024", "detect untouched"): 0.040,
    ("1024", "detect half size"): 0.040,
    ("1024", "detect rotated"): 0.400,
    ("1024", "search unmarked"): 0.600,
}
"""CPU seconds on one core for 1024 x 1024 px."""
VIDEO_SPEED = {"embed_fps": 60.0}
Result = dict[str, Any]


def rate(cells: Sequence[Result], bar: float | None) -> Result:
    """Exact ids among cells, with Wilson's 95 % interval, wrong ids, and whether the bar is met (None: no bar, or
    nothing measured)."""
    exact, count = sum(bool(c["exact"]) for c in cells), len(cells)
    low, high = wilson(exact, count)
    share = exact / count if count else None
    return {
        "n": count,
        "exact": exact,
        "rate": None if share is None else round(share, 5),
        "low": round(low, 5),
        "high": round(high, 5),
        "wrong": sum(bool(c["wrong"]) for c in cells),
        "bar": bar,
        "met": None if bar is None or share is None else share >= bar,
    }


def _spread(values: Iterable[float | None], pick_worst: Callable[[Iterable[float]], float]) -> tuple[Any, Any]:
    known = [v for v in values if v is not None]
    return (round(float(np.mean(known)), 4), round(float(pick_worst(known)), 4)) if known else (None, None)


def quality(pictures: Sequence[Result]) -> Result:
    """Means and worst cases of PSNR, SSIM and FLIP, and which picture is worst. A PSNR is missing only where nothing
    was changed."""
    psnr = _spread((p["psnr"] for p in pictures), min)
    ssim = _spread((p["ssim"] for p in pictures), min)
    flip = _spread((p["flip"] for p in pictures), max)
    worst = min(pictures, key=lambda p: p["psnr"] or np.inf)["name"] if pictures else None
    values: Result = {
        "n": len(pictures),
        "psnr_mean": psnr[0],
        "psnr_min": psnr[1],
        "ssim_mean": ssim[0],
        "ssim_min": ssim[1],
        "flip_mean": flip[0],
        "flip_max": flip[1],
        "worst": worst,
    }
    values["met"] = {k: values[k] is not None and values[k] >= bar for k, bar in QUALITY.items()}
    return values


def _of(results: Iterable[Result], *kinds: str) -> list[Result]:
    return [r for r in results if r["kind"] in kinds and "error" not in r]


def _set(result: Result) -> str:
    return "art" if result["kind"] == "art" else str(result["group"])


def _codec(pictures: Sequence[Result], speeds: Sequence[Result]) -> Result:
    sets = list(dict.fromkeys(_set(p) for p in pictures))
    chosen = [a for a in ATTACKS if any(a.name in p["attacks"] for p in pictures)]
    by_attack: Result = {}
    for attack in chosen:
        cells = {s: [p for p in pictures if _set(p) == s and attack.name in p["attacks"]] for s in sets}
        everything = [p["attacks"][attack.name] for ps in cells.values() for p in ps]
        failed = [
            f"{p['name']} ({_set(p)})" for ps in cells.values() for p in ps if not p["attacks"][attack.name]["exact"]
        ]
        by_attack[attack.name] = {
            "group": attack.group,
            "all": rate(everything, attack.bar),
            "sets": {s: rate([p["attacks"][attack.name] for p in ps], attack.bar) for s, ps in cells.items()},
            "failed": failed,
            "cpu_median": round(float(np.median([c["cpu"] for c in everything])), 4),
        }
    rows: Result = {}
    for group, bar in BARS.items():
        members = [name for name in by_attack if by_attack[name]["group"] == group]
        if not members:
            continue
        cells_of_row = [p["attacks"][name] for p in pictures for name in members if name in p["attacks"]]
        weakest = min(members, key=lambda name: by_attack[name]["all"]["rate"])
        pooled = rate(cells_of_row, bar)
        # The strict reading of "at least": every attack of a row has to be there by itself.
        pooled["met"] = all(by_attack[name]["all"]["met"] for name in members)
        rows[group] = {
            **pooled,
            "weakest": weakest,
            "weakest_rate": by_attack[weakest]["all"]["rate"],
            "sets": {
                s: rate([p["attacks"][n] for p in pictures if _set(p) == s for n in members if n in p["attacks"]], bar)
                for s in sets
            },
            "about": GROUPS[group],
        }
    kinds = {"photographs": [p for p in pictures if _set(p) != "art"], "art": [p for p in pictures if _set(p) == "art"]}
    both = {name: quality(members) for name, members in kinds.items() if members}
    first = pictures[0] if pictures else {}
    return {
        "called": first.get("called") or (speeds[0]["called"] if speeds else None),
        "bits": first.get("bits"),
        "claims": first.get("claims"),
        "pictures": len(pictures),
        "quality": {s: quality([p for p in pictures if _set(p) == s]) for s in sets if s != "art"} | both,
        "attacks": by_attack,
        "rows": rows,
        "speed": {s["group"]: s["cpu"] for s in speeds},
    }


def null_summary(chunks: Sequence[Result]) -> Result | None:
    """What unmarked pictures gave. ``bound``: the largest false-positive rate that this count does not contradict
    at 95 % (the rule of three when there was none). ``quantiles``: at how many of the decodes the p-value was at or
    under 10^-k; a calibrated detector has about that share, and never more than it by much."""
    if not chunks:
        return None
    scores = np.array([s for c in chunks for s in c["scores"]])
    p = np.array([v for c in chunks for v in c["p_values"]])
    kinds = [k for c in chunks for k in c["kinds"]]
    hits = [h for c in chunks for h in c["hits"]]
    count = len(scores)
    counts, edges = np.histogram(scores, bins=60)
    by_kind = {
        kind: {
            "n": kinds.count(kind),
            "hits": sum(h["kind"] == kind for h in hits),
            "score_max": round(float(max(s for s, k in zip(scores, kinds, strict=True) if k == kind)), 3),
        }
        for kind in dict.fromkeys(kinds)
    }
    return {
        "n": count,
        "hits": len(hits),
        "found": hits[:50],
        "bound": round(3.0 / count, 9) if not hits else round(wilson(len(hits), count)[1], 9),
        "score_mean": round(float(scores.mean()), 4),
        "score_sd": round(float(scores.std()), 4),
        "score_max": round(float(scores.max()), 4),
        "histogram": {"counts": counts.tolist(), "edges": [round(float(e), 4) for e in edges]},
        "kinds": by_kind,
        "p_min": float(p.min()),
        "quantiles": {f"1e-{k}": round(float(np.mean(p <= 10.0**-k)), 8) for k in range(1, 9)},
        "p_sorted": [float(f"{v:.4g}") for v in np.sort(p)[_log_ranks(count)]],
        "ranks": (_log_ranks(count) + 1).tolist(),
        "cpu_mean": round(sum(c["cpu"] for c in chunks) / count, 4),
        "met": not hits,
    }


def _log_ranks(count: int) -> Any:
    """Up to 200 ranks below ``count``, even on a logarithmic scale: the small p-values are what matters."""
    return np.unique(np.round(np.geomspace(1, count, 200)).astype(int)) - 1


def _removal(results: Sequence[Result]) -> Result:
    names = list(dict.fromkeys(name for r in results for name in r["removal"]))
    out: Result = {}
    for name in names:
        cells = [r["removal"][name] for r in results if name in r["removal"]]
        out[name] = rate(cells, None) | {
            "psnr_mean": round(float(np.mean([c["psnr"] for c in cells])), 2),
            "ssim_mean": round(float(np.mean([c["ssim"] for c in cells])), 4),
        }
        if any("second" in c for c in cells):
            out[name]["second_id"] = sum(bool(c.get("second")) for c in cells)
    return out


def _video(results: Sequence[Result]) -> Result:
    attacks: Result = {}
    for attack in VIDEO_ATTACKS:
        cells = [c for r in results for c in r["video"].get(attack.name, [])]
        if cells:
            more = {k: round(float(np.median([c[k] for c in cells])), 4) for k in ("frames", "cpu")}
            attacks[attack.name] = rate(cells, attack.bar) | more
    one = {r["name"]: r for r in results}.values()
    embed = round(float(np.median([r["embed_fps"] for r in results])), 1)
    return {
        "attacks": attacks,
        "clips": [{"name": r["name"], **r["about"], "psnr": r["psnr"], "ssim": r["ssim"]} for r in one],
        "psnr_mean": round(float(np.mean([r["psnr"] for r in one])), 2),
        "ssim_mean": round(float(np.mean([r["ssim"] for r in one])), 4),
        "embed_fps": embed,
        "met": {"embed_fps": embed >= VIDEO_SPEED["embed_fps"]},
    }


def _sound(results: Sequence[Result]) -> Result:
    names = list(dict.fromkeys(name for r in results for name in r["attacks"]))
    return {
        "codec": results[0]["codec"],
        "snr_mean": round(float(np.mean([r["snr"] for r in results])), 2),
        "snr_min": round(float(min(r["snr"] for r in results)), 2),
        "attacks": {n: rate([r["attacks"][n] for r in results if n in r["attacks"]], SOUND_BARS.get(n)) for n in names},
        "sounds": [{k: r[k] for k in ("sound", "family", "source", "licence", "snr")} for r in results],
    }


def summarise(results: Sequence[Result], codecs: Sequence[str]) -> Result:
    """The report's measured part. The bars are those of the first codec."""
    out: Result = {"codecs": {}, "errors": _errors(results)}
    for codec in codecs:
        mine = [r for r in results if r["codec"] == codec]
        pictures, speeds = _of(mine, "picture", "art"), _of(mine, "speed")
        if pictures or speeds:
            out["codecs"][codec] = _codec(pictures, speeds)
    main = [r for r in results if r["codec"] == codecs[0]]
    video, sound, removal = _of(main, "video"), _of(results, "sound"), _of(main, "removal")
    out["null"] = null_summary(_of(main, "null"))
    out["removal"] = _removal(removal) if removal else None
    out["collected"] = removal[0]["collected"] if removal else None
    out["video"] = _video(video) if video else None
    out["sound"] = _sound(sound) if sound else None
    out["bars"] = bars(out, codecs[0])
    out["met"] = bool(out["bars"]) and all(bar["met"] for bar in out["bars"])
    return out


def _errors(results: Sequence[Result]) -> list[Result]:
    told: dict[str, Result] = {}
    for r in results:
        if "error" in r:
            line = told.setdefault(f"{r['kind']}|{r['codec']}|{r['error']}", {**{k: r[k] for k in ("kind", "codec")}})
            line.update(error=r["error"], hint=r.get("hint", ""), count=line.get("count", 0) + 1)
    return list(told.values())


def bars(out: Result, codec: str) -> list[Result]:
    """Every bar that this run can judge, as {section, name, bar, value, met, note}."""
    found: list[Result] = []

    def add(section: str, name: str, bar: float, value: float | None, met: bool, note: str = "") -> None:
        found.append({"section": section, "name": name, "bar": bar, "value": value, "met": met, "note": note})

    mine = out["codecs"].get(codec)
    if mine and mine["pictures"]:
        for row in mine["rows"].values():
            note = f"weakest: {row['weakest']} {row['weakest_rate']:.3f}" if row["weakest_rate"] < 1 else ""
            add("pictures", row["about"], row["bar"], row["rate"], row["met"], note)
        for kind in ("photographs", "art"):
            # Apart, so that neither kind hides the other: flat art is the hard case for masking.
            for name, bar in QUALITY.items() if kind in mine["quality"] else ():
                value = mine["quality"][kind][name]
                add("quality", f"{_CALLED[name]}, {kind}", bar, value, value is not None and value >= bar)
        wrong = sum(a["all"]["wrong"] for a in mine["attacks"].values())
        add("pictures", "wrong ids", 0, wrong, wrong == 0)
    if mine:
        for (size, name), bar in SPEED.items():
            if (value := mine["speed"].get(size, {}).get(name)) is not None:
                add("speed", f"{name}, {size} x {size} px, CPU s", bar, value, value <= bar)
    for section in ("video", "sound"):
        for name, entry in (out[section] or {"attacks": {}})["attacks"].items():
            if entry["bar"] is not None:
                add(section, name, entry["bar"], entry["rate"], bool(entry["met"]))
    if out["video"]:
        add("speed", "720p embedding, frames/s", 60, out["video"]["embed_fps"], out["video"]["met"]["embed_fps"])
    if out["null"]:
        null = out["null"]
        add(
            "false positives",
            f"of {null['n']:,} unmarked decodes",
            0,
            null["hits"],
            null["met"],
            f"bound {null['bound']:.1e}",
        )
    return found
