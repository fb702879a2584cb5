"""*Status*: whether everything works; for those who are signed in, how much there is to do."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, Request, Response

from ....errors import FiligranaError
from ..health_routes import missing
from ..records_routes import opened_log
from ..service import Service, service
from .rendering import page, session_of

router = APIRouter(include_in_schema=False)
PARTS = ("database", "policy", "disk")


@router.get("/status")
async def show(request: Request) -> Response:
    session = await asyncio.to_thread(session_of, request)
    view = await asyncio.to_thread(_view, service(request), session is not None)
    return page(request, "status.html", session, 200, **view)


def _view(here: Service, inside: bool) -> dict[str, Any]:
    failed = missing(here)
    parts = [{"name": name, "ok": name not in failed} for name in PARTS]
    policy = None
    try:
        ref = here.installation.pack.ref
        policy = {"id": ref.id, "version": ref.version, "digest": ref.digest[:12]}
    except FiligranaError:
        pass
    numbers: dict[str, Any] = {}
    log = opened_log(here.installation) if inside and "database" not in failed else None
    if log is not None:
        counts = here.installation.jobs.counts()
        numbers = {name: counts.get(name, 0) for name in ("queued", "running", "held", "released", "refused", "failed")}
        numbers["entries"] = log.size()
    return {
        "parts": parts, "ok": not failed, "stopping": "stopping" in failed, "policy": policy, "numbers": numbers,
        "version": version("filigrana"), "model": here.installation.settings.model if inside else None,
    }  # fmt: skip
