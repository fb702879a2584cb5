"""The values that safety answers with. Pure: no clock, no database, no model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal

from ..errors import SafetyError

Side = Literal["prompt", "output"]

HAZARDS: dict[str, str] = {
    "vcr": "violent crime",
    "src": "sex-related crime",
    "cse": "child sexual exploitation",
    "ssh": "self-harm",
    "iwp": "weapons",
    "hte": "hate",
    "ncr": "non-violent crime",
    "prv": "privacy, including intimate imagery without consent",
    "dfm": "defamation",
    "ipv": "intellectual property",
    "spc": "specialised advice",
    "sxc": "sexual content",
    "gore": "gore",
    "dst": "disturbing content",
    "pub": "real public figures",
    "pol": "political persuasion",
    "mis": "misinformation: fabricated events",
    "seq": "harm that only the sequence shows",
    "sub": "drugs, alcohol, tobacco",
}


class Verdict(IntEnum):
    """Ordered by strictness: the verdict of several rules is their maximum."""

    ALLOW = 0
    REWRITE = 1
    REVIEW = 2
    BLOCK = 3

    @property
    def word(self) -> str:
        return self.name.lower()

    @classmethod
    def parse(cls, word: str) -> Verdict:
        return cls[word.upper()]


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A model by name, version and the sha256 of its weights (hex), so that a decision names what decided."""

    name: str
    version: str
    digest: str


@dataclass(frozen=True, slots=True)
class GuardRun:
    """Proof that a guard ran: which, on how many inputs, with which scores in [0, 1] by hazard (the worst frame
    counts). ``error`` is set where it did not answer; then ``scores`` is empty. ``calibration``: sha256 (hex) of the
    curves that made its scores probabilities; ``seconds``: how long it took."""

    guard: str
    model: ModelRef | None
    inputs: int
    scores: tuple[tuple[str, float], ...]
    error: str | None = None
    calibration: str | None = None
    seconds: float = 0.0

    def score(self, hazard: str) -> float | None:
        return dict(self.scores).get(hazard)


@dataclass(frozen=True, slots=True)
class RuleHit:
    """A rule that decided something: ``code`` is stable per (side, hazard), ``automated`` says that no human did."""

    rule: str
    title: str
    hazard: str
    verdict: Verdict
    code: str
    reason: str
    override: bool = True


@dataclass(frozen=True, slots=True)
class PolicyRef:
    """``approved_by``: whose signatures on the pack were checked, as verifier keys; empty where none were asked for."""

    id: str
    version: str
    digest: str
    approved_by: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        said: dict[str, Any] = {"id": self.id, "version": self.version, "digest": self.digest}
        return said | ({"approved_by": list(self.approved_by)} if self.approved_by else {})


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A prompt that would be allowed. The author accepts it by its ``digest`` (the first 16 hex digits of sha256)."""

    prompt: str
    digest: str


@dataclass(frozen=True, slots=True)
class Decision:
    """One judgement of one side. ``thresholds``: what each guard's score was held against. ``input``: what was judged,
    as `sha256:…` of the frames or as the keyed commitment to the prompt. ``reads``: (rule, guard, hazard), what
    each rule with a threshold reads, so that a score can be held against it without the pack."""

    side: Side
    verdict: Verdict
    policy: PolicyRef
    hits: tuple[RuleHit, ...] = ()
    guards: tuple[GuardRun, ...] = ()
    rewrite: Rewrite | None = None
    thresholds: tuple[tuple[str, float], ...] = ()
    input: str | None = None
    reads: tuple[tuple[str, str, str], ...] = ()

    @property
    def code(self) -> str:
        """The code of the strictest rule, or `<side>.allowed`."""
        worst = max(self.hits, key=lambda hit: hit.verdict, default=None)
        return worst.code if worst else f"{self.side}.allowed"

    @property
    def reasons(self) -> tuple[str, ...]:
        """In the rules' words, the strictest first. Of what is blocked, those of rules that block alone: the others say
        that a person looks at it, which nobody does then. The statement of reasons names every rule."""
        blocks = self.verdict is Verdict.BLOCK
        told = [hit for hit in self.hits if not blocks or hit.verdict is Verdict.BLOCK] or list(self.hits)
        return tuple(dict.fromkeys(hit.reason for hit in sorted(told, key=lambda hit: -hit.verdict)))

    def hazards(self) -> dict[str, float]:
        """The highest score by hazard over all guards; a rule without a score counts as 1."""
        found: dict[str, float] = {}
        for run in self.guards:
            for hazard, score in run.scores:
                found[hazard] = max(found.get(hazard, 0.0), score)
        for hit in self.hits:
            if hit.hazard:
                found.setdefault(hit.hazard, 1.0)
        return found

    def record(self) -> dict[str, Any]:
        """What goes into the audit log: everything but the text that was judged. Scores as text, so that the
        canonical form never depends on how a float is printed."""
        return {
            "side": self.side,
            "input": self.input,
            "verdict": self.verdict.word,
            "code": self.code,
            "policy": self.policy.record(),
            "rules": [{"id": hit.rule, "verdict": hit.verdict.word, "code": hit.code} for hit in self.hits],
            "guards": [
                {
                    "guard": run.guard,
                    "model": None
                    if run.model is None
                    else {"name": run.model.name, "version": run.model.version, "digest": run.model.digest},
                    "calibration": run.calibration,
                    "inputs": run.inputs,
                    "milliseconds": str(round(run.seconds * 1e3)),
                    "scores": {hazard: f"{score:.6f}" for hazard, score in run.scores},
                    "error": run.error,
                }
                for run in self.guards
            ],
            "thresholds": {name: f"{value:.6f}" for name, value in self.thresholds},
            "reads": {rule: [guard, hazard] for rule, guard, hazard in self.reads},
        }


def checked_scores(guard: str, scores: object) -> tuple[tuple[str, float], ...]:
    """The scores of a guard as pairs, or SafetyError: an empty answer, NaN, or a number outside [0, 1] is a failed
    guard, never a low score. So are pairs, of which a later one could hide an earlier."""
    if not isinstance(scores, Mapping) or not scores:
        raise SafetyError(f"the guard {guard} gave no score", code="safety.empty")
    pairs = []
    for hazard, score in scores.items():
        if hazard not in HAZARDS:
            raise SafetyError(f"the guard {guard} named an unknown hazard", code="safety.unknown_hazard")
        if (
            isinstance(score, bool)
            or not isinstance(score, int | float)
            or not math.isfinite(score)
            or not (0 <= score <= 1)
        ):
            raise SafetyError(f"the guard {guard} gave a score that is no probability", code="safety.not_a_number")
        pairs.append((str(hazard), float(score)))
    return tuple(sorted(pairs))
