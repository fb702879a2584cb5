"""Judging sound."""

from __future__ import annotations

from .decision import Decision, RuleHit, Verdict
from .policy import Pack


def judge_sound(pack: Pack) -> Decision:
    """The decision on a sound without pictures, which no guard examines: what the pack says of that."""
    verdict = Verdict.parse(pack.document.unjudged_sound)
    if verdict is Verdict.ALLOW:
        return Decision("output", verdict, pack.ref)
    hit = RuleHit(
        "ENGINE",
        "sound is not examined",
        "",
        verdict,
        "output.sound_unjudged",
        "No guard listens to sound, and the policy does not let it pass unexamined.",
    )
    return Decision("output", verdict, pack.ref, (hit,))
