"""The sound transformer: a rectified flow over what is heard, told by the caption and by what is seen to move.

A thud is where a path turns, an engine is as loud as the car is fast: once the motion is known, the sound all but
follows from it. So it is drawn after the motion, and looks at it moment by moment, how fast it changes and where it
turns. Where both are drawn at once from noise, neither knows where the other will be (docs/adr/0032).
"""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional

from .attention import Trunk, leaving, velocity
from .time import MOMENTS, STEPS, VALUES

CHANGE, TURN = 8.0, 16.0
"""Differences of moments, and of those, are multiplied by this: they are about as large as the values then."""


class FiligranaSoundTransformer(ModelMixin, ConfigMixin):
    """Gives the velocity noise - latents, by way of the latents themselves, for 16 steps of an eighth of a second.

    `mean` and `scale` normalise the latents of the autoencoder of sound.
    """

    config_name = "config.json"  # type: ignore[assignment]

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        channels: int = 48,
        slot_width: int = 224,
        width: int = 128,
        depth: int = 4,
        heads: int = 4,
        ratio: int = 4,
        mean: float = 0.0,
        scale: float = 0.5,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.mean, self.scale = mean, scale
        self.shape = (STEPS, channels)
        self.enter, self.leave = nn.Linear(channels, width), leaving(width, channels)
        self.watch = nn.Linear(3 * VALUES * MOMENTS // STEPS, width)
        self.trunk = Trunk(STEPS, slot_width, width, depth, heads, ratio)

    @property
    def values(self) -> int:
        """Length of a sound's latents."""
        return self.shape[0] * self.shape[1]

    def pack(self, sound: Tensor) -> Tensor:
        """(N, 16, channels) in the autoencoder's scale -> normalised latents (N, values)."""
        return ((sound - self.mean) / self.scale).flatten(1)

    def unpack(self, latents: Tensor) -> Tensor:
        """The inverse of `pack`, bounded as the autoencoder's latents are."""
        out: Tensor = (latents * self.scale + self.mean).clamp(-1, 1).unflatten(1, self.shape)
        return out

    def forward(self, latents: Tensor, sigma: Tensor, slots: Tensor, motion: Tensor) -> Tensor:
        """latents (N, values) at noise level sigma (N,) in 0..1; slots (N, attributes, slot width); motion
        (N, 64, 39).

        Returns the velocity, shaped like the latents.
        """
        change = functional.pad(motion.diff(dim=1), (0, 0, 1, 0)) * CHANGE
        turn = functional.pad(motion.diff(n=2, dim=1), (0, 0, 1, 1)) * TURN
        seen = torch.cat((motion, change, turn), 2).reshape(len(motion), STEPS, -1)
        x = self.enter(latents.unflatten(1, self.shape)) + self.watch(seen.to(latents.dtype))
        return velocity(latents, self.leave(self.trunk(x, sigma, slots)).flatten(1), sigma)
