"""Where a log's static files are read from: anything with names, or an http address."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Protocol

import httpx

from ...errors import InputError, LogError
from .places import shown


class Source(Protocol):
    """Files by path; ``name`` is for people."""

    @property
    def name(self) -> str: ...

    def read(self, path: str, most: int) -> bytes | None:
        """None when there is no such file. Raises LogError (``log.place``) when it cannot be read or is larger."""
        ...


class HttpSource:
    """Files under an http address. Redirections are not followed; each answer is bounded in size and time."""

    def __init__(self, url: str, timeout: float = 30.0, transport: httpx.BaseTransport | None = None) -> None:
        self._prefix = url.rstrip("/")
        self._timeout = timeout
        try:
            self._client = httpx.Client(timeout=timeout, transport=transport, follow_redirects=False)
            httpx.URL(self._prefix)
        except httpx.InvalidURL as error:
            raise InputError("this is no http address", code="input.target") from error

    @property
    def name(self) -> str:
        return shown(self._prefix)

    def read(self, path: str, most: int) -> bytes | None:
        until = time.monotonic() + self._timeout
        body = bytearray()
        try:
            with self._client.stream("GET", f"{self._prefix}/{path}") as response:
                if response.status_code in (404, 410):
                    return None
                if response.status_code != 200:
                    raise self._failed(path, f"answers with the HTTP status {response.status_code}")
                for piece in response.iter_bytes(64 << 10):
                    body += piece
                    if len(body) > most:
                        raise self._failed(path, f"has more than {most} bytes")
                    if time.monotonic() > until:
                        raise self._failed(path, "takes too long")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._failed(path, f"cannot be fetched ({type(error).__name__})") from error
        return bytes(body)

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> HttpSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _failed(self, path: str, message: str) -> LogError:
        return LogError(f"{self.name}: {path} {message}", code="log.place")
