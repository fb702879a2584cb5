"""What the DFT codec adds to a picture: the tile for one id, informed by the picture that it goes into. Pure.

The mark of a picture is tile x mask x gain, repeated. Whitening and folding are linear enough in a small mark that
what a detector will read can be predicted on the tile alone: the picture's own contribution to each data value, plus
the mark's. With that, the amplitude of each coded bit is chosen so that all bits stand out equally well: a bit that
the picture speaks against gets more, a bit that it speaks for gets less (after the idea of improved spread spectrum,
H. S. Malvar and D. A. F. Florencio, 2003, but per coded bit, where cancelling costs a sixth, and by water-filling under
a fixed energy). This is done for each band of radii by itself, so that every band carries the whole payload.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import scipy.fft as sf
from numpy.typing import NDArray

from . import payload
from .canonical import HIGH_PASS, Plane, Visibility, colour, resize, visibility, whiten
from .lattice import SIDE, Lattice, Variant
from .tile import Sync, fold_spectra, soft_values, spectrum_of, sum_tiles, synthesise, tiles_of

_PILOT, _PILOT_ROUGH = 3.6, 4.5
"""Amplitude of a pilot over the rms amplitude of a data value at radius 14, on smooth and on rough pictures: those lose
their geometry before they lose their bits."""
_PILOT_SLOPE = 0.5
_BAND = 3 * payload.CODED_BITS
"""Data values a band: each coded bit stands in it three times."""
_LOUDEST = 4.0
_ROUNDS = 3

Values = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Ground:
    """What of a picture matters to the mark. ``size``: (h, w) of the canonical picture. ``seen``: see `Visibility`.
    ``host``: (n,) the picture's own data values as a detector reads them. ``response``: (128, 128), how a tile's
    pixels reach the detector, summed over tiles. ``energy``: mean square of the mask."""

    size: tuple[int, int]
    seen: Visibility
    host: Values
    response: Plane
    energy: float


def ground(lattice: Lattice, picture: Plane) -> Ground:
    """``picture``: the canonical luma."""
    seen = visibility(picture)
    whitened, gain = whiten(picture)
    size = (picture.shape[0], picture.shape[1])
    return Ground(
        size,
        seen,
        lattice.values(spectrum_of(sum_tiles(whitened))),
        sum_tiles(resize(seen.mask, size) * gain),
        float(np.mean(seen.mask * seen.mask)),
    )


@dataclass(frozen=True, slots=True)
class Mark:
    """``tile``: (128, 128) of mean square 1. ``gain``: grey levels. A picture's mark is tile x mask x gain."""

    tile: Plane
    gain: float

    def tiled(self, size: tuple[int, int]) -> Plane:
        """(h, w) the repeated tile, before the mask."""
        height, width = size
        return np.asarray(np.tile(self.tile, (-(-height // SIDE), -(-width // SIDE)))[:height, :width])


def gain_for(psnr: float, energy: float, roughness: float) -> float:
    """The gain at which the change of RGB has that PSNR in dB (before rounding and clipping). ``energy``: mean
    square of the mask."""
    return float(np.sqrt(255.0**2 / 10 ** (psnr / 10) / max(energy * _colour_power(roughness), 1e-12)))


def _colour_power(roughness: float) -> float:
    return float((colour(roughness) ** 2).mean())


def solve(
    lattice: Lattice, variant: Variant, symbols: NDArray[np.float64], under: Ground, psnr: float, slope: float
) -> Mark:
    """The mark of (416,) ``symbols`` at that PSNR. ``slope``: amplitudes fall with the radius to that power."""
    wanted = symbols[variant.index].astype(np.float32) * variant.sign
    profile = ((lattice.value_radius / 14.0) ** -slope).astype(np.float32)
    loudness = _PILOT + (_PILOT_ROUGH - _PILOT) * under.seen.roughness
    pilot = (loudness * (lattice.pilot_radius / 14.0) ** (-slope * _PILOT_SLOPE)).astype(np.float32)
    passed = 1 - np.exp(-2 * (np.pi * HIGH_PASS / SIDE * lattice.value_radius) ** 2)
    amplitude, count = profile.copy(), len(wanted)
    gain = gain_for(psnr, under.energy, under.seen.roughness)
    for turn in range(_ROUNDS + 1):
        tile = synthesise(lattice, amplitude * wanted, variant, pilot)
        unit = float(np.sqrt(np.mean(tile * tile)))
        if turn == _ROUNDS:
            break
        own = gain / unit * passed * lattice.values(spectrum_of(tile * under.response)) * wanted
        reach = (gain / unit * passed * under.response.mean()).astype(np.float32)
        rest = under.host * wanted + own - reach * amplitude
        for start in range(0, count, _BAND):
            band = slice(start, count if count - start < 2 * _BAND else start + _BAND)
            amplitude[band] = _water(rest[band], reach[band], variant.index[band], float((profile[band] ** 2).sum()))
            if band.stop == count:
                break
    return Mark(tile / np.float32(unit), gain)


def _water(rest: Values, response: Values, index: NDArray[np.intp], energy: float) -> Values:
    """(n,) amplitudes, one a coded bit, that raise the lowest bits to one common level with that energy."""
    size = payload.CODED_BITS
    level = np.bincount(index, rest, size)
    reach = np.maximum(np.bincount(index, response, size), 1e-9)
    times = np.bincount(index, minlength=size)
    low, high = float(level.min()), float(level.max() + _LOUDEST * reach.max())
    amplitude = np.zeros(size)
    for _ in range(30):
        middle = (low + high) / 2
        amplitude = np.clip((middle - level) / reach, 0.0, _LOUDEST)
        if float((times * amplitude * amplitude).sum()) < energy:
            low = middle
        else:
            high = middle
    return amplitude[index].astype(np.float32)


# ── strength ─────────────────────────────────────────────────────────────────────────────────────────────────────
PSNR_MIN, PSNR_MAX = 39.6, 45.0
_SSIM_FLOOR = 0.974
_SSIM_SHARE = 0.55
"""Measured over predicted loss of SSIM: the tile is smoother than independent noise."""
_WANTED_SCORE = 15.0
_SCORE_PER_DB = 0.8


def slope_for(texture: float) -> float:
    """How much of the mark goes to low radii: more on flat pictures, where compression removes the high ones, less
    on textured ones, whose own low frequencies are strong."""
    return float(np.clip(1.3 - 0.08 * texture, 0.1, 1.3))


def psnr_floor(seen: Visibility, energy: float) -> float:
    """The PSNR in dB below which a picture would fall under the floor of SSIM, or under `PSNR_MIN`."""
    gain_squared = (1 - _SSIM_FLOOR) / (_SSIM_SHARE * seen.loss)
    psnr = 10 * np.log10(255.0**2 / (gain_squared * energy * _colour_power(seen.roughness)))
    return float(np.clip(psnr, PSNR_MIN, PSNR_MAX))


def choose_psnr(
    lattice: Lattice, variant: int, symbols: NDArray[np.float64], picture: Plane, under: Ground, slope: float
) -> float:
    """The weakest mark that a copy of half the size and JPEG quality 50 should still show well, in dB: one trial at
    42.5 dB tells how far the picture is from that."""
    trial = 42.5
    mark = solve(lattice, lattice.variants[variant], symbols, under, trial, slope)
    change = mark.tiled(under.size) * resize(under.seen.mask, under.size) * np.float32(mark.gain)
    score = rehearse(lattice, variant, symbols, picture + change)
    enough = trial + (score - _WANTED_SCORE) / _SCORE_PER_DB
    return float(np.clip(enough, psnr_floor(under.seen, under.energy), PSNR_MAX))


def rehearse(lattice: Lattice, variant: int, symbols: NDArray[np.float64], marked: Plane) -> float:
    """The score that the right payload gets on a copy of half the size, JPEG quality 50."""
    small = resize(marked, (max(1, round(marked.shape[0] / 2)), max(1, round(marked.shape[1] / 2))))
    ok, coded = cv2.imencode(".jpg", np.clip(np.rint(small), 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 50])
    if not ok:
        return 0.0
    copy = np.asarray(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE), np.float32)
    spectra = sf.rfft2(tiles_of(whiten(copy)[0], SIDE // 2))
    half = SIDE // 4
    whole = np.zeros((len(spectra), SIDE, SIDE // 2 + 1), np.complex64)
    whole[:, :half, : half + 1], whole[:, -half:, : half + 1] = spectra[:, :half], spectra[:, half:]
    # The centre of a small pixel lies half a pixel further in the large picture.
    sync = Sync(0.0, (-0.5, -0.5), variant)
    soft = soft_values(lattice, fold_spectra(whole), sync)
    return float(soft @ symbols / np.sqrt(np.mean(soft * soft) + 1e-20) / np.sqrt(len(soft)))
