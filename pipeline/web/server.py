"""uvicorn, with what it does not bound itself: how long a request's head may take, and one address's connections."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections import Counter
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ...errors import SettingsError
from ..installation import Installation
from .app import create_app
from .inspecting import Inspector

HEAD_SECONDS = 10.0
HEAD_BYTES = 16 << 10
_log = logging.getLogger("filigrana.web")


class PatientProtocol(H11Protocol):
    """Ends connections that do not send a whole request head in time, and those that are too many of one address.

    ``per_address`` and ``open_by`` belong to the server: a class of its own is made for each."""

    per_address = 32
    head_seconds = HEAD_SECONDS
    open_by: Counter[str]
    _peer: str | None = None
    _head: asyncio.TimerHandle | None = None

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.access_log = False  # uvicorn's own lines hold addresses and whole paths

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        peer = str((self.client or ("?",))[0])
        if self.open_by[peer] >= self.per_address:
            transport.abort()
            return
        self._peer = peer
        self.open_by[peer] += 1
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._peer is not None:
            self.open_by[self._peer] -= 1
            if self.open_by[self._peer] <= 0:
                del self.open_by[self._peer]
            self._peer = None
        self._stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        # h11 bounds a head that is not whole yet: one that arrives at once is shown to it in parts.
        while len(data) > HEAD_BYTES and not self._reading_body() and not self.transport.is_closing():
            super().data_received(data[:HEAD_BYTES])
            data = data[HEAD_BYTES:]
        if not self.transport.is_closing():
            super().data_received(data)
        if self._reading_body():
            self._stop()
        elif self._head is None:
            self._wait()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._reading_body():
            self._wait()

    def _reading_body(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        self._stop()
        self._head = self.loop.call_later(self.head_seconds, self._too_slow)

    def _stop(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _too_slow(self) -> None:
        self._head = None
        if not self._reading_body() and not self.transport.is_closing():
            self.transport.abort()


class _Uvicorn(uvicorn.Server):
    """Told to stop, it first says so at `/readyz` for ``drain`` seconds, so that a balancer sends nothing more here.
    Told again, it stops."""

    drain = 0.0
    draining = False

    def handle_exit(self, sig: int, frame: Any) -> None:
        if self.draining or self.should_exit or self.drain <= 0:
            super().handle_exit(sig, frame)
            return
        self.draining = True
        timer = threading.Timer(self.drain, super().handle_exit, (sig, None))
        timer.daemon = True
        timer.start()


class Server:
    """Listens from the start; :meth:`run` answers until a signal. Raises SettingsError when it cannot listen."""

    def __init__(self, installation: Installation, host: str, port: int, inspector: Inspector | None = None) -> None:
        settings = installation.settings
        behind = bool(settings.trusted_proxies)
        most = settings.serve_connections if behind else max(4, settings.serve_connections // 4)
        protocol = type("Protocol", (PatientProtocol,), {"open_by": Counter[str](), "per_address": most})
        self._server = _Uvicorn(
            uvicorn.Config(
                create_app(
                    installation, inspector, lambda: self._server.should_exit, lambda: self._server.draining
                ),
                http=protocol,
                ws="none",
                loop="asyncio",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=True,
                proxy_headers=False,
                limit_concurrency=settings.serve_connections,
                timeout_keep_alive=10,
                timeout_graceful_shutdown=20,
                h11_max_incomplete_event_size=HEAD_BYTES,
            )
        )
        self._server.drain = settings.serve_drain
        self._server.config.load()
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            # With its protocol named: else asyncio does not see that it is TCP, leaves Nagle's algorithm on, and the
            # body of every answer waits 40 ms for the client's acknowledgement of its head.
            self._socket = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((host, port))
            self._socket.listen(128)
        except (OSError, OverflowError) as error:
            raise SettingsError(
                f"cannot listen on {host}:{port}: {getattr(error, 'strerror', None) or error}",
                code="settings.listen",
                hint="Choose another --host or --port.",
            ) from error

    @property
    def url(self) -> str:
        host, port = self._socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def run(self) -> None:
        self._server.run([self._socket])

    def stop(self) -> None:
        self._server.should_exit = True

    @property
    def started(self) -> bool:
        return self._server.started
