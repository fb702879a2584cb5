"""The sounds of single things: numpy only, no samples. All return mono float32 at `RATE`, peak about 1.

Bigger things sound lower and louder: frequencies go with (0.3 / size) ** 0.8, sizes in picture widths.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

RATE = 16_000
Sound = NDArray[np.float32]

MODES: dict[str, tuple[float, tuple[tuple[float, float, float], ...], float, float]] = {
    "soft": (110, ((1, 1, 0.05), (1.7, 0.4, 0.03)), 0.5, 700),
    "rubber": (160, ((1, 1, 0.09), (2.0, 0.5, 0.05), (3.1, 0.15, 0.03)), 0.25, 1200),
    "wood": (330, ((1, 1, 0.05), (2.57, 0.6, 0.035), (4.9, 0.3, 0.02)), 0.5, 2500),
    "stone": (520, ((1, 0.8, 0.03), (1.83, 0.7, 0.02), (3.4, 0.5, 0.015)), 0.8, 3500),
    "metal": (620, ((1, 1, 0.35), (2.76, 0.7, 0.25), (5.4, 0.5, 0.15), (8.9, 0.25, 0.08)), 0.3, 6000),
    "glass": (1450, ((1, 1, 0.18), (2.32, 0.6, 0.12), (4.25, 0.4, 0.07)), 0.3, 7000),
    "paper": (700, ((1, 0.15, 0.02),), 0.9, 4500),
}
"""Material: base frequency in Hz, partials (ratio, weight, decay in s), share of noise, and its cut-off in Hz."""


def pitch(size: float) -> float:
    """The factor on frequencies for a thing of `size`."""
    return float((0.3 / max(size, 0.02)) ** 0.8)


def noise(rng: np.random.Generator, count: int, low: float, high: float) -> Sound:
    """Noise of `count` samples between two frequencies in Hz, root mean square 1."""
    n = 1 << max(int(count - 1).bit_length(), 6)
    hz = np.fft.rfftfreq(n, 1 / RATE)
    spectrum = rng.standard_normal(len(hz)) + 1j * rng.standard_normal(len(hz))
    spectrum *= 1 / (1 + (hz / max(high, 1)) ** 4) * (hz / (hz + low + 1e-9)) ** 2
    made = np.fft.irfft(spectrum, n)[:count]
    return (made / max(float(np.sqrt((made**2).mean())), 1e-9)).astype(np.float32)


@cache
def _time(count: int) -> NDArray[np.float64]:
    return np.arange(count) / RATE


def impact(rng: np.random.Generator, material: str, size: float) -> Sound:
    """A knock: decaying partials of the material and a short burst of noise."""
    base, partials, share, cut = MODES[material]
    t, k = _time(int(0.6 * RATE)), pitch(size)
    out = np.zeros(len(t))
    for ratio, weight, decay in partials:
        hz = base * ratio * k
        if hz < RATE * 0.45:
            out += weight * np.sin(2 * np.pi * hz * t) * np.exp(-t / (decay / k**0.5))
    out += share * noise(rng, len(t), 60, cut * k) * np.exp(-t / 0.012)
    return _shaped(out)


def whoosh(rng: np.random.Generator, size: float, speed: float) -> Sound:
    """Air moved aside; loudest in the middle of its 0.8 seconds."""
    t = _time(int(0.8 * RATE))
    k = pitch(size) * max(speed, 0.3)
    return _shaped(noise(rng, len(t), 250 * k, 900 * k) * np.exp(-0.5 * ((t - 0.4) / 0.13) ** 2))


def tick(rng: np.random.Generator, size: float) -> Sound:
    """A short click."""
    t = _time(int(0.06 * RATE))
    k = pitch(size)
    out = np.sin(2 * np.pi * min(2200 * k, 6500) * t) * np.exp(-t / 0.006)
    return _shaped(out + 0.4 * noise(rng, len(t), 1500, 6000) * np.exp(-t / 0.002))


def rattle(rng: np.random.Generator, material: str, size: float) -> Sound:
    """A weak, short knock."""
    full = impact(rng, material, size * 0.6)[: int(0.07 * RATE)]
    return full * np.exp(-_time(len(full)) / 0.02).astype(np.float32)


def rustle(rng: np.random.Generator, size: float) -> Sound:
    """Leaves or cloth brushed aside."""
    t = _time(int(0.22 * RATE))
    grain, k = 0.4 + np.abs(noise(rng, len(t), 5, 60)), pitch(size)
    return _shaped(noise(rng, len(t), 1800 * k, 6000 * k) * grain * np.exp(-t / 0.06) * (1 - np.exp(-t / 0.004)))


def chime(size: float) -> Sound:
    """Three bell tones, one after the other."""
    t = _time(int(0.7 * RATE))
    out = np.zeros(len(t))
    for start, ratio in ((0.0, 1.0), (0.05, 1.26), (0.10, 1.5)):
        u = (t - start).clip(0)
        out += (t >= start) * np.sin(2 * np.pi * 880 * pitch(size) ** 0.5 * ratio * u) * np.exp(-u / 0.16)
    return _shaped(out)


def chirp(size: float) -> Sound:
    """A bird's: two quick sweeps."""
    t = _time(int(0.3 * RATE))
    out = np.zeros(len(t))
    base = min(2400 * pitch(size) ** 0.7, 4200)
    for start in (0.0, 0.14):
        u = ((t - start) / 0.1).clip(0, 1)
        phase = 2 * np.pi * base * 0.1 * (u + 0.25 * u**2)
        out += np.sin(phase) * np.sin(np.pi * u) ** 2 * (u > 0) * (u < 1)
    return _shaped(out)


