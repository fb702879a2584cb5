"""From what was observed to the finding. Pure: no file, no clock, no network."""

from __future__ import annotations

from .disagreeing import (
    contradictions_of,
    failed,
    foreign_sound,
    out_of_step,
    sound_added,
    sound_in_words,
    sound_replaced,
)
from .evidence import (
    catalog_evidence,
    credential_evidence,
    foreign_evidence,
    generator_evidence,
    label_evidence,
    likeness_evidence,
    manifest_evidence,
    mark_evidence,
    revocation_evidence,
    sound_evidence,
)
from .finding import Evidence, FindingWord
from .identity import AssetId
from .observed import CERTAIN, Observed, claimed_id
from .records import OWN_CATALOG, AssetRecord

_LONGER = 0.03
"""A copy may be that much longer than its original: encoders pad, and speed changes by a few per cent."""


def weigh(seen: Observed) -> tuple[FindingWord, AssetId | None, list[Evidence]]:
    """From what was observed to (finding, asset id, evidence). The first rule that fits decides.

    - Credentials that fail, or cannot be read: `altered`.
    - The sound track of a clip carries another asset's mark than its pictures: `contradicted`, whatever else holds,
      since nobody releases such a clip.
    - Credentials that hold, but say otherwise than the mark, the metadata, the catalog or the sound: `contradicted`.
      A signature says who, not that it is so: a mark that is claimed and absent, present and of another id, or present
      in a manifest that names neither it nor a parent, is what a signer of somebody else's picture leaves behind.
    - Credentials that hold: `verified` under a list of this verifier, else `intact`. A signature whose key was
      withdrawn for its time is `intact` at most: somebody else may have made it.
    - No credentials, and nothing resolves: `unmarked`, which proves nothing.
    - The released bytes themselves, known by their hash: `recovered`.
    - A mark that resolves: anybody can put it into anything (the detection key is published), so the content decides.
      The stored preview, under the geometry that was found: same is `recovered`, parts that differ are `altered`,
      another picture is `contradicted` (the mark was transplanted). Without a preview nothing is recovered. What a
      copy leaves out, and what stands around it, is said but not held against it.
    - Of a clip whose pictures are the same, the sound must be the original's too: a track that was moved or sped up
      against the pictures, or that carries no mark although the original's did, makes it `altered`. A missing track is
      only said: nothing in the file is false.
    - Sound alone has no preview and no fingerprint yet. A stripped sound is `recovered` if its mark is beyond doubt
      (p < 1e-9), the log proves the release, and it is no longer than the original; the evidence says that the content
      was not compared. A longer one holds something that the original does not: `altered`. A weaker mark recovers
      nothing: `unmarked`.
    - A copy with further tracks of pictures or sound is `altered`: a player may show those instead.
    - Whatever would be `recovered` while the log does not prove the release, or while the manifest that the catalog
      kept does not hold or names another mark, is `contradicted`.
    """
    evidence = [
        *credential_evidence(seen.credentials),
        *revocation_evidence(seen.revoked),
        *mark_evidence(seen.marks, seen.claims, seen.comparison),
        *seen.notes,
        *sound_evidence(seen.kind, seen.has_sound, seen.sound_alg, seen.sound_mark, seen.synchrony()),
        *sound_in_words(seen),
        *label_evidence(seen.label),
        *foreign_evidence(seen.foreign),
        *generator_evidence(seen.made_by),
        *catalog_evidence(seen.record, seen.resolved_by, seen.log, seen.exact, seen.comparison),
        *manifest_evidence(seen.stored, seen.stored_faults),
        *likeness_evidence(seen.likeness),
    ]
    finding, asset_id, reasons = _decide(seen)
    return finding, asset_id, evidence + reasons


