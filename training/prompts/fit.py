"""Tuning the tower: a probability by hazard, and one that anything is wrong.

A harmful prompt teaches its own hazard in full and the others hardly (violence may be gore as well); a harmless one
teaches all of them that there is none.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...safety.decision import HAZARDS
from ...safety.text.classifier import OUTPUTS, WINDOW
from ...safety.text.wordpieces import WordPieces
from .corpus import Prompt
from .tower import Tower, batch_of
from .varied import varied

OTHERS = 0.1
"""How much a harmful prompt says about the hazards that it was not written for."""


@dataclass(frozen=True)
class Recipe:
    layers: int = 8
    epochs: float = 3.0
    rate: float = 6e-5
    head_rate: float = 1e-3
    tokens: int = 1200
    """Tokens a batch, padding included."""
    seed: int = 7


def ids_of(pieces: WordPieces, text: str) -> list[int]:
    return [pieces.begin, *pieces.tokens("query: " + text)[:WINDOW], pieces.end]


def targets(prompts: Sequence[Prompt]) -> tuple[Tensor, Tensor]:
    """Labels and weights, float32 (n, 20). A harmful prompt of a hazard that is not ours teaches `any` alone."""
    names = list(HAZARDS)
    label, weight = torch.zeros(len(prompts), len(OUTPUTS)), torch.ones(len(prompts), len(OUTPUTS))
    weight[:, -1] = 3.0
    for row, prompt in enumerate(prompts):
        if not prompt.harmful:
            continue
        label[row, -1] = 1.0
        if prompt.hazard in HAZARDS:
            weight[row, :-1] = OTHERS
            weight[row, names.index(prompt.hazard)] = 6.0
            label[row, names.index(prompt.hazard)] = 1.0
        else:
            weight[row, :-1] = 0.0
    return label, weight


def batches(lengths: Sequence[int], most: int, chance: random.Random) -> list[list[int]]:
    """Indices in batches of like lengths, in random order."""
    order = sorted(range(len(lengths)), key=lambda i: lengths[i] + chance.random() * 3)
    found: list[list[int]] = []
    current: list[int] = []
    for index in order:
        if current and max(lengths[index], lengths[current[-1]]) * (len(current) + 1) > most:
            found.append(current)
            current = []
        current.append(index)
    found.append(current)
    chance.shuffle(found)
    return found


def fit(pieces: WordPieces, prompts: Sequence[Prompt], recipe: Recipe, say: Callable[[str], None] = print) -> Tower:
    torch.manual_seed(recipe.seed)
    chance = random.Random(recipe.seed)
    tower = Tower(pieces, recipe.layers, len(OUTPUTS)).train()
    label, weight = targets(prompts)
    heads = list(tower.head.parameters())
    rest = [p for n, p in tower.named_parameters() if not n.startswith("head")]
    best = torch.optim.AdamW(
        [{"params": rest, "lr": recipe.rate}, {"params": heads, "lr": recipe.head_rate}], weight_decay=0.01
    )
    loss_of = nn.BCEWithLogitsLoss(reduction="none")
    steps, done, started, running = 0, 0.0, time.monotonic(), 0.0
    whole = math.ceil(recipe.epochs)
    total = 0
    for epoch in range(whole):
        texts = [ids_of(pieces, varied(p.text, p.language, chance)) for p in prompts]
        order = batches([len(t) for t in texts], recipe.tokens, chance)
        total = total or int(len(order) * recipe.epochs)
        for batch in order:
            progress = min(1.0, steps / total)
            warm = min(1.0, steps / (0.06 * total))
            for group, rate in zip(best.param_groups, (recipe.rate, recipe.head_rate), strict=True):
                group["lr"] = rate * warm * (1 - progress)
            words, mask = batch_of(pieces, [texts[i] for i in batch])
            loss = (loss_of(tower(words, mask), label[batch]) * weight[batch]).mean()
            best.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
            best.step()
            steps += 1
            running = 0.98 * running + 0.02 * float(loss.detach())
            done = steps / total
            if steps % 50 == 0:
                bias = 1 - 0.98**steps
                say(f"epoch {epoch + 1}  {done:5.1%}  loss {running / bias:.4f}  {time.monotonic() - started:5.0f} s")
            if steps >= total:
                return tower.eval()
    return tower.eval()


def logits(pieces: WordPieces, tower: Tower, texts: Sequence[str]) -> NDArray[np.float32]:
    """float32 (n, 20), in the order given."""
    tokens = [ids_of(pieces, text) for text in texts]
    found = np.zeros((len(texts), len(OUTPUTS)), np.float32)
    with torch.inference_mode():
        for batch in batches([len(t) for t in tokens], 4000, random.Random(0)):
            words, mask = batch_of(pieces, [tokens[i] for i in batch])
            found[batch] = tower(words, mask).float().numpy()
    return found
