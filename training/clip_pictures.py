"""Pictures that the CLIP learns from beside whole stills: frames of clips, and softened and noisy ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from .world.atlas import Atlas
from .world.film import render_line
from .world.motions import boxes, timeline
from .world.shots import Shot


def any_frame(rng: np.random.Generator, shot: Shot, atlas: Atlas, side: int) -> NDArray[Any]:
    """A frame of a clip in which its subject is to be seen, if there is one among five: (side, side, 3) uint8."""
    for _ in range(5):
        line = timeline(shot, rng.uniform(0, shot.seconds, 1))
        left, top, right, bottom = boxes(shot, line)[0, 0].tolist()
        if not shot.cover and min(left, top) > -0.05 and max(right, bottom) < 1.05:
            break
    frame: NDArray[Any] = render_line(shot, line, atlas, side)[0]
    return frame


def roughen(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Blurs half of the batch slightly and adds noise, so that a soft picture is still recognised."""
    half = len(x) // 2
    soft = functional.avg_pool2d(functional.pad(x[:half], (1, 1, 1, 1), mode="replicate"), 3, 1)
    return torch.cat((soft, x[half:])) + float(rng.uniform(0, 0.08)) * torch.randn_like(x)
