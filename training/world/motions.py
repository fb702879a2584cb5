"""The twelve motions: where a thing is at each time, and what happens when.

A motion is a pure function of the times asked for, so frames of any rate and sound see the same event times.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .concepts import thing
from .settings import SETTINGS
from .shots import Actor, Shot

Times = NDArray[np.float64]
LAG = 0.12
"""Seconds between the members of a group that fall, bounce or appear one after the other."""
COVER_WIDE, COVER_HIGH = 0.5, 0.56
"""The box of what a thing hides behind."""
HIDE_GROUND = 0.86


@dataclass(frozen=True)
class Track:
    """An actor over time, each (T,) float64: middle of the box, size factor, degrees clockwise, opacity 0..1."""

    x: Times
    y: Times
    scale: Times
    angle: Times
    alpha: Times


@dataclass(frozen=True)
class Event:
    """Something heard at `time` seconds because of actor number `actor`; `strength` is 0..1."""

    time: float
    kind: str
    strength: float
    actor: int = 0


Moved = tuple[Track, tuple[Event, ...]]
Motion = Callable[[Times, Shot, int], Moved]


def smooth(t: Times, start: float, end: float) -> Times:
    """0 before `start`, 1 after `end`, smoothly between."""
    u = ((t - start) / (end - start)).clip(0, 1)
    return np.asarray(u * u * (3 - 2 * u))


def _track(
    t: Times,
    actor: Actor,
    x: Times | None = None,
    y: Times | None = None,
    scale: Times | None = None,
    angle: Times | None = None,
    alpha: Times | None = None,
) -> Track:
    """A track that stays at home in all that isn't given."""
    one = np.ones_like(t)
    return Track(
        one * actor.x if x is None else x,
        one * actor.y if y is None else y,
        one if scale is None else scale,
        one * 0 if angle is None else angle,
        one if alpha is None else alpha,
    )


def rest(t: Times, shot: Shot, i: int) -> Moved:
    """Nothing moves; what has a voice uses it."""
    actor = shot.actors[i]
    kind = thing(actor.concept).kind
    voice = {"bird": "chirp", "animal": "call", "clock": "tick", "music": "note"}.get(kind)
    if voice is None:
        return _track(t, actor), ()
    step = 0.5 if voice == "tick" else 0.7 / shot.tempo
    times = np.arange(0.25 + 0.17 * i, shot.seconds - 0.25, step)
    return _track(t, actor), tuple(Event(float(when), voice, 0.6, i) for when in times)


def slide(t: Times, shot: Shot, i: int) -> Moved:
    """Moves along the ground, starts and stops within the clip."""
    actor = shot.actors[i]
    start, end = slide_times(shot)
    reach = (0.27 if shot.count == 1 else 0.1 / shot.count) * shot.direction
    return _track(t, actor, x=actor.x + reach * (2 * smooth(t, start, end) - 1)), ()


def slide_times(shot: Shot) -> tuple[float, float]:
    """When a slide starts and stops."""
    half = 0.33 * shot.seconds / max(shot.tempo, 0.8)
    return 0.5 * shot.seconds - half, 0.5 * shot.seconds + half


def bounce(t: Times, shot: Shot, i: int) -> Moved:
    """Falls from its apex, touches the ground every period, and springs up again."""
    actor = shot.actors[i]
    period, delay = 0.7 / shot.tempo, LAG * i
    high = min(0.36, actor.y - actor.high / 2 - 0.06)
    phase = ((t - delay) / period + 0.5) % 1
    y = actor.y - high * (1 - (2 * phase - 1) ** 2)
    hits = np.arange(delay + period / 2, shot.seconds - 0.05, period)
    return _track(t, actor, y=y), tuple(Event(float(hit), "impact", 0.5 + high, i) for hit in hits)


def fall(t: Times, shot: Shot, i: int) -> Moved:
    """Hangs near the top, drops with growing speed, lands, rebounds a little, and lies still."""
    actor = shot.actors[i]
    top, lasts = actor.high / 2 + 0.02, 0.5 / shot.tempo
    start = 0.2 * shot.seconds + LAG * i
    hit, back = start + lasts, 0.24 / shot.tempo**0.5
    drop = ((t - start) / lasts).clip(0, 1) ** 2
    u = ((t - hit) / back).clip(0, 1)
    y = top + (actor.y - top) * drop - 0.05 * (1 - (2 * u - 1) ** 2)
    return _track(t, actor, y=y), (Event(hit, "impact", 1.0, i), Event(hit + back, "impact", 0.3, i))


