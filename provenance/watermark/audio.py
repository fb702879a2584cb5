"""The sound codec: 64 bits in any three seconds of speech, music or effects, 25 dB below them. See `audio_grid` for
the method, `audio_embed` and `audio_search` for the two directions.

All channels get the same gains, worked out on their downmix: the stereo image stays, and every downmix carries the
mark. A single channel cut out of a wide stereo mix is another sound, and may not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np

from ...errors import WatermarkError
from ..identity import AssetId
from . import payload
from .audio_embed import Marker
from .audio_grid import BLOCKS_A_VARIANT, RATE, pattern
from .audio_rate import RateChange
from .audio_search import Heard, Place, Reading, Searcher, apart
from .audio_stream import SHORTEST, add, downmix, pieces, windows
from .base import Detection, SoundBlock, Timing, alg_for
from .variation import CYCLE, EPOCH, first_variant

ALG = "org.filigrana.sound.1"
FLOOR = 9.5
"""A decode counts only above this score (`payload.Decoded`): with the CRC-32 and the version it is the third gate."""
NULL_MEAN, NULL_DEVIATION = 10.0, 0.21
"""Of a normal distribution that lies above the scores of unmarked sound (speech, music, effects, noise, tones, other
keys' marks) from its median on: there, half of the readings score above 9.7, a tenth above 10.15, a hundredth above
10.4, and the best of two thousand 10.7. Marked sound scores from 10 to 20."""
_LISTED, _LISTED_ABOVE = payload.LIST, payload.ABOVE_NOISE
"""`payload.decode` asks so many words for their CRC where the best one scores above this."""


class LogSpectralQim:
    """Sound codec by quantisation index modulation of log-spectral differences. ``key``: None for the published
    detection key."""

    def __init__(self, key: bytes | None = None) -> None:
        self.alg = alg_for(ALG, key)
        self._key = key
        self._pattern = pattern(key)
        self._searcher: Searcher | None = None

    # ── embedding ────────────────────────────────────────────────────────────────────────────────────────────────
    def embed(self, blocks: Iterable[SoundBlock], asset_id: AssetId) -> Iterator[SoundBlock]:
        """Yields the sound marked, about a second at a time and up to three seconds behind what it reads. Raises
        WatermarkError for sound that is too short, changes its form, or is not finite. Silence comes back as it is,
        and carries nothing."""
        source = pieces(blocks)
        first = next(source, None)
        if first is None or len(first.samples) < SHORTEST * first.rate:
            raise WatermarkError(
                f"a mark needs at least {SHORTEST:g} s of sound",
                code="provenance.watermark.too_small",
                hint="Seal a longer recording.",
            )
        rate, channels = first.rate, first.samples.shape[1]
        turn = first_variant(asset_id, self._key) * BLOCKS_A_VARIANT
        phases = np.roll(self._pattern.phases(payload.encode(payload.pack(asset_id))), -turn, axis=0)
        down, up = RateChange(rate, RATE, channels), RateChange(RATE, rate, channels)
        marker, held = Marker(phases, downmix(channels)), np.zeros((0, channels), np.float32)
        for piece in chain([first], source):
            held = np.concatenate([held, piece.samples])
            mark = up.push(marker.push(down.push(piece.samples)))
            if len(mark):
                yield SoundBlock(add(held[: len(mark)], mark), rate)
                held = held[len(mark) :]
        rest = np.concatenate([up.push(marker.push(down.finish())), up.push(marker.finish()), up.finish()])
        mark = np.zeros_like(held)
        mark[: len(rest)] = rest[: len(held)]
        yield SoundBlock(add(held, mark), rate)

    # ── detection ────────────────────────────────────────────────────────────────────────────────────────────────
    def detect(self, blocks: Iterable[SoundBlock]) -> Detection:
        """Reads up to 30 s of sound (after up to ten minutes of silence), less where less is enough. Never raises for
        sound of the right types: what cannot be read is unmarked."""
        started = time.perf_counter()
        tries, used, silence = 0, 0, 0.0
        best: Reading | None = None
        found: AssetId | None = None
        for window in windows(blocks):
            used, silence = window.blocks, window.silence
            for reading in self._readings(Heard(window.sound), last=window.last):
                tries += 1
                hit = reading.decoded.asset_id is not None and reading.decoded.score >= FLOOR
                if hit or best is None or reading.decoded.score > best.decoded.score:
                    best = reading
                if hit:
                    found = reading.decoded.asset_id
                    break
            if found is not None:
                break
        seconds = time.perf_counter() - started
        if best is None or found is None:
            return Detection(None, round(best.decoded.score, 3) if best else 0.0, 1.0, None, seconds, used)
        return Detection(
            asset_id=found,
            score=round(best.decoded.score, 3),
            p_value=p_value(tries, best.decoded.score),
            geometry=None,
            seconds=seconds,
            frames=used,
            timing=self._timing(best.place, found, silence),
        )

    def _readings(self, heard: Heard, *, last: bool) -> Iterator[Reading]:
        """Places to read, the likeliest first: at the speed of the original, then, on all there is, at others."""
        if self._searcher is None:
            self._searcher = Searcher(self._pattern)
        searcher, levels = self._searcher, heard.levels(1.0)
        near = [
            searcher.refine(levels, place, 1.5e-4, heard.seconds / 2)
            for place in apart(searcher.coarse(levels, 1, 8), 3)
        ]
        for place in near:
            yield searcher.read(levels, place)
        if not last:
            return
        # Under a compressor, which changes the loudness of all bands from one cell to the next.
        for place in near[:2]:
            yield searcher.read(levels, place, follow=True)
        for place in searcher.at_other_speeds(heard):
            yield searcher.read(heard.levels(place.speed), place)

    def _timing(self, place: Place, asset_id: AssetId, silence: float) -> Timing:
        start = float(first_variant(asset_id, self._key) * EPOCH)
        return Timing((place.position - place.speed * silence - start) % float(CYCLE), 0.004, place.speed)


def p_value(tries: int, score: float) -> float:
    """The chance that one of ``tries`` readings of unmarked sound passes the CRC-32 and the 4-bit version by accident,
    at a score as good as ``score``. With all tries of a detection (14 at most) it is below 3e-10."""
    words = _above(score) + (_LISTED - 1) * _above(max(score, _LISTED_ABOVE))
    return min(1.0, tries * 2.0**-36 * max(words, 1e-12))


def _above(score: float) -> float:
    return 0.5 * math.erfc((score - NULL_MEAN) / NULL_DEVIATION / math.sqrt(2))
