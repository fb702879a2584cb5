"""What a catalog knows of an asset, as plain values: no database, nothing to import that takes time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from .identity import AssetId


@dataclass(frozen=True, slots=True)
class AssetRecord:
    """One released asset. ``sha256``: 32 bytes over the released file. ``duration``: seconds, None for
    stills.

    ``log_index``: the log entry of the release. ``source_type``: IPTC digital source type, or how it came in.
    """

    asset_id: AssetId
    media: str
    mime: str
    sha256: bytes
    byte_count: int
    source_type: str
    width: int | None = None
    height: int | None = None
    duration: float | None = None
    intent_id: UUID | None = None
    log_index: int | None = None
    public_name: str | None = None
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PreviewImage:
    """A small encoded picture; ``width`` and ``height`` in pixels, of each of the pictures stacked in it."""

    mime: str
    data: bytes
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class LogEvidence:
    """``ok``: the entry of the asset's release is in the log, proven against a signed checkpoint, and agrees with
    the catalog row. ``pinned``: under a key that this verifier knew before; otherwise the catalog named it itself."""

    ok: bool
    index: int | None
    size: int | None
    detail: str
    pinned: bool = True


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """The manifest store that an asset was released with. ``label``: of its active manifest."""

    label: str
    store: bytes


UNKNOWN = "unknown"
OWN_CATALOG = "this installation's catalog"


@dataclass(frozen=True, slots=True)
class RevokedKey:
    """The signer has withdrawn the key that signed the asset. ``since``: RFC 3339, or UNKNOWN where nobody could be
    asked, which is held against the file and not said of the signer; ``replaced_by``: the label of the manifest that
    the asset was signed again with."""

    reason: str
    since: str
    replaced_by: str | None = None


def agreement(record: AssetRecord, index: int, size: int, entry: dict[str, object]) -> LogEvidence:
    """Whether a proven log entry is of this asset's release."""
    agrees = entry.get("asset_id") == str(record.asset_id) and entry.get("sha256") == record.sha256.hex()
    if entry.get("type") != "release" or not agrees:
        return LogEvidence(False, index, size, "the log entry is not of this release")
    return LogEvidence(True, index, size, f"entry {index}, proven in a signed tree of {size}")
