"""What a stretch of the log says, counted in one pass and in constant memory: the figures of a report. Pure.

Every figure can be repeated from the entries alone, with this module or without it: each is a count of entries of one
type, by a field that they have. Samples are the assets whose hashes are smallest, so that nobody chose them.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from hashlib import sha256
from typing import Any

MOST_KEYS = 2000
"""Different values of one field that are counted apart; what comes beyond is counted as `other`."""
_TOLD = frozenset({"intent", "decision", "result", "release", "refused", "held", "failed"})
"""Types of entries that have figures of their own beside their number."""
EXPIRED = "review.expired"
"""The code of held work that is refused since its time is over."""
REJECTED = "review.rejected"
"""The code of held work that a person refused. Any other one is of a guard, also where it was held before."""
_MOST_JOULES = Decimal(10) ** 18


@dataclass
class Tally:
    """Counters by what they count. ``days``: day -> outcome -> count. ``energy``: joules by method. ``samples``: so
    many assets are picked."""

    samples: int = 20
    entries: int = 0
    first: str | None = None
    last: str | None = None
    types: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    released: Counter[str] = field(default_factory=Counter)
    source_types: Counter[str] = field(default_factory=Counter)
    marks: Counter[str] = field(default_factory=Counter)
    layers: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    profiles: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    hazards: Counter[str] = field(default_factory=Counter)
    automated: Counter[str] = field(default_factory=Counter)
    held: Counter[str] = field(default_factory=Counter)
    people: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    policies: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    guards: Counter[str] = field(default_factory=Counter)
    energy: dict[str, Decimal] = field(default_factory=dict)
    days: dict[str, Counter[str]] = field(default_factory=dict)
    _picked: list[tuple[int, int, dict[str, Any]]] = field(default_factory=list)

    def add(self, index: int, entry: Mapping[str, Any]) -> None:
        """One more entry; what it has that is out of form is left out."""
        kind, time = str(entry.get("type")), entry.get("time")
        self.entries += 1
        _count(self.types, kind)
        if isinstance(time, str):
            self.first, self.last = min(self.first or time, time), max(self.last or time, time)
        if kind in _TOLD:
            getattr(self, f"_{kind}")(index, entry)
        if kind.startswith(("review.", "appeal.")):
            _count(self.people, kind)
        if kind in ("released", "release", "refused", "held", "failed") and isinstance(time, str):
            word = "released" if kind == "release" else kind
            if len(self.days) < MOST_KEYS or time[:10] in self.days:
                self.days.setdefault(time[:10], Counter())[word] += 1

    def _intent(self, _index: int, entry: Mapping[str, Any]) -> None:
        _count(self.requests, entry.get("kind"))
        request = _mapping(entry.get("request"))
        if request.get("unlabelled") == "consent":
            _count(self.labels, "consent to none")
        model = _mapping(request.get("model"))
        if model:
            _count(self.models, f"{model.get('name')} {model.get('version')} sha256:{model.get('digest')}")

    def _decision(self, _index: int, entry: Mapping[str, Any]) -> None:
        decision = _mapping(entry.get("decision"))
        policy = _mapping(decision.get("policy"))
        _count(self.policies, f"{policy.get('id')} {policy.get('version')} sha256:{policy.get('digest')}")
        guards = decision.get("guards")
        for guard in map(_mapping, guards if isinstance(guards, list) else []):
            digest = _mapping(guard.get("model")).get("digest")
            _count(self.guards, f"{guard.get('guard')} sha256:{digest}" if digest else str(guard.get("guard")))

    def _result(self, _index: int, entry: Mapping[str, Any]) -> None:
        energy = _mapping(entry.get("energy"))
        try:
            joules = Decimal(str(energy.get("joules")))
        except InvalidOperation:
            return
        # "estimate: 0.01 s of CPU time x 10 W a core": the figures are the asset's, the method is all assets'.
        method = str(energy.get("method")).partition(":")[0]
        counted = joules.is_finite() and 0 <= joules < _MOST_JOULES
        if counted and (len(self.energy) < MOST_KEYS or method in self.energy):
            self.energy[method] = self.energy.get(method, Decimal(0)) + joules

    def _release(self, index: int, entry: Mapping[str, Any]) -> None:
        _count(self.released, entry.get("mime"))
        _count(self.source_types, entry.get("source_type"))
        bindings = entry.get("bindings")
        marks = (
            [str(pair[0]) for pair in bindings if isinstance(pair, list) and pair] if isinstance(bindings, list) else []
        )
        for mark in marks or ["none"]:
            _count(self.marks, mark)
        _count(self.layers, "signed metadata and watermark" if marks else "signed metadata alone")
        label = entry.get("label")
        label = None if label is None else _mapping(label)
        _count(
            self.labels,
            "none" if label is None else "heard" if "heard" in label else "seen" if "box" in label else "waived",
        )
        profiles = entry.get("profiles")
        for profile in profiles if isinstance(profiles, list) else []:
            _count(self.profiles, profile)
        # The smallest hashes: a max-heap by negative numbers, in which nothing can be placed by choice of an id alone,
        # since the file's own hash goes in.
        chance = -int.from_bytes(sha256(f"{entry.get('asset_id')} {entry.get('sha256')}".encode()).digest()[:8], "big")
        item = (chance, index, dict(entry))
        if len(self._picked) < self.samples:
            heapq.heappush(self._picked, item)
        elif self.samples and item[:2] > self._picked[0][:2]:
            heapq.heapreplace(self._picked, item)

    def _refused(self, _index: int, entry: Mapping[str, Any]) -> None:
        _count(self.refused, entry.get("code"))
        rules = entry.get("rules")
        for hazard in sorted(
            {str(_mapping(r).get("hazard") or "none") for r in (rules if isinstance(rules, list) else [])}
        ):
            _count(self.hazards, hazard)
        # Held work that nobody decided on in time is refused by no person, and by no guard either.
        _count(self.automated, {REJECTED: "by people", EXPIRED: "out of time"}.get(str(entry.get("code")), "automated"))
        if entry.get("rewrite_offered") is True:
            _count(self.automated, "with a rewrite offered")

    def _held(self, _index: int, entry: Mapping[str, Any]) -> None:
        _count(self.held, entry.get("code"))

    def _failed(self, _index: int, entry: Mapping[str, Any]) -> None:
        _count(self.failed, entry.get("code"))

    @property
    def picked(self) -> list[tuple[int, dict[str, Any]]]:
        """(index, release entry) of the samples, in the log's order."""
        return sorted(((index, entry) for _, index, entry in self._picked), key=lambda pair: pair[0])

    def figures(self) -> dict[str, Any]:
        """All figures as JSON values, in one order."""
        names = (
            "types", "requests", "released", "source_types", "marks", "layers", "labels", "profiles", "refused",
            "hazards", "automated", "held", "people", "failed", "policies", "models", "guards",
        )  # fmt: skip
        return {
            "entries": self.entries,
            "first": self.first,
            "last": self.last,
            **{name: dict(sorted(getattr(self, name).items())) for name in names},
            "energy_joules": {method: f"{joules:f}" for method, joules in sorted(self.energy.items())},
            "days": {day: dict(sorted(counts.items())) for day, counts in sorted(self.days.items())},
        }


def _count(counter: Counter[str], key: object) -> None:
    name = "not stated" if key is None else str(key)[:200]
    counter[name if name in counter or len(counter) < MOST_KEYS else "other"] += 1


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
