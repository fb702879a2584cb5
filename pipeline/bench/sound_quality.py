"""How loud a mark is beside the sound that carries it: three plain measures, defined here so that a report can say so.

*SNR*: energy of the sound over energy of the difference. *Segmental SNR*: the mean over 20 ms frames that are not
silent of the same ratio, each held to [-10, 60] dB. *Noise-to-mask ratio*: after K. Brandenburg (1987) with the
masking model of J. D. Johnston (*Transform Coding of Audio Signals Using Perceptual Noise Criteria*, 1988): below.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Samples = NDArray[np.float32]
Levels = NDArray[np.float64]

_SILENT = 1e-7
"""-70 dB of full scale, as power: frames below are left out of the means."""


def snr(sound: Samples, marked: Samples) -> float:
    """In dB. ``sound`` and ``marked``: (n, channels)."""
    noise = float(np.sum((marked.astype(np.float64) - sound) ** 2))
    return float(10 * np.log10(np.sum(sound.astype(np.float64) ** 2) / max(noise, 1e-30)))


def segmental_snr(sound: Samples, marked: Samples, rate: int) -> float:
    """In dB, over frames of 20 ms."""
    size = rate // 50
    frames = len(sound) // size
    host = (sound[: frames * size].astype(np.float64) ** 2).reshape(frames, -1).mean(1)
    noise = ((marked.astype(np.float64) - sound)[: frames * size] ** 2).reshape(frames, -1).mean(1)
    heard = host > _SILENT
    ratio = 10 * np.log10(host[heard] / np.maximum(noise[heard], 1e-30))
    return float(np.clip(ratio, -10, 60).mean()) if heard.any() else float("nan")


def _bark(hertz: Levels) -> Levels:
    """E. Zwicker and E. Terhardt, 1980."""
    return np.asarray(13 * np.arctan(0.00076 * hertz) + 3.5 * np.arctan((hertz / 7500) ** 2))


def noise_to_mask(sound: Samples, marked: Samples, rate: int) -> float:
    """The mean noise-to-mask ratio in dB of the mid signal: below 0 the difference lies under what the sound masks.

    Frames of about 43 ms (Hann, half overlapped). Each Bark band's energy is spread over its neighbours by Schroeder's
    function, 15.81 + 7.5 (d + 0.474) - 17.5 sqrt(1 + (d + 0.474)^2) dB at d Bark, normalised to a sum of 1. The
    threshold lies a (14.5 + z) + (1 - a) 5.5 dB below it, where a = min(flatness / -60 dB, 1) is the frame's
    tonality by its spectral flatness and z the band in Bark. Per frame: the mean over the bands of noise energy over
    threshold; the result is the mean of that in dB over the frames that are not silent. The absolute threshold
    of hearing is left out (how loud the sound will be played is not known), which makes the measure strict.
    """
    size = 1 << int(np.ceil(np.log2(rate * 0.032)))
    window = np.hanning(size + 1)[:-1]
    host, noise = (
        _spectra(wave.mean(axis=1).astype(np.float64), window) for wave in (sound, marked.astype(np.float64) - sound)
    )
    heard = host.sum(1) / (size * np.sum(window**2)) * 2 > _SILENT
    if not heard.any():
        return float("nan")
    host, noise = host[heard], noise[heard]
    z = _bark(np.arange(size // 2 + 1) * rate / size)
    band = np.minimum(z.astype(int), 24)
    bands = int(band.max()) + 1
    member = (band[:, None] == np.arange(bands)).astype(np.float64)
    energy, error = host @ member, noise @ member
    distance = np.arange(bands)[None] - np.arange(bands)[:, None] + 0.474
    spread = 10 ** ((15.81 + 7.5 * distance - 17.5 * np.sqrt(1 + distance**2)) / 10)
    spread /= spread.sum(axis=1, keepdims=True)
    audible = host[:, band >= 1] + 1e-20
    flatness = 10 * (np.log10(audible).mean(1) - np.log10(audible.mean(1)))
    tonal = np.clip(flatness / -60, 0, 1)[:, None]
    offset = tonal * (14.5 + np.arange(bands) + 0.5) + (1 - tonal) * 5.5
    threshold = energy @ spread / 10 ** (offset / 10)
    return float(np.mean(10 * np.log10(np.mean(error / (threshold + 1e-20), axis=1) + 1e-12)))


def _spectra(wave: Levels, window: Levels) -> Levels:
    size = len(window)
    padded = np.pad(wave, (0, max(size - len(wave), 0)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[:: size // 2]
    return np.asarray(np.abs(fft.rfft(frames * window, axis=1)) ** 2)
