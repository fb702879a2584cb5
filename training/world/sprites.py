"""Sprites: fetched from the npm package by hash, rasterised, tinted by the dominant hue."""

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


def tint(rgba: NDArray[np.float32], colour: tuple[int, int, int]) -> NDArray[np.float32]:
    """Recolours the pixels of the sprite's dominant hue (or, of a grey sprite, its lighter greys).

    Shading is kept: darker than the group's mean stays darker, lighter goes towards white.
    """
    rgb, alpha = rgba[..., :3], rgba[..., 3]
    high, low = rgb.max(-1), rgb.min(-1)
    chroma = high - low
    r, g, b = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    safe = np.maximum(chroma, 1e-6)
    hue = np.where(high == r, ((g - b) / safe) % 6, np.where(high == g, (b - r) / safe + 2, (r - g) / safe + 4)) * 60
    lum = rgb @ np.asarray((0.299, 0.587, 0.114), np.float32)
    vivid = alpha * np.clip((chroma - 0.12) / 0.12, 0, 1)
    if vivid.sum() < 0.3 * alpha.sum():
        weight = np.clip((lum - 0.3) / 0.15, 0, 1) * np.clip((0.3 - chroma) / 0.1, 0, 1)
    else:
        bins = np.bincount((hue // 5).astype(int).ravel(), weights=(vivid * chroma).ravel(), minlength=72)
        window = np.sum([np.roll(bins, k) for k in range(-7, 8)], axis=0)
        centre = float(np.argmax(window)) * 5 + 2.5
        away = np.abs((hue - centre + 180) % 360 - 180)
        weight = np.clip((58 - away) / 10, 0, 1) * np.clip((chroma - 0.06) / 0.08, 0, 1)
    mean = float((lum * weight * alpha).sum() / max(1e-6, float((weight * alpha).sum())))
    ratio = (lum / max(mean, 1e-3))[..., None]
    target = np.asarray(colour, np.float32) / 255
    shade = np.where(
        ratio <= 1, target * (0.25 + 0.75 * ratio), target + (1 - target) * np.clip((ratio - 1) * 0.7, 0, 0.85)
    )
    out = rgba.copy()
    out[..., :3] = rgb * (1 - weight[..., None]) + shade * weight[..., None]
    return out
