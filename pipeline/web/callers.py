"""Who may ask: an API key in `Authorization: Bearer …`, with one of the scopes that a route wants."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from ...errors import ServiceError
from ..access import Caller, Limits
from ..jobs.model import HIGHEST
from ..settings import Settings
from .records_routes import opened_log
from .service import Service, service

KEY = HTTPBearer(
    auto_error=False,
    scheme_name="ApiKey",
    bearerFormat="fg_<id>_<secret>",
    description="a key of `filigrana access add`; which scopes it needs stands at each route",
)
Shown = Annotated[HTTPAuthorizationCredentials | None, Depends(KEY)]


def needs(*scopes: str) -> Any:
    """The dependency of a route that wants a key with one of these scopes. Raises ServiceError, 401 or 403."""

    def caller(request: Request, shown: Shown) -> Caller:
        found = known(service(request), None if shown is None else shown.credentials)
        if found is None:
            raise ServiceError("this needs a valid API key", status=401, code="access.key")
        if not found.may(*scopes):
            raise ServiceError(f"this key has not the scope {' or '.join(scopes)}", status=403, code="access.scope")
        found = limited(found, service(request).installation.settings)
        wait = service(request).key_rates.take(found.key, found.limits.rate or 1.0)
        if wait is not None:
            raise ServiceError("too many requests with this key", status=429, code="access.rate", retry_after=wait)
        return found

    return Depends(caller)


def limited(caller: Caller, settings: Settings) -> Caller:
    """With the settings' limits where its key has none of its own. Admins may ask for every priority."""
    own = caller.limits
    priority = HIGHEST if caller.may("admin") else settings.key_priority
    return replace(
        caller,
        limits=Limits(
            settings.key_rate if own.rate is None else own.rate,
            settings.key_in_flight if own.in_flight is None else own.in_flight,
            priority if own.priority is None else own.priority,
        ),
    )


def known(here: Service, secret: str | None) -> Caller | None:
    """Who shows this key. Where nothing was ever made, nobody has one: looking makes nothing."""
    if secret is None or opened_log(here.installation) is None:
        return None
    return here.installation.access.find(secret)


Reader = Annotated[Caller, needs("read")]
Creator = Annotated[Caller, needs("generate")]
Either = Annotated[Caller, needs("read", "generate")]
Anyone = Annotated[Caller, needs("read", "generate", "review", "audit")]
Reviewer = Annotated[Caller, needs("review")]
Auditor = Annotated[Caller, needs("audit")]
Monitor = Annotated[Caller, needs("metrics")]
