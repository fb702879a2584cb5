"""Where credentials and marks get lost on the way to readers: each copy on a site or in a folder.

What is looked at is read in the confined process; `site_walk` finds it on a site.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import FiligranaError
from ..provenance.asked import Asked
from ..provenance.finding import Finding
from ..provenance.identity import AssetId
from ..provenance.records import AssetRecord

if TYPE_CHECKING:
    from .installation import Installation


@dataclass(frozen=True)
class Copy:
    """One file that was found. ``status``: kept, lost (credentials, marks, or both, of a known asset), altered, unknown
    (nothing leads anywhere), unreadable. ``lost``: what of it; ``why``: how the copy differs from the original;
    ``fix``: what to do."""

    place: str
    page: str | None
    status: str
    finding: str
    asset_id: str | None
    lost: tuple[str, ...] = ()
    why: tuple[str, ...] = ()
    fix: tuple[str, ...] = ()
    detail: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {
            "place": self.place,
            "page": self.page,
            "status": self.status,
            "finding": self.finding,
            "asset_id": self.asset_id,
            "lost": list(self.lost),
            "why": list(self.why),
            "fix": list(self.fix),
            "detail": self.detail,
        }


def looked_at(opened: Installation, place: str, page: str | None, path: Path) -> Copy:
    """One file, held against what is known of its asset."""
    finding = opened.inspector.verify(path, Asked(facts=True))
    return judged(place, page, finding, _record(opened, finding))


def _record(opened: Installation, finding: Finding) -> AssetRecord | None:
    if finding.asset_id is None:
        return None
    for resolver in opened.resolvers():
        try:
            found = resolver.by_asset_id(AssetId.parse(str(finding.asset_id)))
        except FiligranaError:
            continue
        if found is not None:
            return found
    return None


def judged(place: str, page: str | None, finding: Finding, record: AssetRecord | None) -> Copy:
    """What was lost, how the copy differs, and what follows. Pure."""
    facts, media = finding.facts or {}, finding.media or {}
    ident = None if finding.asset_id is None else str(finding.asset_id)
    word = finding.finding
    if word == "unreadable":
        return Copy(place, page, "unreadable", word, ident, detail=finding.evidence[0].detail)
    signed = facts.get("state") in ("trusted", "valid")
    marked = any(mark for _, mark in facts.get("marks") or ())
    lost = []
    if record is not None or ident is not None:
        lost += [] if signed else ["Content Credentials"]
        lost += [] if marked or not _had_mark(facts, record) else ["watermark"]
        lost += [] if (facts.get("xmp") or {}).get("source_type") or not record else ["XMP metadata"]
    why = _differences(media, record)
    if word in ("altered", "contradicted"):
        detail = next((e.detail for e in finding.evidence if e.status == "failed"), "")
        fix = ("Find out who changed it: it is not what was released.",)
        return Copy(place, page, "altered", word, ident, tuple(lost), why, fix, detail)
    if word == "unmarked":
        fix = ("If it was released here, everything that could show it was lost: publish it again from the original.",)
        return Copy(place, page, "unknown", word, None, fix=fix)
    return Copy(place, page, "lost" if lost else "kept", word, ident, tuple(lost), why, _fixes(lost, why))


def _had_mark(facts: dict[str, Any], record: AssetRecord | None) -> bool:
    """Whether there was a mark to lose: the credentials bind one, or the asset is a picture or clip of this house."""
    return bool(facts.get("bindings")) or (record is not None and record.media != "audio")


def _differences(media: dict[str, Any], record: AssetRecord | None) -> tuple[str, ...]:
    if record is None:
        return ()
    found = []
    if media.get("mime") and media["mime"] != record.mime:
        found.append(f"it is {media['mime']}, and was released as {record.mime}")
    sizes = (media.get("width"), media.get("height")), (record.width, record.height)
    if None not in sizes[0] and None not in sizes[1] and sizes[0] != sizes[1]:
        found.append(f"it has {sizes[0][0]} x {sizes[0][1]} px, and was released with {sizes[1][0]} x {sizes[1][1]}")
    if not found and media.get("sha256") and media["sha256"] != record.sha256.hex():
        found.append("it has the same format and size, and other bytes: it was written again")
    return tuple(found)


def _fixes(lost: list[str], why: tuple[str, ...]) -> tuple[str, ...]:
    if not lost:
        return ()
    found = []
    if any("px" in one for one in why):
        found.append(
            "Something resizes it (a CDN or the CMS): switch on that it keeps metadata and Content Credentials, or let "
            "`filigrana seal` sign each size."
        )
    if any("was released as" in one for one in why):
        found.append("Something converts it: serve the format that was released, or sign what it is converted to.")
    if any("written again" in one for one in why):
        found.append("Something writes it anew and strips metadata: take it out of image optimisation.")
    if "watermark" in lost:
        found.append("The watermark is gone too, so no detector leads back to the record: publish a larger copy.")
    return tuple(found or ["Publish it from the original, unchanged."])
