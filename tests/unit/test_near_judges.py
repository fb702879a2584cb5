"""The judges of shots see what they are asked about; questions and truths fit together."""

from __future__ import annotations

import numpy as np
import pytest

from filigrana.pipeline.torch_compat import ready

ready()

from filigrana.training import near_judges  # noqa: E402
from filigrana.training.shots_data import motion  # noqa: E402
from filigrana.training.world.shots import MOTIONS, sample_shot  # noqa: E402
from filigrana.training.world.sound import render_sound  # noqa: E402
from filigrana.training.world.telling import sound_key  # noqa: E402
from tests.small_world import draw, plain_atlas  # noqa: E402


def test_real_counts_and_relations_are_named_right() -> None:
    atlas, rng = plain_atlas(), np.random.default_rng(4)
    judge = near_judges.arrangement_judge(atlas, 3000)
    shots = [sample_shot(rng, atlas, "still", held_out=True) for _ in range(120)]
    said = judge.say(np.stack([near_judges.arranged(motion(shot)) for shot in shots]))
    assert np.mean([a == near_judges.arrangement(shot) for a, shot in zip(said, shots, strict=True)]) > 0.97
    assert len(set(said)) >= 6


def test_what_is_asked_of_a_still_is_judged_by_its_parts() -> None:
    atlas = plain_atlas()
    shots = draw(atlas, 1, 8, media="still")
    judges = near_judges.SpriteJudge(atlas), near_judges.arrangement_judge(atlas, 2000), near_judges.setting_judge(48)
    real = [near_judges.real(shot, atlas) for shot in shots]
    right = near_judges.told(judges, shots, real)
    assert right["setting"] == 1.0
    assert right["colour"] > 0.7
    wrong = near_judges.told(judges, shots, real[1:] + real[:1])
    assert wrong["setting"] < 0.5
    # there is nobody to count where there is no more than one
    alone = [shot for shot in draw(atlas, 3, 40, media="still") if shot.count == 1 and shot.partner is None][:2]
    asked = near_judges.told(judges, alone, [near_judges.real(shot, atlas) for shot in alone])
    assert all(np.isnan(asked[name]) for name in ("count", "relation", "partner"))


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
