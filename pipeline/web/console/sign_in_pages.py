"""Signing in by an API key, and out again."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response

from ..callers import known
from ..service import service
from .oidc import Provider, Started
from .rendering import cookie_name, form_of, moved, page, secure, session_of, signed_in
from .sessions import Sessions

router = APIRouter(include_in_schema=False)
PLACES = ("/create", "/desk", "/assets", "/audit", "/status", "/work/")


@router.get("/sign-in")
async def show(request: Request) -> Response:
    session = await asyncio.to_thread(session_of, request)
    wanted, ended = _place(request.query_params.get("next")), request.query_params.get("ended") == "1"
    return page(request, "sign_in.html", session, wanted=wanted, wrong=False, ended=ended, oidc=_oidc(request))


@router.post("/sign-in")
async def enter(request: Request) -> Response:
    """Shows the key once; from then on the cookie stands for it."""
    here = service(request)
    fields = await form_of(request, None)
    caller = await asyncio.to_thread(known, here, fields.get("key", ""))
    wanted = _place(fields.get("next"))
    if caller is None:
        return page(request, "sign_in.html", None, 401, wanted=wanted, wrong=True, ended=False, oidc=_oidc(request))
    secret = await asyncio.to_thread(Sessions(here.installation).begin, caller)
    return with_cookie(request, moved(wanted), secret)


@router.get("/sign-in/oidc")
async def leave_for_provider(request: Request) -> Response:
    """To the provider, with a cookie that only the way back reads."""
    provider = Provider(service(request).installation.settings, _callback(request))
    url, started = await asyncio.to_thread(provider.start, _place(request.query_params.get("next")))
    answer = moved(url)
    answer.set_cookie(
        _way(request), started.text(), max_age=600, path="/", httponly=True, samesite="lax",
        secure=secure(service(request)),
    )  # fmt: skip
    return answer


@router.get("/sign-in/oidc/callback")
async def come_back(request: Request) -> Response:
    """From the provider. The session's cookie is not sent with what another site begins, so that a page of ours goes
    on from here."""
    here = service(request)
    provider = Provider(here.installation.settings, _callback(request))
    started = Started.parse(request.cookies.get(_way(request), ""))
    address = f"{_callback(request)}?{request.url.query}"
    state = request.query_params.get("state", "")
    caller = await asyncio.to_thread(provider.finish, address, state, started)
    secret = await asyncio.to_thread(lambda: Sessions(here.installation).begin(caller, by_key=False))
    answer = with_cookie(request, page(request, "signed_in.html", None, wanted=_place(started.wanted)), secret)
    answer.delete_cookie(_way(request), path="/", httponly=True, samesite="lax", secure=secure(here))
    return answer


def _callback(request: Request) -> str:
    base = service(request).installation.settings.serve_url or str(request.base_url).rstrip("/")
    return f"{base}/sign-in/oidc/callback"


def _way(request: Request) -> str:
    return f"{cookie_name(service(request))}-oidc"


def _oidc(request: Request) -> bool:
    return service(request).installation.settings.oidc_issuer is not None


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
