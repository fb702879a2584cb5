"""Who may ask: an API key in `Authorization: Bearer …`, with one of the scopes that a route wants."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from ...errors import ServiceError
from ..access import Caller
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
        return found

    return Depends(caller)


def known(here: Service, secret: str | None) -> Caller | None:
    """Who shows this key. Where nothing was ever made, nobody has one: looking makes nothing."""
    if secret is None or opened_log(here.installation) is None:
        return None
    return here.installation.access.find(secret)


Reader = Annotated[Caller, needs("read")]
Creator = Annotated[Caller, needs("generate")]
Either = Annotated[Caller, needs("read", "generate")]
