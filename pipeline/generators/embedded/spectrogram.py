"""Sound as the model sees it, and back: log magnitudes, and phases by the fast Griffin-Lim algorithm.

Perraudin, Balazs and Søndergaard, 2013. No neural vocoder: for sounds of this kind phases follow well from magnitudes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .time import BINS, FRAMES, HOP, WINDOW

FLOOR = 1e-3
SPAN = 4.7
"""Decades between the floor and the loudest magnitude that the window can give."""


def spectrogram(sound: Tensor) -> Tensor:
    """(N, 32000) in -1..1 at 16 kHz -> (N, 257, 256): log10 of the magnitude, 0 at the floor, 1 at the loudest."""
    window = torch.hann_window(WINDOW, device=sound.device)
    full = torch.stft(sound, WINDOW, HOP, window=window, return_complex=True)[..., :FRAMES].abs()
    return (torch.log10(full + FLOOR) + 3) / SPAN


def _there(waves: Tensor, window: Tensor, length: int) -> Tensor:
    return torch.istft(waves, WINDOW, HOP, window=window, length=length)


def waveform(levels: Tensor, length: int, rounds: int = 40, momentum: float = 0.99) -> Tensor:
    """(N, 257, 256) levels -> (N, length) in -1..1. Deterministic: the first phases come from a fixed seed."""
    magnitude = (10 ** (levels.float().clamp(0, 1) * SPAN - 3) - FLOOR).clamp_min(0)
    frames = length // HOP + 1
    magnitude = torch.nn.functional.pad(magnitude, (0, max(frames - FRAMES, 0)), mode="replicate")[..., :frames]
    window = torch.hann_window(WINDOW, device=levels.device)
    noise = torch.rand(BINS, frames, generator=torch.Generator().manual_seed(0)).to(levels.device)
    angles = torch.polar(torch.ones_like(magnitude), (2 * torch.pi * noise).expand_as(magnitude).contiguous())
    before = torch.zeros_like(angles)
    for _ in range(rounds):
        sound = _there(magnitude * angles, window, length)
        now = torch.stft(sound, WINDOW, HOP, window=window, return_complex=True)
        angles = now + momentum * (now - before)
        angles = angles / (angles.abs() + 1e-9)
        before = now
    return _there(magnitude * angles, window, length).clamp(-1, 1)
