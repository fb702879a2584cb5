"""`/v1/videos`: clips, in the shape of OpenAI's video API. A video is a job seen from outside."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from ...errors import ServiceError
from ...provenance.records import AssetRecord
from ..access import Caller
from ..jobs.model import Job
from . import awaiting
from .asking import Here, VideoAsked, body_of, parsed
from .callers import Creator, Reader
from .contents import of_job, sent
from .images_routes import Key
from .receiving import is_form, receive_form, receive_json
from .service import Service, service
from .verify_routes import ERROR

router = APIRouter(prefix="/v1/videos", tags=["videos"])
MIME = "video/mp4"
_STATUS = {"queued": "queued", "running": "in_progress", "held": "in_progress", "released": "completed"}
_FIELD = 4 * 4096
LETTING_GO = 10.0
"""Seconds in which a worker hears that its job was cancelled, mostly."""
EXAMPLE: dict[str, Any] = {
    "id": "7b0e3c1e-5b0a-4c55-9b56-2f6a7d1f0c11",
    "object": "video",
    "model": "embedded",
    "status": "in_progress",
    "progress": 40,
    "created_at": 1795000000,
    "completed_at": None,
    "expires_at": None,
    "size": "",
    "seconds": "",
    "error": None,
    "filigrana": {"state": "running", "attempts": 1},
}
_ONE: dict[int | str, dict[str, Any]] = {
    200: {"description": "the video's job", "content": {"application/json": {"example": EXAMPLE}}},
    **dict.fromkeys((401, 403, 404, 429, 503), ERROR),
}


@router.post(
    "",
    summary="A clip from a prompt",
    operation_id="createVideo",
    openapi_extra=body_of(VideoAsked, {"prompt": "a red sailboat passes by", "sound": True}, form=True),
    responses={**_ONE, **dict.fromkeys((400, 408, 409, 413, 415), ERROR)},
)
async def create(request: Request, caller: Creator, key: Key = None) -> dict[str, Any]:
    """Puts a job and answers at once. Scope: `generate`."""
    here = service(request)
    if is_form(request):
        with here.spool.open() as folder:
            form = await receive_form(request, folder, (), _FIELD)
        asked: VideoAsked = parsed(VideoAsked, dict(form.fields), strict=False)
    else:
        asked = parsed(VideoAsked, await receive_json(request))
    order = asked.one(caller, Here.of(here.installation), key)
    job, _ = await asyncio.to_thread(here.installation.jobs.put, order)
    return _video(here, job, caller)


@router.get(
    "",
    summary="The tenant's clips",
    operation_id="listVideos",
    responses={
        200: {
            "description": "a page of them",
            "content": {"application/json": {"example": {"object": "list", "data": [EXAMPLE], "has_more": False}}},
        },
        **dict.fromkeys((400, 401, 403, 404, 429, 503), ERROR),
    },
)
def index(
    request: Request,
    caller: Reader,
    after: Annotated[str | None, Query(max_length=64, description="the id of the last one seen")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Annotated[Literal["asc", "desc"], Query(description="by the time at which they were asked for")] = "desc",
) -> dict[str, Any]:
    """The youngest first. Scope: `read`."""
    here = service(request)
    place = 0 if after is None else _found(here, after, caller.tenant).place
    queue = here.installation.jobs
    jobs = queue.list(caller.tenant, limit=limit + 1, after=place, kind="generate", mime=MIME, oldest=order == "asc")
    data = [_video(here, awaiting.up_to_date(here, job), caller) for job in jobs[:limit]]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": len(jobs) > limit,
    }


@router.get("/{video_id}", summary="A clip's job", operation_id="getVideo", responses=_ONE)
def one(request: Request, video_id: str, caller: Reader) -> dict[str, Any]:
    """How far it is, and why it failed, where it did. Scope: `read`."""
    here = service(request)
    return _video(here, _found(here, video_id, caller.tenant), caller)


@router.get(
    "/{video_id}/content",
    summary="The released MP4",
    operation_id="getVideoContent",
    response_class=Response,
    responses={
        200: {"description": "the file", "content": {MIME: {"schema": {"type": "string", "format": "binary"}}}},
        206: {"description": "a part of it", "content": {MIME: {"schema": {"type": "string", "format": "binary"}}}},
        **dict.fromkeys((400, 401, 403, 404, 409, 416, 429, 500, 503), ERROR),
    },
)
def file(
    request: Request,
    video_id: str,
    caller: Reader,
    variant: Annotated[Literal["video"], Query(description="the clip itself is all that there is")] = "video",  # noqa: ARG001
) -> Response:
    """The file as it was released, or the range that is asked for. Scope: `read`."""
    here = service(request)
    return sent(here, of_job(here, _found(here, video_id, caller.tenant)))


@router.delete(
    "/{video_id}",
    summary="Cancels a clip that is not released yet",
    operation_id="deleteVideo",
    responses={
        200: {
            "description": "it is not made any more; `deleted` is false where its worker has not let go of it yet",
            "content": {"application/json": {"example": {"id": "…", "object": "video.deleted", "deleted": True}}},
        },
        **dict.fromkeys((401, 403, 404, 409, 429, 503), ERROR),
    },
)
async def delete(request: Request, video_id: str, caller: Creator) -> dict[str, Any]:
    """Cancels the job. What was released is never deleted: its record has to lead somewhere. One that is worked on is
    released still, if it is faster: this waits a moment until it is known. Scope: `generate`."""
    here = service(request)
    found = await asyncio.to_thread(_found, here, video_id, caller.tenant)
    job = await asyncio.to_thread(here.installation.jobs.cancel, found.id, caller.tenant)
    if not job.ended:
        job = next(iter(await awaiting.ended(here, request, [job], LETTING_GO)), job)
    if job.state == "released":
        raise ServiceError("what was released is never deleted", status=409, code="jobs.released", param="video_id")
    if job.state == "held":
        raise ServiceError("people decide on this one at this moment", status=409, code="jobs.state", param="video_id")
    return {"id": str(job.id), "object": "video.deleted", "deleted": job.ended}


def _found(here: Service, text: str, tenant: str) -> Job:
    job = awaiting.found(here, text, tenant)
    if job.kind != "generate" or job.request.get("mime") != MIME:  # a sealed film is none that our model made
        raise ServiceError("there is no such video", status=404, code="jobs.unknown", param="video_id")
    return job


def _video(here: Service, job: Job, caller: Caller) -> dict[str, Any]:
    record: AssetRecord | None = of_job(here, job) if job.state == "released" else None
    size = job.request.get("size")
    wish = job.request.get("_seconds")
    error = None
    if _STATUS.get(job.state) is None:
        message, code = awaiting.reason(job)
        error = {"code": code, "message": message}
    return {
        "id": str(job.id),
        "object": "video",
        "model": here.installation.settings.model,
        "status": _STATUS.get(job.state, "failed"),
        "progress": percent(job),
        "created_at": int(job.created_at.timestamp()),
        "completed_at": None if job.ended_at is None or not job.ended else int(job.ended_at.timestamp()),
        "expires_at": None,
        "size": f"{record.width}x{record.height}" if record else f"{size[0]}x{size[1]}" if size else "",
        "seconds": f"{record.duration:g}" if record and record.duration is not None else str(wish or ""),
        "error": error,
        "filigrana": awaiting.shown(here, job, caller),
    }


def percent(job: Job) -> int:
    """Roughly: drawing takes most of the time, and what follows it is not counted."""
    if job.state == "released":
        return 100
    told = job.progress or {}
    done, total = int(told.get("done") or 0), int(told.get("total") or 0)
    if told.get("stage") != "generate":
        return 0 if told.get("stage") in (None, "load", "judge prompt") else 90
    return min(90, 90 * done // total) if total else 0
