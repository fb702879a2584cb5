"""Writes the shot family's averaged weights as a diffusers folder: float16 safetensors in files of at most 16 MiB.

python -m training.export_shots --out FOLDER
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from diffusers.schedulers import FlowMatchEulerDiscreteScheduler
from transformers import PreTrainedTokenizerFast

from filigrana.pipeline.generators.embedded.joint import FiligranaJointTransformer
from filigrana.pipeline.generators.embedded.layers import FiligranaLayerAutoencoder
from filigrana.pipeline.generators.embedded.reader import FiligranaReader
from filigrana.pipeline.generators.embedded.shot import FiligranaShotPipeline
from filigrana.pipeline.generators.embedded.time import FiligranaMotionAutoencoder, FiligranaSoundAutoencoder

from .common import Run
from .train_joint import averaged
from .train_reader import TOKENIZER

SHARD = "15MB"


def assemble(joint: str = "joint") -> FiligranaShotPipeline:
    """The pipeline of the runs' averaged weights, float32."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(TOKENIZER)
    config: dict[str, Any] = torch.load(Run(joint, 1, 1).path, weights_only=True)["config"]
    pipeline = FiligranaShotPipeline(
        layers=averaged(FiligranaLayerAutoencoder(), "layers"),
        motion=averaged(FiligranaMotionAutoencoder(), "motion"),
        sound=averaged(FiligranaSoundAutoencoder(), "sound"),
        reader=averaged(FiligranaReader(vocabulary_size=len(tokenizer)), "reader"),
        tokenizer=tokenizer,
        transformer=averaged(FiligranaJointTransformer(**config), joint),
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )
    pipeline.set_progress_bar_config(disable=True)  # type: ignore[no-untyped-call]
    return pipeline


def main() -> None:
    """Exports in float16."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--joint", default="joint")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    pipeline: Any = assemble(options.joint)
    pipeline.to(torch.float16)
    pipeline.save_pretrained(options.out, safe_serialization=True, max_shard_size=SHARD)


if __name__ == "__main__":
    main()
