"""The sound codec's way in and out: checking streams, joining their blocks, and the downmix that carries the mark."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import WatermarkError
from .audio_grid import RATE
from .audio_rate import RateChange
from .base import SoundBlock

RATES = (8_000, 192_000)
"""Hz. Below 16 kHz the upper bands stay empty; above, the mark still ends at 6.4 kHz."""
MOST_CHANNELS = 8
SHORTEST = 1.0
"""Seconds: the payload stands in each second once."""
LENGTHS = (4.0, 10.0, 30.0)
"""Seconds of sound after which a detection is tried, each from the first sound on."""
_MOST_SILENCE = 600.0
_SILENT = 1e-4
_LOUDEST = 1e3

Samples = NDArray[np.float32]


def downmix(channels: int) -> Samples:
    """(channels,) weights of the signal that carries the mark: the mean of the stereo downmix of ITU-R BS.775, for
    channels in the order of WAV and FFmpeg."""
    centre, side = 0.7071, 0.35355
    known = {
        3: (0.5, 0.5, centre),
        4: (0.5, 0.5, side, side),
        5: (0.5, 0.5, centre, side, side),
        6: (0.5, 0.5, centre, 0.0, side, side),
        8: (0.5, 0.5, centre, 0.0, side, side, side, side),
    }
    return np.array(known.get(channels, (1 / channels,) * channels), np.float32)


def add(sound: Samples, mark: Samples) -> Samples:
    """The sum, held to full scale where the sound itself was: a mark makes nothing clip that did not."""
    return np.asarray(np.clip(sound + mark, np.minimum(-1, sound), np.maximum(1, sound)), np.float32)


def _check(block: SoundBlock, form: tuple[int, int] | None) -> None:
    samples = block.samples
    if samples.dtype != np.float32 or samples.ndim != 2 or not 1 <= samples.shape[1] <= MOST_CHANNELS:
        raise WatermarkError(
            f"sound is float32 (n, 1 to {MOST_CHANNELS}), not {samples.dtype} of shape {samples.shape}",
            hint=f"Mix it down to {MOST_CHANNELS} channels or fewer.",
        )
    if not RATES[0] <= block.rate <= RATES[1]:
        raise WatermarkError(
            f"sound of {block.rate} Hz cannot be marked",
            code="provenance.watermark.rate",
            hint=f"Resample it to between {RATES[0]} and {RATES[1]} Hz.",
        )
    if form is not None and form != (block.rate, samples.shape[1]):
        raise WatermarkError("the rate or the number of channels changes in the middle of the sound")
    if not np.isfinite(samples).all():
        raise WatermarkError(
            "the sound holds values that are not numbers",
            code="provenance.watermark.not_finite",
            hint="Export it again: NaN and infinity cannot be played.",
        )


def pieces(blocks: Iterable[SoundBlock]) -> Iterator[SoundBlock]:
    """The same sound, checked, in pieces of at least a second, but for the last one. Raises WatermarkError."""
    waiting: list[Samples] = []
    form: tuple[int, int] | None = None
    length = 0
    for block in blocks:
        _check(block, form)
        form = (block.rate, block.samples.shape[1])
        waiting.append(block.samples)
        length += len(block.samples)
        if length >= block.rate:
            yield SoundBlock(np.concatenate(waiting), block.rate)
            waiting, length = [], 0
    if length and form is not None:
        yield SoundBlock(np.concatenate(waiting), form[0])


@dataclass(frozen=True, slots=True)
class Window:
    """What a detector looks at. ``sound``: the downmix at 16 kHz, from the first that is to be heard. ``silence``:
    seconds before it. ``blocks``: how many were read. ``last``: nothing longer will come."""

    sound: Samples
    silence: float
    blocks: int
    last: bool


class _Listener:
    """Collects the downmix at 16 kHz. Values that are not numbers are silence to it."""

    def __init__(self, rate: int, channels: int) -> None:
        self.form, self.silence = (rate, channels), 0
        self._change, self._weights = RateChange(rate, RATE, 1), downmix(channels)
        self._ready: list[Samples] = []
        self._waiting: list[Samples] = []
        self._queued = 0
        self.length = 0

    def hear(self, samples: Samples) -> None:
        clean = np.clip(np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0), -_LOUDEST, _LOUDEST)
        if not self.length and not self._queued and float(np.abs(clean).max(initial=0.0)) < _SILENT:
            self.silence += len(clean)
            return
        self._waiting.append((clean @ self._weights)[:, None])
        self._queued += len(clean)
        # Half a second at a time, however small the blocks are.
        if self._queued >= self.form[0] // 2:
            self._take(self._change.push(np.concatenate(self._waiting)))
            self._waiting, self._queued = [], 0

    def finish(self) -> None:
        if self._waiting:
            self._take(self._change.push(np.concatenate(self._waiting)))
        self._take(self._change.finish())

    def _take(self, sound: Samples) -> None:
        self._ready.append(sound)
        self.length += len(sound)

    def window(self, blocks: int, *, last: bool) -> Window:
        whole = np.concatenate(self._ready)
        self._ready = [whole]
        sound = np.ascontiguousarray(whole[: int(LENGTHS[-1] * RATE), 0])
        return Window(sound, self.silence / self.form[0], blocks, last)


def windows(blocks: Iterable[SoundBlock]) -> Iterator[Window]:
    """Longer and longer windows from the first sound on, up to 30 s. Yields none for silence, for less than a second,
    and for what is not sound."""
    listener: _Listener | None = None
    lengths, count = list(LENGTHS), 0
    for block in blocks:
        count += 1
        if listener is None:
            channels = block.samples.shape[1] if block.samples.ndim == 2 else 0
            if not RATES[0] <= block.rate <= RATES[1] or not 1 <= channels <= MOST_CHANNELS:
                return
            listener = _Listener(block.rate, channels)
        if block.samples.ndim != 2 or (block.rate, block.samples.shape[1]) != listener.form:
            break
        listener.hear(block.samples)
        if listener.silence > _MOST_SILENCE * block.rate:
            return
        if listener.length >= lengths[0] * RATE:
            lengths = [length for length in lengths if length * RATE > listener.length]
            yield listener.window(count, last=not lengths)
            if not lengths:
                return
    if listener is None:
        return
    listener.finish()
    if listener.length >= 0.9 * SHORTEST * RATE:
        yield listener.window(count, last=True)
