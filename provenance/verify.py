"""One finding from all the evidence: where is this file from?

Every check leaves an Evidence, whatever it says. `weigh` is pure: from what was observed to the finding, in the
order in which the rules stand there. Nothing here imports torch, opens a network connection or runs for longer than
the file's own size asks for.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..errors import FiligranaError, MediaError
from .catalog import AssetRecord
from .credentials import Credentials, read_credentials
from .identity import AssetId
from .labels import MetadataLabel, read_label
from .media import Limits, MediaFile, open_media, read_xmp
from .preview import Comparison, Match, Region, compare
from .resolver import LogEvidence, Resolver
from .trust import TrustLevel, TrustLists
from .watermark.base import Codec, Detection

FindingWord = Literal["verified", "recovered", "intact", "altered", "contradicted", "unmarked", "unreadable"]
Status = Literal["pass", "fail", "absent", "warn"]


@dataclass(frozen=True)
class Evidence:
    """One check's outcome: which technique, what it says, and a sentence about it."""

    technique: str
    status: Status
    detail: str


@dataclass(frozen=True)
class Finding:
    """The answer for one file. ``match``: how the pixels compare with the stored preview, where they were."""

    file: str
    finding: FindingWord
    asset_id: AssetId | None
    trust: TrustLevel
    match: Match | None
    evidence: tuple[Evidence, ...]
    seconds: float
    regions: tuple[Region, ...] = ()
    signer: str | None = None
    time: str | None = None

    def as_dict(self) -> dict[str, object]:
        return {
            "file": self.file,
            "finding": self.finding,
            "asset_id": None if self.asset_id is None else str(self.asset_id),
            "trust": self.trust,
            "match": self.match,
            "evidence": [{"technique": e.technique, "status": e.status, "detail": e.detail} for e in self.evidence],
            "seconds": round(self.seconds, 4),
            "signer": self.signer,
            "time": self.time,
            "regions": [[r.left, r.top, r.right, r.bottom] for r in self.regions],
        }


EXIT_CODES: dict[FindingWord, int] = {
    "verified": 0,
    "recovered": 7,
    "intact": 3,
    "unmarked": 4,
    "unreadable": 6,
    "altered": 5,
    "contradicted": 5,
}
WORST_FIRST = (1, 5, 6, 4, 3, 7, 0)


def worst_exit_code(codes: Sequence[int]) -> int:
    return min(codes, key=WORST_FIRST.index, default=0)


@dataclass
class Observed:
    """What the checks saw. ``marks``: what each codec detected, by alg."""

    credentials: Credentials
    marks: dict[str, Detection] = field(default_factory=dict)
    label: MetadataLabel | None = None
    record: AssetRecord | None = None
    resolved_by: str | None = None
    log: LogEvidence | None = None
    comparison: Comparison | None = None
    exact: bool = False

    @property
    def marked_id(self) -> AssetId | None:
        return next((d.asset_id for d in self.marks.values() if d.asset_id is not None), None)


