"""The autoencoders of what happens in time: motion and sound, each 16 steps of an eighth of a second.

Motion is where six instances and the camera are at 64 moments; sound is a log-magnitude spectrogram of 256 frames.
Both have one latent vector a step, so a bounce and its thud stand at the same place in time. Drawing needs their
decoders alone: what is shipped has no encoders (`encodes` false), and `encode` then raises ValueError.
"""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from .attention import Attention, FeedForward, RMSNorm

STEPS = 16
MOMENTS = 64
INSTANCES = 6
"""Up to four of the subject, its partner, and a cover, in this order."""
POSE = 6
"""x, y, log2 size, cosine and sine of the angle, opacity: see `tracks.py`."""
CAMERA = 3
VALUES = INSTANCES * POSE + CAMERA
WINDOW, HOP, FRAMES = 512, 125, 256
BINS = WINDOW // 2 + 1
DECODER_ALONE = "these weights hold the decoder alone"


class _Steps(nn.Module):
    """Attention over the steps."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.randn(STEPS, width) * 0.1)
        self.norms = nn.ModuleList(RMSNorm(width) for _ in range(2 * depth))
        self.attentions = nn.ModuleList(Attention(width, 4) for _ in range(depth))
        self.mlps = nn.ModuleList(FeedForward(width, 3) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        """(N, STEPS, width) -> the same shape."""
        x = x + self.position
        for index, (attention, mlp) in enumerate(zip(self.attentions, self.mlps, strict=True)):
            x = x + attention(self.norms[2 * index](x))
            x = x + mlp(self.norms[2 * index + 1](x))
        return x


class FiligranaMotionAutoencoder(ModelMixin, ConfigMixin):
    """Motion (N, 64, 39) <-> latents (N, 16, channels) in (-1, 1)."""

    config_name = "config.json"  # type: ignore[assignment]

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, latent_channels: int = 48, width: int = 160, depth: int = 2, encodes: bool = True) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        values = VALUES * MOMENTS // STEPS
        whole = nn.Sequential(nn.Linear(values, width), _Steps(width, depth), nn.Linear(width, latent_channels))
        self.encoder = whole if encodes else None
        self.up, self.decoder, self.leave = (
            nn.Linear(latent_channels, width),
            _Steps(width, depth),
            nn.Linear(width, values),
        )

    def raw(self, motion: Tensor) -> Tensor:
        """The latents before the tanh."""
        if self.encoder is None:
            raise ValueError(DECODER_ALONE)
        out: Tensor = self.encoder(motion.reshape(len(motion), STEPS, -1))
        return out

    def encode(self, motion: Tensor) -> Tensor:
        """(N, 64, 39) -> (N, 16, channels)."""
        return torch.tanh(self.raw(motion))

    def decode(self, latents: Tensor) -> Tensor:
        """(N, 16, channels) -> (N, 64, 39)."""
        out: Tensor = self.leave(self.decoder(self.up(latents)))
        return out.reshape(len(latents), MOMENTS, VALUES)


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(width, width, 3, padding=1), nn.Conv1d(width, width, 3, padding=1)
        self.norm = nn.GroupNorm(1, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.second(nn.functional.silu(self.first(nn.functional.silu(self.norm(x)))))
        return out


class FiligranaSoundAutoencoder(ModelMixin, ConfigMixin):
    """Spectrograms (N, 257, 256) in about [0, 1] <-> latents (N, 16, channels) in (-1, 1)."""

    config_name = "config.json"  # type: ignore[assignment]

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, latent_channels: int = 48, width: int = 192, encodes: bool = True) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        whole = nn.Sequential(
            nn.Conv1d(BINS, width, 3, padding=1), _Block(width), nn.Conv1d(width, width, 4, 4), _Block(width),
            nn.Conv1d(width, width, 4, 4), _Block(width), nn.Conv1d(width, latent_channels, 1),
        )  # fmt: skip
        self.encoder = whole if encodes else None
        self.decoder = nn.Sequential(
            nn.Conv1d(latent_channels, width, 3, padding=1), _Block(width), _Block(width),
            nn.ConvTranspose1d(width, width, 4, 4), _Block(width), nn.ConvTranspose1d(width, width, 4, 4),
            _Block(width), _Block(width), nn.Conv1d(width, BINS, 3, padding=1),
        )  # fmt: skip

    def raw(self, spectrogram: Tensor) -> Tensor:
        """The latents before the tanh."""
        if self.encoder is None:
            raise ValueError(DECODER_ALONE)
        out: Tensor = self.encoder(spectrogram * 2 - 1).transpose(1, 2)
        return out

    def encode(self, spectrogram: Tensor) -> Tensor:
        """(N, 257, 256) -> (N, 16, channels)."""
        return torch.tanh(self.raw(spectrogram))

    def decode(self, latents: Tensor) -> Tensor:
        """(N, 16, channels) -> (N, 257, 256)."""
        out: Tensor = self.decoder(latents.transpose(1, 2))
        return out / 2 + 0.5
