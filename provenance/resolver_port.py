"""The port of whoever can be asked about an asset."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol, TypeVar

from ..errors import FiligranaError
from .finding import Evidence
from .identity import AssetId
from .records import UNKNOWN, AssetRecord, LogEvidence, PreviewImage, RevokedKey, StoredManifest

_Answer = TypeVar("_Answer")
_UNKNOWN: RevokedKey | None = RevokedKey("whether the key was withdrawn cannot be asked", UNKNOWN)


class Resolver(Protocol):
    """Something that can be asked about an asset. Each answer is None when it does not know the asset; one that
    cannot be asked raises FiligranaError.

    ``revoked``: whether the key that signed the asset was withdrawn for it; ``revoked_signer``: whether a certificate
    (by its serial number, decimal) was withdrawn for anything, which is what counts for a file that nobody knows."""

    @property
    def name(self) -> str: ...
    def by_asset_id(self, asset_id: AssetId) -> AssetRecord | None: ...
    def by_binding(self, alg: str, value: str) -> AssetRecord | None: ...
    def by_sha256(self, digest: bytes) -> AssetRecord | None: ...
    def preview(self, asset_id: AssetId) -> PreviewImage | None: ...
    def manifest(self, asset_id: AssetId) -> StoredManifest | None: ...
    def revoked(self, asset_id: AssetId, at: datetime | None) -> RevokedKey | None: ...
    def revoked_signer(self, serial: str, at: datetime | None) -> RevokedKey | None: ...
    def log_evidence(self, record: AssetRecord) -> LogEvidence: ...


class Careful:
    """A resolver that may be out of reach: that is said once in ``notes``, and from then on it knows nothing. Of an
    asset that it led to, a log that cannot be asked proves nothing."""

    def __init__(self, resolver: Resolver, notes: list[Evidence]) -> None:
        self._resolver, self._notes, self._lost = resolver, notes, False

    @property
    def name(self) -> str:
        return self._resolver.name

    def _ask(self, question: Callable[[], _Answer], otherwise: _Answer) -> _Answer:
        if self._lost:
            return otherwise
        try:
            return question()
        except Exception as error:  # noqa: BLE001  no answer is never a good answer: the file is then less than it claims
            self._lost = True
            why = error.message if isinstance(error, FiligranaError) else type(error).__name__
            self._notes.append(Evidence("catalog", "warning", f"{self.name} cannot be asked: {why}"))
            return otherwise

    def by_asset_id(self, asset_id: AssetId) -> AssetRecord | None:
        return self._ask(lambda: self._resolver.by_asset_id(asset_id), None)

    def by_binding(self, alg: str, value: str) -> AssetRecord | None:
        return self._ask(lambda: self._resolver.by_binding(alg, value), None)

    def by_sha256(self, digest: bytes) -> AssetRecord | None:
        return self._ask(lambda: self._resolver.by_sha256(digest), None)

    def preview(self, asset_id: AssetId) -> PreviewImage | None:
        return self._ask(lambda: self._resolver.preview(asset_id), None)

    def manifest(self, asset_id: AssetId) -> StoredManifest | None:
        return self._ask(lambda: self._resolver.manifest(asset_id), None)

    def revoked(self, asset_id: AssetId, at: datetime | None) -> RevokedKey | None:
        """One that cannot say whether a key was withdrawn is taken for one that says so."""
        return self._ask(lambda: self._resolver.revoked(asset_id, at), _UNKNOWN)

    def revoked_signer(self, serial: str, at: datetime | None) -> RevokedKey | None:
        """Asked of a lost one too: a catalog elsewhere has no word on certificates and needs no connection to say so;
        this installation's own, where it cannot say, is taken for one that withdrew it."""
        self._lost, lost = False, self._lost
        try:
            return self._ask(lambda: self._resolver.revoked_signer(serial, at), _UNKNOWN)
        finally:
            self._lost = self._lost or lost

    def log_evidence(self, record: AssetRecord) -> LogEvidence:
        lost = LogEvidence(False, record.log_index, None, "the log cannot be asked")
        return self._ask(lambda: self._resolver.log_evidence(record), lost)
