"""Sprites: fetched from the npm package by hash, rasterised once, tinted by the dominant hue."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .objects import EVERYTHING, PACKAGE, SHA256, VERSION
from .palette import TINTS, Image

WORK = Path(__file__).resolve().parent.parent / "work"
SIZES: dict[str, int] = {"small": 160, "medium": 256, "large": 352}
"""Sides in pixels: 5, 8 and 11 cells."""

COLOURS: tuple[str, ...] = ("own", *TINTS)


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


def tint(rgba: NDArray[np.float32], colour: tuple[int, int, int], centre: float | None = None) -> NDArray[np.float32]:
    """Recolours the pixels of the sprite's dominant hue (or, of a grey sprite, its lighter greys).

    Shading is kept: darker than the group's mean stays darker, lighter goes towards white. `centre` overrides the
    hue, in degrees.
    """
    rgb, alpha = rgba[..., :3], rgba[..., 3]
    high, low = rgb.max(-1), rgb.min(-1)
    chroma = high - low
    r, g, b = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    safe = np.maximum(chroma, 1e-6)
    hue = np.where(high == r, ((g - b) / safe) % 6, np.where(high == g, (b - r) / safe + 2, (r - g) / safe + 4)) * 60
    lum = rgb @ np.asarray((0.299, 0.587, 0.114), np.float32)
    vivid = alpha * np.clip((chroma - 0.12) / 0.12, 0, 1)
    if centre is None and vivid.sum() < 0.3 * alpha.sum():
        weight = np.clip((lum - 0.3) / 0.15, 0, 1) * np.clip((0.3 - chroma) / 0.1, 0, 1)
    else:
        if centre is None:
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


def _premultiplied(rgba: NDArray[np.float32]) -> Image:
    soft = rgba.copy()
    soft[..., :3] *= soft[..., 3:]
    out: Image = np.rint(soft * 255).astype(np.uint8)
    return out


@dataclass(frozen=True)
class Sprites:
    """All sprites, rasterised: `rgba[size]` is (objects, colours, side, side, 4) premultiplied uint8.

    `mean` is (objects, colours, 3) float32: the mean visible colour, to avoid camouflage.
    """

    rgba: dict[str, Image]
    mean: NDArray[np.float32]


def load(folder: Path = WORK) -> Sprites:
    """The sprites from the cache in `folder`, rasterised first where they are missing."""
    key = hashlib.sha256((SHA256 + repr(EVERYTHING) + repr(SIZES) + repr(TINTS)).encode()).hexdigest()[:16]
    paths = {size: folder / f"sprites-{key}-{size}.npy" for size in SIZES}
    if not all(path.exists() for path in paths.values()):
        icons = json.loads(fetch(folder).read_text(encoding="utf-8"))["icons"]
        for size, side in SIZES.items():
            out = np.empty((len(EVERYTHING), len(COLOURS), side, side, 4), np.uint8)
            for row, thing in enumerate(EVERYTHING):
                base = rasterise(icons[thing.icon]["body"], side)
                for column, colour in enumerate(COLOURS):
                    image = base if colour == "own" else tint(base, TINTS[colour], thing.hue)
                    out[row, column] = _premultiplied(image)
            partial = paths[size].with_suffix(".tmp.npy")
            np.save(partial, out)
            partial.replace(paths[size])
    rgba = {size: np.load(path, mmap_mode="r") for size, path in paths.items()}
    small = np.asarray(rgba["small"], np.float32)
    cover = np.maximum(small[..., 3].sum((2, 3)), 1)[..., None]
    return Sprites(rgba, small[..., :3].sum((2, 3)) * 255 / cover)
