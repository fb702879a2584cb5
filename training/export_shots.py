"""Writes the shot family's averaged weights as a diffusers folder: float16 safetensors in files of at most 16 MiB.

python -m training.export_shots                        # runs -> models/shot, and the encoders beside this program
python -m training.export_shots --restore              # the other way: checkpoints that training goes on from

Drawing needs no encoder, so models/shot has none; training needs them, so they are kept in `encoders.safetensors`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.schedulers import FlowMatchEulerDiscreteScheduler
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from filigrana.pipeline.generators.embedded.joint import FiligranaJointTransformer
from filigrana.pipeline.generators.embedded.layers import FiligranaLayerAutoencoder
from filigrana.pipeline.generators.embedded.motion import FiligranaMotionTransformer
from filigrana.pipeline.generators.embedded.reader import FiligranaReader
from filigrana.pipeline.generators.embedded.shot import FiligranaShotPipeline
from filigrana.pipeline.generators.embedded.sound import FiligranaSoundTransformer
from filigrana.pipeline.generators.embedded.time import FiligranaSoundAutoencoder

from .common import Run, averaged, averaged_flow
from .shots_data import labels
from .train_reader import TOKENIZER

SHARD = "15MB"
AVERAGED = 1000
"""Steps that restored weights count as: their average then moves slowly, instead of following the first steps."""
SHOT = Path(__file__).resolve().parent.parent / "models" / "shot"
CURVES = Path(__file__).resolve().parent / "curves.json"
ENCODERS = Path(__file__).resolve().parent / "encoders.safetensors"
FLOWS: Mapping[str, tuple[str, Any]] = {
    "joint": ("transformer", FiligranaJointTransformer),
    "motion": ("motion", FiligranaMotionTransformer),
    "hearing": ("hearing", FiligranaSoundTransformer),
}
"""The runs of transformers: each one's component, and its class."""
CODERS: Mapping[str, Any] = {"layers": FiligranaLayerAutoencoder, "sound": FiligranaSoundAutoencoder}


def assemble() -> FiligranaShotPipeline:
    """The pipeline of the runs' averaged weights, float32, with encoders."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(TOKENIZER)
    pipeline = FiligranaShotPipeline(
        **{name: averaged(made(), name) for name, made in CODERS.items()},
        reader=averaged(FiligranaReader(vocabulary_size=len(tokenizer), labels=labels()), "reader"),
        tokenizer=tokenizer,
        **{component: averaged_flow(run, made) for run, (component, made) in FLOWS.items()},
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )
    pipeline.set_progress_bar_config(disable=True)  # type: ignore[no-untyped-call]
    return pipeline


def split(pipeline: Any) -> dict[str, Tensor]:
    """Takes the encoders out of the pipeline: their weights in float16 by name."""
    out: dict[str, Tensor] = {}
    for name, made in CODERS.items():
        whole, alone = getattr(pipeline, name), made(encodes=False)
        state = whole.state_dict()
        alone.load_state_dict({key: value for key, value in state.items() if not key.startswith("encoder.")})
        out |= {f"{name}.{k}": v.half().contiguous() for k, v in state.items() if k.startswith("encoder.")}
        pipeline.register_modules(**{name: alone.eval()})
    return out


def joined(pipeline: Any, encoders: Mapping[str, Tensor]) -> dict[str, nn.Module]:
    """Exported weights and encoders as whole modules, float32, by the names of their runs."""
    out: dict[str, nn.Module] = {"reader": pipeline.reader.float()}
    out |= {run: getattr(pipeline, component).float() for run, (component, _) in FLOWS.items()}
    for name, made in CODERS.items():
        out[name] = made()
        state = dict(getattr(pipeline, name).state_dict())
        state |= {key.removeprefix(f"{name}."): v for key, v in encoders.items() if key.startswith(f"{name}.")}
        out[name].load_state_dict({key: value.float() for key, value in state.items()})
    return out


def restore(folder: Path, encoders: Path) -> None:
    """Writes a checkpoint for each run that has none, so that training goes on from what was exported.

    The optimiser's momentum isn't kept: the first hundred steps warm up again. What a run has taken so far counts on.
    """
    curves = json.loads(CURVES.read_text("utf-8")) if CURVES.exists() else {}
    pipeline: Any = FiligranaShotPipeline.from_pretrained(folder)
    if not TOKENIZER.exists():
        pipeline.tokenizer.save_pretrained(TOKENIZER)
    for name, module in joined(pipeline, load_file(encoders)).items():
        run = Run(name, 1, 1)
        if run.path.exists():
            print(f"{name}: has a checkpoint already")
            continue
        weights = module.state_dict()
        lines = curves.get(name, [])
        taken = max((float(line["seconds"]) for line in lines), default=0.0)
        run.log.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
        state: dict[str, Any] = {"model": weights, "ema": weights, "spent": taken, "step": AVERAGED}
        if name in FLOWS:
            config = getattr(pipeline, FLOWS[name][0]).config
            state["config"] = {key: config[key] for key in ("means", "scales", "mean", "scale") if key in config}
        torch.save(state, run.path)


def main() -> None:
    """Exports in float16, or restores."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=SHOT)
    parser.add_argument("--encoders", type=Path, default=ENCODERS)
    parser.add_argument("--restore", action="store_true")
    options = parser.parse_args()
    if options.restore:
        restore(options.out, options.encoders)
        return
    pipeline: Any = assemble()
    save_file(split(pipeline), str(options.encoders))
    options.encoders.chmod(0o644)
    pipeline.to(torch.float16)
    pipeline.save_pretrained(options.out, safe_serialization=True, max_shard_size=SHARD)
    for weights in options.out.rglob("*.safetensors"):
        weights.chmod(0o644)


if __name__ == "__main__":
    main()
