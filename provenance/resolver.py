"""From an id, a binding or a hash to what is known of an asset: the catalog and the log of this installation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ..errors import FiligranaError
from .catalog import AssetRecord, Catalog
from .database import session
from .identity import AssetId
from .log.note import VerifierKey
from .log.proof import LogProof
from .log.sequencer import AuditLog
from .preview import Preview


@dataclass(frozen=True)
class LogEvidence:
    """``ok``: the entry of the asset's release is in the log, proven against a signed checkpoint, and agrees with
    the catalog row."""

    ok: bool
    index: int | None
    size: int | None
    detail: str


class Resolver(Protocol):
    """Something that can be asked about an asset. Each answer is None when it does not know the asset."""

    @property
    def name(self) -> str: ...
    def by_asset_id(self, asset_id: AssetId) -> AssetRecord | None: ...
    def by_binding(self, alg: str, value: str) -> AssetRecord | None: ...
    def by_sha256(self, digest: bytes) -> AssetRecord | None: ...
    def preview(self, asset_id: AssetId) -> Preview | None: ...
    def log_evidence(self, record: AssetRecord) -> LogEvidence: ...


class LocalResolver:
    """This installation's own catalog and log."""

    name = "this installation's catalog"

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

    def preview(self, asset_id: AssetId) -> Preview | None:
        with session(self._log.engine) as opened:
            row = Catalog(opened).preview(asset_id)
        return None if row is None else Preview(row.data, row.width, row.height)

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
        agrees = entry.get("asset_id") == str(record.asset_id) and entry.get("sha256") == record.sha256.hex()
        if entry.get("type") != "release" or not agrees:
            return LogEvidence(False, index, checkpoint.size, "the log entry is not of this release")
        return LogEvidence(True, index, checkpoint.size, f"entry {index}, proven in a signed tree of {checkpoint.size}")
