"""Trains the autoencoder of sound.

python -m training.train_sound --seconds 500
python -m training.train_sound --decoder --seconds 900      # latents stay what they are
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from filigrana.pipeline.generators.embedded.spectrogram import spectrogram
from filigrana.pipeline.generators.embedded.time import FiligranaSoundAutoencoder

from .common import DEVICE, Run, autocast, prepare
from .muon import Muon
from .world.atlas import Atlas, load_atlas
from .world.shots import sample_shot
from .world.sound import render_sound

SEED = 20269
NOISE = 0.08
BATCH, POOL = 24, 3000
"""Examples a step, and those kept and drawn from again, since one takes as long to make as to learn from; one in eight
is new."""
Draw = Callable[[np.random.Generator, int], Tensor]


def pooled(make: Draw, most: int) -> Draw:
    """Draws from examples that `make` made, at most so many of which are kept."""
    pool: list[Tensor] = []

    def some(rng: np.random.Generator, count: int) -> Tensor:
        made = list(make(rng, count if not pool else max(count // 8, 1)))
        again = [pool[int(rng.integers(len(pool)))] for _ in range(count - len(made))]
        for one in made:
            if len(pool) < most:
                pool.append(one)
            else:
                pool[int(rng.integers(most))] = one
        return torch.stack(made + again)

    return some


def sounds(atlas: Atlas) -> Draw:
    """Makes spectrograms (count, 257, 256)."""
    return lambda rng, count: spectrogram(
        torch.from_numpy(np.stack([render_sound(sample_shot(rng, atlas, "av")) for _ in range(count)]))
    )


def sound_loss(y: Tensor, x: Tensor) -> Tensor:
    """Levels, louder ones more."""
    weight = 0.3 + 2 * x.clamp(0, 1)
    return (weight * ((y - x).abs() + (y - x).square())).mean()


def freeze(model: FiligranaSoundAutoencoder, ema: FiligranaSoundAutoencoder) -> None:
    """Holds the encoder as its average is: latents are what that says."""
    assert model.encoder is not None
    assert ema.encoder is not None
    model.encoder.load_state_dict(ema.encoder.state_dict())
    model.encoder.requires_grad_(False)


def main() -> None:
    """Runs until the budget is spent; kill and start it again at will."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=500)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--decoder", action="store_true", help="leave the encoder as it is: latents stay what they are")
    options = parser.parse_args()
    prepare(SEED)
    model = FiligranaSoundAutoencoder().to(DEVICE)
    make = sounds(load_atlas())
    some = pooled(make, POOL)
    ema = copy.deepcopy(model).requires_grad_(False)
    ends = ("encoder.0.", "decoder.8.")
    optimiser = Muon(model.named_parameters(), options.rate, 1e-3, ends)
    run = Run("sound", options.seconds, options.rate)
    parts = {"model": model, "ema": ema, "optimiser": optimiser}
    run.resume(**parts)
    if options.decoder:
        freeze(model, ema)
    held = make(np.random.default_rng(5), 48).to(DEVICE)
    rng = np.random.default_rng((SEED, run.step))
    while run.running:
        x = some(rng, BATCH).to(DEVICE)
        with autocast():
            raw = model.raw(x).float()
            latents = torch.tanh(raw)
            y = model.decode(latents + NOISE * torch.randn_like(latents)).float()
        loss = sound_loss(y, x) + 0.05 * functional.relu(raw.abs() - 1).square().mean()
        run.learn(loss, model, ema, optimiser)
        if run.due:
            run.save(**parts)
        if run.step % 500 == 0:
            note(run, ema, held)
    run.save(**parts)
    note(run, ema, held)


@torch.no_grad()
def note(run: Run, ema: FiligranaSoundAutoencoder, held: Tensor) -> None:
    """Logs the mean absolute error on fixed examples."""
    run.note(error=round(float((ema.decode(ema.encode(held)) - held).abs().mean()), 5))


if __name__ == "__main__":
    main()
