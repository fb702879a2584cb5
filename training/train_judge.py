"""Trains the judge: a small classifier of object, background, tint, place and size on real renders.

It serves the evaluation only and shares nothing with the CLIP.

python -m training.train_judge --seconds 300
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from .common import AUTOCAST, Run, channels_last, prepare, to_tensor
from .muon import Muon
from .world.objects import EVERYTHING
from .world.palette import BACKGROUNDS
from .world.scenes import PLACES, Scene, sample
from .world.sprites import COLOURS, SIZES, load
from .world.thumbs import Thumbs

SEED = 20264
HEADS = (len(EVERYTHING), len(BACKGROUNDS), len(COLOURS), len(PLACES), len(SIZES))


class Opinion(NamedTuple):
    """Logits (N, classes) for each question."""

    thing: Tensor
    background: Tensor
    colour: Tensor
    place: Tensor
    size: Tensor


class Judge(nn.Module):
    """Convolutions on 64x64 pictures and two linear layers for all questions."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.PixelUnshuffle(4)]
        for stride, (narrow, wide) in zip((1, 2, 2), pairwise((48, 128, 192, 256)), strict=True):
            layers += [nn.Conv2d(narrow, wide, 3, stride, 1), nn.BatchNorm2d(wide), nn.SiLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Linear(256 * 16, 384), nn.SiLU(), nn.Linear(384, sum(HEADS)))

    def forward(self, pictures: Tensor) -> Opinion:
        """(N, 3, 64, 64) in [-1, 1] -> opinions."""
        logits = self.head(self.body(pictures).flatten(1))
        return Opinion(*logits.split(HEADS, 1))


def labels(scenes: list[Scene]) -> Tensor:
    """(N, 5) int64: object, background, tint, place, size."""
    sizes = list(SIZES)
    rows = [(s.thing, s.background, s.colour, s.place, sizes.index(s.size)) for s in scenes]
    return torch.tensor(rows)


def roughen(pictures: Tensor, rng: np.random.Generator) -> Tensor:
    """Blurs half of the batch slightly and adds noise, so that a soft picture is still recognised."""
    half = len(pictures) // 2
    soft = functional.avg_pool2d(functional.pad(pictures[:half], (1, 1, 1, 1), mode="replicate"), 3, 1)
    out = torch.cat((soft, pictures[half:]))
    grain = torch.randn(8, *out.shape[1:])[torch.from_numpy(rng.integers(8, size=len(out)))]
    return out + float(rng.uniform(0, 0.08)) * grain


def draw_batch(thumbs: Thumbs, scenes: list[Scene], rng: np.random.Generator | None) -> Tensor:
    """Scenes -> (N, 3, 64, 64) float32 in [-1, 1]."""
    pictures: list[NDArray[np.uint8]] = [thumbs.render(scene, rng) for scene in scenes]
    return to_tensor(pictures)


def load_judge() -> Judge:
    """The averaged weights, with the batch norms' running statistics of the weights themselves."""
    model = Judge()
    state = torch.load(Run("judge", 1, 1).path, weights_only=True)
    model.load_state_dict(state["model"])
    model.load_state_dict({name: state["ema"][name] for name, _ in model.named_parameters()}, strict=False)
    return model.eval().requires_grad_(False)


def main() -> None:
    """Runs until the budget is spent; kill and start it again at will."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300)
    options = parser.parse_args()
    prepare(SEED)
    sprites = load()
    thumbs = Thumbs(sprites)
    model = channels_last(Judge())
    optimiser = Muon(model.named_parameters(), 2e-3, 0.02, ("head.2",))
    run = Run("judge", options.seconds, 2e-3, 0.5)
    parts = {"model": model, "optimiser": optimiser}
    run.resume(**parts)
    rng = np.random.default_rng((SEED, run.step))
    while run.running:
        scenes = [sample(rng, sprites, len(EVERYTHING), uniform=True) for _ in range(128)]
        x = roughen(draw_batch(thumbs, scenes, rng), rng)
        with torch.autocast("cpu", AUTOCAST):
            opinion = model(x)
        wanted = labels(scenes)
        losses = [functional.cross_entropy(o.float(), wanted[:, i]) for i, o in enumerate(opinion)]
        loss = torch.stack(losses).sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        run.advance(optimiser, loss.item())
        if run.due:
            run.save(**parts)
    run.save(**parts)
    scenes = [sample(rng, sprites, held_out=True, uniform=True) for _ in range(500)]
    model.eval()
    with torch.no_grad():
        opinion = model(draw_batch(thumbs, scenes, None))
    right = [(o.argmax(1) == labels(scenes)[:, i]).float().mean().item() for i, o in enumerate(opinion)]
    run.note(held_out=dict(zip(Opinion._fields, right, strict=True)))


if __name__ == "__main__":
    main()
