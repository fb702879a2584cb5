"""Signing in by an API key, and out again."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response

from ..callers import known
from ..service import service
from .rendering import cookie_name, form_of, moved, page, secure, session_of, signed_in
from .sessions import Sessions

router = APIRouter(include_in_schema=False)
PLACES = ("/create", "/desk", "/assets", "/audit", "/status", "/work/")


@router.get("/sign-in")
async def show(request: Request) -> Response:
    session = await asyncio.to_thread(session_of, request)
    return page(request, "sign_in.html", session, wanted=_place(request.query_params.get("next")), wrong=False)


@router.post("/sign-in")
async def enter(request: Request) -> Response:
    """Shows the key once; from then on the cookie stands for it."""
    here = service(request)
    fields = await form_of(request, None)
    caller = await asyncio.to_thread(known, here, fields.get("key", ""))
    wanted = _place(fields.get("next"))
    if caller is None:
        return page(request, "sign_in.html", None, 401, wanted=wanted, wrong=True)
    secret = await asyncio.to_thread(Sessions(here.installation).begin, caller)
    return with_cookie(request, moved(wanted), secret)


def with_cookie(request: Request, answer: Response, secret: str) -> Response:
    """The session's cookie: for this host alone, out of reach of scripts, never sent from another site."""
    here = service(request)
    answer.set_cookie(
        cookie_name(here), secret, max_age=int(here.installation.settings.session_hours * 3600), path="/",
        httponly=True, samesite="strict", secure=secure(here),
    )  # fmt: skip
    return answer


@router.post("/sign-out")
async def leave(request: Request) -> Response:
    here = service(request)
    session = await signed_in(request)
    await form_of(request, session)
    name = cookie_name(here)
    await asyncio.to_thread(Sessions(here.installation).end, request.cookies[name])
    answer = moved("/sign-in")
    answer.delete_cookie(name, path="/", httponly=True, samesite="strict", secure=secure(here))
    answer.headers["Clear-Site-Data"] = '"cache", "storage"'
    return answer


def _place(wanted: str | None) -> str:
    """One of our own pages: a sign-in leads nowhere else."""
    given = wanted or "/create"
    if not given.startswith(PLACES) or "//" in given or "\\" in given or len(given) > 200:
        return "/create"
    return given
