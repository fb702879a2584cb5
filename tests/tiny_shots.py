"""The shot pipeline of the real classes with tiny random weights, made in a moment."""

from __future__ import annotations

from typing import Any

import torch

from filigrana.pipeline.torch_compat import ready

ready()

from diffusers.schedulers import FlowMatchEulerDiscreteScheduler  # noqa: E402

from filigrana.pipeline.generators.embedded.joint import FiligranaJointTransformer  # noqa: E402
from filigrana.pipeline.generators.embedded.layers import FiligranaLayerAutoencoder  # noqa: E402
from filigrana.pipeline.generators.embedded.motion import FiligranaMotionTransformer  # noqa: E402
from filigrana.pipeline.generators.embedded.reader import FiligranaReader  # noqa: E402
from filigrana.pipeline.generators.embedded.shot import FiligranaShotPipeline  # noqa: E402
from filigrana.pipeline.generators.embedded.sound import FiligranaSoundTransformer  # noqa: E402
from filigrana.pipeline.generators.embedded.time import FiligranaSoundAutoencoder  # noqa: E402
from filigrana.pipeline.generators.embedded.words import build_shot_tokenizer, build_words  # noqa: E402


def tiny_shots(texts: list[str]) -> FiligranaShotPipeline:
    """Knows the words of `texts`; draws noise, the same for one seed."""
    torch.manual_seed(0)
    tokenizer = build_shot_tokenizer(build_words(texts))
    layers: Any = FiligranaLayerAutoencoder(widths=(8, 8, 8, 8, 8), decoder_depths=(0, 0, 0, 0, 1))
    transformer = FiligranaJointTransformer(slot_width=32, width=32, depth=1, heads=2)
    motion = FiligranaMotionTransformer(slot_width=32, width=32, depth=1, heads=2)
    hearing = FiligranaSoundTransformer(slot_width=32, width=32, depth=1, heads=2)
    for parameter in (p for flow in (transformer, motion, hearing) for p in flow.leave.parameters()):
        torch.nn.init.normal_(parameter, std=0.1)
    reader = FiligranaReader(vocabulary_size=len(tokenizer), width=32, depth=1, heads=2)
    with torch.no_grad():
        for says in reader.says:
            # as sure of what it reads as one that was trained
            says.weight.mul_(100)
    made = FiligranaShotPipeline(
        layers,
        motion,
        FiligranaSoundAutoencoder(width=16),
        reader,
        tokenizer,
        transformer,
        hearing,
        FlowMatchEulerDiscreteScheduler(),
    )
    made.set_progress_bar_config(disable=True)  # type: ignore[no-untyped-call]
    return made
