"""The witness's small HTTP server: POST to ``add-checkpoint``, and nothing else. Bounded as :mod:`.http_server`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from ...errors import FiligranaError
from .http_server import BoundedHandler, BoundedServer, Limits, running
from .witness import Answer, Witness

PATH = "/add-checkpoint"
_log = logging.getLogger(__name__)


class _Handler(BoundedHandler):
    witness: Witness
    allowed = "POST"
    product = "filigrana-witness"

    def do_POST(self) -> None:  # noqa: N802  http.server's name
        if self.path != PATH:
            self.refuse(404, "a witness answers POST /add-checkpoint only")
            return
        lengths = self.headers.get_all("Content-Length", [])
        length = lengths[0] if len(lengths) == 1 and "Transfer-Encoding" not in self.headers else ""
        if not (length.isascii() and length.isdigit()) or len(length) > 9:
            self.refuse(411, "the request needs a Content-Length")
            return
        if int(length) > self.limits.body:
            self.refuse(413, "the request is too large")
            return
        self.bounded.allow(int(length))
        body = self.rfile.read(int(length))
        if len(body) != int(length):
            self.close_connection = True
            return
        try:
            answer = self.witness.answer(body)
        except FiligranaError as error:
            _log.error("the witness failed: %s [%s]", error.message, error.code)
            answer = Answer(500, "the witness cannot answer\n")
        self.send(answer.status, answer.body.encode(), answer.content_type)

    def _other(self) -> None:
        self.refuse(405 if self.path == PATH else 404, "a witness answers POST /add-checkpoint only")

    do_GET = do_HEAD = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _other  # noqa: N815  http.server's names


class WitnessServer(BoundedServer):
    """Raises LogError (``log.witness``) when it cannot listen."""

    def __init__(self, witness: Witness, host: str = "127.0.0.1", port: int = 0, limits: Limits | None = None) -> None:
        super().__init__(_Handler, {"witness": witness}, host, port, limits, "log.witness")


@contextmanager
def serving(witness: Witness, host: str = "127.0.0.1", port: int = 0, limits: Limits | None = None) -> Iterator[str]:
    """Answers while the block lasts, from a thread of this process, and yields the submission prefix."""
    with running(WitnessServer(witness, host, port, limits)) as url:
        yield url
