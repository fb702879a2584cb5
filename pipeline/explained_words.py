"""The same account in plain words: one sentence that answers, then a line for each thing. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from .request import WAITING

NOT_RECORDED = "not recorded"
_ENDS = {"refused": "Refused", "failed": "Allowed, and failed since", "abandoned": "Allowed, and given up since"}
_SIDES = {"prompt": "prompt", "output": "picture, clip or sound"}


def summary(said: dict[str, Any]) -> str:
    """One sentence."""
    acts, decisions = [act["act"] for act in said["history"]], said["decisions"]
    by = _by(said["policy"])
    stopped = next((d for d in reversed(decisions) if d["verdict"] != "allow"), None)
    if stopped is None:
        return _unstopped(said, acts, by)
    why = _why(stopped)
    if said["released"] is not None:
        count = len({act["actor"] for act in said["history"] if act["act"] == "review.approved"})
        if not count:
            return f"Allowed by {by} after other words were accepted: {_quiet(decisions)}."
        people = "one person" if count == 1 else f"{count} people"
        return f"Held by {by}, then approved by {people} and released: {why}."
    if acts and acts[-1] in ("failed", "abandoned"):
        return f"Nothing was made public; the request {acts[-1]} ({_code(said)}). {by} had said: {why}."
    if "refused" not in acts:
        return f"Held by {by} for people to decide: {why}."
    if stopped["verdict"] == "rewrite" and "held" not in acts:
        return f"Not made as it was asked, by {by}; other words were offered: {why}."
    return f"Refused by {by}{_after(acts)}: {why}."


def _unstopped(said: dict[str, Any], acts: list[str], by: str) -> str:
    quiet = _quiet(said["decisions"])
    if said["released"] is not None:
        return f"Allowed by {by}: {quiet}."
    waits = [act for act in said["history"] if act["act"] == "held" and act["code"] == WAITING]
    if acts and acts[-1] in _ENDS:
        return f"{_ENDS[acts[-1]]} ({_code(said)}): nothing was made public."
    if waits:
        return f"Allowed by {by}, and waits for a time-stamp: {quiet}."
    if not said["decisions"]:
        return "Nothing was decided yet, and nothing made public."
    return f"Allowed by {by} so far, and not finished: {quiet}."


def _after(acts: list[str]) -> str:
    """How people took part in a refusal."""
    if "appeal.overturned" in acts:
        return ", and overturned on appeal"
    if "appeal.upheld" in acts:
        return ", and upheld on appeal"
    if "appeal.filed" in acts:
        late = "review.expired" in acts[acts.index("appeal.filed") :]
        return ", and upheld, since nobody decided on the appeal in time" if late else "; an appeal is before people"
    if "review.rejected" in acts:
        return " after a person rejected it"
    return " after nobody decided in time" if "review.expired" in acts else ""


def _code(said: dict[str, Any]) -> str:
    return next((str(act["code"]) for act in reversed(said["history"]) if act["code"]), NOT_RECORDED)


def _by(policy: dict[str, Any] | None) -> str:
    return "a policy that was not recorded" if not policy else f"{policy.get('id')} {policy.get('version')}"


def _why(decision: dict[str, Any]) -> str:
    rules = [f"{rule['id']} ({rule['title']})" if rule["title"] else str(rule["id"]) for rule in decision["fired"]]
    rules = list(dict.fromkeys(rules))
    verb = "fired" if len(rules) < 2 else "fired together"
    return f"{', '.join(rules) or decision['code']} {verb} on the {_SIDES.get(decision['side'], decision['side'])}"


def _quiet(decisions: list[dict[str, Any]]) -> str:
    """Why nothing stood in the way, and what came nearest to it."""
    fired = list(dict.fromkeys(rule["id"] for d in decisions if d["verdict"] == "allow" for rule in d["fired"]))
    start = f"only rules that allow fired ({', '.join(fired)})" if fired else "no rule fired"
    near = max((n for d in decisions for n in d["nearest"]), key=lambda one: one["share"], default=None)
    if near is None:
        return start
    if not fired:
        start = "nothing scored above its threshold"
    return (
        f"{start}; nearest was {near['hazard']} by {near['guard']}, {near['score']:.3f} of {near['threshold']:.3f} "
        f"({near['rule']})"
    )


def lines(said: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(name, text) for the terminal; the summary is not among them."""
    asked, policy = said["asked"], said["policy"]
    yield (
        "request",
        f"{said['request']}, {asked['kind']}, by {asked['actor']}, {asked['time']} (entry {asked['index']})",
    )
    for name, commitment in asked["commitments"].items():
        yield name.replace("_", " "), _text(asked["texts"][name])
        yield "", f"commitment {commitment}"
    if isinstance(asked.get("model"), dict):
        yield "model", _model(asked["model"])
    if policy:
        yield "policy", f"{_by(policy)} (sha256 {policy.get('digest')})"
        yield "approved by", ", ".join(policy["approved_by"]) or "nobody's signature was asked for, or recorded"
    for decision in said["decisions"]:
        yield from _decision(decision)
    for act in said["history"]:
        yield act["act"], _act(act)
    yield from _released(said["released"])
    energy = said["energy"]
    yield "energy", NOT_RECORDED if energy is None else f"{energy.get('joules')} J ({energy.get('method')})"


