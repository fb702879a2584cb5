"""How much sound there is: what decides whether it must carry a mark."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from .values import SoundBlock

_SURE_SECONDS, _SURE_LEVEL = 3.0, 10 ** (-50 / 20)
"""A sound that has this many seconds louder than -50 dB of full scale must carry its mark."""


@dataclass
class SoundMeter:
    """How much sound went by. ``loud``: seconds, counted in blocks of a tenth of a second."""

    seconds: float = 0.0
    loud: float = 0.0

    def watch(self, blocks: Iterable[SoundBlock]) -> Iterator[SoundBlock]:
        for block in blocks:
            step = max(1, block.rate // 10)
            for start in range(0, len(block.samples), step):
                piece = block.samples[start : start + step]
                seconds = len(piece) / block.rate
                self.seconds += seconds
                if float(np.sqrt(np.mean(np.square(piece, dtype=np.float64)))) > _SURE_LEVEL:
                    self.loud += seconds
            yield block

    @property
    def must_carry(self) -> bool:
        return self.loud >= _SURE_SECONDS
