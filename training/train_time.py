"""Trains the autoencoder of motion or of sound.

python -m training.train_time motion --seconds 300
python -m training.train_time sound --seconds 500
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
from filigrana.pipeline.generators.embedded.time import FiligranaMotionAutoencoder, FiligranaSoundAutoencoder

from .common import DEVICE, Run, autocast, prepare
from .muon import Muon
from .shots_data import draw, motion
from .world.atlas import Atlas, load_atlas
from .world.shots import sample_shot
from .world.sound import render_sound

SEED = 20269
NOISE = 0.08
POOL = 3000
"""Sounds kept and drawn from again, since one takes as long to make as to learn from; one in eight is new."""
Draw = Callable[[np.random.Generator, int], Tensor]


def motions(atlas: Atlas) -> Draw:
    """Draws motion (count, 64, 39)."""

    def some(rng: np.random.Generator, count: int) -> Tensor:
        return torch.from_numpy(np.stack([motion(draw(rng, atlas)) for _ in range(count)]))

    return some


def sounds(atlas: Atlas) -> Draw:
    """Draws spectrograms (count, 257, 256)."""
    pool: list[Tensor] = []

    def some(rng: np.random.Generator, count: int) -> Tensor:
        fresh = count if not pool else max(count // 8, 1)
        waves = [render_sound(sample_shot(rng, atlas, "av")) for _ in range(fresh)]
        made = list(spectrogram(torch.from_numpy(np.stack(waves))))
        for one in made:
            if len(pool) < POOL:
                pool.append(one)
            else:
                pool[int(rng.integers(POOL))] = one
        again = [pool[int(rng.integers(len(pool)))] for _ in range(count - fresh)]
        return torch.stack(made + again)

    return some


def motion_loss(y: Tensor, x: Tensor) -> Tensor:
    """Values and their changes: a jitter of a pixel is seen, a shift of one is not."""
    return (y - x).abs().mean() + 2 * (y.diff(dim=1) - x.diff(dim=1)).abs().mean() + (y - x).square().mean()


def sound_loss(y: Tensor, x: Tensor) -> Tensor:
    """Levels, louder ones more."""
    weight = 0.3 + 2 * x.clamp(0, 1)
    return (weight * ((y - x).abs() + (y - x).square())).mean()


def main() -> None:
    """Runs until the budget is spent; kill and start it again at will."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("motion", "sound"))
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--rate", type=float, default=2e-3)
    options = parser.parse_args()
    prepare(SEED)
    atlas, moves = load_atlas(), options.what == "motion"
    model: FiligranaMotionAutoencoder | FiligranaSoundAutoencoder
    model = FiligranaMotionAutoencoder() if moves else FiligranaSoundAutoencoder()
    model.to(DEVICE)
    some, loss_of, count = (motions(atlas), motion_loss, 128) if moves else (sounds(atlas), sound_loss, 24)
    ema = copy.deepcopy(model).requires_grad_(False)
    ends = ("position", "leave", "encoder.0.", "decoder.8.")
    optimiser = Muon(model.named_parameters(), options.rate, 1e-3, ends)
    run = Run(options.what, options.seconds, options.rate)
    parts = {"model": model, "ema": ema, "optimiser": optimiser}
    run.resume(**parts)
    held = some(np.random.default_rng(5), 48).to(DEVICE)
    rng = np.random.default_rng((SEED, run.step))
    while run.running:
        x = some(rng, count).to(DEVICE)
        with autocast():
            raw = model.raw(x).float()
            latents = torch.tanh(raw)
            y = model.decode(latents + NOISE * torch.randn_like(latents)).float()
        loss = loss_of(y, x) + 0.05 * functional.relu(raw.abs() - 1).square().mean()
        run.learn(loss, model, ema, optimiser)
        if run.due:
            run.save(**parts)
        if run.step % 500 == 0:
            note(run, ema, held)
    run.save(**parts)
    note(run, ema, held)


@torch.no_grad()
def note(run: Run, ema: FiligranaMotionAutoencoder | FiligranaSoundAutoencoder, held: Tensor) -> None:
    """Logs the mean absolute error on fixed examples."""
    run.note(error=round(float((ema.decode(ema.encode(held)) - held).abs().mean()), 5))


if __name__ == "__main__":
    main()
