"""What happens in time, in 16 steps of an eighth of a second: how tracks are laid out, and the autoencoder of sound.

Motion is where six instances and the camera are at 64 moments; sound is a log-magnitude spectrogram of 256 frames,
with one latent vector a step, so a bounce and its thud stand at the same place in time. Drawing needs the decoder
alone: what is shipped has no encoder (`encodes` false), and `encode` then raises ValueError.
"""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

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