def spin(t: Times, shot: Shot, i: int) -> Moved:
    """Turns in place, a whole number of turns; ticks when upside down."""
    actor = shot.actors[i]
    turns = spin_turns(shot)
    ticks = (np.arange(turns) + 0.5) * shot.seconds / turns
    events = tuple(Event(float(when), "tick", 0.7, i) for when in ticks) if i == 0 else ()
    return _track(t, actor, angle=shot.direction * 360 * turns * t / shot.seconds), events


def spin_turns(shot: Shot) -> int:
    """Whole turns within the clip: 1, 2 or 3."""
    return {0.75: 1, 1.0: 2}.get(shot.tempo, 3)


def grow(t: Times, shot: Shot, i: int) -> Moved:
    """Grows (or, with direction -1, shrinks) with its foot in place; the tone follows the size."""
    actor = shot.actors[i]
    share = smooth(t, 0.2 * shot.seconds, 0.8 * shot.seconds)
    share = share if shot.direction > 0 else 1 - share
    scale = 0.45 + 0.85 * share
    return _track(t, actor, y=actor.y + actor.high / 2 * (1 - scale), scale=scale), ()


def shake(t: Times, shot: Shot, i: int) -> Moved:
    """Two bursts of shaking; a rattle at each extreme of the way."""
    actor = shot.actors[i]
    rate, lasts = 5.0 * shot.tempo, 0.25 * shot.seconds
    x, events = np.full_like(t, actor.x), []
    for start in (0.15 * shot.seconds, 0.6 * shot.seconds):
        u = t - start
        x += np.where((u > 0) & (u < lasts), 0.025 * np.sin(2 * np.pi * rate * u), 0)
        whens = (np.arange(int(lasts * rate * 2)) + 0.5) / (2 * rate) + start
        events += [Event(float(when), "rattle", 0.6, i) for when in whens] if i == 0 else []
    return _track(t, actor, x=x), tuple(events)


def orbit(t: Times, shot: Shot, i: int) -> Moved:
    """Circles the partner; nearest, and loudest, at the lowest point."""
    actor = shot.actors[i]
    turns = 2 if shot.tempo > 1 else 1
    angle = 2 * np.pi * turns * t / shot.seconds * shot.direction
    near = (1 + np.cos(angle)) / 2
    whens = np.arange(0.0, shot.seconds + 0.01, shot.seconds / turns)
    track = _track(t, actor, 0.5 + 0.36 * np.sin(angle), 0.5 + 0.27 * np.cos(angle), 0.85 + 0.3 * near)
    return track, tuple(Event(float(when), "whoosh", 0.6, i) for when in whens)


def fly(t: Times, shot: Shot, i: int) -> Moved:
    """Crosses the whole picture in an arc; passes the middle half way."""
    actor = shot.actors[i]
    u = ((t - 0.5 * shot.seconds) * max(shot.tempo, 1.0) / shot.seconds + 0.5) * 2 - 1
    x = 0.5 + shot.direction * u * (0.55 + actor.size / 2)
    return _track(t, actor, x, 0.34 + 0.1 * u**2), (Event(0.5 * shot.seconds, "whoosh", 1.0, i),)


def hide_times(shot: Shot) -> tuple[float, float]:
    """When the thing is out of sight, and when it shows again."""
    return 0.36 * shot.seconds, 0.62 * shot.seconds


def hide(t: Times, shot: Shot, i: int) -> Moved:
    """Goes behind the cover, stays out of sight, and comes out at the other side."""
    actor = shot.actors[i]
    gone, back = hide_times(shot)
    inner = max(COVER_WIDE / 2 - actor.wide / 2, 0.0)
    outer = COVER_WIDE / 2 + actor.wide / 2 - 0.03
    way = -outer + (outer - inner) * smooth(t, 0, gone) + 2 * inner * ((t - gone) / (back - gone)).clip(0, 1)
    way += (outer - inner) * smooth(t, back, shot.seconds)
    # what floats comes down far enough for the cover to hide all of it
    y = np.full_like(
        t, np.clip(actor.y, HIDE_GROUND - COVER_HIGH + actor.high / 2 + 0.02, HIDE_GROUND - 0.015 - actor.high / 2)
    )
    events = (Event(gone, "rustle", 0.8, i), Event(back, "rustle", 0.8, i))
    return _track(t, actor, 0.5 + shot.direction * way, y), events


