"""Rules about what is signed: origin, disclosure, what came in, who judged, when. Pure."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

from .duties import Needs
from .facts import FileFacts, HouseFacts
from .outcome import Outcome, judged, not_about

IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_NUMBER = re.compile(r"\d")
_DIGEST = re.compile(r"^(sha256:)?[0-9a-f]{64}$")
_NOT_AI = "the file does not claim to be AI-made"


def r1(file: FileFacts, _house: HouseFacts, _needs: Needs) -> Outcome:
    if file.state == "absent":
        return Outcome("R1", "fail", "there are no Content Credentials")
    faults = []
    if file.state != "trusted":
        codes = ", ".join(file.failures[:4])
        faults.append(f"the credentials are {file.state}, not trusted{f' ({codes})' if codes else ''}")
    if not file.manifest:
        faults.append("there is no active manifest")
    if file.time is None:
        faults.append("there is no time-stamp")
    elif file.time_trust == "none":
        faults.append("the time-stamp is by an authority that nobody here trusts")
    names = [action for action, _ in file.actions]
    if not {"c2pa.created", "c2pa.opened"} & set(names):
        faults.append("no action says that it was created or opened")
    elif "c2pa.opened" in names and "c2pa.created" not in names and not _parents(file):
        faults.append("it was opened, and from no parent")
    if file.ai:
        if file.source_type is None:
            faults.append("no action has a digital source type")
        elif not file.source_type.startswith(IPTC):
            faults.append(f"the source type {file.source_type[:60]!r} is no full IPTC URI")
    return judged("R1", faults, f"signed by {file.signer or 'unknown'}, {file.time}")


def _parents(file: FileFacts) -> list[tuple[str, str, str, str]]:
    return [part for part in file.ingredients if part[0] == "parentOf"]


def r2(file: FileFacts, _house: HouseFacts, _needs: Needs) -> Outcome:
    if not file.ai:
        return not_about("R2", _NOT_AI)
    if file.state not in ("trusted", "valid"):
        return Outcome("R2", "fail", "nothing that is signed discloses anything")
    faults = []
    said = file.record or {}
    provider = said.get("provider") or file.signer
    system = said.get("system") if isinstance(said.get("system"), str) else file.generator
    if not isinstance(provider, str) or not provider.strip():
        faults.append("no provider is named")
    if not system:
        faults.append("no system is named")
    elif not _NUMBER.search(system):
        faults.append(f"the system {system[:60]!r} is named without its version")
    if file.time is None and not any(when for _, when in file.actions):
        faults.append("no time of creation or alteration")
    if not file.asset_id and not file.bindings:
        faults.append("there is no unique id")
    if not any(action in ("c2pa.created", "c2pa.opened", "c2pa.edited") for action, _ in file.actions):
        faults.append("it does not say whether it was created or altered")
    return judged("R2", faults, f"{provider}; {system}; {file.asset_id or 'id in its soft binding'}")


def r4(file: FileFacts, _house: HouseFacts, _needs: Needs) -> Outcome:
    if not file.ai:
        return not_about("R4", _NOT_AI)
    xmp = file.xmp
    if xmp is None:
        return Outcome("R4", "fail", "there is no XMP")
    faults = []
    if not xmp.get("source_type"):
        faults.append("the XMP has no digital source type")
    elif not xmp["source_type"].startswith(IPTC):
        faults.append("the XMP's source type is no full IPTC URI")
    if xmp.get("source_types"):
        faults.append(f"the XMP names several digital source types: {xmp['source_types'][:300]}")
    if file.source_type is None:
        faults.append("the Content Credentials have no digital source type")
    if xmp.get("source_type") and file.source_type and xmp["source_type"] != file.source_type:
        one, other = (uri.rsplit("/", 1)[-1][:60] for uri in (xmp["source_type"], file.source_type))
        faults.append(f"the XMP says {one}, the credentials say {other}")
    if xmp.get("asset_id") and file.asset_id and xmp["asset_id"] != file.asset_id:
        faults.append("the XMP names another asset")
    return judged("R4", faults, f"both say {file.declared}")


def r7(file: FileFacts, _house: HouseFacts, _needs: Needs) -> Outcome:
    names = [action for action, _ in file.actions]
    if file.state == "absent":
        return Outcome("R7", "fail", "there are no Content Credentials that could say what came in")
    broken = [title for _, title, _, state in file.ingredients if state == "invalid"]
    faults = [f"the credentials of {title[:60]!r} do not hold" for title in broken[:3]]
    if "c2pa.created" in names and not file.had:
        return judged("R7", faults, "it was made here: nothing came in with marks or credentials")
    parents = _parents(file)
    if not parents:
        faults.append("it was opened, and what it was opened from is not named")
    elif file.had.get("credentials") and not any(kind == "manifest" for _, _, kind, _ in parents):
        faults.append("its input had credentials, which are gone")
    producer = file.had.get("aigc")
    if producer is not None and not any(f'"ContentProducer":"{producer}"' in text for _, text in file.aigc):
        faults.append("its input's AIGC label named another producer, or is gone")
    return judged("R7", faults, "its input is named, with what it brought along")


def r11(file: FileFacts, _house: HouseFacts, _needs: Needs) -> Outcome:
    record = file.record
    if record is None:
        return Outcome("R11", "fail", "there is no decision record in the file")
    if file.state != "trusted":
        return Outcome("R11", "fail", "the decision record is not signed by anybody who is trusted here")
    faults, unheard = [], []
    policy = _mapping(record.get("policy"))
    if not all(isinstance(policy.get(name), str) and policy[name] for name in ("id", "version")):
        faults.append("no policy with its version")
    if not _DIGEST.match(str(policy.get("digest"))):
        faults.append("the policy's digest is missing")
    decisions = record.get("decisions")
    if not isinstance(decisions, list) or not decisions:
        faults.append("no decision is recorded")
        decisions = []
    for decision in map(_mapping, decisions):
        guards = decision.get("guards")
        if not isinstance(guards, list) or not guards:
            unheard.append(decision)
            continue
        for guard in map(_mapping, guards):
            # A lexicon is no model: it stands in the policy, under the policy's digest.
            if not guard.get("guard"):
                faults.append("a guard without a name")
            elif guard.get("model") is not None and not _DIGEST.match(str(guard["model"])):
                faults.append(f"the guard {str(guard['guard'])[:40]} names no digest of its model")
    # Sound that nobody listens to is released where the policy lets it pass; the record must then say so itself.
    unjudged = record.get("unjudged")
    named = isinstance(unjudged, list) and "sound" in unjudged
    note = "; no guard listened to the sound, as the record says" if named else ""
    if unheard and not (named and file.kind == "audio"):
        faults.append("a decision names no guard, and nothing says that nobody judged it")
    return judged("R11", faults, f"policy {policy.get('id')} {policy.get('version')}, {len(decisions)} decisions{note}")


def r13(file: FileFacts, house: HouseFacts, _needs: Needs) -> Outcome:
    faults = []
    if file.time is None:
        faults.append("there is no time-stamp")
    elif file.time_trust == "none":
        faults.append("its authority is on no list of time-stamp authorities here, or on a list of signers too")
    elif not _readable(file.time):
        faults.append("the time-stamp's time cannot be read")
    if house.lists_apart is False:
        faults.append("a root stands both on a list of signers and on a list of time-stamp authorities")
    return judged("R13", faults, f"{file.time}; trust: {file.time_trust}")


def _readable(time: str) -> bool:
    try:
        dt.datetime.fromisoformat(time)
    except ValueError:
        return False
    return True


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
