"""Sound that is encoded block by block: the track of a clip in step with its pictures, or a file of sound alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import Any

import av
import numpy as np

from ...errors import MediaError
from .values import SoundBlock

BITS_A_SECOND = 192_000
"""Of a marked sound track, for mono and stereo; more channels get 96,000 each."""
_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 8: "7.1"}


@dataclass(frozen=True, slots=True)
class _Codec:
    """``rates``: Hz that it encodes; another becomes ``fallback``. ``rates`` empty: any."""

    form: str
    rates: tuple[int, ...]
    fallback: int = 48_000
    channels: int = 8
    lossy: bool = True


_CODECS = {
    "aac": _Codec("fltp", (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)),
    "libmp3lame": _Codec("fltp", (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000), channels=2),
    "libopus": _Codec("flt", (48_000,)),
    "flac": _Codec("s16", (), lossy=False),
}


class MarkedSoundTrack:
    """Encodes blocks as a sound track, in a clip in step with its pictures, so that neither has to be kept whole. It
    adds its stream to ``out``, so it is made before the first picture is written. No blocks: no track.

    ``bits`` a sample, for FLAC. ``samples``: how many a channel were taken so far."""

    def __init__(
        self, out: av.container.OutputContainer, blocks: Iterable[SoundBlock], codec: str = "aac", *, bits: int = 16
    ) -> None:
        source = iter(blocks)
        first = next(source, None)
        self._out = out
        self._next: tuple[float, Any] | None = None
        self.samples = 0
        if first is None:
            return
        kind, channels = _CODECS[codec], first.samples.shape[1]
        layout = _LAYOUTS.get(channels)
        if layout is None or channels > kind.channels:
            raise MediaError(
                f"{channels} channels are not written in this format",
                code="input.media.format",
                hint="Mix it down to stereo first, or write WAV.",
            )
        rate = first.rate if not kind.rates or first.rate in kind.rates else kind.fallback
        self._layout = layout
        stream: Any = out.add_stream(codec, rate=rate, layout=layout)
        form = "s32" if codec == "flac" and bits > 16 else kind.form
        if form != kind.form:
            stream.codec_context.format = form
        if kind.lossy:
            stream.bit_rate = BITS_A_SECOND if channels <= 2 else 96_000 * channels
        self._stream = stream
        self._resampler = av.AudioResampler(format=form, layout=layout, rate=rate)
        self._packets = self._run(chain([first], source))
        self._next = next(self._packets, None)

    def _run(self, blocks: Iterable[SoundBlock]) -> Iterator[tuple[float, Any]]:
        time = 0.0
        for block in blocks:
            # A quarter of a second at a time, so that the pictures never wait long behind a large block.
            for start in range(0, len(block.samples), max(block.rate // 4, 1)):
                piece = block.samples[start : start + max(block.rate // 4, 1)]
                frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece.T), "fltp", self._layout)
                frame.rate, frame.pts, frame.time_base = block.rate, self.samples, Fraction(1, block.rate)
                time = self.samples / block.rate
                self.samples += len(piece)
                for ready in self._resampler.resample(frame):
                    yield from ((time, packet) for packet in self._stream.encode(ready))
        rest: list[av.AudioFrame | None] = [*self._resampler.resample(None), None]
        for last in rest:
            yield from ((time, packet) for packet in self._stream.encode(last))

    def write_until(self, seconds: float) -> None:
        """Writes what lies up to ``seconds``; infinity for all the rest."""
        while self._next is not None and self._next[0] <= seconds:
            self._out.mux(self._next[1])
            self._next = next(self._packets, None)
