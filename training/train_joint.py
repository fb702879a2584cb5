"""Trains the joint transformer on what shots show (rectified flow), autoencoders and caption encoder being ready.

python -m training.train_joint --seconds 3600
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from filigrana.pipeline.generators.embedded.attention import LEAST_NOISE
from filigrana.pipeline.generators.embedded.dye import dye_of
from filigrana.pipeline.generators.embedded.joint import DYED, PARTNER, SUBJECT, FiligranaJointTransformer

from .common import autocast
from .flows import Flow, More, noisy, train
from .shot_pool import Batch, Source, norms, of_pictures
from .world.colours import COLOURS16
from .world.concepts import STYLES
from .world.shots import COVERS

DRAFTS = 256
"""Shots a step for the drafts, which cost next to nothing."""
ABSENT = 0.1
"""How much the latents of a sprite that isn't there count: it is never seen."""


def weights(model: FiligranaJointTransformer, there: Tensor) -> Tensor:
    """What each value counts: (N, values). `there` (N, 3): which sprites there are."""
    before, values, dyes = (count * values for count, values in model.shapes)
    each = torch.where(there, 2.0, ABSENT)
    ones = torch.ones(len(each), 1, device=each.device)
    sprites = each.repeat_interleave(values // there.shape[1], 1)
    return torch.cat((ones.expand(-1, before), sprites, each[:, :DYED].repeat_interleave(dyes // DYED, 1)), 1)


def flow_loss(
    model: FiligranaJointTransformer,
    latents: Tensor,
    sigma: Tensor,
    slots: Tensor,
    weight: Tensor | float = 1.0,
    learned: Callable[..., Tensor] | None = None,
) -> Tensor:
    """Mean squared error of the velocity, each value counted by `weight`: (3,), for each part.

    `learned` is the model as it is called, which may be compiled."""
    (x, noise), level = noisy(latents, sigma), sigma[:, None]
    with autocast():
        out = (learned or model)(x, sigma, slots)
    # the last bit of noise is no part of the picture: an error there counts as it does at the least level
    true = (noise - latents) * (level / level.clamp_min(LEAST_NOISE))
    error = (out.float() - true).square() * weight
    return torch.stack([part.mean() for part in model.split(error)])


def draft_loss(model: FiligranaJointTransformer, latents: Tensor, slots: Tensor, there: Tensor) -> Tensor:
    """Mean squared error of the drafts of sprites that are there, and of their dyes, in normalised latents."""
    _, sprites, dyes = model.split(latents)
    drawn = model.drafts(slots)
    true = (sprites.unflatten(1, (there.shape[1], -1))[:, :DYED], dyes.unflatten(1, (DYED, -1)))
    error = sum((a.float() - b).square().mean(2) for a, b in zip(drawn, true, strict=True))
    out: Tensor = (error * there[:, :DYED]).sum() / there[:, :DYED].sum().clamp_min(1)
    return out


def joint_loss(
    model: FiligranaJointTransformer,
    learned: Callable[..., Tensor],
    batch: Batch,
    sigma: Tensor,
    more: More,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The flow's loss and the drafts'."""
    losses = flow_loss(model, batch.latents, sigma, batch.slots, weights(model, batch.more), learned)
    named = dict(zip(("plate", "sprites", "dyes"), losses, strict=True))
    if more is None:
        return losses.sum() / 3, named
    others = more(DRAFTS)
    drafted = draft_loss(model, others.latents, others.slots, others.more)
    return losses.sum() / 3 + drafted, {**named, "draft": drafted}


@torch.no_grad()
def begin(source: Source, model: FiligranaJointTransformer) -> None:
    """Prototypes are the latents of what there is, and slots are read as the caption encoder's own answers are."""
    own, known = model.prototypes, source.tables.sprites[: -len(COVERS)].unflatten(0, (-1, len(STYLES)))
    own.sprites.copy_(model.packed(known))
    dyes = [dye_of(colour.rgb) for colour in COLOURS16] + [dye_of(None)]
    own.dyes.copy_(model.normal(torch.from_numpy(np.stack(dyes)), 2))
    for says, slot in zip(own.says, (*SUBJECT, *PARTNER), strict=True):
        says.load_state_dict(source.reader.says[slot].state_dict())


FLOW = Flow(
    "joint", 20270, FiligranaJointTransformer, norms, of_pictures, joint_loss, batch=48, fresh=2, level=0.3,
    plain=("enter", "leave", "position", "table", "sketch", "prototypes"), begin=begin,
)  # fmt: skip

if __name__ == "__main__":
    train(FLOW, __doc__, 3600, 1.5e-3, 0.4, 16000)
