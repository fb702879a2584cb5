"""`/v1/appeals`: why a request was refused or held, and an appeal against that, for whoever asked."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from . import appealing
from .asking import body_of, parsed
from .callers import Creator, Either
from .receiving import receive_json
from .service import service
from .verify_routes import ERROR

router = APIRouter(prefix="/v1/appeals", tags=["appeals"])
EXAMPLE: dict[str, Any] = {
    "object": "appeal",
    "request": "0d6e7bd2-2a7e-5d0e-8f0e-6a4f1d2c3b4a",
    "reasons": {
        "decision": "refused",
        "code": "prompt.pub",
        "time": "2026-11-24T12:00:00.000Z",
        "facts": "…",
        "rules": [{"id": "public-figures", "title": "…", "reason": "The prompt asks for a real public figure."}],
        "appeal": {"open": True, "filed": False, "until": "2027-05-24T12:00:00.000Z", "result": None, "how": "…"},
    },
    "appeal": {
        "status": "open",
        "against": "prompt.pub",
        "deadline": "2026-12-01T12:00:00.000Z",
        "state": "refused",
        "log": {"index": 9},
    },
}


class Appealed(BaseModel):
    """Why it should be looked at again."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reason: str = Field(min_length=1, max_length=2000, description="why; kept encrypted, for those who decide")


@router.get(
    "/{request_id}",
    summary="Why a request was refused or held",
    operation_id="getAppeal",
    responses={
        200: {
            "description": "the statement of reasons, and how an appeal stands (`appeal`: null without one)",
            "content": {"application/json": {"example": EXAMPLE}},
        },
        **dict.fromkeys((401, 403, 404, 429, 500, 503), ERROR),
    },
)
def one(request: Request, request_id: str, caller: Either) -> dict[str, Any]:
    """A statement of reasons after Article 17 of the Digital Services Act, out of the log alone: no text of the
    request, no name. `request_id` is what the refusal told as `request`. Scope: `read` or `generate`."""
    return appealing.told(service(request), caller, request_id)


@router.post(
    "/{request_id}",
    status_code=201,
    summary="Appeals against a refusal",
    operation_id="fileAppeal",
    openapi_extra=body_of(Appealed, {"reason": "The name is that of a boat."}),
    responses={
        201: {
            "description": "people who did not decide before look at it by `deadline`",
            "content": {"application/json": {"example": EXAMPLE}},
        },
        **dict.fromkeys((400, 401, 403, 404, 408, 409, 413, 429, 500, 503), ERROR),
    },
)
async def file(request: Request, request_id: str, caller: Creator) -> dict[str, Any]:
    """Once a request, within the time that its refusal named, with a key of the subject that asked, also for a user of
    theirs. Work that is held is before people already: an appeal is against what they, or a machine, refused (409
    `review.appeal.none`). Scope: `generate`."""
    said: Appealed = parsed(Appealed, await receive_json(request))
    return await asyncio.to_thread(appealing.file_one, service(request), caller, request_id, said.reason)
