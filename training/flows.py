"""What the training programs of the three flows share: the options, the run, the pool of examples, and the loop."""

from __future__ import annotations

import argparse
import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .common import DEVICE, Config, Run, compiled, prepare
from .muon import Muon
from .shot_pool import Batch, Make, Pool, Source
from .train_reader import known_reader
from .world.atlas import load_atlas

More = Callable[[int], Batch] | None


@dataclass(frozen=True)
class Flow:
    """A flow to be trained: its model's class `made`, the examples, the batch, how many of the pool are made anew in
    each step, the loss of its parts, and what is not for the optimiser's matrices.

    `loss(model, learned, batch, sigma, more)` gives the loss and what is to be logged; `learned` is the model as it is
    called, which may be compiled; `more` draws further examples for the drafts, and is None once these are settled.
    `level` is the mean of the noise levels' logit."""

    name: str
    seed: int
    made: Any
    norms: Callable[[Source], dict[str, Any]]
    examples: Callable[[Source, Any], Make]
    loss: Callable[[Any, Any, Batch, Tensor, More], tuple[Tensor, dict[str, Tensor]]]
    batch: int
    fresh: int
    level: float
    plain: tuple[str, ...]
    begin: Callable[[Source, Any], None] = lambda source, model: None  # noqa: ARG005
    """What an untrained model starts from."""
    settle: Callable[[Any, Pool], None] = lambda model, pool: None  # noqa: ARG005
    """What settles the drafts of the averaged weights, when so much of the budget is spent."""
    settled: float = math.inf
    guided: bool = True
    """Whether it learns, too, what is drawn without a plan."""


def train(flow: Flow, about: str | None, seconds: float, rate: float, tail: float, kept: int) -> None:
    """Runs until the budget is spent; kill and start it again at will. The numbers are what holds where no option says
    otherwise."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--seconds", type=float, default=seconds)
    parser.add_argument("--rate", type=float, default=rate)
    parser.add_argument("--tail", type=float, default=tail, help="share of the budget in which the rate falls to zero")
    parser.add_argument("--pool", type=int, default=kept, help="examples kept")
    options = parser.parse_args()
    prepare(flow.seed)
    source = Source(load_atlas(), known_reader().to(DEVICE))
    run = Run(flow.name, options.seconds, options.rate, options.tail)
    started = run.path.exists()
    config = torch.load(run.path, map_location="cpu", weights_only=True)["config"] if started else flow.norms(source)
    model = flow.made(**config)
    if not started:
        flow.begin(source, model)
    rng = np.random.default_rng((flow.seed, run.step, 2))
    pool = Pool(flow.examples(source, model), source.nothing(), options.pool, rng)
    run.begin()
    model = model.to(DEVICE)
    learned = compiled(model)
    ema = copy.deepcopy(model).requires_grad_(False)
    optimiser = Muon(model.named_parameters(), options.rate, 0.01, flow.plain)
    parts = {"model": model, "ema": ema, "optimiser": optimiser, "config": Config(config)}
    run.resume(**parts)
    noted: list[dict[str, Tensor]] = []
    drafting = run.spent < flow.settled * options.seconds
    while run.running:
        if drafting and run.spent >= flow.settled * options.seconds:
            drafting = False
            flow.settle(ema, pool)
            model.load_state_dict(ema.state_dict())
            run.save(**parts)
            noted.clear()
        pool.renew(rng, flow.fresh)
        sigma = torch.sigmoid(torch.randn(flow.batch, device=DEVICE) * 1.2 + flow.level)
        batch = pool.batch(rng, flow.batch, whole=not flow.guided)
        more = partial(pool.batch, rng, whole=True) if drafting else None
        loss, values = flow.loss(model, learned, batch, sigma, more)
        run.learn(loss, model, ema, optimiser)
        noted.append({name: value.detach() for name, value in values.items()})
        if run.due:
            run.save(**parts)
        if run.step % 200 == 0 and values:
            run.note(**{name: round(float(torch.stack([one[name] for one in noted]).mean()), 4) for name in values})
        if run.step % 200 == 0:
            noted.clear()
    if drafting:  # a run that is given more time later may begin behind this point
        flow.settle(ema, pool)
    run.save(**parts)


def noisy(latents: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """The latents (N, values) at noise level sigma (N,), and the noise that they were given."""
    noise, level = torch.randn_like(latents), sigma[:, None]
    return latents * (1 - level) + noise * level, noise
