"""A catalog somewhere else, asked over HTTP: C2PA Soft Binding Resolution API 2.4, and our own records beside it.

What it answers is checked as far as it can be: a manifest must carry the mark that was looked up and its signature must
hold (`observing`), the log entry is proven under the log's key. Where that key is not given, the catalog names it
itself, and the evidence says so. An answer is bounded in size and time, and redirects are not followed.
"""

from __future__ import annotations

import base64
import json
import time
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlsplit

from ..errors import FiligranaError, SettingsError
from .identity import AssetId
from .isolation.wire import record_in
from .log.note import VerifierKey
from .log.proof import LogProof
from .records import AssetRecord, LogEvidence, PreviewImage, RevokedKey, StoredManifest, agreement

SECONDS = 10.0
_RECORD_BYTES, _MANIFEST_BYTES = 8 << 20, 64 << 20


class CatalogError(FiligranaError):
    """A catalog that cannot be reached, or answers out of form."""

    code = "catalog.remote"
    hint = "Check the address of the catalog, or verify without it."


class RemoteResolver:
    """Asks the catalog at ``url``. ``log_key``: its log's verifier key, where it is known from elsewhere."""

    def __init__(self, url: str, log_key: VerifierKey | None = None, *, seconds: float = SECONDS) -> None:
        try:
            parts = urlsplit(url)
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            good = False
        if not good:
            raise SettingsError(f"{url[:200]} is no address of a catalog", code="settings.catalog")
        self._base, self._log_key, self._seconds = url.rstrip("/"), log_key, seconds
        self.name = f"the catalog at {parts.hostname}"
        self._known: dict[str, dict[str, Any] | None] = {}

    @classmethod
    def from_setting(cls, text: str) -> RemoteResolver:
        """`URL` or `URL LOG-KEY`. Raises SettingsError."""
        url, _, key = text.strip().partition(" ")
        return cls(url, VerifierKey.parse(key.strip()) if key.strip() else None)

    # ── the resolver's questions ─────────────────────────────────────────────────────────────────────────────
    def by_asset_id(self, asset_id: AssetId) -> AssetRecord | None:
        return self._record(f"/v1/records/{asset_id}")

    def by_binding(self, alg: str, value: str) -> AssetRecord | None:
        return self._record(f"/v1/records?alg={quote(alg, safe='')}&value={quote(value, safe='')}")

    def by_sha256(self, digest: bytes) -> AssetRecord | None:
        return self._record(f"/v1/records?sha256={digest.hex()}")

    def preview(self, asset_id: AssetId) -> PreviewImage | None:
        found = (self._whole(asset_id) or {}).get("preview")
        if not isinstance(found, dict):
            return None
        try:
            data = base64.b64decode(found["data"], validate=True)
            return PreviewImage(str(found["mime"]), data, int(found["width"]), int(found["height"]))
        except (KeyError, TypeError, ValueError) as error:
            raise CatalogError("the catalog's preview is not in form") from error

    def manifest(self, asset_id: AssetId) -> StoredManifest | None:
        label = (self._whole(asset_id) or {}).get("manifest_id")
        if not isinstance(label, str) or not label:
            return None
        store = self._get(f"/c2pa/v1/manifests/{quote(label, safe='')}", _MANIFEST_BYTES)
        return None if store is None else StoredManifest(label, store)

    def revoked(self, asset_id: AssetId, at: datetime | None) -> RevokedKey | None:
        found = (self._whole(asset_id) or {}).get("revocation")
        if not isinstance(found, dict):
            return None
        since = str(found.get("since", ""))
        if at is not None and since and datetime.fromisoformat(since) > at:
            return None
        replaced = found.get("replaced_by")
        return RevokedKey(str(found.get("reason", ""))[:300], since, None if replaced is None else str(replaced))

    def revoked_signer(self, serial: str, at: datetime | None) -> RevokedKey | None:  # noqa: ARG002
        """Another organisation's word about certificates that it did not issue is not asked for."""
        return None

    def log_evidence(self, record: AssetRecord) -> LogEvidence:
        whole = self._whole(record.asset_id) or {}
        text, index = whole.get("proof"), record.log_index
        if not isinstance(text, str) or index is None:
            return LogEvidence(False, index, None, "the catalog shows no proof from its log")
        named = [VerifierKey.parse(str(key)) for key in whole.get("log_keys", [])[:8]]
        keys = [self._log_key] if self._log_key is not None else named
        try:
            proof = LogProof.parse(text)
            checkpoint = proof.verify(keys)
            entry = json.loads(proof.extra or b"{}")
        except (FiligranaError, ValueError) as error:
            return LogEvidence(False, index, None, getattr(error, "message", "the proof is not in form"))
        said = agreement(record, proof.index, checkpoint.size, entry)
        if not said.ok or self._log_key is not None:
            return said
        detail = f"{said.detail}, under a key that only the catalog names"
        return LogEvidence(True, said.index, said.size, detail, pinned=False)

    # ── asking ───────────────────────────────────────────────────────────────────────────────────────────────
    def _record(self, path: str) -> AssetRecord | None:
        whole = self._json(path)
        if whole is None:
            return None
        record = record_in(whole.get("asset"))
        if record is not None:
            self._known[str(record.asset_id)] = whole
        return record

    def _whole(self, asset_id: AssetId) -> dict[str, Any] | None:
        key = str(asset_id)
        if key not in self._known:
            self._known[key] = self._json(f"/v1/records/{asset_id}")
        return self._known[key]

    def _json(self, path: str) -> dict[str, Any] | None:
        data = self._get(path, _RECORD_BYTES)
        if data is None:
            return None
        try:
            found = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise CatalogError("the catalog's answer is no JSON") from error
        if not isinstance(found, dict):
            raise CatalogError("the catalog's answer is not in form")
        return found

    def _get(self, path: str, largest: int) -> bytes | None:
        """The body, None for 404. Raises CatalogError."""
        import httpx

        until = time.monotonic() + self._seconds
        parts, size = [], 0
        try:
            with httpx.stream(
                "GET", self._base + path, timeout=self._seconds, follow_redirects=False, trust_env=False
            ) as answer:
                if answer.status_code == 404:
                    return None
                if answer.status_code != 200:
                    raise CatalogError(f"{self.name} answers with status {answer.status_code}")
                for block in answer.iter_bytes(1 << 16):
                    size += len(block)
                    if size > largest or time.monotonic() > until:
                        raise CatalogError(f"{self.name} answers with too much, or too slowly")
                    parts.append(block)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise CatalogError(f"{self.name} cannot be reached ({type(error).__name__})") from error
        return b"".join(parts)
