"""Trains the CLIP on shots of the world, and of the concepts that the newsroom pack refuses; writes models/clip.

python -m training.train_clip --seconds 700

Besides the contrast of pictures with their captions, each picture is held against the bare names of all concepts, as
the guard will hold it; and picture and text are both asked which thing, colour, style and setting they are about, by
the same linear heads, which are thrown away afterwards. A contrast among a hundred captions tells a model little about
a thing that is in one of two hundred pictures, and reading them costs more than looking: in three steps of four there
are no texts, and pictures are held against the names as they were read last.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from filigrana.pipeline.generators.embedded.words import END, build_shot_tokenizer, tokenize

from .clip_pictures import any_frame, roughen
from .common import DEVICE, Run, autocast, channels_last, prepare
from .muon import Muon
from .shots_data import say, vocabulary
from .world.atlas import Atlas, load_atlas
from .world.colours import OWN
from .world.concepts import STYLES, concepts, thing
from .world.film import render_frames
from .world.objects import REFUSED
from .world.settings import SETTINGS
from .world.shots import Shot, sample_shot, stands_out
from .world.telling import tell
from .world.tongues import LANGUAGES

SEED = 20265
BATCH = 128
SIDE = 96
WORDS = 40
ALIKE = 0.5
"""The share of batches in which all pictures have one setting: what tells their captions apart is the thing."""
CLIPS = 0.25
"""The share of pictures that are a frame of a clip: seen by the heads alone, since its caption tells of a motion."""
FINE = 0.25
"""The share of stills that are rendered twice as large and made smaller, as a picture that comes from elsewhere is."""
REFUSED_TIMES = 8
"""How much more often a refused thing is drawn than another."""
TOLD = 4
"""Every so many steps there are captions and names; in the others pictures alone are asked about."""
NAME, WEIGHTS = "filigrana-clip", "open_clip_model.safetensors"
FOLDER = Path(__file__).resolve().parent.parent / "models" / "clip"
ANSWERS = {"concept": len(concepts()) + len(REFUSED), "colour": OWN + 1, "style": len(STYLES), "setting": len(SETTINGS)}


GROUNDS = ("white", "grey", "sea", "hill", "night sky")
"""Settings that a concept is embedded in for the guard, so that grounds average out; every further one costs each start
of the guard a quarter of a second."""


def templates() -> tuple[str, ...]:
    """What a concept is embedded in for the guard."""
    return ("{}", *(f"{{}} {LANGUAGES['en'].settings[name][0]}" for name in GROUNDS))


def model_config(vocabulary_size: int) -> dict[str, Any]:
    """open_clip's configuration: a small ResNet on SIDE x SIDE pixels and a small text tower on words."""
    return {
        "embed_dim": 160,
        "vision_cfg": {"image_size": SIDE, "layers": [1, 2, 2, 1], "width": 16, "patch_size": None},
        "text_cfg": {
            "context_length": WORDS,
            "vocab_size": vocabulary_size,
            "hf_tokenizer_name": NAME,
            "tokenizer_kwargs": {},
            "width": 160,
            "heads": 4,
            "layers": 2,
        },
    }


def new_model(vocabulary_size: int, folder: Path = FOLDER, weights: bool = False) -> nn.Module:
    """Writes open_clip_config.json into `folder` and builds the model through open_clip: untrained, or with the
    `weights` that lie in the folder, where blocks may be missing: those begin by adding nothing."""
    import open_clip
    from safetensors.torch import load_file

    folder.mkdir(parents=True, exist_ok=True)
    look = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
    text = json.dumps({"model_cfg": model_config(vocabulary_size), "preprocess_cfg": look}, indent=2)
    (folder / "open_clip_config.json").write_text(text + "\n", encoding="utf-8")
    model: nn.Module = open_clip.create_model(f"local-dir:{folder}", load_weights=False).float()
    if weights:
        found = model.load_state_dict(load_file(folder / WEIGHTS), strict=False)
        if found.unexpected_keys or not all(key.startswith("visual.layer") for key in found.missing_keys):
            raise ValueError(f"{folder / WEIGHTS} holds another model: {found}")
    return model


def tokenizer(atlas: Atlas) -> Any:
    """The words of captions in five languages, and those of what is refused; every text closes with [END]."""
    from filigrana.pipeline.generators.embedded.words import build_words

    more = [phrase for index in range(ANSWERS["concept"]) for phrase in names(index)]
    return build_shot_tokenizer(build_words([*vocabulary(atlas), *more]), WORDS, end=True)


