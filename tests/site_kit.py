"""A web site on this machine whose every answer a test decides: body, type, status, headers, and whether it comes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from filigrana.pipeline.fetching import Allowed, FetchLimits
from filigrana.pipeline.site_walk import Bounds, Walk


class Site:
    """``answers``: by path, (type, body); ``moved``: by path, where it leads; ``status``: by path; ``silent``: paths
    that are never answered. ``seen``: what was asked for; ``accepted``: by path, which forms of it."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[str, bytes]] = {}
        self.moved: dict[str, str] = {}
        self.status: dict[str, int] = {}
        self.silent: set[str] = set()
        self.seen: list[str] = []
        self.accepted: dict[str, str] = {}
        self.over = threading.Event()
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.seen.append(self.path)
                site.accepted[self.path] = self.headers["Accept"]
                if self.path in site.silent:
                    site.over.wait()
                    return
                mime, body = site.answers.get(self.path, ("", b""))
                place = site.moved.get(self.path)
                self.send_response(302 if place is not None else site.status.get(self.path, 200 if mime else 404))
                self.send_header("Content-Length", str(len(body)))
                if mime:
                    self.send_header("Content-Type", mime)
                if place is not None:
                    self.send_header("Location", place)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.place = f"127.0.0.1:{self.server.server_address[1]}"
        self.url = f"http://{self.place}"

    def walk(self, *others: Site, seconds: float = 20.0, pages: int = 50, files: int = 500) -> Walk:
        """A walk that may ask this site and ``others``, and does not pause."""
        allowed = Allowed.parse([self.place, *(other.place for other in others)])
        return Walk(FetchLimits(seconds=seconds, allowed=allowed), Bounds(pages, files, 0.0), sleep=lambda _s: None)

    def page(self, path: str, text: str) -> None:
        self.answers[path] = ("text/html", text.encode())


@contextmanager
def serving() -> Iterator[Site]:
    made = Site()
    try:
        yield made
    finally:
        made.over.set()
        made.server.shutdown()
        made.server.server_close()
