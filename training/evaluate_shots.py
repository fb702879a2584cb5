"""Measures the shot family on held-out captions; writes shot_results.json and the contact sheets.

python -m training.evaluate_shots --count 500

Judges that have only ever seen and heard real renders say what each generated picture, clip and sound shows. The same
judges are asked about the real renders of the same shots: what they get wrong there is their own.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from filigrana.pipeline.generators.embedded.shot import FiligranaShotPipeline
from filigrana.pipeline.generators.embedded.tracks import Scene, frames
from filigrana.pipeline.generators.embedded.tracks import scene as make_scene

from .common import prepare
from .export_shots import assemble
from .shot_judge import FRAMES, SIDE, Judge, load_judge, questions, real, seen, truth
from .shot_pool import averaged
from .shots_data import motion, say
from .sprite_judge import SpriteJudge
from .sync import agreement
from .world import layers
from .world.atlas import Atlas, load_atlas
from .world.concepts import concepts
from .world.film import render_frames
from .world.objects import REFUSED
from .world.shots import Shot, sample_shot

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "training" / "shot_results.json"
SEED = 2028
SURE = 0.5
"""A frame in which the judge gives its answer less than this is not counted for or against."""
BATCH = 16


@dataclass(frozen=True)
class Case:
    """What was asked: a held-out shot and one caption of it."""

    shot: Shot
    text: str


def cases(atlas: Atlas, media: str, count: int) -> list[Case]:
    """`count` held-out captions in five languages, always the same."""
    rng = np.random.default_rng((SEED, len(media)))
    shots = [sample_shot(rng, atlas, media, held_out=True) for _ in range(count)]
    return [Case(shot, say(rng, shot, held_out=True)) for shot in shots]


def drawn(pipeline: Any, texts: list[str], clips: bool, steps: int, scale: float) -> Iterator[tuple[Scene, Any]]:
    """A scene, and with clips its sound, for each caption; each from its own seed."""
    for start in range(0, len(texts), BATCH):
        part = texts[start : start + BATCH]
        seeds = [torch.Generator().manual_seed(start + k) for k in range(len(part))]
        out = pipeline(
            part, generator=seeds, num_inference_steps=steps, guidance_scale=scale, output_type="scene",
            num_frames=2 if clips else 1, sound=clips,
        )  # fmt: skip
        scenes = out.frames if clips else out.images
        yield from zip(scenes, out.audio or [None] * len(part), strict=True)


def small(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """As large as the judges look."""
    return np.asarray(cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)


@torch.no_grad()
def answers(model: Judge, what: str, media: list[NDArray[Any]]) -> list[Tensor]:
    """Probabilities of each question's answers: (N, answers) each."""
    parts = [[o.softmax(1) for o in model(seen(what, media[i : i + 50]))] for i in range(0, len(media), 50)]
    return [torch.cat(each) for each in zip(*parts, strict=True)]


def right(said: list[Tensor], wanted: Tensor, what: str) -> dict[str, float]:
    """The share of right answers to each question; counts and relations where the caption has one."""
    out = {}
    for k, name in enumerate(questions(what)):
        hit = said[k].argmax(1) == wanted[:, k]
        out[name] = _share(hit)
        if name in ("count", "relation", "cover"):
            out[f"{name}, where there is one"] = _share(hit[wanted[:, k] > 0])
    return out


def _share(hits: Tensor) -> float:
    return round(float(hits.float().mean()), 4) if len(hits) else float("nan")


def throughout(said: Tensor, wanted: Tensor) -> float:
    """The share of clips whose subject is named right in three quarters of the frames in which the judge is sure of
    what it sees, of which there must be two: said (clips, FRAMES, concepts), wanted (clips,)."""
    sure = said.amax(2) >= SURE
    hit = (said.argmax(2) == wanted[:, None]) & sure
    return _share((sure.sum(1) >= 2) & (hit.sum(1) >= 0.75 * sure.sum(1)))


def stills(pipeline: Any, atlas: Atlas, count: int, steps: int, scale: float) -> dict[str, Any]:
    """Object, style, colour, count, relation and setting."""
    asked = cases(atlas, "still", count)
    shots, judge = [case.shot for case in asked], load_judge("still")
    wanted = truth("still", shots)
    scenes = [scene for scene, _ in drawn(pipeline, [case.text for case in asked], False, steps, scale)]
    made = [small(next(frames(scene, 512, 1))) for scene in scenes]
    return {
        "captions": count,
        "sprites": sprites(atlas, shots, scenes),
        "generated": right(answers(judge, "still", made), wanted, "still"),
        "real": right(answers(judge, "still", [real("still", shot, atlas) for shot in shots]), wanted, "still"),
    }


