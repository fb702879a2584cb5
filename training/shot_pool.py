"""Shots as the two transformers learn them, kept ready: latents, the caption's slots, and what is there.

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

from filigrana.pipeline.generators.embedded.dye import dye_of
from filigrana.pipeline.generators.embedded.joint import DYED, SPRITES, FiligranaJointTransformer, Parts
from filigrana.pipeline.generators.embedded.layers import FiligranaLayerAutoencoder
from filigrana.pipeline.generators.embedded.sound import FiligranaSoundTransformer
from filigrana.pipeline.generators.embedded.spectrogram import spectrogram
from filigrana.pipeline.generators.embedded.time import (
    MOMENTS,
    VALUES,
    FiligranaMotionAutoencoder,
    FiligranaSoundAutoencoder,
)
from filigrana.pipeline.generators.embedded.words import LENGTH, tokenize

from .common import DEVICE, Run, autocast
from .shots_data import draw, motion, say
from .train_layers import to_layers
from .world import layers
from .world.atlas import Atlas, load_atlas
from .world.colours import COLOURS16, OWN
from .world.concepts import STYLES, concepts
from .world.settings import SETTINGS, VARIANTS
from .world.shots import COVERS, Shot, sample_shot
from .world.sound import render_sound
from .world.sprites import WORK

NO_CAPTION = 0.1
SHAKEN = 0.15
"""Most noise, in the latents' own scale, that motions are decoded with for the sounds to be learned from them."""


def averaged(model: nn.Module, name: str) -> Any:
    """`model` with the averaged weights of the run `name`, frozen."""
    model.load_state_dict(torch.load(Run(name, 1, 1).path, map_location="cpu", weights_only=True)["ema"])
    return model.eval().requires_grad_(False)


@dataclass(frozen=True)
class Tables:
    """Every sprite's and backdrop's latents: sprites (177 * 2 + 3, 16, 4, 4), plates (24 * 97, 16, 12, 12)."""

    sprites: Tensor
    plates: Tensor

    def of(self, shot: Shot) -> tuple[Tensor, Tensor, Tensor]:
        """A shot's backdrop, its three sprites and two dyes; what isn't there is zero."""
        three, dyes = torch.zeros(SPRITES, *self.sprites.shape[1:]), torch.zeros(DYED, 4)
        for k, actor in enumerate((shot.subject, shot.partner)):
            if actor is not None:
                three[k] = self.sprites[actor.concept * len(STYLES) + actor.style]
                colour = None if actor.colour == OWN else COLOURS16[actor.colour].rgb
                dyes[k] = torch.from_numpy(dye_of(colour))
        if shot.cover:
            three[2] = self.sprites[COVERS.index(shot.cover) - len(COVERS)]
        return self.plates[shot.setting * VARIANTS + shot.seed % VARIANTS], three, dyes


