"""What lets a model fit a small machine: diffusers' own means, on its real classes with tiny random weights."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from filigrana.errors import GenerationError, SettingsError
from filigrana.pipeline.api import Pipeline
from filigrana.pipeline.engine import Engine
from filigrana.pipeline.generators import memory as options
from filigrana.pipeline.generators.base import Sampling
from filigrana.pipeline.generators.diffusers import DiffusersGenerator
from filigrana.pipeline.generators.memory import Memory
from filigrana.pipeline.replay import pixel_digest, replay
from filigrana.pipeline.request import GenerateRequest, Release
from filigrana.pipeline.settings import load_settings
from tests.tiny_families import BUILDERS, saved, wan, wan_transformer

torch = pytest.importorskip("torch", reason="needs the extra `generate`")
pytestmark = pytest.mark.generate

CACHED = ("WanPipeline", "LTXPipeline", "CogVideoXPipeline", "FluxPipeline")
"""The families whose blocks diffusers' First Block Cache knows."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    torch.set_num_threads(1)  # tiny layers gain nothing from more
    home, made = tmp_path_factory.mktemp("families"), dict[str, Path]()

    def get(name: str) -> Path:
        if name not in made:
            made[name] = saved(name, home / name)
        return made[name]

    return get


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU stands in for an accelerator, with accelerate's own hooks. By its plain name: torch copies what goes from
    `cpu` to `cpu:0`, and the copy is no parameter any more."""
    accelerate: Any = importlib.import_module("accelerate")
    monkeypatch.setattr(Memory, "check", lambda *_: None)
    for hook in ("cpu_offload", "cpu_offload_with_hook"):
        own = getattr(accelerate, hook)
        monkeypatch.setattr(
            accelerate, hook, lambda model, device, *a, own=own, **k: own(model, torch.device(device.type), *a, **k)
        )


def quiet(_step: int, _steps: int) -> None:
    """Tells nobody."""


def sampling(generator: DiffusersGenerator, **changes: Any) -> Sampling:
    (kind,) = generator.kinds
    return Sampling(
        **({"prompt": "a boat", "seed": 3, "steps": 2, "size": (96, 64), "kind": kind, "frames": 9} | changes)
    )


def digest(generator: DiffusersGenerator, **changes: Any) -> str:
    return pixel_digest(generator.generate(sampling(generator, **changes), quiet).frames)


def denoiser(generator: DiffusersGenerator) -> Any:
    pipeline = generator._pipeline
    return getattr(pipeline, "transformer", None) or pipeline.unet


def stored(module: Any) -> int:
    return sum(weight.numel() * weight.element_size() for weight in module.parameters())


@pytest.mark.parametrize("name", BUILDERS)
def test_float8_stores_the_denoiser_in_8_bits_and_computes_in_the_type_in_use(
    name: str, folder: Callable[[str], Path]
) -> None:
    plain = DiffusersGenerator(str(folder(name)))
    generator = DiffusersGenerator(str(folder(name)), memory=Memory(weights="float8"))
    part = denoiser(generator)
    types = {weight.dtype for weight in part.parameters()}
    assert torch.float8_e4m3fn in types
    assert torch.float8_e4m3fn not in {weight.dtype for weight in generator._pipeline.vae.parameters()}
    assert stored(part) < 0.75 * stored(denoiser(plain))  # embeddings and norms stay; here they are much of it
    made = generator.generate(sampling(generator), quiet)
    assert made.sampling["memory"] == {"weights": "float8"}
    assert made.sampling["dtype"] == "float32"
    assert torch.float8_e4m3fn in {weight.dtype for weight in part.parameters()}  # again, after the last step
    first = pixel_digest(made.frames)
    assert first == digest(generator)
    assert first != digest(plain)
    assert "memory" not in plain.generate(sampling(plain), quiet).sampling


@pytest.mark.parametrize("name", CACHED)
def test_the_first_block_cache_spares_blocks_and_leaves_nothing_behind(
    name: str, folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "THRESHOLD", 1e6)  # whatever changed, it was little
    generator = DiffusersGenerator(str(folder(name)), memory=Memory(step_cache="first_block"))
    part = denoiser(generator)
    runs: list[int] = []
    blocks = [child for child in part.children() if isinstance(child, torch.nn.ModuleList) and len(child) > 1]
    blocks[-1][-1].forward = _counting(blocks[-1][-1].forward, runs)
    made = generator.generate(sampling(generator, steps=4), quiet)
    spared, first = len(runs), pixel_digest(made.frames)
    assert made.sampling["memory"] == {"step_cache": "first_block 1e+06"}
    assert not part.is_cache_enabled
    assert first == digest(generator, steps=4)  # what one picture left is not there for the next
    runs.clear()
    monkeypatch.setattr(options, "THRESHOLD", -1.0)  # nothing is ever little
    everything = digest(generator, steps=4)
    assert len(runs) == 4 * spared
    assert everything == digest(DiffusersGenerator(str(folder(name))), steps=4) != first


def _counting(forward: Callable[..., Any], runs: list[int]) -> Callable[..., Any]:
    import functools

    @functools.wraps(forward)
    def counted(*args: Any, **kwargs: Any) -> Any:
        runs.append(1)
        return forward(*args, **kwargs)

    return counted


@pytest.mark.parametrize("name", sorted(set(BUILDERS) - set(CACHED)))
def test_a_class_that_the_cache_does_not_know_is_an_error_that_names_it(
    name: str, folder: Callable[[str], Path]
) -> None:
    generator = DiffusersGenerator(str(folder(name)), memory=Memory(step_cache="first_block"))
    with pytest.raises(GenerationError, match=r"step cache first_block does not know \w+") as caught:
        generator.generate(sampling(generator), quiet)
    assert caught.value.code == "generate.memory"
    assert "step_cache" in caught.value.hint


@pytest.mark.parametrize("offload", ["model", "sequential"])
@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_without_an_accelerator_offloading_is_an_error_before_anything_is_loaded(
    offload: Any, device: str, folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import diffusers

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(diffusers.DiffusionPipeline, "from_pretrained", lambda *_, **__: pytest.fail("it was loaded"))
    generator = DiffusersGenerator(str(folder("FluxPipeline")), device=device, memory=Memory(offload=offload))
    with pytest.raises(GenerationError, match="no accelerator to offload from") as caught:
        generator.generate(sampling(generator), quiet)
    assert caught.value.code == "generate.memory"
    assert "offload" in caught.value.hint


@pytest.mark.parametrize("weights", ["none", "float8"])
@pytest.mark.parametrize("offload", ["model", "sequential"])
@pytest.mark.parametrize("name", ["FluxPipeline", "WanPipeline", "StableDiffusionXLPipeline"])
def test_offloading_changes_no_pixel(
    name: str,
    offload: Any,
    weights: Any,
    folder: Callable[[str], Path],
    stand_in: None,
) -> None:
    plain = DiffusersGenerator(str(folder(name)), device="cpu", memory=Memory(weights=weights))
    generator = DiffusersGenerator(str(folder(name)), device="cpu", memory=Memory(offload=offload, weights=weights))
    assert hasattr(generator._pipeline.text_encoder, "_hf_hook")
    made = generator.generate(sampling(generator), quiet)
    assert pixel_digest(made.frames) == digest(plain) == digest(generator)
    assert made.sampling["memory"]["offload"] == offload
    if offload == "sequential":
        assert {weight.device.type for weight in denoiser(generator).parameters()} == {"meta"}
    assert made.sampling["device"].startswith("cpu")


@pytest.mark.parametrize("name", BUILDERS)
def test_tiles_are_used_where_the_autoencoder_can(name: str, folder: Callable[[str], Path]) -> None:
    generator = DiffusersGenerator(str(folder(name)), memory=Memory(vae_tiling=True))
    made = generator.generate(sampling(generator), quiet)
    assert generator._pipeline.vae.use_tiling
    assert made.sampling["memory"] == {"vae_tiling": True}
    assert next(iter(made.frames)).rgb.shape == (64, 96, 3)


def test_tiles_that_a_decoder_has_not_are_not_claimed(folder: Callable[[str], Path]) -> None:
    pipeline = DiffusersGenerator(str(folder("FluxPipeline")))._pipeline
    del pipeline.vae.use_tiling
    assert Memory(vae_tiling=True).place(pipeline, "cpu", torch.float32) == {}


def test_both_denoisers_of_a_model_get_the_options(tmp_path: Path) -> None:
    torch.manual_seed(0)
    wan(transformer_2=wan_transformer(), boundary_ratio=0.9).save_pretrained(tmp_path / "two", safe_serialization=True)
    generator = DiffusersGenerator(str(tmp_path / "two"), memory=Memory(weights="float8", step_cache="first_block"))
    for part in (generator._pipeline.transformer, generator._pipeline.transformer_2):
        assert torch.float8_e4m3fn in {weight.dtype for weight in part.parameters()}
    made = generator.generate(sampling(generator, steps=4), quiet)
    assert made.sampling["memory"] == {"weights": "float8", "step_cache": "first_block 0.05"}
    assert pixel_digest(made.frames) == digest(generator, steps=4)


def test_a_pipeline_without_a_denoiser_is_an_error() -> None:
    class Bare:
        def to(self, _device: str) -> None:
            """Goes nowhere."""

    for memory in (Memory(weights="float8"), Memory(step_cache="first_block")):
        with pytest.raises(GenerationError, match="Bare has no part"):
            memory.place(Bare(), "cpu", torch.float32)
    assert Memory(vae_tiling=True).place(Bare(), "cpu", torch.float32) == {}


def test_a_replay_with_the_same_options_is_identical_and_with_others_says_so(
    folder: Callable[[str], Path], make_engine: Callable[..., Engine]
) -> None:
    where, memory = str(folder("FluxPipeline")), Memory(weights="float8", step_cache="first_block", vae_tiling=True)
    engine = make_engine(generator=DiffusersGenerator(where, memory=memory))
    outcome = engine.generate(GenerateRequest("a boat", seed=5, steps=2, size=(320, 320)))
    assert isinstance(outcome, Release), outcome
    log = engine.parts.ledger.log
    same = replay(log, DiffusersGenerator(where, memory=memory), outcome.asset_id, quiet)
    assert same.identical
    assert same.differences == ()
    other = replay(log, DiffusersGenerator(where), outcome.asset_id, quiet)
    assert not other.identical
    (difference,) = other.differences
    assert difference.startswith("memory: {")
    assert difference.endswith("then, None now")


def test_the_settings_reach_the_generator(tmp_path: Path, folder: Callable[[str], Path]) -> None:
    settings = load_settings(
        data_dir=tmp_path, model=str(folder("FluxPipeline")), offload="model", weights="float8",
        step_cache="first_block", vae_tiling=True,
    )  # fmt: skip
    with Pipeline(settings) as pipeline:
        assert pipeline.generator._memory == Memory("model", "float8", "first_block", True)
    with Pipeline(load_settings(data_dir=tmp_path)) as pipeline:
        assert pipeline.generator._memory == Memory()


@pytest.mark.parametrize(("name", "value"), [("offload", "disk"), ("weights", "int4"), ("step_cache", "all")])
def test_a_memory_option_that_does_not_exist_is_an_error(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        load_settings(**{name: value})


def test_all_options_go_together(folder: Callable[[str], Path], stand_in: None) -> None:
    memory = Memory("none", "float8", "first_block", True)
    plain = DiffusersGenerator(str(folder("FluxPipeline")), device="cpu", memory=memory)
    for offload in ("model", "sequential"):
        every = DiffusersGenerator(str(folder("FluxPipeline")), device="cpu", memory=replace(memory, offload=offload))
        made = every.generate(sampling(every, steps=4), quiet)
        assert set(made.sampling["memory"]) == {"offload", "weights", "step_cache", "vae_tiling"}
        assert pixel_digest(made.frames) == digest(plain, steps=4)
