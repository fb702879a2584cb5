"""The log's static files over HTTP: GET and HEAD, nothing else. Bounded like :mod:`.witness_server`.

Meant for loopback, behind a proxy or a cache that faces the internet: full answers may be kept for ever.
"""

from __future__ import annotations

import io
import logging
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ...errors import FiligranaError, LogError
from .site import LogSite, SiteFile
from .witness_server import Limits, _Bounded

_log = logging.getLogger(__name__)
_KEEP = "public, max-age=31536000, immutable"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: LogSite
    limits: Limits

    def setup(self) -> None:
        super().setup()
        self._bounded = _Bounded(self.connection)
        self.rfile = io.BufferedReader(self._bounded, 4096)

    def handle_one_request(self) -> None:
        self._bounded.allow(self.limits.head, self.limits.seconds)
        super().handle_one_request()  # closes the connection on TimeoutError

    def do_GET(self) -> None:  # the name is http.server's
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self._refuse(400, "a request for a file has no body")
            return
        try:
            found = self.site.read(self.path)
        except FiligranaError as error:
            _log.error("the log's files cannot be served: %s [%s]", error.message, error.code)
            self._refuse(500, "the log cannot be read")
            return
        if found is None:
            self._send(404, SiteFile(b"there is no such file\n", "text/plain; charset=utf-8", immutable=False))
        else:
            self._send(200, found)

    do_HEAD = do_GET  # noqa: N815  http.server's name

    def _other(self) -> None:
        self._refuse(405, "GET and HEAD only")

    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = _other  # noqa: N815  as above

    def _refuse(self, status: int, message: str) -> None:
        """And closes: what follows may be a body that was not read."""
        self.close_connection = True
        self._send(status, SiteFile(f"{message}\n".encode(), "text/plain; charset=utf-8", immutable=False))

    def _send(self, status: int, file: SiteFile) -> None:
        self.connection.settimeout(self.limits.seconds)
        self.send_response(status)
        self.send_header("Content-Type", file.content_type)
        self.send_header("Content-Length", str(len(file.data)))
        self.send_header("Cache-Control", _KEEP if file.immutable else "no-cache")
        self.send_header("X-Content-Type-Options", "nosniff")
        if status == 405:
            self.send_header("Allow", "GET, HEAD")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(file.data)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """http.server calls this for what it cannot parse. In plain text, and nothing of the request in it."""
        if getattr(self, "request_version", "HTTP/0.9") != "HTTP/0.9":
            self._refuse(405 if code == 501 else int(code), "the request is not understood")
        self.close_connection = True

    def version_string(self) -> str:
        return "filigrana-log"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the signature is http.server's
        """Nothing: standard error belongs to the program."""


class SiteServer(ThreadingHTTPServer):
    """Listens from the start; :meth:`serve_forever` answers. Raises LogError (``log.site``) when it cannot listen."""

    daemon_threads = True
    request_queue_size = 32

    def __init__(self, site: LogSite, host: str = "127.0.0.1", port: int = 0, limits: Limits | None = None) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        limits = limits or Limits()
        self._slots = threading.BoundedSemaphore(limits.connections)
        try:
            super().__init__((host, port), type("Handler", (_Handler,), {"site": site, "limits": limits}))
        except (OSError, OverflowError) as error:
            raise LogError(
                f"cannot listen on {host}: {error}", code="log.site", hint="Choose another --host or --port."
            ) from error

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        return f"http://[{host!s}]:{port}" if ":" in str(host) else f"http://{host!s}:{port}"

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._slots.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """A connection that broke is not worth a word; of anything else one line, without a traceback."""
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError | TimeoutError):
            _log.error("a request for the log's files failed: %s", type(error).__name__)


@contextmanager
def serving(site: LogSite, host: str = "127.0.0.1", port: int = 0, limits: Limits | None = None) -> Iterator[str]:
    """Answers while the block lasts, from a thread of this process, and yields the prefix."""
    server = SiteServer(site, host, port, limits)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="filigrana-site", daemon=True)
    thread.start()
    try:
        yield server.url
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
