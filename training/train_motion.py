"""Trains the motion transformer (rectified flow), the caption encoder being ready.

python -m training.train_motion --seconds 1500
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from filigrana.pipeline.generators.embedded.motion import FiligranaMotionTransformer
from filigrana.pipeline.generators.embedded.time import MOMENTS

from .common import DEVICE, autocast
from .flows import Flow, More, noisy, train
from .shot_pool import Batch, Pool, motion_norms, of_moves

CHANGES, TURNS = 8.0, 96.0
"""How much more the errors of differences of moments count, and of those differences: a jitter of a pixel is seen, a
shift of one is not; and where a path turns is where something is heard."""
DRAFTS = 768
"""Shots a step for the drafts."""


def track_errors(made: Tensor, true: Tensor) -> dict[str, Tensor]:
    """Mean squared error of tracks (N, values), of their differences, and of the differences of those."""
    error = (made - true).unflatten(1, (MOMENTS, -1))
    parts = {"place": error, "change": error.diff(dim=1), "turn": error.diff(n=2, dim=1)}
    return {name: part.square().mean() for name, part in parts.items()}


def weighed(errors: dict[str, Tensor]) -> Tensor:
    """One loss of `track_errors`."""
    return errors["place"] + CHANGES * errors["change"] + TURNS * errors["turn"]


def motion_loss(
    model: FiligranaMotionTransformer,
    learned: Callable[..., Tensor],  # noqa: ARG001 (one of `Flow.loss`)
    batch: Batch,
    sigma: Tensor,
    more: More,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The errors of the drafts, and when these are settled, of what is drawn: alike at every noise level, not as a
    velocity's would be, since a plan all but determines the tracks."""
    if more is None:
        drawn = track_errors(model.clean(noisy(batch.latents, sigma)[0], sigma, batch.slots), batch.latents)
        return weighed(drawn), drawn
    others = more(DRAFTS)
    with autocast():
        inner = model.drafter[:-1](model.reads(others.slots).flatten(1))
    # the last product is not in bfloat16, which is too coarse for a path to be smooth
    drafted = track_errors(model.drafter[-1](inner.float()), others.latents)
    return weighed(drafted), {f"draft {name}": value for name, value in drafted.items()}


@torch.no_grad()
def refit(model: FiligranaMotionTransformer, pool: Pool, ridge: float = 1e-3) -> None:
    """The last layer of the drafts anew: the least squares solution over the whole pool, which is best by each of the
    three errors at once."""
    inner, last = model.drafter[:-1], cast(nn.Linear, model.drafter[-1])
    parts = (part.float().to(DEVICE) for part in pool.slots.split(1000))
    features = [inner(model.reads(part).flatten(1)).double().cpu() for part in parts]
    x = torch.cat([functional.pad(part, (0, 1), value=1.0) for part in features])
    products = x.T @ x + ridge * torch.eye(x.shape[1], dtype=x.dtype)
    found = torch.linalg.solve(products, x.T @ pool.latents.double())
    last.weight.copy_(found[:-1].T)
    last.bias.copy_(found[-1])


FLOW = Flow(
    "motion", 20272, FiligranaMotionTransformer, motion_norms, of_moves, motion_loss, batch=128, fresh=24, level=1.0,
    plain=("reads", "enter", "leave", "position", "table", "drafter.4"), settle=refit, settled=0.5,
    guided=False,
)  # fmt: skip

if __name__ == "__main__":
    train(FLOW, __doc__, 1500, 2e-3, 0.5, 16000)
