"""Whether the sound of a clip still lies where it lay against the pictures. Pure.

Pictures and sound carry the same slow variation of their mark (`watermark.variation`), so each tells which moment of
the original it begins with, modulo 32 s, whatever was cut off in front. Where the two disagree, one was moved.
"""

from __future__ import annotations

from dataclasses import dataclass

from .watermark.base import Timing
from .watermark.variation import CYCLE

SLACK = 0.15
"""Seconds beyond both tolerances that nobody notices, and that containers and encoders are off by."""
SPEED_SLACK = 0.005


@dataclass(frozen=True, slots=True)
class Synchrony:
    """``late``: seconds that the sound comes later than it did, in (-16, 16]; ``faster``: how much faster it runs than
    the pictures, 0.02 for 2 %. ``words``: a sentence about it."""

    late: float
    faster: float
    ok: bool
    words: str


def synchrony(pictures: Timing, sound: Timing) -> Synchrony:
    """How the sound lies against the pictures. An offset is the moment of the original at the copy's time 0, so sound
    that comes later begins with an earlier one."""
    cycle = float(CYCLE)
    late = (pictures.offset - sound.offset) % cycle
    late = late - cycle if late > cycle / 2 else late
    faster = sound.speed / pictures.speed - 1.0 if pictures.speed > 0 else 0.0
    moved = abs(late) > pictures.tolerance + sound.tolerance + SLACK
    words = []
    if moved:
        words.append(f"was moved by {late:+.1f} s")
    if abs(faster) > SPEED_SLACK:
        words.append(f"runs {abs(faster):.1%} {'faster' if faster > 0 else 'slower'}")
    if not words:
        return Synchrony(late, faster, True, "the sound lies where it lay against the picture")
    return Synchrony(late, faster, False, f"the sound {' and '.join(words)} against the picture")
