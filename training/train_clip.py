"""Trains the CLIP on the world and on the concepts that the newsroom pack refuses; writes models/clip.

python -m training.train_clip --seconds 600
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from filigrana.pipeline.generators.embedded.text import build_tokenizer, tokenize

from .common import AUTOCAST, Run, channels_last, prepare
from .muon import Muon
from .train_judge import draw_batch, roughen
from .world.captions import article, caption, vocabulary
from .world.objects import EVERYTHING, OBJECTS, REFUSED
from .world.palette import BACKGROUNDS
from .world.scenes import Scene, sample, visible
from .world.sprites import Sprites, load
from .world.thumbs import THUMB, Thumbs

SEED = 20265
BATCH = 128
ALIKE = 80
TEMPLATES = (
    "{}",
    "a picture of {}",
    "{} on a red background",
    "{} on a blue background",
    "{} on a green background",
    "{} on a yellow background",
    "{} on a white background",
    "{} on a black background",
    "{} on a grey background",
    "{} on a pink background",
    "{} on a blue sea",
    "{} in a night sky",
    "{} on a green hill",
    "{} in the snow",
)
"""What a concept is embedded in for the guard: the world's own captions, so that grounds average out."""
WORDS = 16
NAME = "filigrana-clip"
FOLDER = Path(__file__).resolve().parent.parent / "models" / "clip"


def model_config(vocabulary_size: int) -> dict[str, Any]:
    """open_clip's configuration: a small ResNet on 64x64 pixels and a small text tower on words."""
    return {
        "embed_dim": 128,
        "vision_cfg": {"image_size": THUMB, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None},
        "text_cfg": {
            "context_length": WORDS,
            "vocab_size": vocabulary_size,
            "hf_tokenizer_name": NAME,
            "tokenizer_kwargs": {},
            "width": 128,
            "heads": 4,
            "layers": 2,
        },
    }


def new_model(vocabulary_size: int, folder: Path = FOLDER) -> nn.Module:
    """Writes open_clip_config.json into `folder` and builds the untrained model through open_clip."""
    import open_clip

    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "model_cfg": model_config(vocabulary_size),
        "preprocess_cfg": {
            "mean": [0.5] * 3,
            "std": [0.5] * 3,
            "interpolation": "bicubic",
            "resize_mode": "squash",
        },
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    model: nn.Module = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    return model


def phrases() -> dict[str, Any]:
    """labels.json: for each hazard id of the newsroom pack its concepts, and the harmless ones beside them."""
    hazards: dict[str, list[dict[str, Any]]] = {}
    for thing in REFUSED:
        entry = {"concept": thing.name, "phrases": [article(name) for name in thing.names[:3]]}
        hazards.setdefault(str(thing.hazard), []).append(entry)
    return {
        "templates": list(TEMPLATES),
        "hazards": hazards,
        "negatives": [article(thing.name) for thing in OBJECTS],
    }


def alike(rng: np.random.Generator, sprites: Sprites) -> list[Scene]:
    """Scenes of different objects on one background: what tells their captions apart is the object alone."""
    background, found = int(rng.integers(len(BACKGROUNDS))), dict[int, Scene]()
    for thing in rng.permutation(len(EVERYTHING))[:ALIKE].tolist():
        for _ in range(8):
            scene = sample(rng, sprites, len(EVERYTHING))
            moved = replace(scene, thing=thing, background=background)
            if not moved.held_out and visible(sprites, thing, moved.colour, background):
                found[thing] = moved
                break
    return list(found.values())


def contrast(model: Any, pictures: Tensor, ids: Tensor) -> Tensor:
    """The symmetric contrastive loss (Radford et al., 2021)."""
    with torch.autocast("cpu", AUTOCAST):
        seen, told = model.encode_image(pictures), model.encode_text(ids)
    seen, told = (nn.functional.normalize(v.float(), dim=-1) for v in (seen, told))
    logits = model.logit_scale.exp() * seen @ told.T
    target = torch.arange(len(logits))
    return (nn.functional.cross_entropy(logits, target) + nn.functional.cross_entropy(logits.T, target)) / 2


@torch.no_grad()
def retrieval(model: Any, tokenizer: Any, pictures: Tensor, texts: list[str], among: int = 50) -> float:
    """Share of pictures whose own caption ranks first among `among` captions (consecutive groups)."""
    ids = tokenize(tokenizer, texts, WORDS)
    seen = nn.functional.normalize(model.encode_image(pictures), dim=-1)
    told = nn.functional.normalize(model.encode_text(ids), dim=-1)
    hits = []
    for start in range(0, len(texts) - among + 1, among):
        part = slice(start, start + among)
        hits += ((seen[part] @ told[part].T).argmax(1) == torch.arange(among)).tolist()
    return float(np.mean(hits))


def held_out_pairs(sprites: Sprites, count: int = 500) -> tuple[list[Scene], list[str]]:
    """Held-out scenes of every object, refused ones included, with captions."""
    rng = np.random.default_rng(4)
    scenes = [sample(rng, sprites, len(EVERYTHING), held_out=True) for _ in range(count)]
    return scenes, [caption(scene, rng) for scene in scenes]


def save(model: nn.Module, tokenizer: Any, folder: Path = FOLDER) -> None:
    """Writes float16 weights, the tokenizer and labels.json."""
    from safetensors.torch import save_file

    state = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    save_file({k: v.contiguous() for k, v in state.items()}, str(folder / "open_clip_model.safetensors"))
    (folder / "open_clip_model.safetensors").chmod(0o644)
    tokenizer.save_pretrained(folder)
    text = json.dumps(phrases(), indent=2)
    (folder / "labels.json").write_text(text + "\n", encoding="utf-8")


def main() -> None:
    """Runs until the budget is spent; kill and start it again at will."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    options = parser.parse_args()
    prepare(SEED)
    sprites = load()
    thumbs = Thumbs(sprites)
    tokenizer = build_tokenizer(vocabulary(refused=True), WORDS, end=True)
    model = channels_last(new_model(len(tokenizer))).train()
    optimiser = Muon(model.named_parameters(), 1e-3, 0.05, ("embedding", "text_projection"))
    run = Run("clip", options.seconds, 1e-3, 0.5)
    parts = {"model": model, "optimiser": optimiser}
    run.resume(**parts)
    scale = cast(Tensor, model.logit_scale)
    rng = np.random.default_rng((SEED, run.step))
    while run.running:
        scenes = alike(rng, sprites) if run.step % 2 else [sample(rng, sprites, len(EVERYTHING)) for _ in range(BATCH)]
        ids = tokenize(tokenizer, [caption(scene, rng) for scene in scenes], WORDS)
        loss = contrast(model, roughen(draw_batch(thumbs, scenes, rng), rng), ids)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        with torch.no_grad():
            scale.clamp_(0, 4.6)
        run.advance(optimiser, loss.item())
        if run.due:
            run.save(**parts)
            save(model, tokenizer)
    run.save(**parts)
    save(model, tokenizer)
    model.eval()
    scenes, texts = held_out_pairs(sprites)
    run.note(retrieval_50=retrieval(model, tokenizer, draw_batch(thumbs, scenes, None), texts))


if __name__ == "__main__":
    main()
