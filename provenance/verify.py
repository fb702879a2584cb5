"""One finding from all the evidence: where is this file from?

Every check leaves an Evidence, whatever it says; `weighing.weigh` is pure: from what was observed to the finding.
Nothing here imports torch, opens a network connection or runs for longer than the file's own size asks for.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import MediaError, WatermarkError
from .catalog import AssetRecord
from .credentials import read_credentials
from .evidence import Evidence, Status
from .identity import AssetId
from .labels import read_label
from .layered import claimed_layers, found_by_tag
from .media import Limits, MediaFile, SoundMeter, open_media, read_xmp
from .media.sound import read_sound
from .preview import Match, Region, compare
from .resolver import Resolver
from .trust import TrustLevel, TrustLists
from .watermark.base import Codec, Detection, SoundBlock, SoundCodec
from .watermark.registry import Layer
from .weighing import FindingWord, Observed, claimed_id, weigh


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


class Verifier:
    """Checks files against what it was configured with: trust lists, watermark codecs, resolvers.

    ``codecs``: for pictures, in the order in which they are asked; ``sound_codecs``: for sound files and the sound
    tracks of clips; ``layers``: second layers, under ``key``."""

    def __init__(
        self,
        trust: TrustLists,
        codecs: Sequence[Codec],
        resolvers: Sequence[Resolver] = (),
        limits: Limits | None = None,
        sound_codecs: Sequence[SoundCodec] = (),
        layers: Sequence[Layer] = (),
        key: bytes | None = None,
    ) -> None:
        self._trust, self._codecs, self._resolvers = trust, codecs, resolvers
        self._limits = limits or Limits()
        self._sound_codecs = sound_codecs
        asked = {codec.alg for codec in codecs}
        self._layers, self._key = [layer for layer in layers if layer.alg not in asked], key

    def verify(self, path: Path) -> Finding:
        """The finding for one file. Bad bytes give `unreadable`, never an exception."""
        started = time.perf_counter()
        name = str(path)
        try:
            media = open_media(path, self._limits)
            observed = self._observe(media)
        except MediaError as error:
            evidence = (Evidence("media", "failed", error.message),)
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
        observed = Observed(credentials, kind=media.info.kind, duration=media.info.duration)
        packet = read_xmp(media.path, media.info.mime)
        observed.label = read_label(packet) if packet else None
        if media.info.kind == "audio":
            self._listen(media, observed)
        else:
            self._look(media, observed)
            self._listen_along(media, observed)
        self._resolve(media, observed)
        if media.info.kind != "audio":
            self._look_deeper(media, observed)
        record = observed.record
        if record is None:
            return observed
        if media.info.kind == "video":
            observed.sound_bound = any(
                bound is not None and bound.asset_id == record.asset_id
                for codec in self._sound_codecs
                for bound in [self._bound(codec.alg, record.asset_id)]
            )
        if not observed.exact and media.info.kind != "audio" and observed.comparison is None:
            preview = next((p for r in self._resolvers if (p := r.preview(record.asset_id))), None)
            if preview is not None:
                geometry = observed.geometry()
                size = (record.height, record.width) if record.height and record.width else None
                matrix = None if geometry is None else geometry.matrix
                observed.comparison = compare(preview, media.frames(), matrix, size, record.duration)
        return observed

    def _look(self, media: MediaFile, observed: Observed) -> None:
        """Asks the codecs for pictures until one has found a mark that resolves; those that the manifest names are
        asked in any case. Of several of the same name (under different keys) the one that finds something counts."""
        claims, settled = observed.claims, False
        for codec in self._codecs:
            known = observed.marks.get(codec.alg)
            if known is not None and known.asset_id is not None:
                continue
            if settled and codec.alg not in claims:
                continue
            try:
                detection = codec.detect(media.frames())
            except WatermarkError as error:
                observed.notes.append(_not_looked(codec.alg, error))
                continue
            if known is None or detection.asset_id is not None:
                observed.marks[codec.alg] = detection
            settled = settled or self._resolves(codec.alg, detection)

    def _look_deeper(self, media: MediaFile, observed: Observed) -> None:
        """Second layers: those that the manifest claims, and a tag where nothing else led anywhere."""
        evidence, faults = claimed_layers(
            self._layers, observed.claims, media, claimed_id(observed.credentials), self._key
        )
        observed.notes += evidence
        observed.layer_faults += faults
        if observed.record is not None:
            return
        found = found_by_tag(self._layers, self._resolvers, media)
        if found is not None:
            record, resolver, observed.comparison, alg = found
            observed.record, observed.resolved_by = record, f"tag of {alg}, and its preview"
            observed.log = resolver.log_evidence(record)

    def _listen(self, media: MediaFile, observed: Observed) -> None:
        """Of a sound file. It is read to its end, so that one that breaks off is found out."""
        for codec in self._sound_codecs:
            known = observed.marks.get(codec.alg)
            if known is not None and known.asset_id is not None:
                continue
            detection = self._heard(codec, read_sound(media), observed)
            if detection is not None and (known is None or detection.asset_id is not None):
                observed.marks[codec.alg] = detection
        for _ in read_sound(media):
            pass

    def _listen_along(self, media: MediaFile, observed: Observed) -> None:
        """Of the sound track of a clip."""
        if media.info.kind != "video":
            return
        observed.has_sound = media.info.sound is not None
        for codec in self._sound_codecs:
            if observed.sound_mark is not None and observed.sound_mark.asset_id is not None:
                break
            observed.sound_alg = codec.alg
            if observed.has_sound:
                meter = SoundMeter()
                heard = self._heard(codec, meter.watch(read_sound(media)), observed)
                observed.sound_mark = heard or observed.sound_mark
                observed.sound_loud = observed.sound_loud or meter.must_carry

    def _heard(self, codec: SoundCodec, blocks: Iterator[SoundBlock], observed: Observed) -> Detection | None:
        try:
            return codec.detect(blocks)
        except WatermarkError as error:
            observed.notes.append(_not_looked(codec.alg, error))
            return None

    def _bound(self, alg: str, asset_id: AssetId) -> AssetRecord | None:
        found = (resolver.by_binding(alg, str(asset_id)) for resolver in self._resolvers)
        return next((record for record in found if record is not None), None)

    def _resolves(self, alg: str, detection: Detection) -> bool:
        return detection.asset_id is not None and self._bound(alg, detection.asset_id) is not None

    def _resolve(self, media: MediaFile, observed: Observed) -> None:
        """Asks each resolver, by the mark first, then by what the credentials claim, then by the file's hash."""
        digest: bytes | None = None
        marks = [(alg, d.asset_id, "watermark") for alg, d in observed.marks.items()]
        if observed.sound_alg is not None and observed.sound_mark is not None:
            marks.append((observed.sound_alg, observed.sound_mark.asset_id, "watermark of the sound"))
        for resolver in self._resolvers:
            record, by = None, None
            for alg, asset_id, name in marks:
                if asset_id is not None and record is None:
                    record, by = resolver.by_binding(alg, str(asset_id)), name
            if record is None:
                for alg, value in observed.credentials.soft_bindings:
                    record, by = resolver.by_binding(alg, value), "soft binding of the manifest"
                    if record is not None:
                        break
            if record is None and (claimed := claimed_id(observed.credentials)) is not None:
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


def _not_looked(alg: str, error: WatermarkError) -> Evidence:
    return Evidence("watermark", "warning", f"{alg} could not be looked for: {error.message}")


def _sha256(path: Path) -> bytes:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


__all__ = [
    "EXIT_CODES",
    "WORST_FIRST",
    "Evidence",
    "Finding",
    "FindingWord",
    "Observed",
    "Status",
    "Verifier",
    "weigh",
    "worst_exit_code",
]
