"""The sixteen rules that a compliance auditor checks, as pure functions of facts.

Each answers `pass`, `fail`, `open` (nobody could look: no pass) or `none` (the rule has nothing to say of this file),
with a sentence. Text and number of each rule are fixed: reports quote them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from . import rules_house as house
from . import rules_marks as marks
from . import rules_record as record
from .duties import Needs
from .facts import FileFacts, HouseFacts
from .outcome import Outcome

Check = Callable[[FileFacts, HouseFacts, Needs], Outcome]


@dataclass(frozen=True, slots=True)
class Rule:
    """``of``: whether it is of the file's bytes alone, of its record, or of the installation."""

    id: str
    title: str
    text: str
    of: Literal["file", "record", "house"]
    check: Check


_TEXTS = {
    "R1": ("Signed statement of origin",
           "The Content Credentials are valid, with an active manifest, a trusted time, c2pa.created (or c2pa.opened "
           "from a parent) and the full URI of the digital source type."),
    "R2": ("Latent disclosure",
           "The file names its provider, the system with its version, the time, a unique id, and whether it was "
           "created or altered."),
    "R3": ("Watermark", "The watermark decodes from the decoded file and resolves to this very asset."),
    "R4": ("Metadata agree", "XMP and Content Credentials state the same digital source type."),
    "R5": ("AIGC label",
           "The file carries exactly one AIGC object: seven keys, a label of 1 to 3, permitted characters, and on "
           "first writing the producer as propagator."),
    "R6": ("Explicit label",
           "Letters of the visible label are at least 5 % of the shorter side high, in clips for two seconds from the "
           "start; sound carries its label at the beginning."),
    "R7": ("What came in is kept", "Marks and credentials of an input are kept."),
    "R8": ("No personal data in answers", "The public detector's answer holds no personal data."),
    "R9": ("A detector for everybody",
           "The detector takes an upload, a URL and an API call, and says which technique its answer rests on."),
    "R10": ("Recorded", "The log's inclusion proof of the release verifies offline."),
    "R11": ("Who judged",
            "The decision record names the policy, and the model and digest of every guard; what no guard judged is "
            "named as such."),
    "R12": ("Retention and erasure", "Retention and erasure work, and are entries of the log."),
    "R13": ("Time-stamps on their own list", "The time-stamp authority stands on a trust list of its own."),
    "R14": ("Legible label",
            "The visible label's contrast is at least 4.5 to 1, its letters are 9 px high or more, and it stands where "
            "it must."),
    "R15": ("Robustness report", "A robustness report exists for the marks of the release in use."),
    "R16": ("Reasons and appeal", "Refusals carry their reasons and a way to appeal."),
}  # fmt: skip
_FILE: dict[str, Check] = {
    "R1": record.r1, "R2": record.r2, "R3": marks.r3, "R4": record.r4, "R5": marks.r5, "R6": marks.r6, "R7": record.r7,
    "R13": record.r13, "R14": marks.r14,
}  # fmt: skip
_RECORD: dict[str, Check] = {"R10": house.r10, "R11": record.r11}
_HOUSE: dict[str, Check] = {"R8": house.r8, "R9": house.r9, "R12": house.r12, "R15": house.r15, "R16": house.r16}


def _rule(name: str, title: str, text: str) -> Rule:
    if name in _FILE:
        return Rule(name, title, text, "file", _FILE[name])
    return Rule(name, title, text, "record", _RECORD[name]) if name in _RECORD else Rule(
        name, title, text, "house", _HOUSE[name]
    )  # fmt: skip


RULES: dict[str, Rule] = {name: _rule(name, *words) for name, words in _TEXTS.items()}
GATE = (*(rule.id for rule in RULES.values() if rule.of == "file"), "R11")
"""Those that a release is held against before it happens: what they look at is in the file."""


def check(
    file: FileFacts, needs: Needs, installation: HouseFacts | None = None, only: Iterable[str] | None = None
) -> list[Outcome]:
    """The outcome of every rule that ``needs`` names, in their order. ``only``: of these alone."""
    wanted = needs.rules if only is None else needs.rules & frozenset(only)
    around = installation or HouseFacts()
    return [rule.check(file, around, needs) for rule in RULES.values() if rule.id in wanted]


def refuses(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Those that stand in a release's way: failed, or not known. Closed, not open."""
    return [outcome for outcome in outcomes if outcome.status in ("fail", "open")]
