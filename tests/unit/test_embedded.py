"""The embedded models: deterministic, interruptible, strict about sizes, and loadable like any other folder."""

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

from filigrana.pipeline.generators.embedded.autoencoder import FiligranaAutoencoder
from filigrana.pipeline.generators.embedded.still import FiligranaPipeline
from filigrana.pipeline.generators.embedded.text import build_tokenizer, tokenize

STILL = Path(str(resources.files("filigrana.models").joinpath("still")))
CLIP = Path(str(resources.files("filigrana.models").joinpath("clip")))
FIXTURES = Path(__file__).parent / "embedded_fixtures"
PROMPT = "a red sailboat on a blue sea"


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def pipe() -> FiligranaPipeline:
    pipeline = FiligranaPipeline.from_pretrained(STILL)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def latents(pipe: FiligranaPipeline) -> Callable[..., Any]:
    def call(**options: Any) -> Any:
        given = {"num_inference_steps": 3, "output_type": "latent", "generator": seeded()} | options
        prompt = given.pop("prompt", PROMPT)
        return pipe(prompt, **given).images

    return call


def test_the_same_seed_draws_the_same_bits(pipe: FiligranaPipeline) -> None:
    first, again, other = (
        pipe(PROMPT, num_inference_steps=2, generator=seeded(s), output_type="np").images for s in (1, 1, 2)
    )
    assert first.shape == (1, 512, 512, 3)
    assert first.dtype == np.float32
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def test_a_picture_is_pil_of_512_by_default(pipe: FiligranaPipeline) -> None:
    (image,) = pipe(PROMPT, num_inference_steps=1, generator=seeded()).images
    assert isinstance(image, Image.Image)
    assert (image.mode, image.size) == ("RGB", (512, 512))


def test_prompts_times_pictures(latents: Callable[..., Any]) -> None:
    assert latents(prompt=["a dog", "a cat"], num_images_per_prompt=2).shape == (4, 12, 16, 16)


def test_own_latents_replace_the_noise(latents: Callable[..., Any], pipe: FiligranaPipeline) -> None:
    noise = torch.randn(1, 12, 16, 16, generator=seeded(5))
    assert torch.equal(latents(latents=noise), latents(latents=noise, generator=seeded(9)))
    assert torch.equal(latents(latents=noise), latents(generator=seeded(5)))
    with pytest.raises(ValueError, match="latents have shape"):
        latents(latents=noise[:, :4])


def test_prompt_and_guidance_and_negative_prompt_matter(latents: Callable[..., Any]) -> None:
    plain = latents()
    for change in ({"prompt": "a dog"}, {"guidance_scale": 1.0}, {"negative_prompt": "blue"}):
        assert not torch.equal(plain, latents(**change))


@pytest.mark.parametrize("text", ["", "☃", "зонт 傘", "x" * 5000, "word " * 400, "[PAD] [UNK] ##s"])
def test_any_text_is_drawn(latents: Callable[..., Any], text: str) -> None:
    assert torch.isfinite(latents(prompt=text)).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"height": 256},
        {"width": 1024},
        {"num_inference_steps": 0},
        {"output_type": "pt"},
        {"prompt": []},
        {"prompt": [3]},
        {"negative_prompt": ["a", "b"]},
        {"callback_on_step_end_tensor_inputs": ["prompt_embeds"]},
    ],
)
def test_wrong_arguments_are_named(latents: Callable[..., Any], wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"pixels|num_inference_steps|output_type|prompt|latents"):
        latents(**wrong)


def test_the_callback_sees_every_step_and_may_change_latents(latents: Callable[..., Any]) -> None:
    seen: list[tuple[int, float]] = []

    def watch(pipe: Any, step: int, timestep: torch.Tensor, values: dict[str, Any]) -> dict[str, Any]:
        seen.append((step, float(timestep)))
        return {"latents": torch.zeros_like(values["latents"])} if step == 2 else values

    out = latents(callback_on_step_end=watch)
    assert [step for step, _ in seen] == [0, 1, 2]
    assert [time for _, time in seen] == sorted((time for _, time in seen), reverse=True)
    assert not out.any()


def test_an_exception_in_the_callback_stops_and_leaves_the_pipeline_usable(latents: Callable[..., Any]) -> None:
    class StopError(Exception):
        pass

    def stop(pipe: Any, step: int, timestep: torch.Tensor, values: dict[str, Any]) -> dict[str, Any]:
        raise StopError

    before = latents()
    with pytest.raises(StopError):
        latents(callback_on_step_end=stop)
    assert torch.equal(before, latents())


def test_interrupt_skips_the_remaining_steps(latents: Callable[..., Any]) -> None:
    steps: list[int] = []

    def interrupt(pipe: Any, step: int, timestep: torch.Tensor, values: dict[str, Any]) -> dict[str, Any]:
        steps.append(step)
        pipe._interrupt = True
        return values

    latents(callback_on_step_end=interrupt)
    assert steps == [0]


def test_saved_and_loaded_it_draws_the_same(pipe: FiligranaPipeline, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path, safe_serialization=True)
    assert not list(tmp_path.rglob("*.bin"))
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index["_class_name"] == "FiligranaPipeline"
    loaded = FiligranaPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    options = {"num_inference_steps": 1, "output_type": "latent"}
    first, second = (p(PROMPT, generator=seeded(), **options).images for p in (pipe, loaded))
    assert torch.equal(first, second)
    assert {k: v for k, v in loaded.transformer.config.items() if k[0] != "_"} == {
        k: v for k, v in pipe.transformer.config.items() if k[0] != "_"
    }


def test_a_small_autoencoder_keeps_shapes_and_bounds() -> None:
    torch.manual_seed(0)
    model = FiligranaAutoencoder(latent_channels=4, widths=(8, 16, 32, 32))
    pictures = torch.rand(2, 3, 96, 64) * 2 - 1
    latents = model.encode(pictures)
    assert latents.shape == (2, 4, 3, 2)
    assert latents.abs().max() < 1
    assert model.decode(latents).shape == pictures.shape


def test_the_tokenizer_drops_articles_and_knows_endings() -> None:
    tokenizer = build_tokenizer(["blue", "dog", "on"], 8)
    ids = tokenize(tokenizer, ["A dog, on THE blue!", "dogs", "zebra", ""], 8)
    assert ids.shape == (4, 8)
    words = [tokenizer.convert_ids_to_tokens([i for i in row if i]) for row in ids.tolist()]
    assert words == [["dog", "on", "blue"], ["dog", "##s"], ["[UNK]"], []]


def test_weights_are_small_safetensors_with_a_card() -> None:
    files = [path for folder in (STILL, CLIP) for path in folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".md"}
    sizes = [path.stat().st_size for path in files if path.suffix == ".safetensors"]
    assert max(sizes) <= 16 * 2**20
    assert sum(sizes) <= 30_000_000
    assert (STILL / "README.md").is_file()
    assert (CLIP / "README.md").is_file()
    data = json.loads((STILL / "training_data.json").read_text())
    assert {sprite["licence"] for sprite in data["sprites"]} == {"MIT"}


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
