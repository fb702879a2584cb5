"""Shots: a function of their seed; counts, relations and motions can be measured in boxes and pixels."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from filigrana.pipeline.generators.embedded.dye import fill
from filigrana.tests.small_world import draw, plain_atlas
from filigrana.training.world.atlas import BASE, EDGE, Atlas, fitted
from filigrana.training.world.colours import COLOURS16, OWN
from filigrana.training.world.concepts import KINDS, MATERIALS, STYLES, concepts
from filigrana.training.world.film import render_frames, render_line
from filigrana.training.world.motions import Timeline, boxes, frame_times, ground, hide_times, spin_turns, timeline
from filigrana.training.world.objects import REFUSED
from filigrana.training.world.settings import GRADIENTS, MARGIN, PLAINS, SETTINGS, draw_setting
from filigrana.training.world.shots import CAMERAS, MOTIONS, RELATIONS, Shot, is_held, sample_shot

WORLD = Path(__file__).resolve().parents[2] / "training" / "world"


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    return plain_atlas()


def at(shot: Shot, *times: float) -> Timeline:
    return timeline(shot, np.asarray(times))


def things(shot: Shot, atlas: Atlas, side: int = 128) -> NDArray[np.bool_]:
    """Where the frames differ from the same frames without actors: (T, side, side)."""
    line = timeline(shot, frame_times(shot))
    empty = render_line(replace(shot, actors=()), Timeline(line.times, (), (), line.camera), atlas, side)
    delta = np.abs(render_line(shot, line, atlas, side).astype(int) - empty).max(-1)
    return np.asarray(delta > 24)


# --- what there is ---------------------------------------------------------------------------------------------------


def test_the_world_is_as_large_as_promised() -> None:
    assert len(concepts()) * len(STYLES) >= 300
    assert len(concepts()) >= 150
    assert len(COLOURS16) == 16
    assert len(SETTINGS) == 24
    assert len(MOTIONS) == 12
    assert {concept.kind for concept in concepts()} == set(KINDS)
    assert {concept.material for concept in concepts()} == set(MATERIALS)


def test_no_concept_is_one_that_the_newsroom_refuses() -> None:
    assert {concept.icon for concept in concepts()}.isdisjoint(thing.icon for thing in REFUSED)


def test_every_sprite_of_both_styles_is_listed_with_its_licence() -> None:
    text = (WORLD / "SOURCES.md").read_text(encoding="utf-8").split("## What the newsroom pack refuses")[0]
    assert "OFL-1.1" in text
    assert "MIT" in text
    for concept in concepts():
        assert re.search(rf"\| `{concept.icon}` \| `\w{{16}}…` \| U\+[0-9A-F]{{4,5}} \| `\w{{16}}…` \|", text)


def test_settings_are_plain_blended_or_composed_of_parts_that_a_seed_places() -> None:
    assert len(PLAINS) == 8
    assert len(GRADIENTS) == 4
    for number, setting in enumerate(SETTINGS):
        first, again, other = (draw_setting(number, seed, 64) for seed in (1, 1, 3))
        assert first.shape == (round(64 * (1 + 2 * MARGIN)),) * 2 + (3,)
        assert np.array_equal(first, again)
        assert setting.parts <= (not np.array_equal(first, other))
        assert (first.std((0, 1)).max() > 5) == (setting.name not in PLAINS)


def test_a_fitted_sprite_fills_its_square_but_for_the_edge() -> None:
    picture = np.zeros((BASE, BASE, 4), np.uint8)
    picture[10:40, 20:110] = (200, 10, 10, 255)
    alpha = fitted(picture)[..., 3] > 127
    columns, rows = np.flatnonzero(alpha.any(0)), np.flatnonzero(alpha.any(1))
    assert abs(columns[0] - EDGE) <= 1
    assert abs(columns[-1] - (BASE - 1 - EDGE)) <= 1
    assert abs(rows.mean() - (BASE - 1) / 2) <= 1


def test_a_painted_line_drawing_keeps_its_ink_and_fills_its_paper() -> None:
    drawn = np.ones((1, 2, 4), np.float32)
    drawn[0, 0, :3], drawn[0, 1, :3] = np.asarray((38, 38, 44)) / 255, np.asarray((250, 248, 240)) / 255
    out = fill(drawn, (40, 105, 225))
    assert out[0, 0, :3].max() < 0.2
    assert np.allclose(out[0, 1, :3] * 255, (40, 105, 225), atol=2)


# --- a function of the seed ------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bytes(atlas: Atlas) -> None:
    def film(seed: int) -> bytes:
        rng = np.random.default_rng(seed)
        return b"".join(render_frames(sample_shot(rng, atlas, m), atlas).tobytes() for m in ("still", "clip", "av"))

    assert film(1) == film(1) == film(1)
    assert film(1) != film(2)


def test_training_and_held_out_combinations_never_meet(atlas: Atlas) -> None:
    rng = np.random.default_rng(3)
    trained = [sample_shot(rng, atlas, media) for media in ("still", "clip", "av") for _ in range(300)]
    kept = [sample_shot(rng, atlas, media, held_out=True) for media in ("still", "clip", "av") for _ in range(100)]
    assert not any(shot.held_out for shot in trained)
    assert all(shot.held_out for shot in kept)


def test_about_six_per_cent_is_held_out() -> None:
    held = [is_held(c, s, m) for c in range(len(concepts())) for s in range(len(SETTINGS)) for m in MOTIONS]
    assert 0.05 < np.mean(held) < 0.07


def test_everything_is_drawn_sooner_or_later(atlas: Atlas) -> None:
    rng = np.random.default_rng(4)
    shots = [sample_shot(rng, atlas) for _ in range(1500)]
    assert {shot.camera for shot in shots} == set(CAMERAS)
    assert {shot.relation for shot in shots} == set(RELATIONS)
    assert {shot.motion for shot in shots} == set(MOTIONS)
    assert {shot.count for shot in shots} == {1, 2, 3, 4}
    assert {shot.subject.colour for shot in shots} == set(range(OWN + 1))
    assert {shot.setting for shot in shots} == set(range(len(SETTINGS)))


# --- counts, relations, sizes ----------------------------------------------------------------------------------------


def test_as_many_as_are_said_can_be_counted_in_the_pixels(atlas: Atlas) -> None:
    rng = np.random.default_rng(5)
    for _ in range(120):
        shot = sample_shot(rng, atlas, "still")
        if shot.relation == "front":
            continue
        mask = things(shot, atlas)[0].astype(np.uint8)
        stats = cv2.connectedComponentsWithStats(mask)[2][1:]
        assert (stats[:, cv2.CC_STAT_AREA] > 40).sum() == len(shot.actors)


def test_boxes_are_where_the_pixels_are(atlas: Atlas) -> None:
    for motion in ("rest", "bounce", "grow", "slide"):
        for shot in draw(atlas, 6, 6, "clip", motion=motion, count=1, relation=""):
            found = boxes(shot, timeline(shot, frame_times(shot)))[:, 0] * 128
            for mask, box in zip(things(shot, atlas), found, strict=True):
                rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
                seen = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
                assert np.abs(seen - box.clip(0, 128)).max() < 2.5


def test_whatever_is_counted_or_related_stays_in_sight(atlas: Atlas) -> None:
    rng = np.random.default_rng(9)
    for _ in range(400):
        shot = sample_shot(rng, atlas, "clip")
        if len(shot.actors) > 1:
            found = boxes(shot, timeline(shot, frame_times(shot)))
            assert np.nanmin(found) > -0.02
            assert np.nanmax(found) < 1.02


@pytest.mark.parametrize("relation", ["left", "above", "front"])
def test_relations_hold_in_every_frame(atlas: Atlas, relation: str) -> None:
    for shot in draw(atlas, 7, 25, "clip", relation=relation):
        subject, other = np.moveaxis(boxes(shot, timeline(shot, frame_times(shot))), 1, 0)
        there = ~np.isnan(subject[:, 0])
        subject, other = subject[there], other[there]
        if relation == "left":
            assert (subject[:, 2] < other[:, 0] + 0.02).all()
        elif relation == "above":
            assert (subject[:, 3] < other[:, 1] + 0.02).all()
        else:
            assert (subject[:, 3] > other[:, 3]).all()
            assert ((subject[:, 0] < other[:, 2]) & (other[:, 0] < subject[:, 2])).all()
            assert (subject[:, 1] < other[:, 3]).all()


def test_small_is_smaller_than_large(atlas: Atlas) -> None:
    sizes = {
        size: {shot.subject.size for shot in draw(atlas, 8, 20, "still", size=size, count=1, relation="")}
        for size in ("small", "medium", "large")
    }
    assert max(sizes["small"]) < min(sizes["medium"]) <= max(sizes["medium"]) < min(sizes["large"])


# --- motions ---------------------------------------------------------------------------------------------------------


def test_rest_does_not_move(atlas: Atlas) -> None:
    for shot in draw(atlas, 10, 8, "clip", motion="rest", camera="still"):
        frames = render_frames(shot, atlas)
        assert (frames == frames[0]).all()


def test_a_slide_keeps_its_height_and_goes_its_way(atlas: Atlas) -> None:
    for shot in draw(atlas, 11, 12, "clip", motion="slide"):
        track = timeline(shot, frame_times(shot)).tracks[0]
        assert np.ptp(track.y) == 0
        assert (np.diff(track.x) * shot.direction >= 0).all()
        assert abs(track.x[-1] - track.x[0]) > 0.04


def test_a_bounce_touches_the_ground_at_its_events_and_only_there(atlas: Atlas) -> None:
    for shot in draw(atlas, 12, 12, "clip", motion="bounce", relation=""):
        times = np.arange(0, shot.seconds, 1 / 240)
        for i in range(shot.count):
            hits = [event.time for event in timeline(shot, times).events if event.actor == i]
            assert len(hits) >= 2
            bottom = at(shot, *hits).tracks[i].y + shot.actors[i].high / 2
            assert np.allclose(bottom, ground(shot), atol=1e-6)
            low = timeline(shot, times).tracks[i].y + shot.actors[i].high / 2 > ground(shot) - 0.002
            assert all(min(abs(when - hit) for hit in (*hits, shot.seconds)) < 0.06 for when in times[low])


def test_a_fall_gathers_speed_lands_at_its_event_and_stays(atlas: Atlas) -> None:
    for shot in draw(atlas, 13, 12, "clip", motion="fall"):
        line = timeline(shot, np.arange(0, shot.seconds, 0.01))
        hit = next(event.time for event in line.events if event.actor == 0)
        y = line.tracks[0].y + shot.subject.high / 2
        before = y[line.times < hit]
        assert (np.diff(before) >= 0).all()
        assert np.diff(before)[-1] > 2 * np.diff(before)[len(before) * 2 // 3]
        assert np.allclose(y[line.times > hit + 0.35], ground(shot))


def test_a_spin_comes_back_to_where_it_began(atlas: Atlas) -> None:
    for shot in draw(atlas, 14, 12, "clip", motion="spin"):
        line = at(shot, 0.0, shot.seconds)
        angle = line.tracks[0].angle
        assert angle[1] - angle[0] == pytest.approx(360 * spin_turns(shot) * shot.direction)
        assert len(line.events) == spin_turns(shot)
        turned = at(shot, *(event.time for event in line.events)).tracks[0].angle
        assert np.allclose(np.abs(turned) % 360, 180)


def test_growing_changes_the_size_and_not_the_foot(atlas: Atlas) -> None:
    for shot in draw(atlas, 15, 12, "clip", motion="grow"):
        track = timeline(shot, frame_times(shot)).tracks[0]
        foot = track.y + shot.subject.high / 2 * track.scale
        assert np.ptp(foot) < 1e-9
        assert (np.diff(track.scale) * shot.direction >= 0).all()
        assert np.ptp(track.scale) > 0.8


def test_a_shake_goes_both_ways_and_ends_at_home(atlas: Atlas) -> None:
    for shot in draw(atlas, 16, 12, "clip", motion="shake"):
        line = timeline(shot, np.arange(0, shot.seconds, 0.005))
        away = line.tracks[0].x - shot.subject.x
        assert away.max() > 0.02
        assert away.min() < -0.02
        assert away[0] == away[-1] == 0
        extremes = np.abs(at(shot, *(e.time for e in line.events)).tracks[0].x - shot.subject.x)
        assert (extremes > 0.024).all()


def test_an_orbit_goes_round_its_partner(atlas: Atlas) -> None:
    for shot in draw(atlas, 17, 12, "clip", motion="orbit"):
        partner = shot.partner
        assert partner is not None
        track = timeline(shot, np.linspace(0, shot.seconds, 65)).tracks[0]
        turns = np.unwrap(np.arctan2((track.y - 0.5) / 0.27, (track.x - 0.5) / 0.36))
        assert abs(turns[-1] - turns[0]) / (2 * np.pi) == pytest.approx(2 if shot.tempo > 1 else 1)
        assert np.hypot(track.x - 0.5, track.y - 0.5).min() > 0.26


def test_what_flies_across_comes_from_outside_and_leaves(atlas: Atlas) -> None:
    for shot in draw(atlas, 18, 12, "clip", motion="fly", camera="still"):
        line = at(shot, 0.0, shot.seconds / 2, shot.seconds)
        left, _, right, _ = np.moveaxis(boxes(shot, line)[:, 0], 1, 0)
        outside = (right <= 0.02) | (left >= 0.98)
        assert outside.tolist() == [True, False, True]
        assert line.tracks[0].x[1] == pytest.approx(0.5)


def test_what_hides_is_invisible_in_the_middle_and_seen_before_and_after(atlas: Atlas) -> None:
    for shot in draw(atlas, 19, 12, "clip", motion="hide", camera="still"):
        line = timeline(shot, np.linspace(0, shot.seconds, 33))
        unseen = Timeline(line.times, (), (), line.camera)
        empty = render_line(replace(shot, actors=()), unseen, atlas)
        seen = (np.abs(render_line(shot, line, atlas).astype(int) - empty).max(-1) > 24).sum((1, 2))
        gone, back = hide_times(shot)
        hidden = (line.times > gone + 0.01) & (line.times < back - 0.01)
        assert seen[hidden].max() < 5
        assert seen[0] > 100
        assert seen[-1] > 100


def test_what_appears_is_not_there_before_its_event(atlas: Atlas) -> None:
    for shot in draw(atlas, 20, 12, "clip", motion="appear", relation="", count=1):
        when = timeline(shot, frame_times(shot)).events[0].time
        seen = things(shot, atlas).sum((1, 2))
        times = frame_times(shot)
        assert seen[times <= when].max() == 0
        assert seen[times > when + 0.1].min() > 50


def test_a_collision_touches_at_its_event_and_parts_again(atlas: Atlas) -> None:
    for shot in draw(atlas, 21, 12, "clip", motion="collide"):
        line = timeline(shot, np.arange(0, shot.seconds, 0.01))
        first, second = line.tracks[:2]
        gap = np.abs(first.x - second.x) - (shot.actors[0].wide + shot.actors[1].wide) / 2
        hit = line.events[0].time
        assert abs(line.times[int(np.argmin(gap))] - hit) <= 0.011
        assert -0.03 < gap.min() < 0.005
        assert gap[0] > 0.1
        assert gap[-1] > 0.1


def test_the_camera_pans_and_zooms(atlas: Atlas) -> None:
    for name in CAMERAS[1:]:
        shot = draw(atlas, 22, 1, "clip", camera=name)[0]
        x, _, zoom = timeline(shot, frame_times(shot)).camera.T
        if name.startswith("pan"):
            assert np.sign(x[-1] - x[0]) == (1 if name == "pan right" else -1)
        else:
            assert np.sign(zoom[-1] - zoom[0]) == (1 if name == "zoom in" else -1)
        assert zoom.min() >= 1
        # the view never leaves what was drawn
        assert (np.abs(x - 0.5) + 0.5 / zoom <= 0.5 + MARGIN).all()


# --- the renderer ----------------------------------------------------------------------------------------------------


def test_a_small_picture_is_the_large_one_averaged(atlas: Atlas) -> None:
    for shot in draw(atlas, 23, 10, "still"):
        small, large = render_frames(shot, atlas, 64)[0], render_frames(shot, atlas, 256)[0]
        average = cv2.resize(large, (64, 64), interpolation=cv2.INTER_AREA).astype(int)
        assert np.abs(average - small).mean() < 3


def test_two_hundred_frames_a_second_on_one_core(atlas: Atlas) -> None:
    shots = draw(atlas, 24, 30, "clip")
    start = time.process_time()
    frames = sum(len(render_frames(shot, atlas, 128)) for shot in shots)
    assert frames / (time.process_time() - start) > 200
