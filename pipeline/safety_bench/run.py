"""One run of the bench: what is judged, by what, and the report of it."""

from __future__ import annotations

import datetime as dt
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...safety.decision import HAZARDS, Decision
from ...safety.judge import TextGuard, judge_text
from ...safety.policy import Pack
from ..energy import EnergyMeter
from .bias import prompts as bias_prompts
from .evasions import EVASIONS
from .measure import bias, evasions, gates, groups, judge_all, speed
from .page import page
from .prompts import Labelled, forbidden

Tell = Callable[[str, int, int], None]
"""Called as (what, done, total)."""


@dataclass(frozen=True)
class Plan:
    """``rows``: prompts with labels. ``evaded`` and ``harmless``: how many prompts go through every evasion. ``fair``:
    whether the same prompts are judged over groups of people."""

    rows: Sequence[Labelled]
    evaded: int = 200
    harmless: int = 60
    fair: bool = True
    seed: int = 1


def measure(
    plan: Plan, pack: Pack, guards: Sequence[TextGuard], tell: Tell, watts: float, timeout: float
) -> dict[str, Any]:
    """The report as plain values. Raises PromptError for a prompt that cannot be judged."""

    def judge(text: str) -> Decision:
        return judge_text(text, pack, guards, timeout=timeout, offer_rewrite=False)

    def ticking(what: str, total: int) -> Callable[[int], None]:
        done = [0]

        def tick(count: int) -> None:
            done[0] += count
            tell(what, done[0], total)

        return tick

    meter = EnergyMeter(watts)
    judged = judge_all(plan.rows, judge, ticking("prompts", len(plan.rows)))
    energy = meter.spent()
    chance = random.Random(plan.seed)
    # Allowed as they stand, so that what stops them is the evasion.
    allowed = [j.prompt.text for j in judged if not j.prompt.harmful and j.prompt.language == "en" and not j.verdict]
    good = chance.sample(allowed, min(plan.harmless, len(allowed)))
    bad = forbidden(pack, plan.evaded)
    evaded = evasions(bad, good, judge, plan.seed, ticking("evasions", len(EVASIONS) * (len(bad) + len(good))))
    fair = bias(judge, ticking("groups of people", len(bias_prompts()))) if plan.fair else []
    probe = judge("a red boat on a calm sea")
    report: dict[str, Any] = {
        "made": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "policy": {"id": pack.ref.id, "version": pack.ref.version, "digest": pack.ref.digest},
        "guards": [
            {
                "guard": run.guard,
                "digest": None if run.model is None else run.model.digest,
                "calibration": run.calibration,
                "error": run.error,
            }
            for run in probe.guards
        ],
        "prompts": len(plan.rows),
        "hazards": groups([j for j in judged if j.prompt.language == "en"], lambda p: p.hazard),
        "languages": groups(judged, lambda p: p.language),
        "languages of pairs": groups([j for j in judged if j.prompt.hazard in HAZARDS], lambda p: p.language),
        "sources": groups(judged, lambda p: p.source),
        "evasions": evaded,
        "forbidden prompts": len(bad),
        "bias": fair,
        "speed": speed(judged, judge),
        "energy": {"joules a prompt": energy.joules / max(1, len(judged)), "method": energy.method},
    }
    report["gates"] = gates(report)
    report["met"] = all(gate["met"] for gate in report["gates"])
    return report


def write(report: dict[str, Any], folder: Path) -> tuple[Path, Path]:
    """report.json and report.html in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / "safety.json", folder / "safety.html"
    made[0].write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", "utf-8")
    made[1].write_text(page(report), "utf-8")
    return made
