"""Appeals: whoever was refused asks a human to look again. One a request, within the time that the refusal named."""

from __future__ import annotations

import datetime as dt
from typing import Any
from uuid import UUID

from ..errors import InputError, TamperError
from ..provenance import by_request
from ..provenance.log.canonical import time_text
from ..provenance.tables import Intent, Review, ReviewAct
from ..provenance.vault import Vault
from .review import Desk
from .review_case import Case, ReviewError, reason_text, signed
from .terms import parse_time


def entries_of(desk: Desk, intent: UUID) -> list[tuple[int, dict[str, Any]]]:
    """All that the log says of a request, in order."""
    return by_request.entries_of(desk.ledger.log, intent)


def appeal(desk: Desk, intent: UUID, by: str, reason: str) -> Case:
    """Puts a refused request before people who did not decide on it. Raises ReviewError where it was not refused, by
    somebody who did not ask for it, a second time, or too late."""
    by, reason = signed(by), reason_text(reason)
    desk.sweep()
    said = entries_of(desk, intent)
    asked = next((entry for _, entry in said if entry["type"] == "intent"), None)
    refused = next((entry for _, entry in reversed(said) if entry["type"] == "refused"), None)
    if asked is None:
        raise InputError("there is no such request", code="input.review_unknown", hint="Give the id that it told.")
    if any(entry["type"] == "appeal.filed" for _, entry in said):
        raise ReviewError("there was an appeal already: a request has one", code="review.appeal.once")
    if refused is None or refused.get("verdict") == "rewrite":
        raise ReviewError("this request was not refused", code="review.appeal.none")
    entry = _against(desk, refused, said)
    with desk.ledger.change() as change:
        rows = change.session
        request = rows.get(Intent, intent, with_for_update=True)
        row = rows.get(Review, intent, with_for_update=True)
        now = desk.now(rows)
        vault = Vault(rows)
        if request is None or request.state != "refused" or (row is not None and row.kind == "appeal"):
            raise ReviewError("this request was not refused, or there was an appeal already", code="review.appeal.none")
        # Whose request it was is known by the name's key alone: after an erasure, by nobody.
        if vault.known_actor(by) != asked.get("actor"):
            raise ReviewError("an appeal is for whoever asked", code="review.appeal.who", hint="--as says who you are.")
        if now > _until(desk, refused):
            raise ReviewError("the time for an appeal is over", code="review.appeal.late")
        sealed = vault.seal_text(by, reason, kind="review.reason")
        entry |= {"actor": asked["actor"], "reason": sealed.commitment}
        kept = None if row is None else row.kept
        if entry["side"] == "output" and row is not None and row.side == "prompt":
            kept = None  # what the appeal is about was never kept
        index = desk.open_round(change, intent, "appeal.filed", entry, kept, by)
        opened = rows.get(Review, intent)
        if opened is None:
            raise TamperError("an appeal without its row")
        rows.add(ReviewAct(intent_id=intent, round=opened.round, act="appeal", actor=opened.actor, subject=by,
                           reason=sealed.id, log_index=index, created_at=now))  # fmt: skip
    return desk.case(intent)


def _until(desk: Desk, refused: dict[str, Any]) -> dt.datetime:
    """As the refusal said; those of before it was said get the same time, counted from their entry."""
    if "appeal_until" in refused:
        return parse_time(refused["appeal_until"])
    return parse_time(refused["time"]) + dt.timedelta(days=desk.pack.document.review.appeal_days)


def until_text(desk: Desk, refused: dict[str, Any]) -> str:
    return time_text(_until(desk, refused))


def _against(desk: Desk, refused: dict[str, Any], said: list[tuple[int, dict[str, Any]]]) -> dict[str, Any]:
    """What is appealed against, in the words of the refusal."""
    decision = next(
        (e["decision"] for _, e in reversed(said)
         if e["type"] == "decision" and e["decision"]["code"] == refused.get("code")),
        None,
    ) or next((e["decision"] for _, e in reversed(said) if e["type"] == "decision"), None)  # fmt: skip
    if "rules" not in refused and decision is None:
        raise ReviewError("the log does not say by which rule it was refused", code="review.appeal.none")
    opening: dict[str, Any] = next((e for _, e in reversed(said) if e["type"] in ("held", "review.renewed")), {})
    return {
        "kind": "appeal",
        "against": refused.get("code"),
        "code": refused.get("code"),
        "verdict": refused.get("verdict"),
        "side": refused.get("side") or (decision or {}).get("side"),
        "rules": refused["rules"] if "rules" in refused else old_rules(desk, decision or {}),
        "policy": refused.get("policy") or (decision or {}).get("policy"),
        "publish_prompt": (refused if "publish_prompt" in refused else opening).get("publish_prompt") is True,
    }


def old_rules(desk: Desk, decision: dict[str, Any]) -> list[dict[str, Any]]:
    """Of entries from before rules were told in their own words. What is not known may not be lifted."""
    same = (decision.get("policy") or {}).get("digest") == desk.pack.ref.digest
    known = {rule.id: rule for rule in desk.pack.rules} if same else {}
    found = []
    for rule in decision.get("rules", []):
        its = known.get(rule["id"])
        found.append({
            "id": rule["id"], "code": rule["code"], "verdict": rule["verdict"],
            "title": its.title if its else rule["id"], "hazard": its.hazard if its else "",
            "reason": its.reason if its else "", "override": its is not None and its.override,
            "approvals": (its.approvals if its else None) or desk.pack.document.review.approvals,
        })  # fmt: skip
    return found
