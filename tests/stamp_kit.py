"""A real time-stamp authority on one port of loopback, which can be stopped and started, and installations that ask it."""

from __future__ import annotations

import socket
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from filigrana.pipeline.installation import Installation
from filigrana.pipeline.settings import load_settings
from filigrana.provenance.timestamps import _Handler
from filigrana.tests.signing_kit import Kit


class Authority:
    """Down until it is started."""

    def __init__(self, kit: Kit, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.port = taken.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.root = folder / "tsa-root.pem"
        self.root.write_text(kit.tsa_root)
        self._handler = type("Handler", (_Handler,), {"tsa": kit.keys.tsa(), "timeout": 10})
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    @property
    def settings(self) -> dict[str, Any]:
        return {"tsa_url": [self.url], "tsa_trust": [self.root]}

    def installation(self, folder: Path, **settings: Any) -> Installation:
        return Installation(load_settings(data_dir=folder, policy="platform", **(self.settings | settings)))
