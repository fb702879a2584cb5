"""A pack's own tests, also of rules that read a guard's score, where that guard is there. Pure but for the guards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from ..errors import FiligranaError
from .decision import checked_scores
from .judge import DEFAULT_TIMEOUT, TextGuard, _within, run_cases
from .policy import Pack, Rule, cases
from .text.views import clean


@dataclass(frozen=True, slots=True)
class Failure:
    """``score``: of the guard, where one was asked; ``error``: its code, where it gave none."""

    rule: str
    prompt: str
    should_fire: bool
    score: float | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """``untried``: tests whose guard is not there, by guard. A test that was not tried has not passed."""

    total: int
    failures: tuple[Failure, ...]
    untried: tuple[tuple[str, int], ...]

    @property
    def passed(self) -> int:
        return self.total - len(self.failures) - sum(count for _, count in self.untried)


def run_tests(pack: Pack, guards: Sequence[TextGuard] = (), *, timeout: float = DEFAULT_TIMEOUT) -> Trial:
    """Every test in the pack. A guard that fails on one fails it, whatever the test expects."""
    by_name = {guard.name: guard for guard in guards}
    failures = [Failure(*failed) for failed in run_cases(pack)]
    untried: dict[str, int] = {}
    for rule, text, expected in cases(pack):
        if rule.score is None:
            continue
        guard = by_name.get(rule.score.guard) if rule.side == "prompt" else None
        if guard is None:
            untried[rule.score.guard] = untried.get(rule.score.guard, 0) + 1
        elif (failure := _tried(rule, text, expected, guard, timeout)) is not None:
            failures.append(failure)
    return Trial(sum(1 for _ in cases(pack)), tuple(failures), tuple(sorted(untried.items())))


def _tried(rule: Rule, text: str, expected: bool, guard: TextGuard, timeout: float) -> Failure | None:
    assert rule.score is not None  # noqa: S101  checked by the caller
    try:
        scores = dict(checked_scores(guard.name, _within(timeout, partial(guard.score, clean(text)))))
        score = scores[rule.hazard]
    except FiligranaError as error:
        return Failure(rule.id, text, expected, error=error.code)
    except KeyError:
        return Failure(rule.id, text, expected, error="safety.incomplete")
    except Exception:  # noqa: BLE001  every failure of a guard fails the test
        return Failure(rule.id, text, expected, error="safety.failed")
    return None if (score >= rule.score.at_least) == expected else Failure(rule.id, text, expected, score)
