"""Judging: from what guards say and a policy pack to a Decision. Fails closed: see `_failed`."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import FiligranaError, PromptError, SafetyError
from .decision import Decision, GuardRun, ModelRef, Rewrite, RuleHit, Side, Verdict, checked_scores
from .policy import Pack, Rule, Terms, cases
from .text.language import unsupported
from .text.lexicon import Match, near
from .text.views import clean, mixed_scripts

DEFAULT_TIMEOUT = 30.0
T = TypeVar("T")


class TextGuard(Protocol):
    """Scores a prompt: probabilities by hazard id. One with a true ``raw`` gets it as typed, others cleaned; one with
    a ``calibration_digest`` is quoted with it."""

    @property
    def name(self) -> str: ...
    @property
    def model(self) -> ModelRef | None: ...
    def score(self, text: str) -> Mapping[str, float]: ...


class FrameGuard(Protocol):
    """Scores one frame, uint8 (h, w, 3): probabilities by hazard id."""

    @property
    def name(self) -> str: ...
    @property
    def model(self) -> ModelRef | None: ...
    def score(self, frame: NDArray[np.uint8]) -> Mapping[str, float]: ...


def _within(seconds: float, call: Callable[[], T]) -> T:
    """Runs ``call`` in a daemon thread and gives up after ``seconds``: a guard that hangs holds nobody."""
    box: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            box.append(call())
        except BaseException as error:  # noqa: BLE001  handed on below, whatever it is
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise SafetyError(f"a guard gave no answer within {seconds:g} s", code="safety.timeout")
    if errors:
        if not isinstance(errors[0], Exception):
            raise SafetyError(f"a guard ended itself: {type(errors[0]).__name__}") from errors[0]
        raise errors[0]
    return box[0]


def _failed(side: Side, guard: str, error: BaseException) -> tuple[GuardRun, RuleHit]:
    """A guard that did not answer. Never ``allow``: a person looks."""
    code = error.code if isinstance(error, FiligranaError) else "safety.failed"
    run = GuardRun(guard, None, 0, (), error=code)
    hit = RuleHit(
        rule="ENGINE",
        title="a guard did not answer",
        hazard="",
        verdict=Verdict.REVIEW,
        code=f"{side}.guard_failed",
        reason=f"The guard '{guard}' could not answer ({code}), so a person has to look.",
    )
    return run, hit


# ── prompts ──────────────────────────────────────────────────────────────────────────────────────────────────────
def check_text(text: str, pack: Pack) -> str:
    """The cleaned prompt. Raises PromptError for what is no prompt: not text, empty, too long."""
    if not isinstance(text, str):
        raise PromptError("a prompt is text", code="input.prompt.type")
    limit = pack.document.max_prompt_chars
    # Before any normalisation, so that a prompt of megabytes costs nothing.
    if len(text) > limit * 4:
        raise PromptError(f"the prompt has {len(text)} characters; the limit is {limit}", code="input.prompt.too_long")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise PromptError("the prompt is not text: it holds half a character", code="input.prompt.type") from None
    cleaned = clean(text)
    if not any(c.isalnum() for c in cleaned) and not any(ord(c) > 0x2000 for c in cleaned):
        raise PromptError("the prompt holds nothing that can be read", code="input.prompt.empty")
    if len(cleaned) > limit:
        raise PromptError(
            f"the prompt has {len(cleaned)} characters; the limit is {limit}", code="input.prompt.too_long"
        )
    return cleaned


def judge_text(
    text: str,
    pack: Pack,
    guards: Sequence[TextGuard] = (),
    *,
    timeout: float = DEFAULT_TIMEOUT,
    offer_rewrite: bool = True,
) -> Decision:
    """Judges a prompt by the pack's prompt rules. ``guards`` beside the lexicon, which is always there."""
    cleaned = check_text(text, pack)
    runs: list[GuardRun] = []
    hits: list[RuleHit] = []
    matches: list[Match] = []
    by_name = {guard.name: guard for guard in guards}
    if len(by_name) < len(guards):
        # One would hide what the other says.
        raise SafetyError("two guards of one name", code="safety.twice")
    for name in dict.fromkeys([*pack.requires.prompt, *by_name]):
        started = time.perf_counter()
        try:
            if name == "lexicon":
                # The raw text, too: what cleaning removed is where hidden words stand.
                matches = _within(timeout, lambda: pack.lexicon.search(text))
                model = ModelRef("lexicon", pack.ref.version, pack.ref.digest)
                runs.append(GuardRun("lexicon", model, 1, (), seconds=time.perf_counter() - started))
                continue
            if name not in by_name:
                raise SafetyError(f"the guard {name} is not installed", code="safety.missing")
            guard = by_name[name]
            given = text if getattr(guard, "raw", False) else cleaned
            scores = _within(timeout, partial(_answer, guard, given))
            runs.append(_within(timeout, partial(_ran, name, guard, 1, scores, time.perf_counter() - started)))
        except Exception as error:  # noqa: BLE001  every failure of a guard ends in review
            run, hit = _failed("prompt", name, error)
            runs.append(run)
            hits.append(hit)
    hits += _incomplete("prompt", pack, runs)
    hits += _language(text, pack, timeout)
    for rule in (r for r in pack.rules if r.side == "prompt" and r.status != "deprecated"):
        if _fires(rule, text, matches, runs):
            hits.append(_hit(rule))
    verdict = max((hit.verdict for hit in hits), default=Verdict.ALLOW)
    rewrite = None
    if offer_rewrite and _mendable(hits):
        rewrite = _rewrite(cleaned, pack, {hit.rule for hit in hits}, matches, guards, timeout)
        verdict = Verdict.REVIEW if rewrite is None else Verdict.REWRITE
    return Decision("prompt", verdict, pack.ref, tuple(hits), tuple(runs), rewrite, **_limits("prompt", pack))


