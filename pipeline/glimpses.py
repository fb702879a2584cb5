"""What may be seen of a picture before it is judged: 64 colours, and only after its guards found nothing to say.

Nothing that could be taken for the picture leaves before it is judged, marked, signed and recorded: not a small copy
of it, and not a blurred one, which can be sharpened. Eight by eight means of sixteen shades each are 768 bits: enough
to see that something is coming and in which colours, too few to show anybody or anything. See ADR 33.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 8
"""Columns, and rows."""


@dataclass(frozen=True)
class Glimpse:
    """After ``step`` of ``steps``. ``colours``: three hex digits each, row by row from the top left."""

    step: int
    steps: int
    colours: str

    def as_dict(self) -> dict[str, Any]:
        return {"step": self.step, "steps": self.steps, "columns": SIDE, "rows": SIDE, "colours": self.colours}


def glimpse(step: int, steps: int, frame: NDArray[np.uint8]) -> Glimpse:
    """``frame``: uint8 (h, w, 3)."""
    means = np.asarray(Image.fromarray(np.ascontiguousarray(frame[..., :3])).resize((SIDE, SIDE), Image.Resampling.BOX))
    return Glimpse(step, steps, "".join(f"{value >> 4:x}" for value in means.reshape(-1).tolist()))
