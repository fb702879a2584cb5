"""Looking at a file: each check in turn, from its credentials to what the catalogs know of it. Concludes nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from ..errors import WatermarkError
from .asked import Asked
from .credentials import Credentials, read_credentials, read_stored
from .finding import Evidence
from .foreign import read_foreign
from .identity import AssetId
from .labels import read_label
from .layered import claimed_layers, found_by_tag
from .likeness import likeness
from .media import Limits, MediaFile, SoundMeter, read_xmp
from .media.sound import read_sound
from .media.values import SIDECAR_MIMES
from .observed import Observed, claimed_id
from .preview import Preview, compare
from .records import AssetRecord, RevokedKey
from .resolver_port import Careful, Resolver
from .trust import TrustLists
from .watermark.base import Codec, Detection, SoundBlock, SoundCodec
from .watermark.registry import Layer

_HASHED = 64 << 20
"""Files up to this size are hashed in any case; larger ones where a catalog has to be asked by it."""


@dataclass(frozen=True)
class Observer:
    """What a verifier looks with: see `Verifier`."""

    trust: TrustLists
    codecs: tuple[Codec, ...]
    resolvers: tuple[Resolver, ...]
    limits: Limits
    sound_codecs: tuple[SoundCodec, ...]
    layers: tuple[Layer, ...]
    key: bytes | None

    def observe(self, media: MediaFile, sidecar: bytes | None, asked: Asked) -> Observed:
        """Raises MediaError where the file cannot be read to its end."""
        notes: list[Evidence] = []
        careful = tuple(Careful(resolver, notes) for resolver in self.resolvers)
        return replace(self, resolvers=careful)._observe(media, sidecar, asked, notes)

    def _observe(self, media: MediaFile, sidecar: bytes | None, asked: Asked, notes: list[Evidence]) -> Observed:
        credentials = read_credentials(media.path, media.info.mime, self.trust)
        if sidecar is not None and credentials.state == "absent":
            credentials = self._beside(media, sidecar, asked, notes)
        observed = Observed(
            _as_of(credentials, asked.at), kind=media.info.kind, duration=media.info.duration, notes=notes
        )
        observed.size, observed.further = media.path.stat().st_size, media.info.further
        packet = read_xmp(media.path, media.info.mime)
        observed.label = read_label(packet) if packet else None
        observed.foreign = read_foreign(media.path, media.info.mime, packet, self.limits)
        if observed.size <= _HASHED:
            observed.digest = _sha256(media.path)
        if media.info.kind == "audio":
            self._listen(media, observed)
        else:
            self._look(media, observed)
            self._listen_along(media, observed)
        self._resolve(media, observed, asked.at)
        if media.info.kind != "audio":
            self._look_deeper(media, observed, asked.at)
        self._compare(media, observed)
        self._ask_of_signer(media.path, observed, asked.at)
        return observed

    def _ask_of_signer(self, path: Path, observed: Observed, at: datetime | None) -> None:
        """A thief signs what no catalog knows: a certificate once withdrawn is believed for released bytes only. That
        a manifest names an asset that was released before, or a mark of it, is what a thief would write."""
        serial = observed.credentials.serial
        if serial is None or observed.credentials.state != "trusted":
            return
        for resolver in self.resolvers:
            found = resolver.revoked_signer(serial, at)
            if found is None:
                continue
            observed.digest = observed.digest or _sha256(path)
            known = resolver.by_sha256(observed.digest)
            if known is None or claimed_id(observed.credentials) != known.asset_id:
                observed.revoked = found
                return

    def _beside(self, media: MediaFile, store: bytes, asked: Asked, notes: list[Evidence]) -> Credentials:
        """The credentials in a sidecar. One that merely lies there, of a format that carries its own, may well be of
        another file of the same name: where it does not fit it is said, and not held against this one."""
        found = read_credentials(media.path, media.info.mime, self.trust, manifest_store=store)
        fits = found.binding == "match" or media.info.mime in SIDECAR_MIMES or media.path.stat().st_size > _HASHED
        if asked.found_beside and not fits:
            notes.append(Evidence("limits", "warning", "the .c2pa file beside it is of another file, and was left out"))
            return Credentials("absent")
        return found

    def _compare(self, media: MediaFile, observed: Observed) -> None:
        """With what the catalog that knows the asset kept of it."""
        record = observed.record
        if record is None:
            return
        if media.info.kind == "video":
            observed.sound_bound = any(
                bound is not None and bound.asset_id == record.asset_id
                for codec in self.sound_codecs
                for bound in [self._bound(codec.alg, record.asset_id)]
            )
        if observed.exact or media.info.kind == "audio" or observed.comparison is not None:
            return
        # Of the catalog that led here alone: another one's picture of the asset is not what this one vouches for.
        asked = (r for r in self.resolvers if r.name == observed.catalog)
        stored = next((p for r in asked if (p := r.preview(record.asset_id))), None)
        observed.has_preview = stored is not None
        if stored is not None:
            preview = Preview(stored.data, stored.width, stored.height)
            geometry = observed.geometry()
            size = (record.height, record.width) if record.height and record.width else None
            matrix = None if geometry is None else geometry.matrix
            observed.comparison = compare(preview, media.frames(), matrix, size, record.duration)
            first = next(iter(media.frames()), None)
            observed.likeness = None if first is None else likeness(preview, first.shown)
            observed.transparent = first is not None and first.alpha is not None

    def _look(self, media: MediaFile, observed: Observed) -> None:
        """Asks the codecs for pictures until one has found a mark that resolves; those that the manifest names are
        asked in any case. Of several of the same name (under different keys) the one that finds something counts."""
        claims, settled = observed.claims, False
        for codec in self.codecs:
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

    def _look_deeper(self, media: MediaFile, observed: Observed, at: datetime | None) -> None:
        """Second layers: those that the manifest claims, and a tag where nothing else led anywhere."""
        evidence, faults = claimed_layers(
            self.layers, observed.claims, media, claimed_id(observed.credentials), self.key
        )
        observed.notes += evidence
        observed.layer_faults += faults
        if observed.record is not None:
            return
        found = found_by_tag(self.layers, self.resolvers, media)
        if found is not None:
            record, resolver, observed.comparison, alg = found
            self._known(media, observed, resolver, record, f"tag of {alg}, and its preview", at)

    def _listen(self, media: MediaFile, observed: Observed) -> None:
        """Of a sound file. It is read to its end, so that one that breaks off is found out."""
        for codec in self.sound_codecs:
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
        for codec in self.sound_codecs:
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
        found = (resolver.by_binding(alg, str(asset_id)) for resolver in self.resolvers)
        return next((record for record in found if record is not None), None)

    def _resolves(self, alg: str, detection: Detection) -> bool:
        return detection.asset_id is not None and self._bound(alg, detection.asset_id) is not None

    def _resolve(self, media: MediaFile, observed: Observed, at: datetime | None) -> None:
        """Asks each resolver, by the mark first, then by what the credentials claim, then by the file's hash."""
        for resolver in self.resolvers:
            record, by = self._ask(resolver, media, observed)
            if record is not None:
                self._known(media, observed, resolver, record, by, at)
                return

    def _ask(self, resolver: Resolver, media: MediaFile, observed: Observed) -> tuple[AssetRecord | None, str]:
        marks = [(alg, d.asset_id, "watermark") for alg, d in observed.marks.items()]
        if observed.sound_alg is not None and observed.sound_mark is not None:
            marks.append((observed.sound_alg, observed.sound_mark.asset_id, "watermark of the sound"))
        for alg, asset_id, name in marks:
            if asset_id is not None and (record := resolver.by_binding(alg, str(asset_id))) is not None:
                return record, name
        for alg, value in observed.credentials.soft_bindings:
            if (record := resolver.by_binding(alg, value)) is not None:
                return record, "soft binding of the manifest"
        claimed = claimed_id(observed.credentials)
        if claimed is not None and (record := resolver.by_asset_id(claimed)) is not None:
            return record, "asset id in the manifest"
        observed.digest = observed.digest or _sha256(media.path)
        return resolver.by_sha256(observed.digest), "hash of the file"

    def _known(
        self,
        media: MediaFile,
        observed: Observed,
        resolver: Resolver,
        record: AssetRecord,
        by: str,
        at: datetime | None,
    ) -> None:
        """What ``resolver`` knows of the asset that it led to: its log entry, its manifest, whether its key holds."""
        observed.record, observed.resolved_by, observed.catalog = record, by, resolver.name
        if observed.digest is None and record.byte_count == observed.size:
            observed.digest = _sha256(media.path)  # large, and it may be the released file itself
        observed.exact = observed.digest is not None and record.sha256 == observed.digest
        observed.log = resolver.log_evidence(record)
        observed.revoked = _concerning(observed.credentials, resolver.revoked(record.asset_id, at))
        if observed.credentials.state != "absent":
            return  # the file speaks for itself
        stored = resolver.manifest(record.asset_id)
        if stored is None:
            return
        observed.stored = read_stored(stored.store, self.trust)
        observed.stored_faults = _faults(observed.stored, record, observed)
        if observed.exact and not self._covers(media, stored.store):
            observed.stored_faults.append("it was signed over another content")

    def _covers(self, media: MediaFile, store: bytes) -> bool:
        """Released bytes without credentials in them had them beside: the kept ones must fit them to the byte. A
        catalog's word for a hash is only its word."""
        return read_credentials(media.path, media.info.mime, self.trust, manifest_store=store).binding == "match"


