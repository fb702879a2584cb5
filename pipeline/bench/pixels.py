"""Attacks on the values of a picture: compression, tone, noise and filters. Each keeps the picture's size."""

from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from .pictures import RGB


def coded(rgb: RGB, kind: str, **options: Any) -> RGB:
    """The picture written by Pillow as ``kind`` (JPEG, WEBP, AVIF) and read again."""
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, kind, **options)
    out.seek(0)
    with Image.open(out) as image:
        return np.array(image.convert("RGB"))


def jpeg(rgb: RGB, quality: int) -> RGB:
    """4:2:0 with the standard tables of libjpeg, as almost every program writes it."""
    return coded(rgb, "JPEG", quality=quality, subsampling=2)


def webp(rgb: RGB, quality: int) -> RGB:
    return coded(rgb, "WEBP", quality=quality, method=4)


def avif(rgb: RGB, quality: int) -> RGB:
    return coded(rgb, "AVIF", quality=quality, speed=8, subsampling="4:2:0", max_threads=1)


def palette(rgb: RGB, colours: int = 256) -> RGB:
    """PNG-8: an adaptive palette (median cut) with Floyd-Steinberg dithering."""
    return np.array(Image.fromarray(rgb).quantize(colours, method=Image.Quantize.MEDIANCUT).convert("RGB"))


def brightness(rgb: RGB, factor: float) -> RGB:
    return cv2.convertScaleAbs(rgb, alpha=factor)  # type: ignore[return-value]


def contrast(rgb: RGB, factor: float) -> RGB:
    """Distances from the mean luma, times ``factor``."""
    return np.array(ImageEnhance.Contrast(Image.fromarray(rgb)).enhance(factor))


def gamma(rgb: RGB, exponent: float) -> RGB:
    table = np.rint(255 * (np.arange(256) / 255) ** exponent).astype(np.uint8)
    return table[rgb]


def saturation(rgb: RGB, factor: float) -> RGB:
    return np.array(ImageEnhance.Color(Image.fromarray(rgb)).enhance(factor))


def noise(rgb: RGB, rng: np.random.Generator, sigma: float) -> RGB:
    """Independent Gaussian noise in each channel, ``sigma`` of 255."""
    drawn = rng.standard_normal(rgb.shape, np.float32)
    return np.clip(np.rint(rgb + sigma * drawn), 0, 255).astype(np.uint8)


def blur(rgb: RGB, sigma: float) -> RGB:
    return np.asarray(cv2.GaussianBlur(rgb, (0, 0), sigma), np.uint8)


def median(rgb: RGB, side: int) -> RGB:
    return np.asarray(cv2.medianBlur(rgb, side), np.uint8)


def sharpen(rgb: RGB) -> RGB:
    """An unsharp mask at the defaults of Pillow: radius 2 px, 150 %."""
    return np.array(Image.fromarray(rgb).filter(ImageFilter.UnsharpMask(2, 150, 3)))


def grey(rgb: RGB) -> RGB:
    return np.asarray(np.repeat(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2), np.uint8)
