"""How the service says no: one JSON shape for every error, with a stable code, and nothing of the inside in it."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import exc

from ...errors import FetchError, FiligranaError, InputError, JobError, ServiceError
from ..review_case import ReviewError

_KINDS = {
    400: "invalid_request",
    401: "unauthorised",
    403: "forbidden",
    404: "not_found",
    405: "invalid_request",
    408: "timeout",
    409: "conflict",
    411: "invalid_request",
    413: "too_large",
    414: "too_large",
    415: "invalid_request",
    416: "invalid_request",
    422: "invalid_request",
    429: "rate_limited",
    503: "busy",
    504: "timeout",
}
_OF_JOBS = {"jobs.unknown": 404, "jobs.database": 503}
AWAY = (exc.OperationalError, exc.InterfaceError, exc.TimeoutError)
"""What a database that is out of reach, or does not take what is written, makes of a request."""
AGAIN = 5
"""Seconds after which whoever asked may try again."""
CHALLENGE = 'Bearer realm="filigrana"'


class ToldError(ServiceError):
    """An error that says more than most. ``kind``: its type, where the status does not say it. ``more``: beside
    message and code. ``headers``: of the answer."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str,
        param: str | None = None,
        kind: str | None = None,
        more: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message, status=status, code=code, param=param)
        self.kind, self.more, self.headers = kind, more or {}, headers or {}


def problem(
    message: str, status: int, code: str, param: str | None = None, retry_after: int | None = None
) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Status, body and headers of an error."""
    body = {"error": {"message": message, "type": _KINDS.get(status, "server_error"), "param": param, "code": code}}
    headers = {"Cache-Control": "no-store"}
    if status == 401:
        headers["WWW-Authenticate"] = CHALLENGE
    if retry_after is not None:
        headers["Retry-After"] = str(max(1, retry_after))
    return status, body, headers


def problem_of(error: BaseException) -> tuple[int, dict[str, Any], dict[str, str]]:
    """What is said of an exception: of one that was not meant, only that there was one."""
    if isinstance(error, ToldError):
        status, body, headers = problem(error.message, error.status, error.code, error.param)
        body["error"] |= ({"type": error.kind} if error.kind else {}) | error.more
        return status, body, headers | error.headers
    if isinstance(error, JobError):
        # What the database said stays inside.
        status = _OF_JOBS.get(error.code, 409)
        message = "the queue cannot be reached" if status == 503 else error.message
        return problem(message, status, error.code, retry_after=AGAIN if status == 503 else None)
    if isinstance(error, ServiceError):
        return problem(error.message, error.status, error.code, error.param, error.retry_after)
    if isinstance(error, AWAY) or isinstance(error.__cause__, AWAY):
        code = error.code if isinstance(error, FiligranaError) else "service.database"
        return problem("the database cannot be reached", 503, code, retry_after=AGAIN)
    if isinstance(error, ReviewError):
        return problem(error.message, 409, error.code)
    if isinstance(error, FetchError):
        return problem(error.message, 400, error.code, "url")
    if isinstance(error, InputError):
        return problem(error.message, 400, error.code)
    if isinstance(error, FiligranaError):
        # Its message may name folders or servers of this installation.
        return problem("the service cannot answer this now", 500, error.code)
    return problem("this is a fault of the service", 500, "internal")


async def send_problem(send: Any, error: ServiceError) -> None:
    """The answer, straight through ASGI, for what is refused before there is a request object. Closes."""
    status, body, extra = problem_of(error)
    data = json.dumps(body).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(data)), "Connection": "close", **extra}
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": data})
