"""Deliberate removal, by somebody who knows the method but not the key. Reported, never gated.

Each attack returns a picture of the same size, so that what it cost is measured too: a mark that goes only when
the picture goes has done its work. What the attacker has collected is a set of marked pictures of one size, each
with its own id.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .pictures import RGB
from .pixels import jpeg, noise

Plane = NDArray[np.float32]
SIDE = 512
"""Collected pictures are cut to their upper left 512 x 512 px, where their patterns begin at the same place."""


def luma(rgb: RGB) -> Plane:
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.float32)


def residual(rgb: RGB) -> Plane:
    """What a small median filter takes away: mostly noise, texture and mark."""
    y = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    return y.astype(np.float32) - cv2.medianBlur(y, 5).astype(np.float32)


def average(collected: Sequence[RGB]) -> Plane:
    """(512, 512): the mean residual of the collected pictures, where only what they share remains."""
    total = np.zeros((SIDE, SIDE), np.float32)
    for rgb in collected:
        total += np.clip(residual(rgb[:SIDE, :SIDE]), -8, 8)
    return total / np.float32(max(1, len(collected)))


def _add(rgb: RGB, plane: Plane) -> RGB:
    return np.asarray(np.clip(np.rint(rgb.astype(np.float32) + plane[..., None]), 0, 255), np.uint8)


def _covering(plane: Plane, shape: tuple[int, ...]) -> Plane:
    rows, columns = -(-shape[0] // SIDE), -(-shape[1] // SIDE)
    return np.tile(plane, (rows, columns))[: shape[0], : shape[1]]


def subtract_average(rgb: RGB, estimate: Plane, rms: float) -> RGB:
    """Subtracts the averaged residual, scaled to ``rms`` grey values."""
    plane = _covering(estimate, rgb.shape)
    return _add(rgb, -plane * np.float32(rms / max(1e-6, float(np.std(plane)))))


def peaks(collected: Sequence[RGB], count: int = 128) -> NDArray[np.intp]:
    """(count, 2): rows and columns of the 512-point spectrum that stand out most from their neighbourhood, averaged
    over the collected pictures: an estimate of the synchronisation's frequencies without the key."""
    power = np.zeros((SIDE, SIDE))
    for rgb in collected:
        r = np.clip(residual(rgb[:SIDE, :SIDE]), -8, 8)
        spectrum = np.abs(np.fft.fft2(r * np.outer(np.hanning(SIDE), np.hanning(SIDE)))) ** 2
        power += spectrum / max(1e-9, float(spectrum.mean()))
    shifted = np.fft.fftshift(power)
    ratio = shifted / (cv2.blur(shifted, (31, 31)) + 1e-12)
    # The axes carry the picture's own edges and JPEG's blocks.
    ratio[SIDE // 2 - 2 : SIDE // 2 + 3] = ratio[:, SIDE // 2 - 2 : SIDE // 2 + 3] = 0
    highest = np.argsort(-ratio, axis=None)[:count]
    return (np.stack(np.unravel_index(highest, ratio.shape), 1) + SIDE // 2) % SIDE


def notch(rgb: RGB, where: NDArray[np.intp], width: float = 1.2) -> RGB:
    """Takes the frequencies ``where`` (of a 512-point spectrum) out of the luma."""
    height, columns = rgb.shape[:2]
    y = luma(rgb)
    spectrum = np.fft.fft2(y)
    rows, cols = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(columns)[None]
    keep = np.ones_like(y)
    for r, c in where:
        fr, fc = ((int(v) + SIDE // 2) % SIDE - SIDE // 2 for v in (r, c))
        for sign in (1, -1):
            distance = ((rows - sign * fr / SIDE) ** 2 + (cols - sign * fc / SIDE) ** 2) * SIDE**2
            keep *= (1 - np.exp(-distance / (2 * width * width))).astype(np.float32)
    filtered = np.real(np.fft.ifft2(spectrum * keep)).astype(np.float32)
    return _add(rgb, filtered - y)


def jitter(rgb: RGB, rng: np.random.Generator, amplitude: float = 1.5) -> RGB:
    """Smooth random displacement of up to about ``amplitude`` px, as StirMark's bending: no line stays straight."""
    height, width = rgb.shape[:2]
    coarse = rng.uniform(-1, 1, (2, max(3, height // 48), max(3, width // 48))).astype(np.float32)
    dy, dx = (cv2.resize(plane, (width, height), interpolation=cv2.INTER_CUBIC) * amplitude for plane in coarse)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    moved = cv2.remap(rgb, x + dx, y + dy, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(moved, np.uint8)


def nlm(rgb: RGB, strength: float = 8.0) -> RGB:
    """Non-local means (A. Buades and others, 2005) as OpenCV does it for colour pictures."""
    return np.asarray(cv2.fastNlMeansDenoisingColored(rgb, None, strength, strength, 5, 15), np.uint8)


def bilateral(rgb: RGB) -> RGB:
    return np.asarray(cv2.bilateralFilter(rgb, 9, 40, 4), np.uint8)


def _encoders() -> Path:
    """Where training keeps the encoders, which are not shipped: there in a source tree alone."""
    return Path(str(resources.files("filigrana"))) / "training" / "encoders.safetensors"


@cache
def _autoencoder() -> Any:
    """The embedded family's autoencoder of layers, with its encoder."""
    from safetensors.torch import load_file

    from ..generators.embedded.layers import FiligranaLayerAutoencoder
    from ..generators.folder import embedded_folder

    model, shipped = FiligranaLayerAutoencoder(), embedded_folder() / "layers" / "diffusion_pytorch_model.safetensors"
    state = load_file(shipped) | {
        key.removeprefix("layers."): value for key, value in load_file(_encoders()).items() if key.startswith("layers.")
    }
    model.load_state_dict({key: value.float() for key, value in state.items()})
    return model.eval()


def vae(rgb: RGB) -> RGB:
    """A round trip through the embedded autoencoder (trained on flat art: photographs lose their detail), at the
    nearest size that it takes. Needs the extra `generate` and a source tree, which has the encoder."""
    model = _autoencoder()
    import torch

    height, width = rgb.shape[:2]
    # The latent grid is 64 px a cell, and the model was built for 256 to 768: larger pictures go through in tiles.
    rows, columns = max(1, round(height / SIDE)), max(1, round(width / SIDE))
    fitted = cv2.resize(rgb, (columns * SIDE, rows * SIDE), interpolation=cv2.INTER_AREA)
    out = np.empty_like(fitted)
    with torch.inference_mode():
        for row in range(rows):
            for column in range(columns):
                where = (slice(row * SIDE, (row + 1) * SIDE), slice(column * SIDE, (column + 1) * SIDE))
                x = torch.from_numpy(np.ascontiguousarray(fitted[where])).permute(2, 0, 1)[None].float() / 255
                y = model.decode(model.encode(torch.cat((x, torch.ones_like(x[:, :1])), 1)))
                out[where] = np.rint(y[0, :3].clamp(0, 1).permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    return np.asarray(cv2.resize(out, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


@dataclass(frozen=True, slots=True)
class Collected:
    """What the attacker learned from marked pictures that he has no originals of."""

    estimate: Plane
    frequencies: NDArray[np.intp]
    count: int


def learn(collected: Sequence[RGB]) -> Collected:
    return Collected(average(collected), peaks(collected), len(collected))


Removal = Callable[[RGB, Collected, np.random.Generator], RGB]

REMOVALS: dict[str, Removal] = {
    "average of the collected subtracted": lambda rgb, know, _rng: subtract_average(rgb, know.estimate, 2.0),
    "the same, twice as strong": lambda rgb, know, _rng: subtract_average(rgb, know.estimate, 4.0),
    "128 estimated pilots notched out": lambda rgb, know, _rng: notch(rgb, know.frequencies),
    "non-local means 8": lambda rgb, _know, _rng: nlm(rgb),
    "bilateral filter": lambda rgb, _know, _rng: bilateral(rgb),
    "noise 10, then non-local means 12": lambda rgb, _know, rng: nlm(noise(rgb, rng, 10), 12),
    "bending by 1.5 px": lambda rgb, _know, rng: jitter(rgb, rng),
    "bending by 3 px, then JPEG 50": lambda rgb, _know, rng: jpeg(jitter(rgb, rng, 3.0), 50),
}
"""By name. A second mark over the first stands beside them in the report; it needs a codec, not a filter."""


def removals() -> dict[str, Removal]:
    """All that can be done here: the autoencoder's round trip needs an encoder."""
    found = dict(REMOVALS)
    if _encoders().is_file():
        found["round trip through the embedded autoencoder"] = lambda rgb, _know, _rng: vae(rgb)
    return found
