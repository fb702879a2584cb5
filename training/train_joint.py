"""Trains the joint transformer on shots (rectified flow), the autoencoders and the caption encoder being ready.

python -m training.train_joint --seconds 3600

Sprites and backdrops are few enough to be encoded once, all of them. Sounds cost the most to make: a pool of them is
kept and renewed while training goes on.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from filigrana.pipeline.generators.embedded.joint import LEAST_NOISE, FiligranaJointTransformer, Parts
from filigrana.pipeline.generators.embedded.layers import FiligranaLayerAutoencoder
from filigrana.pipeline.generators.embedded.reader import FiligranaReader
from filigrana.pipeline.generators.embedded.spectrogram import spectrogram
from filigrana.pipeline.generators.embedded.time import FiligranaMotionAutoencoder, FiligranaSoundAutoencoder
from filigrana.pipeline.generators.embedded.words import LENGTH, tokenize

from .common import DEVICE, Run, autocast, compiled, prepare
from .muon import Muon
from .shots_data import motion, say
from .train_layers import to_layers
from .train_reader import TOKENIZER
from .world import layers
from .world.atlas import Atlas, load_atlas
from .world.colours import OWN
from .world.concepts import STYLES, concepts
from .world.settings import SETTINGS, VARIANTS
from .world.shots import COVERS, Shot, sample_shot
from .world.sound import render_sound
from .world.sprites import WORK

SEED = 20270
BATCH = 96
POOL = 12000
FRESH = 2
"""Sounds made anew in each batch with sound."""
NO_CAPTION = 0.1


def averaged(model: nn.Module, name: str) -> Any:
    """`model` with the averaged weights of the run `name`, frozen."""
    model.load_state_dict(torch.load(Run(name, 1, 1).path, map_location="cpu", weights_only=True)["ema"])
    return model.eval().requires_grad_(False)


@dataclass(frozen=True)
class Tables:
    """Every sprite's and backdrop's latents: sprites (177 * 2 * 17 + 3, 16, 4, 4), plates (24 * 97, 16, 12, 12)."""

    sprites: Tensor
    plates: Tensor

    def sprite(self, concept: int, style: int, colour: int) -> Tensor:
        """A sprite's latents."""
        return self.sprites[(concept * len(STYLES) + style) * (OWN + 1) + colour]

    def of(self, shot: Shot) -> tuple[Tensor, Tensor]:
        """A shot's backdrop and its three sprites; what isn't there is zero."""
        three = torch.zeros(3, *self.sprites.shape[1:])
        for k, actor in enumerate((shot.subject, shot.partner)):
            if actor is not None:
                three[k] = self.sprite(actor.concept, actor.style, actor.colour)
        if shot.cover:
            three[2] = self.sprites[COVERS.index(shot.cover) - len(COVERS)]
        return self.plates[shot.setting * VARIANTS + shot.seed % VARIANTS], three


def tables() -> Tables:
    """From the cache, or encoded now with the autoencoder of layers."""
    # other weights, other latents
    step = torch.load(Run("layers", 1, 1).path, map_location="cpu", weights_only=True)["step"]
    path = WORK / f"layer-latents-{step}.pt"
    if not path.exists():
        model, atlas = averaged(FiligranaLayerAutoencoder(), "layers"), load_atlas(side=layers.SPRITE)
        model = model.to(DEVICE, memory_format=torch.channels_last)
        keys = [(c, s, k) for c in range(len(concepts())) for s in range(len(STYLES)) for k in range(OWN + 1)]

        def encoded(pictures: list[Any]) -> Tensor:
            with torch.no_grad(), autocast():
                out: Tensor = model.encode(to_layers(pictures).to(DEVICE)).float().cpu()
            return out

        sprites = [encoded([layers.sprite(atlas, *key) for key in keys[i : i + 34]]) for i in range(0, len(keys), 34)]
        sprites.append(encoded([layers.cover(name) for name in COVERS]))
        plates = [encoded([layers.plate(n, seed)]) for n in range(len(SETTINGS)) for seed in range(VARIANTS)]
        torch.save({"sprites": torch.cat(sprites), "plates": torch.cat(plates)}, path)
    return Tables(**torch.load(path, weights_only=True))


class Data:
    """Draws batches: normal shots fresh, shots with sound from a pool."""

    def __init__(self, atlas: Atlas, pool: int) -> None:
        self.atlas, self.tables = atlas, tables()
        self.motion = averaged(FiligranaMotionAutoencoder(), "motion")
        self.sound = averaged(FiligranaSoundAutoencoder(), "sound")
        self.pool: list[tuple[Shot, Tensor]] = []
        rng = np.random.default_rng((SEED, 1))
        while len(self.pool) < pool:
            self._add(rng, 50)

    def _add(self, rng: np.random.Generator, count: int) -> None:
        shots = [sample_shot(rng, self.atlas, "av") for _ in range(count)]
        with torch.no_grad():
            made = self.sound.encode(spectrogram(torch.from_numpy(np.stack([render_sound(shot) for shot in shots]))))
        for pair in zip(shots, made.half(), strict=True):
            if len(self.pool) < POOL:
                self.pool.append(pair)
            else:
                self.pool[int(rng.integers(POOL))] = pair

    def batch(self, rng: np.random.Generator, count: int, sound: bool) -> tuple[Parts, list[Shot]]:
        """`count` shots with or without sound."""
        if sound:
            self._add(rng, FRESH)
            pairs = [self.pool[int(rng.integers(len(self.pool)))] for _ in range(count)]
            shots, sounds = [shot for shot, _ in pairs], torch.stack([made for _, made in pairs]).float()
        else:
            media = ("still", "still", "still", "clip", "clip")
            shots = [sample_shot(rng, self.atlas, media[int(rng.integers(5))]) for _ in range(count)]
            sounds = torch.zeros(count, 16, self.sound.config.latent_channels)
        drawn = [self.tables.of(shot) for shot in shots]
        with torch.no_grad():
            moved = self.motion.encode(torch.from_numpy(np.stack([motion(shot) for shot in shots])))
        plates, sprites = (torch.stack([pair[k] for pair in drawn]) for k in range(2))
        return Parts(plates, sprites, moved, sounds), shots


