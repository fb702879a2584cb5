"""The autoencoder of layers: premultiplied RGBA pictures <-> latents, 64 pixels a cell.

A sprite of 256x256 becomes 4x4 cells, a backdrop of 768x768 becomes 12x12; the same weights serve both. Residual
convolutions without norms across pixels, most channels at low resolution, and a pixel shuffle by 4 at the end, whose
sub-pixel patterns hold the edges.
"""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional

from .time import DECODER_ALONE

CHANNELS = 4
"""Red, green, blue, premultiplied; and how much is covered."""


class ResidualBlock(nn.Module):
    """x + conv(silu(conv(silu(norm(x))))), the last convolution starting at zero.

    The norm divides each pixel by the root mean square of its channels: nothing is shared between pixels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        if self.second.bias is not None:
            nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, h, w) -> the same shape."""
        size = torch.rsqrt(x.float().square().mean(1, keepdim=True) + 1e-6)
        y = functional.silu(x * size.to(x.dtype) * self.scale.to(x.dtype))
        out: Tensor = x + self.second(functional.silu(self.first(y)))
        return out


class FiligranaLayerAutoencoder(ModelMixin, ConfigMixin):
    """Encodes layers in [0, 1] to latents in (-1, 1) and back.

    `widths` and `decoder_depths` are given from 16 cells per latent cell and axis (four pixels each) down to one;
    the encoder starts two levels further down, since it only has to tell patterns apart. Drawing needs the decoder
    alone: what is shipped has no encoder (`encodes` false), and `encode` then raises ValueError.
    """

    config_name = "config.json"  # type: ignore[assignment]

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        latent_channels: int = 16,
        widths: tuple[int, ...] = (48, 112, 160, 224, 256),
        encoder_depths: tuple[int, ...] = (1, 1, 1),
        decoder_depths: tuple[int, ...] = (1, 1, 1, 2, 2),
        patch: int = 4,
        encodes: bool = True,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        values, skipped = CHANNELS * patch * patch, len(widths) - len(encoder_depths)
        first = 2**skipped * patch
        inner = widths[skipped:]
        encoder: list[nn.Module] = [nn.PixelUnshuffle(first), nn.Conv2d(CHANNELS * first**2, inner[0], 1)]
        encoder += [ResidualBlock(inner[0]) for _ in range(encoder_depths[0])]
        for narrow, wide, depth in zip(inner[:-1], inner[1:], encoder_depths[1:], strict=True):
            encoder += [nn.PixelUnshuffle(2), nn.Conv2d(4 * narrow, wide, 1)]
            encoder += [ResidualBlock(wide) for _ in range(depth)]
        whole = nn.Sequential(*encoder, nn.SiLU(), nn.Conv2d(widths[-1], latent_channels, 1))
        self.encoder = whole if encodes else None

        decoder: list[nn.Module] = [nn.Conv2d(latent_channels, widths[-1], 3, padding=1)]
        decoder += [ResidualBlock(widths[-1]) for _ in range(decoder_depths[-1])]
        for wide, narrow, depth in zip(widths[:0:-1], widths[-2::-1], decoder_depths[-2::-1], strict=True):
            decoder += [nn.SiLU(), nn.Conv2d(wide, 4 * narrow, 1), nn.PixelShuffle(2)]
            decoder += [ResidualBlock(narrow) for _ in range(depth)]
        decoder += [nn.SiLU(), nn.Conv2d(widths[0], values, 3, padding=1), nn.PixelShuffle(patch)]
        self.decoder = nn.Sequential(*decoder)
        self.factor: int = patch * 2 ** (len(widths) - 1)

    def encode(self, layers: Tensor) -> Tensor:
        """(N, 4, H, W) in [0, 1], premultiplied -> (N, latent_channels, H/64, W/64) in (-1, 1)."""
        return torch.tanh(self.raw(layers))

    def raw(self, layers: Tensor) -> Tensor:
        """The latents before the tanh."""
        if self.encoder is None:
            raise ValueError(DECODER_ALONE)
        out: Tensor = self.encoder(layers * 2 - 1)
        return out

    def decode(self, latents: Tensor) -> Tensor:
        """(N, latent_channels, h, w) -> (N, 4, 64h, 64w), about [0, 1] but not clamped."""
        out: Tensor = self.decoder(latents)
        return out / 2 + 0.5

    def forward(self, layers: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Reconstructs; `noise` (N,) is the standard deviation of what is added to each layer's latents in training.

        Also returns the values before the tanh, which training keeps from saturating.
        """
        raw = self.raw(layers)
        latents = torch.tanh(raw)
        if noise is not None:
            latents = latents + noise[:, None, None, None] * torch.randn_like(latents)
        return self.decode(latents), raw