def tables() -> Tables:
    """From the cache, or encoded now with the autoencoder of layers."""
    model = averaged(FiligranaLayerAutoencoder(), "layers")
    # other weights, other latents
    digest = hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.encoder.parameters())).hexdigest()
    path = WORK / f"layer-latents-{digest[:16]}.pt"
    if not path.exists():
        atlas = load_atlas(side=layers.SPRITE)
        model = model.to(DEVICE, memory_format=torch.channels_last)
        keys = [(c, s, OWN) for c in range(len(concepts())) for s in range(len(STYLES))]

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
    def shots(self, rng: np.random.Generator, count: int) -> tuple[Parts, Tensor]:
        """`count` new shots of any medium: the parts of what is seen, and their captions' slots."""
        shots = [draw(rng, self.atlas) for _ in range(count)]
        moved = self.motion.encode(torch.from_numpy(np.stack([motion(shot) for shot in shots])))
        drawn = [self.tables.of(shot) for shot in shots]
        plates, sprites, dyes = (torch.stack([three[k] for three in drawn]) for k in range(3))
        return Parts(plates, sprites, dyes, moved), self.slots([say(rng, shot) for shot in shots])

    @torch.no_grad()
    def sounds(self, rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """`count` new clips with sound: the sounds' latents, the motions as they are decoded, and the slots."""
        shots = [sample_shot(rng, self.atlas, "av") for _ in range(count)]
        heard = self.sound.encode(spectrogram(torch.from_numpy(np.stack([render_sound(shot) for shot in shots]))))
        latents = self.motion.encode(torch.from_numpy(np.stack([motion(shot) for shot in shots])))
        # drawn motions are not encoded quite as real ones are
        blurred = latents + torch.randn_like(latents) * SHAKEN * torch.rand(count, 1, 1)
        return heard, self.motion.decode(blurred), self.slots([say(rng, shot) for shot in shots])


@dataclass(frozen=True)
class Batch:
    """latents (N, values), slots (N, attributes, width); there (N, 3): which sprites there are, or the motion
    (N, 64, 39)."""

    latents: Tensor
    slots: Tensor
    more: Tensor


class Pool:
    """A fixed number of examples in memory, in float16; `renew` replaces some, taken at random."""

    def __init__(self, source: Source, model: FiligranaJointTransformer | FiligranaSoundTransformer, size: int) -> None:
        self.source, self.model = source, model
        self.blank = source.slots([""])[0]
        self.latents = torch.zeros(size, model.values, dtype=torch.float16)
        self.slots = torch.zeros(size, *self.blank.shape, dtype=torch.float16)
        silent = isinstance(model, FiligranaJointTransformer)
        self.more = (
            torch.zeros(size, SPRITES, dtype=torch.bool) if silent else torch.zeros(size, MOMENTS, VALUES).half()
        )

    def fill(self, rng: np.random.Generator, at_once: int = 100) -> None:
        """Makes all of it."""
        for start in range(0, len(self.latents), at_once):
            self._put(rng, np.arange(start, min(start + at_once, len(self.latents))))

    def renew(self, rng: np.random.Generator, count: int) -> None:
        """Replaces `count` examples."""
        self._put(rng, rng.choice(len(self.latents), count, replace=False))

    def _put(self, rng: np.random.Generator, where: Any) -> None:
        index = torch.from_numpy(np.asarray(where))
        if isinstance(self.model, FiligranaJointTransformer):
            parts, slots = self.source.shots(rng, len(where))
            self.latents[index] = self.model.pack(parts).half()
            self.more[index] = parts.sprites.flatten(2).abs().amax(2) > 0
        else:
            heard, moved, slots = self.source.sounds(rng, len(where))
            self.latents[index], self.more[index] = self.model.pack(heard).half(), moved.half()
        self.slots[index] = slots.half()

    def batch(self, rng: np.random.Generator, count: int, captions: bool = False) -> Batch:
        """`count` of them on the device; one caption in ten is withheld, unless `captions` wants them all."""
        index = torch.from_numpy(rng.integers(len(self.latents), size=count))
        slots = self.slots[index].float()
        if not captions:
            slots[torch.from_numpy(rng.random(count) < NO_CAPTION)] = self.blank
        more = self.more[index] if self.more.dtype == torch.bool else self.more[index].float()
        return Batch(self.latents[index].float().to(DEVICE), slots.to(DEVICE), more.to(DEVICE))


def norms(source: Source) -> dict[str, tuple[float, ...]]:
    """Means and standard deviations of the four parts; an absent sprite doesn't count."""
    parts, _ = source.shots(np.random.default_rng(3), 400)
    four = (parts.plate, parts.sprites[:, :1], parts.dyes[:, :1], parts.motion)
    means = tuple(round(float(x.mean()), 4) for x in four)
    return {"means": means, "scales": tuple(round(float(x.std()), 4) for x in four)}


def sound_norms(source: Source) -> dict[str, float]:
    """Mean and standard deviation of the sounds' latents."""
    heard = source.sounds(np.random.default_rng(3), 400)[0]
    return {"mean": round(float(heard.mean()), 4), "scale": round(float(heard.std()), 4)}
