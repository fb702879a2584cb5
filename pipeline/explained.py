"""How one request was decided, as a person would ask it: from the log, and from the database where texts are kept.

The log has the last word on everything but texts and names, which it never holds: those are opened where their keys
still are. What an old entry does not say is listed in ``not_recorded``; nothing is filled in from today's policy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import select

from ..errors import FiligranaError, InputError, KeyStoreError
from ..provenance.by_request import Entries, entries_of
from ..provenance.database import session
from ..provenance.identity import AssetId
from ..provenance.log.sequencer import AuditLog
from ..provenance.tables import ReviewAct
from ..provenance.vault import Vault
from .explained_words import summary
from .released import released_asset
from .review_showing import ACTS

NEAREST = 5
_LATER = {"input", "reads"}
_LATER_OF_GUARDS = {"calibration", "milliseconds"}
"""What decisions, and their guards, have said since they were first recorded."""


def explained(log: AuditLog, what: AssetId | UUID, *, texts: bool = True) -> dict[str, Any]:
    """Raises InputError for what the log does not know, TamperError where the catalog says otherwise. ``texts``:
    whether the prompt, people's names and their reasons are opened."""
    intent = UUID(released_asset(log, what).intent) if isinstance(what, AssetId) else what
    entries = entries_of(log, intent)
    if not entries:
        raise InputError("there is no such request", code="input.request", hint="Give the id that it told.")
    words = _words(entry for _, entry in entries)
    decisions = [_decision(i, e, words) for i, e in entries if isinstance(e.get("decision"), dict)]
    release = _last(entries, "release")
    said: dict[str, Any] = {
        "request": str(intent),
        "asset_id": None if release is None else release[1].get("asset_id"),
        "asked": _asked(log, intent, entries, texts),
        "policy": _policy(decisions, entries),
        "decisions": decisions,
        "history": _history(log, intent, entries, texts),
        "released": None if release is None else _released(*release, _last(entries, "result")),
        "energy": next((e["energy"] for _, e in reversed(entries) if isinstance(e.get("energy"), dict)), None),
    }
    return {"summary": summary(said), **said}


def _last(entries: Entries, type_: str) -> tuple[int, dict[str, Any]] | None:
    return next(((index, entry) for index, entry in reversed(entries) if entry["type"] == type_), None)


