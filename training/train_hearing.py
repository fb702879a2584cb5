"""Trains the sound transformer (rectified flow), the autoencoders of motion and sound and the caption encoder being
ready.

python -m training.train_hearing --seconds 1200
"""

from __future__ import annotations

import argparse
import copy

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from filigrana.pipeline.generators.embedded.joint import LEAST_NOISE
from filigrana.pipeline.generators.embedded.reader import FiligranaReader
from filigrana.pipeline.generators.embedded.sound import FiligranaSoundTransformer

from .common import DEVICE, Config, Run, autocast, compiled, prepare
from .muon import Muon
from .shot_pool import Batch, Pool, Source, averaged, sound_norms
from .train_reader import TOKENIZER
from .world.atlas import load_atlas

SEED = 20271
BATCH = 96
FRESH = 3
"""Sounds of the pool made anew in each step."""


def hearing_loss(model: FiligranaSoundTransformer, batch: Batch, sigma: Tensor) -> Tensor:
    """Mean squared error of the velocity, as `train_joint.flow_loss` has it."""
    noise, level = torch.randn_like(batch.latents), sigma[:, None]
    with autocast():
        out = model(batch.latents * (1 - level) + noise * level, sigma, batch.slots, batch.more)
    true = (noise - batch.latents) * (level / level.clamp_min(LEAST_NOISE))
    loss: Tensor = (out.float() - true).square().mean()
    return loss


def main() -> None:
    """Runs until the budget is spent; kill and start it again at will."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1200)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--tail", type=float, default=0.5)
    parser.add_argument("--pool", type=int, default=8000, help="clips kept")
    options = parser.parse_args()
    prepare(SEED)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(TOKENIZER)
    reader = averaged(FiligranaReader(vocabulary_size=len(tokenizer)), "reader").to(DEVICE)
    source = Source(load_atlas(), tokenizer, reader)
    run = Run("hearing", options.seconds, options.rate, options.tail)
    started = run.path.exists()
    config = torch.load(run.path, map_location="cpu", weights_only=True)["config"] if started else sound_norms(source)
    model = FiligranaSoundTransformer(**config)
    rng = np.random.default_rng((SEED, run.step, 2))
    pool = Pool(source, model, options.pool)
    pool.fill(rng)
    run.begin()
    model = model.to(DEVICE)
    learned = compiled(model)
    ema = copy.deepcopy(model).requires_grad_(False)
    optimiser = Muon(model.named_parameters(), options.rate, 0.01, ("enter", "leave", "position", "table", "watch"))
    parts = {"model": model, "ema": ema, "optimiser": optimiser, "config": Config(config)}
    run.resume(**parts)
    while run.running:
        pool.renew(rng, FRESH)
        batch = pool.batch(rng, BATCH)
        sigma = torch.sigmoid(torch.randn(BATCH, device=DEVICE) * 1.2 + 0.5)
        run.learn(hearing_loss(learned, batch, sigma), model, ema, optimiser)
        if run.due:
            run.save(**parts)
    run.save(**parts)


if __name__ == "__main__":
    main()
