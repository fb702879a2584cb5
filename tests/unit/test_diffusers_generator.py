"""The generator port over diffusers: a real pipeline class with tiny random weights, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from filigrana.errors import GenerationError
from filigrana.pipeline.engine import Engine
from filigrana.pipeline.generators.base import Sampling
from filigrana.pipeline.generators.diffusers import DiffusersGenerator
from filigrana.pipeline.replay import pixel_digest, replay
from filigrana.pipeline.request import GenerateRequest, Release

torch = pytest.importorskip("torch", reason="needs the extra `generate`")
pytestmark = pytest.mark.generate


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Stable Diffusion pipeline of the real classes, small enough to make in a second, with random weights."""
    from filigrana.pipeline.torch_compat import ready

    ready()
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    folder = tmp_path_factory.mktemp("tiny")
    torch.set_num_threads(1)  # tiny layers gain nothing from more
    torch.manual_seed(0)
    words = [
        "<|startoftext|>",
        "<|endoftext|>",
        *(f"{c}</w>" for c in "abcdefghijklmnopqrstuvwxyz"),
        *"abcdefghijklmnopqrstuvwxyz",
    ]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=16)
    pipeline = StableDiffusionPipeline(
        vae=AutoencoderKL(
            block_out_channels=(4,) * 4, down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4, latent_channels=4, norm_num_groups=4,
        ),
        text_encoder=CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(words), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                num_attention_heads=2, max_position_embeddings=16, bos_token_id=0, eos_token_id=1,
            )
        ),
        tokenizer=tokenizer,
        unet=UNet2DConditionModel(
            block_out_channels=(8, 16), layers_per_block=1, sample_size=32, cross_attention_dim=16,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), norm_num_groups=4, attention_head_dim=4,
        ),
        scheduler=DDIMScheduler(steps_offset=1, clip_sample=False), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    target = folder / "pipeline"
    pipeline.save_pretrained(target, safe_serialization=True)
    return target


def sampling(**changes: Any) -> Sampling:
    return Sampling(**({"prompt": "a boat", "seed": 3, "steps": 3, "size": (256, 256)} | changes))


def quiet(_step: int, _steps: int) -> None:
    """Tells nobody."""


def test_any_diffusers_folder_generates_and_tells_its_steps(tiny: Path) -> None:
    steps: list[tuple[int, int]] = []
    made = DiffusersGenerator(str(tiny)).generate(sampling(), lambda at, of: steps.append((at, of)))
    frame = next(iter(made.frames)).rgb
    assert frame.shape == (256, 256, 3)
    assert frame.dtype == np.uint8
    assert steps == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert made.sampling["pipeline"] == "StableDiffusionPipeline"


def test_one_seed_is_one_picture(tiny: Path) -> None:
    generator = DiffusersGenerator(str(tiny))
    first, again, other = (pixel_digest(generator.generate(sampling(seed=s), quiet).frames) for s in (3, 3, 4))
    assert first == again != other


def test_raising_in_a_step_stops_early_and_leaves_the_model_usable(tiny: Path) -> None:
    generator = DiffusersGenerator(str(tiny))

    def stop(step: int, _steps: int) -> None:
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generator.generate(sampling(), stop)
    assert next(iter(generator.generate(sampling(), quiet).frames)).rgb.any()