def _decide(seen: Observed) -> tuple[FindingWord, AssetId | None, list[Evidence]]:
    asset_id = seen.marked_id or claimed_id(seen.credentials)
    state = seen.credentials.state
    if state in ("invalid", "damaged"):
        return "altered", asset_id, []
    foreign = foreign_sound(seen)
    if state in ("trusted", "valid"):
        contradictions = [*foreign, *contradictions_of(seen)]
        if contradictions:
            return "contradicted", asset_id, failed(contradictions)
        return ("verified" if state == "trusted" and seen.revoked is None else "intact"), asset_id, []
    if foreign:
        return "contradicted", asset_id, failed(foreign)
    if seen.record is None:
        return "unmarked", asset_id, []
    finding, reasons = _recovered(seen, seen.record)
    if finding == "recovered" and seen.log is not None and not seen.log.ok:
        reasons += failed(["the catalog knows the asset, but the log does not prove it"])
        finding = "contradicted"
    if finding == "recovered" and seen.further and not seen.exact:
        # Which track is shown is the player's choice; what is released has one of each kind.
        text = f"{seen.further} further tracks of pictures or sound: the original has none, and a player may show these"
        return "altered", seen.record.asset_id, [*reasons, Evidence("preview", "failed", text)]
    if finding == "recovered" and seen.stored_faults:
        reasons += failed([f"the catalog's manifest of the asset does not hold: {'; '.join(seen.stored_faults)}"])
        finding = "contradicted"
    if finding == "recovered" and not seen.exact:
        reasons += _left_out(seen)
    return finding, seen.record.asset_id, reasons


def _left_out(seen: Observed) -> list[Evidence]:
    """What a comparison with a stored preview does not see."""
    found = []
    if seen.comparison is not None and seen.kind == "video":
        found.append("a clip is compared at a few stored moments; what happens between them was not compared")
    if seen.comparison is not None and seen.comparison.moving:
        found.append("one picture of a clip: where the clip moves, a change cannot be told from motion")
    if seen.comparison is not None and seen.transparent:
        found.append("the picture is transparent in parts: it was compared as it looks on white")
    if seen.comparison is not None and seen.catalog not in (None, OWN_CATALOG):
        found.append(f"the picture that the copy was compared with is the word of {seen.catalog}; nobody signed it")
    return [Evidence("limits", "warning", text) for text in found]


def _recovered(seen: Observed, record: AssetRecord) -> tuple[FindingWord, list[Evidence]]:
    """The finding for a file without credentials that resolves."""
    if seen.exact:
        # The released bytes themselves, of a format or size that carries its credentials elsewhere.
        return "recovered", []
    if seen.kind == "audio":
        return _sound_alone(seen, record)
    if seen.comparison is None:
        return "unmarked", [Evidence("preview", "absent", "there is no stored preview to compare with")]
    if seen.kind == "video" and _longer(seen, record):
        lengths = f"{seen.duration:.1f} s, the original {record.duration:.1f} s"
        return "altered", [Evidence("preview", "failed", f"the copy is longer than the original: {lengths}")]
    if seen.comparison.match == "different" and _cut_of_a_clip(seen, record):
        text = "this is a cut of a clip, and no stored picture of the original shows this moment: nothing was compared"
        return "unmarked", [Evidence("preview", "absent", text)]
    if seen.comparison.match == "different":
        return "contradicted", []
    if sound_added(seen):
        return "altered", []
    if seen.comparison.match == "edited" or out_of_step(seen) or sound_replaced(seen):
        return "altered", []
    return "recovered", []


def _longer(seen: Observed, record: AssetRecord) -> bool:
    if seen.duration is None or record.duration is None:
        return False
    return seen.duration > record.duration * (1 + _LONGER) + 0.5


def _cut_of_a_clip(seen: Observed, record: AssetRecord) -> bool:
    """One picture, or a part, of a clip: the few stored pictures may all lie elsewhere."""
    if record.media != "video":
        return False
    if seen.kind == "image":
        return True
    return None not in (seen.duration, record.duration) and seen.duration < 0.9 * record.duration  # type: ignore[operator]


def _sound_alone(seen: Observed, record: AssetRecord) -> tuple[FindingWord, list[Evidence]]:
    mark = next((d for d in seen.marks.values() if d.asset_id == record.asset_id), None)
    unheard = "there is no fingerprint of the original's sound: the content was not compared"
    if mark is None or mark.p_value >= CERTAIN:
        return "unmarked", [Evidence("preview", "absent", f"{unheard}, and the mark alone is not certain enough")]
    if seen.duration is None or record.duration is None:
        return "unmarked", [Evidence("preview", "absent", f"{unheard}, and its length is not known")]
    lengths = f"{seen.duration:.1f} s of the original's {record.duration:.1f} s"
    if _longer(seen, record):
        return "altered", [Evidence("preview", "failed", f"longer than the original: {lengths}; {unheard}")]
    if seen.log is None or not seen.log.ok:
        return "recovered", []
    return "recovered", [Evidence("preview", "warning", f"{unheard}; its mark is certain, and it lasts {lengths}")]
