"""What every page for people shares: who is signed in, words, the frame around it, and forms that are theirs."""

from __future__ import annotations

import asyncio
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import quote, urlsplit

from fastapi import Request, Response
from fastapi.responses import RedirectResponse
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from ....errors import ServiceError
from ....provenance.words import Words, words
from ...access import Caller
from .. import languages as choosing
from ..callers import limited
from ..receiving import is_form, receive_form
from ..records_routes import opened_log
from ..service import Service, plain, service
from ..showing import moment_text, size_text
from .sessions import Session, Sessions

LANGUAGES = ("en", "zh")
"""The pages for people; the page for anyone has more."""
COOKIE, SECURE_COOKIE = "filigrana", "__Host-filigrana"
FIELD = 16 << 10
_PAGES = (
    ("create", "/create", ("generate",)),
    ("desk", "/desk", ("review",)),
    ("assets", "/assets", ("read",)),
    ("audit", "/audit", ("audit",)),
    ("status", "/status", ()),
)


class SignInError(ServiceError):
    """Nobody is signed in: the page leads to where they can."""

    def __init__(self) -> None:
        super().__init__("sign in first", status=401, code="access.session")


@cache
def said_in(language: str) -> Words:
    """The words of both kinds of pages in one language."""
    import json

    own = json.loads((resources.files(__package__) / "words" / f"{language}.json").read_text("utf-8"))
    shared = words(language)
    return Words(language, {**{name: shared.lines(name) for name in shared.names()}, **own})


@cache
def templates() -> Environment:
    loaders = [PackageLoader(__package__, "templates"), PackageLoader("filigrana.pipeline.web", "templates")]
    found = Environment(
        loader=ChoiceLoader(loaders), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    found.filters |= {"plain": plain, "when": moment_text, "size": size_text}
    return found


def language_of(request: Request) -> str:
    """One that these pages have."""
    found = choosing.preferred(request.query_params.get("lang"), request.headers.get("accept-language", ""))
    return found if found in LANGUAGES else LANGUAGES[0]


def secure(here: Service) -> bool:
    """Whether people reach the service by https, so that a cookie may be bound to it."""
    return (here.installation.settings.serve_url or "").startswith("https://")


def cookie_name(here: Service) -> str:
    return SECURE_COOKIE if secure(here) else COOKIE


def session_of(request: Request) -> Session | None:
    """Who is signed in. Looking makes nothing."""
    here = service(request)
    secret = request.cookies.get(cookie_name(here))
    if not secret or opened_log(here.installation) is None:
        return None
    return Sessions(here.installation).find(secret)


async def signed_in(request: Request, *scopes: str) -> Session:
    """Raises SignInError, or ServiceError (403) where the person may not see this page."""
    found = await asyncio.to_thread(session_of, request)
    if found is None:
        raise SignInError
    # Also where what follows fails: the page of the error is still theirs.
    request.state.session = found
    if scopes and not found.caller.may(*scopes):
        raise ServiceError(
            f"your key has not the scope {' or '.join(scopes)}, which this page needs", status=403, code="access.scope"
        )
    here = service(request)
    caller = limited(found.caller, here.installation.settings)
    wait = here.key_rates.take(caller.key, caller.limits.rate or 1.0)
    if wait is not None:
        raise ServiceError("too many requests", status=429, code="access.rate", retry_after=wait)
    return Session(caller, found.csrf)


async def form_of(request: Request, session: Session | None) -> dict[str, str]:
    """The fields of a form that came from one of our own pages. Raises ServiceError (403) for any other."""
    if not same_origin(request):
        raise ServiceError("this form came from somewhere else", status=403, code="access.csrf")
    if is_form(request):
        with service(request).spool.open() as folder:
            fields = (await receive_form(request, folder, (), FIELD)).fields
    else:
        fields = await _urlencoded(request)
    if session is not None and not session.sent_by_them(fields.get("csrf", "")):
        raise ServiceError("this form came from somewhere else, or is too old", status=403, code="access.csrf")
    return fields


async def _urlencoded(request: Request) -> dict[str, str]:
    from urllib.parse import parse_qsl

    from ..receiving import receive_bytes

    if not request.headers.get("content-type", "").lower().startswith("application/x-www-form-urlencoded"):
        raise ServiceError("send a form", status=415, code="service.media_type")
    try:
        text = (await receive_bytes(request, 4 * FIELD)).decode()
        return {name: value.strip() for name, value in parse_qsl(text, keep_blank_values=True, max_num_fields=50)}
    except ValueError:
        raise ServiceError("the form does not parse", code="service.multipart") from None


def same_origin(request: Request) -> bool:
    """By what the browser says of itself: no page of another site can change these headers."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("origin")
    # Without a referrer, Origin is `null`: the token in the form decides then.
    return origin in (None, "null") or urlsplit(str(origin)).netloc == request.headers.get("host")


def page(request: Request, name: str, session: Session | None, status: int = 200, **values: Any) -> Response:
    """A whole page."""
    language = language_of(request)
    said = said_in(language)
    asked = f"?lang={language}" if request.query_params.get("lang") else ""
    text = (
        templates()
        .get_template(name)
        .render(
            t=said,
            lang=language,
            languages=[(code, words(code)("language")) for code in LANGUAGES],
            asked=asked,
            here=request.url.path,
            pages=_pages(session.caller if session else None),
            person=session.caller if session else None,
            csrf=session.csrf if session else "",
            **values,
        )
    )
    headers = {"Content-Language": language, "Vary": "Accept-Language, Cookie"}
    return Response(text, status, headers, media_type="text/html; charset=utf-8")


def _pages(caller: Caller | None) -> list[tuple[str, str]]:
    if caller is None:
        return [("status", "/status")]
    return [(name, path) for name, path, scopes in _PAGES if not scopes or caller.may(*scopes)]


def to_sign_in(request: Request) -> Response:
    """Where the page that was wanted is opened afterwards. Of a form, the page that it stands on: what was written
    there is still in the browser, and whoever wrote it is told so."""
    there, ended = request.url.path, ""
    if request.method != "GET":
        there, ended = _before(there), "&ended=1"
    return RedirectResponse(f"/sign-in?next={quote(there, safe='/')}{ended}", 303)


def _before(path: str) -> str:
    """The page on which the form stands that was sent to this address."""
    for end in ("/cancel", "/appeal", "/verify"):
        path = path.removesuffix(end)
    return "/create" if path == "/sign-out" else path


def moved(place: str) -> Response:
    """After a form: a page that can be loaded again."""
    return RedirectResponse(place, 303)


def is_ours(path: str) -> bool:
    """Whether errors there are told on these pages."""
    return path.startswith(("/create", "/work/", "/assets", "/audit", "/desk", "/status", "/sign-"))


def error_page(request: Request, status: int, body: dict[str, Any], headers: dict[str, str]) -> Response:
    """Never looks who is signed in, since what failed may be just that; who was found before stays it, so that the way
    to their other pages is there."""
    session: Session | None = getattr(request.state, "session", None)
    answer = page(request, "problem.html", session, status, error=body["error"])
    answer.headers.update(headers)
    return answer
