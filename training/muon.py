"""Muon: momentum with orthogonalised updates for matrices, AdamW for everything else.

Keller Jordan et al., 2024 (https://kellerjordan.github.io/posts/muon/); the update is scaled to AdamW's usual
root mean square (Liu et al., 2025, arXiv:2502.16982), so one learning rate serves both. For models this small
it needs about half of AdamW's steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from .common import HALF

MOMENTUM = 0.95
BETAS = (0.9, 0.98)


def orthogonalise(matrix: Tensor, steps: int = 5) -> Tensor:
    """Newton-Schulz iteration, in bfloat16 where there is: a (rows, columns) matrix with singular values near one."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix.bfloat16() if HALF else matrix
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.T
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    out: Tensor = (x.T if tall else x).float()
    return out


class Muon(torch.optim.Optimizer):
    """One optimiser with a group of matrices (`muon` true) and a group of the rest."""

    def __init__(
        self, named: Iterable[tuple[str, nn.Parameter]], lr: float, decay: float, plain: tuple[str, ...]
    ) -> None:
        """Parameters with fewer than two axes, and those whose name contains one of `plain`, take AdamW."""
        matrices: list[nn.Parameter] = []
        rest: list[nn.Parameter] = []
        for name, parameter in named:
            if not parameter.requires_grad:
                continue
            shape = parameter.flatten(1).shape if parameter.ndim > 1 else (1, 1)
            special = any(word in name for word in plain) or min(shape) < 32
            (rest if special else matrices).append(parameter)
        groups = [{"params": matrices, "muon": True}, {"params": rest, "muon": False}]
        super().__init__(groups, {"lr": lr, "decay": decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of all parameters that have gradients."""
        loss = closure() if closure is not None else None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    update = self._matrix(parameter) if group["muon"] else self._adam(parameter)
                    if parameter.ndim > 1:
                        parameter.mul_(1 - group["lr"] * group["decay"])
                    parameter.add_(update, alpha=-group["lr"])
        return loss

    def _matrix(self, parameter: Tensor) -> Tensor:
        state: dict[str, Any] = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        gradient = parameter.grad
        assert gradient is not None
        state["momentum"].lerp_(gradient, 1 - MOMENTUM)
        flat = torch.lerp(gradient, state["momentum"], MOMENTUM).flatten(1)
        out: Tensor = (orthogonalise(flat) * 0.2 * max(flat.shape) ** 0.5).view_as(parameter)
        return out

    def _adam(self, parameter: Tensor) -> Tensor:
        state: dict[str, Any] = self.state[parameter]
        if not state:
            state |= {"step": 0, "first": torch.zeros_like(parameter), "second": torch.zeros_like(parameter)}
        gradient = parameter.grad
        assert gradient is not None
        state["step"] += 1
        state["first"].lerp_(gradient, 1 - BETAS[0])
        state["second"].lerp_(gradient.square(), 1 - BETAS[1])
        first = state["first"] / (1 - BETAS[0] ** state["step"])
        second = state["second"] / (1 - BETAS[1] ** state["step"])
        out: Tensor = first / (second.sqrt() + 1e-8)
        return out
