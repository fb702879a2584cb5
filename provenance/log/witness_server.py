"""The witness's small HTTP server: POST to ``add-checkpoint``, and nothing else.

Everything that a stranger can make it spend is bounded: connections, and for each request its time, its head
and its body. Keep-alive is spoken. Put a TLS proxy in front of it where it faces the internet.
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

from ...errors import FiligranaError
from .witness import Answer, Witness
from .witness_state import wrong

PATH = "/add-checkpoint"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """``seconds``: for one request to arrive whole, and for its answer to leave. Sizes in bytes."""

    connections: int = 32
    seconds: float = 10.0
    head: int = 16 << 10
    body: int = 256 << 10  # 63 hashes, and 64 signature lines of ML-DSA-44 at 3.3 kB


class _Bounded(io.RawIOBase):
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


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    witness: Witness
    limits: Limits

    def setup(self) -> None:
        super().setup()
        self._bounded = _Bounded(self.connection)
        self.rfile = io.BufferedReader(self._bounded, 4096)

    def handle_one_request(self) -> None:
        self._bounded.allow(self.limits.head, self.limits.seconds)
        super().handle_one_request()  # closes the connection on TimeoutError

    def do_POST(self) -> None:  # the name is http.server's
        if self.path != PATH:
            self._refuse(404, "a witness answers POST /add-checkpoint only")
            return
        lengths = self.headers.get_all("Content-Length", [])
        length = lengths[0] if len(lengths) == 1 and "Transfer-Encoding" not in self.headers else ""
        if not (length.isascii() and length.isdigit()) or len(length) > 9:
            self._refuse(411, "the request needs a Content-Length")
            return
        if int(length) > self.limits.body:
            self._refuse(413, "the request is too large")
            return
        self._bounded.allow(int(length))
        body = self.rfile.read(int(length))
        if len(body) != int(length):
            self.close_connection = True
            return
        try:
            answer = self.witness.answer(body)
        except FiligranaError as error:
            _log.error("the witness failed: %s [%s]", error.message, error.code)
            answer = Answer(500, "the witness cannot answer\n")
        self._send(answer)

    def _other(self) -> None:
        self._refuse(405 if self.path == PATH else 404, "a witness answers POST /add-checkpoint only")

    do_GET = do_HEAD = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _other  # noqa: N815  http.server's names

    def _refuse(self, status: int, message: str) -> None:
        """And closes: what follows may be a body that was not read."""
        self.close_connection = True
        self._send(Answer(status, f"{message}\n"))

    def _send(self, answer: Answer) -> None:
        body = answer.body.encode()
        self.connection.settimeout(self.limits.seconds)
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(body)))
        if answer.status == 405:
            self.send_header("Allow", "POST")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """http.server calls this for what it cannot parse. In plain text, and nothing of the request in it."""
        self.close_connection = True
        if getattr(self, "request_version", "HTTP/0.9") != "HTTP/0.9":
            self._send(Answer(int(code), "the request is not understood\n"))

    def version_string(self) -> str:
        return "filigrana-witness"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the signature is http.server's
        """Nothing: standard error belongs to the program."""


class WitnessServer(ThreadingHTTPServer):
    """Listens from the start; :meth:`serve_forever` answers. Raises LogError when it cannot listen."""

    daemon_threads = True
    request_queue_size = 32

    def __init__(self, witness: Witness, host: str = "127.0.0.1", port: int = 0, limits: Limits | None = None) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        limits = limits or Limits()
        self._slots = threading.BoundedSemaphore(limits.connections)
        try:
            super().__init__((host, port), type("Handler", (_Handler,), {"witness": witness, "limits": limits}))
        except (OSError, OverflowError) as error:
            raise wrong(f"the witness cannot listen on {host}: {error}", "Choose another --host or --port.") from error

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
            _log.error("a request to the witness failed: %s", type(error).__name__)


@contextmanager
def serving(witness: Witness, host: str = "127.0.0.1", port: int = 0, limits: Limits | None = None) -> Iterator[str]:
    """Answers while the block lasts, from a thread of this process, and yields the submission prefix."""
    server = WitnessServer(witness, host, port, limits)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="filigrana-witness", daemon=True)
    thread.start()
    try:
        yield server.url
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
