"""From a tile to soft values and back: synthesis, folding, shift by the pilots, weighting. Pure."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import cv2
import numpy as np
import scipy.fft as sf
from numpy.typing import NDArray

from . import payload
from .canonical import Plane
from .lattice import SIDE, Lattice, Variant
from .variation import VARIANTS

Spectrum = NDArray[np.complex64]  # (128, 65): rfft2 of a tile
_ALL = range(VARIANTS)


def synthesise(lattice: Lattice, values: NDArray[np.float32], variant: Variant, pilot: NDArray[np.float32]) -> Plane:
    """(128, 128) the tile of (n,) data values and pilots of (64,) amplitudes ``pilot``."""
    spectrum = np.zeros((SIDE, SIDE // 2 + 1), np.complex64)
    pairs = values.reshape(-1, 2)
    z = np.concatenate([pairs[:, 0] + 1j * pairs[:, 1], pilot * variant.phasors])
    k, l = np.concatenate([lattice.k, lattice.pilot_k]), np.concatenate([lattice.l, lattice.pilot_l])  # noqa: E741
    spectrum[k, l] = z
    axis = l == 0
    spectrum[-k[axis], 0] = z[axis].conj()  # the mirror half that rfft2 keeps in its first column
    return np.asarray(sf.irfft2(spectrum, (SIDE, SIDE)) * SIDE, np.float32)


@dataclass(frozen=True, slots=True)
class Folded:
    """The sum of all tiles of a picture (or of many frames). ``spectrum``: (128, 65), of the sum. ``noise``:
    (128, 65) float32, relative power of what differs from tile to tile, which is the picture and not the mark."""

    spectrum: Spectrum
    noise: Plane

    def __add__(self, other: Folded) -> Folded:
        return Folded(self.spectrum + other.spectrum, self.noise + other.noise)


def tiles_of(plane: Plane, side: int = SIDE) -> Plane:
    """(h, w) -> (n, side, side): the tiles that cover a plane, the last ones filled up with zeros."""
    height, width = plane.shape
    rows, columns = -(-height // side), -(-width // side)
    full = np.zeros((rows * side, columns * side), np.float32)
    full[:height, :width] = plane
    return full.reshape(rows, side, columns, side).swapaxes(1, 2).reshape(-1, side, side)


def sum_tiles(plane: Plane) -> Plane:
    """(h, w) -> (128, 128): the sum of all tiles."""
    return np.asarray(tiles_of(plane).sum(axis=0), np.float32)


def spectrum_of(tile: Plane) -> Spectrum:
    return np.asarray(sf.rfft2(tile), np.complex64)


def fold(plane: Plane) -> Folded:
    """Folds a whitened picture."""
    return fold_spectra(np.asarray(sf.rfft2(tiles_of(plane)), np.complex64))


def fold_spectra(spectra: NDArray[np.complex64]) -> Folded:
    """``spectra``: (n, 128, 65), of each tile."""
    total = spectra.sum(axis=0)
    power = (spectra.real**2 + spectra.imag**2).sum(axis=0) - (total.real**2 + total.imag**2) / len(spectra)
    return Folded(total, _spread(np.maximum(power, 0.0)))


def _spread(power: Plane) -> Plane:
    """Averages 3 x 3 points of the whole plane of frequencies, of which rfft2 keeps one half."""
    whole = np.empty((SIDE, SIDE // 2 + 2), np.float32)
    whole[:, 1:] = np.roll(power, SIDE // 2, axis=0)
    whole[:, 0] = np.roll(power[-np.arange(SIDE) % SIDE, 1], SIDE // 2)
    mean = cv2.blur(whole, (3, 3), borderType=cv2.BORDER_REFLECT_101)[:, 1:]
    return np.asarray(np.roll(mean, -(SIDE // 2), axis=0), np.float32)


@dataclass(frozen=True, slots=True)
class Sync:
    """How a folded tile lies: circular shift (rows, columns) in px and the variant; ``z``: the pilots' coherent sum
    in standard deviations of what noise gives at one place."""

    z: float
    shift: tuple[float, float]
    variant: int


def synchronise(lattice: Lattice, spectrum: Spectrum, best: int = 1, variants: range = _ALL) -> list[Sync]:
    """The ``best`` shifts and variants by the pilots: phase correlation in which no pilot counts more than another
    (C. D. Kuglin and D. C. Hines, 1975), except those that lie under the noise."""
    pilots = lattice.pilots(spectrum)
    noise = np.float32(np.median(np.abs(spectrum[lattice.k, lattice.l])) / SIDE + 1e-12)
    limited = pilots / np.maximum(np.abs(pilots), noise)
    stack = np.zeros((len(variants), SIDE, SIDE // 2 + 1), np.complex64)
    axis = lattice.pilot_l == 0
    for row, v in enumerate(variants):
        turned = limited * lattice.variants[v].phasors.conj()
        stack[row, lattice.pilot_k, lattice.pilot_l] = turned
        stack[row, -lattice.pilot_k[axis], 0] = turned[axis].conj()
    maps = sf.irfft2(stack, (SIDE, SIDE), axes=(1, 2), overwrite_x=True) * np.float32(SIDE * SIDE / 2)
    scale = 1.0 / np.sqrt(len(pilots) / 2.0)
    flat = maps.reshape(len(variants), -1)
    order = np.argsort(-flat.max(axis=1))[:best]
    found = []
    for row in order:
        at = int(flat[row].argmax())
        found.append(Sync(float(flat[row, at]) * scale, (float(at // SIDE), float(at % SIDE)), variants[row]))
    return found


def soft_values(lattice: Lattice, folded: Folded, sync: Sync) -> payload.Soft:
    """(416,) soft values of the coded bits, positive for a coded 0.

    A data value counts by its likelihood as on a Gaussian channel: rho / (1 - rho^2) with rho the coherence of the
    pilots of its radius; and less where its own frequency is noisier than others of its radius (a texture's
    direction), limited by the mark's own share of the power."""
    variant = lattice.variants[sync.variant]
    dy, dx = sync.shift
    step = np.float32(2 * np.pi / SIDE)
    z = folded.spectrum[lattice.k, lattice.l] * np.exp(1j * step * (lattice.k * dy + lattice.l * dx))
    values = np.stack([z.real, z.imag], axis=1).reshape(-1).astype(np.float64)
    turn = np.exp(1j * step * (lattice.pilot_k * dy + lattice.pilot_l * dx))
    aligned = folded.spectrum[lattice.pilot_k, lattice.pilot_l] * turn * variant.phasors.conj()
    rho = _coherence(lattice, aligned)
    noise = np.repeat(folded.noise[lattice.k, lattice.l].astype(np.float64), 2) + 1e-20
    power = _smooth(values * values, 201) + 1e-20
    relative = (1 - rho**2) * noise / _smooth(noise, 201) + rho**2
    out = values * variant.sign * rho / ((1 - rho**2) * np.sqrt(power) * relative)
    return np.asarray(np.bincount(variant.index, out, payload.CODED_BITS), np.float64)


_EDGES = np.array([0.0, 9.0, 12.0, 15.0, 18.5, 22.0, 40.0])


def _coherence(lattice: Lattice, aligned: NDArray[np.complex64]) -> NDArray[np.float64]:
    """(n,) rho in [0.05, 0.95] of each data value, from the (64,) aligned pilots, ring by ring of radius."""
    centres, rho = [], []
    for low, high in itertools.pairwise(_EDGES):
        here = (lattice.pilot_radius >= low) & (lattice.pilot_radius < high)
        power = float(np.mean(np.abs(aligned[here]) ** 2)) + 1e-20
        rho.append(min(max(float(np.mean(aligned[here].real)) / np.sqrt(power), 0.05), 0.95))
        centres.append(float(lattice.pilot_radius[here].mean()))
    return np.asarray(np.interp(lattice.value_radius, centres, rho), np.float64)


def _smooth(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Moving mean, mirrored at both ends."""
    half = width // 2
    padded = np.concatenate([values[half:0:-1], values, values[-2 : -half - 2 : -1]])
    total = np.concatenate([[0.0], np.cumsum(padded)])
    return np.asarray((total[width:] - total[:-width]) / width, np.float64)
