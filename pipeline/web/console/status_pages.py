"""*Status*: whether everything works; for those who are signed in, how much there is to do."""

from __future__ import annotations

import asyncio
import datetime as dt
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, Request, Response
from sqlalchemy import func, select

from ....errors import FiligranaError
from ....provenance.database import session as database
from ....provenance.service_tables import Job
from ..health_routes import missing
from ..records_routes import opened_log
from ..service import Service, service
from .rendering import page, session_of

router = APIRouter(include_in_schema=False)
PATIENCE = dt.timedelta(minutes=1)
PARTS = ("database", "policy", "disk")


@router.get("/status")
async def show(request: Request) -> Response:
    session = await asyncio.to_thread(session_of, request)
    view = await asyncio.to_thread(_view, service(request), session is not None)
    return page(request, "status.html", session, 200, **view)


def unattended(here: Service) -> dt.datetime | None:
    """Since when a job waits although none is worked on: then no worker runs, as far as anybody can see. None where it
    is not so; a worker that is idle takes what comes within seconds."""
    jobs, now = here.installation.jobs, here.installation.clock()
    first = next(iter(jobs.list(None, "queued", 1, oldest=True)), None)
    if first is None or now - first.created_at <= PATIENCE or jobs.counts().get("running", 0):
        return None
    with database(jobs.engine) as opened:
        ended = opened.scalar(select(func.max(Job.ended_at)))
    # Between two jobs none is worked on for a moment.
    return first.created_at if ended is None or now - ended > PATIENCE else None


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
    since: dt.datetime | None = None
    log = opened_log(here.installation) if inside and "database" not in failed else None
    if log is not None:
        counts = here.installation.jobs.counts()
        numbers = {name: counts.get(name, 0) for name in ("queued", "running", "held", "released", "refused", "failed")}
        numbers["entries"] = log.size()
        since = unattended(here)
        parts.append({"name": "workers", "ok": since is None})
        failed = failed if since is None else [*failed, "workers"]
    return {
        "parts": parts, "ok": not failed, "stopping": "stopping" in failed, "policy": policy, "numbers": numbers,
        "since": None if since is None else since.isoformat(),
        "version": version("filigrana"), "model": here.installation.settings.model if inside else None,
    }  # fmt: skip
