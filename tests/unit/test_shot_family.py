"""The shot family: words, slots, latents, layers, motion, sound, and the pipeline on tiny random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from filigrana.pipeline.generators.embedded import compose, tracks
from filigrana.pipeline.generators.embedded.dye import dye_of
from filigrana.pipeline.generators.embedded.given import cut_out, widened
from filigrana.pipeline.generators.embedded.joint import FiligranaJointTransformer, Parts
from filigrana.pipeline.generators.embedded.layers import FiligranaLayerAutoencoder
from filigrana.pipeline.generators.embedded.motion import FiligranaMotionTransformer
from filigrana.pipeline.generators.embedded.reader import ATTRIBUTES
from filigrana.pipeline.generators.embedded.shot import FiligranaShotPipeline
from filigrana.pipeline.generators.embedded.sound import FiligranaSoundTransformer
from filigrana.pipeline.generators.embedded.spectrogram import spectrogram, waveform
from filigrana.pipeline.generators.embedded.time import (
    BINS,
    FRAMES,
    MOMENTS,
    VALUES,
)
from filigrana.pipeline.generators.embedded.unknown import UnknownWord, unknown_words
from filigrana.pipeline.generators.embedded.words import build_shot_tokenizer, build_words, split_words
from filigrana.training.shots_data import attributes, motion, say
from filigrana.training.world import layers as world_layers
from filigrana.training.world.colours import COLOURS16, OWN
from filigrana.training.world.film import render_frames
from tests.small_world import draw, plain_atlas
from tests.tiny_shots import tiny_shots

TEXTS = ["a red dog rolls to the left", "ein grüner Hund", "一只红色的小狗在左边", "un perro rojo", "un chien à gauche"]


@pytest.fixture(scope="module")
def pipe() -> FiligranaShotPipeline:
    return tiny_shots(TEXTS)


def noise(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Words


def test_words_are_lower_case_without_accents_and_chinese_is_split_by_characters() -> None:
    assert split_words("Ein GRÜNER Hund, à gauche!") == ["ein", "gruner", "hund", "a", "gauche"]
    assert split_words("红色的dog") == ["红", "色", "的", "dog"]


def test_a_word_that_is_not_known_is_named_once_in_its_order() -> None:
    tokenizer = build_shot_tokenizer(build_words(TEXTS))
    assert [found.word for found in unknown_words(tokenizer, "a red zebra and a zebra, 猫 dogs")] == [
        "zebra",
        "and",
        "猫",
    ]
    assert unknown_words(tokenizer, "a red dgo rols") == [UnknownWord("dgo", ()), UnknownWord("rols", ("rolls",))]
    assert unknown_words(tokenizer, "") == []
    assert len(unknown_words(tokenizer, " ".join(f"{a}{b}xq" for a in "abcdefg" for b in "abcdefg"))) == 20


def test_the_vocabulary_of_the_world_knows_every_caption_of_training() -> None:
    from filigrana.training.shots_data import vocabulary

    atlas, rng = plain_atlas(), np.random.default_rng(3)
    tokenizer = build_shot_tokenizer(vocabulary(atlas, 500))
    unknown = [unknown_words(tokenizer, say(rng, shot)) for shot in draw(atlas, 11, 200)]
    assert sum(map(bool, unknown)) <= 2


# What is learned from


def test_attributes_are_within_their_answers_and_tell_shots_apart() -> None:
    shots = draw(plain_atlas(), 2, 100)
    answers = [attributes(shot) for shot in shots]
    for row in answers:
        assert len(row) == len(ATTRIBUTES)
        assert all(0 <= value < count for value, count in zip(row, ATTRIBUTES.values(), strict=True))
    assert len({tuple(row) for row in answers}) == 100


@pytest.mark.parametrize("wanted", [{"motion": "hide"}, {"motion": "collide"}, {"relation": "front"}, {"count": 4}])
def test_true_layers_and_motion_give_the_picture_that_the_world_draws(wanted: dict[str, Any]) -> None:
    """So what the autoencoders lose is all that a perfect diffusion would lose."""
    atlas = plain_atlas()
    for shot in draw(atlas, 5, 3, **wanted):
        actors = (shot.subject, shot.partner or shot.subject)
        sprites = [atlas.levels(actor.concept, actor.style, actor.colour)[0] for actor in actors]
        sprites.append(world_layers.cover(shot.cover or "wall"))
        plate = world_layers.plate(shot.setting, shot.seed)[..., :3]
        drawn = np.stack(list(tracks.frames(tracks.scene(plate, sprites, motion(shot)), 256, 32)))
        true = render_frames(shot, atlas, 256, 16)
        error = np.square(drawn.astype(float) - true).mean()
        assert 10 * np.log10(255**2 / max(error, 1e-3)) > 30


def test_motion_keeps_absent_things_out_of_sight() -> None:
    shot = next(s for s in draw(plain_atlas(), 8, 60) if s.partner is None and not s.cover and s.count == 1)
    values = motion(shot)
    assert values.shape == (MOMENTS, VALUES)
    alpha = values[:, : 6 * 6].reshape(MOMENTS, 6, 6)[..., 5]
    assert alpha[:, 1:].max() == 0
    assert np.abs(values).max() < 3


# Latents


def test_latents_are_packed_and_unpacked_without_loss_and_bounded() -> None:
    model = FiligranaJointTransformer(
        width=32, depth=1, heads=2, means=(0.1, 0.0, -0.1), scales=(0.4, 0.5, 0.6)
    )
    torch.manual_seed(1)
    shapes = ((2, 16, 12, 12), (2, 3, 16, 4, 4), (2, 2, 4))
    parts = Parts(*(torch.rand(shape) * 1.8 - 0.9 for shape in shapes))
    packed = model.pack(parts)
    assert packed.shape == (2, model.values)
    back = model.unpack(packed)
    for name in ("plate", "sprites", "dyes"):
        assert torch.allclose(getattr(parts, name), getattr(back, name), atol=1e-5)
    assert model.unpack(packed * 100).plate.abs().max() <= 1
    moving = FiligranaMotionTransformer(width=32, depth=1, heads=2, means=tuple(range(9)), scales=(2.0,) * 9)
    where = torch.randn(2, MOMENTS, VALUES)
    assert moving.pack(where).shape == (2, moving.values)
    assert torch.allclose(moving.unpack(moving.pack(where)), where, atol=1e-5)
    # all six instances are normalised alike, the camera by its own
    zero = moving.unpack(torch.zeros(1, moving.values))[0, 0]
    assert zero.tolist() == [0, 1, 2, 3, 4, 5] * 6 + [6, 7, 8]
    hearing = FiligranaSoundTransformer(width=32, depth=1, heads=2, mean=0.1, scale=0.4)
    heard = torch.rand(2, 16, 48) * 1.8 - 0.9
    assert hearing.pack(heard).shape == (2, hearing.values)
    assert torch.allclose(hearing.unpack(hearing.pack(heard)), heard, atol=1e-5)
    assert hearing.unpack(hearing.pack(heard) * 100).abs().max() <= 1


def test_a_layer_autoencoder_takes_sprites_and_backdrops() -> None:
    model: Any = FiligranaLayerAutoencoder(widths=(8, 8, 8, 8, 8))
    for side in (256, 768):
        latents = model.encode(torch.rand(1, 4, side, side))
        assert latents.shape == (1, 16, side // 64, side // 64)
        assert latents.abs().max() < 1
        assert model.decode(latents).shape == (1, 4, side, side)


def test_sound_comes_back_from_its_spectrogram() -> None:
    t = torch.arange(32000) / 16000
    tone = 0.5 * torch.sin(2 * torch.pi * 440 * t) * (t > 0.7) * (t < 1.3)
    levels = spectrogram(tone[None])
    assert levels.shape == (1, BINS, FRAMES)
    assert float(levels.min()) >= 0
    assert float(levels.max()) <= 1.05
    back = waveform(levels, 32000)[0]
    assert back.shape == (32000,)
    assert torch.equal(back, waveform(levels, 32000)[0])
    assert float(back[:9600].square().mean()) < 1e-4
    assert float((spectrogram(back[None]) - levels).abs().mean()) < 0.02
    assert int(torch.fft.rfft(back[12000:20000]).abs().argmax()) == 220


# Composing


def test_what_the_camera_does_not_do_on_purpose_it_does_not_do_at_all() -> None:
    rng = np.random.default_rng(0)
    plate = rng.integers(0, 255, (768, 768, 3)).astype(np.uint8)
    still = np.zeros((MOMENTS, VALUES), np.float32)
    blank = np.zeros((256, 256, 4), np.uint8)
    jitter = still.copy()
    jitter[:, -3:] = rng.normal(0, 0.002, (MOMENTS, 3))
    for values in (still, jitter):
        shown = next(tracks.frames(tracks.scene(plate, [blank] * 3, values), 512, 1))
        assert np.array_equal(shown, plate[128:640, 128:640])


def test_a_track_far_outside_or_of_wild_size_draws_nothing_wrong() -> None:
    sprite = np.full((256, 256, 4), 255, np.uint8)
    plate = np.zeros((768, 768, 3), np.uint8)
    values = np.full((MOMENTS, VALUES), 50, np.float32)
    for shown in tracks.frames(tracks.scene(plate, [sprite] * 3, values), 64, 3):
        assert shown.shape == (64, 64, 3)
    assert len(compose.pyramid(sprite)[-1]) <= 17


def test_a_given_picture_becomes_the_backdrop_with_its_mirror_image_around() -> None:
    picture = np.zeros((300, 600, 3), np.uint8)
    picture[:, :300] = 255
    wide = widened(picture)
    assert wide.shape == (768, 768, 3)
    assert wide[384, 140].min() > 250
    assert wide[384, 620].max() < 5
    assert np.array_equal(wide[:, :128], wide[:, 256:128:-1])


# The pipeline


def test_one_call_gives_pictures_clips_or_clips_with_sound(pipe: FiligranaShotPipeline) -> None:
    picture = pipe("a red dog", num_inference_steps=2, height=128, width=128, generator=noise())
    assert isinstance(picture.images[0], Image.Image)
    assert picture.images[0].size == (128, 128)
    assert picture.frames is None
    assert picture.audio is None
    clip = pipe(TEXTS[:2], num_inference_steps=2, height=64, width=64, num_frames=16, sound=True, output_type="np")
    assert [shot.shape for shot in clip.frames] == [(16, 64, 64, 3)] * 2
    assert [wave.shape for wave in clip.audio] == [(32000,)] * 2
    assert all(np.isfinite(wave).all() and np.abs(wave).max() <= 1 for wave in clip.audio)


def test_a_seed_means_one_shot_and_one_start_with_or_without_sound(pipe: FiligranaShotPipeline) -> None:
    def latents(seed: int) -> Any:
        return pipe("a red dog", num_inference_steps=2, generator=noise(seed), output_type="latent").images

    assert torch.equal(latents(1), latents(1))
    assert not torch.equal(latents(1), latents(2))
    start = pipe.prepare_latents(1, torch.float32, torch.device("cpu"), noise(1), sound=False)
    assert torch.equal(
        start, pipe.prepare_latents(1, torch.float32, torch.device("cpu"), noise(1))[:, : start.shape[1]]
    )


def test_ones_own_latents_guidance_and_a_negative_prompt_are_used(pipe: FiligranaShotPipeline) -> None:
    own = torch.zeros(1, pipe.transformer.values + pipe.motion.values)

    def run(**options: Any) -> Any:
        return pipe("a red dog", num_inference_steps=2, latents=own, output_type="latent", **options).images

    assert not torch.equal(run(guidance_scale=1.0), run(guidance_scale=4.0))
    assert not torch.equal(run(guidance_scale=4.0), run(guidance_scale=4.0, negative_prompt="perro"))
    with pytest.raises(ValueError, match="latents have shape"):
        pipe("a", latents=own, sound=True)


def test_a_callback_sees_each_step_may_change_latents_stop_and_raise(pipe: FiligranaShotPipeline) -> None:
    seen: list[int] = []

    def note(_pipe: Any, step: int, _time: Any, values: dict[str, Any]) -> dict[str, Any]:
        seen.append(step)
        return {"latents": torch.zeros_like(values["latents"])}

    out = pipe("a", num_inference_steps=3, callback_on_step_end=note, output_type="latent").images
    assert seen == [0, 1, 2]
    assert float(out.abs().max()) == 0

    def stop(this: Any, step: int, _time: Any, values: dict[str, Any]) -> dict[str, Any]:
        seen.append(step)
        this._interrupt = True
        return values

    seen.clear()
    pipe("a", num_inference_steps=3, callback_on_step_end=stop, output_type="latent")
    assert seen == [0]

    def fail(*_: Any) -> dict[str, Any]:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        pipe("a", num_inference_steps=3, callback_on_step_end=fail)
    assert pipe("a", num_inference_steps=1, height=64, width=64).images


def test_where_things_will_be_is_known_when_drawing_begins(pipe: FiligranaShotPipeline) -> None:
    seen: list[Any] = []

    def note(_pipe: Any, _step: int, _time: Any, values: dict[str, Any]) -> dict[str, Any]:
        seen.append(values["latents"].clone())
        return {}

    last = pipe("a", num_inference_steps=3, callback_on_step_end=note, output_type="latent", generator=noise()).images
    length = pipe.transformer.values
    assert all(torch.equal(one[:, length:], last[:, length:]) for one in seen)
    assert not torch.equal(seen[0][:, :length], seen[1][:, :length])
    assert torch.equal(seen[-1], last)


def test_a_shift_takes_more_of_the_steps_at_high_noise(pipe: FiligranaShotPipeline) -> None:
    def levels(shift: float) -> list[float]:
        seen: list[float] = []

        def velocity(x: Any, sigma: Any) -> Any:
            seen.append(float(sigma))
            return 0 * x

        pipe._flow(torch.zeros(1, 4), 4, velocity, shift=shift)
        return seen

    assert levels(1) == pytest.approx([1, 0.75, 0.5, 0.25], abs=1e-4)
    assert levels(4) == pytest.approx([1, 12 / 13, 0.8, 4 / 7], abs=1e-4)


def test_latents_that_are_no_numbers_are_an_error_and_not_a_picture(pipe: FiligranaShotPipeline) -> None:
    def spoil(_pipe: Any, _step: int, _time: Any, values: dict[str, Any]) -> dict[str, Any]:
        return {"latents": values["latents"] * float("nan")}

    with pytest.raises(ValueError, match="not finite"):
        pipe("a", num_inference_steps=1, sound=True, num_frames=2, callback_on_step_end=spoil)


def test_a_given_image_shows_behind(pipe: FiligranaShotPipeline) -> None:
    green = Image.new("RGB", (64, 64), (0, 200, 0))
    scene = pipe("a", num_inference_steps=1, image=green, output_type="scene").images[0]
    assert (scene.plate == (0, 200, 0)).all()
    with pytest.raises(ValueError, match="image must be"):
        pipe("a", image=np.zeros((4, 4)))


def test_a_given_image_with_transparency_moves_as_the_subject(pipe: FiligranaShotPipeline) -> None:
    logo = Image.new("RGBA", (90, 60), (0, 0, 0, 0))
    logo.paste((200, 30, 30, 255), (20, 10, 70, 50))
    scene = pipe("a", num_inference_steps=1, image=logo, output_type="scene").images[0]
    sprite = scene.sprites[0][0]
    assert sprite.shape == (256, 256, 4)
    assert tuple(sprite[128, 128]) == (200, 30, 30, 255)
    seen = np.flatnonzero((sprite[..., 3] > 40).any(0))
    assert 245 <= seen[-1] - seen[0] + 1 <= 250
    assert not (scene.plate == scene.plate[0, 0]).all()
    for wrong in (Image.new("RGBA", (20, 20), (9, 9, 9, 0)), np.zeros((20, 20, 2), np.uint8)):
        with pytest.raises(ValueError, match="image"):
            pipe("a", num_inference_steps=1, image=wrong)


def test_half_transparent_edges_are_premultiplied() -> None:
    soft = np.full((40, 40, 4), (200, 100, 0, 128), np.uint8)
    assert cut_out(soft)[128, 128].tolist() == [100, 50, 0, 128]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"prompt": []}, "non-empty"),
        ({"prompt": [1]}, "string"),
        ({"prompt": "a", "width": 512, "height": 256}, "squares"),
        ({"prompt": "a", "width": 2048, "height": 2048}, "64 to 1024"),
        ({"prompt": "a", "num_frames": 0}, "num_frames"),
        ({"prompt": "a", "num_frames": 65}, "num_frames"),
        ({"prompt": "a", "num_inference_steps": 0}, "num_inference_steps"),
        ({"prompt": "a", "output_type": "pickle"}, "output_type"),
        ({"prompt": ["a", "b"], "negative_prompt": ["c"]}, "negative prompts"),
        ({"prompt": "a", "callback_on_step_end_tensor_inputs": ["noise"]}, "offers only"),
    ],
)
def test_wrong_arguments_are_refused_in_words(pipe: FiligranaShotPipeline, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        pipe(**options)


def test_it_is_saved_and_loaded_as_safetensors(pipe: FiligranaShotPipeline, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path, safe_serialization=True)
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".bin", ".pt", ".pkl")]
    again = FiligranaShotPipeline.from_pretrained(tmp_path)
    again.set_progress_bar_config(disable=True)
    one, two = (
        p("un perro rojo", num_inference_steps=2, generator=noise(), output_type="latent").images for p in (pipe, again)
    )
    # memory laid out otherwise may be summed in another order
    assert torch.allclose(one, two, atol=1e-5)


# Words


def test_a_shots_layers_are_taken_from_the_tables() -> None:
    from filigrana.training.shot_pool import Tables

    count = 177 * 2 + 3
    numbers = torch.arange(count).float()[:, None, None, None].expand(-1, 1, 1, 1)
    table = Tables(numbers, torch.arange(24 * 97).float()[:, None, None, None])
    for shot in draw(plain_atlas(), 6, 40):
        plate, three, dyes = table.of(shot)
        assert float(plate) == shot.setting * 97 + shot.seed % 97
        subject = shot.subject
        assert float(three[0]) == subject.concept * 2 + subject.style
        colour = None if subject.colour == OWN else COLOURS16[subject.colour].rgb
        assert np.array_equal(dyes[0].numpy(), dye_of(colour))
        assert (float(three[1]) == 0) == (shot.partner is None) == (float(dyes[1].abs().max()) == 0)
        assert float(three[2]) == (count - 3 + ("wall", "bush", "box").index(shot.cover) if shot.cover else 0)


def test_what_was_understood_is_named_with_its_likelihood(pipe: FiligranaShotPipeline) -> None:
    said = pipe.understood("a red dog")
    assert list(said) == list(ATTRIBUTES)
    assert all(0 < likely <= 1 for _, likely in said.values())
    assert {answer.isdigit() for answer, _ in said.values()} == {True}


def test_every_answer_has_a_label() -> None:
    from filigrana.training.shots_data import labels

    assert {name: len(answers) for name, answers in labels().items()} == ATTRIBUTES


def test_a_line_says_what_was_understood_and_what_is_not_sure() -> None:
    from filigrana.pipeline.cli.generate import told

    said = {
        "count": ("two", 0.99), "size": ("", 0.9), "colour": ("red", 0.7), "concept": ("ball", 0.99),
        "relation": ("", 0.9), "partner": ("none", 1.0), "motion": ("bounce", 0.95), "setting": ("hill", 0.4),
    }  # fmt: skip
    assert told(said) == "two red? ball, bounce"
    assert told({}) == ""


@pytest.mark.parametrize("count", [1, 8])
def test_an_early_estimate_of_a_shot_is_a_picture(pipe: FiligranaShotPipeline, count: int) -> None:
    from filigrana.pipeline.generators.estimate import Estimator

    estimator, seen = Estimator(pipe), []

    def look(_pipe: Any, _step: int, _time: Any, values: dict[str, Any]) -> dict[str, Any]:
        seen.append(estimator.frame())
        return values

    with estimator.listening():
        pipe("un perro rojo", num_inference_steps=2, num_frames=count, generator=noise(), callback_on_step_end=look)
    assert [frame.shape for frame in seen] == [(256, 256, 3)] * 2
