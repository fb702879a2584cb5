"""Measures the shipped models on held-out compositions; writes results.json and the contact sheet.

python -m training.evaluate --count 240

A separately trained judge, which has only ever seen real renders, says what each generated picture shows.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from filigrana.pipeline.generators.embedded.still import FiligranaPipeline

from .common import THREADS, prepare, psnr, to_tensor
from .export import STILL
from .train_clip import FOLDER as CLIP
from .train_clip import held_out_pairs, retrieval
from .train_judge import Judge, Opinion, labels, load_judge
from .world import held_out
from .world.objects import EVERYTHING, OBJECTS
from .world.palette import BACKGROUNDS
from .world.scenes import Scene, render
from .world.sprites import SIZES, Sprites, load
from .world.thumbs import shrink

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "training" / "results.json"
SHEET = ROOT / "docs" / "contact-sheet.png"
SHOWN = (
    "a red sailboat on a blue sea", "a small dog on a green hill", "a large rocket in a night sky",
    "a yellow car on a pink background", "a penguin in the snow", "a purple umbrella, grey background",
    "a cactus in a yellow desert on the left", "a blue butterfly on white", "a big lion on an orange sunset",
    "a teapot on a turquoise background on the right", "a green balloon against a purple wall",
    "a birthday cake on a brown background", "an owl in a night sky", "a small blue whale on the sea",
    "a strawberry on a yellow background", "a house on a green meadow",
)  # fmt: skip


def opinions(judge: Judge, pictures: list[NDArray[np.uint8]]) -> Opinion:
    """The judge's answers (class indices, (N,)) on 512x512 pictures."""
    with torch.no_grad():
        out = judge(to_tensor([shrink(picture) for picture in pictures]))
    return Opinion(*(logits.argmax(1) for logits in out))


def accuracy(found: Opinion, scenes: list[Scene]) -> dict[str, float]:
    """Shares of right answers; `background_colour` compares the dominant colours of the backgrounds."""
    wanted = labels(scenes)
    out = {name: _share(found[i] == wanted[:, i]) for i, name in enumerate(Opinion._fields)}
    colours = [BACKGROUNDS[int(b)].colour for b in found.background]
    right = [c == BACKGROUNDS[s.background].colour for c, s in zip(colours, scenes, strict=True)]
    out["background_colour"] = round(float(np.mean(right)), 4)
    tinted = torch.tensor([s.colour > 0 for s in scenes])
    out["tint_where_asked"] = _share((found.colour == wanted[:, 2])[tinted])
    return out


def _share(right: Tensor) -> float:
    return round(float(right.float().mean()), 4)


def drawn(pipeline: FiligranaPipeline, texts: list[str], scale: float, seed: int = 0) -> list[NDArray[np.uint8]]:
    """One picture a caption, each from its own seed, drawn in batches of eight."""
    out: list[NDArray[np.uint8]] = []
    for start in range(0, len(texts), 8):
        part = texts[start : start + 8]
        generators = [torch.Generator().manual_seed(seed + start + i) for i in range(len(part))]
        images = pipeline(part, generator=generators, guidance_scale=scale, output_type="np").images
        out += list(np.rint(images * 255).astype(np.uint8))
    return out


def autoencoder_psnr(pipeline: FiligranaPipeline, scenes: list[Scene], sprites: Sprites) -> dict[str, float]:
    """PSNR in dB of whole held-out pictures through the shipped autoencoder."""
    values = []
    for scene in scenes:
        x = to_tensor([render(scene, sprites)])
        with torch.no_grad():
            y = pipeline.autoencoder.decode(pipeline.autoencoder.encode(x))
        values.append(float(psnr(y.clamp(-1, 1), x)))
    return {"mean": round(float(np.mean(values)), 2), "worst": round(min(values), 2)}


