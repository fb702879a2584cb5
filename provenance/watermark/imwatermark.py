"""The `invisible-watermark` package's dwtDctSvd method as a codec: its bit layout, our payload, its losses mended.

Method (N. Chen and others' MIT package, after the DWT-DCT-SVD scheme): a Haar wavelet halves the U channel; each
4 x 4 block of the approximation band is DCT-transformed; its largest singular value is moved to 1/4 or 3/4 of a
quantisation step: quantisation index modulation with a step of 36. Block i carries bit i mod 416 in raster order, so
the package's own decoder, asked for 416 bits, reads our marks, and the reverse.

Three things differ from the package, none of them in what a decoder sees:

- The package swaps the horizontal and vertical detail bands when it resynthesises, which costs about 3.5 dB. We
  put them back where they were.
- It decides each block hard and averages; we keep the phase of the singular value as a soft value for Viterbi.
- All blocks are transformed at once instead of in a Python loop.

`import imwatermark` always loads torch (through rivaGan). Only the module of this method is loaded here, from its
file, and it is used by the tests as the reference; the transform itself needs numpy and OpenCV alone.
"""

from __future__ import annotations

import hashlib
import importlib.util
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
from numpy.typing import NDArray

from ...errors import WatermarkError
from ..identity import AssetId
from ..media.values import Frame
from . import payload
from .base import PUBLISHED_KEY, RGB, Detection, alg_for

ALG = "org.filigrana.dwtdctsvd.1"
STEP = 36.0
"""The package's default quantisation step of the largest singular value, in units of its own transform."""
MIN_SIDE = 256
"""The package refuses smaller pictures."""
FLOOR = 11.5
"""A decode counts only above this score: see benchmarks/watermark_null.py for the scores of unmarked pictures."""
_ENOUGH = 16.0
_MAX_FRAMES = 64
_BLOCK = 4

Plane = NDArray[np.float32]


