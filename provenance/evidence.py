"""Each check's outcome in a sentence. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from .comparing import Comparison
from .credentials import Credentials
from .finding import Evidence, Status
from .foreign import ForeignLabels
from .labels import MetadataLabel
from .madeby import MadeBy
from .media import Kind
from .records import UNKNOWN, AssetRecord, LogEvidence, RevokedKey
from .synchrony import Synchrony
from .watermark.base import Detection, Geometry


def credential_evidence(credentials: Credentials) -> list[Evidence]:
    """Signature, binding, signer, time and ingredients of the credentials in or beside the file."""
    state = credentials.state
    if state == "absent":
        detail = "no Content Credentials in the file"
        return [Evidence("c2pa.signature", "absent", detail)]
    if state == "damaged":
        return [Evidence("c2pa.signature", "failed", f"credentials are there, but damaged: {credentials.detail}")]
    codes = ", ".join(dict.fromkeys(credentials.failures)) or "validation failed"
    found = []
    if state == "invalid":
        found.append(Evidence("c2pa.signature", "failed", f"the credentials do not hold: {codes}"))
    else:
        found.append(Evidence("c2pa.signature", "ok", f"signed by {credentials.signer or 'unknown'}"))
    binding: dict[str, tuple[Status, str]] = {
        "match": ("ok", "the content matches the hash that was signed"),
        "mismatch": ("failed", "the content is not what was signed"),
        "none": ("absent", "the credentials hold no hash of the content"),
    }
    found.append(Evidence("c2pa.binding", *binding[credentials.binding]))
    found.append(_trust_evidence(credentials, codes))
    return [*found, *time_evidence(credentials), *_ingredient_evidence(credentials)]


def _trust_evidence(credentials: Credentials, codes: str) -> Evidence:
    who = credentials.signer or "unknown"
    if credentials.state == "trusted":
        return Evidence("c2pa.trust", "ok", f"{who}; trust: {credentials.trust}")
    if credentials.state == "valid" and credentials.failures:
        return Evidence("c2pa.trust", "warning", f"nobody here can trust the signer {who}: {codes}")
    return Evidence("c2pa.trust", "warning", f"nobody here trusts the signer {who}")


def _ingredient_evidence(credentials: Credentials) -> list[Evidence]:
    nodes, history = credentials.history.nodes[1:], credentials.history
    if not nodes:
        return []
    names = ", ".join(
        f"{node.title} ({node.state if node.kind == 'manifest' else 'no credentials'})" for node in nodes[:4]
    )
    more = "" if len(nodes) <= 4 else f" and {len(nodes) - 4} more{', not all shown' if history.truncated else ''}"
    broken = any(node.state == "invalid" for node in nodes)
    return [Evidence("c2pa.ingredients", "warning" if broken else "ok", f"made from {names}{more}")]


def revocation_evidence(revoked: RevokedKey | None) -> list[Evidence]:
    if revoked is None:
        return []
    if revoked.since == UNKNOWN:
        return [Evidence("c2pa.revocation", "warning", revoked.reason)]
    after = f"; signed again as {revoked.replaced_by}" if revoked.replaced_by else ""
    return [Evidence("c2pa.revocation", "failed", f"{revoked.reason} (since {revoked.since}){after}")]


def manifest_evidence(stored: Credentials | None, problems: list[str]) -> list[Evidence]:
    """Of the manifest that the catalog kept of the asset."""
    if stored is None:
        return []
    if problems:
        return [Evidence("manifest", "failed", "; ".join(problems))]
    who = stored.signer or "unknown"
    if stored.trust == "none":
        return [Evidence("manifest", "warning", f"signed by {who}, whom nobody here trusts")]
    when = f", {stored.time}" if stored.time else ""
    return [Evidence("manifest", "ok", f"signed by {who}{when}; trust: {stored.trust}; names this asset")]


def generator_evidence(made: MadeBy | None) -> list[Evidence]:
    if made is None or (made.generator is None and made.kind == "unknown"):
        return []
    what = {"ai": "made by AI", "composite": "parts made by AI", "camera": "camera", "unknown": "origin not stated"}
    text = f"{made.generator or 'not named'}; {what[made.kind]}; by {', '.join(made.basis)}"
    return [Evidence("generator", "ok" if made.confirmed else "warning", text)]


def foreign_evidence(labels: ForeignLabels) -> list[Evidence]:
    """AI labels and what else the file says of itself in plain text."""
    found = []
    if labels.aigc:
        meaning = {"1": "is AI-made", "2": "possibly AI-made", "3": "suspected AI-made"}
        fields = dict(labels.aigc)
        said = meaning.get(labels.aigc_label or "", f"label {labels.aigc_label}")
        producer = fields.get("ContentProducer") or "not named"
        status: Status = "ok" if labels.aigc_label in meaning else "warning"
        found.append(Evidence("label", status, f"AIGC label: {said}; producer {producer}{_passed_on(fields)}"))
        if labels.aigc_labels > 1:
            found.append(Evidence("label", "warning", f"{labels.aigc_labels} AIGC labels, where a file has one"))
    if labels.system:
        version = f" {labels.system_version}" if labels.system_version else ""
        told = "; the prompt is in the file" if labels.prompt else ""
        found.append(Evidence("label", "ok", f"IPTC: made with the AI system {labels.system}{version}{told}"))
    if labels.generator:
        found.append(Evidence("label", "warning", f"the file carries {labels.generator}"))
    if labels.remote:
        text = f"the file says that its credentials lie at {labels.remote}; nothing was fetched from there"
        found.append(Evidence("limits", "warning", text))
    return found


def _passed_on(fields: Mapping[str, str]) -> str:
    by = fields.get("ContentPropagator")
    return f", passed on by {by}" if by and by != fields.get("ContentProducer") else ""


def time_evidence(credentials: Credentials) -> list[Evidence]:
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
    source = (label.source_type or "no source type").rsplit("/", 1)[-1][:80]
    return [Evidence("metadata", "ok", f"XMP: {source}, asset {label.asset_id or 'not named'}")]


def likeness_evidence(bits: int | None) -> list[Evidence]:
    """``bits``: of 64 that two coarse fingerprints share. A weight, never a gate: it is only ever a caution."""
    if bits is None:
        return []
    return [Evidence("fingerprint", "ok" if bits >= 52 else "warning", f"{bits} of 64 bits as in the original")]


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
        found.append(Evidence("log", _log_status(log), log.detail))
    if exact:
        found.append(Evidence("preview", "ok", "these are the released bytes"))
    elif comparison is not None:
        found.append(Evidence("preview", "ok" if comparison.match == "same" else "failed", _compared(comparison)))
    return found


def _log_status(log: LogEvidence) -> Status:
    if not log.ok:
        return "failed"
    return "ok" if log.pinned else "warning"


def _compared(comparison: Comparison) -> str:
    if comparison.match == "different":
        return "different: it shows something else than the original"
    parts = [f"{comparison.match}: {comparison.changed:.1%} of what was compared differs"]
    if comparison.moving:
        parts.append(f"{comparison.moving:.1%} differs where the clip moves, and could not be told from motion")
    if comparison.coverage < 0.995:
        parts.append(f"the copy shows {comparison.coverage:.0%} of the original")
    if comparison.surroundings > 0.005:
        parts.append(f"{comparison.surroundings:.0%} of the copy is not the original and was not compared")
    parts += [
        f"changed from {r.left:.0%}, {r.top:.0%} to {r.right:.0%}, {r.bottom:.0%} of the copy"
        for r in comparison.regions[:3]
    ]
    return "; ".join(parts)