def sheet(pipeline: FiligranaPipeline, path: Path) -> None:
    """The contact sheet: SHOWN in four columns at 192 pixels each."""
    pictures = drawn(pipeline, list(SHOWN), 2.5, seed=1)
    rows = [np.concatenate(pictures[i : i + 4], 1) for i in range(0, len(pictures), 4)]
    image = Image.fromarray(np.concatenate(rows)).resize((768, 768), Image.Resampling.LANCZOS)
    path.parent.mkdir(exist_ok=True)
    image.save(path, optimize=True)


def clip_results(sprites: Sprites) -> dict[str, Any]:
    """Retrieval of the shipped CLIP on held-out renders, through open_clip's own loading and transforms."""
    import open_clip

    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{CLIP}")
    model.eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{CLIP}")
    scenes, texts = held_out_pairs(sprites, 500)
    pictures = torch.stack([transform(Image.fromarray(render(scene, sprites))) for scene in scenes])
    top1 = retrieval(model, tokenizer.tokenizer, pictures, texts)
    with torch.no_grad():
        names = [f"a {thing.name}" for thing in EVERYTHING]
        told = torch.nn.functional.normalize(model.encode_text(tokenizer(names)), dim=-1)
        seen = torch.nn.functional.normalize(model.encode_image(pictures), dim=-1)
        best = (seen @ told.T).argmax(1)
    wanted = torch.tensor([scene.thing for scene in scenes])
    refused = torch.tensor([thing.hazard is not None for thing in EVERYTHING])
    return {
        "retrieval_top1_of_50": round(top1, 4),
        "object_zero_shot": _share(best == wanted),
        "refused_found": _share(refused[best][refused[wanted]]),
        "refused_false_alarm": _share(refused[best][~refused[wanted]]),
        "pictures": len(scenes),
    }


def still_results(pipeline: FiligranaPipeline, sprites: Sprites, count: int, scale: float) -> dict[str, Any]:
    """Everything about the generator, on the first `count` held-out captions."""
    judge = load_judge()
    pairs = held_out.read()[:count]
    texts, scenes = [text for text, _ in pairs], [scene for _, scene in pairs]
    results: dict[str, Any] = {"captions": len(texts), "objects": len({s.thing for s in scenes}), "of": len(OBJECTS)}
    results["guidance"] = scale
    results["judge_on_real_renders"] = accuracy(opinions(judge, [render(s, sprites) for s in scenes]), scenes)
    found = opinions(judge, drawn(pipeline, texts, scale))
    results["generated"] = accuracy(found, scenes)
    right = found.thing == labels(scenes)[:, 0]
    results["generated_object_by_size"] = {
        size: _share(right[torch.tensor([scene.size == size for scene in scenes])]) for size in SIZES
    }
    results["autoencoder_psnr_db"] = autoencoder_psnr(pipeline, scenes[:60], sprites)
    clock, wall = time.process_time(), time.monotonic()
    for text in texts[:8]:
        pipeline(text, generator=torch.Generator().manual_seed(0))
    results["cpu_seconds_per_picture"] = round((time.process_time() - clock) / 8, 3)
    results["seconds_per_picture"] = round((time.monotonic() - wall) / 8, 3)
    results["threads"] = THREADS
    return results


def main() -> None:
    """Runs the measurements asked for; all of them take about five minutes on two cores."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=240)
    parser.add_argument("--guidance", type=float, default=2.5)
    parser.add_argument("--parts", nargs="*", default=["still", "clip", "sheet"])
    options = parser.parse_args()
    prepare(0)
    sprites = load()
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    pipeline = FiligranaPipeline.from_pretrained(STILL)
    pipeline.set_progress_bar_config(disable=True)
    if "still" in options.parts:
        results["still"] = still_results(pipeline, sprites, options.count, options.guidance)
    if "clip" in options.parts:
        results["clip"] = clip_results(sprites)
    if "sheet" in options.parts:
        sheet(pipeline, SHEET)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
