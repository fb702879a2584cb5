"""On what terms people decide: what the log says when work is put before them, and when it is refused. Pure.

An entry repeats the words of the rules that fired, so that what was decided, and by which rule, can be told from the
log alone, for as long as it lives, whatever becomes of the policy pack.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from ..errors import TamperError
from ..provenance.log.canonical import time_text
from ..safety.decision import Decision, Verdict
from ..safety.policy import Pack

EXPIRED = "review.expired"
REJECTED = "review.rejected"


def told(decision: Decision, pack: Pack) -> dict[str, Any]:
    """What an entry says of a decision that lets nothing pass: the rules in their own words, and the policy."""
    policy = decision.policy
    return {
        "code": decision.code,
        "verdict": decision.verdict.word,
        "side": decision.side,
        "rules": [
            {
                "id": hit.rule,
                "title": hit.title,
                "hazard": hit.hazard,
                "verdict": hit.verdict.word,
                "code": hit.code,
                "reason": hit.reason,
                "override": hit.override,
                "approvals": _of_rule(pack, hit.rule),
            }
            for hit in decision.hits
            if hit.verdict is not Verdict.ALLOW
        ],
        "policy": {"id": policy.id, "version": policy.version, "digest": policy.digest},
    }


def appealable(pack: Pack, now: dt.datetime) -> str:
    """Until when whoever is refused now may appeal."""
    return time_text(now + dt.timedelta(days=pack.document.review.appeal_days))


def terms(pack: Pack, rules: list[dict[str, Any]], now: dt.datetime) -> dict[str, Any]:
    """How many must approve, and by when."""
    review = pack.document.review
    needed = max([review.approvals, *(int(rule.get("approvals") or 1) for rule in rules)])
    return {"approvals": needed, "deadline": time_text(now + dt.timedelta(hours=review.hours))}


def parse_time(text: object) -> dt.datetime:
    """A time as entries have it. Raises TamperError for anything else."""
    try:
        found = dt.datetime.fromisoformat(str(text))
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise TamperError("an entry of the log names no time where it should")
    return found


def liftable(entry: Mapping[str, Any]) -> bool:
    """Whether people may lift what the entry says: no rule forbids it; and a block is lifted on appeal alone."""
    rules = entry.get("rules")
    if not isinstance(rules, list) or not all(
        isinstance(rule, dict) and rule.get("override") is True for rule in rules
    ):
        return False
    appeal = entry.get("kind") == "appeal"
    return appeal or (entry.get("verdict") in ("review", "allow") and all(r.get("verdict") != "block" for r in rules))


def covered(decision: Decision, entry: Mapping[str, Any]) -> bool:
    """Whether people who approved what ``entry`` says have approved this decision too: by the same policy, with no rule
    that they were not told of, and none that may not be lifted."""
    if decision.verdict is Verdict.ALLOW:
        return True
    policy = entry.get("policy")
    if not isinstance(policy, dict) or policy.get("digest") != decision.policy.digest or not liftable(entry):
        return False
    if decision.side != entry.get("side") or decision.verdict is Verdict.REWRITE:
        return False
    known = {(r.get("id"), r.get("code"), r.get("verdict"), r.get("reason")) for r in entry["rules"]}
    fired = [hit for hit in decision.hits if hit.verdict is not Verdict.ALLOW]
    return all(hit.override and (hit.rule, hit.code, hit.verdict.word, hit.reason) in known for hit in fired) and bool(
        fired
    )


def _of_rule(pack: Pack, rule_id: str) -> int:
    rule = next((rule for rule in pack.rules if rule.id == rule_id), None)
    return (rule.approvals if rule is not None else None) or pack.document.review.approvals
