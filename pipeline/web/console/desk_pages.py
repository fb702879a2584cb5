"""*Desk*: held work, seen beside what was asked, and decided."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from ....errors import FiligranaError, InputError, ServiceError
from ...review_case import ReviewError, spelled
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
    for case in cases:
        case["hazard"] = _hazard(case)
    return page(request, "desk.html", session, cases=cases, every=every)


def _hazard(case: dict[str, Any]) -> str:
    """The name of the word that says what a code is about."""
    return f"console.hazard.{str(case['code']).rpartition('.')[2]}"


@router.get("/desk/{request_id}")
async def one(request: Request, request_id: str) -> Response:
    session = await signed_in(request, "review")
    return await _case(request, session, request_id)


async def _case(
    request: Request, session: Session, ident: str, status: int = 200,
    error: FiligranaError | None = None, reason: str = "",
) -> Response:  # fmt: skip
    """``reason``: what was written already, which is not lost with an error."""
    found = await asyncio.to_thread(reviewing.case, service(request), session.caller, ident)
    found |= {
        "said": _said(found, session),
        "named": _hazard(found),
        "appealed": next((act for act in reversed(found["history"]) if act["act"] == "appeal.filed"), None),
        **_scores(found),
    }
    over = found["said"] or found["own"] or found["status"] != "open"
    found["next"] = await asyncio.to_thread(_next, request, session, found["request"]) if over else None
    return page(request, "case.html", session, status, case=found, error=error, reason=reason)


def _scores(case: dict[str, Any]) -> dict[str, Any]:
    """What the rules rest on apart from the rest: twenty other numbers say nothing to whoever decides."""
    codes = {case["code"], *(str(rule.get("code")) for rule in case["rules"])}
    parts: dict[str, list[dict[str, Any]]] = {"reached": [], "others": []}
    for each in case["scores"]:
        counts = each["threshold"] is not None or each["error"] or f"{case['side']}.{each['hazard']}" in codes
        parts["reached" if counts else "others"].append(each)
    return parts


def _next(request: Request, session: Session, ident: str) -> str | None:
    """The most urgent of those that are open besides."""
    found = reviewing.cases(service(request), session.caller, "open", appeals=False, mine=False)
    return next((str(each["request"]) for each in found if each["request"] != ident), None)


def _said(case: dict[str, Any], session: Session) -> bool:
    """Whether this person approved it, so that it waits for somebody else."""
    mine = [act for act in case["history"] if act["name"] and spelled(act["name"]) == spelled(session.caller.subject)]
    now = max((act["round"] or 0 for act in case["history"]), default=0)
    return any(act["act"] == "review.approved" and act["round"] == now for act in mine)


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
    reason = fields.get("reason", "").replace("\r\n", "\n")
    try:
        if fields.get("decision") not in ("approve", "reject"):
            raise InputError("approve or reject", code="input.decision")
        await asyncio.to_thread(reviewing.decide, service(request), session.caller, request_id, decision, reason)
    except (ReviewError, InputError) as error:
        status = 409 if isinstance(error, ReviewError) else 400
        return await _case(request, session, request_id, status, error, reason)
    return moved(f"/desk/{request_id}")
