"""Time-stamps from several authorities, in order, each checked before c2pa-rs sees it.

c2pa-rs asks one URL for a time-stamp and says little of what went wrong. So it is given that of a relay on loopback,
inside this process: the relay hands its request to the authorities one after the other, and hands back only a token
that `log.stamp.check` finds right: over what was asked, with the nonce, by somebody on the time-stamp trust list.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
from asn1crypto import tsp
from cryptography import x509

from ..errors import ManifestError, TimestampError
from .log.stamp import check, post

MAX_REQUEST = 64 << 10
COOL_DOWN = 60.0
"""Seconds for which an authority that failed is asked last."""
DOWN = "provenance.timestamp.down"


@dataclass(frozen=True)
class Failure:
    """``down``: it could not be reached or was out of order; else it gave something that is no stamp for us."""

    url: str
    reason: str
    down: bool


class Authorities:
    """RFC 3161 authorities in the order in which they are asked. ``seconds``: for each. ``roots``: whom we believe.
    Safe for threads; remembers who failed."""

    def __init__(
        self,
        urls: Sequence[str],
        roots: Sequence[x509.Certificate],
        *,
        seconds: float = 10.0,
        clock: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._urls, self._roots, self._seconds = tuple(urls), tuple(roots), seconds
        self._clock, self._transport = clock, transport
        self._failed: dict[str, float] = {}

    def order(self) -> list[str]:
        """Those that failed in the last minute come last, in their own order."""
        late = {url for url, until in self._failed.items() if until > time.monotonic()}
        return sorted(self._urls, key=lambda url: url in late)

    def stamp(self, request: bytes) -> bytes:
        """The DER reply to a DER TimeStampReq, from the first authority that gives a right one.

        Raises TimestampError: ``provenance.timestamp.down`` where all are out of reach or order, and
        ``provenance.timestamp`` where any gave something wrong."""
        digest, nonce = _asked(request)
        failures: list[Failure] = []
        for url in self.order():
            try:
                reply = post(url, request, self._seconds, self._transport)
            except TimestampError as error:
                failures.append(Failure(url, error.message, down=True))
            else:
                try:
                    check(reply, digest, self._roots, nonce=nonce, now=self._clock())
                except TimestampError as error:
                    failures.append(Failure(url, error.message, down=False))
                else:
                    self._failed.pop(url, None)
                    return reply
            self._failed[url] = time.monotonic() + COOL_DOWN
        told = "; ".join(f"{_host(f.url)}: {f.reason}" for f in failures)
        raise TimestampError(
            f"no time-stamp authority gave a time-stamp ({told})",
            code=DOWN if all(f.down for f in failures) else "provenance.timestamp",
        )


def _host(url: str) -> str:
    """Without what may be secret in an address: user, password, path and query."""
    parsed = httpx.URL(url)
    return parsed.host + (f":{parsed.port}" if parsed.port else "")


def _asked(request: bytes) -> tuple[bytes, int | None]:
    try:
        query = tsp.TimeStampReq.load(request, strict=True)
        imprint = query["message_imprint"]
        if imprint["hash_algorithm"]["algorithm"].native != "sha256":
            raise ValueError("hash algorithm")
        return imprint["hashed_message"].native, query["nonce"].native
    except (ValueError, TypeError, KeyError) as error:
        raise TimestampError("this is no request for a time-stamp over a SHA-256") from error


@contextmanager
def relay(authorities: Authorities) -> Iterator[str]:
    """The relay's URL on 127.0.0.1 while the block lasts. A TimestampError of the block is told with its reason."""
    last: list[TimestampError] = []

    class Handler(BaseHTTPRequestHandler):
        timeout = 60

        def do_POST(self) -> None:  # the name is http.server's
            length = int(self.headers.get("Content-Length") or 0)
            try:
                if not 0 < length <= MAX_REQUEST:
                    raise TimestampError("the request for a time-stamp is too large")
                body = authorities.stamp(self.rfile.read(length))
            except TimestampError as error:
                last.append(error)
                self.send_error(503)
                return
            self.send_response(200)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the signature is http.server's
            """Nothing: standard error belongs to the program."""

    try:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    except OSError as error:
        raise TimestampError(f"the time-stamp relay cannot listen: {error.strerror}") from error
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="filigrana-stamps", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    except (TimestampError, ManifestError) as error:
        if last:
            raise last[-1] from error
        raise
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
