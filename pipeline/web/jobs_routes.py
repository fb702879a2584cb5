"""`/v1/jobs`: where a job stands, its changes as they happen, and its cancellation."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from ...errors import JobError
from . import awaiting
from .callers import Creator, Reader
from .events import EventStream, changes
from .service import service
from .verify_routes import ERROR

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
EXAMPLE: dict[str, Any] = {
    "object": "job",
    "id": "7b0e3c1e-5b0a-4c55-9b56-2f6a7d1f0c11",
    "kind": "generate",
    "state": "running",
    "attempts": 1,
    "progress": {"stage": "generate", "done": 9, "total": 25, "verdicts": {"prompt": "allow"}},
    "outcome": None,
    "created_at": "2026-11-24T12:00:00+00:00",
    "started_at": "2026-11-24T12:00:01+00:00",
    "ended_at": None,
}
_ONE: dict[int | str, dict[str, Any]] = {
    200: {"description": "the job", "content": {"application/json": {"example": EXAMPLE}}},
    **dict.fromkeys((401, 403, 404, 429, 503), ERROR),
}


@router.get("/{job_id}", summary="Where a job stands", operation_id="getJob", responses=_ONE)
def one(request: Request, job_id: str, caller: Reader) -> dict[str, Any]:
    """State, progress, and at its end what came of it. Scope: `read`."""
    here = service(request)
    return awaiting.shown(here, awaiting.found(here, job_id, caller.tenant), caller)


@router.delete("/{job_id}", summary="Cancels a job", operation_id="cancelJob", responses={**_ONE, 409: ERROR})
def cancel(request: Request, job_id: str, caller: Creator) -> dict[str, Any]:
    """One that waits is cancelled at once, one that is worked on as soon as its worker hears of it, unless it is
    released first. One that has ended stays as it is (409). Scope: `generate`."""
    here = service(request)
    job = here.installation.jobs.cancel(awaiting.job_id(job_id), caller.tenant)
    if job.ended and job.state != "cancelled":
        raise JobError(f"a job that is {job.state} is not cancelled")
    return awaiting.shown(here, job, caller)


@router.get(
    "/{job_id}/events",
    summary="A job's changes",
    operation_id="getJobEvents",
    response_class=Response,
    responses={
        200: {
            "description": "events `state`, `progress`, `verdict` and `preview`, each with the job as JSON; comments "
            "while nothing happens",
            "content": {
                "text/event-stream": {
                    "schema": {"type": "string"},
                    "example": 'id: 1\nevent: state\ndata: {"state": "queued"}\n\n',
                }
            },
        },
        **dict.fromkeys((401, 403, 404, 429, 503), ERROR),
    },
)
async def events(request: Request, job_id: str, caller: Reader) -> Response:
    """Server-sent events until the job's end. The first says how it stands. Each has the job, with `progress`: the
    stage and how far it is, `verdicts` by side (`prompt`, `output`) as they are decided, and, while a picture is drawn
    and its guards find nothing, `preview`: 8 x 8 colours of it, three hex digits each, row by row. Scope: `read`."""
    here = service(request)
    queue, ident = here.installation.jobs, awaiting.job_id(job_id)
    await asyncio.to_thread(queue.get, ident, caller.tenant)
    here.streams.open(caller.key)

    def still() -> bool:
        now = here.installation.access.caller(caller.key)
        return now is not None and now.may("read")

    told = changes(lambda: queue.get(ident, caller.tenant), lambda job: awaiting.shown(here, job, caller), here, still)
    return EventStream(told, here.streams, caller.key)
