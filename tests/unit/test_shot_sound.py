"""A clip's sound: from the same event times as its frames, with pitch and loudness by size and speed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from filigrana.tests.small_world import draw, plain_atlas
from filigrana.training.world import voices
from filigrana.training.world.atlas import Atlas
from filigrana.training.world.concepts import concepts
from filigrana.training.world.film import render_frames
from filigrana.training.world.motions import Event, Timeline, frame_times, ground, timeline
from filigrana.training.world.settings import SETTINGS
from filigrana.training.world.shots import MOTIONS, Shot
from filigrana.training.world.sound import ambience, loudness, render_sound, speed
from filigrana.training.world.voices import MODES, RATE

QUIET = next(i for i, setting in enumerate(SETTINGS) if setting.ambience == "none")
HOP = RATE // 200


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    return plain_atlas()


def level(sound: NDArray[np.float32], hop: int = HOP) -> NDArray[np.float64]:
    """Root mean square in hops."""
    blocks = sound[: len(sound) // hop * hop].reshape(-1, hop).astype(np.float64)
    return np.asarray(np.sqrt((blocks**2).mean(1)))


def onsets(sound: NDArray[np.float32], many: int) -> list[float]:
    """The times in seconds of the `many` sharpest rises of the logarithmic level, at least 60 ms apart."""
    rise = np.diff(np.log(level(sound) + 1e-3), prepend=np.log(1e-3))
    found = list[float]()
    for k in np.argsort(-rise):
        when = float(k) * HOP / RATE
        if all(abs(when - other) > 0.06 for other in found):
            found.append(when)
        if len(found) == many:
            break
    return sorted(found)


def centroid(sound: NDArray[np.float32]) -> float:
    """The mean frequency in Hz, weighted by power."""
    power = np.abs(np.fft.rfft(sound)) ** 2
    return float((power * np.fft.rfftfreq(len(sound), 1 / RATE)).sum() / power.sum())


def test_sound_is_mono_float32_as_long_as_the_clip_and_never_clips(atlas: Atlas) -> None:
    for motion in MOTIONS:
        for shot in draw(atlas, 30, 4, motion=motion):
            sound = render_sound(shot)
            assert sound.dtype == np.float32
            assert sound.shape == (round(shot.seconds * RATE),)
            assert np.isfinite(sound).all()
            assert np.abs(sound).max() < 0.96


def test_the_same_seed_gives_the_same_bytes(atlas: Atlas) -> None:
    shot = draw(atlas, 31, 1, motion="collide")[0]
    assert render_sound(shot).tobytes() == render_sound(shot).tobytes()
    assert render_sound(shot).tobytes() != render_sound(replace(shot, seed=shot.seed + 1)).tobytes()


@pytest.mark.parametrize("motion", ["bounce", "fall", "collide", "appear", "hide", "spin"])
def test_events_are_heard_when_they_happen(atlas: Atlas, motion: str) -> None:
    shots = draw(atlas, 32, 30, motion=motion, count=1, relation="")
    heard = total = 0
    for shot in shots:
        if concepts()[shot.subject.concept].kind in ("vehicle", "air"):
            continue
        events = sorted({event.time for event in timeline(shot, np.zeros(1)).events})
        rises = onsets(render_sound(replace(shot, setting=QUIET)), len(events))
        heard += sum(min(abs(when - rise) for rise in rises) <= 0.02 for when in events)
        total += len(events)
    assert total >= 15
    assert heard / total >= 0.95


def test_a_bounce_is_heard_in_the_frame_in_which_it_is_seen(atlas: Atlas) -> None:
    """From the pixels alone: the frame in which the thing is lowest, against the sharpest rises of the sound."""
    rate, away = 50, list[float]()
    for shot in draw(atlas, 33, 8, motion="bounce", count=1, relation="", camera="still"):
        shot = replace(shot, setting=QUIET)
        line = timeline(shot, frame_times(shot, rate))
        empty = render_frames(replace(shot, actors=(), media="still"), atlas)[0].astype(int)
        mask = (np.abs(render_frames(shot, atlas, 128, rate) - empty).max(-1) > 24).any(2)
        lowest = np.array([np.flatnonzero(rows)[-1] for rows in mask])
        seen = [k / rate for k in range(1, len(lowest) - 1) if lowest[k] >= lowest.max() - 1]
        for rise in onsets(render_sound(shot), len(line.events)):
            away.append(min(abs(rise - when) for when in seen))
    assert np.median(away) <= 1 / rate
    assert np.mean(np.asarray(away) <= 2 / rate) >= 0.9


def test_an_engine_is_as_loud_as_its_vehicle_is_fast(atlas: Atlas) -> None:
    found = [
        shot
        for shot in draw(atlas, 34, 60, motion="slide")
        if concepts()[shot.subject.concept].kind in ("vehicle", "boat", "thing") and shot.count == 1
    ]
    assert len(found) >= 5
    for shot in found:
        times = frame_times(shot)
        fast = speed(timeline(shot, times).tracks[0], 16)
        loud = level(render_sound(replace(shot, setting=QUIET)), RATE // 16)
        assert np.corrcoef(fast, loud)[0, 1] > 0.8


def test_a_whoosh_is_loudest_when_the_thing_passes_the_middle(atlas: Atlas) -> None:
    for shot in draw(atlas, 35, 20, motion="fly"):
        if concepts()[shot.subject.concept].kind in ("vehicle", "air"):
            continue
        loud = np.convolve(level(render_sound(replace(shot, setting=QUIET))), np.ones(20) / 20, "same")
        assert abs(float(np.argmax(loud)) * HOP / RATE - shot.seconds / 2) < 0.15


def test_growing_lowers_the_tone_and_shrinking_raises_it(atlas: Atlas) -> None:
    for shot in draw(atlas, 36, 10, motion="grow"):
        sound = render_sound(replace(shot, setting=QUIET))
        n = len(sound)
        early, late = centroid(sound[n * 3 // 10 : n * 4 // 10]), centroid(sound[n * 6 // 10 : n * 7 // 10])
        assert (late < early) == (shot.direction > 0)


@pytest.mark.parametrize("material", sorted(MODES))
def test_larger_things_sound_lower_and_louder(material: str) -> None:
    rng = np.random.default_rng(1)
    small, large = (np.mean([centroid(voices.impact(rng, material, size)) for _ in range(5)]) for size in (0.18, 0.42))
    assert large < small
    knock = Event(0.0, "impact", 0.7)
    assert loudness(knock, 0.42) > loudness(knock, 0.18)
    assert loudness(replace(knock, strength=1.0), 0.3) > loudness(knock, 0.3)


def test_materials_and_voices_differ() -> None:
    rng = np.random.default_rng(2)
    tones = {material: centroid(voices.impact(rng, material, 0.3)) for material in MODES}
    assert tones["soft"] < tones["rubber"] < tones["wood"] < tones["metal"] < tones["glass"]
    metal, soft = (voices.impact(rng, material, 0.3) for material in ("metal", "soft"))
    assert level(metal)[40:60].mean() > 5 * level(soft)[40:60].mean()


def test_every_ambience_sounds_and_stays_in_the_background(atlas: Atlas) -> None:
    kinds = {setting.ambience for setting in SETTINGS} - {"none"}
    assert len(kinds) >= 7
    rng = np.random.default_rng(3)
    for kind in kinds:
        assert np.sqrt((ambience(rng, kind, 2 * RATE) ** 2).mean()) == pytest.approx(1, abs=0.01)
    noisy = next(i for i, setting in enumerate(SETTINGS) if setting.ambience == "water")
    for shot in draw(atlas, 37, 4, motion="fall"):
        sound = render_sound(replace(shot, setting=noisy))
        assert np.abs(sound).max() > 8 * np.sqrt((sound[: RATE // 4] ** 2).mean())


def test_frames_and_sound_of_a_shot_agree_on_the_ground(atlas: Atlas) -> None:
    shot = draw(atlas, 38, 1, motion="bounce")[0]
    line: Timeline = timeline(shot, np.asarray([event.time for event in timeline(shot, np.zeros(1)).events]))
    first = [k for k, event in enumerate(line.events) if event.actor == 0]
    assert np.allclose(line.tracks[0].y[first] + shot.subject.high / 2, ground(shot))
    assert isinstance(shot, Shot)
