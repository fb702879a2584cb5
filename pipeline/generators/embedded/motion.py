"""The motion transformer: a rectified flow over the tracks themselves, told by a plan.

Where a path turns is where something is heard, and the eye sees a jitter of a pixel: an autoencoder between the flow
and the tracks blurs the one and adds the other. A network that predicts what is clean, and not the noise, needs none:
64 moments of 39 values lie on few dimensions, and noise on all of them (Li and He, 2025, arXiv:2511.13720).
"""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from .attention import Trunk, leaving, velocity
from .reader import PLAN
from .time import CAMERA, INSTANCES, MOMENTS, POSE, STEPS, VALUES

SHIFT = 4.0
"""How much more of the flow's steps are at high noise: values that say one thing many times are told apart early."""


class FiligranaMotionTransformer(ModelMixin, ConfigMixin):
    """Gives the velocity noise - latents, by way of the latents themselves, for 16 steps of four moments each.

    A plan all but determines the tracks, so they are drafted first, by a small network that knows the plan alone; the
    layers correct the draft. `means` and `scales` normalise a pose's six values, and the camera's three.
    """

    config_name = "config.json"  # type: ignore[assignment]

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        slot_width: int = 224,
        width: int = 96,
        depth: int = 3,
        heads: int = 4,
        ratio: int = 4,
        read: int = 24,
        draft: tuple[int, int] = (512, 430),
        means: tuple[float, ...] = (0.0,) * (POSE + CAMERA),
        scales: tuple[float, ...] = (0.5,) * (POSE + CAMERA),
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.means, self.scales = tuple(means), tuple(scales)
        values = VALUES * MOMENTS // STEPS
        self.reads = nn.Linear(slot_width, read)
        self.drafter = nn.Sequential(
            nn.Linear(len(PLAN) * read, draft[0]), nn.SiLU(), nn.Linear(*draft), nn.SiLU(),
            nn.Linear(draft[1], MOMENTS * VALUES),
        )  # fmt: skip
        self.enter, self.leave = nn.Linear(values, width), leaving(width, values)
        self.trunk = Trunk(STEPS, slot_width, width, depth, heads, ratio)

    @property
    def values(self) -> int:
        """Length of a motion's latents."""
        return MOMENTS * VALUES

    def _each(self, values: tuple[float, ...], like: Tensor) -> Tensor:
        return torch.tensor(values[:POSE] * INSTANCES + values[POSE:], dtype=like.dtype, device=like.device)

    def pack(self, motion: Tensor) -> Tensor:
        """Tracks (N, 64, 39) -> normalised latents (N, values)."""
        return ((motion - self._each(self.means, motion)) / self._each(self.scales, motion)).flatten(1)

    def unpack(self, latents: Tensor) -> Tensor:
        """The inverse of `pack`."""
        tracks = latents.unflatten(1, (MOMENTS, VALUES))
        out: Tensor = tracks * self._each(self.scales, tracks) + self._each(self.means, tracks)
        return out

    def drafts(self, slots: Tensor) -> Tensor:
        """Latents (N, values) as the plan's slots (N, 17, slot width) have them. Training teaches it apart."""
        out: Tensor = self.drafter(self.reads(slots).flatten(1))
        return out

    def clean(self, latents: Tensor, sigma: Tensor, slots: Tensor) -> Tensor:
        """What the latents (N, values) at noise level sigma (N,) are without noise; slots as in `forward`."""
        draft = self.drafts(slots).detach()
        tokens = self.enter((latents - draft).unflatten(1, (STEPS, -1)))
        out: Tensor = draft + self.leave(self.trunk(tokens, sigma, slots)).flatten(1)
        return out

    def forward(self, latents: Tensor, sigma: Tensor, slots: Tensor) -> Tensor:
        """latents (N, values) at noise level sigma (N,) in 0..1; slots (N, 17, slot width).

        Returns the velocity, shaped like the latents.
        """
        return velocity(latents, self.clean(latents, sigma, slots), sigma)
