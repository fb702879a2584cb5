"""A clip's sound: its timeline's events and speeds, played by `voices.py` over the setting's quiet ambience."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from . import voices
from .concepts import thing
from .motions import Event, Track, timeline
from .settings import SETTINGS
from .shots import Actor, Shot
from .voices import RATE, Sound

AMBIENCE = 0.02
"""Root mean square of the ambience: far below every event, so that those are heard."""
CENTRED = ("whoosh",)
"""Sounds whose loudest moment, in their middle, is the event; all others begin with it."""


def ambience(rng: np.random.Generator, kind: str, count: int) -> Sound:
    """`count` samples of the setting's sound; root mean square 1, or 0 for "none"."""
    t = np.arange(count) / RATE
    out: NDArray[np.floating]
    if kind == "water":
        swell = 0.6 + 0.4 * np.sin(2 * np.pi * (0.45 * t + rng.random()))
        out = voices.noise(rng, count, 200, 1600) * swell
    elif kind == "wind":
        swell = 0.6 + 0.4 * np.sin(2 * np.pi * (0.3 * t + rng.random()))
        out = voices.noise(rng, count, 120, 420) * swell
    elif kind == "traffic":
        out = voices.noise(rng, count, 30, 180) + 0.0 * t
    elif kind == "crickets":
        out = np.sin(2 * np.pi * 3900 * t) * (np.sin(2 * np.pi * 28 * t) > 0) * (np.sin(2 * np.pi * 1.7 * t) > 0)
    elif kind == "clock":
        out = np.zeros(count)
        click = voices.tick(rng, 0.3)
        for start in range(int(0.1 * RATE), count - len(click), RATE // 2):
            out[start : start + len(click)] += click
    elif kind == "birds":
        out = voices.noise(rng, count, 200, 900) * 0.1
        for start in rng.integers(0, max(count - RATE // 2, 1), 3):
            sung = voices.chirp(float(rng.uniform(0.1, 0.2)))[: count - int(start)]
            out[start : start + len(sung)] += sung
    elif kind == "bubbles":
        out = voices.noise(rng, count, 40, 260) * 0.4
        for start in rng.integers(0, max(count - RATE // 8, 1), 9):
            u = np.arange(RATE // 12) / RATE
            out[start : start + len(u)] += np.sin(2 * np.pi * (500 + 4000 * u) * u) * np.exp(-u / 0.02)
    else:
        return np.zeros(count, np.float32)
    return (out / max(float(np.sqrt((out**2).mean())), 1e-9)).astype(np.float32)


def event_sound(rng: np.random.Generator, event: Event, shot: Shot) -> Sound:
    """What one event sounds like."""
    actor = shot.actors[event.actor]
    material, size = thing(actor.concept).material, actor.size
    if event.kind == "impact":
        return voices.impact(rng, material, size)
    if event.kind == "whoosh":
        return voices.whoosh(rng, size, shot.tempo)
    if event.kind == "rattle":
        return voices.rattle(rng, material, size)
    if event.kind in ("tick", "rustle"):
        return (voices.tick if event.kind == "tick" else voices.rustle)(rng, size)
    return {"chime": voices.chime, "chirp": voices.chirp, "call": voices.call, "note": voices.note}[event.kind](size)


def loudness(event: Event, size: float) -> float:
    """The peak of an event's sound in 0..1: with its strength, and with the size of what makes it."""
    return float(np.clip(0.75 * event.strength * (size / 0.3) ** 0.5, 0.1, 0.9))


def speed(track: Track, rate: float) -> NDArray[np.float64]:
    """Picture widths a second along the track."""
    return np.asarray(np.hypot(np.gradient(track.x), np.gradient(track.y)) * rate)


def _steady(rng: np.random.Generator, shot: Shot, actor: Actor, track: Track) -> Sound | None:
    """What is heard as long as it moves: an engine, a wash, a scrape, a tone that follows the size."""
    kind, fast = thing(actor.concept).kind, speed(track, RATE)
    if shot.motion == "grow":
        moving = np.abs(np.gradient(track.scale)) * RATE
        return voices.glide(actor.size * track.scale, (moving / moving.max()) ** 0.5)
    if kind in ("vehicle", "air") and shot.motion in ("rest", "slide", "fly", "orbit", "hide"):
        return voices.engine(rng, actor.size, fast) * np.float32(0.5)
    if shot.motion == "slide":
        wash = kind in ("boat", "sea")
        return voices.moving_noise(rng, 250 if wash else 700, 1800 if wash else 3500, fast)
    return None


def render_sound(shot: Shot) -> Sound:
    """The shot's sound: (round(seconds * RATE),) float32 mono in -1..1, from the same event times as its frames."""
    rng = np.random.default_rng((shot.seed, 1))
    count = round(shot.seconds * RATE)
    line = timeline(shot, np.arange(count) / RATE)
    out = ambience(rng, SETTINGS[shot.setting].ambience, count) * np.float32(AMBIENCE)
    moving = shot.actors[:1] if shot.motion != "collide" else ()
    for actor, track in zip(moving, line.tracks, strict=False):
        steady = _steady(rng, shot, actor, track)
        if steady is not None:
            out = out + steady
    for event in line.events:
        made = event_sound(rng, event, shot) * np.float32(loudness(event, shot.actors[event.actor].size))
        start = round(event.time * RATE) - (len(made) // 2 if event.kind in CENTRED else 0)
        made = made[max(-start, 0) :]
        start = max(start, 0)
        made = made[: count - start]
        out[start : start + len(made)] += made
    # a soft limit: quiet parts are left as they are
    loud: Sound = (np.tanh(out / 0.95) * 0.95).astype(np.float32)
    return loud