def _text(text: dict[str, Any]) -> str:
    if not text["kept"]:
        return "no longer kept: it was erased, or its time is over"
    return "kept, and not shown" if text["text"] is None else str(text["text"])


def _model(model: dict[str, Any] | None) -> str:
    if not model:
        return "no model"
    return f"{model.get('name')} {model.get('version')} ({str(model.get('digest')).removeprefix('sha256:'):.16})"


def _decision(decision: dict[str, Any]) -> Iterator[tuple[str, str]]:
    missing = decision["not_recorded"]
    yield (
        decision["side"],
        f"{decision['verdict']} ({decision['code']}), {decision['time']} (entry {decision['index']})",
    )
    yield "", f"judged: {_or(decision['input'], 'input', missing)}; by {_by(decision['policy'])}"
    for guard in decision["guards"]:
        yield "  guard", _guard(guard)
        for score in guard["scores"]:
            yield "", f"{score['hazard']} {score['score']:.3f} {_limit(score, missing)}"
    for rule in decision["fired"]:
        title = rule["title"] or f"its words were {NOT_RECORDED}"
        final = "" if rule["override"] is not False else " Nobody may lift it."
        yield (
            "  fired",
            f"{rule['id']} {title} ({rule['verdict']}){': ' + rule['reason'] if rule['reason'] else ''}{final}",
        )
    if not decision["fired"]:
        yield "  fired", "no rule"
    for near in decision["nearest"]:
        yield (
            "  nearest",
            f"{near['rule']}: {near['hazard']} {near['score']:.3f} of {near['threshold']:.3f}, {near['share']:.0%}",
        )
    if "reads" in missing:
        yield "  nearest", NOT_RECORDED


def _guard(guard: dict[str, Any]) -> str:
    missing = guard["not_recorded"]
    took = _or(guard["milliseconds"], "milliseconds", missing)
    parts = [
        f"{guard['guard']}, {_model(guard['model'])}",
        f"calibration {_or(guard['calibration'], 'calibration', missing):.16}",
        f"{guard['inputs']} input{'' if guard['inputs'] == 1 else 's'}",
        f"time {NOT_RECORDED}" if took == NOT_RECORDED else f"{took} ms",
    ]
    if guard["error"]:
        parts.append(f"did not answer ({guard['error']})")
    elif not guard["scores"]:
        parts.append("looks for terms, gives no score")
    return ", ".join(parts)


def _or(value: object, name: str, missing: Iterable[str]) -> str:
    if value is not None:
        return str(value)
    return NOT_RECORDED if name in missing else "none"


def _limit(score: dict[str, Any], missing: Iterable[str]) -> str:
    if "reads" in missing:
        return f"(threshold {NOT_RECORDED})"
    limits = [f"{one['at_least']:.3f} ({one['rule']})" for one in score["thresholds"]]
    return f"against {', '.join(limits)}" if limits else "(no rule reads it)"


def _act(act: dict[str, Any]) -> str:
    said = [f"{act['time']} (entry {act['index']})", act["name"] or act["actor"], act["code"], act["reason"]]
    said += [f"until {act['deadline']}" if act["deadline"] else None]
    said += [f"appeal until {act['appeal_until']}" if act["appeal_until"] else None]
    return ", ".join(str(part) for part in said if part)


def _released(released: dict[str, Any] | None) -> Iterator[tuple[str, str]]:
    if released is None:
        yield "released", "nothing"
        return
    yield (
        "released",
        f"{released['asset_id']}, {released['mime']}, {released['bytes']} bytes, {released['source_type']}",
    )
    yield "", f"sha256 {released['sha256']}"
    yield "", f"signed by {released['signer'] or NOT_RECORDED}, time-stamp {released['timestamp'] or 'none'}"
    yield "", f"decision record {released['record'] or NOT_RECORDED}"
