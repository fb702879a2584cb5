"""The families of other houses through the one port: diffusers' real classes with tiny random weights."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from filigrana.errors import GenerationError
from filigrana.pipeline.engine import Engine
from filigrana.pipeline.generators.base import Generated, Previews, Sampling
from filigrana.pipeline.generators.diffusers import DiffusersGenerator
from filigrana.pipeline.generators.families import FAMILIES, Family, family_of
from filigrana.pipeline.replay import pixel_digest, replay
from filigrana.pipeline.request import GenerateRequest, Release
from filigrana.provenance.media import open_media, read_sound
from tests.tiny_families import BUILDERS, saved, wan, wan_transformer

torch = pytest.importorskip("torch", reason="needs the extra `generate`")
pytestmark = pytest.mark.generate

CLIPS: dict[str, tuple[Fraction, int]] = {
    "WanPipeline": (Fraction(16), 33),
    "LTXPipeline": (Fraction(25), 49),
    "LTX2Pipeline": (Fraction(24), 49),
    "CogVideoXPipeline": (Fraction(8), 17),
}
"""Frames a second, and how many there are where nobody asks."""
PICTURES = sorted(set(BUILDERS) - set(CLIPS))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a family, made once."""
    torch.set_num_threads(1)  # tiny layers gain nothing from more
    home, made = tmp_path_factory.mktemp("families"), dict[str, Path]()

    def get(name: str) -> Path:
        if name not in made:
            made[name] = saved(name, home / name)
        return made[name]

    return get


def quiet(_step: int, _steps: int) -> None:
    """Tells nobody."""


def sampling(name: str, **changes: Any) -> Sampling:
    kind: Any = "video" if name in CLIPS else "image"
    small: dict[str, Any] = {"prompt": "a boat", "seed": 3, "steps": 2, "size": (96, 64), "kind": kind, "frames": 9}
    return Sampling(**(small | changes))


def frames(made: Generated) -> list[Any]:
    return [frame.rgb for frame in made.frames]


class Heard(logging.Handler):
    """What a library would write to standard error."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@pytest.mark.parametrize("name", PICTURES)
def test_a_prompt_that_is_longer_than_an_encoder_takes_is_in_no_log(folder: Callable[[str], Path], name: str) -> None:
    """The libraries' own loggers quote what they cut off, and write to standard error whatever ours do."""
    heard = Heard()
    libraries = [logging.getLogger(library) for library in ("diffusers", "transformers")]
    for logger in libraries:
        logger.addHandler(heard)
        logger.setLevel(logging.WARNING)
    try:
        DiffusersGenerator(str(folder(name))).generate(sampling(name, prompt="a boat " + "purple " * 80), quiet)
    finally:
        for logger in libraries:
            logger.removeHandler(heard)
    assert not [line for line in heard.said if "p u r" in line or "purple" in line]


@pytest.mark.parametrize("name", BUILDERS)
def test_a_family_gives_frames_of_the_size_asked_for_and_tells_its_steps(
    name: str, folder: Callable[[str], Path]
) -> None:
    generator = DiffusersGenerator(str(folder(name)))
    steps: list[tuple[int, int]] = []
    made = generator.generate(sampling(name, frames=None), lambda at, of: steps.append((at, of)))
    shown = frames(made)
    assert generator.kinds == {made.kind}
    assert all(rgb.shape == (64, 96, 3) and rgb.dtype == np.uint8 for rgb in shown)
    assert shown[0].std() > 1
    assert steps == [(0, 2), (1, 2), (2, 2)]
    assert (made.sampling["width"], made.sampling["height"], made.sampling["pipeline"]) == (96, 64, name)
    assert made.sound is None  # nobody asked for any
    if name in CLIPS:
        assert (made.rate, len(shown)) == CLIPS[name]
        assert made.sampling["frames"] == len(shown)
    else:
        assert (made.rate, len(shown)) == (None, 1)


@pytest.mark.parametrize("name", BUILDERS)
def test_one_seed_gives_the_same_frames_twice_and_another_seed_others(name: str, folder: Callable[[str], Path]) -> None:
    generator = DiffusersGenerator(str(folder(name)))
    first, again, other = (pixel_digest(generator.generate(sampling(name, seed=s), quiet).frames) for s in (3, 3, 4))
    assert first == again != other


