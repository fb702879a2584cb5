"""Fixtures for all tests: a fresh installation, an engine made of real parts with doubles where models would be."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from filigrana.pipeline.cli.state import State, state
from filigrana.pipeline.engine import Engine
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.parts import Parts
from filigrana.pipeline.settings import load_settings
from filigrana.tests.databases import database_url, postgres_server, postgres_url, sqlite_url
from filigrana.tests.doubles import FakeGenerator, calm, quiet_classifier

__all__ = ["database_url", "postgres_server", "postgres_url", "sqlite_url"]

hypothesis_settings.register_profile(
    "filigrana", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("filigrana")


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees the settings or the data of whoever runs it."""
    for name in list(os.environ):
        if name.startswith("FILIGRANA_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("FILIGRANA_DATA_DIR", str(tmp_path / "data"))
    # What one test's command line said must not stand for the next one's.
    for name, value in vars(State()).items():
        monkeypatch.setattr(state, name, value)


@pytest.fixture(scope="session")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with keys and an empty log, to be copied where a test needs many."""
    folder = tmp_path_factory.mktemp("furnished") / "data"
    opened = Installation(load_settings(data_dir=folder))
    opened.ledger.unfinished()
    opened.close()
    return folder


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    """A fresh installation in a temporary folder."""
    opened = Installation(load_settings(data_dir=tmp_path / "data"))
    yield opened
    opened.close()


MakeEngine = Callable[..., Engine]


@pytest.fixture
def make_engine(installation: Installation) -> MakeEngine:
    """``make_engine(**parts)``: real keys, log, catalog, store, codec and signer; doubles for models."""

    def make(**changes: Any) -> Engine:
        parts = Parts(
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
        return Engine(replace(parts, **changes))

    return make


@pytest.fixture
def entry_types(installation: Installation) -> Callable[[], list[str]]:
    """The types of all log entries so far."""
    return lambda: [entry["type"] for _, entry in installation.log.entries()]


@pytest.fixture
def sealed_photo(tmp_path: Path, make_engine: MakeEngine) -> Path:
    """A folder with the files that the README's examples use: `boat.png`, released, and `photo.jpg`, foreign."""
    import shutil
    from importlib import resources

    from filigrana.pipeline.request import GenerateRequest, Release

    folder = tmp_path / "readme"
    folder.mkdir()
    outcome = make_engine().generate(GenerateRequest("a red sailboat on a blue sea", seed=7))
    assert isinstance(outcome, Release)
    shutil.copy(outcome.file, folder / "boat.png")
    photo = resources.files("filigrana.pipeline.cli") / "photo.jpg"
    (folder / "photo.jpg").write_bytes(photo.read_bytes())
    return folder / "boat.png"


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """In CI a skipped test is a failed one: what is not tested there is tested nowhere."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter is not None and reporter.stats.get("skipped") and exitstatus == 0:
        reporter.write_line("skipped tests count as failures in CI", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
