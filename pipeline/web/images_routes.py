"""`POST /v1/images/generations`: pictures, in the shape of OpenAI's API, through the queue."""

from __future__ import annotations

import asyncio
import base64
import time
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse

from ...errors import KeyStoreError
from ...provenance.database import session
from ...provenance.vault import Vault
from ..access import Caller
from ..jobs.fence import intent_of
from ..jobs.model import Job
from . import awaiting
from .asking import Here, ImagesAsked, body_of, parsed
from .callers import Creator
from .contents import content, of_job
from .receiving import receive_json
from .service import Service, service
from .verify_routes import ERROR

router = APIRouter(tags=["images"])
REFUSED = "image_generation_user_error"
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[!-~]+$",
        description="the same key and request give the same jobs again, however often they are sent",
    ),
]
EXAMPLE: dict[str, Any] = {
    "created": 1795000000,
    "data": [{"b64_json": "iVBORw0KGgo…", "asset_id": "4G7K2M9PQX0T"}],
    "filigrana": [
        {
            "job": "7b0e3c1e-5b0a-4c55-9b56-2f6a7d1f0c11",
            "state": "released",
            "released": True,
            "asset_id": "4G7K2M9PQX0T",
            "media": "image",
            "mime": "image/png",
            "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "bytes": 512345,
            "log": {"index": 4},
        }
    ],
}
REFUSAL: dict[str, Any] = {
    "error": {
        "message": "The prompt asks for a real public figure.",
        "type": REFUSED,
        "param": "prompt",
        "code": "prompt.pub",
        "jobs": ["7b0e3c1e-5b0a-4c55-9b56-2f6a7d1f0c11"],
        "request": "0d6e7bd2-2a7e-5d0e-8f0e-6a4f1d2c3b4a",
        "rewrite": {"prompt": "a painting of nobody in particular", "digest": "0123456789abcdef"},
    }
}
HELD: dict[str, Any] = {
    "created": 1795000000,
    "data": [],
    "filigrana": [
        {
            "job": "7b0e3c1e-5b0a-4c55-9b56-2f6a7d1f0c11",
            "state": "held",
            "released": False,
            "verdict": "review",
            "code": "prompt.pub",
            "reasons": ["The prompt asks for a real public figure."],
        }
    ],
}


@router.post(
    "/v1/images/generations",
    summary="Pictures from a prompt",
    operation_id="createImage",
    openapi_extra=body_of(ImagesAsked, {"prompt": "a red sailboat on a blue sea", "size": "512x512", "seed": 7}),
    responses={
        200: {"description": "released pictures", "content": {"application/json": {"example": EXAMPLE}}},
        202: {
            "description": "taken, and held for people: nothing is released yet",
            "content": {"application/json": {"example": HELD}},
        },
        400: {"description": "refused, or wrong", "content": {"application/json": {"example": REFUSAL}}},
        **dict.fromkeys((401, 403, 404, 408, 409, 413, 429, 500, 503, 504), ERROR),
    },
)
async def generations(request: Request, caller: Creator, key: Key = None) -> Any:
    """Puts `n` jobs and waits for their end. Scope: `generate`.

    Released: 200 with the pictures. Refused: 400 with the reasons, and the rewrite that is offered, if one is. Held for
    people: 202 with no picture, since the request was taken and is not over. Not over in time: 504 with the jobs."""
    here = service(request)
    asked: ImagesAsked = parsed(ImagesAsked, await receive_json(request))
    settings = here.installation.settings
    orders = asked.orders(caller, Here.of(here.installation), key)
    put = [job for job, _ in await asyncio.to_thread(here.installation.jobs.put_all, orders)]
    base = settings.serve_url or str(request.base_url).rstrip("/")
    with awaiting.once(put, key):
        jobs = await awaiting.ended(here, request, put, settings.serve_wait)
        if len(jobs) < len(put) or not all(job.ended for job in jobs):
            raise awaiting.waiting(jobs, key)
        return await asyncio.to_thread(_answer, here, jobs, asked.response_format, base, caller)


def _answer(here: Service, jobs: list[Job], shape: str, base: str, caller: Caller) -> JSONResponse:
    jobs = [awaiting.up_to_date(here, job) for job in jobs]
    released = [job for job in jobs if job.state == "released"]
    if not released and not any(job.state == "held" for job in jobs):
        raise awaiting.refused(here, jobs, REFUSED, caller)
    body = {
        "created": int(time.time()),
        "data": [_picture(here, job, shape, base) for job in released],
        "filigrana": [awaiting.outcome(here, job, caller) for job in jobs],
    }
    return JSONResponse(body, 200 if released else 202)


def _picture(here: Service, job: Job, shape: str, base: str) -> dict[str, Any]:
    record = of_job(here, job)
    said: dict[str, Any] = {"asset_id": str(record.asset_id)}
    if shape == "url":
        said["url"] = f"{base}/v1/assets/{record.asset_id}/content"
    else:
        file = content(here, record)
        said["b64_json"] = base64.b64encode(file.path.read_bytes()).decode()
    if job.request.get("accept_rewrite") is not None and (text := _rewritten(here, job)) is not None:
        said["revised_prompt"] = text
    return said


def _rewritten(here: Service, job: Job) -> str | None:
    """The prompt that was used in place of the author's, who accepted it."""
    with session(here.installation.log.engine) as opened:
        vault = Vault(opened)
        for attempt in range(job.attempts, 0, -1):
            kept = vault.texts_of_intent(intent_of(job.id, attempt)).get("rewritten_prompt")
            if kept is not None:
                try:
                    return vault.open_text(kept)
                except KeyStoreError:
                    return None
    return None