def norms(data: Data) -> dict[str, tuple[float, ...]]:
    """Means and standard deviations of the four parts; an absent sprite doesn't count."""
    parts, _ = data.batch(np.random.default_rng(3), 400, True)
    four = (parts.plate, parts.sprites[:, :1], parts.motion, parts.sound)
    means = tuple(round(float(x.mean()), 4) for x in four)
    return {"means": means, "scales": tuple(round(float(x.std()), 4) for x in four)}


ABSENT = 0.1
"""How much the latents of a sprite that isn't there count: it is never seen."""


def weights(model: FiligranaJointTransformer, parts: Parts) -> Tensor:
    """What each value counts: (N, values), with a mean of about one over the sprites' part."""
    there = parts.sprites.flatten(2).abs().amax(2) > 0
    before, values, *after = (count * values for count, values in model.shapes)
    each = torch.where(there, 2.0, ABSENT).repeat_interleave(values // there.shape[1], 1)
    ones = torch.ones(len(each), 1)
    return torch.cat((ones.expand(-1, before), each, ones.expand(-1, sum(after))), 1)


def flow_loss(
    model: FiligranaJointTransformer,
    latents: Tensor,
    sigma: Tensor,
    slots: Tensor,
    weight: Tensor | float = 1.0,
    learned: Callable[..., Tensor] | None = None,
) -> Tensor:
    """Mean squared error of the velocity, each value counted by `weight`: (4,) or (3,), for each part.

    `learned` is the model as it is called, which may be compiled."""
    noise = torch.randn_like(latents)
    level = sigma[:, None]
    with autocast():
        out = (learned or model)(latents * (1 - level) + noise * level, sigma, slots)
    # the last bit of noise is no part of the picture: an error there counts as it does at the least level
    true = (noise - latents) * (level / level.clamp_min(LEAST_NOISE))
    error = (out.float() - true).square() * weight
    shapes = model.shapes if latents.shape[1] == model.values else model.shapes[:3]
    return torch.stack([part.mean() for part in error.split([count * values for count, values in shapes], 1)])


def main() -> None:
    """Runs until the budget is spent; kill and start it again at will."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--tail", type=float, default=0.4)
    parser.add_argument("--pool", type=int, default=4000, help="sounds to begin with")
    options = parser.parse_args()
    prepare(SEED)
    data = Data(load_atlas(), options.pool)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(TOKENIZER)
    reader = averaged(FiligranaReader(vocabulary_size=len(tokenizer)), "reader").to(DEVICE)
    run = Run("joint", options.seconds, options.rate, options.tail)
    config = torch.load(run.path, map_location="cpu", weights_only=True)["config"] if run.path.exists() else norms(data)
    model = FiligranaJointTransformer(**config).to(DEVICE)
    learned = compiled(model)
    ema = copy.deepcopy(model).requires_grad_(False)
    plain = ("enter", "leave", "position", "clock", "table")
    optimiser = Muon(model.named_parameters(), options.rate, 0.01, plain)
    parts = {"model": model, "ema": ema, "optimiser": optimiser, "config": _Config(config)}
    run.resume(**parts)
    rng = np.random.default_rng((SEED, run.step, 2))
    each: list[Tensor] = []
    while run.running:
        sound = run.step % 2 == 0
        batch, shots = data.batch(rng, BATCH, sound)
        texts = ["" if rng.random() < NO_CAPTION else say(rng, shot) for shot in shots]
        with torch.no_grad():
            latents, ids = model.pack(batch).to(DEVICE), tokenize(tokenizer, texts, LENGTH).to(DEVICE)
            slots = reader(ids[:, : max(int((ids != 0).sum(1).max()), 1)])
        weight = weights(model, batch).to(DEVICE)
        if not sound:
            latents, weight = latents[:, : model.silent_values], weight[:, : model.silent_values]
        sigma = torch.sigmoid(torch.randn(BATCH, device=DEVICE) * 1.2 + 0.3)
        losses = flow_loss(model, latents, sigma, slots, weight, learned)
        loss = losses.sum() / 4
        run.learn(loss, model, ema, optimiser)
        if sound:
            each.append(losses.detach())
        if run.due:
            run.save(**parts)
        if run.step % 200 == 0:
            mean = torch.stack(each).mean(0)
            each.clear()
            names = ("plate", "sprites", "motion", "sound")
            run.note(**{name: round(float(v), 4) for name, v in zip(names, mean, strict=True)})
    run.save(**parts)


class _Config:
    """The norms as a part of the checkpoint."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config

    def state_dict(self) -> dict[str, Any]:
        return self.config

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.config = state


if __name__ == "__main__":
    main()
