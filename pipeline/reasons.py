"""The statement of reasons: what a refused person is told (Regulation (EU) 2022/2065, Article 17), from the log alone.

What was decided, on which facts, by which rule and on what ground, whether a machine decided and which, and how to
appeal and until when. It holds no text of the request, and no name.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from ..errors import InputError
from .appeals import entries_of, old_rules, until_text
from .request import WAITING
from .review import Desk
from .terms import EXPIRED, REJECTED

_PEOPLE = ("review.approved", "review.rejected", "appeal.upheld", "appeal.overturned")


def statement(desk: Desk, intent: UUID) -> dict[str, Any]:
    """Raises InputError for a request that the log does not know, or that was neither refused nor held."""
    entries = entries_of(desk, intent)
    if not entries:
        raise InputError("there is no such request", code="input.review_unknown", hint="Give the id that it told.")
    said = [(index, e) for index, e in entries if e["type"] in ("refused", "held", "review.renewed")]
    said = [(index, entry) for index, entry in said if _for_people(entry)]
    if not said:
        raise InputError("this request was neither refused nor held", code="review.no_reasons", hint="")
    index, last = said[-1]
    decisions = [e["decision"] for _, e in entries if e["type"] == "decision"]
    decision: dict[str, Any] = next((d for d in reversed(decisions) if d["side"] == last.get("side", d["side"])), {})
    rules = last["rules"] if "rules" in last else old_rules(desk, decision)
    policy = last.get("policy") or decision.get("policy") or {}
    people = [e["type"] for i, e in entries if e["type"] in _PEOPLE]
    code = str(last.get("code"))
    return {
        "request": str(intent),
        "decision": _decision(entries, last),
        "code": code,
        "time": last["time"],
        "log": {"index": index},
        "side": last.get("side") or decision.get("side"),
        "facts": _facts(code, last),
        "rules": [{k: r.get(k) for k in ("id", "title", "hazard", "verdict", "reason", "override")} for r in rules],
        "ground": {
            "kind": "contractual",
            "policy": policy,
            "text": f"the policy pack {policy.get('id')} {policy.get('version')}, on whose terms this service works",
            "references": _references(desk, policy, rules),
        },
        "automated": {
            "detection": True,
            "decision": code not in (REJECTED, EXPIRED) and not people,
            "people": people,
            "guards": [
                {
                    "guard": g["guard"],
                    "model": g["model"],
                    "inputs": g["inputs"],
                    "scores": g["scores"],
                    "error": g["error"],
                }
                for g in decision.get("guards", [])
            ],
            "thresholds": decision.get("thresholds", {}),
        },
        "appeal": _appeal(desk, entries, last, rules),
    }


def as_text(said: dict[str, Any]) -> list[str]:
    """The same in sentences, a line each."""
    automated, appeal, policy = said["automated"], said["appeal"], said["ground"]["policy"]
    lines = [
        f"Statement of reasons for the request {said['request']}",
        f"Decided: {said['decision']} ({said['code']}) on {said['time']}; entry {said['log']['index']} of the log.",
        f"Facts: {said['facts']}",
    ]
    for rule in said["rules"]:
        lifted = "" if rule["override"] else " Nobody may lift this rule."
        lines.append(f"Rule {rule['id']}, {rule['title']} ({rule['verdict']}): {rule['reason']}{lifted}")
    lines.append(f"Ground: {said['ground']['text']} (sha256 {policy.get('digest')}).")
    lines += [f"See also: {reference}" for reference in said["ground"]["references"]]
    lines.append(
        "Decided by a machine alone." if automated["decision"] else "Found by a machine; people were asked to decide."
    )
    for guard in automated["guards"]:
        model = guard["model"] or {}
        name = f"{model.get('name')} {model.get('version')} ({str(model.get('digest'))[:12]})" if model else "no model"
        scores = ", ".join(f"{hazard} {score}" for hazard, score in guard["scores"].items())
        lines.append(f"Guard {guard['guard']}, {name}: {guard['error'] or scores or 'terms of the policy'}")
    lines += [f"Threshold of {rule}: {value}" for rule, value in automated["thresholds"].items()
              if rule in {r["id"] for r in said["rules"]}]  # fmt: skip
    lines.append(f"Appeal: {appeal['how']}")
    return lines


def _for_people(entry: dict[str, Any]) -> bool:
    return bool(entry["type"] != "held" or entry.get("code") != WAITING)


def _decision(entries: list[tuple[int, dict[str, Any]]], last: dict[str, Any]) -> str:
    types = [e["type"] for _, e in entries]
    if "release" in types:
        return "released after people approved it"
    if types[-1] == "failed":
        return "approved by people, and failed since"
    if "appeal.overturned" in types:
        return "refused, and overturned on appeal"
    if last["type"] != "refused":
        return "held: people decide"
    if last.get("verdict") == "rewrite":
        return "not made as it was asked; a rewrite was offered"
    if "appeal.upheld" in types:
        return "refused, and upheld on appeal"
    return "refused: nothing was made public"


def _facts(code: str, last: dict[str, Any]) -> str:
    side = "the prompt" if last.get("side") == "prompt" else "the picture, clip or sound"
    if code == EXPIRED:
        return f"{side} was held for people, and nobody decided in time."
    if code == REJECTED:
        return f"{side} was held for people, and a person rejected it."
    if code.endswith("guard_failed"):
        return f"a guard that must judge {side} could not answer."
    return f"the rules below fired when {side} was judged."


def _references(desk: Desk, policy: dict[str, Any], rules: list[dict[str, Any]]) -> list[str]:
    """Of the rules that fired, where the very same pack is at hand."""
    if policy.get("digest") != desk.pack.ref.digest:
        return []
    fired = {rule["id"] for rule in rules}
    return list(dict.fromkeys(text for rule in desk.pack.rules if rule.id in fired for text in rule.references))


def _appeal(
    desk: Desk, entries: list[tuple[int, dict[str, Any]]], last: dict[str, Any], rules: list[dict[str, Any]]
) -> dict[str, Any]:
    filed = next((e for _, e in entries if e["type"] == "appeal.filed"), None)
    if filed is not None:
        end = next(
            (e["type"] for _, e in reversed(entries) if e["type"] in ("appeal.upheld", "appeal.overturned")), None
        )
        over = end or ("review.expired" if any(
            e["type"] == EXPIRED and e.get("round") == filed["round"] for _, e in entries) else None)  # fmt: skip
        how = (
            f"there was one, and it was {over.split('.')[1]}."
            if over
            else f"it is before people, until {filed['deadline']}."
        )
        return {"open": False, "filed": True, "until": None, "result": over, "how": how}
    if last["type"] != "refused" or last.get("verdict") == "rewrite":
        return {"open": False, "filed": False, "until": None, "result": None, "how": "not needed: it is not refused."}
    until = until_text(desk, last)
    only = "" if all(r.get("override") is True for r in rules) else " It can be looked at again, but not released."
    how = (
        f"`filigrana appeal {last['intent']} --reason …`, or `POST /v1/appeals/{last['intent']}`, until {until}. "
        f"A person who did not decide before looks at it again.{only}"
    )
    return {"open": True, "filed": False, "until": until, "result": None, "how": how}