@pytest.mark.parametrize("name", BUILDERS)
def test_the_prompt_reaches_the_model(name: str, folder: Callable[[str], Path]) -> None:
    generator = DiffusersGenerator(str(folder(name)))
    pipeline, seen = generator._pipeline, list[Any]()
    encoder = getattr(pipeline, "text_encoder_2", None) or pipeline.text_encoder
    encoder.register_forward_pre_hook(
        lambda _module, args, kwargs: seen.append(args[0] if args else kwargs["input_ids"]), with_kwargs=True
    )
    for prompt in ("a boat", "zzz"):
        generator.generate(sampling(name, prompt=prompt, steps=1), quiet)
    half = len(seen) // 2
    assert half >= 1
    assert any(not torch.equal(a, b) for a, b in zip(seen[:half], seen[half:], strict=True))


@pytest.mark.parametrize("name", BUILDERS)
def test_raising_in_a_step_stops_and_leaves_the_model_usable(name: str, folder: Callable[[str], Path]) -> None:
    generator = DiffusersGenerator(str(folder(name)))

    def stop(step: int, _steps: int) -> None:
        if step == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generator.generate(sampling(name), stop)
    assert frames(generator.generate(sampling(name), quiet))[0].any()


def test_a_pipeline_without_a_callback_tells_its_beginning_alone(
    folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = DiffusersGenerator(str(folder("FluxPipeline")))
    takes = dict(generator._takes)
    assert "callback_on_step_end" in takes
    del takes["callback_on_step_end"]
    monkeypatch.setattr(generator, "_takes", takes)
    steps: list[tuple[int, int]] = []
    generator.generate(sampling("FluxPipeline"), lambda at, of: steps.append((at, of)))
    assert steps == [(0, 2)]


def test_the_sound_of_a_clip_has_the_rate_of_its_vocoder_and_the_length_of_the_clip(
    folder: Callable[[str], Path],
) -> None:
    generator = DiffusersGenerator(str(folder("LTX2Pipeline")))
    assert generator.sound
    made = generator.generate(sampling("LTX2Pipeline", sound=True, frames=None), quiet)
    assert made.sound is not None
    sound = made.sound.info.sound
    assert sound is not None
    assert sound.rate == generator._pipeline.vocoder.config.output_sampling_rate == 24_000
    assert sound.channels == 2
    samples = np.concatenate([block.samples for block in read_sound(made.sound)])
    assert abs(len(samples) / 24_000 - 49 / 24) < 0.1
    assert samples.std() > 0
    again = generator.generate(sampling("LTX2Pipeline", sound=True, frames=None), quiet)
    assert again.sound is not None
    assert made.sound.path.read_bytes() == again.sound.path.read_bytes()


def test_a_clip_with_sound_of_another_house_is_released_and_replayed(
    folder: Callable[[str], Path], make_engine: Callable[..., Engine]
) -> None:
    generator = DiffusersGenerator(str(folder("LTX2Pipeline")))
    engine = make_engine(generator=generator)
    request = GenerateRequest("a boat", seed=4, steps=1, size=(320, 320), mime="video/mp4", sound=True)
    outcome = engine.generate(request)
    assert isinstance(outcome, Release), outcome
    media = open_media(outcome.file)
    assert (media.info.width, media.info.height, media.info.rate) == (320, 320, Fraction(24))
    assert media.info.sound is not None
    assert len(list(media.frames())) == 49
    result = replay(engine.parts.ledger.log, generator, outcome.asset_id, quiet)
    assert result.identical, result
    assert result.differences == ()


def test_the_library_adds_no_watermark_of_its_own(folder: Callable[[str], Path]) -> None:
    from diffusers import DiffusionPipeline

    where = folder("StableDiffusionXLPipeline")
    assert DiffusersGenerator(str(where))._pipeline.watermark is None
    # The negative control: left alone, and with invisible-watermark there, it would.
    pytest.importorskip("imwatermark")
    assert DiffusionPipeline.from_pretrained(str(where), add_watermarker=None).watermark is not None


def lacking(name: str, family: Family) -> list[str]:
    """What the class does not take, or does not say, of what the table promises."""
    import diffusers

    takes = inspect.signature(getattr(diffusers, name).__call__).parameters
    wanted = {"prompt", "num_inference_steps", "width", "height", "generator", "output_type", "callback_on_step_end"}
    if "video" in family.kinds:
        wanted.add("num_frames")
    if family.tells_rate:
        wanted.add("frame_rate")
    parts = inspect.signature(getattr(diffusers, name).__init__).parameters
    gone = [part for part in family.exact if part not in parts] + ["vocoder"] * (
        family.sound and "vocoder" not in parts
    )
    untold = ["frame_rate untold"] if "frame_rate" in takes and not family.tells_rate else []
    return sorted(wanted - set(takes)) + gone + untold


def test_every_family_of_the_table_is_a_pipeline_that_takes_what_it_is_told() -> None:
    for name in {*FAMILIES, *BUILDERS}:
        if not name.startswith("Filigrana"):
            assert lacking(name, family_of(name)) == [], name


def test_a_table_that_is_wrong_is_seen() -> None:
    """Negative control: what a class lacks, or is not told, comes out by name."""
    assert lacking("WanPipeline", replace(FAMILIES["WanPipeline"], tells_rate=True)) == ["frame_rate"]
    assert lacking("WanPipeline", replace(FAMILIES["WanPipeline"], sound=True)) == ["vocoder"]
    assert lacking("FluxPipeline", FAMILIES["WanPipeline"]) == ["num_frames"]
    assert lacking("LTXPipeline", replace(FAMILIES["LTXPipeline"], tells_rate=False)) == ["frame_rate untold"]


@pytest.mark.parametrize("name", CLIPS)
def test_a_clip_has_one_frame_more_than_its_autoencoder_makes_groups(name: str, folder: Callable[[str], Path]) -> None:
    """The table's group is what the real class works with: other numbers of frames would come back changed, as those
    of CogVideoX do, which shortens time by 4 and decodes in pairs."""
    generator = DiffusersGenerator(str(folder(name)))
    pipeline, family = generator._pipeline, generator.family
    ratio = getattr(pipeline, "vae_scale_factor_temporal", None) or pipeline.vae_temporal_compression_ratio
    assert family.group == ratio * (2 if name == "CogVideoXPipeline" else 1)
    for asked in (1, 10, 12, 16, 20):
        made = generator.generate(sampling(name, steps=1, frames=asked), quiet)
        count = len(frames(made))
        assert count == family.frames(asked) == made.sampling["frames"]
        assert abs(count - asked) <= family.group / 2


def test_the_frames_of_a_family_are_the_nearest_that_it_makes() -> None:
    assert [Family(group=4).frames(n) for n in (1, 2, 4, 5, 8, 33)] == [1, 1, 5, 5, 9, 33]
    assert [FAMILIES["FiligranaShotPipeline"].frames(n) for n in (None, 2, 31)] == [32, 2, 31]
    for name, family in FAMILIES.items():
        if "video" in family.kinds:
            assert abs(family.frames() / family.rate - 2) < Fraction(1, 5), name


def test_a_later_model_of_the_same_class_is_known_by_its_configuration(tmp_path: Path) -> None:
    wan(expand_timesteps=True).save_pretrained(tmp_path / "later", safe_serialization=True)
    assert DiffusersGenerator(str(tmp_path / "later")).family.rate == 24
    assert family_of("WanPipeline", {"expand_timesteps": False}).rate == 16
    assert family_of("CogVideoXPipeline", {"patch_size_t": 2}).rate == 16
    assert family_of("CogVideoXPipeline", {"patch_size_t": None}).rate == 8
    assert family_of("LTXPipeline", {"patch_size_t": 1}).rate == 25


def test_a_model_of_two_denoisers_runs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    pipeline = wan(transformer_2=wan_transformer(), boundary_ratio=0.9)
    pipeline.save_pretrained(tmp_path / "two", safe_serialization=True)
    made = DiffusersGenerator(str(tmp_path / "two")).generate(sampling("WanPipeline"), quiet)
    assert len(frames(made)) == 9


def test_a_pipeline_of_clips_that_is_asked_for_a_picture_gives_one_frame(folder: Callable[[str], Path]) -> None:
    generator = DiffusersGenerator(str(folder("WanPipeline")))
    made = generator.generate(sampling("WanPipeline", kind="image"), quiet)
    assert made.kind == "image"
    assert [rgb.shape for rgb in frames(made)] == [(64, 96, 3)]


@pytest.mark.parametrize("name", BUILDERS)
def test_where_no_steps_are_asked_for_the_pipeline_s_own_number_is_made(
    name: str, folder: Callable[[str], Path]
) -> None:
    generator = DiffusersGenerator(str(folder(name)))
    own = inspect.signature(type(generator._pipeline).__call__).parameters["num_inference_steps"].default
    options = generator._options(sampling(name, steps=None))
    assert options["num_inference_steps"] == own
    assert own in (20, 28, 30, 50)


def test_a_negative_prompt_that_would_stay_unread_is_refused(folder: Callable[[str], Path]) -> None:
    with pytest.raises(GenerationError, match="reads no negative prompt"):
        DiffusersGenerator(str(folder("FluxPipeline"))).generate(sampling("FluxPipeline", negative_prompt="x"), quiet)
    generator = DiffusersGenerator(str(folder("StableDiffusion3Pipeline")))
    plain, negative = (
        pixel_digest(generator.generate(sampling("StableDiffusion3Pipeline", negative_prompt=n), quiet).frames)
        for n in (None, "zzz")
    )
    assert plain != negative


@pytest.mark.parametrize(("name", "half"), [("StableDiffusionXLPipeline", "float16"), ("FluxPipeline", "bfloat16")])
def test_the_type_of_weights_on_an_accelerator_is_the_family_s(
    name: str, half: str, folder: Callable[[str], Path]
) -> None:
    assert DiffusersGenerator(str(folder(name)), device="cuda")._dtype(torch) == getattr(torch, half)
    assert DiffusersGenerator(str(folder(name)), device="cuda", dtype="float32")._dtype(torch) == torch.float32
    assert DiffusersGenerator(str(folder(name)), device="cpu")._dtype(torch) == torch.float32


@pytest.mark.parametrize("name", BUILDERS)
def test_a_family_runs_in_sixteen_bits(name: str, folder: Callable[[str], Path]) -> None:
    generator = DiffusersGenerator(str(folder(name)), dtype="bfloat16")
    made = generator.generate(sampling(name, sound=generator.sound), quiet)
    assert frames(made)[0].dtype == np.uint8
    assert made.sampling["dtype"] == "bfloat16"
    exact = generator.family.exact
    parts = {part: getattr(generator._pipeline, part).dtype for part in ("vae", "text_encoder")}
    assert parts == {part: torch.float32 if part in exact else torch.bfloat16 for part in parts}


@pytest.mark.parametrize("name", BUILDERS)
def test_looking_at_previews_changes_no_pixel(name: str, folder: Callable[[str], Path]) -> None:
    """LTX 2 copies its scheduler for the sound: what listens to the one must not step the other."""
    generator = DiffusersGenerator(str(folder(name)))
    seen: list[Any] = []
    asked = sampling(name, steps=4, sound=generator.sound)
    watched = generator.generate(asked, quiet, Previews((0.5,), lambda step, _of, frame: seen.append((step, frame))))
    plain = generator.generate(asked, quiet)
    assert pixel_digest(watched.frames) == pixel_digest(plain.frames)
    if watched.sound is not None and plain.sound is not None:
        assert watched.sound.path.read_bytes() == plain.sound.path.read_bytes()
    # Packed latents and those of clips are not decoded early.
    shows = name in ("StableDiffusionXLPipeline", "StableDiffusion3Pipeline", "SanaPipeline")
    assert [step for step, _ in seen] == ([2] if shows else [])


def test_the_estimate_of_a_flow_prediction_is_the_scheduler_s_own(folder: Callable[[str], Path]) -> None:
    from filigrana.pipeline.generators.estimate import Estimator

    pipeline = DiffusersGenerator(str(folder("SanaPipeline")))._pipeline
    scheduler = pipeline.scheduler
    scheduler.set_timesteps(4)
    estimator = Estimator(pipeline)
    sample, output = torch.randn(2, 1, 4, 8, 8)
    with estimator.listening():
        scheduler.step(output, scheduler.timesteps[0], sample)
        heard = estimator._clean.clone()
    scheduler._step_index = 0
    assert torch.allclose(heard, scheduler.convert_model_output(output, sample=sample))
