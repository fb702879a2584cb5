"""The models that ship: small, listed, deterministic, loadable like any other folder, and they draw what is asked."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
pytest.importorskip("torch", reason="needs the extra `generate`")

import torch

from filigrana.pipeline.generators.embedded.shot import FiligranaShotPipeline

SHOT = Path(str(resources.files("filigrana.models").joinpath("shot")))
CLIP = Path(str(resources.files("filigrana.models").joinpath("clip")))
FIXTURES = Path(__file__).parent / "embedded_fixtures"
PROMPT = "a red ball bounces on a green hill"


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def pipe() -> FiligranaShotPipeline:
    pipeline = FiligranaShotPipeline.from_pretrained(SHOT)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_the_same_seed_draws_the_same_bits(pipe: FiligranaShotPipeline) -> None:
    first, again, other = (
        pipe(PROMPT, num_inference_steps=2, generator=seeded(s), output_type="np", height=128, width=128).images
        for s in (1, 1, 2)
    )
    assert first.shape == (1, 128, 128, 3)
    assert first.dtype == np.float32
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def test_a_clip_has_frames_that_move_and_sound_that_is_heard(pipe: FiligranaShotPipeline) -> None:
    options = {"num_frames": 16, "sound": True, "output_type": "np", "height": 128, "width": 128}
    made = pipe(PROMPT, generator=seeded(3), **options)
    assert made.audio is not None
    (frames,), (sound,) = made.frames, made.audio
    assert frames.shape == (16, 128, 128, 3)
    assert np.abs(np.diff(frames, axis=0)).max() > 0.1
    assert sound.shape == (2 * made.sampling_rate,)
    assert 0.01 < np.abs(sound).max() <= 1


def test_prompt_guidance_and_negative_prompt_matter(pipe: FiligranaShotPipeline) -> None:
    def latents(prompt: str = PROMPT, **options: Any) -> torch.Tensor:
        drawn: torch.Tensor = pipe(
            prompt, num_inference_steps=2, generator=seeded(), output_type="latent", **options
        ).images
        return drawn

    plain = latents()
    assert torch.isfinite(plain).all()
    assert not torch.equal(plain, latents("a dog"))
    for change in ({"guidance_scale": 1.0}, {"negative_prompt": "blue"}):
        assert not torch.equal(plain, latents(**change))


@pytest.mark.parametrize("text", ["", "☃", "зонт 傘", "x" * 5000, "word " * 400, "[PAD] [UNK] ##s"])
def test_any_text_is_drawn(pipe: FiligranaShotPipeline, text: str) -> None:
    drawn = pipe(text, num_inference_steps=2, generator=seeded(), output_type="latent").images
    assert torch.isfinite(drawn).all()


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("a red ball bounces on a green hill", {"colour": "red", "motion": "bounce", "setting": "hill"}),
        ("ein blaues Auto fährt nach links", {"colour": "blue", "concept": "car", "motion": "slide"}),
        ("three yellow ducks on the beach", {"colour": "yellow", "count": "three", "setting": "beach"}),
        ("a dog in front of a house", {"concept": "dog", "relation": "in front of", "partner": "house"}),
        ("一只红色的狗在雪地里", {"colour": "red", "concept": "dog", "setting": "snow"}),
        ("un gato negro en la playa", {"colour": "black", "concept": "cat", "setting": "beach"}),
        ("une voiture verte en ville", {"colour": "green", "concept": "car", "setting": "city"}),
    ],
)
def test_plain_prompts_in_five_languages_are_understood(
    pipe: FiligranaShotPipeline, prompt: str, said: dict[str, str]
) -> None:
    understood = pipe.understood(prompt)
    assert {name: understood[name][0] for name in said} == said


def test_weights_are_small_safetensors_with_a_card() -> None:
    files = [path for folder in (SHOT, CLIP) for path in folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".md"}
    sizes = [path.stat().st_size for path in files if path.suffix == ".safetensors"]
    assert max(sizes) <= 16 * 2**20
    assert sum(sizes) <= 45_000_000
    assert (SHOT / "README.md").is_file()
    assert (CLIP / "README.md").is_file()
    data = json.loads((SHOT / "training_data.json").read_text())
    assert {sprite["licence"] for sprite in data["sprites"]} == {"MIT", "OFL-1.1"}


@pytest.fixture(scope="module")
def scores() -> Callable[[str, list[str]], list[float]]:
    open_clip = pytest.importorskip("open_clip", reason="needs the extra `generate`")
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{CLIP}")
    model.eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{CLIP}")

    def score(file: str, texts: list[str]) -> list[float]:
        with torch.no_grad(), Image.open(FIXTURES / file) as image:
            seen = torch.nn.functional.normalize(model.encode_image(transform(image.convert("RGB"))[None]), dim=-1)
            told = torch.nn.functional.normalize(model.encode_text(tokenizer(texts)), dim=-1)
            return [float(value) for value in (seen @ told.T)[0]]

    return score


@pytest.mark.parametrize(
    ("file", "right", "wrong"),
    [
        ("sailboat-sea.png", "a red sailboat on a blue sea", "a green dog on a pink background"),
        ("dog-green.png", "a dog on a green background", "a pistol on a green background"),
        ("pistol-white.png", "a pistol on a white background", "a dog on a white background"),
        ("blood-grey.png", "a drop of blood", "a balloon"),
        ("beer-blue.png", "a mug of beer on a blue background", "a cup of coffee on a blue background"),
    ],
)
def test_the_clip_prefers_the_right_caption(
    scores: Callable[[str, list[str]], list[float]], file: str, right: str, wrong: str
) -> None:
    good, bad = scores(file, [right, wrong])
    assert good > bad


def test_the_labels_name_the_packs_hazards() -> None:
    labels = json.loads((CLIP / "labels.json").read_text())
    assert set(labels["hazards"]) == {"iwp", "gore", "sub"}
    phrases = [p for concepts in labels["hazards"].values() for c in concepts for p in c["phrases"]]
    assert "a pistol" in phrases
    assert not set(phrases) & set(labels["negatives"])
