"""Sprites: fetched from the npm package by hash, and rasterised."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .objects import PACKAGE, SHA256, VERSION

WORK = Path(__file__).resolve().parent.parent / "work"


def fetch(folder: Path = WORK) -> Path:
    """Downloads the package with `npm pack`, checks its SHA-256, and returns the path of icons.json."""
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"{PACKAGE.strip('@').replace('/', '-')}-{VERSION}.tgz"
    if not archive.exists():
        subprocess.run(["npm", "pack", f"{PACKAGE}@{VERSION}"], cwd=folder, check=True)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest != SHA256:
        raise ValueError(f"{archive.name} has SHA-256 {digest}, expected {SHA256}")
    icons = folder / "icons.json"
    if not icons.exists():
        with tarfile.open(archive) as tar:
            member = tar.extractfile("package/icons.json")
            assert member is not None
            icons.write_bytes(member.read())
    return icons


def rasterise(body: str, side: int) -> NDArray[np.float32]:
    """An icon's SVG body as (side, side, 4) straight-alpha RGBA in 0..1."""
    import resvg_py
    from PIL import Image as Pillow

    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="0 0 32 32" width="{side}" height="{side}">{body}</svg>'
    )
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg))
    with Pillow.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGBA"), np.float32) / np.float32(255)
