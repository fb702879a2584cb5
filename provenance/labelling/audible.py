"""The audible label of sound: Morse, short-long-short-short (GB 45438-2025), at the beginning, over the ducked sound.

Made and read back with plain numpy, block by block: a tone of 880 Hz whose shorts last 0.12 s. The reader takes any
steady tone whose lengths are in that rhythm, so that it finds other people's marks too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ...errors import MediaError
from ..media import SoundBlock

TONE, UNIT, LEAD = 880.0, 0.12, 0.15
"""Hz; seconds of a short; seconds before the first."""
_PATTERN = (1, 3, 1, 1)
_LEVEL, _DUCKED, _FADE = 0.35, 0.08, 0.006
LENGTH = LEAD + UNIT * (sum(_PATTERN) + len(_PATTERN) - 1) + LEAD
"""Seconds that the whole label takes."""
_LOOKED_AT = 12.0
_WINDOW, _HOP = 0.03, 0.01


@dataclass(frozen=True, slots=True)
class Heard:
    """``at``: seconds from the start to the first short; ``tone`` in Hz."""

    at: float
    tone: float


def _envelope(start: int, count: int, rate: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(tone's level, sound's level) for samples ``start`` on; levels ramp, so that nothing clicks."""
    time = (start + np.arange(count)) / rate
    tone, begins = np.zeros(count), LEAD
    for units in _PATTERN:
        ends = begins + units * UNIT
        tone = np.maximum(tone, np.clip(np.minimum(time - begins, ends - time) / _FADE, 0.0, 1.0))
        begins = ends + UNIT
    under = np.clip(np.minimum(time, LENGTH - time) / 0.05, 0.0, 1.0)
    return tone * _LEVEL, 1.0 - (1.0 - _DUCKED) * under


def labelled(blocks: Iterable[SoundBlock]) -> Iterator[SoundBlock]:
    """The sound with its label. Raises MediaError where it is too short to hold one."""
    done, rate = 0, 0
    for block in blocks:
        rate = block.rate
        count = len(block.samples)
        if done < LENGTH * rate:
            level, under = _envelope(done, count, rate)
            wave = level * np.sin(2 * np.pi * TONE * (done + np.arange(count)) / rate)
            samples = block.samples * under[:, None] + wave[:, None]
            block = SoundBlock(np.clip(samples, -1.0, 1.0).astype(np.float32), rate)
        done += count
        yield block
    if done < LENGTH * rate:
        raise MediaError(
            f"the sound is too short for its label, which takes {LENGTH:.1f} s",
            code="input.label.room",
            hint="Put a second of silence before it.",
        )


def find(blocks: Iterable[SoundBlock]) -> Heard | None:
    """The label in the first seconds of a sound, if there is one."""
    parts, total, rate = list[NDArray[np.float32]](), 0, 0
    for block in blocks:
        rate = block.rate
        parts.append(block.samples.mean(axis=1))
        total += len(block.samples)
        if total >= _LOOKED_AT * rate:
            break
    return _found(np.concatenate(parts), rate) if parts else None


def _found(samples: NDArray[np.float32], rate: int) -> Heard | None:
    window, hop = round(_WINDOW * rate), round(_HOP * rate)
    # A rate this low carries no tone that a person would call one, and leaves nothing to look at.
    if rate < 1000 or len(samples) < window * 2:
        return None
    steps = np.lib.stride_tricks.sliding_window_view(samples, window)[::hop]
    power = np.abs(np.fft.rfft(steps * np.hanning(window), axis=1)) ** 2
    low, high = int(250 * window / rate), int(3500 * window / rate)
    peak = power[:, low:high].argmax(axis=1) + low
    around = np.stack(
        [power[np.arange(len(peak)), np.clip(peak + d, 0, power.shape[1] - 1)] for d in (-2, -1, 0, 1, 2)]
    )
    share = around.sum(axis=0) / np.maximum(power.sum(axis=1), 1e-12)
    loud = np.sqrt(np.mean(steps.astype(np.float64) ** 2, axis=1)) > 0.01
    return _rhythm(_pulses((share > 0.55) & loud, peak), rate / window)


def _pulses(on: NDArray[np.bool_], peak: NDArray[np.int64]) -> list[tuple[float, float, float]]:
    """(begin, length in seconds, frequency bin) of each stretch of one tone."""
    found, begin = [], None
    for place in range(len(on) + 1):
        same = place < len(on) and on[place] and (begin is None or abs(int(peak[place]) - int(peak[begin])) <= 1)
        if begin is not None and not same:
            found.append((begin * _HOP, (place - begin) * _HOP, float(np.median(peak[begin:place]))))
            begin = None
        if begin is None and place < len(on) and on[place]:
            begin = place
    return [pulse for pulse in found if pulse[1] >= 0.03]


def _rhythm(pulses: list[tuple[float, float, float]], hertz: float) -> Heard | None:
    """The first four tones in a row that are short, long, short, short, with gaps of a short's order."""
    for place in range(len(pulses) - 3):
        four = pulses[place : place + 4]
        lengths = [length for _, length, _ in four]
        short = (lengths[0] + lengths[2] + lengths[3]) / 3
        gaps = [b[0] - a[0] - a[1] for a, b in pairwise(four)]
        steady = max(p[2] for p in four) - min(p[2] for p in four) <= 1.5
        even = all(0.65 * short <= lengths[i] <= 1.45 * short for i in (0, 2, 3))
        in_time = 0.04 <= short <= 0.5 and 2.0 * short <= lengths[1] <= 4.5 * short
        if steady and even and in_time and all(0.3 * short <= gap <= 2.2 * short for gap in gaps):
            return Heard(four[0][0], four[0][2] * hertz)
    return None
