"""Judging while a picture is still being made: an early estimate that is surely refused ends the work.

A preview never allows anything. Only rules that block count, each with a margin over its threshold, and a guard that
fails, or a model that shows no previews, leaves everything to the judgement of the result.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..safety.decision import Decision, GuardRun, RuleHit, Verdict, checked_scores
from ..safety.judge import _hit, _within
from ..safety.output import OutputGuard
from ..safety.policy import Pack, Rule
from .energy import Energy, EnergyMeter
from .generators.base import StoppedEarly


@dataclass(frozen=True)
class Early:
    """A generation that was stopped at ``step`` of ``steps``. ``spent``: what sampling and looking cost; ``saved``:
    what the steps that were not made would have cost, an estimate from those that were."""

    step: int
    steps: int
    spent: Energy
    saved: Energy

    def as_dict(self) -> dict[str, Any]:
        return {
            "stopped_at_step": self.step,
            "steps": self.steps,
            "spent": self.spent.as_dict(),
            "saved": self.saved.as_dict(),
        }

    def record(self) -> dict[str, Any]:
        """For the log, with figures as text."""
        return {
            "stopped_at_step": self.step,
            "steps": self.steps,
            "spent_joules": f"{self.spent.joules:.3f}",
            "saved_joules": f"{self.saved.joules:.3f}",
            "energy_method": self.saved.method,
        }


@dataclass
class PreviewJudge:
    """Looks at one sampling's previews. After StoppedEarly, ``decision`` and ``early`` say why and at what cost."""

    pack: Pack
    guards: Sequence[OutputGuard]
    timeout: float
    watts: float
    decision: Decision | None = None
    early: Early | None = None
    _looking: float = 0.0
    _strict: list[tuple[Rule, Any]] = field(init=False)
    _meter: EnergyMeter = field(init=False)
    _started: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        self._meter = EnergyMeter(self.watts)
        previews = self.pack.document.previews
        self._rules: dict[str, list[tuple[Rule, float]]] = {}
        for rule in self.pack.rules if previews is not None else ():
            blocks = rule.side == "output" and rule.status != "deprecated" and rule.severity is Verdict.BLOCK
            if blocks and rule.score is not None and previews is not None:
                least = min(1.0, rule.score.at_least + previews.margin)
                self._rules.setdefault(rule.score.guard, []).append((rule, least))
        strict = [r for r in self.pack.rules if r.side == "output" and r.status != "deprecated" and r.score is not None]
        self._strict = [(r, r.score) for r in strict if r.severity > Verdict.ALLOW and r.score is not None]
        # In the order of the rules' number: the guard that may stop most is asked first.
        named = {guard.name: guard for guard in self.guards if hasattr(guard, "score")}
        self._guards = [named[n] for n in sorted(self._rules, key=lambda n: -len(self._rules[n])) if n in named]

    @property
    def useful(self) -> bool:
        """Whether any guard could stop anything."""
        return bool(self._guards)

    def look(self, step: int, steps: int, frame: NDArray[np.uint8]) -> bool:
        """Raises StoppedEarly for a frame that a blocking rule refuses with the margin to spare. True where every guard
        of a single frame answered and no rule of any severity has anything to say, without a margin."""
        began = time.perf_counter()
        runs: list[GuardRun] = []
        fired: list[RuleHit] = []
        held: dict[str, float] = {}
        for guard in self._guards:
            # One guard that is sure is enough: asking the others would only cost.
            if fired or (run := self._run(guard, frame)) is None:
                continue
            runs.append(run)
            for rule, least in self._rules.get(guard.name, ()):
                held[rule.id] = least
                score = run.score(rule.hazard)
                if score is not None and score >= least:
                    fired.append(_hit(rule))
        if not fired:
            clear = self._clear(runs, frame)
            self._looking += time.perf_counter() - began
            return clear
        self.decision = Decision(
            "output", Verdict.BLOCK, self.pack.ref, tuple(fired), tuple(runs), None, tuple(sorted(held.items()))
        )
        spent = self._meter.spent()
        # Of the time so far, looking is no sampling: the steps alone say what the others would have cost.
        sampling = max(0.0, began - self._started - self._looking)
        share = sampling / max(1e-9, time.perf_counter() - self._started)
        saved = spent.joules * share / step * (steps - step)
        method = f"estimate: {steps - step} steps not made, at the mean of the {step} that were; {spent.method}"
        self.early = Early(step, steps, spent, Energy(saved, method))
        raise StoppedEarly(step, steps)

    def _clear(self, runs: list[GuardRun], frame: NDArray[np.uint8]) -> bool:
        there = {guard.name: guard for guard in self.guards}
        answered = {run.guard: run for run in runs}
        for rule, bar in self._strict:
            guard = there.get(bar.guard)
            if guard is None:
                return False
            if not hasattr(guard, "score"):
                continue  # of text or of the sequence: neither is there to be seen in 64 colours
            run = answered.get(bar.guard) or self._run(guard, frame)
            score = None if run is None else run.score(rule.hazard)
            if run is None or score is None or score >= bar.at_least:
                return False
            answered[bar.guard] = run
        return True

    def _run(self, guard: Any, frame: NDArray[np.uint8]) -> GuardRun | None:
        try:
            scores = _within(self.timeout, lambda: checked_scores(guard.name, dict(guard.score(frame))))
            return GuardRun(guard.name, guard.model, 1, scores)
        except Exception:  # noqa: BLE001  a guard that fails on a preview decides nothing: the result is judged
            return None
