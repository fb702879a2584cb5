"""The joint transformer: one rectified flow over backdrop, sprites, dyes and motion, told by the caption's slots.

A shot's latents are one vector a shot, in this order: the backdrop's 12x12 cells (16 tokens), the three sprites' 4x4
cells (4 tokens each: subject, partner, cover), the dyes of the first two (a token each), motion (8 tokens, one a
quarter of a second). What it sounds like follows from the motion, once that is known: `sound.py`. adaLN from time and
caption, with one shared projection and a table a layer (PixArt-alpha, Chen et al., 2023); the slots are further keys
and values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional

from .attention import ModulatedLayer, waves
from .dye import DYE
from .reader import ATTRIBUTES
from .time import STEPS

PLATE_CELLS, SPRITE_CELLS, SPRITES = 12, 4, 3
DYED = 2
"""Sprites that have a dye: the subject's and its partner's."""
SUBJECT, PARTNER = (
    tuple(list(ATTRIBUTES).index(f"{before}{name}") for name in names)
    for before, names in (("", ("concept", "style", "colour")), ("partner", ("", "_style", "_colour")))
)
"""The slots that say what a sprite looks like."""
TOGETHER = 2
"""Steps of motion in a token: a quarter of a second."""
LEAST_NOISE = 0.08
"""Below it, the velocity is that of this level: what is left to remove is no longer divided by almost nothing."""


@dataclass(frozen=True)
class Parts:
    """A shot's latents: plate (N, C, 12, 12), sprites (N, 3, C, 4, 4), dyes (N, 2, 4), motion (N, 16, channels)."""

    plate: Tensor
    sprites: Tensor
    dyes: Tensor
    motion: Tensor


def _patched(cells: Tensor, patch: int) -> Tensor:
    """(N, C, h, w) -> (N, tokens, C * patch * patch)."""
    return functional.pixel_unshuffle(cells, patch).flatten(2).transpose(1, 2)


