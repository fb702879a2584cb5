"""How the shot family is measured and exported: sync, objects throughout a clip, curves, encoders kept apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from filigrana.pipeline.torch_compat import ready

ready()

from filigrana.pipeline.generators.embedded.layers import FiligranaLayerAutoencoder  # noqa: E402
from filigrana.pipeline.generators.embedded.time import FiligranaSoundAutoencoder  # noqa: E402
from filigrana.training import card, export_shots, train_clip  # noqa: E402
from filigrana.training.evaluate_shots import cases  # noqa: E402
from filigrana.training.shots_data import motion  # noqa: E402
from filigrana.training.sync import agreement  # noqa: E402
from filigrana.training.world.concepts import concepts  # noqa: E402
from filigrana.training.world.sound import render_sound  # noqa: E402
from tests.small_world import draw, plain_atlas  # noqa: E402

# Sync


def test_a_bounce_agrees_with_its_own_sound_and_not_with_another_ones() -> None:
    shots = draw(plain_atlas(), 21, 16, motion="bounce")
    moved, heard = [motion(shot) for shot in shots], [render_sound(shot) for shot in shots]
    own = [agreement(a, b) for a, b in zip(moved, heard, strict=True)]
    late = [agreement(a, np.roll(b, 3200)) for a, b in zip(moved, heard, strict=True)]
    assert np.mean(own) > 0.7
    assert np.mean(late) < 0.4


def test_silence_and_rest_agree_with_nothing() -> None:
    shot = draw(plain_atlas(), 22, 1, motion="bounce")[0]
    assert agreement(motion(shot), np.zeros(32000, np.float32)) == 0
    still = np.repeat(motion(shot)[:1], 64, axis=0)
    assert agreement(still, render_sound(shot)) == 0


# What judges say


def test_the_captions_asked_are_held_out_and_always_the_same() -> None:
    atlas = plain_atlas()
    first, again = cases(atlas, "still", 20), cases(atlas, "still", 20)
    assert [case.text for case in first] == [case.text for case in again]
    assert all(case.shot.held_out for case in first)


# Export


@pytest.fixture
def whole() -> Any:
    class Parts:
        def __init__(self) -> None:
            torch.manual_seed(1)
            self.layers, self.sound = (made() for made in export_shots.CODERS.values())
            self.reader = self.transformer = self.motion = self.hearing = torch.nn.Linear(2, 2)

        def register_modules(self, **modules: Any) -> None:
            self.__dict__.update(modules)

    return Parts()


def test_encoders_are_taken_out_and_can_be_put_back(whole: Any) -> None:
    names = list(export_shots.CODERS)
    before = {name: {k: v.clone() for k, v in getattr(whole, name).state_dict().items()} for name in names}
    encoders = export_shots.split(whole)
    assert {key.split(".")[0] for key in encoders} == set(names)
    for model in (whole.layers, whole.sound):
        assert model.encoder is None
        assert not any(key.startswith("encoder") for key in model.state_dict())
    with pytest.raises(ValueError, match="decoder alone"):
        whole.layers.encode(torch.zeros(1, 4, 64, 64))
    back = export_shots.joined(whole, encoders)
    for name in names:
        after = back[name].state_dict()
        assert after.keys() == before[name].keys()
        assert all(torch.allclose(after[key], value, atol=2e-3) for key, value in before[name].items())


@pytest.mark.parametrize(
    ("made", "given"),
    [
        (FiligranaLayerAutoencoder, (1, 4, 64, 64)),
        (FiligranaSoundAutoencoder, (1, 257, 256)),
    ],
)
def test_a_decoder_alone_is_smaller_and_says_so(made: Any, given: tuple[int, ...]) -> None:
    both, alone = made(), made(encodes=False)
    assert sum(p.numel() for p in alone.parameters()) < sum(p.numel() for p in both.parameters())
    with pytest.raises(ValueError, match="decoder alone"):
        alone.encode(torch.zeros(given))


def test_a_curve_keeps_every_measurement_and_some_losses() -> None:
    lines: list[dict[str, Any]] = [{"seconds": k, "loss": 1 / (k + 1)} for k in range(1000)]
    lines.insert(500, {"seconds": 500, "sprites": 21.0})
    kept = card.curve(lines)
    assert {"seconds": 500, "sprites": 21.0} in kept
    assert kept[-1] == lines[-1]
    assert len(kept) < 90
    assert card.spent({"layers": kept}, ("layers", "motion")) == {"layers": 999.0}


def test_what_a_doubling_of_the_time_gains_is_told_for_what_was_measured_more_than_once() -> None:
    lines: list[dict[str, Any]] = [
        {"seconds": 100, "loss": 1.0}, {"seconds": 600, "sprites": 20.0, "step": 1}, {"seconds": 1200, "sprites": 23.0},
        {"seconds": 1201, "sprites": 23.1}, {"seconds": 1300, "once": 1.0},
    ]  # fmt: skip
    assert card.gains({"layers": lines})[2:] == ["| layers | sprites | 20 min | 23 | +3 |"]


# The CLIP


def test_the_guards_phrasings_name_every_concept_once_and_refused_ones_apart() -> None:
    said = train_clip.phrasings()
    harmful = [phrase for group in said["hazards"].values() for concept in group for phrase in concept["phrases"]]
    assert len(said["negatives"]) == len(concepts())
    assert not set(harmful) & set(said["negatives"])
    assert {"a pistol", "a drop of blood", "a mug of beer"} <= set(harmful)
    assert all("{}" in template for template in said["templates"])


def test_captions_of_what_is_refused_are_english_and_name_it() -> None:
    atlas, rng = plain_atlas(with_refused=True), np.random.default_rng(3)
    from filigrana.training.world.shots import sample_shot

    for _ in range(30):
        shot = sample_shot(rng, atlas, "still", things=range(len(concepts()), train_clip.ANSWERS["concept"]))
        text = train_clip.caption(rng, shot)
        nouns = train_clip.thing(shot.subject.concept).names["en"]
        assert any(noun.one in text or noun.many in text for noun in nouns)
    assert {train_clip.things().count(k) for k in (0, len(concepts()))} == {1, train_clip.REFUSED_TIMES}


def test_shots_moved_to_one_setting_can_be_told_from_it() -> None:
    atlas, rng = plain_atlas(), np.random.default_rng(4)
    moved = train_clip.alike(rng, atlas, draw(atlas, 9, 40, media="still"))
    settings = [shot.setting for shot in moved]
    assert max(settings.count(setting) for setting in set(settings)) > 25
    assert not any(shot.held_out for shot in moved)


def test_training_goes_on_from_weights_that_have_fewer_blocks(tmp_path: Path) -> None:
    """A block that is new adds nothing at first, so that what was learned is not lost."""
    from safetensors.torch import load_file, save_file

    first = train_clip.new_model(20, tmp_path)
    state = {name: value.contiguous() for name, value in first.state_dict().items()}
    fewer = {name: value for name, value in state.items() if not name.startswith("visual.layer2.1.")}
    assert len(fewer) < len(state)
    save_file(fewer, str(tmp_path / train_clip.WEIGHTS))
    again: Any = train_clip.new_model(20, tmp_path, weights=True)
    assert all(torch.equal(again.state_dict()[name], value) for name, value in fewer.items())
    block, x = again.visual.layer2[1].eval(), torch.rand(1, 128, 6, 6)
    assert torch.equal(block(x), x)
    save_file({**fewer, "unheard.of": torch.zeros(1)}, str(tmp_path / train_clip.WEIGHTS))
    with pytest.raises(ValueError, match="another model"):
        train_clip.new_model(20, tmp_path, weights=True)
    save_file({"logit_scale": load_file(tmp_path / train_clip.WEIGHTS)["logit_scale"]}, str(tmp_path / "w"))
    (tmp_path / "w").replace(tmp_path / train_clip.WEIGHTS)
    with pytest.raises(ValueError, match="another model"):
        train_clip.new_model(20, tmp_path, weights=True)


def test_some_stills_are_made_smaller_from_larger_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    sides: list[int] = []
    real = train_clip.render_frames

    def noted(shot: Any, atlas: Any, side: int) -> Any:
        sides.append(side)
        return real(shot, atlas, side)

    monkeypatch.setattr(train_clip, "render_frames", noted)
    atlas, rng = plain_atlas(), np.random.default_rng(5)
    seen = [train_clip.seen_at(rng, shot, atlas) for shot in draw(atlas, 11, 60, media="still")]
    assert {picture.shape for picture in seen} == {(train_clip.SIDE, train_clip.SIDE, 3)}
    assert 5 < sides.count(2 * train_clip.SIDE) < 30
    assert sides.count(train_clip.SIDE) == 60 - sides.count(2 * train_clip.SIDE)


def test_words_are_put_before_some_captions_and_nothing_of_them_is_lost_that_fits() -> None:
    from filigrana.training.train_reader import MOST_FILLERS, filled

    ids = torch.arange(10, 20).repeat(200, 1)
    out = filled(np.random.default_rng(1), ids, 50)
    assert out.shape[1] <= 10 + MOST_FILLERS
    assert out.min() >= 0
    assert out.max() < 50
    kept = [[v for v in row if v][-10:] for row in out.tolist()]
    assert kept == ids.tolist()
    assert 40 < sum(row[0] != 10 for row in out.tolist()) < 110


def test_a_real_sprite_is_most_like_itself_and_a_soft_one_still_is() -> None:
    import cv2

    from filigrana.training.near_judges import SpriteJudge

    atlas = plain_atlas()
    judge = SpriteJudge(atlas)
    # in this plain world a thing's shape is one of fourteen, so colour and shape decide
    for key in ((3, 0, 2), (10, 0, 5), (12, 0, 14)):
        sprite = atlas.levels(*key)[0]
        soft = np.asarray(cv2.GaussianBlur(sprite, (0, 0), 3), np.uint8)
        for seen in (sprite, soft):
            found = judge.nearest(seen)
            assert np.array_equal(atlas.levels(*found)[0], sprite)


def test_restored_weights_are_trained_on_as_carefully_as_new_ones(tmp_path: Path) -> None:
    """A first step at the full rate would undo what was learned: the optimiser's memory isn't kept with weights."""
    from filigrana.training.common import Run
    from filigrana.training.muon import Muon

    torch.manual_seed(1)
    model, average = torch.nn.Linear(64, 64), torch.nn.Linear(64, 64)
    average.load_state_dict(model.state_dict())
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    torch.save({"model": kept, "ema": kept, "spent": 0.0, "step": export_shots.AVERAGED}, tmp_path / "run.pt")
    run = Run("run", 1000, 1e-2, folder=tmp_path)
    optimiser = Muon(model.named_parameters(), 1e-2, 0.0, ())
    assert run.resume(model=model, ema=average, optimiser=optimiser)
    run.learn(model(torch.randn(8, 64)).square().mean(), model, average, optimiser)
    assert [group["lr"] for group in optimiser.param_groups] == pytest.approx([1e-2 / 100] * 2)
    moved = max(float((model.state_dict()[name] - value).abs().max()) for name, value in kept.items())
    followed = max(float((average.state_dict()[name] - value).abs().max()) for name, value in kept.items())
    assert 0 < followed < 0.02 * moved
    assert moved < 1e-3
    # one that goes on with its optimiser isn't slowed down
    run.save(model=model, ema=average, optimiser=optimiser)
    again = Run("run", 1000, 1e-2, folder=tmp_path)
    again.resume(model=model, ema=average, optimiser=Muon(model.named_parameters(), 1e-2, 0.0, ()))
    assert again.learning_rate() == pytest.approx(1e-2, rel=1e-3)
