"""What surrounds every route: headers that keep a browser safe, a rate, and bounds on what arrives and how long.

Plain ASGI: it sees each part of a body as it arrives, whatever Content-Length says.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ...errors import ServiceError
from ..tracing import span
from .desk import ASKING
from .problems import send_problem
from .rating import Clients, Rate

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

IDLE_SECONDS = 15.0
"""So long may a client send nothing in the middle of a body."""
_log = logging.getLogger("filigrana.web")
_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
        "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types filigrana"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": (
        "accelerometer=(), autoplay=(), camera=(), display-capture=(), encrypted-media=(), fullscreen=(), "
        "geolocation=(), gyroscope=(), magnetometer=(), microphone=(), midi=(), payment=(), usb=(), "
        "browsing-topics=(), interest-cohort=()"
    ),
}
_PAIRS = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]


class Guard:
    """``max_bytes``: of a body. ``seconds``: in which it must have arrived. ``cheap``: reading's share of
    the rate."""

    def __init__(
        self,
        app: App,
        *,
        rate: Rate,
        clients: Clients,
        max_bytes: int,
        seconds: float,
        cheap: float = 0.1,
        saw: Callable[[str, str, int, float], None] = lambda *_: None,
    ) -> None:
        self._saw = saw
        self._app, self._rate, self._clients = app, rate, clients
        self._max_bytes, self._seconds, self._cheap = max_bytes, seconds, cheap

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, seen, method = time.perf_counter(), [0], scope["method"]
        if method == "HEAD" and not scope["path"].endswith("/events"):
            # What GET would answer. The server leaves the body out, by its own scope; a stream of events has no end.
            scope = {**scope, "method": "GET"}

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen[0] = int(message["status"])
                given = [(k, v) for k, v in message.get("headers", []) if k.lower() != b"server"]
                names = {key.lower() for key, _ in given}
                message["headers"] = given + [pair for pair in _PAIRS if pair[0] not in names]
            await send(message)

        try:
            refused = self._refused(scope)
            if refused is not None:
                await send_problem(guarded, refused)
            else:
                with span(f"HTTP {method}", _trace(scope)) as opened:
                    await self._app(scope, _Bounded(receive, self._max_bytes, self._seconds), guarded)
                    if opened is not None:
                        opened.set_attribute("http.route", _route(scope))
                        opened.set_attribute("http.response.status_code", seen[0])
        except Exception:
            seen[0] = seen[0] or 500  # answered further out, where nothing is counted
            raise
        finally:
            took = time.perf_counter() - started
            self._saw(method, _route(scope), seen[0], took)
            _log.info("%s %s %d %.0f ms", method, _route(scope), seen[0], 1000 * took)

    def _refused(self, scope: Scope) -> ServiceError | None:
        headers = scope["headers"]
        peer = (scope.get("client") or ("?",))[0]
        forwarded = [v.decode("latin-1") for k, v in headers if k == b"x-forwarded-for"]
        cost = self._cheap if scope["method"] in ("GET", "HEAD", "OPTIONS") else 1.0
        who = self._clients.who(peer, forwarded)
        ASKING.set(who)
        wait = self._rate.take(who, cost)
        if wait is not None:
            return ServiceError("too many requests", status=429, code="service.rate", retry_after=wait)
        if "\0" in scope["path"] or b"%00" in scope.get("query_string", b""):
            return ServiceError("a zero byte is no text", code="service.parameter")  # nor for PostgreSQL
        if {b"transfer-encoding", b"content-length"} <= {name for name, _ in headers}:
            # A proxy may believe the other one, and take for the next request what is this one's body.
            return ServiceError("a body has a length or is chunked, not both", code="service.refused")
        declared = next((v for k, v in headers if k == b"content-length"), b"")
        if declared and (not declared.isdigit() or int(declared) > self._max_bytes):
            return too_large(self._max_bytes)
        return None


def _route(scope: Scope) -> str:
    """The route's pattern, never the path: ids and names are the client's."""
    return str(getattr(scope.get("route"), "path", "-"))


def _trace(scope: Scope) -> str | None:
    """The caller's trace, if it is told in the form of W3C's trace context."""
    told = next((v.decode("latin-1") for k, v in scope["headers"] if k == b"traceparent"), "")
    return told if _TRACEPARENT.fullmatch(told) else None


def too_large(most: int) -> ServiceError:
    size = f"{most >> 20} MiB" if most >= 1 << 20 else f"{most >> 10} KiB"
    return ServiceError(f"more than {size} is not taken", status=413, code="service.too_large")


class _Bounded:
    """What the routes receive from. Raises ServiceError when the body is too large or too slow."""

    def __init__(self, receive: Receive, most: int, seconds: float) -> None:
        self._receive, self._left, self._most = receive, most, most
        self._until = time.monotonic() + seconds
        self._whole = False

    async def __call__(self) -> Message:
        if self._whole:
            return await self._receive()  # only the news that the client went away can come
        try:
            async with asyncio.timeout(min(IDLE_SECONDS, self._until - time.monotonic())):
                message = await self._receive()
        except TimeoutError:
            raise ServiceError("the body takes too long to arrive", status=408, code="service.slow") from None
        if message["type"] != "http.request":
            self._whole = True
            return message
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise too_large(self._most)
        self._whole = not message.get("more_body", False)
        return message
