"""The diffusion transformer: a rectified flow over 16 tokens of 4x4 latent cells, conditioned on words.

adaLN from time and pooled caption with one shared projection and a table per layer (PixArt-alpha, Chen et
al. 2023); normalised queries and keys; the caption's words are further keys and values of every layer.
"""

from __future__ import annotations

import math

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional

from .attention import Attention, FeedForward


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


class FiligranaTransformer(ModelMixin, ConfigMixin):
    """Predicts the velocity noise - latents of a noisy latent.

    `latent_scale` is the standard deviation that latents are divided by before noise is mixed in.
    """

    config_name = "config.json"  # type: ignore[assignment]

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        latent_channels: int = 12,
        latent_side: int = 16,
        patch: int = 4,
        width: int = 256,
        depth: int = 6,
        heads: int = 4,
        ratio: int = 4,
        latent_scale: float = 0.5,  # noqa: ARG002 (read from the config by the pipeline)
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.patch, self.side, self.width = patch, latent_side, width
        tokens, values = (latent_side // patch) ** 2, latent_channels * patch * patch
        self.embed = nn.Linear(values, width)
        self.position = nn.Parameter(torch.randn(tokens, width) * 0.02)
        self.time = nn.Sequential(nn.Linear(128, width), nn.SiLU(), nn.Linear(width, width))
        self.pooled = nn.Linear(width, width)
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        self.layers = nn.ModuleList(Layer(width, heads, ratio) for _ in range(depth))
        self.final_table = nn.Parameter(torch.randn(2, width) / math.sqrt(width))
        self.out = nn.Linear(width, values)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def _time(self, sigma: Tensor) -> Tensor:
        frequencies = torch.exp(torch.arange(64, device=sigma.device) * (-math.log(1000.0) / 63)) * 64
        angles = sigma.float()[:, None] * frequencies
        waves = torch.cat((angles.cos(), angles.sin()), 1)
        out: Tensor = self.time(waves.to(self.position.dtype))
        return out

    def forward(self, latents: Tensor, sigma: Tensor, words: Tensor, pooled: Tensor, mask: Tensor) -> Tensor:
        """latents (N, C, 16, 16) at noise level sigma (N,) in 0..1, and the caption encoder's three results.

        Returns the velocity, shaped like the latents.
        """
        p, cells = self.patch, self.side // self.patch
        x = self.embed(functional.pixel_unshuffle(latents, p).flatten(2).transpose(1, 2)) + self.position
        condition = self._time(sigma) + self.pooled(pooled)
        modulation = self.modulation(condition).unflatten(1, (6, self.width))
        tokens = torch.ones(len(x), x.shape[1], dtype=torch.bool, device=x.device)
        seen = torch.cat((tokens, mask), 1)[:, None, None, :]
        for layer in self.layers:
            x = layer(x, modulation, words, seen)
        shift, scale = (condition[:, None] + self.final_table).unsqueeze(2).unbind(1)
        x = functional.layer_norm(x, (self.width,)) * (1 + scale) + shift
        out: Tensor = functional.pixel_shuffle(self.out(x).transpose(1, 2).unflatten(2, (cells, cells)), p)
        return out
