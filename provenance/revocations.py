"""Signing keys that are no longer believed for a stretch of the log, and which assets that concerns.

A revocation names a certificate (SHA-256 of its DER) and the log indices of releases that it signed; it is a row that
nobody can change, with an entry of the log. Assets are found by their manifest: its signer's serial number is the
certificate's. Works on the caller's session, as the catalog does.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from sqlalchemy import select
from sqlalchemy.orm import Session

from ..errors import ManifestError
from .identity import AssetId
from .tables import Asset, KeyRevocation, Manifest, Resigning
from .trust import base_settings


@dataclass(frozen=True, slots=True)
class Revocation:
    """Why an asset's first signature is no longer believed. ``since``: when that was recorded. ``log_index``: of the
    revocation's entry. ``replaced_by``: the label of the manifest that stands in its place, None before a recall."""

    reason: str
    since: datetime
    fingerprint: str
    log_index: int
    replaced_by: str | None


@dataclass(frozen=True, slots=True)
class Range:
    """``first`` and ``last``: log indices, inclusive; no ``last``: everything after it too."""

    fingerprint: str
    serial: str
    first: int
    last: int | None
    reason: str


def fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()


def signer_serial(store: bytes) -> str:
    """The serial number, in decimal, of the certificate that signed a store's active manifest. Raises ManifestError."""
    import c2pa

    try:
        context = c2pa.Context.from_dict(base_settings())
        with c2pa.Reader("application/c2pa", io.BytesIO(store), None, context) as reader:
            document = json.loads(reader.json())
        return str(document["manifests"][document["active_manifest"]]["signature_info"]["cert_serial_number"])
    except Exception as error:  # what was stored is ours, and still passes through a native reader
        raise ManifestError("a stored manifest does not say who signed it") from error


def record_revocation(session: Session, log_index: int, range_: Range) -> None:
    """Adds the row; its log entry is the caller's, in the same transaction."""
    session.add(
        KeyRevocation(
            log_index=log_index,
            fingerprint=range_.fingerprint,
            serial=range_.serial,
            first_index=range_.first,
            last_index=range_.last,
            reason=range_.reason,
        )
    )
    session.flush()


def record_resigning(session: Session, log_index: int, asset_id: AssetId, label: str, store: bytes, sha: bytes) -> None:
    """Adds the new manifest beside the old one. ``sha``: of the file that carries it, or of its sidecar."""
    session.add(Manifest(asset_id=asset_id.value, label=label, store=store))
    session.add(Resigning(log_index=log_index, asset_id=asset_id.value, label=label, sha256=sha))
    session.flush()


def ranges(session: Session) -> list[KeyRevocation]:
    """All revocations, oldest first."""
    return list(session.scalars(select(KeyRevocation).order_by(KeyRevocation.log_index)))


def newest_resigning(session: Session, asset_id: AssetId) -> Resigning | None:
    query = select(Resigning).where(Resigning.asset_id == asset_id.value).order_by(Resigning.log_index.desc())
    return session.scalars(query.limit(1)).first()


def standing_resigning(session: Session, asset_id: AssetId) -> Resigning | None:
    """The newest one, unless the key that made it was revoked itself for where it stands in the log."""
    again = newest_resigning(session, asset_id)
    if again is None:
        return None
    its = select(Manifest.store).where(Manifest.asset_id == asset_id.value, Manifest.label == again.label)
    serials = {signer_serial(store) for store in session.scalars(its)}
    gone = any(row.serial in serials and _covers(row, again.log_index) for row in ranges(session))
    return None if gone else again


def revocation_of(session: Session, asset_id: AssetId) -> Revocation | None:
    """The newest revocation that covers the release of this asset, or None. Reads only."""
    asset = session.get(Asset, asset_id.value)
    if asset is None or asset.log_index is None:
        return None
    covering = [row for row in ranges(session) if _covers(row, asset.log_index)]
    if not covering:
        return None
    serials = {signer_serial(store) for store in _stores(session, asset_id)}
    row = next((row for row in reversed(covering) if row.serial in serials), None)
    if row is None:
        return None
    again = standing_resigning(session, asset_id)
    return Revocation(row.reason, row.created_at, row.fingerprint, row.log_index, again.label if again else None)


def _covers(row: KeyRevocation, index: int) -> bool:
    return row.first_index <= index and (row.last_index is None or index <= row.last_index)


def _stores(session: Session, asset_id: AssetId) -> list[bytes]:
    return list(session.scalars(select(Manifest.store).where(Manifest.asset_id == asset_id.value)))


def signed_within(session: Session, row: KeyRevocation) -> Iterator[AssetId]:
    """The assets that the revoked certificate signed in its range, or signed again there, by their place in the log."""
    last = row.last_index
    made = select(Asset.asset_id, Asset.log_index).where(Asset.log_index >= row.first_index)
    again = select(Resigning.asset_id, Resigning.log_index).where(Resigning.log_index >= row.first_index)
    if last is not None:
        made, again = made.where(Asset.log_index <= last), again.where(Resigning.log_index <= last)
    found = sorted([*session.execute(made), *session.execute(again)], key=lambda one: int(one[1]))
    for value in dict.fromkeys(int(one[0]) for one in found):
        if row.serial in {signer_serial(store) for store in _stores(session, AssetId(value))}:
            yield AssetId(value)
