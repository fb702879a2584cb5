"""Attention blocks shared by the caption encoder and the transformers of the flows, and what those have in common."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class RMSNorm(nn.Module):
    """Root-mean-square norm over the last axis with a learned scale (Zhang and Sennrich, 2019)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> the same shape."""
        return functional.rms_norm(x, (x.shape[-1],)) * self.scale


class Attention(nn.Module):
    """Self-attention with normalised queries and keys, over the tokens and, if given, a context.

    The context adds keys and values of its own: image tokens see the image and the caption at once.
    """

    def __init__(self, width: int, heads: int, context: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(width, 3 * width)
        self.project_context = nn.Linear(width, 2 * width) if context else None
        self.query_norm = RMSNorm(width // heads)
        self.key_norm = RMSNorm(width // heads)
        self.out = nn.Linear(width, width)

    def _split(self, x: Tensor) -> Tensor:
        out: Tensor = x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return out

    def forward(self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """x (N, tokens, width), context (N, words, width) or None, mask (N, 1, 1, keys) bool, True = seen."""
        query, key, value = (self._split(part) for part in self.project(x).chunk(3, -1))
        if context is not None and self.project_context is not None:
            more_key, more_value = (self._split(part) for part in self.project_context(context).chunk(2, -1))
            key, value = torch.cat((key, more_key), 2), torch.cat((value, more_value), 2)
        query, key = self.query_norm(query).to(value.dtype), self.key_norm(key).to(value.dtype)
        # Written out: with so few tokens this is several times faster on a CPU than the fused kernels.
        scores = (query @ key.transpose(-1, -2)) * query.shape[-1] ** -0.5
        if mask is not None:
            scores = scores.masked_fill(~mask, -1e4)
        seen = scores.softmax(-1).to(value.dtype) @ value
        out: Tensor = self.out(seen.transpose(1, 2).flatten(2))
        return out


class FeedForward(nn.Sequential):
    """Linear, GELU, linear."""

    def __init__(self, width: int, ratio: int) -> None:
        super().__init__(nn.Linear(width, ratio * width), nn.GELU("tanh"), nn.Linear(ratio * width, width))


class ModulatedLayer(nn.Module):
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


LEAST_NOISE = 0.08
"""Below it, the velocity is that of this level: what is left to remove is no longer divided by almost nothing."""


def waves(sigma: Tensor, kind: torch.dtype) -> Tensor:
    """Noise levels (N,) in 0..1 -> (N, 128): cosines and sines of 64 frequencies."""
    frequencies = torch.exp(torch.arange(64, device=sigma.device) * (-math.log(1000.0) / 63)) * 64
    angles = sigma.float()[:, None] * frequencies
    return torch.cat((angles.cos(), angles.sin()), 1).to(kind)


class Trunk(nn.Module):
    """The layers of a flow's transformer: adaLN from time and plan, with one shared projection and a table a layer
    (PixArt-alpha, Chen et al., 2023); the plan's slots are further keys and values."""

    def __init__(self, tokens: int, slot_width: int, width: int, depth: int, heads: int, ratio: int) -> None:
        super().__init__()
        self.width = width
        self.position = nn.Parameter(torch.randn(tokens, width) * 0.02)
        self.time = nn.Sequential(nn.Linear(128, width), nn.SiLU(), nn.Linear(width, width))
        self.slots = nn.Linear(slot_width, width)
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        self.layers = nn.ModuleList(ModulatedLayer(width, heads, ratio) for _ in range(depth))
        self.final_table = nn.Parameter(torch.randn(2, width) / math.sqrt(width))

    def forward(self, x: Tensor, sigma: Tensor, slots: Tensor) -> Tensor:
        """x (N, tokens, width), sigma (N,) in 0..1, slots (N, attributes, slot width) -> the shape of x."""
        x = x + self.position
        context = self.slots(slots)
        condition = self.time(waves(sigma, x.dtype)) + context.mean(1)
        modulation = self.modulation(condition).unflatten(1, (6, self.width))
        for layer in self.layers:
            x = layer(x, modulation, context, None)
        shift, scale = (condition[:, None] + self.final_table).unsqueeze(2).unbind(1)
        out: Tensor = functional.layer_norm(x, (self.width,)) * (1 + scale) + shift
        return out


def leaving(width: int, values: int) -> nn.Linear:
    """The last layer of a flow's transformer: nothing at first."""
    out = nn.Linear(width, values)
    for parameter in out.parameters():
        nn.init.zeros_(parameter)
    return out


def velocity(latents: Tensor, clean: Tensor, sigma: Tensor) -> Tensor:
    """noise - latents (N, values), of latents at noise level sigma (N,) and of what they are without noise."""
    return (latents - clean) / sigma.to(clean.dtype).clamp_min(LEAST_NOISE)[:, None]