def appear(t: Times, shot: Shot, i: int) -> Moved:
    """Isn't there, then pops up with a chime."""
    actor = shot.actors[i]
    when = 0.3 * shot.seconds / shot.tempo + LAG * i
    u = (t - when) / 0.25
    scale = 1 + 0.15 * np.sin(np.pi * u.clip(0, 1))
    return _track(t, actor, scale=scale, alpha=(u * 3).clip(0, 1)), (Event(when, "chime", 0.8, i),)


def collide(t: Times, shot: Shot, i: int) -> Moved:
    """Runs into the partner in the middle; both recoil."""
    actor = shot.actors[i]
    hit, side = 0.45 * shot.seconds / max(shot.tempo, 0.9), -1 if actor.x < 0.5 else 1
    touch = actor.wide / 2 * 0.96
    far = 0.5 - touch - actor.wide / 2 - 0.01
    gap = np.where(t < hit, far * (1 - (t / hit).clip(0, 1)), 0.18 * smooth(t, hit, hit + 0.5 * shot.seconds))
    events = (Event(hit, "impact", 1.0, 0),) if i == 0 else ()
    return _track(t, actor, x=0.5 + side * (touch + gap)), events


ALL: dict[str, Motion] = {
    "rest": rest, "slide": slide, "bounce": bounce, "fall": fall, "spin": spin, "grow": grow, "shake": shake,
    "orbit": orbit, "fly": fly, "hide": hide, "appear": appear, "collide": collide,
}  # fmt: skip


@dataclass(frozen=True)
class Timeline:
    """A shot over time: a track an actor, the events in order, and the camera's middle and zoom, (T, 3) float64."""

    times: Times
    tracks: tuple[Track, ...]
    events: tuple[Event, ...]
    camera: NDArray[np.float64]


def camera(t: Times, shot: Shot) -> NDArray[np.float64]:
    """(T, 3): middle x, middle y and zoom (at least 1) of the view."""
    u = smooth(t, 0.0, shot.seconds)
    out = np.tile((0.5, 0.5, 1.0), (len(t), 1))
    if shot.camera.startswith("pan"):
        out[:, 0] += (0.12 if shot.camera == "pan right" else -0.12) * (2 * u - 1)
    elif shot.camera.startswith("zoom"):
        share = u if shot.camera == "zoom in" else 1 - u
        out[:, 2] = 1 + 0.45 * share
        out[:, 1] += 0.08 * share
    return out


def timeline(shot: Shot, times: Times) -> Timeline:
    """Where everything is at `times`, (T,) seconds."""
    tracks, events = [], []
    for i in range(len(shot.actors)):
        moves = i < shot.count or shot.motion == "collide"
        track, happened = (ALL[shot.motion] if moves else rest)(times, shot, i)
        tracks.append(track)
        if moves:
            events += [event for event in happened if event.time < shot.seconds]
    return Timeline(times, tuple(tracks), tuple(sorted(events, key=lambda e: e.time)), camera(times, shot))


def frame_times(shot: Shot, rate: int = 16) -> Times:
    """The times of a clip's frames at `rate` a second; of a still, one time."""
    return np.zeros(1) if shot.media == "still" else np.arange(round(shot.seconds * rate)) / rate


def boxes(shot: Shot, line: Timeline) -> NDArray[np.float64]:
    """Each actor's box (left, top, right, bottom) in the picture, (T, actors, 4); NaN while it isn't there.

    Turning is left out: the box is that of the upright sprite.
    """
    out = np.empty((len(line.times), len(shot.actors), 4))
    cx, cy, zoom = line.camera.T
    for i, (actor, track) in enumerate(zip(shot.actors, line.tracks, strict=True)):
        x, y = (track.x - cx) * zoom + 0.5, (track.y - cy) * zoom + 0.5
        w, h = actor.wide * track.scale * zoom / 2, actor.high * track.scale * zoom / 2
        out[:, i] = np.stack((x - w, y - h, x + w, y + h), 1)
        out[track.alpha <= 0, i] = np.nan
    return out


def ground(shot: Shot) -> float:
    """The height on which this shot's things stand."""
    return SETTINGS[shot.setting].ground
