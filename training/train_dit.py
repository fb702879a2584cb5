"""Trains the caption encoder and the diffusion transformer on cached latents (rectified flow).

python -m training.train_dit --seconds 3000   (while training.cache_latents goes on writing chunks)
"""

from __future__ import annotations

import argparse
import copy
import time

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from filigrana.pipeline.generators.embedded.text import FiligranaTextEncoder, build_tokenizer, tokenize
from filigrana.pipeline.generators.embedded.transformer import FiligranaTransformer

from .cache_latents import FOLDER, unpack
from .common import AUTOCAST, Run, prepare
from .muon import Muon
from .world.captions import caption, vocabulary
from .world.scenes import Scene

SEED = 20263
BATCH = 128
WORDS = 16
NO_CAPTION = 0.1
UNKNOWN_RATE = 0.03


class Latents:
    """The chunks on disk, growing while the cache is written."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.chunks: list[NDArray[np.float16]] = []
        self.scenes: list[Scene] = []
        self.refresh()

    def refresh(self) -> None:
        """Takes in chunks that have appeared since."""
        for path in sorted(FOLDER.glob("[0-9]???.npz")):
            if path.name in self.names or path.name == "0000.npz":
                continue
            with np.load(path) as data:
                self.chunks.append(data["latents"])
                self.scenes += [unpack(row) for row in data["scenes"]]
            self.names.add(path.name)

    def batch(self, rng: np.random.Generator, count: int) -> tuple[Tensor, list[str]]:
        """`count` latents (N, C, 16, 16) float32 with fresh captions."""
        size = len(self.chunks[0])
        picks = rng.integers(len(self.scenes), size=count)
        latents = np.stack([self.chunks[i // size][i % size] for i in picks]).astype(np.float32)
        texts = ["" if rng.random() < NO_CAPTION else caption(self.scenes[i], rng) for i in picks]
        return torch.from_numpy(latents), texts


class Generator(nn.Module):
    """Caption encoder and transformer as one module for the optimiser and the average."""

    def __init__(self, vocabulary_size: int, scale: float) -> None:
        super().__init__()
        self.text = FiligranaTextEncoder(vocabulary_size=vocabulary_size, words=WORDS)
        self.transformer = FiligranaTransformer(latent_scale=scale)

    def forward(self, x: Tensor, sigma: Tensor, ids: Tensor) -> Tensor:
        """The predicted velocity."""
        out: Tensor = self.transformer(x, sigma, *self.text(ids))
        return out


def flow_loss(model: nn.Module, latents: Tensor, sigma: Tensor, ids: Tensor) -> Tensor:
    """Mean squared error of the velocity noise - latents at the noise levels sigma (N,)."""
    noise = torch.randn_like(latents)
    level = sigma[:, None, None, None]
    with torch.autocast("cpu", AUTOCAST):
        out = model(latents * (1 - level) + noise * level, sigma, ids)
    loss: Tensor = (out.float() - (noise - latents)).square().mean()
    return loss


def main() -> None:
    """Runs until the budget is spent; kill and start it again at will."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3000)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--tail", type=float, default=0.4)
    options = parser.parse_args()
    prepare(SEED)
    latents = Latents()
    tokenizer = build_tokenizer(vocabulary(), WORDS)
    scale = round(float(np.std(latents.chunks[0].astype(np.float32))), 3)
    run = Run("dit", options.seconds, options.rate, options.tail)
    if run.path.exists():
        scale = float(torch.load(run.path, weights_only=True)["scale"]["scale"])
    model = Generator(len(tokenizer), scale)
    ema = copy.deepcopy(model).requires_grad_(False)
    plain = ("transformer.embed", "transformer.out", "embedding", "position", "table")
    optimiser = Muon(model.named_parameters(), options.rate, 0.01, plain)
    parts = {"model": model, "ema": ema, "optimiser": optimiser, "scale": _Scale(scale)}
    run.resume(**parts)
    rng = np.random.default_rng((SEED, run.step))
    with np.load(FOLDER / "0000.npz") as data:
        held = torch.from_numpy(data["latents"].astype(np.float32)) / scale
        held_ids = tokenize(tokenizer, [caption(unpack(row), rng) for row in data["scenes"]], WORDS)
    looked = time.monotonic()
    while run.running:
        x, texts = latents.batch(rng, BATCH)
        ids = tokenize(tokenizer, texts, WORDS)
        ids = torch.where((torch.rand(ids.shape) < UNKNOWN_RATE) & (ids != 0), 1, ids)
        loss = flow_loss(model, x / scale, torch.sigmoid(torch.randn(BATCH) * 1.2 + 0.2), ids)
        run.learn(loss, model, ema, optimiser)
        if run.due:
            run.save(**parts)
        if time.monotonic() - looked > 60:
            latents.refresh()
            looked = time.monotonic()
        if run.step % 500 == 0:
            with torch.no_grad():
                sigma = (torch.arange(len(held)) + 0.5) / len(held)
                loss = flow_loss(ema, held, sigma, held_ids)
            run.note(held_out_loss=round(loss.item(), 4), scenes=len(latents.scenes))
    run.save(**parts)


class _Scale:
    """The latents' scale as a part of the checkpoint."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def state_dict(self) -> dict[str, float]:
        return {"scale": self.scale}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.scale = state["scale"]


if __name__ == "__main__":
    main()
