"""*Desk*: held work, seen beside what was asked, and decided."""

from __future__ import annotations

import asyncio
from typing import Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from ....errors import FiligranaError, ServiceError
from ...review_case import ReviewError
from .. import reviewing
from ..service import service
from .rendering import form_of, moved, page, signed_in
from .sessions import Session

router = APIRouter(include_in_schema=False)


@router.get("/desk")
async def index(request: Request) -> Response:
    session = await signed_in(request, "review")
    every = request.query_params.get("all") == "1"
    try:
        cases = await asyncio.to_thread(
            reviewing.cases, service(request), session.caller, None if every else "open", appeals=False, mine=False
        )
    except ServiceError as error:
        if error.status != 404:
            raise
        cases = []
    return page(request, "desk.html", session, cases=cases, every=every)


@router.get("/desk/{request_id}")
async def one(request: Request, request_id: str) -> Response:
    session = await signed_in(request, "review")
    return await _case(request, session, request_id, None)


async def _case(request: Request, session: Session, ident: str, error: FiligranaError | None) -> Response:
    found = await asyncio.to_thread(reviewing.case, service(request), session.caller, ident)
    return page(request, "case.html", session, 409 if error else 200, case=found, error=error)


@router.get("/desk/{request_id}/file")
async def file(request: Request, request_id: str) -> Response:
    session = await signed_in(request, "review")
    path, mime = await asyncio.to_thread(reviewing.file, service(request), session.caller, request_id)
    return FileResponse(path, media_type=mime, headers={"Cache-Control": "no-store"})


@router.post("/desk/{request_id}")
async def decide(request: Request, request_id: str) -> Response:
    session = await signed_in(request, "review")
    fields = await form_of(request, session)
    decision: Literal["approve", "reject"] = "approve" if fields.get("decision") == "approve" else "reject"
    if fields.get("decision") not in ("approve", "reject"):
        raise ServiceError("approve or reject", param="decision", code="service.parameter")
    try:
        await asyncio.to_thread(
            reviewing.decide, service(request), session.caller, request_id, decision, fields.get("reason", "")
        )
    except ReviewError as error:
        return await _case(request, session, request_id, error)
    return moved(f"/desk/{request_id}")
