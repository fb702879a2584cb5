"""The joint transformer: one rectified flow over backdrop, sprites, motion and sound, told by the caption's slots.

A shot's latents are one vector a shot, in this order: the backdrop's 12x12 cells (16 tokens), the three sprites' 4x4
cells (4 tokens each: subject, partner, cover), motion and sound (8 tokens each, one a quarter of a second). Tokens of
the same quarter share their place in time. Without sound its tokens are left out. adaLN from time and caption, with one
shared projection and a table a layer (PixArt-alpha, Chen et al., 2023); the slots are further keys and values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional

from .attention import Attention, FeedForward
from .reader import ATTRIBUTES
from .time import STEPS

PLATE_CELLS, SPRITE_CELLS, SPRITES = 12, 4, 3
SUBJECT, PARTNER = (
    tuple(list(ATTRIBUTES).index(f"{before}{name}") for name in names)
    for before, names in (("", ("concept", "style", "colour")), ("partner", ("", "_style", "_colour")))
)
"""The slots that say what a sprite looks like."""
TOGETHER = 2
"""Steps of motion and of sound in a token: a quarter of a second."""
LEAST_NOISE = 0.08
"""Below it, the velocity is that of this level: what is left to remove is no longer divided by almost nothing."""


@dataclass(frozen=True)
class Parts:
    """A shot's latents: plate (N, C, 12, 12), sprites (N, 3, C, 4, 4), motion and sound (N, 16, channels)."""

    plate: Tensor
    sprites: Tensor
    motion: Tensor
    sound: Tensor


def _patched(cells: Tensor, patch: int) -> Tensor:
    """(N, C, h, w) -> (N, tokens, C * patch * patch)."""
    return functional.pixel_unshuffle(cells, patch).flatten(2).transpose(1, 2)


