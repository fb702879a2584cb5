"""Trains the autoencoder on crops around sprites, then on whole pictures.

python -m training.train_ae --seconds 2700 [--whole 600] [--decoder-only]
"""

from __future__ import annotations

import argparse
import copy

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from filigrana.pipeline.generators.embedded.autoencoder import FiligranaAutoencoder

from .common import AUTOCAST, Run, average, channels_last, prepare, psnr, to_tensor
from .muon import Muon
from .world import CELL, SIDE
from .world.scenes import render, sample
from .world.sprites import SIZES, Sprites, load

SEED = 20261
NOISE = 0.08


def crops(rng: np.random.Generator, sprites: Sprites, count: int, side: int) -> Tensor:
    """`count` square crops on the cell grid, nine in ten of them centred within the sprite's box."""
    pictures = []
    for _ in range(count):
        scene = sample(rng, sprites, uniform=True)
        last = (SIDE - side) // CELL
        if rng.random() < 0.9:
            cells = SIZES[scene.size] // CELL
            half = side // CELL // 2
            left = scene.column + int(rng.integers(cells)) - half
            top = scene.row + int(rng.integers(cells)) - half
        else:
            left, top = int(rng.integers(last + 1)), int(rng.integers(last + 1))
        left, top = min(max(left, 0), last) * CELL, min(max(top, 0), last) * CELL
        pictures.append(render(scene, sprites, (left, top, side)))
    return to_tensor(pictures)


def edges(x: Tensor) -> tuple[Tensor, Tensor]:
    """Horizontal and vertical differences of neighbouring pixels."""
    return x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]


def reconstruction_loss(out: Tensor, target: Tensor) -> Tensor:
    """L1 on pixels, L1 on their differences (sharp edges), and a little squared error (no outliers)."""
    error = out - target
    gradient = sum(((a - b).abs().mean() for a, b in zip(edges(out), edges(target), strict=True)), torch.tensor(0.0))
    return error.abs().mean() + 0.5 * gradient + 0.5 * error.square().mean()


@torch.no_grad()
def desaturate(model: FiligranaAutoencoder, pictures: Tensor) -> None:
    """Scales the encoder's last convolution so that the tanh sees values of standard deviation 0.8."""
    last = model.encoder[-1]
    factor = 0.8 / float(model.encoder(pictures).std())
    last.weight.mul_(factor)
    last.bias.mul_(factor)


@torch.no_grad()
def held_out_psnr(model: FiligranaAutoencoder, sprites: Sprites, count: int = 24) -> float:
    """Mean PSNR in dB over whole held-out pictures, without noise."""
    rng = np.random.default_rng(99)
    values = []
    for _ in range(count):
        x = to_tensor([render(sample(rng, sprites, held_out=True), sprites)])
        with torch.autocast("cpu", AUTOCAST):
            y, _ = model(x)
        values.append(float(psnr(y.float().clamp(-1, 1), x)))
    return float(np.mean(values))


def main() -> None:
    """Runs until the budget is spent; kill and start it again at will."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2700)
    parser.add_argument("--whole", type=float, default=400, help="seconds at the end on whole pictures")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--name", default="ae")
    parser.add_argument("--start", default="", help="weights to start from (another run's name)")
    parser.add_argument("--decoder-only", action="store_true", help="leave the encoder, so latents stay valid")
    parser.add_argument("--desaturate", action="store_true", help="rescale latents that the start saturates")
    options = parser.parse_args()
    prepare(SEED)
    sprites = load()
    model = channels_last(FiligranaAutoencoder())
    if options.start:
        first = torch.load(Run(options.start, 1, 1).path, weights_only=True)["ema"]
        model.load_state_dict(first)
        if options.desaturate:
            desaturate(model, crops(np.random.default_rng(SEED), sprites, 16, 192))
    if options.decoder_only:
        model.encoder.requires_grad_(False)
    ema = copy.deepcopy(model).requires_grad_(False)
    trained = [p for p in model.parameters() if p.requires_grad]
    ends = ("encoder.1.", f"encoder.{len(model.encoder) - 1}.", "decoder.0.", f"decoder.{len(model.decoder) - 2}.")
    optimiser = Muon(model.named_parameters(), options.rate, 1e-3, ends)
    run = Run(options.name, options.seconds, options.rate)
    parts = {"model": model, "ema": ema, "optimiser": optimiser}
    run.resume(**parts)
    rng = np.random.default_rng((SEED, run.step))
    while run.running:
        whole = run.spent > run.seconds - options.whole
        x = crops(rng, sprites, 2, SIDE) if whole else crops(rng, sprites, 12, 192)
        with torch.autocast("cpu", AUTOCAST):
            y, raw = model(x, NOISE)
        loss = reconstruction_loss(y.float(), x) + 0.05 * functional.relu(raw.float().abs() - 1).square().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        average(ema, model, run.step)
        run.advance(optimiser, loss.item())
        if run.due:
            run.save(**parts)
        if run.step % 1000 == 0:
            run.note(psnr=round(held_out_psnr(ema, sprites), 2))
    run.save(**parts)
    run.note(psnr=round(held_out_psnr(ema, sprites), 2))


if __name__ == "__main__":
    main()