class Verifier:
    """Checks files against what it was configured with: trust lists, watermark codecs, resolvers."""

    def __init__(
        self,
        trust: TrustLists,
        codecs: Sequence[Codec],
        resolvers: Sequence[Resolver] = (),
        limits: Limits | None = None,
    ) -> None:
        self._trust, self._codecs, self._resolvers = trust, codecs, resolvers
        self._limits = limits or Limits()

    def verify(self, path: Path) -> Finding:
        """The finding for one file. Bad bytes give `unreadable`, never an exception."""
        started = time.perf_counter()
        name = str(path)
        try:
            media = open_media(path, self._limits)
            observed = self._observe(media)
        except MediaError as error:
            evidence = (Evidence("media", "fail", error.message),)
            return Finding(name, "unreadable", None, "none", None, evidence, time.perf_counter() - started)
        finding, asset_id, evidence_list = weigh(observed)
        comparison = observed.comparison
        credentials = observed.credentials
        return Finding(
            name,
            finding,
            asset_id,
            credentials.trust if finding == "verified" else "none",
            comparison.match if comparison else ("same" if observed.exact else None),
            tuple(evidence_list),
            time.perf_counter() - started,
            comparison.regions if comparison else (),
            credentials.signer,
            credentials.time,
        )

    def _observe(self, media: MediaFile) -> Observed:
        credentials = read_credentials(media.path, media.info.mime, self._trust)
        observed = Observed(credentials)
        packet = read_xmp(media.path, media.info.mime)
        observed.label = read_label(packet) if packet else None
        if media.info.kind != "audio":
            for codec in self._codecs:
                observed.marks[codec.alg] = codec.detect(media.frames())
        self._resolve(media, observed)
        if observed.record is not None and not observed.exact and media.info.kind != "audio":
            preview = next((p for r in self._resolvers if (p := r.preview(observed.record.asset_id))), None)
            if preview is not None:
                observed.comparison = compare(preview, media.frames())
        if media.info.kind == "audio":
            # Read through once, so that a file that breaks off is found out.
            for _ in media.frames():
                pass
        return observed

    def _resolve(self, media: MediaFile, observed: Observed) -> None:
        """Asks each resolver, by the mark first, then by what the credentials claim, then by the file's hash."""
        digest: bytes | None = None
        for resolver in self._resolvers:
            record, by = None, None
            for alg, detection in observed.marks.items():
                if detection.asset_id is not None and record is None:
                    record, by = resolver.by_binding(alg, str(detection.asset_id)), "watermark"
            if record is None:
                for alg, value in observed.credentials.soft_bindings:
                    record, by = resolver.by_binding(alg, value), "soft binding of the manifest"
                    if record is not None:
                        break
            if record is None and (claimed := _claimed_id(observed.credentials)) is not None:
                record, by = resolver.by_asset_id(claimed), "asset id in the manifest"
            if record is None:
                digest = digest or _sha256(media.path)
                record, by = resolver.by_sha256(digest), "hash of the file"
            if record is not None:
                digest = digest or _sha256(media.path)
                observed.record, observed.resolved_by = record, by
                observed.exact = record.sha256 == digest
                observed.log = resolver.log_evidence(record)
                return


def _sha256(path: Path) -> bytes:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


def _claimed_id(credentials: Credentials) -> AssetId | None:
    text = (credentials.record or {}).get("assetId")
    try:
        return AssetId.parse(text) if isinstance(text, str) else None
    except FiligranaError:
        return None


# ── weighing: pure from here on ──────────────────────────────────────────────────────────────────────────────────
def weigh(seen: Observed) -> tuple[FindingWord, AssetId | None, list[Evidence]]:
    """From what was observed to (finding, asset id, evidence).

    - Credentials that fail, or cannot be read: `altered`.
    - Credentials that hold, but say otherwise than the mark, the metadata or the catalog: `contradicted`.
    - Credentials that hold: `verified` under a list of this verifier, else `intact`.
    - No credentials, a mark that resolves: the preview decides: same is `recovered`, parts differ is `altered`,
      another picture is `contradicted` (the mark was transplanted); without a preview nothing is recovered.
    - Otherwise `unmarked`: nothing was found that resolves, which proves nothing.
    """
    evidence = [
        _signature_evidence(seen.credentials),
        *_time_evidence(seen.credentials),
        *_mark_evidence(seen),
        *_label_evidence(seen),
        *_catalog_evidence(seen),
    ]
    asset_id = seen.marked_id or _claimed_id(seen.credentials)
    state = seen.credentials.state
    if state in ("invalid", "damaged"):
        return "altered", asset_id, evidence
    if state in ("trusted", "valid"):
        contradictions = _contradictions(seen)
        evidence += [Evidence("cross-check", "fail", text) for text in contradictions]
        if contradictions:
            return "contradicted", asset_id, evidence
        return ("verified" if state == "trusted" else "intact"), asset_id, evidence
    if seen.record is None:
        return "unmarked", asset_id, evidence
    if seen.exact:
        # The released bytes themselves, of a format or size that carries its credentials elsewhere.
        return "recovered", seen.record.asset_id, evidence
    if seen.comparison is None:
        evidence.append(Evidence("preview", "absent", "there is no stored preview to compare with"))
        return "unmarked", asset_id, evidence
    finding: FindingWord = {"same": "recovered", "edited": "altered", "different": "contradicted"}[
        seen.comparison.match
    ]  # type: ignore[assignment]
    if finding == "recovered" and seen.log is not None and not seen.log.ok:
        evidence.append(Evidence("cross-check", "fail", "the catalog knows the asset, but the log does not prove it"))
        finding = "contradicted"
    return finding, seen.record.asset_id, evidence


