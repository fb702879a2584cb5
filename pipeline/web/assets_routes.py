"""`/v1/assets`: what a tenant released, with its decision record, and the file itself."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from ...errors import ServiceError
from ...provenance.catalog import Catalog
from ...provenance.database import session
from . import records_routes
from .callers import Either, Reader
from .contents import asset_of, sent
from .releases import Listed, Wanted, release_of, releases
from .service import service
from .verify_routes import ERROR

router = APIRouter(prefix="/v1/assets", tags=["assets"])
_BINARY = {"schema": {"type": "string", "format": "binary"}}
EXAMPLE: dict[str, Any] = {
    **records_routes.EXAMPLE,
    "job": "7b0e3c1e-5b0a-4c55-9b56-2f6a7d1f0c11",
    "decision_record": '{"before": …}\n\n— filigrana.org/log/1a2b …',
}


LISTED: dict[str, Any] = {
    "object": "asset",
    **records_routes.EXAMPLE["asset"],
    "job": EXAMPLE["job"],
    "released_at": "2026-11-24T12:00:00+00:00",
}


@router.get(
    "",
    summary="The tenant's assets",
    operation_id="listAssets",
    responses={
        200: {
            "description": "a page of them",
            "content": {"application/json": {"example": {"object": "list", "data": [LISTED], "has_more": False}}},
        },
        **dict.fromkeys((400, 401, 403, 404, 429, 503), ERROR),
    },
)
def index(
    request: Request,
    caller: Reader,
    after: Annotated[str | None, Query(max_length=64, description="the id of the last one seen")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    media: Annotated[Literal["image", "video", "audio"] | None, Query(description="of this kind alone")] = None,
    since: Annotated[datetime | None, Query(description="released then or later")] = None,
    before: Annotated[datetime | None, Query(description="released earlier")] = None,
) -> dict[str, Any]:
    """What was released for the tenant's jobs, the youngest first. Scope: `read`."""
    with session(service(request).installation.log.engine) as opened:
        last = None if after is None else release_of(opened, caller.tenant, after)
        if after is not None and last is None:
            raise ServiceError("there is no such asset", status=404, param="after", code="service.not_found")
        wanted = Wanted(None, media, _zoned(since, "since"), _zoned(before, "before"), last)
        found = releases(opened, caller.tenant, wanted, limit + 1)
        catalog = Catalog(opened)
        data = [_listed(catalog, one) for one in found[:limit]]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["asset_id"] if data else None,
        "last_id": data[-1]["asset_id"] if data else None,
        "has_more": len(found) > limit,
    }


def _zoned(time: datetime | None, param: str) -> datetime | None:
    try:
        if time is None or time.tzinfo is not None:
            return None if time is None else time.astimezone(UTC)
    except OverflowError:
        pass
    raise ServiceError("a time is written like 2026-11-24T12:00:00Z", param=param, code="service.parameter")


def _listed(catalog: Catalog, one: Listed) -> dict[str, Any]:
    record = catalog.by_asset_id(one.asset_id)
    facts = {} if record is None else records_routes.facts(record)
    return {
        "object": "asset",
        "asset_id": str(one.asset_id),
        **facts,
        "job": str(one.job),
        "released_at": one.released_at.isoformat(),
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
