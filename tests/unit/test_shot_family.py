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
        width=32, depth=1, heads=2, means=(0.1, 0.0, -0.1, 0.2), scales=(0.4, 0.5, 0.6, 0.3)
    )
    torch.manual_seed(1)
    shapes = ((2, 16, 12, 12), (2, 3, 16, 4, 4), (2, 2, 4), (2, 16, 48))
    parts = Parts(*(torch.rand(shape) * 1.8 - 0.9 for shape in shapes))
    packed = model.pack(parts)
    assert packed.shape == (2, model.values)
    back = model.unpack(packed)
    for name in ("plate", "sprites", "dyes", "motion"):
        assert torch.allclose(getattr(parts, name), getattr(back, name), atol=1e-5)
    assert model.unpack(packed * 100).plate.abs().max() <= 1
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
    own = torch.zeros(1, pipe.transformer.values)

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
    assert torch.equal(one, two)


# Training


def test_the_flow_loss_is_zero_for_the_true_velocity_alone_and_is_learned() -> None:
    from filigrana.training.train_joint import flow_loss

    torch.manual_seed(2)
    model = FiligranaJointTransformer(slot_width=32, width=32, depth=1, heads=2)
    latents, slots = torch.randn(4, model.values), torch.randn(4, 16, 32)
    for parameter in model.drafter[-1].parameters():
        torch.nn.init.zeros_(parameter)
    first = flow_loss(model, latents, torch.full((4,), 0.5), slots)
    assert first.shape == (4,)
    # untrained it says that the latents are zero: at half noise the velocity misses twice the latents
    assert torch.allclose(first, torch.full((4,), 4.0), atol=0.4)
    assert float(flow_loss(model, 0 * latents, torch.full((4,), 0.5), slots).detach().max()) < 1e-6
    assert float(flow_loss(model, 0 * latents, torch.full((4,), 0.01), slots).detach().max()) < 1e-6
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(30):
        loss = flow_loss(model, latents, torch.full((4,), 0.5), slots).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 3.6


def test_a_sprite_that_is_not_there_counts_little() -> None:
    from filigrana.training.train_joint import ABSENT, weights

    model = FiligranaJointTransformer(slot_width=32, width=32, depth=1, heads=2)
    weight = weights(model, torch.tensor([[True, False, False], [True, True, False]]))
    assert weight.shape == (2, model.values)
    before = model.shapes[0][0] * model.shapes[0][1]
    middle, dyes = weight[:, before : before + 768].unflatten(1, (3, 256)), weight[:, before + 768 : before + 776]
    assert torch.equal(middle[:, :, 0] == 2, torch.tensor([[True, False, False], [True, True, False]]))
    assert torch.equal(dyes.unflatten(1, (2, 4)).amin(2) == 2, torch.tensor([[True, False], [True, True]]))
    assert sorted(middle.unique().tolist()) == pytest.approx([ABSENT, 2.0])
    assert (weight[:, :before] == 1).all()
    assert (weight[:, before + 776 :] == 1).all()


def test_a_draft_depends_on_its_own_three_slots_and_is_corrected_by_the_layers() -> None:
    torch.manual_seed(3)
    model = FiligranaJointTransformer(slot_width=8, width=32, depth=1, heads=2, draft=16)
    slots = torch.randn(1, len(ATTRIBUTES), 8)
    first, dyes = model.drafts(slots)
    assert first.shape == (1, 2, 256)
    assert dyes.shape == (1, 2, 4)
    other = slots.clone()
    other[:, list(ATTRIBUTES).index("setting")] += 1
    assert torch.equal(first, model.drafts(other)[0])
    other[:, list(ATTRIBUTES).index("partner_colour")] += 1
    changed, _ = model.drafts(other)
    assert torch.equal(first[:, 0], changed[:, 0])
    assert not torch.equal(first[:, 1], changed[:, 1])
    # untrained layers correct nothing: the latents that the velocity leads to are the drafts
    latents, level = torch.randn(1, model.values), torch.tensor([0.5])
    clean = latents - 0.5 * model(latents, level, slots)
    start = model.shapes[0][0] * model.shapes[0][1]
    assert torch.allclose(clean[:, start : start + 512], first.flatten(1), atol=1e-5)
    assert torch.allclose(clean[:, start + 768 : start + 776], dyes.flatten(1), atol=1e-5)
    assert torch.allclose(clean[:, :start], torch.zeros(1, start), atol=1e-5)


def test_the_drafts_are_learned_from_what_is_there_alone() -> None:
    from filigrana.training.train_joint import draft_loss

    torch.manual_seed(4)
    model = FiligranaJointTransformer(slot_width=8, width=32, depth=1, heads=2, draft=16)
    latents, slots = torch.randn(2, model.values), torch.randn(2, len(ATTRIBUTES), 8)
    there = torch.tensor([[True, False, False], [True, False, True]])
    before = draft_loss(model, latents, slots, there)
    start = model.shapes[0][0] * model.shapes[0][1]
    latents[:, start + 256 : start + 768] += 5
    latents[:, start + 772 : start + 776] += 5
    assert torch.equal(before, draft_loss(model, latents, slots, there))
    latents[:, start : start + 256] += 5
    assert not torch.equal(before, draft_loss(model, latents, slots, there))
    assert float(draft_loss(model, latents, slots, torch.zeros(2, 3, dtype=torch.bool))) == 0


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


def test_the_sound_is_learned_from_the_motion_and_follows_it() -> None:
    from filigrana.training.shot_pool import Batch
    from filigrana.training.train_hearing import hearing_loss

    torch.manual_seed(5)
    model = FiligranaSoundTransformer(slot_width=8, width=32, depth=1, heads=2)
    slots, motion_ = torch.randn(8, len(ATTRIBUTES), 8), torch.zeros(8, MOMENTS, VALUES)
    times = torch.randint(1, 15, (8,))
    latents = torch.zeros(8, 16, 48)
    for k, time in enumerate(times):
        # a thud where the path turns
        motion_[k, :, 1] = (torch.arange(MOMENTS) - time * 4.0).abs() / 32
        latents[k, time] = 1
    batch = Batch(model.pack(latents), slots, motion_)
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    first = float(hearing_loss(model, batch, torch.full((8,), 0.9)).detach())
    for _ in range(120):
        loss = hearing_loss(model, batch, torch.full((8,), 0.9))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < first / 2
    noise_, level = torch.randn(8, model.values), torch.full((8,), 0.9)
    with torch.no_grad():
        clean = noise_ - 0.9 * model(noise_, level, slots, motion_)
        other = noise_ - 0.9 * model(noise_, level, slots, motion_.roll(1, 0))
    loudest = [model.unpack(each).mean(2).argmax(1) for each in (clean, other)]
    assert (loudest[0] == times).float().mean() > 0.7
    assert (loudest[1] == times.roll(1, 0)).float().mean() > 0.7


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