def sprites(atlas: Atlas, shots: list[Shot], scenes: list[Scene]) -> dict[str, float]:
    """The share of subjects whose drawn layer is most like a real sprite of the right thing, and of the right colour;
    and of partners the same for the thing."""
    judge = SpriteJudge(atlas)
    said = [judge.nearest(scene.sprites[0][0]) for scene in scenes]
    wanted = [(shot.subject.concept, shot.subject.style, shot.subject.colour) for shot in shots]
    others = [
        judge.nearest(scene.sprites[1][0])[0] == shot.partner.concept
        for scene, shot in zip(scenes, shots, strict=True)
        if shot.partner is not None
    ]
    pairs = list(zip(said, wanted, strict=True))
    return {
        "concept": round(float(np.mean([a[0] == b[0] for a, b in pairs])), 4),
        "colour": round(float(np.mean([a[2] == b[2] for a, b in pairs])), 4),
        "partner": round(float(np.mean(others)), 4),
    }


def clips(pipeline: Any, atlas: Atlas, count: int, steps: int, scale: float) -> dict[str, Any]:
    """Motion, the object throughout, the class of the sound, and how well picture and sound agree in time."""
    asked = cases(atlas, "av", count)
    shots = [case.shot for case in asked]
    made = list(drawn(pipeline, [case.text for case in asked], True, steps, scale))
    generated = [np.stack([small(one) for one in frames(scene, 256, FRAMES)]) for scene, _ in made]
    true = [render_frames(shot, atlas, SIDE, FRAMES // 2) for shot in shots]
    sounds = {"generated": [sound for _, sound in made], "real": [real("sound", shot, atlas) for shot in shots]}
    tracks = {"generated": [scene.motion for scene, _ in made], "real": [motion(shot) for shot in shots]}
    hits = [k for k, shot in enumerate(shots) if shot.motion in ("bounce", "fall", "collide")]
    out: dict[str, Any] = {"captions": count}
    for name, films in (("generated", generated), ("real", true)):
        said = answers(load_judge("clip"), "clip", films)
        found = right(said, truth("clip", shots), "clip")
        each = answers(load_judge("still"), "still", [frame for film in films for frame in film])[0]
        found["object throughout"] = throughout(each.unflatten(0, (-1, FRAMES)), truth("still", shots)[:, 0])
        heard = answers(load_judge("sound"), "sound", sounds[name])
        found |= right(heard, truth("sound", shots), "sound")
        found["sync"] = round(float(np.mean([agreement(tracks[name][k], sounds[name][k]) for k in hits])), 4)
        out[name] = found
    return out


def autoencoder(atlas: Atlas, count: int) -> dict[str, float]:
    """PSNR in dB of held-out renders at 256 pixels through the autoencoder of layers and back."""
    model: Any = averaged(pipeline_layers(), "layers")
    rng, values = np.random.default_rng(SEED), []
    fine = load_atlas(side=layers.SPRITE)
    for _ in range(count):
        shot = sample_shot(rng, atlas, "still", held_out=True)
        plate = layers.plate(shot.setting, shot.seed)
        actors = (shot.subject, shot.partner or shot.subject)
        parts = [layers.sprite(fine, actor.concept, actor.style, actor.colour) for actor in actors]
        parts.append(layers.cover("wall"))

        def back(pictures: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
            x = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
            with torch.no_grad():
                y = model.decode(model.encode(x)).clamp(0, 1)
            return np.asarray((y * 255).round().permute(0, 2, 3, 1).numpy().astype(np.uint8))

        moved = motion(shot)
        one = next(frames(make_scene(plate[..., :3], parts, moved), 256, 1)).astype(float)
        two = next(frames(make_scene(back([plate])[0, ..., :3], list(back(parts)), moved), 256, 1)).astype(float)
        values.append(10 * np.log10(255**2 / max(float(np.square(one - two).mean()), 1e-3)))
    return {"mean": round(float(np.mean(values)), 2), "worst": round(min(values), 2), "pictures": count}


def pipeline_layers() -> Any:
    """An untrained autoencoder of layers."""
    from filigrana.pipeline.generators.embedded.layers import FiligranaLayerAutoencoder

    return FiligranaLayerAutoencoder()


def clip(count: int) -> dict[str, Any]:
    """The shipped CLIP, through open_clip's own loading and transforms, and its guard, on held-out renders."""
    import open_clip
    from PIL import Image

    from filigrana.safety.vision.clip import ClipGuard

    from .calibrate_clip import SIDE as LARGE
    from .calibrate_clip import hazard
    from .train_clip import FOLDER, held_out_pairs, names, retrieval

    atlas = load_atlas(with_refused=True)
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{FOLDER}")
    model.eval()
    words = open_clip.get_tokenizer(f"local-dir:{FOLDER}")
    shots, texts = held_out_pairs(atlas, count, seed=SEED)
    pictures = [render_frames(shot, atlas, LARGE)[0] for shot in shots]
    tensors = torch.stack([transform(Image.fromarray(picture)) for picture in pictures])
    with torch.no_grad():
        every = words([names(index)[0] for index in range(len(concepts()) + len(REFUSED))])
        told = torch.nn.functional.normalize(model.encode_text(every), dim=-1)
        seen = torch.cat(
            [torch.nn.functional.normalize(model.encode_image(part), dim=-1) for part in tensors.split(100)]
        )
    guard = ClipGuard(FOLDER)
    worst = np.array([max(guard.score(picture).values()) for picture in pictures])
    bad = np.array([bool(hazard(shot)) for shot in shots])
    return {
        "pictures": count,
        "retrieval": round(retrieval(model, words.tokenizer, tensors, texts), 4),
        "object zero shot": _share((seen @ told.T).argmax(1) == torch.tensor([s.subject.concept for s in shots])),
        "refused found": round(float((worst > np.quantile(worst[~bad], 0.99))[bad].mean()), 4),
    }


def repeated(pipeline: Any, atlas: Atlas, steps: int, count: int = 40) -> dict[str, float]:
    """The share of captions that one seed draws alike twice, to the last bit of every layer, track and sample."""
    texts = [case.text for case in cases(atlas, "av", count)]

    def bits(text: str) -> bytes:
        seed = torch.Generator().manual_seed(7)
        out = pipeline(text, generator=seed, num_inference_steps=steps, num_frames=2, sound=True, output_type="scene")
        shot = out.frames[0]
        parts = [shot.plate, *(levels[0] for levels in shot.sprites), shot.motion, out.audio[0]]
        return b"".join(np.ascontiguousarray(part).tobytes() for part in parts)

    return {"captions": count, "identical": round(float(np.mean([bits(text) == bits(text) for text in texts])), 4)}


def few(pipeline: Any, atlas: Atlas, count: int, scale: float) -> dict[str, Any]:
    """The object and colour of stills, and the motion of clips, by how many steps are taken."""
    out: dict[str, Any] = {"captions": count}
    for steps in (1, 2, 4, 8, 16):
        asked, films = cases(atlas, "still", count), cases(atlas, "clip", count)
        made = [small(next(frames(scene, 512, 1))) for scene, _ in
                drawn(pipeline, [case.text for case in asked], False, steps, scale)]  # fmt: skip
        found = right(answers(load_judge("still"), "still", made), truth("still", [c.shot for c in asked]), "still")
        moved = [np.stack([small(one) for one in frames(scene, 256, FRAMES)]) for scene, _ in
                 drawn(pipeline, [case.text for case in films], True, steps, scale)]  # fmt: skip
        told = right(answers(load_judge("clip"), "clip", moved), truth("clip", [c.shot for c in films]), "clip")
        out[str(steps)] = {"concept": found["concept"], "colour": found["colour"], "motion": told["motion"]}
    return out


def timed(pipeline: Any, steps: int) -> dict[str, float]:
    """Seconds for a still of 512x512 and for a clip of 2 s with sound (32 frames of 256x256)."""
    asks: dict[str, dict[str, Any]] = {
        "still": {}, "clip with sound": {"num_frames": 32, "sound": True, "height": 256, "width": 256},
    }  # fmt: skip
    out = {}
    for name, options in asks.items():
        times = []
        for seed in range(4):
            start = time.monotonic()
            pipeline("a red ball bounces on a hill", generator=torch.Generator().manual_seed(seed),
                     num_inference_steps=steps, **options)  # fmt: skip
            times.append(time.monotonic() - start)
        out[name] = round(min(times[1:]), 2)
    return out


def main() -> None:
    """Runs the measurements asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--folder", type=Path, help="exported weights instead of the runs' averages")
    parser.add_argument("--parts", nargs="*", default=["times", "repeated", "stills", "clips", "autoencoder", "clip"])
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    prepare(0)
    atlas = load_atlas()
    pipeline: Any = assemble() if options.folder is None else FiligranaShotPipeline.from_pretrained(options.folder)
    pipeline.set_progress_bar_config(disable=True)
    how = (options.count, options.steps, options.guidance)
    does: dict[str, Callable[[], Any]] = {
        "stills": lambda: stills(pipeline, atlas, *how),
        "clips": lambda: clips(pipeline, atlas, *how),
        "autoencoder": lambda: autoencoder(atlas, 60),
        "clip": lambda: clip(options.count),
        "times": lambda: timed(pipeline, options.steps),
        "repeated": lambda: repeated(pipeline, atlas, options.steps),
        "few": lambda: few(pipeline, atlas, min(options.count, 200), options.guidance),
    }
    results = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else {}
    results |= {"steps": options.steps, "guidance": options.guidance}
    for part in options.parts:
        results[part] = does[part]()
        print(json.dumps({part: results[part]}), flush=True)
        options.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
