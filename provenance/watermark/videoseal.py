"""Meta's Video Seal (256 bits) as a codec: used where torch is installed and its weights are there.

P. Fernandez and others, *Video Seal: Open and Efficient Video Watermarking* (arXiv:2412.09492; MIT). Ours are the same
96 information bits under the same convolutional code as everywhere (`payload`), punctured from 416 coded bits to the
256 that it carries: 8 of every 13 are kept and the others are erasures to the decoder, which leaves a code of rate
0.41. With hard bits it mended 32 wrong ones of 256 in 20 words of 20, and 38 in 17.

The wheel of `videoseal` 1.0.1 lacks the settings (configs/attenuation.yaml) that its own `load` reads: it works in a
clone of its repository only. The published TorchScript file `y_256b_img.jit` needs torch alone, so ``checkpoint`` may
name it. TorchScript is code: use no file from a stranger.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import WatermarkError
from ..identity import AssetId
from ..media.values import Frame
from . import optional, payload
from .base import PUBLISHED_KEY, Detection, Geometry

ALG = "org.filigrana.videoseal.1"
PACKAGE = "videoseal"
CARRIED = 256
KEPT = np.arange(CARRIED) * payload.CODED_BITS // CARRIED
"""(256,): which coded bits are carried."""
FLOOR = 11.0
"""Of `payload.Decoded.score`, which reaches sqrt(256) = 16 here. Noise scores 9.73 +- 0.17, at most 10.2 in 250."""
_MAX_FRAMES = 16
_CHECKPOINT = "y_256b_img"


class VideoSeal:
    """Codec port. ``key``: whitens the coded bits; None for the published key. ``checkpoint``: the TorchScript file;
    None for what the package loads. ``allow_download``: lets the package fetch its weights."""

    alg = ALG

    def __init__(
        self, key: bytes | None = None, *, checkpoint: Path | None = None, allow_download: bool = False
    ) -> None:
        seed = b"filigrana videoseal 1\0" + (PUBLISHED_KEY if key is None else key)
        stream = np.unpackbits(np.frombuffer(hashlib.shake_256(seed).digest(CARRIED // 8), np.uint8))
        self._whitening = 1.0 - 2.0 * stream
        self._checkpoint, self._allow = checkpoint, allow_download
        self._loaded: tuple[Any, Any] | None = None

    def bits(self, asset_id: AssetId) -> NDArray[np.float32]:
        """(1, 256): the message as the model takes it, 0 and 1."""
        symbols = payload.encode(payload.pack(asset_id))[KEPT] * self._whitening
        return (symbols < 0).astype(np.float32)[None]

    def embed(self, frames: Iterable[Frame], asset_id: AssetId) -> Iterator[Frame]:
        """Yields each frame marked by itself. Raises WatermarkError where the package or its weights are missing."""
        torch, model = self._ready()
        message = torch.from_numpy(self.bits(asset_id))
        for frame in frames:
            with optional.quiet(), torch.no_grad():
                picture = torch.from_numpy(optional.planar(frame.rgb))
                done = (
                    model.embed(picture, message)
                    if self._checkpoint
                    else model.embed(picture, msgs=message, is_video=False)["imgs_w"]
                )
            yield replace(frame, rgb=optional.packed(np.asarray(done.detach().cpu().numpy(), np.float32)))

    def detect(self, frames: Iterable[Frame]) -> Detection:
        """Adds the soft bits of up to 16 frames, and decodes once."""
        started = time.perf_counter()
        torch, model = self._ready()
        total, used = np.zeros(CARRIED), 0
        for frame in islice(frames, _MAX_FRAMES):
            with optional.quiet(), torch.no_grad():
                picture = torch.from_numpy(optional.planar(frame.rgb))
                read = model.detect(picture) if self._checkpoint else model.detect(picture, is_video=False)["preds"]
            values = np.asarray(read.detach().cpu().numpy(), np.float64)
            # One value of presence (never trained), then a value a bit: above 0 for a 1.
            total -= values.reshape(len(values), values.shape[1], -1).mean(2)[0, 1 : CARRIED + 1]
            used += 1
        found = payload.decode(self.soft(total))
        hit = found.asset_id is not None and found.score >= FLOOR
        return Detection(
            asset_id=found.asset_id if hit else None,
            score=round(found.score, 3),
            p_value=payload.LIST * 2.0**-32 if hit else 1.0,
            geometry=Geometry() if hit else None,
            seconds=time.perf_counter() - started,
            frames=used,
        )

    def soft(self, read: NDArray[np.float64]) -> payload.Soft:
        """(416,) soft values from (256,) read ones, above 0 for a coded 0: what was not carried says nothing."""
        values = np.zeros(payload.CODED_BITS)
        values[KEPT] = read * self._whitening
        return values

    def _ready(self) -> tuple[Any, Any]:
        if self._loaded is None:
            self._loaded = self._script() if self._checkpoint else self._package()
        return self._loaded

    def _script(self) -> tuple[Any, Any]:
        if self._checkpoint is None or not self._checkpoint.is_file():
            raise optional.no_weights(PACKAGE, f"{_CHECKPOINT}.jit", "the file that `checkpoint` names")
        torch = optional.load("torch", "torch")
        model = torch.jit.load(str(self._checkpoint), map_location="cpu")
        model.eval()
        return torch, model

    def _package(self) -> tuple[Any, Any]:
        optional.folder_of(PACKAGE, PACKAGE)
        if not self._allow and not Path("ckpts", f"{_CHECKPOINT}.pth").is_file():
            raise optional.no_weights(PACKAGE, f"{_CHECKPOINT}.pth", "ckpts/ of the working folder")
        package, torch = optional.load(PACKAGE, PACKAGE), optional.load("torch", "torch")
        try:
            with optional.quiet():
                model = package.load("videoseal")
        except (OSError, RuntimeError, ValueError) as error:
            raise WatermarkError(
                f"videoseal cannot load its model: {error}",
                code=optional.NO_WEIGHTS,
                hint="Its wheel lacks its settings: run in a clone of its repository, or give the TorchScript file.",
            ) from error
        model.eval()
        return torch, model
