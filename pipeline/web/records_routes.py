"""`GET /v1/records`: what a verifier elsewhere needs to know of a released asset, and never anything of a person."""

from __future__ import annotations

import base64
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from ...errors import FiligranaError, InputError, ServiceError
from ...provenance.catalog import Catalog
from ...provenance.database import current_revision, session
from ...provenance.identity import AssetId
from ...provenance.log.sequencer import AuditLog
from ...provenance.records import AssetRecord
from ...provenance.resolver import LocalResolver
from ..installation import Installation
from .service import service
from .verify_routes import ERROR

router = APIRouter(tags=["records"])

ASSET_FIELDS = (
    "asset_id",
    "media",
    "mime",
    "sha256",
    "byte_count",
    "source_type",
    "width",
    "height",
    "duration",
    "log_index",
    "created_at",
)
"""All that is said of an asset. Who asked for it, with which prompt, from which file: that is never added here."""
EXAMPLE: dict[str, Any] = {
    "asset": {
        "asset_id": "4G7K2M9PQX0T",
        "media": "image",
        "mime": "image/png",
        "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "byte_count": 512345,
        "source_type": "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia",
        "width": 512,
        "height": 512,
        "duration": None,
        "log_index": 4,
        "created_at": "2026-11-24T12:00:00+00:00",
    },
    "bindings": [["org.filigrana.dft.1", "4G7K2M9PQX0T"]],
    "manifest_id": "urn:c2pa:6f2c…",
    "preview": {"mime": "image/jpeg", "width": 256, "height": 256, "data": "/9j/4AAQ…"},
    "proof": "c2sp.org/tlog-proof@v1\nextra …\nindex 4\n…",
    "log_keys": ["filigrana.org/log/1a2b+3c4d5e6f+…"],
    "revocation": None,
}
_FOUND: dict[int | str, dict[str, Any]] = {
    200: {"description": "the record", "content": {"application/json": {"example": EXAMPLE}}},
    400: ERROR,
    404: ERROR,
}


@router.get("/v1/records/{asset_id}", summary="A record by its number", responses=_FOUND)
def by_id(request: Request, asset_id: str) -> dict[str, Any]:
    """The record of the asset with this number (12 letters and digits)."""
    try:
        wanted = AssetId.parse(asset_id)
    except InputError as error:
        raise ServiceError(error.message, param="asset_id", code="service.asset_id") from None
    return _answer(request, lambda catalog: catalog.by_asset_id(wanted))


@router.get("/v1/records", summary="A record by hash or binding", responses=_FOUND)
def find(
    request: Request,
    sha256: Annotated[str | None, Query(pattern="^[0-9a-fA-F]{64}$", description="of the released file, hex")] = None,
    alg: Annotated[str | None, Query(max_length=128, description="a soft binding's algorithm …")] = None,
    value: Annotated[str | None, Query(max_length=512, description="… and its value")] = None,
) -> dict[str, Any]:
    """The record of the released file with this hash, or of the one asset that a soft binding leads to."""
    if sha256 is not None:
        return _answer(request, lambda catalog: catalog.by_sha256(bytes.fromhex(sha256)))
    if alg is None or value is None:
        raise ServiceError("give `sha256`, or `alg` and `value`", code="service.parameter")

    def bound(catalog: Catalog) -> AssetRecord | None:
        found = catalog.by_binding(alg, value)
        return found[0] if len(found) == 1 else None

    return _answer(request, bound)


def opened_log(installation: Installation) -> AuditLog | None:
    """The log, where there is one already: looking makes nothing. One that was found is not looked for again."""
    if not installation.found:
        if not installation.exists:
            installation.check_log_key()  # a key that is gone does not make a log that never was
            return None
        if current_revision(installation.log.engine) is None:
            return None
        installation.found = True
    return installation.log


def _answer(request: Request, find: Any) -> dict[str, Any]:
    installation = service(request).installation
    log = opened_log(installation)
    record = None
    if log is not None:
        with session(log.engine) as opened:
            record = find(Catalog(opened))
    if record is None or log is None:
        raise ServiceError("no record is known", status=404, code="service.not_found")
    return record_answer(log, record)


def record_answer(log: AuditLog, record: AssetRecord) -> dict[str, Any]:
    with session(log.engine) as opened:
        catalog = Catalog(opened)
        bindings, preview = catalog.bindings(record.asset_id), catalog.preview(record.asset_id)
        manifests = list(catalog.manifests(record.asset_id))
    revoked = LocalResolver(log, log.keys).revoked(record.asset_id, None)
    return {
        "asset": facts(record),
        "bindings": [list(pair) for pair in bindings],
        "manifest_id": manifests[-1] if manifests else None,
        "preview": None
        if preview is None
        else {
            "mime": preview.mime,
            "width": preview.width,
            "height": preview.height,
            "data": base64.b64encode(preview.data).decode(),
        },
        "proof": proof_of(log, record),
        "log_keys": [str(key) for key in log.keys],
        "revocation": None if revoked is None else asdict(revoked),
    }


def facts(record: AssetRecord) -> dict[str, Any]:
    """What anybody may know of an asset."""
    return {name: _plain(getattr(record, name)) for name in ASSET_FIELDS}


def proof_of(log: AuditLog, record: AssetRecord) -> str | None:
    """The release's inclusion proof with its entry; None where the log cannot prove it now."""
    if record.log_index is None:
        return None
    try:
        return log.prove(record.log_index, embed_entry=True)
    except FiligranaError:
        return None


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, AssetId):
        return str(value)
    return value.isoformat() if hasattr(value, "isoformat") else value
