"""How the service says no: one JSON shape for every error, with a stable code, and nothing of the inside in it."""

from __future__ import annotations

import json
from typing import Any

from ...errors import FetchError, FiligranaError, InputError, ServiceError

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
    422: "invalid_request",
    429: "rate_limited",
    503: "busy",
}


def problem(
    message: str, status: int, code: str, param: str | None = None, retry_after: int | None = None
) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Status, body and headers of an error."""
    body = {"error": {"message": message, "type": _KINDS.get(status, "server_error"), "param": param, "code": code}}
    headers = {"Cache-Control": "no-store"}
    if retry_after is not None:
        headers["Retry-After"] = str(max(1, retry_after))
    return status, body, headers


def problem_of(error: BaseException) -> tuple[int, dict[str, Any], dict[str, str]]:
    """What is said of an exception: of one that was not meant, only that there was one."""
    if isinstance(error, ServiceError):
        return problem(error.message, error.status, error.code, error.param, error.retry_after)
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
