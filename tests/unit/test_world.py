"""The sprite world: a function of its seed, captions that tell the truth, and compositions held out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from filigrana.training.world import CELL, SIDE, held_out
from filigrana.training.world.captions import caption, vocabulary
from filigrana.training.world.objects import EVERYTHING, OBJECTS, REFUSED
from filigrana.training.world.palette import BACKGROUNDS, GROUNDS, TINTS, VARIANTS, draw
from filigrana.training.world.scenes import PLACES, Scene, is_held_out, render, sample, visible
from filigrana.training.world.sprites import COLOURS, SIZES, Sprites, tint

WORLD = Path(__file__).resolve().parents[2] / "training" / "world"


@pytest.fixture(scope="module")
def sprites() -> Sprites:
    """A magenta disc for every object and tint: no rasteriser and no download needed."""
    rgba = {}
    for size, side in SIZES.items():
        y, x = np.mgrid[0:side, 0:side] - (side - 1) / 2
        disc = np.zeros((side, side, 4), np.uint8)
        disc[np.hypot(x, y) < side * 0.45] = (255, 0, 255, 255)
        rgba[size] = np.broadcast_to(disc, (len(EVERYTHING), len(COLOURS), side, side, 4))
    mean = np.broadcast_to(np.asarray((255, 0, 255), np.float32), (len(EVERYTHING), len(COLOURS), 3))
    return Sprites(rgba, mean)


def scenes(sprites: Sprites, seed: int, count: int, **options: bool) -> list[Scene]:
    rng = np.random.default_rng(seed)
    return [sample(rng, sprites, **options) for _ in range(count)]


def test_a_seed_names_its_scenes_and_captions(sprites: Sprites) -> None:
    first, again, other = (scenes(sprites, seed, 50) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    told = [[caption(s, np.random.default_rng(3)) for s in first] for _ in range(2)]
    assert told[0] == told[1]


def test_a_crop_is_a_window_of_the_picture(sprites: Sprites) -> None:
    for scene in scenes(sprites, 4, 30, uniform=True):
        whole = render(scene, sprites)
        assert whole.shape == (SIDE, SIDE, 3)
        assert whole.dtype == np.uint8
        assert np.array_equal(render(scene, sprites, (96, 160, 192)), whole[160:352, 96:288])


def test_objects_stand_within_the_picture_and_at_their_place(sprites: Sprites) -> None:
    for scene in scenes(sprites, 5, 300, uniform=True):
        cells = SIZES[scene.size] // CELL
        assert 0 <= scene.column <= SIDE // CELL - cells
        assert 0 <= scene.row <= SIDE // CELL - cells
        middle = scene.column + cells / 2
        assert {"left": middle < 7, "centre": 7 <= middle <= 9, "right": middle > 9}[PLACES[scene.place]]


def test_training_and_held_out_compositions_are_disjoint(sprites: Sprites) -> None:
    def compositions(held_out: bool) -> set[tuple[int, int, int]]:
        drawn = scenes(sprites, 6, 3000, held_out=held_out)
        return {(s.thing, s.background, s.place) for s in drawn}

    assert not compositions(False) & compositions(True)


def test_the_split_holds_out_about_six_per_cent_of_every_object() -> None:
    held = Counter(
        thing
        for thing in range(len(EVERYTHING))
        for background in range(len(BACKGROUNDS))
        for place in range(len(PLACES))
        if is_held_out(thing, background, place)
    )
    total = len(EVERYTHING) * len(BACKGROUNDS) * len(PLACES)
    assert 0.04 < sum(held.values()) / total < 0.08


def test_the_shipped_list_is_held_out_and_long_enough() -> None:
    pairs = held_out.read()
    assert len(pairs) >= 200
    assert all(scene.held_out for _, scene in pairs)
    assert len({text for text, _ in pairs}) > 190


def test_captions_name_the_object_the_tint_and_what_is_unusual(sprites: Sprites) -> None:
    rng = np.random.default_rng(7)
    tints = list(TINTS)
    for scene in scenes(sprites, 8, 500):
        text = caption(scene, rng)
        assert any(name in text for name in EVERYTHING[scene.thing].names)
        if scene.colour:
            assert tints[scene.colour - 1] in text
        if scene.place != 1:
            assert PLACES[scene.place] in text
        if scene.size == "large":
            assert any(word in text for word in ("large", "big", "huge", "giant"))


def test_captions_vary() -> None:
    scene = Scene(0, 1, len(GROUNDS), 0, 1, "medium", 4, 6)
    rng = np.random.default_rng(9)
    texts = {caption(scene, rng) for _ in range(400)}
    assert len(texts) > 150
    assert "a red sailboat on a blue sea" in texts


def test_the_generator_learns_no_refused_object(sprites: Sprites) -> None:
    assert {thing.icon for thing in OBJECTS}.isdisjoint(thing.icon for thing in REFUSED)
    assert all(scene.thing < len(OBJECTS) for scene in scenes(sprites, 10, 2000))
    assert {"pistol", "blood", "cigarette"}.isdisjoint(vocabulary())
    assert {"pistol", "blood", "cigarette"} <= set(vocabulary(refused=True))
    assert {thing.hazard for thing in REFUSED} == {"iwp", "gore", "sub"}


def test_names_are_unambiguous_and_icons_unique() -> None:
    names = Counter(name for thing in OBJECTS for name in thing.names)
    assert [name for name, count in names.items() if count > 1] == []
    assert len({thing.icon for thing in EVERYTHING}) == len(EVERYTHING)
    assert len(OBJECTS) >= 64


def test_backgrounds_show_their_dominant_colour() -> None:
    for ground in BACKGROUNDS:
        for variant in range(VARIANTS):
            picture = draw(ground.name, variant)
            assert picture.shape == (SIDE, SIDE, 3)
            if ground.name in GROUNDS:
                delta = picture.mean((0, 1)) - np.asarray(GROUNDS[ground.name])
                assert np.abs(delta).max() < 22


def test_no_object_hides_in_its_background(sprites: Sprites) -> None:
    red = list(COLOURS).index("red")
    ground = next(i for i, b in enumerate(BACKGROUNDS) if b.name == "red")
    assert not visible(sprites, 0, red, ground)


def test_a_tint_changes_the_main_colour_and_keeps_alpha_and_the_rest() -> None:
    picture = np.zeros((8, 8, 4), np.float32)
    picture[:, :6] = (0.9, 0.5, 0.1, 1.0)
    picture[:, 6:7] = (0.05, 0.05, 0.05, 1.0)
    out = tint(picture, TINTS["blue"])
    assert out[0, 0, 2] > 0.7 > 0.3 > out[0, 0, 0]
    assert np.allclose(out[:, 6], picture[:, 6])
    assert np.array_equal(out[..., 3], picture[..., 3])


def test_every_sprite_is_listed_with_its_licence() -> None:
    text = (WORLD / "SOURCES.md").read_text(encoding="utf-8")
    for thing in EVERYTHING:
        assert f"`{thing.icon}`" in text