def _contradictions(seen: Observed) -> list[str]:
    """Where two techniques disagree although the signature holds; each sentence names the mismatch."""
    found = []
    claims = dict(seen.credentials.soft_bindings)
    claimed_id = _claimed_id(seen.credentials)
    for alg, detection in seen.marks.items():
        claimed, read = claims.get(alg), detection.asset_id
        if claimed is not None and read is None:
            found.append(f"the manifest claims the watermark {claimed}, and there is none in the pixels")
        elif claimed is not None and str(read) != claimed:
            found.append(f"the manifest claims the watermark {claimed}, the pixels carry {read}")
        elif claimed is None and read is not None and claimed_id is not None and read != claimed_id:
            found.append(f"the pixels carry the watermark {read}, which the manifest does not claim")
    label = seen.label
    if (
        label is not None
        and label.source_type is not None
        and seen.credentials.source_type is not None
        and (label.source_type != seen.credentials.source_type)
    ):
        found.append("the XMP and the manifest name different digital source types")
    if (
        label is not None
        and label.asset_id is not None
        and claimed_id is not None
        and label.asset_id != str(claimed_id)
    ):
        found.append("the XMP and the manifest name different asset ids")
    if (
        seen.record is not None
        and claimed_id == seen.record.asset_id
        and seen.comparison is not None
        and (seen.comparison.match == "different")
    ):
        found.append(f"the catalog's preview of {claimed_id} shows something else")
    if seen.exact and seen.log is not None and not seen.log.ok:
        found.append(f"the log does not prove this release: {seen.log.detail}")
    return found


def _signature_evidence(credentials: Credentials) -> Evidence:
    who = credentials.signer or "unknown"
    match credentials.state:
        case "trusted":
            return Evidence("c2pa.signature", "pass", f"signed by {who}; trust: {credentials.trust}; content intact")
        case "valid":
            return Evidence("c2pa.signature", "warn", f"intact, but nobody here trusts the signer {who}")
        case "invalid":
            codes = ", ".join(dict.fromkeys(credentials.failures)) or "validation failed"
            return Evidence("c2pa.signature", "fail", f"the content does not match its credentials: {codes}")
        case "damaged":
            return Evidence("c2pa.signature", "fail", f"credentials are there, but damaged: {credentials.detail}")
        case _:
            return Evidence("c2pa.signature", "absent", "no Content Credentials in the file")


def _time_evidence(credentials: Credentials) -> list[Evidence]:
    if credentials.state in ("absent", "damaged"):
        return []
    if credentials.time is None:
        return [Evidence("c2pa.timestamp", "absent", "no time-stamp")]
    if credentials.time_trust == "none":
        return [Evidence("c2pa.timestamp", "warn", f"{credentials.time}, by an authority that nobody here trusts")]
    return [Evidence("c2pa.timestamp", "pass", f"{credentials.time}; trust: {credentials.time_trust}")]


def _mark_evidence(seen: Observed) -> list[Evidence]:
    found = []
    for alg, detection in seen.marks.items():
        if detection.asset_id is not None:
            text = f"{detection.asset_id} ({alg}, score {detection.score:.1f}, p {detection.p_value:.1e})"
            found.append(Evidence("watermark", "pass", text))
        else:
            found.append(Evidence("watermark", "absent", f"no mark of {alg} (score {detection.score:.1f})"))
    return found


def _label_evidence(seen: Observed) -> list[Evidence]:
    if seen.label is None:
        return [Evidence("metadata", "absent", "no XMP in the file")]
    source = (seen.label.source_type or "no source type").rsplit("/", 1)[-1]
    return [Evidence("metadata", "pass", f"XMP: {source}, asset {seen.label.asset_id or 'not named'}")]


def _catalog_evidence(seen: Observed) -> list[Evidence]:
    if seen.record is None:
        return [Evidence("catalog", "absent", "no resolver knows this file")]
    found = [Evidence("catalog", "pass", f"resolves to {seen.record.asset_id} by {seen.resolved_by}")]
    if seen.log is not None:
        found.append(Evidence("log", "pass" if seen.log.ok else "fail", seen.log.detail))
    if seen.exact:
        found.append(Evidence("preview", "pass", "these are the released bytes"))
    elif seen.comparison is not None:
        share = f"{seen.comparison.changed:.0%} of the picture differs"
        status: Status = {"same": "pass", "edited": "fail", "different": "fail"}[seen.comparison.match]  # type: ignore[assignment]
        where = "".join(
            f"; changed from {r.left:.0%}, {r.top:.0%} to {r.right:.0%}, {r.bottom:.0%}"
            for r in seen.comparison.regions[:3]
        )
        found.append(Evidence("preview", status, f"{seen.comparison.match}: {share}{where}"))
    return found
