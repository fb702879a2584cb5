"""What happens to sound on its way: each attack a pure function (samples, rate, rng) -> (samples, rate).

``samples``: float32 (n, channels). Codecs run through PyAV, encoder and decoder, with whatever delay they add left
in place: a copy that went through AAC in MP4 starts 1,024 samples late, and a detector has to live with that.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from scipy import signal

Samples = NDArray[np.float32]
Attack = Callable[[Samples, int, np.random.Generator], tuple[Samples, int]]


# ── codecs ───────────────────────────────────────────────────────────────────────────────────────────────────────
def _layout(channels: int) -> str:
    return {1: "mono", 2: "stereo", 6: "5.1"}[channels]


def coded(
    samples: Samples, rate: int, _rng: np.random.Generator, *, codec: str, container: str, kbit: int
) -> tuple[Samples, int]:
    """Through a lossy codec and back. Opus knows 48 kHz alone, so its copy has that rate."""
    channels, out = samples.shape[1], io.BytesIO()
    target = 48_000 if codec == "libopus" else rate
    with av.open(out, "w", format=container) as muxer:
        stream: Any = muxer.add_stream(codec, rate=target, layout=_layout(channels))
        stream.bit_rate = kbit * 1000
        wanted = stream.codec_context.format.name
        resampler = av.AudioResampler(format=wanted, layout=_layout(channels), rate=target)
        pieces = [samples[start : start + 8192] for start in range(0, len(samples), 8192)]
        done = 0
        for piece in pieces:
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece.T), "fltp", _layout(channels))
            frame.rate, frame.pts, frame.time_base = rate, done, Fraction(1, rate)
            done += len(piece)
            for ready in resampler.resample(frame):
                muxer.mux(stream.encode(ready))
        for ready in resampler.resample(None):
            muxer.mux(stream.encode(ready))
        muxer.mux(stream.encode(None))
    out.seek(0)
    with av.open(out, "r") as demuxer:
        back = av.AudioResampler(format="fltp")
        blocks: list[NDArray[Any]] = [b.to_ndarray() for f in demuxer.decode(audio=0) for b in back.resample(f)]
        blocks += [b.to_ndarray() for b in back.resample(None)]
        got = demuxer.streams.audio[0].rate
    return np.ascontiguousarray(np.concatenate(blocks, axis=1).T, np.float32), int(got)


# ── rate, speed, place ───────────────────────────────────────────────────────────────────────────────────────────
def resampled(samples: Samples, rate: int, _rng: np.random.Generator, *, to: int, back: bool) -> tuple[Samples, int]:
    there = signal.resample_poly(samples, *_ratio(to, rate), axis=0)
    if not back:
        return there.astype(np.float32), to
    return signal.resample_poly(there, *_ratio(rate, to), axis=0).astype(np.float32)[: len(samples)], rate


def _ratio(to: int, rate: int) -> tuple[int, int]:
    ratio = Fraction(to, rate)
    return ratio.numerator, ratio.denominator


def faster(samples: Samples, rate: int, _rng: np.random.Generator, *, by: float) -> tuple[Samples, int]:
    """Played ``by`` times as fast, pitch and all, at the same sampling rate."""
    ratio = Fraction(by).limit_denominator(1000)
    return signal.resample_poly(samples, ratio.denominator, ratio.numerator, axis=0).astype(np.float32), rate


def cropped(samples: Samples, rate: int, rng: np.random.Generator, *, seconds: float) -> tuple[Samples, int]:
    start = int(rng.integers(0, max(len(samples) - int(seconds * rate), 0) + 1))
    return samples[start : start + int(seconds * rate)], rate


def delayed(samples: Samples, rate: int, _rng: np.random.Generator, *, by: int) -> tuple[Samples, int]:
    return np.concatenate([np.zeros((by, samples.shape[1]), np.float32), samples]), rate


# ── levels and noise ─────────────────────────────────────────────────────────────────────────────────────────────
def noisy(samples: Samples, rate: int, rng: np.random.Generator, *, snr: float) -> tuple[Samples, int]:
    """White noise ``snr`` dB under the mean power of the whole excerpt."""
    noise = rng.standard_normal(samples.shape)
    return (samples + noise * np.sqrt(np.mean(samples**2) / 10 ** (snr / 10))).astype(np.float32), rate


def louder(samples: Samples, rate: int, _rng: np.random.Generator, *, by: float) -> tuple[Samples, int]:
    return np.clip(samples * np.float32(by), -1, 1), rate


def eight_bits(samples: Samples, rate: int, _rng: np.random.Generator) -> tuple[Samples, int]:
    return (np.rint(samples * 127) / 127).astype(np.float32), rate


def lowpass(samples: Samples, rate: int, _rng: np.random.Generator, *, hertz: float) -> tuple[Samples, int]:
    if hertz >= rate / 2:
        return samples, rate
    sections = signal.butter(6, hertz, fs=rate, output="sos")
    return signal.sosfilt(sections, samples, axis=0).astype(np.float32), rate


def muted(
    samples: Samples, rate: int, rng: np.random.Generator, *, every: float = 1.0, gap: float = 0.15
) -> tuple[Samples, int]:
    """Silent gaps of ``gap`` seconds at a random place in every ``every`` seconds."""
    out = samples.copy()
    for start in range(0, len(out), int(every * rate)):
        at = start + int(rng.uniform(0, every - gap) * rate)
        out[at : at + int(gap * rate)] = 0
    return out, rate


def compressed(samples: Samples, rate: int, _rng: np.random.Generator, *, ratio: float = 4.0) -> tuple[Samples, int]:
    """A broadcast compressor: 5 ms attack, 80 ms release, threshold 20 dB under the peak, ``ratio`` to 1."""
    level = np.abs(samples).max(axis=1)
    step = max(rate // 1000, 1)
    peaks = np.maximum.reduceat(level, np.arange(0, len(level), step))
    envelope, now = np.empty_like(peaks), 0.0
    for i, peak in enumerate(peaks):
        now += (peak - now) * (1 - np.exp(-1 / 5) if peak > now else 1 - np.exp(-1 / 80))
        envelope[i] = now
    over = np.maximum(20 * np.log10(np.maximum(envelope, 1e-6) / max(float(level.max()), 1e-6)) + 20, 0)
    gain = 10 ** (-over * (1 - 1 / ratio) / 20)
    smooth = np.interp(np.arange(len(samples)), np.arange(len(gain)) * step, gain)
    return (samples * smooth[:, None]).astype(np.float32), rate


def inverted(samples: Samples, rate: int, _rng: np.random.Generator) -> tuple[Samples, int]:
    return -samples, rate


def downmixed(samples: Samples, rate: int, _rng: np.random.Generator) -> tuple[Samples, int]:
    return samples.mean(axis=1, keepdims=True).astype(np.float32), rate


def one_channel(samples: Samples, rate: int, _rng: np.random.Generator) -> tuple[Samples, int]:
    return samples[:, :1], rate


def echoed(
    samples: Samples, rate: int, _rng: np.random.Generator, *, after: float = 0.1, gain: float = 0.3
) -> tuple[Samples, int]:
    out, shift = samples.copy(), int(after * rate)
    out[shift:] += np.float32(gain) * samples[:-shift]
    return out, rate


def equalised(samples: Samples, rate: int, _rng: np.random.Generator) -> tuple[Samples, int]:
    """A bass lift and a treble cut of 6 dB each, around 1 kHz."""
    b, a = signal.bilinear([1.0, 2 * np.pi * 2000], [2.0, 2 * np.pi * 1000], fs=rate)
    return signal.lfilter(b, a, samples, axis=0).astype(np.float32), rate


def untouched(samples: Samples, rate: int, _rng: np.random.Generator) -> tuple[Samples, int]:
    return samples, rate


ATTACKS: dict[str, Attack] = {
    "none": untouched,
    "AAC 128k": partial(coded, codec="aac", container="mp4", kbit=128),
    "AAC 64k": partial(coded, codec="aac", container="mp4", kbit=64),
    "MP3 128k": partial(coded, codec="libmp3lame", container="mp3", kbit=128),
    "Opus 64k": partial(coded, codec="libopus", container="ogg", kbit=64),
    "16 kHz": partial(resampled, to=16_000, back=False),
    "16 kHz and back": partial(resampled, to=16_000, back=True),
    "44.1 kHz": partial(resampled, to=44_100, back=False),
    "noise 30 dB": partial(noisy, snr=30.0),
    "noise 20 dB": partial(noisy, snr=20.0),
    "speed +2 %": partial(faster, by=1.02),
    "speed -2 %": partial(faster, by=0.98),
    "speed +0.7 %": partial(faster, by=1.007),
    "half as loud": partial(louder, by=0.5),
    "twice as loud, clipped": partial(louder, by=2.0),
    "8 bit": eight_bits,
    "lowpass 4 kHz": partial(lowpass, hertz=4000.0),
    "1,024 samples late": partial(delayed, by=1024),
    "muted gaps": muted,
    "compressed 4:1": compressed,
    "inverted": inverted,
    "stereo to mono": downmixed,
    "echo": echoed,
    "equalised": equalised,
    "left channel alone": one_channel,
}
