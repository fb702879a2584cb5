"""The log's static files over HTTP: GET and HEAD, nothing else. Bounded as :mod:`.http_server`.

Meant for loopback, behind a proxy or a cache that faces the internet: full answers may be kept for ever.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from ...errors import FiligranaError
from .http_server import BoundedHandler, BoundedServer, Limits, running
from .site import LogSite

_log = logging.getLogger(__name__)
_KEEP = "public, max-age=31536000, immutable"


class _Handler(BoundedHandler):
    site: LogSite
    allowed = "GET, HEAD"
    product = "filigrana-log"

    def do_GET(self) -> None:  # noqa: N802  http.server's name
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.refuse(400, "a request for a file has no body")
            return
        try:
            found = self.site.read(self.path)
        except FiligranaError as error:
            _log.error("the log's files cannot be served: %s [%s]", error.message, error.code)
            self.refuse(500, "the log cannot be read")
            return
        if found is None:
            self._answer(404, b"there is no such file\n", "text/plain; charset=utf-8", "no-cache")
        else:
            self._answer(200, found.data, found.content_type, _KEEP if found.immutable else "no-cache")

    do_HEAD = do_GET  # noqa: N815  http.server's name

    def _answer(self, status: int, data: bytes, content_type: str, cache: str) -> None:
        self.send(status, data, content_type, Cache_Control=cache, X_Content_Type_Options="nosniff")

    def _other(self) -> None:
        self.refuse(405, "GET and HEAD only")

    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = _other  # noqa: N815  as above

    def refuse(self, status: int, message: str) -> None:
        """Never to be cached. A method that http.server does not know is one that is not allowed."""
        self.close_connection = True
        self._answer(405 if status == 501 else status, f"{message}\n".encode(), "text/plain; charset=utf-8", "no-cache")


class SiteServer(BoundedServer):
    """Raises LogError (``log.site``) when it cannot listen."""

    def __init__(self, site: LogSite, host: str = "127.0.0.1", port: int = 0, limits: Limits | None = None) -> None:
        super().__init__(_Handler, {"site": site}, host, port, limits, "log.site")


@contextmanager
def serving(site: LogSite, host: str = "127.0.0.1", port: int = 0, limits: Limits | None = None) -> Iterator[str]:
    """Answers while the block lasts, from a thread of this process, and yields the prefix."""
    with running(SiteServer(site, host, port, limits)) as url:
        yield url
