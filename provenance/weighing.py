"""From what was observed to the finding. Pure: no file, no clock, no network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ..errors import FiligranaError
from .catalog import AssetRecord
from .comparing import Comparison
from .credentials import Credentials
from .evidence import (
    Evidence,
    catalog_evidence,
    label_evidence,
    mark_evidence,
    signature_evidence,
    sound_evidence,
    time_evidence,
)
from .identity import AssetId
from .labels import MetadataLabel
from .media import Kind
from .resolver import LogEvidence
from .synchrony import Synchrony, synchrony
from .watermark.base import Detection, Geometry

FindingWord = Literal["verified", "recovered", "intact", "altered", "contradicted", "unmarked", "unreadable"]

CERTAIN = 1e-9
"""The p-value under which a mark in sound is believed without its content being compared."""
_LONGER = 0.03
"""A copy may be that much longer than its original: encoders pad, and speed changes by a few per cent."""


@dataclass
class Observed:
    """What the checks saw. ``marks``: what each codec detected, by alg; of a sound file what the sound codecs did.

    ``sound_mark``: what the sound track of a clip carries, None where there is no track or nobody looked;
    ``sound_alg`` is the codec's name. ``has_sound``: the clip has a sound track,
    ``sound_loud`` one that could carry a mark. ``sound_bound``: the catalog says that
    the original's sound was marked. ``duration``: seconds of the file. ``notes``: checks that could not be made,
    and second layers that read; ``layer_faults``: those that the manifest claims wrongly."""

    credentials: Credentials
    marks: dict[str, Detection] = field(default_factory=dict)
    label: MetadataLabel | None = None
    record: AssetRecord | None = None
    resolved_by: str | None = None
    log: LogEvidence | None = None
    comparison: Comparison | None = None
    exact: bool = False
    kind: Kind = "image"
    sound_mark: Detection | None = None
    sound_alg: str | None = None
    has_sound: bool = False
    sound_loud: bool = False
    sound_bound: bool = False
    duration: float | None = None
    notes: list[Evidence] = field(default_factory=list)
    layer_faults: list[str] = field(default_factory=list)

    @property
    def picture_mark(self) -> Detection | None:
        return next((d for d in self.marks.values() if d.asset_id is not None), None)

    @property
    def marked_id(self) -> AssetId | None:
        mark = self.picture_mark or self.sound_mark
        return None if mark is None else mark.asset_id

    @property
    def claims(self) -> dict[str, str]:
        """The manifest's soft bindings: value by alg."""
        return dict(self.credentials.soft_bindings)

    @property
    def sound_expected(self) -> bool:
        """Whether the manifest or the catalog says that the sound was marked."""
        return self.sound_bound or (self.sound_alg is not None and self.sound_alg in self.claims)

    def geometry(self) -> Geometry | None:
        """How the file lies on the asset that was resolved, as far as a mark of that asset tells."""
        if self.record is None:
            return None
        own = (d for d in self.marks.values() if d.asset_id == self.record.asset_id and d.geometry is not None)
        return next((d.geometry for d in own), None)

    def synchrony(self) -> Synchrony | None:
        """How the sound track lies against the pictures, where both carry the same id and tell the time."""
        pictures, sound = self.picture_mark, self.sound_mark
        if pictures is None or sound is None or pictures.asset_id != sound.asset_id:
            return None
        if pictures.timing is None or sound.timing is None:
            return None
        return synchrony(pictures.timing, sound.timing)


def claimed_id(credentials: Credentials) -> AssetId | None:
    """The asset id that the manifest's record names."""
    text = (credentials.record or {}).get("assetId")
    try:
        return AssetId.parse(text) if isinstance(text, str) else None
    except FiligranaError:
        return None


def weigh(seen: Observed) -> tuple[FindingWord, AssetId | None, list[Evidence]]:
    """From what was observed to (finding, asset id, evidence). The first rule that fits decides.

    - Credentials that fail, or cannot be read: `altered`.
    - The sound track of a clip carries another asset's mark than its pictures: `contradicted`, whatever else holds,
      since nobody releases such a clip.
    - Credentials that hold, but say otherwise than the mark, the metadata, the catalog or the sound: `contradicted`.
      A signature says who, not that it is so: a mark that is claimed and absent, present and of another id, or present
      in a manifest that names neither it nor a parent, is what a signer of somebody else's picture leaves behind.
    - Credentials that hold: `verified` under a list of this verifier, else `intact`.
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
    - Whatever would be `recovered` while the log does not prove the release is `contradicted`.
    """
    evidence = [
        signature_evidence(seen.credentials),
        *time_evidence(seen.credentials),
        *mark_evidence(seen.marks, seen.claims, seen.comparison),
        *seen.notes,
        *sound_evidence(seen.kind, seen.has_sound, seen.sound_alg, seen.sound_mark, seen.synchrony()),
        *_muted(seen),
        *label_evidence(seen.label),
        *catalog_evidence(seen.record, seen.resolved_by, seen.log, seen.exact, seen.comparison),
    ]
    finding, asset_id, reasons = _decide(seen)
    return finding, asset_id, evidence + reasons


