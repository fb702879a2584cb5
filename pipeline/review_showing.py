"""A case as people and programs see it: for the command line, and for the pages that come."""

from __future__ import annotations

from typing import Any

from ..errors import KeyStoreError
from ..provenance.log.canonical import time_text
from ..provenance.vault import Vault
from .appeals import entries_of
from .review import Desk
from .review_case import Case

ACTS = ("held", "review.renewed", "review.reopened", "review.assigned",
         "review.approved", "review.rejected", "review.expired",
         "appeal.filed", "appeal.upheld", "appeal.overturned", "refused", "failed", "release")  # fmt: skip


def row(case: Case) -> dict[str, Any]:
    """What a list shows of it: no text, no reason."""
    return {
        "request": str(case.intent),
        "made_by": case.made_by,
        "kind": case.kind,
        "side": case.side,
        "code": case.entry["code"],
        "status": case.status,
        "state": case.state,
        "approvals": case.approvals,
        "needed": case.needed,
        "deadline": time_text(case.deadline),
        "assignee": case.assignee,
        "goes_on": case.goes_on,
        "here": case.here,
        "policy": case.entry["policy"],
        "log": {"index": case.log_index},
    }


def shown(desk: Desk, case: Case) -> dict[str, Any]:
    """All that a reviewer needs: ``rules`` in their words, ``scores`` against thresholds, ``texts`` (the prompt, where
    it was not erased), and the ``history``."""
    entries = entries_of(desk, case.intent)
    reasons = {act.log_index: act for act in case.acts}
    history = []
    for index, entry in entries:
        if entry["type"] in ACTS:
            act = reasons.get(index)
            history.append({
                "index": index, "time": entry["time"], "act": entry["type"], "round": entry.get("round"),
                "actor": entry.get("actor"), "name": act.name if act else None, "reason": act.reason if act else None,
                "code": entry.get("code"),
            })  # fmt: skip
    return row(case) | {
        "rules": case.entry["rules"],
        "scores": scores([e["decision"] for _, e in entries if e["type"] == "decision"], case.side),
        "texts": _texts(desk, case),
        "subject": case.subject,
        "history": history,
    }


def scores(decisions: list[dict[str, Any]], side: str) -> list[dict[str, Any]]:
    """Of the last decision on this side: each guard's scores, and what its rules hold them against."""
    last = next((each for each in reversed(decisions) if each["side"] == side), None)
    if last is None:
        return []
    found = []
    for guard in last["guards"]:
        model = guard["model"]
        said = {"guard": guard["guard"], "model": model and model["digest"], "error": guard["error"]}
        found += [
            said | {"hazard": hazard, "score": score, "threshold": None} for hazard, score in guard["scores"].items()
        ] or [said | {"hazard": "", "score": guard["error"] or "no term found", "threshold": None}]
    fired = {rule["id"]: rule["code"] for rule in last["rules"]}
    for each in found:
        limits = [value for rule, value in last["thresholds"].items() if fired.get(rule) == f"{side}.{each['hazard']}"]
        each["threshold"] = min(limits) if limits else None
    return found


def _texts(desk: Desk, case: Case) -> dict[str, str]:
    found = {}
    with desk.ledger.reading() as rows:
        vault = Vault(rows)
        for name, identity in sorted(vault.texts_of_intent(case.intent).items()):
            try:
                found[name] = vault.open_text(identity)
            except KeyStoreError:
                found[name] = "(erased)"
    return found