def _unpatched(tokens: Tensor, patch: int, side: int) -> Tensor:
    return functional.pixel_shuffle(tokens.transpose(1, 2).unflatten(2, (side // patch, side // patch)), patch)


class FiligranaJointTransformer(ModelMixin, ConfigMixin):
    """Gives the velocity noise - latents, by way of the latents themselves, which is what its layers predict.

    Told what to draw, the latents are all but determined, and the noise is not: a network that predicts them need not
    carry the noise through its width (Li and He, 2025, arXiv:2511.13720). What a thing of some style looks like, and
    what its dye is, are drafted first, by a small network that knows only these slots: the layers see the draft, and
    correct it. `means` and `scales` normalise plate, sprites, dyes and motion.
    """

    config_name = "config.json"  # type: ignore[assignment]

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        channels: int = 16,
        time_channels: int = 48,
        slot_width: int = 224,
        width: int = 256,
        depth: int = 8,
        heads: int = 4,
        ratio: int = 4,
        draft: int = 610,
        means: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0),
        scales: tuple[float, ...] = (0.5, 0.5, 0.8, 0.5),
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.width = width
        self.means, self.scales = tuple(means), tuple(scales)
        moments = (STEPS // TOGETHER, TOGETHER * time_channels)
        self.shapes = ((16, 9 * channels), (4 * SPRITES, 4 * channels), (DYED, DYE), moments)
        self.enter = nn.ModuleList(nn.Linear(values, width) for _, values in self.shapes)
        self.leave = nn.ModuleList(nn.Linear(width, values) for _, values in self.shapes)
        for parameter in self.leave.parameters():
            nn.init.zeros_(parameter)
        self.drafter = nn.Sequential(
            nn.Linear(len(SUBJECT) * slot_width, draft), nn.SiLU(), nn.Linear(draft, draft), nn.SiLU(),
            nn.Linear(draft, SPRITE_CELLS**2 * channels + DYE),
        )  # fmt: skip
        self.sketch = nn.Linear(4 * channels, width)
        self.position = nn.Parameter(torch.randn(sum(count for count, _ in self.shapes), width) * 0.02)
        self.clock = nn.Parameter(torch.randn(STEPS // TOGETHER, width) * 0.02)
        self.time = nn.Sequential(nn.Linear(128, width), nn.SiLU(), nn.Linear(width, width))
        self.slots = nn.Linear(slot_width, width)
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        self.layers = nn.ModuleList(ModulatedLayer(width, heads, ratio) for _ in range(depth))
        self.final_table = nn.Parameter(torch.randn(2, width) / math.sqrt(width))

    @property
    def values(self) -> int:
        """Length of a shot's latents."""
        return sum(count * values for count, values in self.shapes)

    def pack(self, parts: Parts) -> Tensor:
        """Parts in the autoencoders' scale -> normalised latents (N, values)."""
        plate, sprites = _patched(parts.plate, 3), parts.sprites.flatten(0, 1)
        tokens = (plate, _patched(sprites, 2).unflatten(0, (-1, SPRITES)), parts.dyes, parts.motion)
        return torch.cat([((x - self.means[k]) / self.scales[k]).flatten(1) for k, x in enumerate(tokens)], 1)

    def unpack(self, latents: Tensor) -> Parts:
        """The inverse of `pack`, bounded as the autoencoders' latents are."""
        plate, sprites, dyes, motion = (
            (x * self.scales[k] + self.means[k]).clamp(-1, 1).unflatten(1, self.shapes[k])
            for k, x in enumerate(self.split(latents))
        )
        cells = _unpatched(sprites.unflatten(1, (SPRITES, -1)).flatten(0, 1), 2, SPRITE_CELLS)
        return Parts(
            _unpatched(plate, 3, PLATE_CELLS), cells.unflatten(0, (-1, SPRITES)), dyes,
            motion.reshape(len(motion), STEPS, -1),
        )  # fmt: skip

    def split(self, latents: Tensor) -> list[Tensor]:
        """Latents (N, values) -> those of the backdrop, the sprites, the dyes and the motion."""
        return list(latents.split([count * values for count, values in self.shapes], 1))

    def drafts(self, slots: Tensor) -> tuple[Tensor, Tensor]:
        """The normalised latents of the subject's and its partner's sprites, as their slots alone have them,
        (N, 2, values of a sprite), and of their dyes, (N, 2, 4). Training teaches it apart from the flow."""
        out = self.drafter(torch.stack([slots[:, list(which)].flatten(1) for which in (SUBJECT, PARTNER)], 1))
        sprites, dyes = out.split((out.shape[2] - DYE, DYE), 2)
        return sprites, dyes

    def forward(self, latents: Tensor, sigma: Tensor, slots: Tensor) -> Tensor:
        """latents (N, values) at noise level sigma (N,) in 0..1; slots (N, attributes, slot width).

        Returns the velocity, shaped like the latents.
        """
        sprites, dyes = (draft.detach() for draft in self.drafts(slots))
        sprites = functional.pad(sprites, (0, 0, 0, SPRITES - DYED)).flatten(1)
        groups = [self.enter[k](x.unflatten(1, self.shapes[k])) for k, x in enumerate(self.split(latents))]
        groups[1] = groups[1] + self.sketch(sprites.unflatten(1, self.shapes[1]))
        groups[3] = groups[3] + self.clock
        x = torch.cat(groups, 1) + self.position
        context = self.slots(slots)
        condition = self.time(waves(sigma, x.dtype)) + context.mean(1)
        modulation = self.modulation(condition).unflatten(1, (6, self.width))
        for layer in self.layers:
            x = layer(x, modulation, context, None)
        shift, scale = (condition[:, None] + self.final_table).unsqueeze(2).unbind(1)
        x = functional.layer_norm(x, (self.width,)) * (1 + scale) + shift
        outs = x.split([count for count, _ in self.shapes], 1)
        parts = [self.leave[k](out).flatten(1) for k, out in enumerate(outs)]
        parts[1], parts[2] = parts[1] + sprites, parts[2] + dyes.flatten(1)
        clean = torch.cat(parts, 1)
        return (latents - clean) / sigma.to(clean.dtype).clamp_min(LEAST_NOISE)[:, None]
