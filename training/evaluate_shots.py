"""Measures the shot family on held-out captions; writes shot_results.json and the contact sheets.

python -m training.evaluate_shots --count 500

Judges that know real sprites, backdrops, arrangements, motions and sounds alone say what each generated shot shows. The
same judges are asked about the real ones of the same shots: what they get wrong there is their own.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from filigrana.pipeline.generators.embedded.dye import dyed
from filigrana.pipeline.generators.embedded.shot import FiligranaShotPipeline
from filigrana.pipeline.generators.embedded.tracks import Scene, frames
from filigrana.pipeline.generators.embedded.tracks import scene as make_scene

from .calibrate_clip import measured
from .common import averaged, prepare
from .export_shots import assemble
from .near_judges import (
    SOUNDS,
    SpriteJudge,
    Still,
    arrangement_judge,
    heard,
    motion_judge,
    moved,
    real,
    setting_judge,
    shown,
    sound_judge,
    told,
)
from .shots_data import motion, say
from .sync import agreement
from .world import layers
from .world.atlas import Atlas, load_atlas
from .world.shots import MOTIONS, Shot, sample_shot
from .world.sound import render_sound
from .world.telling import sound_key

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "training" / "shot_results.json"
SEED = 2028
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


@dataclass(frozen=True)
class Parts:
    """What the judges of clips need: the subject's sprite, the motion, the sound; backdrops are left undrawn."""

    sprite: NDArray[np.uint8]
    motion: NDArray[np.float32]
    sound: NDArray[np.float32]


@torch.no_grad()
def in_parts(pipeline: Any, texts: list[str], steps: int, scale: float) -> list[Parts]:
    """A clip with sound for each caption, each from its own seed."""
    out: list[Parts] = []
    for start in range(0, len(texts), BATCH):
        part = texts[start : start + BATCH]
        seeds = [torch.Generator().manual_seed(start + k) for k in range(len(part))]
        latents = pipeline(
            part, generator=seeds, num_inference_steps=steps, guidance_scale=scale, output_type="latent", num_frames=2,
            sound=True,
        ).frames  # fmt: skip
        seen, where, _ = pipeline.split(latents)
        parts = pipeline.transformer.unpack(seen)
        drawn_ = pipeline.layers.decode(parts.sprites[:, 0]).clamp(0, 1).mul(255).round().to(torch.uint8)
        sprites_ = [dyed(a.permute(1, 2, 0).numpy(), b[0].numpy()) for a, b in zip(drawn_, parts.dyes, strict=True)]
        moves, sounds = pipeline.motion.unpack(where).numpy(), pipeline.decode_sound(latents)
        out += [Parts(*each) for each in zip(sprites_, moves, sounds, strict=True)]
    return out


def stills(pipeline: Any, atlas: Atlas, count: int, steps: int, scale: float) -> dict[str, Any]:
    """Object, colour (one of 17, its own included), partner's object, count, relation and setting.

    Each is told by a layer or by the tracks, of generated shots and of the real ones."""
    asked = cases(atlas, "still", count)
    shots = [case.shot for case in asked]
    made = [
        Still([levels[0] for levels in scene.sprites[:2]], scene.plate, scene.motion)
        for scene, _ in drawn(pipeline, [case.text for case in asked], False, steps, scale)
    ]
    fine = load_atlas(side=layers.SPRITE)
    judges = SpriteJudge(atlas), arrangement_judge(atlas), setting_judge()
    return {
        "captions": count,
        "generated": told(judges, shots, made),
        "real": told(judges, shots, [real(shot, fine) for shot in shots]),
    }


def clips(pipeline: Any, atlas: Atlas, count: int, steps: int, scale: float) -> dict[str, Any]:
    """Motion, the object throughout, the class of the sound, and how well picture and sound agree in time.

    The object is right throughout if the subject's layer is most like the right thing, and it is in the picture for
    three quarters of the time in which the real shot shows it."""
    asked = cases(atlas, "av", count)
    shots = [case.shot for case in asked]
    made = in_parts(pipeline, [case.text for case in asked], steps, scale)
    sprites_, motions, sounds = SpriteJudge(atlas), motion_judge(atlas), sound_judge(atlas)
    things = [sprites_.nearest(one.sprite) for one in made]
    right_thing = [thing[0] == shot.subject.concept for thing, shot in zip(things, shots, strict=True)]
    tracks = {"generated": [one.motion for one in made], "real": [motion(shot) for shot in shots]}
    samples = {"generated": [one.sound for one in made], "real": [render_sound(shot) for shot in shots]}
    hits = [k for k, shot in enumerate(shots) if shot.motion in ("bounce", "fall", "collide")]
    out: dict[str, Any] = {"captions": count}
    for name in ("generated", "real"):
        said = motions.say(np.stack([moved(track) for track in tracks[name]]))
        loud = sounds.say(heard(np.stack(samples[name])))
        there = [shown(a) >= 0.75 * shown(b) for a, b in zip(tracks[name], tracks["real"], strict=True)]
        whole = right_thing if name == "generated" else [True] * count
        out[name] = {
            "motion": _mean([MOTIONS[a] == shot.motion for a, shot in zip(said, shots, strict=True)]),
            "object throughout": _mean([a and b for a, b in zip(whole, there, strict=True)]),
            "sound": _mean([SOUNDS[a] == sound_key(shot) for a, shot in zip(loud, shots, strict=True)]),
            "sync": _mean([agreement(tracks[name][k], samples[name][k]) for k in hits]),
        }
    return out


def _mean(values: list[Any]) -> float:
    return round(float(np.mean(values)), 4)


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
    """The object and the motion by how many steps are taken, and by guidance."""
    asked, sprites_, motions = cases(atlas, "av", count), SpriteJudge(atlas), motion_judge(atlas)
    shots, out = [case.shot for case in asked], {"captions": count}
    for steps, guided in ((1, scale), (2, scale), (4, scale), (8, scale), (12, scale), (12, 1.0)):
        made = in_parts(pipeline, [case.text for case in asked], steps, guided)
        things = [sprites_.nearest(one.sprite) for one in made]
        said = motions.say(np.stack([moved(one.motion) for one in made]))
        out[f"{steps} steps, guidance {guided:g}"] = {
            "object": _mean([a[0] == shot.subject.concept for a, shot in zip(things, shots, strict=True)]),
            "colour": _mean([a[2] == shot.subject.colour for a, shot in zip(things, shots, strict=True)]),
            "motion": _mean([MOTIONS[a] == shot.motion for a, shot in zip(said, shots, strict=True)]),
        }  # type: ignore[assignment]
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
        "clip": lambda: measured(options.count),
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
