"""Where the techniques of a verification disagree with each other; each sentence names the mismatch. Pure."""

from __future__ import annotations

from .finding import Evidence
from .observed import Observed, claimed_id


def failed(reasons: list[str]) -> list[Evidence]:
    return [Evidence("cross-check", "failed", text) for text in reasons]


def foreign_sound(seen: Observed) -> list[str]:
    pictures, sound = seen.picture_mark, seen.sound_mark
    if pictures is None or sound is None or sound.asset_id is None or sound.asset_id == pictures.asset_id:
        return []
    return [
        f"the sound track carries the mark of another asset: {sound.asset_id}, the pictures that of {pictures.asset_id}"
    ]


def out_of_step(seen: Observed) -> bool:
    step = seen.synchrony()
    return step is not None and not step.ok


def sound_replaced(seen: Observed) -> bool:
    """A track that was listened to and carries nothing, where the original's carried its mark."""
    heard = seen.has_sound and seen.sound_mark is not None and seen.sound_mark.asset_id is None
    return heard and seen.sound_expected


def sound_in_words(seen: Observed) -> list[Evidence]:
    if seen.exact or seen.credentials.state in ("trusted", "valid"):
        return []  # the signature or the hash covers the sound too
    if sound_added(seen) and seen.record is not None:
        return [Evidence("sound", "failed", "the sound track is not the original's, which had no sound to speak of")]
    if seen.kind == "video" and seen.sound_mark is not None and seen.sound_mark.asset_id is not None:
        return [Evidence("sound", "warning", "the sound carries the mark; what one hears was not compared")]
    if seen.kind != "video" or not seen.sound_expected:
        return []
    if not seen.has_sound:
        return [Evidence("sound", "warning", "muted: the original had sound, and this copy has no sound track")]
    if sound_replaced(seen):
        return [Evidence("sound", "failed", "the sound track is not the original's, which carried a mark")]
    return []


def contradictions_of(seen: Observed) -> list[str]:
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


def sound_added(seen: Observed) -> bool:
    """Sound that could carry a mark and does not, on a clip whose original had none that could."""
    heard = seen.has_sound and seen.sound_mark is not None and seen.sound_mark.asset_id is None
    return seen.kind == "video" and heard and seen.sound_loud and not seen.sound_expected
