"""`/v1/assets`: what a tenant released, with its decision record, and the file itself."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from ...provenance.catalog import Catalog
from ...provenance.database import session
from . import records_routes
from .callers import Either
from .contents import asset_of, sent
from .service import service
from .verify_routes import ERROR

router = APIRouter(prefix="/v1/assets", tags=["assets"])
_BINARY = {"schema": {"type": "string", "format": "binary"}}
EXAMPLE: dict[str, Any] = {
    **records_routes.EXAMPLE,
    "job": "7b0e3c1e-5b0a-4c55-9b56-2f6a7d1f0c11",
    "decision_record": '{"before": …}\n\n— filigrana.org/log/1a2b …',
}


@router.get(
    "/{asset_id}",
    summary="An asset of the tenant's",
    operation_id="getAsset",
    responses={
        200: {"description": "the asset", "content": {"application/json": {"example": EXAMPLE}}},
        **dict.fromkeys((401, 403, 404, 429, 503), ERROR),
    },
)
def one(request: Request, asset_id: str, caller: Either) -> dict[str, Any]:
    """The public record, and the job that made it; with the scope `read` its signed decision record, too."""
    here = service(request)
    record, job = asset_of(here, asset_id, caller.tenant)
    log = here.installation.log
    said = {**records_routes.record_answer(log, record), "job": str(job)}
    if caller.may("read"):
        with session(log.engine) as opened:
            said["decision_record"] = Catalog(opened).decision_record(record.asset_id)
    return said


@router.get(
    "/{asset_id}/content",
    summary="The released file",
    operation_id="getAssetContent",
    response_class=Response,
    responses={
        200: {"description": "the file", "content": {"image/*": _BINARY, "video/*": _BINARY, "audio/*": _BINARY}},
        206: {"description": "a part of it", "content": {"image/*": _BINARY, "video/*": _BINARY, "audio/*": _BINARY}},
        **dict.fromkeys((400, 401, 403, 404, 416, 429, 500, 503), ERROR),
    },
)
def file(request: Request, asset_id: str, caller: Either) -> Response:
    """The file as it was released, or the range that is asked for. Scope: `read` or `generate`."""
    here = service(request)
    return sent(here, asset_of(here, asset_id, caller.tenant)[0])