def test_the_digest_is_of_the_weights(tiny: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(tiny, copy)
    before = DiffusersGenerator(str(copy)).model.digest
    assert before == DiffusersGenerator(str(tiny)).model.digest
    weights = next(copy.rglob("*.safetensors"))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert DiffusersGenerator(str(copy)).model.digest != before


def test_pickles_are_refused_before_anything_is_loaded(tiny: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "pickled"
    shutil.copytree(tiny, copy)
    for weights in copy.rglob("*.safetensors"):
        weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(GenerationError) as caught:
        DiffusersGenerator(str(copy)).generate(sampling(), quiet)
    assert caught.value.code == "generate.unsafe_weights"


def test_one_pickled_component_among_safe_ones_is_refused(tiny: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "mixed"
    shutil.copytree(tiny, copy)
    weights = next((copy / "vae").glob("*.safetensors"))
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(GenerationError):
        DiffusersGenerator(str(copy)).generate(sampling(), quiet)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"_class_name": 5}'])
def test_a_folder_that_is_no_pipeline_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "model_index.json").write_text(text)
    (tmp_path / "a.safetensors").write_bytes(b"")
    with pytest.raises(GenerationError):
        DiffusersGenerator(str(tmp_path)).generate(sampling(), quiet)


@pytest.mark.parametrize("name", ["nowhere", "/no/such/folder", "../x", ""])
def test_an_unknown_model_is_an_error_that_says_what_to_give(name: str) -> None:
    with pytest.raises(GenerationError) as caught:
        _ = DiffusersGenerator(name).model
    assert caught.value.code == "generate.no_model"


def test_options_that_the_model_cannot_serve_are_an_error(tiny: Path) -> None:
    with pytest.raises(GenerationError) as error:
        DiffusersGenerator(str(tiny)).generate(sampling(size=(257, 255)), quiet)
    assert error.value.code == "generate.size", "whoever asked can mend it: that is no fault of the service"


def test_not_a_number_is_never_a_picture(tiny: Path) -> None:
    generator = DiffusersGenerator(str(tiny))
    with torch.no_grad():
        for weight in generator._pipeline.unet.parameters():
            weight.fill_(float("nan"))
    with pytest.raises(GenerationError) as caught:
        generator.generate(sampling(), quiet)
    assert caught.value.code == "generate.empty"


def test_a_release_is_replayed_bit_for_bit(tiny: Path, make_engine: Callable[..., Engine]) -> None:
    generator = DiffusersGenerator(str(tiny))
    engine = make_engine(generator=generator)
    outcome = engine.generate(GenerateRequest("a boat", seed=5, steps=2, size=(320, 320)))
    assert isinstance(outcome, Release)
    result = replay(engine.parts.ledger.log, DiffusersGenerator(str(tiny)), outcome.asset_id, quiet)
    assert result.identical
    assert result.differences == ()


def test_a_replay_with_other_weights_says_so(tiny: Path, tmp_path: Path, make_engine: Callable[..., Engine]) -> None:
    import shutil

    engine = make_engine(generator=DiffusersGenerator(str(tiny)))
    outcome = engine.generate(GenerateRequest("a boat", seed=5, steps=2, size=(320, 320)))
    assert isinstance(outcome, Release)
    other = tmp_path / "other"
    shutil.copytree(tiny, other)
    from safetensors.torch import load_file, save_file

    weights = next((other / "vae").glob("*.safetensors"))
    tensors = {name: tensor * 1.5 for name, tensor in load_file(weights).items()}
    save_file(tensors, weights, metadata={"format": "pt"})
    result = replay(engine.parts.ledger.log, DiffusersGenerator(str(other)), outcome.asset_id, quiet)
    assert not result.identical
    assert any(text.startswith("model:") for text in result.differences)


def test_a_replay_after_erasure_is_refused(tiny: Path, make_engine: Callable[..., Engine]) -> None:
    from filigrana.errors import KeyStoreError
    from filigrana.provenance.vault import Vault

    engine = make_engine(generator=DiffusersGenerator(str(tiny)))
    outcome = engine.generate(GenerateRequest("a boat", seed=5, steps=2, size=(320, 320), subject="someone"))
    assert isinstance(outcome, Release)
    log = engine.parts.ledger.log
    root = log.root()
    with log.transaction() as transaction:
        entry = Vault(transaction.session).erase("someone")
        transaction.append(entry)
    with pytest.raises(KeyStoreError) as caught:
        replay(log, DiffusersGenerator(str(tiny)), outcome.asset_id, quiet)
    assert caught.value.code == "provenance.erased"
    assert log.verify().ok
    assert log.root() != root
    assert "a boat" not in "".join(str(entry) for _, entry in log.entries())


def test_the_shipped_model_names_its_training_data_by_digest() -> None:
    """What the manifest's model ingredient says is the list that lies beside the weights, byte for byte."""
    import hashlib

    from filigrana.pipeline.generators.folder import EMBEDDED, embedded_folder

    listed = (embedded_folder() / "training_data.json").read_bytes()
    model = DiffusersGenerator(EMBEDDED).model
    assert hashlib.sha256(listed).hexdigest() in model.training_data
    assert model.licence == "Apache-2.0"


@pytest.mark.parametrize(
    "name", ["DDIMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler", "PNDMScheduler"]
)
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_previews_of_any_pipeline_are_pictures(tiny: Path, name: str, prediction: str) -> None:
    import diffusers

    from filigrana.pipeline.generators.base import Previews

    generator = DiffusersGenerator(str(tiny))
    pipeline = generator._pipeline
    pipeline.scheduler = getattr(diffusers, name).from_config(pipeline.scheduler.config, prediction_type=prediction)
    seen: list[Any] = []
    previews = Previews((0.5,), lambda step, steps, frame: seen.append((step, frame)))
    generator.generate(sampling(steps=4), quiet, previews)
    assert [step for step, _ in seen] == [2]
    assert seen[0][1].shape == (256, 256, 3)
    assert seen[0][1].dtype == np.uint8
    assert "step" not in vars(pipeline.scheduler)  # nothing listens any more


def test_a_pipeline_whose_decoder_is_not_known_shows_no_previews(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from filigrana.pipeline.generators import estimate
    from filigrana.pipeline.generators.base import Previews

    for answer in (lambda *_: None, lambda *_: 1 / 0):
        monkeypatch.setattr(estimate, "_decoded", answer)
        seen: list[Any] = []
        made = DiffusersGenerator(str(tiny)).generate(
            sampling(), quiet, Previews((0.4,), lambda *a, seen=seen: seen.append(a))
        )
        assert seen == []
        assert next(iter(made.frames)).rgb.shape == (256, 256, 3)
