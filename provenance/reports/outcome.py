"""What a rule says. A value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["pass", "fail", "open", "none"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """``rule``: R1 to R16. ``status``: `open` where nobody could look, `none` where the rule is not about this."""

    rule: str
    status: Status
    detail: str


def judged(rule: str, faults: list[str], good: str) -> Outcome:
    """Failed for all its reasons, or passed."""
    return Outcome(rule, "fail" if faults else "pass", "; ".join(faults) if faults else good)


def not_about(rule: str, why: str) -> Outcome:
    return Outcome(rule, "none", why)
