"""A finding in plain words: who, what, when, how sure, and what follows from it and what does not. Pure.

Written for a reader who never heard of C2PA. Names that a file claims for itself are said as claims.
"""

from __future__ import annotations

import math

from .finding import Finding, Telling
from .records import OWN_CATALOG
from .words import Words, words


def tell(finding: Finding, language: str = "en") -> Telling:
    said, variant = words(language), _variant(finding)
    told = [*_who(finding, said), *_what(finding, said), *_when(finding, said), *_rest(finding, said)]

    def key(part: str) -> str:
        special = f"finding.{finding.finding}.{variant}.{part}"
        return special if special in said else f"finding.{finding.finding}.{part}"

    return Telling(
        language=said.language,
        headline=said(key("headline")),
        meaning=said(key("meaning")),
        explanation=(*told, *_sure(finding, said)),
        conclude=tuple(said.lines(key("conclude"))),
        not_conclude=(*said.lines(key("not_conclude")), *_left_out(finding, said)),
    )


def _left_out(finding: Finding, said: Words) -> list[str]:
    """Of what was led back by a comparison: what that comparison could not see."""
    if finding.finding != "recovered" or finding.match is None or _released_bytes(finding):
        return []
    record = finding.record or {}
    still = (finding.media or {}).get("kind") == "image"
    clip = ["say.left.still" if still else "say.left.clip"] if record.get("media") == "video" else []
    # The mark of a sound track says whose it was, not what was laid over it.
    clip += ["say.left.sound"] if any(e.technique == "sound" for e in finding.evidence) else []
    elsewhere = ["say.left.catalog"] if record.get("catalog") not in (None, OWN_CATALOG) else []
    return [said(key, catalog=record.get("catalog")) for key in clip + elsewhere]


def _only_heard(finding: Finding) -> bool:
    """Led back by its mark alone: of sound there is nothing that it could be compared with."""
    sound = (finding.media or {}).get("kind") == "audio"
    return finding.finding == "recovered" and sound and finding.match is None and not _released_bytes(finding)


def _released_bytes(finding: Finding) -> bool:
    return any(e.technique == "preview" and "released bytes" in e.detail for e in finding.evidence)


def _variant(finding: Finding) -> str:
    """What a finding's usual words would say wrongly: a test key is no trusted source, a record whose signer nobody
    knows confirms nothing, sound that nobody compared is no copy yet, and a withdrawn key is not an unknown one."""
    if finding.finding == "verified" and finding.trust == "development":
        return "development"
    if _only_heard(finding):
        return "sound"
    if finding.finding == "recovered" and (finding.record or {}).get("trust", "none") == "none":
        return "unknown"
    return "revoked" if finding.finding == "intact" and _revoked(finding) else ""


def _revoked(finding: Finding) -> bool:
    return any(e.technique == "c2pa.revocation" and e.status == "failed" for e in finding.evidence)


def _who(finding: Finding, said: Words) -> list[str]:
    if finding.signer is None:
        return []
    level = (finding.record or {}).get("trust", "none") if finding.finding == "recovered" else finding.trust
    trust = said(f"trust.{level}")
    match finding.finding:
        case "intact" if _revoked(finding):
            return [said("say.who.revoked", signer=finding.signer)]
        case "verified" | "recovered" | "intact":
            return [said(f"say.who.{finding.finding}", signer=finding.signer, trust=trust)]
        case "altered" | "contradicted":
            return [said("say.who.claimed", signer=finding.signer)]
        case _:
            return []


def _what(finding: Finding, said: Words) -> list[str]:
    told = _made(finding, said)
    if finding.finding in ("altered", "recovered") and (finding.made_by or {}).get("confirmed"):
        # The file is a copy, and what is known is known of what it was made from.
        return [said("say.of_original", text=line) for line in told]
    return told


def _made(finding: Finding, said: Words) -> list[str]:
    made = finding.made_by
    if made is None or finding.finding == "unreadable":
        return []
    named = made.get("generator")
    if not made.get("confirmed") and finding.finding != "recovered":
        return [said("say.what.unconfirmed", generator=_claims(made, said))] if _claims(made, said) else []
    match made.get("kind"):
        case "ai":
            return [said("say.what.ai", generator=named) if named else said("say.what.ai.unnamed")]
        case "composite":
            return [said("say.what.composite", generator=named or "?")]
        case "camera":
            return [said("say.what.camera")]
        case _:
            return [said("say.what.made", generator=named)] if named else []


def _claims(made: dict[str, object], said: Words) -> str:
    """What unconfirmed labels say, in words: the kind, then the name."""
    kind = str(made.get("kind"))
    parts = [said(f"kind.{kind}")] if kind != "unknown" else []
    return ", ".join([*parts, *([str(made["generator"])] if made.get("generator") else [])])


def _when(finding: Finding, said: Words) -> list[str]:
    if finding.time is not None and finding.finding in ("verified", "intact"):
        stamp = next((e for e in finding.evidence if e.technique == "c2pa.timestamp"), None)
        sure = stamp is not None and stamp.status == "ok"
        trust = said(f"trust.{stamp.detail.rsplit(': ', 1)[-1]}") if sure and stamp is not None else ""
        return [said("say.when" if sure else "say.when.unconfirmed", time=finding.time, trust=trust)]
    created = (finding.record or {}).get("created_at")
    if created and finding.finding == "recovered":
        return [said("say.when.released", time=created)]
    return []


def _rest(finding: Finding, said: Words) -> list[str]:
    told = []
    for evidence in finding.evidence:
        if evidence.technique == "c2pa.revocation" and evidence.status == "failed":
            told.append(said("say.revoked", reason=evidence.detail))
    if finding.asset_id is not None and finding.finding != "unmarked":
        carried = ".carried" if finding.finding == "contradicted" else ""
        told.append(said(f"say.asset{carried}", asset=finding.asset_id))
    if finding.at is not None:
        told.append(said("say.at", time=finding.at.isoformat()))
    return told


def _sure(finding: Finding, said: Words) -> list[str]:
    match finding.finding:
        case "verified":
            return [said("say.sure.certain")]
        case "recovered":
            if _released_bytes(finding):
                return [said("say.sure.hash")]
            odds = (finding.record or {}).get("p_value")
            key = "say.sure.mark.sound" if _only_heard(finding) else "say.sure.mark"
            return [said(key, odds=_odds(odds))] if isinstance(odds, float) and odds > 0 else []
        case "altered" | "contradicted":
            return [said("say.sure.low")]
        case "unmarked" | "unreadable":
            return [said("say.sure.nothing")]
        case _:
            return []


def _odds(p_value: float) -> str:
    """A million million at most: beyond that nobody can picture the number, and the model of the noise ends."""
    return f"{round(10 ** min(12, math.floor(-math.log10(p_value)))):,}"
