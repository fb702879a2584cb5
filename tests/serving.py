"""A real service on a loopback port, for tests that speak HTTP to it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from filigrana.pipeline.engine import Engine
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.parts import Parts
from filigrana.pipeline.request import GenerateRequest, Release
from filigrana.pipeline.settings import load_settings
from filigrana.pipeline.web.server import Server
from filigrana.tests.doubles import FakeGenerator, calm, quiet_classifier


@contextmanager
def running(installation: Installation, inspector: Any = None) -> Iterator[str]:
    """Yields the prefix of its URLs."""
    server = Server(installation, "127.0.0.1", 0, inspector)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        assert thread.is_alive(), "the service does not start"
        assert time.monotonic() < deadline, "the service does not start in time"
        time.sleep(0.01)
    try:
        yield server.url
    finally:
        server.stop()
        thread.join(timeout=30)
        assert not thread.is_alive(), "the service does not end"


@contextmanager
def clients(house: Installation, url: str, keys: dict[str, tuple[str, list[str]]]) -> Iterator[dict[str, httpx.Client]]:
    """One client a name, each with a key of its own: tenant and roles by name."""
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(
                httpx.Client(
                    base_url=url,
                    timeout=90,
                    headers={"Authorization": f"Bearer {house.access.add(tenant, name, roles)[1]}"},
                )
            )
            for name, (tenant, roles) in keys.items()
        }


def uploads_left(installation: Installation) -> list[str]:
    """Names of what lies in the spool beside locks. A request's folder may vanish while this looks (``os.walk`` goes
    on, ``Path.rglob`` raises)."""
    found = [name for _, _, files in os.walk(installation.folder / "spool") for name in files]
    return [name for name in found if name not in ("lock", ".gate")]


def installed(folder: Path, **settings: Any) -> Installation:
    """An installation whose rate does not stand in the way of tests."""
    return Installation(load_settings(data_dir=folder, **{"serve_rate": 1e6, **settings}))


def engine(installation: Installation) -> Engine:
    """Real parts, with doubles where models would be."""
    return Engine(
        Parts(
            ledger=installation.ledger,
            pack=installation.pack,
            generator=FakeGenerator(),
            text_guards=(quiet_classifier(),),
            frame_guards=lambda _generated: calm(),
            finisher=installation.finisher,
            staging=installation.staging,
            store=installation.store,
            clock=installation.clock,
            guard_timeout=5.0,
            stage_timeout=30.0,
        )
    )


def released(installation: Installation, seed: int = 4) -> Release:
    outcome = engine(installation).generate(GenerateRequest("a red sailboat", seed=seed, mime="image/png"))
    assert isinstance(outcome, Release)
    return outcome
