"""This installation's own catalog and log, as a resolver."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ..errors import FiligranaError
from .catalog import Catalog
from .database import session
from .identity import AssetId
from .log.note import VerifierKey
from .log.proof import LogProof
from .log.sequencer import AuditLog
from .records import (
    OWN_CATALOG,
    AssetRecord,
    LogEvidence,
    PreviewImage,
    RevokedKey,
    StoredManifest,
    agreement,
)
from .revocations import ranges


class LocalResolver:
    """This installation's own catalog and log."""

    name = OWN_CATALOG

    def __init__(self, log: AuditLog, keys: Sequence[VerifierKey]) -> None:
        self._log, self._keys = log, keys

    def by_asset_id(self, asset_id: AssetId) -> AssetRecord | None:
        with session(self._log.engine) as opened:
            return Catalog(opened).by_asset_id(asset_id)

    def by_binding(self, alg: str, value: str) -> AssetRecord | None:
        with session(self._log.engine) as opened:
            found = Catalog(opened).by_binding(alg, value)
        return found[0] if len(found) == 1 else None

    def by_sha256(self, digest: bytes) -> AssetRecord | None:
        with session(self._log.engine) as opened:
            return Catalog(opened).by_sha256(digest)

    def preview(self, asset_id: AssetId) -> PreviewImage | None:
        with session(self._log.engine) as opened:
            return Catalog(opened).preview(asset_id)

    def manifest(self, asset_id: AssetId) -> StoredManifest | None:
        """The newest one, where an asset was signed again."""
        with session(self._log.engine) as opened:
            found = Catalog(opened).manifests(asset_id)
        return StoredManifest(*list(found.items())[-1]) if found else None

    def revoked(self, asset_id: AssetId, at: datetime | None) -> RevokedKey | None:
        with session(self._log.engine) as opened:
            found = Catalog(opened).revocation(asset_id)
        if found is None or (at is not None and found.since > at):
            return None
        return RevokedKey(found.reason, found.since.isoformat(timespec="seconds"), found.replaced_by)

    def revoked_signer(self, serial: str, at: datetime | None) -> RevokedKey | None:
        with session(self._log.engine) as opened:
            rows = [row for row in ranges(opened) if row.serial == serial and (at is None or row.created_at <= at)]
            if not rows:
                return None
            return RevokedKey(rows[-1].reason, rows[-1].created_at.isoformat(timespec="seconds"))

    def log_evidence(self, record: AssetRecord) -> LogEvidence:
        index = record.log_index
        if index is None:
            return LogEvidence(False, None, None, "the catalog names no log entry")
        try:
            leaf = self._log.leaf(index)
            checkpoint = LogProof.parse(self._log.prove(index)).verify(self._keys, leaf)
            entry = self._log.entry(index)
        except FiligranaError as error:
            return LogEvidence(False, index, None, error.message)
        return agreement(record, index, checkpoint.size, entry)