def _as_of(credentials: Credentials, at: datetime | None) -> Credentials:
    """What was time-stamped after the time of validation did not exist by then; c2pa-rs does not look at that."""
    if at is None or credentials.time is None or credentials.state not in ("trusted", "valid"):
        return credentials
    try:
        stamped = datetime.fromisoformat(credentials.time)
    except ValueError:
        return credentials
    if stamped.replace(tzinfo=stamped.tzinfo or UTC) <= at:
        return credentials
    later = (*credentials.failures, "timeStamp.afterTimeOfValidation")
    return replace(credentials, state="valid", trust="none", time_trust="none", failures=later)


def _concerning(credentials: Credentials, revoked: RevokedKey | None) -> RevokedKey | None:
    """A file that was signed again after its key was withdrawn carries the new key's signature."""
    if revoked is not None and credentials.label is not None and credentials.label == revoked.replaced_by:
        return None
    return revoked


def _faults(stored: Credentials, record: AssetRecord, observed: Observed) -> list[str]:
    """What is wrong with a manifest that a catalog hands out for a mark: its signature, or that it names another one
    (C2PA Soft Binding Resolution API 2.4: a matcher checks that the manifest carries what was looked up)."""
    if stored.state not in ("trusted", "valid"):
        return [f"its signature does not hold ({', '.join(stored.failures) or stored.detail or stored.state})"]
    found = []
    own = claimed_id(stored)
    if own is not None and own != record.asset_id:
        found.append(f"it is of another asset, {own}")
    claims = dict(stored.soft_bindings)
    looked_up = [(alg, str(d.asset_id)) for alg, d in observed.marks.items() if d.asset_id == record.asset_id]
    found += [f"it does not name the mark {value}" for alg, value in looked_up if claims.get(alg) != value]
    return found


def _not_looked(alg: str, error: WatermarkError) -> Evidence:
    return Evidence("watermark", "warning", f"{alg} could not be looked for: {error.message}")


def _sha256(path: Path) -> bytes:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()