def _answer(guard: Any, given: Any) -> tuple[tuple[str, float], ...]:
    """Asked, read and checked in one go, so that an answer that never ends is cut off, too."""
    return checked_scores(guard.name, guard.score(given))


def _limits(side: Side, pack: Pack) -> dict[str, Any]:
    """What the rules of one side hold scores against, and which: a Decision quotes both."""
    scored = [(r, r.score) for r in pack.rules if r.side == side and r.status != "deprecated" and r.score is not None]
    return {
        "thresholds": tuple(sorted((rule.id, score.at_least) for rule, score in scored)),
        "reads": tuple(sorted((rule.id, score.guard, rule.hazard) for rule, score in scored)),
    }


def _ran(name: str, guard: Any, inputs: int, scores: tuple[tuple[str, float], ...], seconds: float) -> GuardRun:
    return GuardRun(
        name, guard.model, inputs, scores, calibration=getattr(guard, "calibration_digest", None), seconds=seconds
    )


def _language(text: str, pack: Pack, timeout: float) -> Iterable[RuleHit]:
    """What was measured in some languages says nothing about others."""
    languages = pack.document.languages
    if languages is None:
        return
    try:
        found = _within(timeout, lambda: unsupported(text, languages))
    except Exception as error:  # noqa: BLE001  as for every guard
        yield _failed("prompt", "language", error)[1]
        return
    if found is not None:
        yield RuleHit(
            "ENGINE", "a language that nobody measured", "", Verdict.REVIEW, "prompt.language",
            f"The prompt seems to be in a language or script ({found}) in which the guards were not measured.",
        )  # fmt: skip


def _fires(rule: Rule, text: str, matches: list[Match], runs: list[GuardRun]) -> bool:
    if rule.mixed_scripts:
        return mixed_scripts(text)
    if rule.terms is not None:
        return _terms_fire(rule.terms, matches)
    return _score_fires(rule, runs)


def _terms_fire(terms: Terms, matches: list[Match]) -> bool:
    if any(match.list in terms.unless for match in matches):
        return False
    return near(matches, terms.all_of, terms.within) is not None


def _asked(side: Side, pack: Pack, guard: str) -> set[str]:
    """The hazards that rules read from this guard."""
    return {
        rule.hazard
        for rule in pack.rules
        if rule.side == side and rule.status != "deprecated" and rule.score and rule.score.guard == guard
    }


def _incomplete(side: Side, pack: Pack, runs: Iterable[GuardRun]) -> Iterable[RuleHit]:
    """A guard that answered, but not on a hazard that a rule reads from it, has not answered."""
    for run in runs:
        if run.error is None and not _asked(side, pack, run.guard) <= dict(run.scores).keys():
            yield _failed(side, run.guard, SafetyError("a hazard without a score", code="safety.incomplete"))[1]


def _score_fires(rule: Rule, runs: Iterable[GuardRun]) -> bool:
    assert rule.score is not None  # noqa: S101  one of three conditions, checked when the pack was parsed
    for run in runs:
        if run.guard == rule.score.guard:
            score = run.score(rule.hazard)
            return score is not None and score >= rule.score.at_least
    return False


def _mendable(hits: Iterable[RuleHit]) -> bool:
    """Whether other words would do: a rule offers some, and nothing else fired but what would have a person look at
    the same hazard, which the new words are judged for again."""
    offered = {hit.hazard for hit in hits if hit.verdict is Verdict.REWRITE}
    return bool(offered) and all(hit.verdict <= Verdict.REVIEW and hit.hazard in offered for hit in hits)


def _hit(rule: Rule) -> RuleHit:
    return RuleHit(
        rule.id,
        rule.title,
        rule.hazard,
        rule.severity,
        f"{rule.side}.{rule.hazard}",
        rule.reason,
        rule.override,
    )


def _rewrite(
    text: str, pack: Pack, fired: set[str], matches: list[Match], guards: Sequence[TextGuard], timeout: float
) -> Rewrite | None:
    """The same prompt with the terms of the fired rewrite rules replaced, if that prompt would be allowed."""
    changed = text
    for rule in pack.rules:
        if rule.id in fired and rule.replace_with is not None and rule.terms is not None:
            terms = {m.term for m in matches if m.list in rule.terms.all_of}
            for term in sorted(terms, key=len, reverse=True):
                changed = re.sub(rf"\b{re.escape(term)}(?:'s|s|es)?\b", rule.replace_with, changed, flags=re.IGNORECASE)
    if changed == text:
        return None
    again = judge_text(changed, pack, guards, timeout=timeout, offer_rewrite=False)
    if again.verdict is not Verdict.ALLOW:
        return None
    return Rewrite(changed, hashlib.sha256(changed.encode()).hexdigest()[:16])


def run_cases(pack: Pack) -> list[tuple[str, str, bool]]:
    """The pack's own tests that fail, as (rule id, prompt, whether it should have fired)."""
    failed = []
    for rule, text, expected in cases(pack):
        matches = pack.lexicon.search(text)
        if rule.score is None and _fires(rule, text, matches, []) != expected:
            failed.append((rule.id, text, expected))
    return failed
