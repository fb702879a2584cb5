"""What the training programs share: checkpoints that survive a kill, a learning rate by time spent, EMA."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .world.sprites import WORK

Called = TypeVar("Called", bound=Callable[..., Any])
Module = TypeVar("Module", bound=nn.Module)
THREADS = 2
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
"""Where models learn. Data are made on the CPU, and checkpoints fit either."""
HALF = DEVICE.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
"""Whether the device multiplies in bfloat16: three times faster with AVX512-BF16, seventy times slower without."""


def prepare(seed: int) -> None:
    """Seeds torch and fixes the number of threads."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(seed)


def autocast() -> torch.autocast:
    """Matrix products in bfloat16 where the device has them; weights and sums stay float32."""
    return torch.autocast(DEVICE.type, torch.bfloat16, enabled=HALF)


def compiled(function: Called) -> Called:
    """The function compiled for a GPU. On a CPU it is as it was: there compiling gained a tenth and cost a minute."""
    return cast(Called, torch.compile(function)) if DEVICE.type == "cuda" else function


def channels_last(model: Module) -> Module:
    """The same model on the device, its convolutions' weights in the layout that is fastest."""
    model.to(DEVICE, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def to_tensor(pictures: list[NDArray[np.uint8]]) -> Tensor:
    """Pictures (h, w, 3) uint8 -> (N, 3, h, w) float32 in [-1, 1], channels last in memory."""
    batch = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    return batch.float().div_(127.5).sub_(1)


def average(ema: nn.Module, model: nn.Module, step: int, decay: float = 0.999) -> None:
    """Moves the exponential moving average of the weights, quickly at first."""
    rate = 1 - min(decay, (1 + step) / (10 + step))
    with torch.no_grad():
        for old, new in zip(ema.parameters(), model.parameters(), strict=True):
            old.lerp_(new, rate)


class Run:
    """A resumable training run with a budget in seconds of training time.

    The learning rate is constant after a short warm-up and falls linearly to zero over the last `tail` of
    the budget, so that a run that was stopped and resumed ends like one that was not.
    """

    def __init__(self, name: str, seconds: float, rate: float, tail: float = 0.35, folder: Path = WORK) -> None:
        self.name, self.seconds, self.rate, self.tail = name, seconds, rate, tail
        self.path = folder / f"{name}.pt"
        self.log = folder / f"{name}.jsonl"
        self.spent = 0.0
        self.step = self.warm = 0
        self._saved = self._clock = time.monotonic()
        self._loss: list[float] = []

    def resume(self, **parts: Any) -> bool:
        """Loads the last checkpoint into `parts` (anything with load_state_dict); False without one."""
        if not self.path.exists():
            return False
        state = torch.load(self.path, map_location=DEVICE, weights_only=True)
        for key, part in parts.items():
            if key in state or key != "optimiser":
                part.load_state_dict(state[key])
        self.spent, self.step = state["spent"], state["step"]
        if "optimiser" in parts and "optimiser" not in state:
            # weights that were exported come back without its memory: it begins as carefully as a new one
            self.warm = self.step
        self._clock = time.monotonic()
        return True

    def begin(self) -> None:
        """Starts the clock: what took time before is no training."""
        self._saved = self._clock = time.monotonic()

    def save(self, **parts: Any) -> None:
        """Writes a checkpoint beside the old one and swaps them."""
        state = {key: part.state_dict() for key, part in parts.items()}
        state |= {"spent": self.spent, "step": self.step}
        partial = self.path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.path)
        self._saved = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether two minutes have passed since the last checkpoint."""
        return time.monotonic() - self._saved > 120

    @property
    def running(self) -> bool:
        """Whether there is budget left."""
        return self.spent < self.seconds

    def learning_rate(self) -> float:
        """The rate for this step."""
        left = max(0.0, 1 - self.spent / self.seconds)
        return self.rate * min(1.0, (self.step - self.warm + 1) / 100) * min(1.0, left / self.tail)

    def pace(self, optimiser: torch.optim.Optimizer) -> None:
        """Sets the learning rate of the next step."""
        for group in optimiser.param_groups:
            group["lr"] = self.learning_rate()

    def advance(self, loss: float, every: int = 50) -> None:
        """Counts a step, and logs the mean loss now and then."""
        now = time.monotonic()
        self.spent += now - self._clock
        self._clock = now
        self.step += 1
        self._loss.append(loss)
        if self.step % every == 0:
            self.note(loss=round(sum(self._loss) / len(self._loss), 5))
            self._loss.clear()

    def learn(self, loss: Tensor, model: nn.Module, ema: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        """One step down the gradient of `loss`, bounded in its norm; the average follows, and the step is counted."""
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        self.pace(optimiser)
        optimiser.step()
        average(ema, model, self.step)
        self.advance(loss.item())

    def note(self, **values: Any) -> None:
        """Appends one JSON line to the log."""
        line = {"step": self.step, "seconds": round(self.spent, 1), "rate": round(self.learning_rate(), 6), **values}
        with self.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


class Config:
    """A model's configuration as a part of its checkpoint."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config

    def state_dict(self) -> dict[str, Any]:
        """The configuration."""
        return self.config

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes another."""
        self.config = state


def averaged(model: nn.Module, name: str) -> Any:
    """`model` with the averaged weights of the run `name`, frozen."""
    model.load_state_dict(torch.load(Run(name, 1, 1).path, map_location="cpu", weights_only=True)["ema"])
    return model.eval().requires_grad_(False)


def averaged_flow(name: str, made: Any) -> Any:
    """The transformer of the run `name`, of class `made`, configured as it is there, with the averaged weights."""
    config: dict[str, Any] = torch.load(Run(name, 1, 1).path, map_location="cpu", weights_only=True)["config"]
    return averaged(made(**config), name)


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of each picture (N, ...), values in [-1, 1]."""
    error = ((a - b) ** 2).flatten(1).mean(1)
    return 10 * torch.log10(4 / error.clamp_min(1e-10))
