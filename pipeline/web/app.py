"""The application: guards around, routes beside each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from ...errors import FiligranaError
from ..installation import Installation
from ..postman import Postman
from . import (
    appeals_routes,
    assets_routes,
    audit_routes,
    health_routes,
    images_routes,
    jobs_routes,
    page_routes,
    policies_routes,
    records_routes,
    recovery_routes,
    reviews_routes,
    seal_routes,
    verify_routes,
    videos_routes,
    webhooks_routes,
)
from .console import assets_pages, audit_pages, desk_pages, sign_in_pages, status_pages, work_pages
from .console.rendering import SignInError, error_page, is_ours, to_sign_in
from .describing import describe
from .desk import Desk
from .guarding import HEADERS, Guard
from .inspecting import HouseInspector, Inspector
from .metrics import HttpMetrics
from .problems import AWAY, problem, problem_of
from .rating import Clients, Rate
from .service import Service, plain
from .spooling import Spool
from .streams import Streams


def create_app(
    installation: Installation,
    inspector: Inspector | None = None,
    stopping: Callable[[], bool] = lambda: False,
    draining: Callable[[], bool] = lambda: False,
) -> FastAPI:
    """The service of ``installation``. ``inspector``: who looks into files; default: the installation's own, in
    confined processes. ``stopping``: whether the server is on its way out; ``draining``: whether it soon will be."""
    settings, metrics = installation.settings, HttpMetrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.service = Service(
            installation,
            inspector or HouseInspector(installation),
            Desk(settings.verify_workers, settings.serve_queue),
            Spool(installation.folder / "spool"),
            Streams(settings.serve_streams),
            stopping,
            draining,
        )
        postman = Postman(installation)
        postman.start()
        try:
            yield
        finally:
            await asyncio.to_thread(postman.close)
            app.state.service.close()

    app = FastAPI(
        title="Filigrana",
        summary="Where is this picture, clip or sound from?",
        version=version("filigrana"),
        # The interactive pages would load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    for routes in (
        page_routes, verify_routes, records_routes, recovery_routes,
        images_routes, videos_routes, seal_routes, jobs_routes, assets_routes,
        policies_routes, reviews_routes, appeals_routes, audit_routes, webhooks_routes, health_routes,
    ):  # fmt: skip
        app.include_router(routes.router)
    for pages in (
        sign_in_pages, work_pages, assets_pages, audit_pages, desk_pages, status_pages,
    ):  # fmt: skip
        app.include_router(pages.router)
    app.include_router(recovery_routes.well_known)
    page_routes.add_static(app)
    app.add_middleware(
        Guard,
        rate=Rate(settings.serve_rate),
        clients=Clients(settings.trusted_proxies),
        max_bytes=settings.serve_max_bytes,
        seconds=settings.serve_seconds,
        saw=metrics.saw,
    )
    app.state.metrics = metrics
    _say_no(app)
    describe(app)
    return app


def _say_no(app: FastAPI) -> None:
    @app.exception_handler(SignInError)
    async def _who(request: Request, error: SignInError) -> Any:
        # A script that follows a job hears it as an error; a person is led to the door.
        return to_sign_in(request) if page_routes.wants_page(request) else _answer(request, *problem_of(error))

    async def _ours(request: Request, error: Exception) -> Any:
        return _answer(request, *problem_of(error))

    for known in (FiligranaError, *AWAY):
        app.add_exception_handler(known, _ours)

    @app.exception_handler(HTTPException)
    async def _routing(request: Request, error: HTTPException) -> Any:
        found = {404: ("there is nothing here", "service.not_found"), 405: ("not with this method", "service.method")}
        message, code = found.get(error.status_code, ("the request cannot be answered", "service.refused"))
        status, body, headers = problem(message, error.status_code, code)
        return _answer(request, status, body, {**headers, **(error.headers or {})})

    @app.exception_handler(RequestValidationError)
    async def _shape(request: Request, error: RequestValidationError) -> Any:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:])
        message = f"`{plain(place, 64)}`: {first['msg']}" if place else str(first["msg"])
        return _answer(request, *problem(message[:200], 400, "service.parameter", place or None))

    @app.exception_handler(Exception)
    async def _fault(request: Request, error: Exception) -> Any:
        # The server ends the connection of what it did not expect: said here, the client sends nothing more on it. It
        # goes past the guard, which would add the headers.
        status, body, headers = problem_of(error)
        return _answer(request, status, body, {**HEADERS, **headers, "Connection": "close"})


def _answer(request: Request, status: int, body: dict[str, Any], headers: dict[str, str]) -> Any:
    if status in (408, 413):
        headers = {**headers, "Connection": "close"}
    if page_routes.wants_page(request) and is_ours(request.url.path):
        return error_page(request, status, body, headers)
    if page_routes.wants_page(request):
        return page_routes.error_page(request, status, body, headers)
    return JSONResponse(body, status, headers)