def _words(entries: Iterable[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    """The rules in their own words, as the entries of held and refused requests repeat them; by (id, code)."""
    found = {}
    for entry in entries:
        for rule in entry.get("rules") or ():
            if isinstance(rule, dict) and rule.get("reason"):
                found[str(rule.get("id")), str(rule.get("code"))] = rule
    return found


def _asked(log: AuditLog, intent: UUID, entries: Entries, texts: bool) -> dict[str, Any]:
    index, entry = next(((i, e) for i, e in entries if e["type"] == "intent"), (None, {}))
    request = entry.get("request")
    asked: dict[str, Any] = request if isinstance(request, dict) else {}
    commitments = dict(entry.get("commitments") or {})
    for _, each in entries:  # an accepted rewrite is committed to by the decision that offered it
        accepted = (each.get("decision") or {}).get("accepted") if isinstance(each.get("decision"), dict) else None
        if accepted is not None:
            commitments["rewritten_prompt"] = accepted
    return {
        "index": index,
        "time": entry.get("time"),
        "kind": entry.get("kind"),
        "actor": entry.get("actor"),
        "commitments": commitments,
        "texts": {name: _text(log, intent, name, texts) for name in commitments},
        **{name: value for name, value in asked.items() if name != "policy"},
    }


def _text(log: AuditLog, intent: UUID, name: str, wanted: bool) -> dict[str, Any]:
    """``kept``: whether it can still be opened; then ``text``, if it was wanted."""
    with session(log.engine) as rows:
        vault = Vault(rows)
        identity = vault.texts_of_intent(intent).get(name)
        if identity is None:
            return {"kept": False, "text": None}
        try:
            text = vault.open_text(identity)
        except KeyStoreError:
            return {"kept": False, "text": None}
        return {"kept": True, "text": text if wanted else None}


def _policy(decisions: list[dict[str, Any]], entries: Entries) -> dict[str, Any] | None:
    """The one that decided last; of a request that came to no decision, the one that was in force."""
    if decisions:
        return decisions[-1]["policy"]  # type: ignore[no-any-return]
    asked = next((e["request"].get("policy") for _, e in entries if isinstance(e.get("request"), dict)), None)
    return None if not isinstance(asked, dict) else {**asked, "approved_by": []}


def _decision(index: int, entry: Mapping[str, Any], words: Mapping[tuple[str, str], dict[str, Any]]) -> dict[str, Any]:
    raw: dict[str, Any] = entry["decision"]
    policy = raw.get("policy") or {}
    fired = [_fired(rule, words) for rule in raw.get("rules") or ()]
    limits = _limits(raw)
    guards = [_guard(run, limits) for run in raw.get("guards") or ()]
    return {
        "index": index,
        "time": entry.get("time"),
        "side": raw.get("side"),
        "input": raw.get("input"),
        "verdict": raw.get("verdict"),
        "code": raw.get("code"),
        "policy": {**policy, "approved_by": list(policy.get("approved_by") or ())},
        "rewrite_accepted": "accepted" in raw,
        "guards": guards,
        "fired": fired,
        "nearest": _nearest(guards, {rule["id"] for rule in fired}),
        "not_recorded": sorted(_LATER - raw.keys()),
    }


def _fired(rule: Mapping[str, Any], words: Mapping[tuple[str, str], dict[str, Any]]) -> dict[str, Any]:
    its = words.get((str(rule.get("id")), str(rule.get("code"))), {})
    told = {name: its.get(name) for name in ("title", "hazard", "reason", "override")}
    return {
        "id": rule.get("id"),
        "verdict": rule.get("verdict"),
        "code": rule.get("code"),
        **told,
        "not_recorded": sorted(name for name, value in told.items() if value is None),
    }


def _limits(raw: Mapping[str, Any]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The rules with their thresholds, by the (guard, hazard) that they read. Of an old entry, which does not say what
    a rule reads: none."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for rule, value in (raw.get("thresholds") or {}).items():
        reads = (raw.get("reads") or {}).get(rule)
        if isinstance(reads, list) and len(reads) == 2:
            found.setdefault((str(reads[0]), str(reads[1])), []).append({"rule": rule, "at_least": float(value)})
    return {key: sorted(several, key=lambda one: one["at_least"]) for key, several in found.items()}


def _guard(run: Mapping[str, Any], limits: Mapping[tuple[str, str], list[dict[str, Any]]]) -> dict[str, Any]:
    name, milliseconds = str(run.get("guard")), run.get("milliseconds")
    return {
        "guard": name,
        "model": run.get("model"),
        "calibration": run.get("calibration"),
        "inputs": run.get("inputs"),
        "milliseconds": None if milliseconds is None else int(milliseconds),
        "error": run.get("error"),
        "scores": [
            {"hazard": hazard, "score": float(score), "thresholds": limits.get((name, hazard), [])}
            for hazard, score in (run.get("scores") or {}).items()
        ],
        "not_recorded": sorted(_LATER_OF_GUARDS - run.keys()),
    }


def _nearest(guards: list[dict[str, Any]], fired: set[Any]) -> list[dict[str, Any]]:
    """Rules that did not fire, by how much of their threshold was reached. Words are found or not: no rule of terms is
    nearer than another."""
    found = [
        {
            "rule": limit["rule"],
            "guard": guard["guard"],
            "hazard": score["hazard"],
            "score": score["score"],
            "threshold": limit["at_least"],
            "share": round(score["score"] / limit["at_least"], 4),
        }
        for guard in guards
        for score in guard["scores"]
        for limit in score["thresholds"]
        if limit["rule"] not in fired
    ]
    return sorted(found, key=lambda one: (-one["share"], one["rule"]))[:NEAREST]


def _history(log: AuditLog, intent: UUID, entries: Entries, texts: bool) -> list[dict[str, Any]]:
    """What became of it, and who did what. ``name`` and ``reason`` are null where they were erased or not wanted."""
    people = _people(log, intent) if texts else {}
    return [
        {
            "index": index,
            "time": entry.get("time"),
            "act": entry["type"],
            "round": entry.get("round"),
            "code": entry.get("code"),
            "actor": entry.get("actor"),
            "name": people.get(index, (None, None))[0],
            "reason": people.get(index, (None, None))[1],
            "deadline": entry.get("deadline"),
            "appeal_until": entry.get("appeal_until"),
        }
        for index, entry in entries
        if entry["type"] in ACTS
    ]


def _people(log: AuditLog, intent: UUID) -> dict[int, tuple[str | None, str | None]]:
    """Name and reason, by the index of the entry that says that somebody acted."""
    found: dict[int, tuple[str | None, str | None]] = {}
    with session(log.engine) as rows:
        vault = Vault(rows)
        for act in rows.scalars(select(ReviewAct).where(ReviewAct.intent_id == intent)):
            try:
                reason = None if act.reason is None else vault.open_text(act.reason)
            except FiligranaError:
                reason = None
            found[act.log_index] = (act.subject, reason)
    return found


def _released(index: int, entry: Mapping[str, Any], result: tuple[int, dict[str, Any]] | None) -> dict[str, Any]:
    made = {} if result is None else result[1]
    named = ("asset_id", "sha256", "bytes", "mime", "source_type", "manifest", "record")
    return {
        "index": index,
        "time": entry.get("time"),
        **{name: entry.get(name) for name in named},
        "signer": made.get("signer"),
        "timestamp": made.get("timestamp"),
    }
