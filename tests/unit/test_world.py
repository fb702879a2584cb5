"""What the world is made of: refused things apart, tints that keep the rest, every sprite listed with its licence."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from filigrana.pipeline.generators.embedded.dye import tint
from filigrana.training.world.colours import rgb
from filigrana.training.world.concepts import concepts, refused, thing
from filigrana.training.world.objects import REFUSED
from filigrana.training.world.shots import sample_shot
from tests.small_world import plain_atlas

WORLD = Path(__file__).resolve().parents[2] / "training" / "world"


def test_what_is_refused_is_numbered_after_all_that_may_be_shown() -> None:
    most = len(concepts())
    assert [thing(index) for index in (0, most - 1)] == [concepts()[0], concepts()[-1]]
    assert [thing(most + k) for k in range(len(REFUSED))] == list(refused())
    assert {item.hazard for item in REFUSED} == {"iwp", "gore", "sub"}
    assert {"pistol", "drop of blood", "cigarette"} <= {concept.name for concept in refused()}


def test_a_shot_shows_what_it_was_told_to_draw_from_and_nothing_refused_otherwise() -> None:
    atlas, rng, most = plain_atlas(with_refused=True), np.random.default_rng(1), len(concepts())
    shown = [actor.concept for _ in range(200) for actor in sample_shot(rng, atlas, "still").actors]
    assert max(shown) < most
    only = [actor.concept for _ in range(50) for actor in sample_shot(rng, atlas, "still", things=[most, 3]).actors]
    assert set(only) == {most, 3}


def test_a_tint_changes_the_main_colour_and_keeps_alpha_and_the_rest() -> None:
    picture = np.zeros((8, 8, 4), np.float32)
    picture[:, :6] = (0.9, 0.5, 0.1, 1.0)
    picture[:, 6:7] = (0.05, 0.05, 0.05, 1.0)
    out = tint(picture, rgb("blue"))
    assert out[0, 0, 2] > 0.7 > 0.3 > out[0, 0, 0]
    assert np.allclose(out[:, 6], picture[:, 6])
    assert np.array_equal(out[..., 3], picture[..., 3])


def test_every_sprite_is_listed_with_its_licence() -> None:
    text = (WORLD / "SOURCES.md").read_text(encoding="utf-8")
    for icon in (*(concept.icon for concept in concepts()), *(item.icon for item in REFUSED)):
        assert f"`{icon}`" in text
    assert "OFL-1.1" in text
    assert "MIT" in text