def _unpatched(tokens: Tensor, patch: int, side: int) -> Tensor:
    return functional.pixel_shuffle(tokens.transpose(1, 2).unflatten(2, (side // patch, side // patch)), patch)


class Layer(nn.Module):
    """Attention and feed-forward, each scaled, shifted and gated by time and caption."""

    def __init__(self, width: int, heads: int, ratio: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads, context=True)
        self.mlp = FeedForward(width, ratio)
        self.table = nn.Parameter(torch.randn(6, width) / math.sqrt(width))

    def forward(self, x: Tensor, modulation: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """x (N, tokens, width), modulation (N, 6, width), context (N, words, width)."""
        shift, scale, gate, shift2, scale2, gate2 = (modulation + self.table).unsqueeze(2).unbind(1)
        y = functional.layer_norm(x, (x.shape[-1],)) * (1 + scale) + shift
        x = x + gate * self.attention(y, context, mask)
        y = functional.layer_norm(x, (x.shape[-1],)) * (1 + scale2) + shift2
        out: Tensor = x + gate2 * self.mlp(y)
        return out


class FiligranaJointTransformer(ModelMixin, ConfigMixin):
    """Gives the velocity noise - latents, by way of the latents themselves, which is what its layers predict.

    Told what to draw, the latents are all but determined, and the noise is not: a network that predicts them need not
    carry the noise through its width (Li and He, 2025, arXiv:2511.13720). What a thing of some style and colour looks
    like is drafted first, by a small network that knows only these three: the layers see the draft, and correct it.
    `means` and `scales` normalise plate, sprites, motion and sound.
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
        draft: int = 640,
        means: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0),
        scales: tuple[float, ...] = (0.5, 0.5, 0.5, 0.5),
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.width = width
        self.means, self.scales = tuple(means), tuple(scales)
        moments = (STEPS // TOGETHER, TOGETHER * time_channels)
        self.shapes = ((16, 9 * channels), (4 * SPRITES, 4 * channels), moments, moments)
        self.enter = nn.ModuleList(nn.Linear(values, width) for _, values in self.shapes)
        self.leave = nn.ModuleList(nn.Linear(width, values) for _, values in self.shapes)
        for parameter in self.leave.parameters():
            nn.init.zeros_(parameter)
        self.drafter = nn.Sequential(
            nn.Linear(len(SUBJECT) * slot_width, draft), nn.SiLU(), nn.Linear(draft, draft), nn.SiLU(),
            nn.Linear(draft, SPRITE_CELLS**2 * channels),
        )  # fmt: skip
        self.sketch = nn.Linear(4 * channels, width)
        self.position = nn.Parameter(torch.randn(sum(count for count, _ in self.shapes), width) * 0.02)
        self.clock = nn.Parameter(torch.randn(STEPS // TOGETHER, width) * 0.02)
        self.time = nn.Sequential(nn.Linear(128, width), nn.SiLU(), nn.Linear(width, width))
        self.slots = nn.Linear(slot_width, width)
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        self.layers = nn.ModuleList(Layer(width, heads, ratio) for _ in range(depth))
        self.final_table = nn.Parameter(torch.randn(2, width) / math.sqrt(width))

    @property
    def values(self) -> int:
        """Length of a shot's latents."""
        return sum(count * values for count, values in self.shapes)

    @property
    def silent_values(self) -> int:
        """Length of a shot's latents without sound, which comes last."""
        return self.values - self.shapes[3][0] * self.shapes[3][1]

    def pack(self, parts: Parts) -> Tensor:
        """Parts in the autoencoders' scale -> normalised latents (N, values)."""
        plate, sprites = _patched(parts.plate, 3), parts.sprites.flatten(0, 1)
        tokens = (plate, _patched(sprites, 2).unflatten(0, (-1, SPRITES)), parts.motion, parts.sound)
        return torch.cat([((x - self.means[k]) / self.scales[k]).flatten(1) for k, x in enumerate(tokens)], 1)

    def unpack(self, latents: Tensor) -> Parts:
        """The inverse of `pack`, bounded as the autoencoders' latents are. Silent latents give a sound of zeros."""
        if latents.shape[1] == self.silent_values:
            latents = functional.pad(latents, (0, self.values - self.silent_values))
        split = latents.split([count * values for count, values in self.shapes], 1)
        plate, sprites, motion, sound = (
            (x * self.scales[k] + self.means[k]).clamp(-1, 1).unflatten(1, self.shapes[k]) for k, x in enumerate(split)
        )
        motion, sound = (x.reshape(len(x), STEPS, -1) for x in (motion, sound))
        cells = _unpatched(sprites.unflatten(1, (SPRITES, -1)).flatten(0, 1), 2, SPRITE_CELLS)
        return Parts(_unpatched(plate, 3, PLATE_CELLS), cells.unflatten(0, (-1, SPRITES)), motion, sound)

    def drafts(self, slots: Tensor) -> Tensor:
        """The normalised latents of the subject's and its partner's sprites, as their slots alone have them:
        (N, 2, values of a sprite). Training teaches it apart from the flow."""
        out: Tensor = self.drafter(torch.stack([slots[:, list(which)].flatten(1) for which in (SUBJECT, PARTNER)], 1))
        return out

    def _waves(self, sigma: Tensor) -> Tensor:
        frequencies = torch.exp(torch.arange(64, device=sigma.device) * (-math.log(1000.0) / 63)) * 64
        angles = sigma.float()[:, None] * frequencies
        return torch.cat((angles.cos(), angles.sin()), 1).to(self.position.dtype)

    def forward(self, latents: Tensor, sigma: Tensor, slots: Tensor) -> Tensor:
        """latents (N, values or silent_values) at noise level sigma (N,) in 0..1; slots (N, attributes, slot width).

        Returns the velocity, shaped like the latents.
        """
        shapes = self.shapes if latents.shape[1] == self.values else self.shapes[:3]
        split = latents.split([count * values for count, values in shapes], 1)
        drafts = self.drafts(slots).detach()
        drafts = functional.pad(drafts, (0, 0, 0, SPRITES - drafts.shape[1])).flatten(1)
        groups = [self.enter[k](x.unflatten(1, shapes[k])) for k, x in enumerate(split)]
        groups[1] = groups[1] + self.sketch(drafts.unflatten(1, shapes[1]))
        groups[2:] = [group + self.clock for group in groups[2:]]
        x = torch.cat(groups, 1)
        x = x + self.position[: x.shape[1]]
        context = self.slots(slots)
        condition = self.time(self._waves(sigma)) + context.mean(1)
        modulation = self.modulation(condition).unflatten(1, (6, self.width))
        for layer in self.layers:
            x = layer(x, modulation, context, None)
        shift, scale = (condition[:, None] + self.final_table).unsqueeze(2).unbind(1)
        x = functional.layer_norm(x, (self.width,)) * (1 + scale) + shift
        outs = x.split([count for count, _ in shapes], 1)
        parts = [self.leave[k](out).flatten(1) for k, out in enumerate(outs)]
        parts[1] = parts[1] + drafts
        clean = torch.cat(parts, 1)
        return (latents - clean) / sigma.to(clean.dtype).clamp_min(LEAST_NOISE)[:, None]
