"""The judges of shots see what they are asked about; questions and truths fit together."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from filigrana.pipeline.torch_compat import ready

ready()

from filigrana.training import near_judges, shot_judge  # noqa: E402
from filigrana.training.shots_data import motion  # noqa: E402
from filigrana.training.world.shots import MOTIONS, sample_shot  # noqa: E402
from filigrana.training.world.sound import render_sound  # noqa: E402
from filigrana.training.world.telling import sound_key  # noqa: E402
from tests.small_world import draw, plain_atlas  # noqa: E402


def test_the_judge_of_pictures_answers_each_question_about_what_it_sees() -> None:
    atlas = plain_atlas()
    shots = draw(atlas, 1, 3, media="still")
    model, truth = shot_judge.judge(), shot_judge.truth(shots)
    said = model(shot_judge.seen([shot_judge.real(shot, atlas) for shot in shots]))
    asked = shot_judge.questions()
    assert [logits.shape for logits in said] == [(3, count) for count in asked.values()]
    assert truth.shape == (3, len(asked))
    assert all(0 <= int(truth[n, k]) < count for n in range(3) for k, count in enumerate(asked.values()))


def test_it_can_learn() -> None:
    """Two settings are told apart within a few steps."""
    atlas = plain_atlas()
    shots = [draw(atlas, 2, 1, media="still", setting=setting)[0] for setting in (3, 14)]
    x, wanted = shot_judge.seen([shot_judge.real(shot, atlas) for shot in shots]), shot_judge.truth(shots)
    torch.manual_seed(0)
    model, which = shot_judge.judge(), list(shot_judge.ASKED).index("setting")
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(12):
        loss = torch.nn.functional.cross_entropy(model(x)[which], wanted[:, which])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.5


def test_real_motions_are_named_right() -> None:
    atlas, rng = plain_atlas(), np.random.default_rng(5)
    judge = near_judges.motion_judge(atlas, 1500)
    shots = [sample_shot(rng, atlas, "av", held_out=True) for _ in range(60)]
    said = judge.say(np.stack([near_judges.moved(motion(shot)) for shot in shots]))
    assert np.mean([MOTIONS[a] == shot.motion for a, shot in zip(said, shots, strict=True)]) > 0.95


def test_most_real_sounds_are_named_right_and_noise_is_not() -> None:
    atlas, rng = plain_atlas(), np.random.default_rng(6)
    judge = near_judges.sound_judge(atlas, 800)
    shots = [sample_shot(rng, atlas, "av", held_out=True) for _ in range(60)]
    said = judge.say(near_judges.heard(np.stack([render_sound(shot) for shot in shots])))
    names = [near_judges.SOUNDS[a] for a in said]
    assert np.mean([a == sound_key(shot) for a, shot in zip(names, shots, strict=True)]) > 0.7
    shuffled = names[7:] + names[:7]
    assert np.mean([a == sound_key(shot) for a, shot in zip(shuffled, shots, strict=True)]) < 0.4


@pytest.mark.parametrize(("motion_", "most"), [("rest", 1.0), ("fly", 0.9)])
def test_a_thing_is_shown_while_it_is_in_the_picture(motion_: str, most: float) -> None:
    shares = [near_judges.shown(motion(shot)) for shot in draw(plain_atlas(), 7, 8, motion=motion_)]
    assert max(shares) <= 1.0
    assert np.mean(shares) <= most
    assert np.mean(shares) > 0.4
