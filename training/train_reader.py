"""Trains the caption encoder to say what captions say.

python -m training.train_reader --seconds 600
"""

from __future__ import annotations

import argparse
import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from filigrana.pipeline.generators.embedded.reader import ATTRIBUTES, PLAN, FiligranaReader
from filigrana.pipeline.generators.embedded.words import LENGTH, build_shot_tokenizer, tokenize

from .common import DEVICE, Run, autocast, averaged, compiled, prepare
from .muon import Muon
from .shots_data import attributes, draw, say, vocabulary
from .world.atlas import Atlas, load_atlas
from .world.sprites import WORK

SEED = 20268
BATCH = 192
UNKNOWN_RATE = 0.04
FILLED, MOST_FILLERS = 0.35, 5
"""How many captions have words before them that say nothing, and how many at most: people begin as they like, and what
they say first may be half of a word that means something."""
TOKENIZER = WORK / "shot-tokenizer"


def batch(rng: np.random.Generator, atlas: Atlas, count: int, held_out: bool = False) -> tuple[list[str], Tensor]:
    """Captions and the answers to them, (count, attributes) int64."""
    shots = [draw(rng, atlas, held_out) for _ in range(count)]
    return [say(rng, shot, held_out) for shot in shots], torch.tensor([attributes(shot) for shot in shots])


def filled(rng: np.random.Generator, ids: Tensor, words: int) -> Tensor:
    """Captions with other words put before some of them: unknown ones and any of the vocabulary. (N, more) int64."""
    rows = []
    for row in ids.tolist():
        if rng.random() < FILLED:
            count = int(rng.integers(1, MOST_FILLERS + 1))
            row = [1 if rng.random() < 0.4 else int(rng.integers(2, words)) for _ in range(count)] + row
        rows.append(row[:LENGTH])
    longest = max(len(row) for row in rows)
    return torch.tensor([row + [0] * (longest - len(row)) for row in rows])


@torch.no_grad()
def right(model: FiligranaReader, ids: Tensor, answers: Tensor) -> dict[str, float]:
    """The share of right answers to held-out captions, by attribute."""
    said = [logits.argmax(1) for logits in model.answer(model(ids))]
    return {
        name: round(float((guess == answers[:, k]).float().mean()), 3)
        for k, (name, guess) in enumerate(zip(ATTRIBUTES, said, strict=True))
    }


@torch.no_grad()
def settle(model: FiligranaReader, tokenizer: Any, atlas: Atlas, count: int = 12000) -> None:
    """Fills in what plans are stated with: for each answer the mean slot of `count` captions of which it is true, those
    that say so more than those that leave it open; and the slots of a caption that says nothing."""
    rng, width = np.random.default_rng((SEED, 1)), model.typical.shape[1]
    sums, weights = torch.zeros(model.typical.shape), torch.zeros(len(model.typical), 1)
    for _ in range(0, count, BATCH):
        texts, answers = batch(rng, atlas, BATCH)
        slots = model(tokenize(tokenizer, texts, LENGTH).to(DEVICE)).float()
        start = 0
        for k, logits in enumerate(model.answer(slots)):
            row = answers[:, k] + start
            weight = logits.float().softmax(1).cpu().gather(1, answers[:, k : k + 1]) ** 4
            sums.index_add_(0, row, weight * slots[:, k].cpu())
            weights.index_add_(0, row, weight)
            start += logits.shape[1]
    said = len(weights) - PLAN["tempo"]
    mean = sums[:said] / weights[:said].clamp_min(1e-6)
    model.typical[:said] = mean.to(model.typical)
    # no caption says how fast: three directions at right angles, as long as a slot is
    model.typical[said:] = torch.eye(width)[: PLAN["tempo"]].to(model.typical) * float(mean.norm(dim=1).mean())
    model.unsaid.zero_()
    model.unsaid[: len(ATTRIBUTES)] = model(tokenize(tokenizer, [""], LENGTH).to(DEVICE))[0].to(model.unsaid)


def known_reader() -> Any:
    """The caption encoder as it was trained, frozen."""
    from transformers import PreTrainedTokenizerFast

    words = len(PreTrainedTokenizerFast.from_pretrained(TOKENIZER))
    return averaged(FiligranaReader(vocabulary_size=words), "reader")


def main() -> None:
    """Runs until the budget is spent; kill and start it again at will."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--rate", type=float, default=2e-3)
    options = parser.parse_args()
    prepare(SEED)
    atlas = load_atlas()
    if not TOKENIZER.exists():
        build_shot_tokenizer(vocabulary(atlas)).save_pretrained(TOKENIZER)
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(TOKENIZER)
    model = FiligranaReader(vocabulary_size=len(tokenizer)).to(DEVICE)
    ema = copy.deepcopy(model).requires_grad_(False)
    optimiser = Muon(model.named_parameters(), options.rate, 0.01, ("embedding", "position", "slots", "says"))
    learned = compiled(model)
    run = Run("reader", options.seconds, options.rate)
    parts = {"model": model, "ema": ema, "optimiser": optimiser}
    run.resume(**parts)
    held_texts, held_answers = batch(np.random.default_rng(1), atlas, 1000, held_out=True)
    held, held_answers = tokenize(tokenizer, held_texts, LENGTH).to(DEVICE), held_answers.to(DEVICE)
    rng = np.random.default_rng((SEED, run.step))
    while run.running:
        texts, answers = batch(rng, atlas, BATCH)
        ids = tokenize(tokenizer, texts, LENGTH)
        ids = ids[:, : int((ids != 0).sum(1).max())]
        ids = filled(rng, ids, len(tokenizer))
        ids = torch.where((torch.rand(ids.shape) < UNKNOWN_RATE) & (ids != 0), 1, ids)
        ids, answers = ids.to(DEVICE), answers.to(DEVICE)
        with autocast():
            said = model.answer(learned(ids))
        losses = [functional.cross_entropy(logits.float(), answers[:, k]) for k, logits in enumerate(said)]
        loss = torch.stack(losses).sum() / len(losses)
        run.learn(loss, model, ema, optimiser)
        if run.due:
            run.save(**parts)
        if run.step % 1000 == 0:
            run.note(**right(ema, held, held_answers))
    settle(ema, tokenizer, atlas)
    run.save(**parts)
    run.note(**right(ema, held, held_answers))


if __name__ == "__main__":
    main()