def call(size: float) -> Sound:
    """An animal's: harmonics that rise a little and fall, in a throat's two formants."""
    t = _time(int(0.38 * RATE))
    u = t / t[-1]
    hz = 260 * pitch(size) * (1 + 0.25 * np.sin(np.pi * u) - 0.15 * u)
    phase = 2 * np.pi * np.cumsum(hz) / RATE
    out = np.zeros(len(t))
    for n in range(1, 12):
        f = n * 260 * pitch(size)
        if f < RATE * 0.4:
            weight = np.exp(-(((f - 700) / 350) ** 2)) + 0.6 * np.exp(-(((f - 1500) / 400) ** 2)) + 0.15 / n
            out += weight * np.sin(n * phase)
    return _shaped(out * np.sin(np.pi * u) ** 0.7)


def note(size: float) -> Sound:
    """A plucked string or struck bar on a pentatonic step."""
    step = round(12 * np.log2(pitch(size)) / 2.4)
    hz = 330 * 2 ** ((0, 2, 4, 7, 9)[step % 5] / 12 + step // 5)
    t = _time(int(0.6 * RATE))
    return _shaped(sum((np.sin(2 * np.pi * hz * n * t) * np.exp(-t * n / 0.3) / n for n in range(1, 7)), 0 * t))


def engine(rng: np.random.Generator, size: float, speed: NDArray[np.float64]) -> Sound:
    """Goes on as long as `speed` (samples, picture widths a second) does, its pitch and loudness with the speed."""
    hz = 55 * pitch(size) * (1 + 0.9 * speed)
    phase = np.cumsum(hz) / RATE
    pulse = np.sum([np.sin(2 * np.pi * n * phase) / n**0.8 for n in range(1, 9)], axis=0)
    rough = 1 + 0.25 * noise(rng, len(speed), 4, 40)
    out: Sound = (pulse * rough * (0.25 + 0.75 * speed.clip(0, 1)) * 0.4).astype(np.float32)
    return out


def moving_noise(rng: np.random.Generator, low: float, high: float, speed: NDArray[np.float64]) -> Sound:
    """A scrape or wash between two frequencies, as loud as the speed."""
    out: Sound = (noise(rng, len(speed), low, high) * speed.clip(0, 1.2) * 0.35).astype(np.float32)
    return out


def glide(size: NDArray[np.float64], moving: NDArray[np.float64]) -> Sound:
    """A tone whose pitch falls as the thing's `size` (samples) grows; heard while it changes (`moving`, 0..1)."""
    hz = 420 * (0.3 / size.clip(0.02)) ** 0.8
    phase = 2 * np.pi * np.cumsum(hz) / RATE
    return ((np.sin(phase) + 0.3 * np.sin(2 * phase)) * moving * 0.5).astype(np.float32)


def _shaped(out: NDArray[np.float64] | NDArray[np.float32]) -> Sound:
    """Peak 1, and no click at the end."""
    n = min(len(out) // 4, 160)
    out = out / max(float(np.abs(out).max()), 1e-9)
    out[-n:] *= np.linspace(1, 0, n)
    return out.astype(np.float32)
