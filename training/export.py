"""Writes the trained weights as the diffusers folder models/still (float16 safetensors).

python -m training.export [--autoencoder ae] [--out models/still]
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path
from typing import Any

import torch
from diffusers.schedulers import FlowMatchEulerDiscreteScheduler

from filigrana.pipeline.generators.embedded.still import FiligranaPipeline
from filigrana.pipeline.generators.embedded.text import build_tokenizer

from .cache_latents import load_autoencoder
from .common import Run
from .train_dit import WORDS, Generator
from .world.captions import vocabulary

STILL = Path(__file__).resolve().parent.parent / "models" / "still"


def assemble(autoencoder: str = "ae", generator: str = "dit") -> FiligranaPipeline:
    """The pipeline of two training runs' averaged weights, float32."""
    tokenizer = build_tokenizer(vocabulary(), WORDS)
    path = Run(generator, 1, 1).path
    if path.exists():
        state = torch.load(path, weights_only=True)
        model = Generator(len(tokenizer), state["scale"]["scale"])
        model.load_state_dict(state["ema"])
    else:
        model = Generator(len(tokenizer), 0.5)
    encoder: Any = load_autoencoder(autoencoder)  # diffusers' wrapping hides the parameters of `to`
    pipeline = FiligranaPipeline(
        autoencoder=encoder.to(memory_format=torch.contiguous_format),
        text_encoder=model.text,
        tokenizer=tokenizer,
        transformer=model.transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def main() -> None:
    """Exports in float16."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--autoencoder", default="ae")
    parser.add_argument("--generator", default="dit")
    parser.add_argument("--out", type=Path, default=STILL)
    options = parser.parse_args()
    pipeline: Any = copy.deepcopy(assemble(options.autoencoder, options.generator))
    pipeline.to(torch.float16)
    pipeline.save_pretrained(options.out, safe_serialization=True)


if __name__ == "__main__":
    main()
