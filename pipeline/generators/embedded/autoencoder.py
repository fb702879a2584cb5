"""The autoencoder of the embedded family: 512x512 pictures <-> 16x16 latents of 12 channels.

Residual convolutions without norms across pixels, so that crops and whole pictures are treated alike. Most
channels sit at low resolution; the last step is a pixel shuffle by 4, whose sub-pixel patterns hold the edges.
"""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional


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


def _stage(channels: int, depth: int) -> list[nn.Module]:
    return [ResidualBlock(channels) for _ in range(depth)]


class FiligranaAutoencoder(ModelMixin, ConfigMixin):
    """Encodes pictures in [-1, 1] to latents in (-1, 1) and back; 32 pixels a latent cell.

    Widths are given from 128x128 (four pixels a cell) down to 16x16. The encoder starts at 64x64: it only
    has to tell patterns apart, the decoder has to draw them.
    """

    config_name = "config.json"  # type: ignore[assignment]

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        latent_channels: int = 12,
        widths: tuple[int, ...] = (48, 96, 160, 224),
        encoder_depths: tuple[int, ...] = (0, 1, 1),
        decoder_depths: tuple[int, ...] = (1, 1, 1, 3),
        patch: int = 4,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        pixels = 3 * patch * patch
        encoder: list[nn.Module] = [nn.PixelUnshuffle(2 * patch), nn.Conv2d(4 * pixels, widths[1], 3, padding=1)]
        encoder += _stage(widths[1], encoder_depths[0])
        for narrow, wide, depth in zip(widths[1:-1], widths[2:], encoder_depths[1:], strict=True):
            encoder += [nn.PixelUnshuffle(2), nn.Conv2d(4 * narrow, wide, 1), *_stage(wide, depth)]
        encoder += [nn.SiLU(), nn.Conv2d(widths[-1], latent_channels, 1)]
        self.encoder = nn.Sequential(*encoder)

        decoder: list[nn.Module] = [nn.Conv2d(latent_channels, widths[-1], 3, padding=1)]
        decoder += _stage(widths[-1], decoder_depths[-1])
        steps = list(zip(widths[:0:-1], widths[-2::-1], decoder_depths[-2::-1], strict=True))
        for wide, narrow, depth in steps:
            decoder += [nn.SiLU(), nn.Conv2d(wide, 4 * narrow, 1), nn.PixelShuffle(2), *_stage(narrow, depth)]
        decoder += [nn.SiLU(), nn.Conv2d(widths[0], pixels, 3, padding=1), nn.PixelShuffle(patch)]
        self.decoder = nn.Sequential(*decoder)
        self.factor: int = patch * 2 ** (len(widths) - 1)

    def encode(self, pictures: Tensor) -> Tensor:
        """(N, 3, H, W) in [-1, 1] -> (N, latent_channels, H/32, W/32) in (-1, 1)."""
        return torch.tanh(self.encoder(pictures))

    def decode(self, latents: Tensor) -> Tensor:
        """(N, latent_channels, h, w) -> (N, 3, 32h, 32w), about [-1, 1] but not clamped."""
        out: Tensor = self.decoder(latents)
        return out

    def forward(self, pictures: Tensor, noise: float = 0.0) -> tuple[Tensor, Tensor]:
        """Reconstructs; `noise` is the standard deviation of what is added to the latents in training.

        Also returns the values before the tanh, which training keeps from saturating.
        """
        raw = self.encoder(pictures)
        latents = torch.tanh(raw)
        if noise:
            latents = latents + noise * torch.randn_like(latents)
        return self.decode(latents), raw