def reference_module() -> ModuleType:
    """The package's own dwtDctSvd module, loaded without its __init__ (and so without torch)."""
    package = importlib.util.find_spec("imwatermark")
    if package is None or not package.submodule_search_locations:
        raise WatermarkError(
            "the package invisible-watermark is not installed", hint="pip install 'filigrana[generate]'"
        )
    path = Path(next(iter(package.submodule_search_locations))) / "dwtDctSvd.py"
    spec = importlib.util.spec_from_file_location("_filigrana_imwatermark_dwtdctsvd", path)
    if spec is None or spec.loader is None:
        raise WatermarkError("invisible-watermark has no dwtDctSvd method in this version")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _blocks(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """(h, w) -> (h//4 * w//4, 4, 4) in raster order; what does not fill a block is left out."""
    rows, columns = plane.shape[0] // _BLOCK, plane.shape[1] // _BLOCK
    cut = plane[: rows * _BLOCK, : columns * _BLOCK]
    return cut.reshape(rows, _BLOCK, columns, _BLOCK).swapaxes(1, 2).reshape(-1, _BLOCK, _BLOCK)


def _unblocks(blocks: NDArray[np.float64], plane: NDArray[np.float64]) -> NDArray[np.float64]:
    rows, columns = plane.shape[0] // _BLOCK, plane.shape[1] // _BLOCK
    out = plane.copy()
    out[: rows * _BLOCK, : columns * _BLOCK] = (
        blocks.reshape(rows, columns, _BLOCK, _BLOCK).swapaxes(1, 2).reshape(rows * _BLOCK, columns * _BLOCK)
    )
    return out


def _dct_matrix() -> NDArray[np.float64]:
    n = np.arange(_BLOCK)
    matrix = np.cos(np.pi * (2 * n[None] + 1) * n[:, None] / (2 * _BLOCK)) * np.sqrt(2 / _BLOCK)
    matrix[0] /= np.sqrt(2)
    return np.asarray(matrix, np.float64)


_DCT = _dct_matrix()


def _approximation(u: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The Haar approximation band of one channel: the sum of each 2 x 2 square over 2."""
    h, w = u.shape[0] // 4 * 4, u.shape[1] // 4 * 4
    x = u[:h, :w].astype(np.float64)
    return (x[0::2, 0::2] + x[0::2, 1::2] + x[1::2, 0::2] + x[1::2, 1::2]) / 2


class DwtDctSvd:
    """Codec port over dwtDctSvd. ``key``: whitens the coded bits; None means the published key."""

    def __init__(self, key: bytes | None = None) -> None:
        self.alg = alg_for(ALG, key)
        seed = b"filigrana dwtdctsvd 1\0" + (PUBLISHED_KEY if key is None else key)
        stream = np.unpackbits(np.frombuffer(hashlib.shake_256(seed).digest(payload.CODED_BITS // 8), np.uint8))
        self._whitening = 1.0 - 2.0 * stream

    # ── embedding ────────────────────────────────────────────────────────────────────────────────────────────
    def bits(self, asset_id: AssetId) -> NDArray[np.uint8]:
        """(416,) bits as the package would be asked to embed them."""
        symbols = payload.encode(payload.pack(asset_id)) * self._whitening
        return (symbols < 0).astype(np.uint8)

    def embed(self, frames: Iterable[Frame], asset_id: AssetId) -> Iterator[Frame]:
        bits = self.bits(asset_id)
        for frame in frames:
            yield replace(frame, rgb=self._embed_frame(frame.rgb, bits))

    def _embed_frame(self, frame: RGB, bits: NDArray[np.uint8]) -> RGB:
        _check(frame)
        yuv = cv2.cvtColor(frame, cv2.COLOR_RGB2YUV)
        band = _approximation(np.asarray(yuv[..., 1], np.uint8))
        blocks = _blocks(band)
        u, s, v = np.linalg.svd(_DCT @ blocks @ _DCT.T)
        wanted = bits[np.arange(len(blocks)) % len(bits)]
        s[:, 0] = (s[:, 0] // STEP + 0.25 + 0.5 * wanted) * STEP
        marked = _unblocks(_DCT.T @ ((u * s[:, None, :]) @ v) @ _DCT, band)
        # Only the approximation band moves, so each pixel of a 2 x 2 square moves by half the band's change:
        # that is the inverse Haar transform with every detail band in its own place.
        delta = np.repeat(np.repeat((marked - band) / 2, 2, axis=0), 2, axis=1)
        h, w = delta.shape
        plane = yuv[:h, :w, 1].astype(np.float64) + delta
        change = np.clip(np.rint(plane), 0, 255) - yuv[:h, :w, 1]
        # The change goes into RGB directly (the U row of the inverse BT.601 matrix), so that what the picture's
        # own RGB -> YUV -> RGB rounding would lose is not lost.
        out = frame.astype(np.float64)
        out[:h, :w, 1] -= 0.395 * change
        out[:h, :w, 2] += 2.032 * change
        return np.clip(np.rint(out), 0, 255).astype(np.uint8)

    # ── detection ────────────────────────────────────────────────────────────────────────────────────────────
    def soft(self, frame: RGB) -> payload.Soft:
        """(416,) soft values of one frame: the mean over its blocks of minus the sine of the singular value's
        phase in the quantisation step, +1 where a block says 0 exactly and -1 where it says 1."""
        _check(frame)
        yuv = cv2.cvtColor(frame, cv2.COLOR_RGB2YUV)
        blocks = _blocks(_approximation(np.asarray(yuv[..., 1], np.uint8)))
        largest = np.linalg.svd(_DCT @ blocks @ _DCT.T, compute_uv=False)[:, 0]
        says_zero = np.sin(2 * np.pi * largest / STEP)
        index = np.arange(len(blocks)) % payload.CODED_BITS
        total = np.bincount(index, says_zero, payload.CODED_BITS)
        count = np.maximum(np.bincount(index, minlength=payload.CODED_BITS), 1)
        return total / count * self._whitening

    def detect(self, frames: Iterable[Frame]) -> Detection:
        started, total, used, tries = time.perf_counter(), np.zeros(payload.CODED_BITS), 0, 0
        best = payload.Decoded(None, 0, 0.0)
        for frame in frames:
            if min(frame.rgb.shape[:2]) < MIN_SIDE:
                break
            total += self.soft(frame.rgb)
            used += 1
            # Decoding after 1, 2, 4, 8… frames keeps the number of tries, and with it the false-positive bound,
            # logarithmic in the clip's length.
            if used & (used - 1) == 0 or used == _MAX_FRAMES:
                found, tries = payload.decode(total), tries + 1
                if found.score > best.score:
                    best = found
                if (found.asset_id is not None and found.score >= _ENOUGH) or used == _MAX_FRAMES:
                    break
        if used and used & (used - 1):
            found, tries = payload.decode(total), tries + 1
            if found.asset_id is not None or found.score > best.score:
                best = found
        hit = best.asset_id is not None and best.score >= FLOOR
        return Detection(
            asset_id=best.asset_id if hit else None,
            score=round(best.score, 3),
            # 2^-32 a try is the CRC alone: an upper bound that the score's floor only lowers.
            p_value=max(tries, 1) * 2.0**-32 if hit else 1.0,
            geometry=None,  # the method cannot tell: it survives no change of it
            seconds=time.perf_counter() - started,
            frames=used,
        )


def _check(frame: RGB) -> None:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise WatermarkError(f"a frame is uint8 of shape (h, w, 3), not {frame.dtype} of shape {frame.shape}")
    if min(frame.shape[:2]) < MIN_SIDE:
        raise WatermarkError(
            f"a mark needs at least {MIN_SIDE} px on the shorter side, this frame is "
            f"{frame.shape[1]} x {frame.shape[0]}",
            code="provenance.watermark.too_small",
            hint="Seal a larger version of the picture.",
        )
