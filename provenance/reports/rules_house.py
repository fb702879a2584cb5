"""Rules about the installation behind a file: its detector, its log, what it keeps of people. Pure."""

from __future__ import annotations

import re
from typing import Any

from .answers import private_parts
from .duties import Needs
from .facts import FileFacts, HouseFacts
from .outcome import Outcome, judged, not_about

_NOBODY = "not looked at: it is about the installation that released the file"


def r8(_file: FileFacts, house: HouseFacts, _needs: Needs) -> Outcome:
    if house.answer is None:
        return Outcome("R8", "open", _NOBODY)
    return judged(
        "R8", private_parts(house.answer), "the answer to this file holds what the allow-list has, and no more"
    )


def r9(_file: FileFacts, house: HouseFacts, _needs: Needs) -> Outcome:
    service = house.service
    if service is None:
        return Outcome("R9", "open", _NOBODY)
    words = {"upload": "it takes no upload", "url": "it takes no URL", "api": "there is no API"}
    faults = [text for name, text in words.items() if service.get(name) is not True]
    if not service.get("address"):
        faults.append("no public address is set (serve_url)")
    evidence = (house.answer or {}).get("evidence")
    if (
        not isinstance(evidence, list)
        or not evidence
        or not all(isinstance(e, dict) and e.get("technique") for e in evidence)
    ):
        faults.append("its answer does not say which technique it rests on")
    return judged("R9", faults, f"at {service.get('address')}")


def r10(_file: FileFacts, house: HouseFacts, _needs: Needs) -> Outcome:
    if house.proof is None:
        return Outcome("R10", "open", "there is no inclusion proof to check: give one with --proof and --log-key")
    holds, said = house.proof
    return Outcome("R10", "pass" if holds else "fail", said)


def r12(_file: FileFacts, house: HouseFacts, needs: Needs) -> Outcome:
    kept = house.retention
    if kept is None:
        return Outcome("R12", "open", _NOBODY)
    faults = []
    days = kept.get("days")
    if days is None:
        faults.append("the policy names no retention period")
    elif isinstance(days, int) and days < needs.retention_days:
        faults.append(f"texts are kept for {days} days, and {needs.retention_days} are asked for")
    if kept.get("erasure") != "works":
        faults.append(f"erasure: {kept.get('erasure')}")
    if kept.get("logged") is not True:
        faults.append("an erasure leaves no entry in the log")
    return judged("R12", faults, f"kept for {days} days; an erasure was tried, and is an entry")


def r15(file: FileFacts, house: HouseFacts, _needs: Needs) -> Outcome:
    report = house.robustness
    if report is None:
        return Outcome("R15", "open", f"{_NOBODY}; give its report with --robustness")
    if report.get("error"):
        return Outcome("R15", "fail", f"there is no robustness report: {report['error']}")
    faults = []
    used = {alg for alg, _ in file.bindings} or {alg for alg, ident in file.marks if ident}
    tested = set(report.get("algorithms") or ())
    if not used:
        return not_about("R15", "the file claims no watermark that a report could be about")
    if missing := sorted(used - tested):
        faults.append(f"it is of {', '.join(sorted(tested)) or 'no mark'}, and this file carries {', '.join(missing)}")
    if report.get("version") != report.get("installed"):
        faults.append(f"it is of version {report.get('version')}, and {report.get('installed')} is in use")
    if report.get("code") != report.get("installed_code"):
        faults.append("the code that marks, or that tests the marks, has changed since it was made")
    if report.get("errors"):
        faults.append(f"{report['errors']} of its measurements failed")
    wanted = {"image": "picture", "video": "video", "audio": "sound"}.get(file.kind, file.kind)
    if wanted not in (report.get("sections") or ()):
        faults.append(f"it has no measurement of this kind of file ({wanted})")
    said = "all its bars are met" if report.get("met") else "not all its bars are met, as it says itself"
    return judged("R15", faults, f"made {report.get('made')}, of the code in use; {said}")


def r16(_file: FileFacts, house: HouseFacts, _needs: Needs) -> Outcome:
    if house.refusals is None:
        return Outcome("R16", "open", _NOBODY)
    count, faults = house.refusals
    words = f"{count} refusals of the log looked at: each has reasons and a time for appeals"
    none = "no refusal in the log yet; every rule of the policy has its reason, and appeals a time"
    return judged("R16", list(faults), words if count else none)


def refusal_faults(entry: dict[str, Any]) -> list[str]:
    """What is wrong with one entry of the log that refuses something."""
    where = str(entry.get("intent"))[:8]
    rules = entry.get("rules")
    faults = []
    if (
        not isinstance(rules, list)
        or not rules
        or not all(isinstance(r, dict) and str(r.get("reason", "")).strip() for r in rules)
    ):
        faults.append(f"the refusal of {where} gives no reason")
    if not re.match(r"^[a-z_]+\.[a-z_.]+$", str(entry.get("code", ""))):
        faults.append(f"the refusal of {where} has no code")
    if entry.get("rewrite_offered") is not True and not entry.get("appeal_until") and entry.get("verdict") != "rewrite":
        faults.append(f"the refusal of {where} names no time for an appeal")
    return faults
