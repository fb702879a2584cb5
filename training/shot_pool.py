"""Shots as the joint transformer learns them, kept ready: latents, the caption's slots, and what is there.

Sprites and backdrops are few enough to be encoded once, all of them. Captions are read and sounds made once for each
shot of a pool, which is renewed while training goes on: a step then costs what the transformer costs.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from filigrana.pipeline.generators.embedded.joint import SPRITES, FiligranaJointTransformer, Parts
from filigrana.pipeline.generators.embedded.layers import FiligranaLayerAutoencoder
from filigrana.pipeline.generators.embedded.spectrogram import spectrogram
from filigrana.pipeline.generators.embedded.time import FiligranaMotionAutoencoder, FiligranaSoundAutoencoder
from filigrana.pipeline.generators.embedded.words import LENGTH, tokenize

from .common import DEVICE, Run, autocast
from .shots_data import motion, say
from .train_layers import to_layers
from .world import layers
from .world.atlas import Atlas, load_atlas
from .world.colours import OWN
from .world.concepts import STYLES, concepts
from .world.settings import SETTINGS, VARIANTS
from .world.shots import COVERS, Shot, sample_shot
from .world.sound import render_sound
from .world.sprites import WORK

NO_CAPTION = 0.1
SILENT = ("still", "still", "still", "clip", "clip")


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
    model = averaged(FiligranaLayerAutoencoder(), "layers")
    # other weights, other latents
    digest = hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.encoder.parameters())).hexdigest()
    path = WORK / f"layer-latents-{digest[:16]}.pt"
    if not path.exists():
        atlas = load_atlas(side=layers.SPRITE)
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


class Source:
    """Makes shots' parts: latents in the autoencoders' scale, and captions' slots."""

    def __init__(self, atlas: Atlas, tokenizer: Any, reader: Any) -> None:
        self.atlas, self.tokenizer, self.reader, self.tables = atlas, tokenizer, reader, tables()
        self.motion = averaged(FiligranaMotionAutoencoder(), "motion")
        self.sound = averaged(FiligranaSoundAutoencoder(), "sound")

    @torch.no_grad()
    def slots(self, texts: list[str]) -> Tensor:
        """Captions -> slots."""
        ids = tokenize(self.tokenizer, texts, LENGTH)
        ids = ids[:, : max(int((ids != 0).sum(1).max()), 1)]
        with autocast():
            out: Tensor = self.reader(ids.to(DEVICE)).float().cpu()
        return out

    @torch.no_grad()
    def shots(self, rng: np.random.Generator, count: int, sound: bool) -> tuple[Parts, Tensor]:
        """`count` new shots with or without sound: their parts, and their captions' slots."""
        media = ["av" if sound else SILENT[int(rng.integers(len(SILENT)))] for _ in range(count)]
        shots = [sample_shot(rng, self.atlas, each) for each in media]
        heard = torch.zeros(count, 16, self.sound.config.latent_channels)
        if sound:
            waves = torch.from_numpy(np.stack([render_sound(shot) for shot in shots]))
            heard = self.sound.encode(spectrogram(waves))
        moved = self.motion.encode(torch.from_numpy(np.stack([motion(shot) for shot in shots])))
        drawn = [self.tables.of(shot) for shot in shots]
        plates, sprites = (torch.stack([pair[k] for pair in drawn]) for k in range(2))
        return Parts(plates, sprites, moved, heard), self.slots([say(rng, shot) for shot in shots])


@dataclass(frozen=True)
class Batch:
    """latents (N, values), slots (N, attributes, width), there (N, 3): which sprites there are."""

    latents: Tensor
    slots: Tensor
    there: Tensor


class Pool:
    """A fixed number of shots in memory, in float16; `renew` replaces some, taken at random."""

    def __init__(self, source: Source, model: FiligranaJointTransformer, size: int, sound: bool) -> None:
        self.source, self.model, self.sound = source, model, sound
        self.blank = source.slots([""])[0]
        self.latents = torch.zeros(size, model.values if sound else model.silent_values, dtype=torch.float16)
        self.slots = torch.zeros(size, *self.blank.shape, dtype=torch.float16)
        self.there = torch.zeros(size, SPRITES, dtype=torch.bool)

    def fill(self, rng: np.random.Generator, at_once: int = 100) -> None:
        """Makes all of it."""
        for start in range(0, len(self.latents), at_once):
            self._put(rng, np.arange(start, min(start + at_once, len(self.latents))))

    def renew(self, rng: np.random.Generator, count: int) -> None:
        """Replaces `count` shots."""
        self._put(rng, rng.choice(len(self.latents), count, replace=False))

    def _put(self, rng: np.random.Generator, where: Any) -> None:
        parts, slots = self.source.shots(rng, len(where), self.sound)
        index = torch.from_numpy(np.asarray(where))
        self.latents[index] = self.model.pack(parts)[:, : self.latents.shape[1]].half()
        self.slots[index] = slots.half()
        self.there[index] = parts.sprites.flatten(2).abs().amax(2) > 0

    def batch(self, rng: np.random.Generator, count: int, captions: bool = False) -> Batch:
        """`count` of them on the device; one caption in ten is withheld, unless `captions` wants them all."""
        index = torch.from_numpy(rng.integers(len(self.latents), size=count))
        slots = self.slots[index].float()
        if not captions:
            slots[torch.from_numpy(rng.random(count) < NO_CAPTION)] = self.blank
        return Batch(self.latents[index].float().to(DEVICE), slots.to(DEVICE), self.there[index].to(DEVICE))


def norms(source: Source) -> dict[str, tuple[float, ...]]:
    """Means and standard deviations of the four parts; an absent sprite doesn't count."""
    parts, _ = source.shots(np.random.default_rng(3), 400, True)
    four = (parts.plate, parts.sprites[:, :1], parts.motion, parts.sound)
    means = tuple(round(float(x.mean()), 4) for x in four)
    return {"means": means, "scales": tuple(round(float(x.std()), 4) for x in four)}
