"""Test sounds made here from a seed: little compositions as MIDI files, and effects by synthesis."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray
from scipy import signal

# ── compositions ─────────────────────────────────────────────────────────────────────────────────────────────────
# melody, chords, bass: General MIDI programs, and whether drums play
BANDS = (
    (0, 48, 32, True), (40, 0, 43, False), (24, 24, 33, False), (73, 46, 42, False), (56, 18, 34, True),
    (11, 4, 32, True), (65, 0, 32, True), (52, 19, 43, False), (29, 30, 34, True), (71, 48, 70, False),
    (0, 0, 0, False), (6, 6, 6, False), (80, 88, 38, True), (105, 24, 32, False), (13, 12, 43, False),
    (68, 60, 58, True),
)  # fmt: skip
_TICKS = 480


def compose(seed: int) -> bytes:
    """A Standard MIDI File (format 0) of about 14 s: melody, chords, bass and perhaps drums, drawn from ``seed``."""
    melody, chords, bass, drums = BANDS[seed % len(BANDS)]
    rng = np.random.default_rng(seed)
    tempo = int(rng.integers(80, 150))
    scale = np.array([0, 2, 4, 5, 7, 9, 11] if rng.random() < 0.5 else [0, 2, 3, 5, 7, 8, 10])
    root = int(rng.integers(45, 57))
    beats = int(14 * tempo / 60) + 1
    voices = enumerate((melody, chords, bass))
    events: list[tuple[int, bytes]] = [(0, bytes([0xC0 | channel, program])) for channel, program in voices]

    def note(channel: int, pitch: int, start: float, length: float, loud: int) -> None:
        on, off = int(start * _TICKS), int((start + length) * _TICKS)
        events.append((on, bytes([0x90 | channel, pitch, loud])))
        events.append((max(off - 10, on + 10), bytes([0x80 | channel, pitch, 0])))

    degree = 7
    for bar in range(0, beats, 4):
        step = int(rng.choice([0, 3, 4, 5]))
        for third in (0, 2, 4):
            pitch = root + 12 * ((step + third) // 7) + int(scale[(step + third) % 7])
            note(1, pitch, bar, 4, int(rng.integers(50, 80)))
        for beat in range(4):
            note(2, root - 12 + int(scale[step]), bar + beat, 0.9, int(rng.integers(70, 100)))
            if drums:
                note(9, 36 if beat % 2 == 0 else 38, bar + beat, 0.2, 90)
                note(9, 42, bar + beat + 0.5, 0.2, 60)
            time = 0.0
            while time < 1:
                length = float(rng.choice([0.25, 0.5, 1.0]))
                degree = int(np.clip(degree + rng.integers(-2, 3), 3, 14))
                if rng.random() < 0.85:
                    pitch = root + 12 * (degree // 7) + int(scale[degree % 7])
                    note(0, pitch, bar + beat + time, length, int(rng.integers(70, 115)))
                time += length
    track = b"\0\xff\x51\x03" + struct.pack(">I", 60_000_000 // tempo)[1:]
    now = 0
    for tick, data in sorted(events, key=lambda event: event[0]):
        track += _variable(tick - now) + data
        now = tick
    track += b"\0\xff\x2f\0"
    return b"MThd" + struct.pack(">IHHH", 6, 0, 1, _TICKS) + b"MTrk" + struct.pack(">I", len(track)) + track


def _variable(value: int) -> bytes:
    """MIDI's variable-length quantity: seven bits a byte, the most significant first."""
    out = [value & 0x7F]
    while value := value >> 7:
        out.append(value & 0x7F | 0x80)
    return bytes(reversed(out))


# ── effects ──────────────────────────────────────────────────────────────────────────────────────────────────────
RATE = 48_000


def _filtered(rng: np.random.Generator, n: int, low: float, high: float) -> NDArray[np.float64]:
    sections = signal.butter(2, [low, high], "bandpass", fs=RATE, output="sos")
    return np.asarray(signal.sosfilt(sections, rng.normal(0, 1, n)))


def _impacts(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    out, t = np.zeros(n), np.arange(RATE) / RATE
    for start in np.sort(rng.integers(0, n - RATE, 24)):
        modes = rng.uniform(120, 5000, 8)
        decay = rng.uniform(5, 40, 8)
        hit = (np.sin(2 * np.pi * modes[:, None] * t) * np.exp(-decay[:, None] * t)).sum(0)
        out[start : start + RATE] += hit * rng.uniform(0.2, 1) + rng.normal(0, 1, RATE) * np.exp(-200 * t)
    return out


def _rain(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    drops = np.where(rng.random(n) < 0.004, rng.exponential(4.0, n), 0.0)
    ring = np.exp(-np.arange(240) / 40) * np.sin(np.arange(240) * 0.6)
    return np.asarray(signal.fftconvolve(drops, ring)[:n] + 0.4 * _filtered(rng, n, 400, 12_000))


def _wind(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    gusts = np.repeat(rng.uniform(0.2, 1, n // 12_000 + 2), 12_000)[:n]
    gusts = np.asarray(signal.sosfiltfilt(signal.butter(1, 1.5, fs=RATE, output="sos"), gusts))
    return gusts * (_filtered(rng, n, 80, 600) * 3 + gusts * _filtered(rng, n, 500, 3000))


def _engine(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    speed = 40 + 25 * np.sin(2 * np.pi * np.arange(n) / n * rng.uniform(1, 3))
    phase = np.cumsum(speed) / RATE
    tone = sum(np.sin(2 * np.pi * phase * k + rng.uniform(0, 6)) / k**0.8 for k in range(1, 60))
    return np.asarray(tone) + _filtered(rng, n, 200, 6000)


def _bells(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    out, t = np.zeros(n), np.arange(3 * RATE) / RATE
    for start in np.sort(rng.integers(0, n - len(t), 10)):
        base = rng.uniform(300, 900)
        partials = base * np.array([0.5, 1, 1.19, 1.5, 2, 2.5, 2.67, 3, 4, 5.4])
        ring = np.sin(2 * np.pi * partials[:, None] * t) * np.exp(-np.linspace(0.6, 6, 10)[:, None] * t)
        out[start : start + len(t)] += ring.sum(0)
    return out + 0.01 * rng.normal(0, 1, n)


def _sea(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    swell = 0.55 + 0.45 * np.sin(2 * np.pi * np.arange(n) / RATE / rng.uniform(3, 6) + rng.uniform(0, 6))
    return swell**2 * _filtered(rng, n, 150, 9000)


EFFECTS = {"impacts": _impacts, "rain": _rain, "wind": _wind, "engine": _engine, "bells": _bells, "sea": _sea}
