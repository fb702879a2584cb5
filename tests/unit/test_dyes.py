"""Dyes: a sprite in the colour that is asked for, as what was learned from has it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filigrana.pipeline.generators.embedded.dye import INK, PAPER, dye_of, dyed, fill, in_line, tint


def disc(rgb: tuple[int, int, int], ring: tuple[int, int, int] | None = None) -> Any:
    """A disc of 64 pixels, (64, 64, 4) uint8 premultiplied; with a ring of another colour around it."""
    y, x = np.mgrid[:64, :64]
    away = np.hypot(y - 31.5, x - 31.5)
    out = np.zeros((64, 64, 4), np.uint8)
    out[away < 28] = (*rgb, 255)
    if ring is not None:
        out[(away < 28) & (away > 22)] = (*ring, 255)
    return out


def test_a_dye_says_a_colour_or_that_there_is_none() -> None:
    assert dye_of(None).tolist() == [0, 0, 0, -1]
    assert dye_of((255, 0, 51)).tolist() == pytest.approx([1, -1, -0.6, 1])


def test_without_a_dye_a_sprite_is_left_as_it_is() -> None:
    sprite = disc((200, 30, 30))
    assert dyed(sprite, dye_of(None)) is sprite


def test_a_flat_sprite_takes_the_colour_and_keeps_its_shades_and_what_is_of_another_hue() -> None:
    sprite = disc((200, 30, 30), ring=(30, 60, 220))
    sprite[20:30, 20:30, :3] = (120, 18, 18)
    out = dyed(sprite, dye_of((50, 160, 70)))
    assert out[32, 32, 1] > 120 > out[32, 32, 0]
    assert out[25, 25, 1] < out[32, 32, 1]
    assert np.abs(out[32, 8].astype(int) - (30, 60, 220, 255)).max() <= 2
    assert np.array_equal(out[..., 3], sprite[..., 3])


def test_a_drawing_in_line_is_filled_and_its_lines_stay() -> None:
    sprite = disc(PAPER, ring=INK)
    assert in_line(sprite / np.float32(255))
    out = dyed(sprite, dye_of((50, 160, 70)))
    assert np.abs(out[32, 32].astype(int) - (50, 160, 70, 255)).max() <= 2
    assert np.abs(out[32, 7].astype(int) - (*INK, 255)).max() <= 2
    # light lines on a dark colour
    assert dyed(sprite, dye_of((28, 45, 110)))[32, 7, :3].min() > 200


def test_what_is_drawn_in_line_is_told_from_what_is_flat() -> None:
    assert not in_line(disc((200, 30, 30)) / np.float32(255))
    assert not in_line(disc((140, 140, 140)) / np.float32(255))
    assert not in_line(np.zeros((64, 64, 4), np.float32))


def test_what_is_drawn_is_dyed_as_what_was_learned_from() -> None:
    for sprite, change in ((disc((200, 30, 30)), tint), (disc(PAPER, ring=INK), fill)):
        straight = sprite.astype(np.float32) / 255
        true = change(straight, (60, 195, 190))
        true[..., :3] *= true[..., 3:]
        assert np.abs(dyed(sprite, dye_of((60, 195, 190))).astype(int) - np.rint(true * 255)).max() <= 1


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31 - 1), st.lists(st.floats(-3, 3), min_size=4, max_size=4))
def test_whatever_is_drawn_a_dyed_sprite_is_premultiplied_and_covers_the_same(seed: int, dye: list[float]) -> None:
    rng = np.random.default_rng(seed)
    sprite = rng.integers(0, 256, (12, 12, 4)).astype(np.uint8)
    sprite[..., :3] = np.minimum(sprite[..., :3], sprite[..., 3:])
    out = dyed(sprite, np.asarray(dye, np.float32))
    assert out.dtype == np.uint8
    assert np.array_equal(out[..., 3], sprite[..., 3])
    assert (out[..., :3] <= out[..., 3:]).all()
