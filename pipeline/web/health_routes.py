"""`/healthz`, `/readyz` and `/metrics`: for whoever runs the service."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from ...errors import FiligranaError, KeyStoreError
from ...provenance.database import HEAD, current_revision
from .callers import Monitor
from .metrics import TYPE, exposition
from .service import Service, service
from .verify_routes import ERROR

router = APIRouter(tags=["operations"])
_OK: dict[str, Any] = {"status": "ok"}


@router.get(
    "/healthz",
    summary="Whether the process lives",
    operation_id="getHealth",
    responses={
        200: {"description": "it does", "content": {"application/json": {"example": _OK}}},
        **dict.fromkeys((429, 503), ERROR),
    },
)
async def health() -> dict[str, Any]:
    """Looks at nothing else: a database that is away is no reason to start the service again."""
    return _OK


@router.get(
    "/readyz",
    summary="Whether it can take orders",
    operation_id="getReadiness",
    responses={
        200: {"description": "it can", "content": {"application/json": {"example": _OK}}},
        503: {
            "description": "what is missing",
            "content": {"application/json": {"example": {"status": "unready", "failed": ["database"]}}},
        },
        429: ERROR,
    },
)
def readiness(request: Request) -> Response:
    """503 with what is missing: `database`, `keys`, `policy`, `disk`, `store`, `stopping`."""
    failed = missing(service(request))
    return JSONResponse({"status": "unready", "failed": failed} if failed else _OK, 503 if failed else 200)


def missing(here: Service) -> list[str]:
    """What keeps the service from taking orders; empty where nothing does."""
    house = here.installation
    failed = ["stopping"] if here.draining() or here.stopping() else []
    try:
        # A house in which nothing was ever made has no database yet: the first key makes it.
        if not house.exists:
            house.check_log_key()
        elif current_revision(house.log.engine) not in (HEAD, None):
            failed.append("database")
    except KeyStoreError:
        failed.append("keys")
    except Exception:  # noqa: BLE001  whatever it says: it cannot be reached
        failed.append("database")
    try:
        _ = house.pack
    except FiligranaError:
        failed.append("policy")
    if not here.spool.has_room():
        failed.append("disk")
    try:
        if house.settings.store is not None:
            house.store.ready()
    except FiligranaError:
        failed.append("store")
    return failed


@router.get(
    "/metrics",
    summary="For Prometheus",
    operation_id="getMetrics",
    response_class=Response,
    responses={
        200: {"description": "metrics", "content": {"text/plain": {"schema": {"type": "string"}}}},
        **dict.fromkeys((401, 403, 429, 500, 503), ERROR),
    },
)
def metrics(request: Request, _caller: Monitor) -> Response:
    """Queue, stages, verdicts, energy, requests. Scope: `metrics`."""
    return Response(exposition(service(request), request.app.state.metrics), media_type=TYPE)
