"""A small HTTP server whose every cost to a stranger is bounded: connections, and each request's time and size.

Keep-alive is spoken. What faces the internet stands behind a proxy that ends TLS and bounds connections by address.
"""

from __future__ import annotations

import io
import logging
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ...errors import LogError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """``seconds``: for one request to arrive whole, and for its answer to leave. Sizes in bytes."""

    connections: int = 32
    seconds: float = 10.0
    head: int = 16 << 10
    body: int = 256 << 10  # 63 hashes, and 64 signature lines of ML-DSA-44 at 3.3 kB


class Bounded(io.RawIOBase):
    """A socket to read from that knows how much, and until when: a client of one byte a second gains nothing."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._left = 0
        self._until = 0.0

    def allow(self, size: int, seconds: float | None = None) -> None:
        """``size`` further bytes; ``seconds`` from now, or the time that was allowed before."""
        self._left = size
        if seconds is not None:
            self._until = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        seconds = self._until - time.monotonic()
        if seconds <= 0 or self._left <= 0:
            raise TimeoutError("too slow, or too much")
        self._connection.settimeout(seconds)
        count = self._connection.recv_into(memoryview(buffer)[: self._left])
        self._left -= count
        return count


class BoundedHandler(BaseHTTPRequestHandler):
    """Reads within the limits, answers in plain text, and shows nothing of the request or of itself."""

    protocol_version = "HTTP/1.1"
    limits: Limits
    allowed = ""  # the methods that a 405 names
    product = "filigrana"

    def setup(self) -> None:
        super().setup()
        self.bounded = Bounded(self.connection)
        self.rfile = io.BufferedReader(self.bounded, 4096)

    def handle_one_request(self) -> None:
        self.bounded.allow(self.limits.head, self.limits.seconds)
        super().handle_one_request()  # closes the connection on TimeoutError

    def refuse(self, status: int, message: str) -> None:
        """And closes: what follows may be a body that was not read."""
        self.close_connection = True
        self.send(status, f"{message}\n".encode(), "text/plain; charset=utf-8")

    def send(self, status: int, body: bytes, content_type: str, **headers: str) -> None:
        """``headers``: further ones, with underscores for hyphens."""
        self.connection.settimeout(self.limits.seconds)
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if status == 405:
            self.send_header("Allow", self.allowed)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """http.server calls this for what it cannot parse. In plain text, and nothing of the request in it."""
        self.close_connection = True
        if getattr(self, "request_version", "HTTP/0.9") != "HTTP/0.9":
            self.refuse(int(code), "the request is not understood")

    def version_string(self) -> str:
        return self.product

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the signature is http.server's
        """Nothing: standard error belongs to the program."""


class BoundedServer(ThreadingHTTPServer):
    """Listens from the start; :meth:`serve_forever` answers. Raises LogError (``code``) when it cannot listen.

    ``parts``: what the handler has as attributes beside its limits.
    """

    daemon_threads = True
    request_queue_size = 32

    def __init__(
        self,
        handler: type[BoundedHandler],
        parts: dict[str, object],
        host: str,
        port: int,
        limits: Limits | None,
        code: str,
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        limits = limits or Limits()
        self._slots = threading.BoundedSemaphore(limits.connections)
        try:
            super().__init__((host, port), type("Handler", (handler,), {**parts, "limits": limits}))
        except (OSError, OverflowError) as error:
            raise LogError(
                f"cannot listen on {host}: {error}", code=code, hint="Choose another --host or --port."
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
            _log.error("a request failed: %s", type(error).__name__)


@contextmanager
def running(server: BoundedServer) -> Iterator[str]:
    """Answers while the block lasts, from a thread of this process, and yields the prefix of its URLs."""
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="filigrana-http", daemon=True)
    thread.start()
    try:
        yield server.url
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
