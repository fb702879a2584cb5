"""Puts a bench run's results into report.json and report.html."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from .pictures import missing, sources
from .plan import BenchSettings, code_digest
from .summary import SCHEMA, summarise

_PACKAGES = (
    "filigrana", "numpy", "scipy", "opencv-python", "pillow", "av", "scikit-image", "scikit-learn", "matplotlib",
    "flip-evaluator", "invisible-watermark", "blind-watermark", "torch",
)  # fmt: skip


def versions() -> dict[str, str]:
    """The versions of the packages that decide the results, of those that are installed."""
    found: dict[str, str] = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def build(settings: BenchSettings, results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The whole report as JSON values. Nothing in it names a machine, a user or a folder."""
    used = {r["name"].partition("[")[0] for r in results if r["kind"] == "picture" and "error" not in r}
    return {
        "schema": SCHEMA,
        "made": datetime.now(UTC).replace(microsecond=0).isoformat(),
        "settings": settings.public(),
        "versions": versions(),
        "code": code_digest(),
        "split": {
            "name": settings.split,
            "rule": "the first hexadecimal digit of the file's SHA-256: under 8 is for tuning, the rest for the test",
        },
        "photographs": [
            {"name": s.name, "file": s.file, "package": s.package, "author": s.author, "licence": s.licence}
            | {"sha256": s.sha256, "split": s.split, "kind": s.kind}
            for s in sources()
            if s.name in used
        ],
        "missing": [{"file": m.source.file, "reason": m.reason, "command": m.command} for m in missing(settings.split)],
        **summarise(results, settings.codecs),
    }


def write_whole(path: Path, text: str) -> None:
    """The file appears complete, or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def examples(settings: BenchSettings, results: Sequence[dict[str, Any]], count: int = 9) -> list[tuple[str, Path]]:
    """(caption, strip) of the pictures in which the mark shows most, then of every few others."""
    mine = [
        r
        for r in results
        if r["kind"] in ("picture", "art") and r["codec"] == settings.codecs[0] and r.get("psnr") is not None
    ]
    ordered = sorted(mine, key=lambda r: (r["ssim"], r["psnr"]))
    step = max(1, len(ordered) // 6)
    chosen = list({r["key"]: r for r in [*ordered[:3], *ordered[step // 2 :: step]]}.values())[:count]
    out = []
    for r in chosen:
        path = settings.cache / "examples" / f"{zlib.crc32(r['key'].encode()):08x}.png"
        if path.is_file():
            what = "512 px, generated" if r["kind"] == "art" else f"{r['group']} px"
            out.append((f"{r['name']}, {what}: {r['psnr']:.1f} dB, SSIM {r['ssim']:.4f}", path))
    return out


def write(settings: BenchSettings, results: Sequence[dict[str, Any]], folder: Path) -> dict[str, Any]:
    """Writes both files and returns the report. The page needs matplotlib; the JSON is written first."""
    from .page import page

    report = build(settings, results)
    write_whole(folder / "report.json", json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    write_whole(folder / "report.html", page(report, list(results), examples(settings, results)))
    return report
