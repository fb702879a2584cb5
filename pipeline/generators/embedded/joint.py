"""The joint transformer: one rectified flow over backdrop, sprites and dyes, told by a plan's slots.

A picture's latents are one vector, in this order: the backdrop's 12x12 cells (16 tokens), the three sprites' 4x4 cells
(4 tokens each: subject, partner, cover), the dyes of the first two (a token each). Where things are and how they move
is told by the same slots, and drawn apart (`motion.py`); what it sounds like follows from the motion (`sound.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional

from .attention import Trunk, leaving, velocity
from .dye import DYE
from .reader import ATTRIBUTES

PLATE_CELLS, SPRITE_CELLS, SPRITES = 12, 4, 3
DYED = 2
"""Sprites that have a dye: the subject's and its partner's."""
SUBJECT, PARTNER = (
    tuple(list(ATTRIBUTES).index(f"{before}{name}") for name in names)
    for before, names in (("", ("concept", "style", "colour")), ("partner", ("", "_style", "_colour")))
)
"""The slots that say what a sprite looks like."""


@dataclass(frozen=True)
class Parts:
    """A picture's latents: plate (N, C, 12, 12), sprites (N, 3, C, 4, 4), dyes (N, 2, 4)."""

    plate: Tensor
    sprites: Tensor
    dyes: Tensor


def _patched(cells: Tensor, patch: int) -> Tensor:
    """(N, C, h, w) -> (N, tokens, C * patch * patch)."""
    return functional.pixel_unshuffle(cells, patch).flatten(2).transpose(1, 2)


