"""Trains the autoencoder of layers on sprites and on crops of backdrops, then on whole backdrops.

python -m training.train_layers --seconds 2400
"""

from __future__ import annotations

import argparse
import copy

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from filigrana.pipeline.generators.embedded.compose import Image
from filigrana.pipeline.generators.embedded.layers import FiligranaLayerAutoencoder

from .common import DEVICE, Run, autocast, channels_last, compiled, prepare
from .muon import Muon
from .world.atlas import Atlas, load_atlas
from .world.layers import PLATE, SPRITE, SpriteKey, any_plate, any_sprite, draw_sprite

SEED = 20266
NOISE, SURE = 0.08, 0.02
"""What is added to latents, that decoding may bear what the flow gets wrong; sprites are drafted all but exactly, which
a decoder can be refined for."""
SPRITES, CROPS = 18, 6
POOL = 400
"""Backdrops kept and cropped again, 1.8 MB each; each batch draws one anew."""


def to_layers(pictures: list[Image]) -> Tensor:
    """Layers (h, w, 4) uint8 -> (N, 4, h, w) float32 in [0, 1], channels last in memory."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float().div_(255)


class Layers:
    """Draws sprites and crops of backdrops, keeping what was drawn: every sprite fits into 1.6 GB."""

    def __init__(self, atlas: Atlas) -> None:
        self.atlas = atlas
        self._sprites: dict[SpriteKey, Image] = {}
        self._plates: list[Image] = []

    def sprite(self, rng: np.random.Generator) -> Image:
        """Any sprite or cover."""
        key = any_sprite(rng)
        if key not in self._sprites:
            self._sprites[key] = draw_sprite(self.atlas, key)
        return self._sprites[key]

    def crops(self, rng: np.random.Generator, count: int) -> list[Image]:
        """Parts of backdrops, as large as a sprite, on the grid of the latents."""
        fresh = any_plate(rng)
        if len(self._plates) < POOL:
            self._plates.append(fresh)
        else:
            self._plates[int(rng.integers(POOL))] = fresh
        out = []
        for _ in range(count):
            left, top = (int(rng.integers((PLATE - SPRITE) // 64 + 1)) * 64 for _ in range(2))
            out.append(self._plates[int(rng.integers(len(self._plates)))][top : top + SPRITE, left : left + SPRITE])
        return out


def layer_loss(y: Tensor, x: Tensor) -> Tensor:
    """Mean absolute error of the values and of their differences to the right and below."""
    loss = (y - x).abs().mean()
    loss = loss + 0.5 * ((y.diff(dim=2) - x.diff(dim=2)).abs().mean() + (y.diff(dim=3) - x.diff(dim=3)).abs().mean())
    return loss + 0.5 * (y - x).square().mean().sqrt()


@torch.no_grad()
def measured(model: FiligranaLayerAutoencoder, atlas: Atlas) -> dict[str, float]:
    """PSNR in dB over grey of 48 fixed sprites, and of 12 fixed backdrops; mean over pictures."""
    rng = np.random.default_rng(SEED)
    out = {}
    for name, pictures in (
        ("sprites", [draw_sprite(atlas, any_sprite(rng)) for _ in range(48)]),
        ("plates", [any_plate(rng) for _ in range(12)]),
    ):
        x = to_layers(pictures).to(DEVICE)
        with autocast():
            y = torch.cat([model.decode(model.encode(part)).float() for part in x.split(6)]).clamp(0, 1)
        over = [z[:, :3] + 0.5 * (1 - z[:, 3:]) for z in (x, y)]
        error = (over[0] - over[1]).square().flatten(1).mean(1)
        out[name] = round(float((-10 * torch.log10(error)).mean()), 2)
    return out


def main() -> None:
    """Runs until the budget is spent; kill and start it again at will."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2400)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--whole", type=float, default=0.2, help="share of the budget for whole backdrops, at the end")
    parser.add_argument("--name", default="layers")
    parser.add_argument("--decoder", action="store_true", help="leave the encoder as it is: latents stay what they are")
    parser.add_argument("--crops", type=int, default=CROPS, help="parts of backdrops among 24 layers")
    options = parser.parse_args()
    prepare(SEED)
    atlas = load_atlas(side=SPRITE)
    model: FiligranaLayerAutoencoder = channels_last(FiligranaLayerAutoencoder())
    ema = copy.deepcopy(model).requires_grad_(False)
    assert model.encoder is not None
    ends = ("encoder.1.", f"encoder.{len(model.encoder) - 1}.", "decoder.0.", f"decoder.{len(model.decoder) - 2}.")
    optimiser = Muon(model.named_parameters(), options.rate, 1e-3, ends)
    learned = compiled(model)
    run = Run(options.name, options.seconds, options.rate)
    parts = {"model": model, "ema": ema, "optimiser": optimiser}
    run.resume(**parts)
    if options.decoder and ema.encoder is not None:
        # latents are what the averaged encoder says
        model.encoder.load_state_dict(ema.encoder.state_dict())
        model.encoder.requires_grad_(False)
    rng, data = np.random.default_rng((SEED, run.step)), Layers(atlas)
    while run.running:
        whole = run.spent > run.seconds * (1 - options.whole) and run.step % 3 == 0
        sprites = 0 if whole else SPRITES + CROPS - options.crops
        if whole:
            x = to_layers([any_plate(rng)])
        else:
            x = to_layers([*(data.sprite(rng) for _ in range(sprites)), *data.crops(rng, options.crops)])
        x = x.to(DEVICE, memory_format=torch.channels_last)
        noise = torch.full((len(x),), NOISE, device=DEVICE)
        if options.decoder:
            noise[:sprites] = SURE
        with autocast():
            y, raw = learned(x, noise)
        loss = layer_loss(y.float(), x) + 0.05 * functional.relu(raw.float().abs() - 1).square().mean()
        run.learn(loss, model, ema, optimiser)
        if run.due:
            run.save(**parts)
        if run.step % 400 == 0:
            run.note(**measured(ema, atlas))
    run.save(**parts)
    run.note(**measured(ema, atlas))


if __name__ == "__main__":
    main()
