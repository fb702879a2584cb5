"""Shots as the three transformers learn them, kept ready: latents, their plans' slots, and what else they look at.

Sprites and backdrops are few enough to be encoded once, all of them. Sounds are made once for each
shot of a pool, which is renewed while training goes on: a step then costs what the transformer costs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from filigrana.pipeline.generators.embedded.dye import dye_of
from filigrana.pipeline.generators.embedded.joint import DYED, SPRITES, FiligranaJointTransformer, Parts
from filigrana.pipeline.generators.embedded.layers import FiligranaLayerAutoencoder
from filigrana.pipeline.generators.embedded.motion import FiligranaMotionTransformer
from filigrana.pipeline.generators.embedded.reader import OPEN, PLAN
from filigrana.pipeline.generators.embedded.sound import FiligranaSoundTransformer
from filigrana.pipeline.generators.embedded.spectrogram import spectrogram
from filigrana.pipeline.generators.embedded.time import CAMERA, INSTANCES, POSE, FiligranaSoundAutoencoder

from .common import DEVICE, autocast, averaged, averaged_flow
from .shots_data import draw, motion, plan
from .train_layers import to_layers
from .world import layers
from .world.atlas import Atlas, load_atlas
from .world.colours import COLOURS16, OWN
from .world.concepts import STYLES, concepts
from .world.settings import SETTINGS, VARIANTS
from .world.shots import COVERS, Shot, sample_shot
from .world.sound import render_sound
from .world.sprites import WORK

NO_PLAN = 0.1
UNSURE = 0.4
"""The noise level up to which motions are drawn anew by the motion transformer for the sounds to be learned from."""
Make = Callable[[np.random.Generator, int], tuple[Tensor, Tensor, Tensor]]
"""Makes so many examples: latents, what else is looked at, and slots."""


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
    """Makes shots' parts: latents in the autoencoders' scale, and plans' slots."""

    def __init__(self, atlas: Atlas, reader: Any) -> None:
        self.atlas, self.reader = atlas, reader

    @cached_property
    def tables(self) -> Tables:
        """All sprites and backdrops."""
        return tables()

    @cached_property
    def sound(self) -> Any:
        """The autoencoder of sound."""
        return averaged(FiligranaSoundAutoencoder(), "sound")

    @cached_property
    def motion(self) -> Any:
        """The motion transformer, if it was trained."""
        return averaged_flow("motion", FiligranaMotionTransformer)

    @torch.no_grad()
    def told(self, shots: list[Shot]) -> Tensor:
        """The slots of what was decided of each."""
        out: Tensor = self.reader.stated(torch.tensor([plan(shot) for shot in shots]).to(DEVICE)).cpu()
        return out

    @torch.no_grad()
    def nothing(self) -> Tensor:
        """The slots of a plan that leaves everything open: (17, width)."""
        out: Tensor = self.reader.stated(torch.full((1, len(PLAN)), OPEN).to(DEVICE))[0].cpu()
        return out

    def pictures(self, rng: np.random.Generator, count: int) -> tuple[Parts, Tensor]:
        """`count` new shots of any medium: the parts of what is seen, and the slots of what was decided."""
        shots = [draw(rng, self.atlas) for _ in range(count)]
        drawn = [self.tables.of(shot) for shot in shots]
        plates, sprites, dyes = (torch.stack([three[k] for three in drawn]) for k in range(3))
        return Parts(plates, sprites, dyes), self.told(shots)

    def moves(self, rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
        """`count` new shots of any medium: their tracks (count, 64, 39), and the slots of what was decided."""
        shots = [draw(rng, self.atlas) for _ in range(count)]
        return tracks_of(shots), self.told(shots)

    @torch.no_grad()
    def sounds(self, rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """`count` new clips with sound: the sounds' latents, the motions as they might be drawn, and the slots."""
        shots = [sample_shot(rng, self.atlas, "av") for _ in range(count)]
        heard = self.sound.encode(spectrogram(torch.from_numpy(np.stack([render_sound(shot) for shot in shots]))))
        slots = self.told(shots)
        # drawn motions are not quite as real ones are
        real, sigma = self.motion.pack(tracks_of(shots)), torch.rand(count) * UNSURE
        level = sigma[:, None]
        drawn = self.motion.clean(real * (1 - level) + torch.randn_like(real) * level, sigma, slots)
        return heard, self.motion.unpack(drawn), slots


def tracks_of(shots: list[Shot]) -> Tensor:
    """Motion (N, 64, 39)."""
    return torch.from_numpy(np.stack([motion(shot) for shot in shots]))


def of_pictures(source: Source, model: FiligranaJointTransformer) -> Make:
    """Examples for `model`; which sprites there are, (N, 3), is looked at, too."""

    def make(rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor, Tensor]:
        parts, slots = source.pictures(rng, count)
        return model.pack(parts), parts.sprites.flatten(2).abs().amax(2) > 0, slots

    return make


def of_moves(source: Source, model: FiligranaMotionTransformer) -> Make:
    """Examples for `model`; nothing else is looked at."""

    def make(rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor, Tensor]:
        tracks, slots = source.moves(rng, count)
        return model.pack(tracks), torch.zeros(count, 0), slots

    return make


def of_sounds(source: Source, model: FiligranaSoundTransformer) -> Make:
    """Examples for `model`; the motion (N, 64, 39) is looked at, too."""

    def make(rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor, Tensor]:
        heard, moved, slots = source.sounds(rng, count)
        return model.pack(heard), moved, slots

    return make


@dataclass(frozen=True)
class Batch:
    """latents (N, values), slots (N, attributes, width), and what else is looked at."""

    latents: Tensor
    slots: Tensor
    more: Tensor


class Pool:
    """A fixed number of examples in memory, in float16; `renew` replaces some, taken at random."""

    def __init__(self, make: Make, blank: Tensor, size: int, rng: np.random.Generator, at_once: int = 100) -> None:
        """`blank`: the slots (17, width) of a plan that leaves everything open."""
        self._make, self.blank, self.size = make, blank, size
        parts = [self._some(rng, min(at_once, size - start)) for start in range(0, size, at_once)]
        self.latents, self.more, self.slots = (torch.cat([part[k] for part in parts]) for k in range(3))

    def _some(self, rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor, Tensor]:
        latents, more, slots = self._make(rng, count)
        return latents.half(), more if more.dtype == torch.bool else more.half(), slots.half()

    def renew(self, rng: np.random.Generator, count: int) -> None:
        """Replaces `count` examples."""
        index = torch.from_numpy(rng.choice(self.size, count, replace=False))
        self.latents[index], self.more[index], self.slots[index] = self._some(rng, count)

    def batch(self, rng: np.random.Generator, count: int, whole: bool = False) -> Batch:
        """`count` of them on the device; one plan in ten is withheld, unless the `whole` is wanted."""
        index = torch.from_numpy(rng.integers(self.size, size=count))
        slots = self.slots[index].float()
        if not whole:
            slots[torch.from_numpy(rng.random(count) < NO_PLAN)] = self.blank
        more = self.more[index] if self.more.dtype == torch.bool else self.more[index].float()
        return Batch(self.latents[index].float().to(DEVICE), slots.to(DEVICE), more.to(DEVICE))


def _norms(values: list[Tensor]) -> dict[str, tuple[float, ...]]:
    """Mean and standard deviation of each."""
    means, scales = (tuple(round(float(fn(x)), 4) for x in values) for fn in (torch.mean, torch.std))
    return {"means": means, "scales": scales}


def norms(source: Source) -> dict[str, tuple[float, ...]]:
    """Of the three parts; an absent sprite doesn't count."""
    parts, _ = source.pictures(np.random.default_rng(3), 400)
    return _norms([parts.plate, parts.sprites[:, :1], parts.dyes[:, :1]])


def motion_norms(source: Source) -> dict[str, tuple[float, ...]]:
    """Of a pose's values, all instances alike, and of the camera's."""
    tracks, _ = source.moves(np.random.default_rng(3), 400)
    poses = tracks[..., : INSTANCES * POSE].unflatten(2, (INSTANCES, POSE))
    return _norms([*poses.unbind(3), *tracks[..., -CAMERA:].unbind(2)])


def sound_norms(source: Source) -> dict[str, float]:
    """Mean and standard deviation of the sounds' latents."""
    heard = source.sounds(np.random.default_rng(3), 400)[0]
    return {"mean": round(float(heard.mean()), 4), "scale": round(float(heard.std()), 4)}
