"""Trains the joint transformer on what shots show (rectified flow), autoencoders and caption encoder being ready.

python -m training.train_joint --seconds 3600
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from filigrana.pipeline.generators.embedded.joint import DYED, LEAST_NOISE, FiligranaJointTransformer
from filigrana.pipeline.generators.embedded.reader import FiligranaReader

from .common import DEVICE, Config, Run, autocast, compiled, prepare
from .muon import Muon
from .shot_pool import Pool, Source, averaged, norms
from .train_reader import TOKENIZER
from .world.atlas import load_atlas

SEED = 20270
BATCH, DRAFTS = 48, 256
"""Shots a step for the flow, and for the drafts, which cost next to nothing."""
FRESH = 2
"""Shots of the pool made anew in each step."""
ABSENT = 0.1
"""How much the latents of a sprite that isn't there count: it is never seen."""


def weights(model: FiligranaJointTransformer, there: Tensor) -> Tensor:
    """What each value counts: (N, values). `there` (N, 3): which sprites there are."""
    before, values, dyes, after = (count * values for count, values in model.shapes)
    each = torch.where(there, 2.0, ABSENT)
    ones = torch.ones(len(each), 1, device=each.device)
    sprites = each.repeat_interleave(values // there.shape[1], 1)
    return torch.cat((
        ones.expand(-1, before), sprites, each[:, :DYED].repeat_interleave(dyes // DYED, 1), ones.expand(-1, after),
    ), 1)  # fmt: skip


def flow_loss(
    model: FiligranaJointTransformer,
    latents: Tensor,
    sigma: Tensor,
    slots: Tensor,
    weight: Tensor | float = 1.0,
    learned: Callable[..., Tensor] | None = None,
) -> Tensor:
    """Mean squared error of the velocity, each value counted by `weight`: (4,), for each part.

    `learned` is the model as it is called, which may be compiled."""
    noise = torch.randn_like(latents)
    level = sigma[:, None]
    with autocast():
        out = (learned or model)(latents * (1 - level) + noise * level, sigma, slots)
    # the last bit of noise is no part of the picture: an error there counts as it does at the least level
    true = (noise - latents) * (level / level.clamp_min(LEAST_NOISE))
    error = (out.float() - true).square() * weight
    return torch.stack([part.mean() for part in model.split(error)])


def draft_loss(model: FiligranaJointTransformer, latents: Tensor, slots: Tensor, there: Tensor) -> Tensor:
    """Mean squared error of the drafts of sprites that are there, and of their dyes, in normalised latents."""
    _, sprites, dyes, _ = model.split(latents)
    with autocast():
        drawn = model.drafts(slots)
    true = (sprites.unflatten(1, (there.shape[1], -1))[:, :DYED], dyes.unflatten(1, (DYED, -1)))
    error = sum((a.float() - b).square().mean(2) for a, b in zip(drawn, true, strict=True))
    out: Tensor = (error * there[:, :DYED]).sum() / there[:, :DYED].sum().clamp_min(1)
    return out


def main() -> None:
    """Runs until the budget is spent; kill and start it again at will."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--tail", type=float, default=0.4)
    parser.add_argument("--pool", type=int, default=16000, help="shots kept")
    options = parser.parse_args()
    prepare(SEED)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(TOKENIZER)
    reader = averaged(FiligranaReader(vocabulary_size=len(tokenizer)), "reader").to(DEVICE)
    source = Source(load_atlas(), tokenizer, reader)
    run = Run("joint", options.seconds, options.rate, options.tail)
    started = run.path.exists()
    config = torch.load(run.path, map_location="cpu", weights_only=True)["config"] if started else norms(source)
    model = FiligranaJointTransformer(**config)
    rng = np.random.default_rng((SEED, run.step, 2))
    pool = Pool(source, model, options.pool)
    pool.fill(rng)
    run.begin()
    model = model.to(DEVICE)
    learned = compiled(model)
    ema = copy.deepcopy(model).requires_grad_(False)
    plain = ("enter", "leave", "position", "clock", "table", "sketch", "drafter.4")
    optimiser = Muon(model.named_parameters(), options.rate, 0.01, plain)
    parts = {"model": model, "ema": ema, "optimiser": optimiser, "config": Config(config)}
    run.resume(**parts)
    each: list[Tensor] = []
    while run.running:
        pool.renew(rng, FRESH)
        now, more = pool.batch(rng, BATCH), pool.batch(rng, DRAFTS, captions=True)
        weight = weights(model, now.more)
        sigma = torch.sigmoid(torch.randn(BATCH, device=DEVICE) * 1.2 + 0.3)
        losses = flow_loss(model, now.latents, sigma, now.slots, weight, learned)
        drafted = draft_loss(model, more.latents, more.slots, more.more)
        run.learn(losses.sum() / 4 + drafted, model, ema, optimiser)
        each.append(torch.cat((losses.detach(), drafted.detach()[None])))
        if run.due:
            run.save(**parts)
        if run.step % 200 == 0:
            mean = torch.stack(each).mean(0)
            each.clear()
            names = ("plate", "sprites", "dyes", "motion", "draft")
            run.note(**{name: round(float(v), 4) for name, v in zip(names, mean, strict=True)})
    run.save(**parts)


if __name__ == "__main__":
    main()