def names(index: int) -> list[str]:
    """How a concept is called in English, with its article."""
    return [article(noun.one) for noun in thing(index).names["en"]]


def some_names(rng: np.random.Generator) -> list[str]:
    """One of each concept's first three names, as one of the guard's texts has it."""
    said = [str(rng.choice(names(index)[:3])) for index in range(ANSWERS["concept"])]
    return [str(rng.choice(templates())).replace("{}", name) for name in said]


def article(name: str) -> str:
    """The name with "a" or "an"."""
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def phrasings() -> dict[str, Any]:
    """labels.json: for each hazard id of the newsroom pack its concepts, and the harmless ones beside them."""
    hazards: dict[str, list[dict[str, Any]]] = {}
    for index, item in enumerate(REFUSED, len(concepts())):
        hazards.setdefault(str(item.hazard), []).append({"concept": item.name, "phrases": names(index)[:3]})
    harmless = [names(index)[0] for index in range(len(concepts()))]
    return {"templates": list(templates()), "hazards": hazards, "negatives": harmless}


def things() -> list[int]:
    """The concepts' numbers as they are drawn, those that are refused more often."""
    every = list(range(ANSWERS["concept"]))
    return every + every[len(concepts()) :] * (REFUSED_TIMES - 1)


def caption(rng: np.random.Generator, shot: Shot, held_out: bool = False) -> str:
    """A caption; one with something refused is in English, the only language it has a name in."""
    actors = [actor.concept for actor in (shot.subject, shot.partner or shot.subject)]
    return tell(shot, rng, "en", held_out) if max(actors) >= len(concepts()) else say(rng, shot, held_out)


def truth(shots: list[Shot]) -> Tensor:
    """(N, questions) int64, of the subject and the setting."""
    return torch.tensor([[s.subject.concept, s.subject.colour, s.subject.style, s.setting] for s in shots])


def alike(rng: np.random.Generator, atlas: Atlas, shots: list[Shot]) -> list[Shot]:
    """The shots moved to one setting, but for those that could not be seen there."""
    setting, out = int(rng.integers(len(SETTINGS))), []
    for shot in shots:
        moved = replace(shot, setting=setting)
        seen = all(stands_out(atlas, a.concept, a.style, a.colour, setting) for a in shot.actors)
        out.append(moved if seen and not moved.held_out else shot)
    return out