def _unpatched(tokens: Tensor, patch: int, side: int) -> Tensor:
    return functional.pixel_shuffle(tokens.transpose(1, 2).unflatten(2, (side // patch, side // patch)), patch)


class Prototypes(nn.Module):
    """What a thing of some style looks like, and what its dye is: looked up by what its slots say, and mixed where they
    leave it open. The subject's and its partner's slots are read by layers of their own; the partner's last answer is
    that there is none, and nothing is drafted then."""

    def __init__(self, slot_width: int, values: int) -> None:
        super().__init__()
        answers = list(ATTRIBUTES.values())
        self.says = nn.ModuleList(nn.Linear(slot_width, answers[slot]) for slot in (*SUBJECT, *PARTNER))
        things, styles, colours = (answers[slot] for slot in SUBJECT)
        self.sprites = nn.Parameter(torch.zeros(things, styles, values))
        self.dyes = nn.Parameter(torch.zeros(colours, DYE))

    def forward(self, slots: Tensor) -> tuple[Tensor, Tensor]:
        """Slots (N, attributes, slot width) -> sprites (N, 2, values) and dyes (N, 2, 4), as latents are normalised."""
        said = [says(slots[:, slot]).softmax(1) for says, slot in zip(self.says, (*SUBJECT, *PARTNER), strict=True)]
        things, styles, colours = (
            torch.stack((said[k], said[k + len(SUBJECT)][:, : said[k].shape[1]]), 1) for k in range(len(SUBJECT))
        )
        of_style = torch.einsum("npt,tsv->npsv", things, self.sprites)
        return (styles[..., None] * of_style).sum(2), colours @ self.dyes


class FiligranaJointTransformer(ModelMixin, ConfigMixin):
    """Gives the velocity noise - latents, by way of the latents themselves, which is what its layers predict.

    Told what to draw, the latents are all but determined, and the noise is not: a network that predicts them need not
    carry the noise through its width (Li and He, 2025, arXiv:2511.13720). What a thing of some style looks like, and
    what its dye is, are drafted first, from prototypes of which the slots say the mixture: the layers see the draft,
    and correct it. `means` and `scales` normalise plate, sprites and dyes.
    """

    config_name = "config.json"  # type: ignore[assignment]

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        channels: int = 16,
        slot_width: int = 224,
        width: int = 256,
        depth: int = 7,
        heads: int = 4,
        ratio: int = 4,
        means: tuple[float, ...] = (0.0, 0.0, 0.0),
        scales: tuple[float, ...] = (0.5, 0.5, 0.8),
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.means, self.scales = tuple(means), tuple(scales)
        self.shapes = ((16, 9 * channels), (4 * SPRITES, 4 * channels), (DYED, DYE))
        self.enter = nn.ModuleList(nn.Linear(values, width) for _, values in self.shapes)
        self.leave = nn.ModuleList(leaving(width, values) for _, values in self.shapes)
        self.prototypes = Prototypes(slot_width, SPRITE_CELLS**2 * channels)
        self.sketch = nn.Linear(4 * channels, width)
        self.trunk = Trunk(sum(count for count, _ in self.shapes), slot_width, width, depth, heads, ratio)

    @property
    def values(self) -> int:
        """Length of a picture's latents."""
        return sum(count * values for count, values in self.shapes)

    def pack(self, parts: Parts) -> Tensor:
        """Parts in the autoencoders' scale -> normalised latents (N, values)."""
        tokens = (self.normal(_patched(parts.plate, 3), 0), self.packed(parts.sprites), self.normal(parts.dyes, 2))
        return torch.cat([x.flatten(1) for x in tokens], 1)

    def packed(self, sprites: Tensor) -> Tensor:
        """Sprites (N, K, C, 4, 4) -> their normalised latents (N, K, values of a sprite)."""
        tokens = self.normal(_patched(sprites.flatten(0, 1), 2).flatten(1), 1)
        out: Tensor = tokens.unflatten(0, sprites.shape[:2])
        return out

    def normal(self, values: Tensor, part: int) -> Tensor:
        """A part's values, normalised: 0 the plate, 1 the sprites, 2 the dyes."""
        return (values - self.means[part]) / self.scales[part]

    def unpack(self, latents: Tensor) -> Parts:
        """The inverse of `pack`, bounded as the autoencoders' latents are."""
        plate, sprites, dyes = (
            (x * self.scales[k] + self.means[k]).clamp(-1, 1).unflatten(1, self.shapes[k])
            for k, x in enumerate(self.split(latents))
        )
        cells = _unpatched(sprites.unflatten(1, (SPRITES, -1)).flatten(0, 1), 2, SPRITE_CELLS)
        return Parts(_unpatched(plate, 3, PLATE_CELLS), cells.unflatten(0, (-1, SPRITES)), dyes)

    def split(self, latents: Tensor) -> list[Tensor]:
        """Latents (N, values) -> those of the backdrop, the sprites and the dyes."""
        return list(latents.split([count * values for count, values in self.shapes], 1))

    def drafts(self, slots: Tensor) -> tuple[Tensor, Tensor]:
        """The normalised latents of the subject's and its partner's sprites, as their slots alone have them,
        (N, 2, values of a sprite), and of their dyes, (N, 2, 4). Training teaches them apart from the flow."""
        out: tuple[Tensor, Tensor] = self.prototypes(slots)
        return out

    def forward(self, latents: Tensor, sigma: Tensor, slots: Tensor) -> Tensor:
        """latents (N, values) at noise level sigma (N,) in 0..1; slots (N, attributes, slot width).

        Returns the velocity, shaped like the latents.
        """
        sprites, dyes = (draft.detach() for draft in self.drafts(slots))
        sprites = functional.pad(sprites, (0, 0, 0, SPRITES - DYED)).flatten(1)
        groups = [self.enter[k](x.unflatten(1, self.shapes[k])) for k, x in enumerate(self.split(latents))]
        groups[1] = groups[1] + self.sketch(sprites.unflatten(1, self.shapes[1]))
        x = self.trunk(torch.cat(groups, 1), sigma, slots)
        outs = x.split([count for count, _ in self.shapes], 1)
        parts = [self.leave[k](out).flatten(1) for k, out in enumerate(outs)]
        parts[1], parts[2] = parts[1] + sprites, parts[2] + dyes.flatten(1)
        return velocity(latents, torch.cat(parts, 1), sigma)
