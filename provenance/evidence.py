"""Each check's outcome in a sentence. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from .catalog import AssetRecord
from .comparing import Comparison
from .credentials import Credentials
from .labels import MetadataLabel
from .media import Kind
from .resolver import LogEvidence
from .synchrony import Synchrony
from .watermark.base import Detection, Geometry

Status = Literal["ok", "warning", "failed", "absent"]


@dataclass(frozen=True)
class Evidence:
    """One check's outcome: which technique, what it says, and a sentence about it."""

    technique: str
    status: Status
    detail: str


def signature_evidence(credentials: Credentials) -> Evidence:
    who = credentials.signer or "unknown"
    match credentials.state:
        case "trusted":
            return Evidence("c2pa.signature", "ok", f"signed by {who}; trust: {credentials.trust}; content intact")
        case "valid":
            return Evidence("c2pa.signature", "warning", f"intact, but nobody here trusts the signer {who}")
        case "invalid":
            codes = ", ".join(dict.fromkeys(credentials.failures)) or "validation failed"
            return Evidence("c2pa.signature", "failed", f"the content does not match its credentials: {codes}")
        case "damaged":
            return Evidence("c2pa.signature", "failed", f"credentials are there, but damaged: {credentials.detail}")
        case _:
            return Evidence("c2pa.signature", "absent", "no Content Credentials in the file")


def time_evidence(credentials: Credentials) -> list[Evidence]:
    if credentials.state in ("absent", "damaged"):
        return []
    if credentials.time is None:
        return [Evidence("c2pa.timestamp", "absent", "no time-stamp")]
    if credentials.time_trust == "none":
        return [Evidence("c2pa.timestamp", "warning", f"{credentials.time}, by an authority that nobody here trusts")]
    return [Evidence("c2pa.timestamp", "ok", f"{credentials.time}; trust: {credentials.time_trust}")]


def mark_evidence(
    marks: Mapping[str, Detection], claims: Mapping[str, str], comparison: Comparison | None
) -> list[Evidence]:
    """A codec that found nothing is only absent: whether that is a contradiction depends on what is claimed."""
    found = []
    for alg, detection in marks.items():
        if detection.asset_id is not None:
            text = f"{detection.asset_id} ({alg}, score {detection.score:.1f}, p {detection.p_value:.1e})"
            happened = copy_in_words(detection.geometry, comparison) if detection.geometry is not None else ""
            found.append(Evidence("watermark", "ok", f"{text}; {happened}" if happened else text))
        elif alg in claims:
            found.append(Evidence("watermark", "absent", f"no mark of {alg} (score {detection.score:.1f})"))
        else:
            text = f"no mark of {alg} (score {detection.score:.1f}), and nothing in the file claims one"
            found.append(Evidence("watermark", "absent", text))
    return found


def copy_in_words(geometry: Geometry, comparison: Comparison | None = None) -> str:
    """What happened to the copy, as far as its geometry shows; empty for a picture that is as it was."""
    words = []
    if abs(geometry.scale - 1.0) > 0.005:
        words.append(f"at {geometry.scale:.3g} of the canonical scale")
    if abs(geometry.rotation_degrees) > 0.15:
        words.append(f"turned by {geometry.rotation_degrees:.1f} degrees")
    if geometry.flipped:
        words.append("mirrored")
    said = f"a copy {', '.join(words)}" if words else ""
    if comparison is not None and comparison.match != "different":
        parts = [said] if said else []
        if comparison.coverage < 0.995:
            parts.append(f"shows {comparison.coverage:.0%} of the original")
        if comparison.surroundings > 0.005:
            parts.append(f"{comparison.surroundings:.0%} of the copy is not the original")
        return "; ".join(parts)
    return said


def sound_evidence(
    kind: Kind, has_sound: bool, alg: str | None, mark: Detection | None, step: Synchrony | None
) -> list[Evidence]:
    """Of a clip's sound track."""
    if kind != "video" or not has_sound or alg is None or mark is None:
        return []
    if mark.asset_id is None:
        return [Evidence("watermark", "absent", f"no mark of {alg} in the sound track (score {mark.score:.1f})")]
    text = f"{mark.asset_id} in the sound track ({alg}, score {mark.score:.1f}, p {mark.p_value:.1e})"
    found = [Evidence("watermark", "ok", text)]
    if step is not None:
        found.append(Evidence("av-sync", "ok" if step.ok else "failed", step.words))
    return found


def label_evidence(label: MetadataLabel | None) -> list[Evidence]:
    if label is None:
        return [Evidence("metadata", "absent", "no XMP in the file")]
    source = (label.source_type or "no source type").rsplit("/", 1)[-1]
    return [Evidence("metadata", "ok", f"XMP: {source}, asset {label.asset_id or 'not named'}")]


def catalog_evidence(
    record: AssetRecord | None,
    resolved_by: str | None,
    log: LogEvidence | None,
    exact: bool,
    comparison: Comparison | None,
) -> list[Evidence]:
    if record is None:
        return [Evidence("catalog", "absent", "no resolver knows this file")]
    found = [Evidence("catalog", "ok", f"resolves to {record.asset_id} by {resolved_by}")]
    if log is not None:
        found.append(Evidence("log", "ok" if log.ok else "failed", log.detail))
    if exact:
        found.append(Evidence("preview", "ok", "these are the released bytes"))
    elif comparison is not None:
        found.append(Evidence("preview", "ok" if comparison.match == "same" else "failed", _compared(comparison)))
    return found


def _compared(comparison: Comparison) -> str:
    if comparison.match == "different":
        return "different: it shows something else than the original"
    parts = [f"{comparison.match}: {comparison.changed:.1%} of what was compared differs"]
    if comparison.coverage < 0.995:
        parts.append(f"the copy shows {comparison.coverage:.0%} of the original")
    if comparison.surroundings > 0.005:
        parts.append(f"{comparison.surroundings:.0%} of the copy is not the original and was not compared")
    parts += [
        f"changed from {r.left:.0%}, {r.top:.0%} to {r.right:.0%}, {r.bottom:.0%} of the copy"
        for r in comparison.regions[:3]
    ]
    return "; ".join(parts)