def _decide(seen: Observed) -> tuple[FindingWord, AssetId | None, list[Evidence]]:
    asset_id = seen.marked_id or claimed_id(seen.credentials)
    state = seen.credentials.state
    if state in ("invalid", "damaged"):
        return "altered", asset_id, []
    foreign = _foreign_sound(seen)
    if state in ("trusted", "valid"):
        contradictions = [*foreign, *_contradictions(seen)]
        if contradictions:
            return "contradicted", asset_id, _failed(contradictions)
        return ("verified" if state == "trusted" else "intact"), asset_id, []
    if foreign:
        return "contradicted", asset_id, _failed(foreign)
    if seen.record is None:
        return "unmarked", asset_id, []
    finding, reasons = _recovered(seen, seen.record)
    if finding == "recovered" and not seen.exact and seen.log is not None and not seen.log.ok:
        reasons += _failed(["the catalog knows the asset, but the log does not prove it"])
        finding = "contradicted"
    return finding, seen.record.asset_id, reasons


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
        text = "this is a cut of a clip, and no stored picture of the original falls into it: nothing was compared"
        return "unmarked", [Evidence("preview", "absent", text)]
    if seen.comparison.match == "different":
        return "contradicted", []
    if _sound_added(seen):
        return "altered", []
    if seen.comparison.match == "edited" or _out_of_step(seen) or _sound_replaced(seen):
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


def _sound_added(seen: Observed) -> bool:
    """Sound that could carry a mark and does not, on a clip whose original had none that could."""
    heard = seen.has_sound and seen.sound_mark is not None and seen.sound_mark.asset_id is None
    return seen.kind == "video" and heard and seen.sound_loud and not seen.sound_expected


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


# ── disagreements ────────────────────────────────────────────────────────────────────────────────────────────────
def _failed(reasons: list[str]) -> list[Evidence]:
    return [Evidence("cross-check", "failed", text) for text in reasons]


def _foreign_sound(seen: Observed) -> list[str]:
    pictures, sound = seen.picture_mark, seen.sound_mark
    if pictures is None or sound is None or sound.asset_id is None or sound.asset_id == pictures.asset_id:
        return []
    return [
        f"the sound track carries the mark of another asset: {sound.asset_id}, the pictures that of {pictures.asset_id}"
    ]


def _out_of_step(seen: Observed) -> bool:
    step = seen.synchrony()
    return step is not None and not step.ok


def _sound_replaced(seen: Observed) -> bool:
    """A track that was listened to and carries nothing, where the original's carried its mark."""
    heard = seen.has_sound and seen.sound_mark is not None and seen.sound_mark.asset_id is None
    return heard and seen.sound_expected


def _muted(seen: Observed) -> list[Evidence]:
    if seen.exact or seen.credentials.state in ("trusted", "valid"):
        return []  # the signature or the hash covers the sound too
    if _sound_added(seen) and seen.record is not None:
        return [Evidence("sound", "failed", "the sound track is not the original's, which had no sound to speak of")]
    if seen.kind == "video" and seen.sound_mark is not None and seen.sound_mark.asset_id is not None:
        return [Evidence("sound", "warning", "the sound carries the mark; what one hears was not compared")]
    if seen.kind != "video" or not seen.sound_expected:
        return []
    if not seen.has_sound:
        return [Evidence("sound", "warning", "muted: the original had sound, and this copy has no sound track")]
    if _sound_replaced(seen):
        return [Evidence("sound", "failed", "the sound track is not the original's, which carried a mark")]
    return []


def _contradictions(seen: Observed) -> list[str]:
    """Where two techniques disagree although the signature holds; each sentence names the mismatch."""
    found = _mark_contradictions(seen)
    own, label = claimed_id(seen.credentials), seen.label
    if label is not None:
        types = (label.source_type, seen.credentials.source_type)
        if None not in types and types[0] != types[1]:
            found.append("the XMP and the manifest name different digital source types")
        if label.asset_id is not None and own is not None and label.asset_id != str(own):
            found.append("the XMP and the manifest name different asset ids")
    if seen.record is not None and own == seen.record.asset_id and seen.comparison is not None:
        if seen.comparison.match == "different":
            found.append(f"the catalog's preview of {own} shows something else")
        elif seen.comparison.match == "edited":
            found.append(f"parts of it are not what was released as {own}")
    if seen.exact and seen.log is not None and not seen.log.ok:
        found.append(f"the log does not prove this release: {seen.log.detail}")
    return found


def _mark_contradictions(seen: Observed) -> list[str]:
    found = []
    claims, own = seen.claims, claimed_id(seen.credentials)
    named = {*claims.values(), *([] if own is None else [str(own)])}
    # A manifest that names no id but a parent may leave the mark to the parent's manifest.
    left = not named and "parentOf" in seen.credentials.ingredients
    read = dict(seen.marks)
    if seen.sound_alg is not None and seen.sound_mark is not None:
        read[seen.sound_alg] = seen.sound_mark
    for alg, detection in read.items():
        claimed, where = claims.get(alg), "the sound" if alg == seen.sound_alg else "the pixels"
        if claimed is not None and detection.asset_id is None:
            found.append(f"the manifest claims the watermark {claimed}, and there is none in {where}")
        elif claimed is not None and str(detection.asset_id) != claimed:
            found.append(f"the manifest claims the watermark {claimed}, {where} carry {detection.asset_id}")
        elif claimed is None and detection.asset_id is not None and str(detection.asset_id) not in named and not left:
            found.append(f"{where} carry the watermark {detection.asset_id}, which the manifest does not claim")
    step = seen.synchrony()
    if step is not None and not step.ok:
        found.append(step.words)
    return found + seen.layer_faults