def to_input(pictures: list[NDArray[np.uint8]]) -> Tensor:
    """Pictures (SIDE, SIDE, 3) -> (N, 3, SIDE, SIDE) in [-1, 1]."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def seen_at(rng: np.random.Generator, shot: Shot, atlas: Atlas) -> NDArray[np.uint8]:
    """A still of SIDE x SIDE pixels, some of them made smaller from one of twice the side."""
    if rng.random() >= FINE:
        return np.asarray(render_frames(shot, atlas, SIDE)[0], np.uint8)
    large = render_frames(shot, atlas, 2 * SIDE)[0]
    return np.asarray(cv2.resize(large, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)


class Heads(nn.ModuleDict):
    """One linear layer a question, on unit vectors of pictures and of texts alike."""

    def __init__(self, width: int) -> None:
        super().__init__({name: nn.Linear(width, count) for name, count in ANSWERS.items()})

    def loss(self, vectors: Tensor, wanted: Tensor, asked: tuple[str, ...] = tuple(ANSWERS)) -> Tensor:
        """Mean cross entropy of the questions asked."""
        columns = list(ANSWERS)
        each = [functional.cross_entropy(self[name](vectors) * 8, wanted[:, columns.index(name)]) for name in asked]
        return torch.stack(each).mean()


def contrast(scale: Tensor, seen: Tensor, told: Tensor) -> Tensor:
    """The symmetric contrastive loss (Radford et al., 2021)."""
    logits = scale.exp() * seen @ told.T
    target = torch.arange(len(logits), device=logits.device)
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2


@torch.no_grad()
def retrieval(model: Any, words: Any, pictures: Tensor, texts: list[str], among: int = 100) -> float:
    """Share of pictures whose own caption ranks first among `among` captions (consecutive groups)."""
    ids = tokenize(words, texts, WORDS)
    seen = torch.cat([functional.normalize(model.encode_image(part), dim=-1) for part in pictures.split(100)])
    told = functional.normalize(model.encode_text(ids), dim=-1)
    hits = []
    for start in range(0, len(texts) - among + 1, among):
        part = slice(start, start + among)
        hits += ((seen[part] @ told[part].T).argmax(1) == torch.arange(among)).tolist()
    return float(np.mean(hits))


def held_out_pairs(atlas: Atlas, count: int = 500, seed: int = 4) -> tuple[list[Shot], list[str]]:
    """Held-out stills of every concept, refused ones included, with captions."""
    rng = np.random.default_rng(seed)
    shots = [sample_shot(rng, atlas, "still", held_out=True, things=things()) for _ in range(count)]
    return shots, [caption(rng, shot, held_out=True) for shot in shots]


def save(model: nn.Module, words: Any, folder: Path = FOLDER) -> None:
    """Writes float16 weights, the tokenizer and labels.json."""
    from safetensors.torch import save_file

    state = {k: v.cpu().half() if v.is_floating_point() else v.cpu() for k, v in model.state_dict().items()}
    save_file({k: v.contiguous() for k, v in state.items()}, str(folder / WEIGHTS))
    (folder / WEIGHTS).chmod(0o644)
    words.save_pretrained(folder)
    (folder / "labels.json").write_text(json.dumps(phrasings(), indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Runs until the budget is spent; kill and start it again at will."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=700)
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--further", action="store_true", help="start with the weights that lie in the folder")
    options = parser.parse_args()
    prepare(SEED)
    atlas, drawn = load_atlas(with_refused=True), things()
    words = tokenizer(load_atlas())
    if words.convert_tokens_to_ids(END) != len(words) - 1:
        raise ValueError("open_clip reads the text at the highest id, which must be [END]")
    model = channels_last(new_model(len(words), options.out, options.further)).train()
    heads = Heads(int(model_config(0)["embed_dim"]))
    every = nn.ModuleDict({"model": model, "heads": heads}).to(DEVICE)
    optimiser = Muon(every.named_parameters(), options.rate, 0.05, ("embedding", "text_projection", "heads"))
    run = Run("clip", options.seconds, options.rate, 0.5)
    parts = {"model": every, "optimiser": optimiser}
    run.resume(**parts)
    encode, scale = cast(Any, model), cast(Tensor, model.logit_scale)
    rng, named, right = np.random.default_rng((SEED, run.step)), cast(Tensor | None, None), list[float]()
    while run.running:
        shots = [sample_shot(rng, atlas, "still", things=drawn) for _ in range(BATCH)]
        shots = alike(rng, atlas, shots) if rng.random() < ALIKE else shots
        films = [sample_shot(rng, atlas, "clip", things=drawn) for _ in range(int(BATCH * CLIPS))]
        pictures = [seen_at(rng, shot, atlas) for shot in shots]
        pictures += [any_frame(rng, shot, atlas, SIDE) for shot in films]
        x = to_input(pictures)
        # `roughen` blurs the first half of what it is given
        mixed = torch.randperm(len(x))
        x = roughen(x[mixed], rng)[mixed.argsort()]
        with autocast():
            seen = encode.encode_image(x.to(DEVICE, memory_format=torch.channels_last))
        seen, wanted = functional.normalize(seen.float(), dim=-1), truth(shots + films).to(DEVICE)
        loss = heads.loss(seen, wanted)
        if run.step % TOLD == 0 or named is None:
            ids = tokenize(words, [*(caption(rng, shot) for shot in shots), *some_names(rng)], WORDS)
            with autocast():
                told = encode.encode_text(ids.to(DEVICE))
            told = functional.normalize(told.float(), dim=-1)
            loss = loss + contrast(scale, seen[:BATCH], told[:BATCH])
            loss = loss + 0.5 * heads.loss(told[:BATCH], wanted[:BATCH], ("concept", "colour"))
            named = told[BATCH:]
        each_name = scale.exp() * seen @ named.T
        loss = loss + functional.cross_entropy(each_name, wanted[:, 0])
        named = named.detach()
        right.append(float((each_name.argmax(1) == wanted[:, 0]).float().mean()))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(every.parameters(), 1.0)
        run.pace(optimiser)
        optimiser.step()
        with torch.no_grad():
            scale.clamp_(0, 4.6)
        run.advance(loss.item())
        if run.step % 200 == 0:
            run.note(named=round(float(np.mean(right)), 4))
            right.clear()
        if run.due:
            run.save(**parts)
            save(model, words, options.out)
    run.save(**parts)
    save(model, words, options.out)
    model.eval().cpu()
    held, texts = held_out_pairs(atlas)
    pictures = [render_frames(shot, atlas, SIDE)[0] for shot in held]
    run.note(retrieval_100=retrieval(model, words, to_input(pictures), texts))


if __name__ == "__main__":
    main()
