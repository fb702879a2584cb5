"""Why a prompt was judged as it was: each rule that fired, by which words in which reading or by which score, and those
that nearly did. Pure but for the guards that it is given."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .decision import Decision
from .judge import DEFAULT_TIMEOUT, TextGuard, judge_text
from .policy import Pack, Rule, Terms
from .text.lexicon import Match, near

NEAREST = 5
_NEAR_ENOUGH = 0.5


@dataclass(frozen=True, slots=True)
class Term:
    """A word of a list, as it was found: ``view`` says which evasion was undone to read it."""

    list: str
    term: str
    view: str

    def as_dict(self) -> dict[str, str]:
        return {"list": self.list, "term": self.term, "view": self.view}


@dataclass(frozen=True, slots=True)
class Account:
    """One rule. ``why``: in words. ``nearness``: 1 where it fired, else how much of its condition was met (below 1)."""

    rule: Rule
    fired: bool
    why: str
    terms: tuple[Term, ...] = ()
    score: float | None = None
    nearness: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        asked = self.rule.score
        return {
            "rule": self.rule.id,
            "title": self.rule.title,
            "hazard": self.rule.hazard,
            "verdict": self.rule.verdict,
            "fired": self.fired,
            "why": self.why,
            "terms": [term.as_dict() for term in self.terms],
            "guard": None if asked is None else asked.guard,
            "score": self.score,
            "threshold": None if asked is None else asked.at_least,
            "nearness": round(self.nearness, 4),
        }


@dataclass(frozen=True, slots=True)
class Explanation:
    """``fired``: every rule that did, the strictest first. ``near``: those that came closest to it and did not.
    ``failed``: guards without an answer, with the code of why."""

    decision: Decision
    fired: tuple[Account, ...]
    near: tuple[Account, ...]
    failed: tuple[tuple[str, str], ...]

    def as_dict(self) -> dict[str, Any]:
        return {
            "verdict": self.decision.verdict.word,
            "code": self.decision.code,
            "policy": self.decision.policy.record(),
            "reasons": list(self.decision.reasons),
            "fired": [account.as_dict() for account in self.fired],
            "near": [account.as_dict() for account in self.near],
            "guards_failed": dict(self.failed),
            "rewrite": None if self.decision.rewrite is None else self.decision.rewrite.prompt,
        }


def explain(
    text: str, pack: Pack, guards: Sequence[TextGuard] = (), *, timeout: float = DEFAULT_TIMEOUT
) -> Explanation:
    """Judges ``text`` and gives the account. Raises PromptError for what is no prompt."""
    decision = judge_text(text, pack, guards, timeout=timeout)
    matches = pack.lexicon.search(text)
    fired = {hit.rule for hit in decision.hits}
    accounts = [
        _account(rule, rule.id in fired, matches, decision)
        for rule in pack.rules
        if rule.side == "prompt" and rule.status != "deprecated"
    ]
    near_misses = sorted((a for a in accounts if not a.fired and a.nearness > 0), key=lambda a: -a.nearness)
    return Explanation(
        decision,
        tuple(sorted((a for a in accounts if a.fired), key=lambda a: -a.rule.severity)),
        tuple(near_misses[:NEAREST]),
        tuple((run.guard, run.error) for run in decision.guards if run.error is not None),
    )


def _account(rule: Rule, fired: bool, matches: list[Match], decision: Decision) -> Account:
    if rule.terms is not None:
        return _terms(rule, rule.terms, fired, matches)
    if rule.mixed_scripts:
        why = "a word mixes alphabets" if fired else "no word mixes alphabets"
        return Account(rule, fired, why, nearness=float(fired))
    assert rule.score is not None  # noqa: S101  one of three conditions, checked when the pack was parsed
    asked = rule.score
    run = next((run for run in decision.guards if run.guard == asked.guard), None)
    score = None if run is None else run.score(rule.hazard)
    if score is None:
        why = f"the guard {asked.guard} gave no score ({run.error if run and run.error else 'none for this hazard'})"
        return Account(rule, fired, why)
    sign = "at least" if fired else "below"
    why = f"the guard {asked.guard} scored {score:.4f} for {rule.hazard}, {sign} the threshold {asked.at_least:g}"
    share = 1.0 if fired else score / asked.at_least
    return Account(rule, fired, why, score=score, nearness=share if share >= _NEAR_ENOUGH else 0.0)


def _terms(rule: Rule, terms: Terms, fired: bool, matches: list[Match]) -> Account:
    chosen = near(matches, terms.all_of, terms.within)
    excused = _unique(m for m in matches if m.list in terms.unless)
    found = {m.list for m in matches if m.list in terms.all_of}
    if fired and chosen is not None:
        shown = _unique(chosen)
        return Account(rule, True, "; ".join(_told(term) for term in shown), shown, nearness=1.0)
    if chosen is not None:
        why = f"{'; '.join(_told(t) for t in _unique(chosen))}; but {_told(excused[0])}, which excuses it"
        return Account(rule, False, why, (*_unique(chosen), *excused), nearness=0.95)
    shown = _unique(m for m in matches if m.list in found)
    lacking = [name for name in terms.all_of if name not in found]
    if not found:
        return Account(rule, False, "none of its terms stands in any reading of the prompt")
    if not lacking:
        why = f"its terms stand more than {terms.within} words apart, or in different readings"
        return Account(rule, False, why, shown, nearness=0.9)
    why = f"{'; '.join(_told(t) for t in shown)}; but no term of {', '.join(lacking)}"
    return Account(rule, False, why, shown, nearness=0.9 * len(found) / len(terms.all_of))


def _unique(matches: Iterable[Match]) -> tuple[Term, ...]:
    """Each term once, in the first reading that shows it."""
    seen: dict[tuple[str, str], Term] = {}
    for match in matches:
        seen.setdefault((match.list, match.term), Term(match.list, match.term, match.view))
    return tuple(seen.values())


def _told(term: Term) -> str:
    return f"“{term.term}” of the list {term.list}, in the reading “{term.view}”"
