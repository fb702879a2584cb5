"""`/v1/reviews`: what waits for people, and what they decide. Two people decide where the policy says so, and nobody
decides on what they asked for themselves."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from . import reviewing
from .asking import body_of, parsed
from .callers import Reviewer
from .receiving import receive_json
from .service import service
from .verify_routes import ERROR

router = APIRouter(prefix="/v1/reviews", tags=["reviews"])
ROW: dict[str, Any] = {
    "request": "0d6e7bd2-2a7e-5d0e-8f0e-6a4f1d2c3b4a",
    "made_by": "generate",
    "kind": "hold",
    "side": "prompt",
    "code": "prompt.pub",
    "status": "open",
    "state": "held",
    "approvals": 0,
    "needed": 2,
    "deadline": "2026-12-01T12:00:00Z",
    "assignee": None,
    "goes_on": False,
    "here": True,
    "policy": {"id": "newsroom", "version": "1.4.0", "digest": "9f86…"},
    "log": {"index": 7},
}
_ONE: dict[int | str, dict[str, Any]] = {
    200: {"description": "the review", "content": {"application/json": {"example": ROW}}},
    **dict.fromkeys((400, 401, 403, 404, 429, 500, 503), ERROR),
}
_ACT: dict[int | str, dict[str, Any]] = {**_ONE, **dict.fromkeys((408, 409, 413), ERROR)}


class Decided(BaseModel):
    """What one person says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    decision: Literal["approve", "reject"]
    reason: str = Field(min_length=1, max_length=2000, description="why; kept encrypted")


class Assigned(BaseModel):
    """Who looks at it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    to: str = Field(min_length=1, max_length=128, description="the reviewer's name: the subject of their key")


@router.get(
    "",
    summary="What waits for people",
    operation_id="listReviews",
    responses={
        200: {
            "description": "the most urgent first",
            "content": {"application/json": {"example": {"object": "list", "data": [ROW]}}},
        },
        **dict.fromkeys((400, 401, 403, 404, 429, 500, 503), ERROR),
    },
)
def index(
    request: Request,
    caller: Reviewer,
    status: Annotated[Literal["open", "approved", "rejected", "expired", "all"], Query()] = "open",
    appeals: Annotated[bool, Query(description="appeals alone")] = False,
    mine: Annotated[bool, Query(description="what is assigned to whoever asks")] = False,
) -> dict[str, Any]:
    """The tenant's cases. Scope: `review`."""
    wanted = None if status == "all" else status
    return {"object": "list", "data": reviewing.cases(service(request), caller, wanted, appeals=appeals, mine=mine)}


@router.get("/{request_id}", summary="One case", operation_id="getReview", responses=_ONE)
def one(request: Request, request_id: str, caller: Reviewer) -> dict[str, Any]:
    """What was asked, by which rule it was held, with which scores, and what was said so far. Scope: `review`."""
    return reviewing.case(service(request), caller, request_id)


@router.get(
    "/{request_id}/content",
    summary="The held file",
    operation_id="getReviewContent",
    response_class=Response,
    responses={
        200: {"description": "the file", "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}},
        206: {"description": "a part of it", "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}},
        **dict.fromkeys((400, 401, 403, 404, 409, 416, 429, 500, 503), ERROR),
    },
)
def content(request: Request, request_id: str, caller: Reviewer) -> Response:
    """As it would be released but for its signature, after it was held against the log. Scope: `review`."""
    path, mime = reviewing.file(service(request), caller, request_id)
    return FileResponse(path, media_type=mime, headers={"Cache-Control": "no-store"})


@router.post(
    "/{request_id}/decision",
    summary="Approves or rejects",
    operation_id="decideReview",
    openapi_extra=body_of(Decided, {"decision": "approve", "reason": "A public event, shown as it was."}),
    responses=_ACT,
)
async def decide(request: Request, request_id: str, caller: Reviewer) -> dict[str, Any]:
    """One person's decision, under the name of their key. With the last approval that is needed a worker goes on with
    the request; one rejection is enough. Scope: `review`."""
    said: Decided = parsed(Decided, await receive_json(request))
    here = service(request)
    return await asyncio.to_thread(reviewing.decide, here, caller, request_id, said.decision, said.reason)


@router.post(
    "/{request_id}/assignment",
    summary="Gives it to a reviewer",
    operation_id="assignReview",
    openapi_extra=body_of(Assigned, {"to": "ruth"}),
    responses=_ACT,
)
async def assign(request: Request, request_id: str, caller: Reviewer) -> dict[str, Any]:
    """Others may still decide. Scope: `review`."""
    said: Assigned = parsed(Assigned, await receive_json(request))
    return await asyncio.to_thread(reviewing.assign, service(request), caller, request_id, said.to)
