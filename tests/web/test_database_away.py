"""A database that nobody reaches for a while: clients are told to come again, and nobody has to start anything anew."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import OperationalError

from filigrana.errors import JobError, code_of
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.web import events
from filigrana.tests.serving import installed, running
from filigrana.tests.working import until, working

IMAGES = "/v1/images/generations"
ROUTES = [
    f"/v1/jobs/{uuid4()}", f"/v1/jobs/{uuid4()}/events", "/v1/videos", "/v1/assets", "/v1/policies", "/v1/reviews", "/v1/webhooks",
    "/v1/audit/head", "/v1/audit/entries", "/metrics", "/v1/records/0123456789AB",
    "/c2pa/v1/matches/byBinding?alg=filigrana&value=AAAA",
]  # fmt: skip


@contextmanager
def away(url: str, server: str) -> Iterator[None]:
    """The database of ``url`` takes no connection, and those that there were are cut."""
    name = make_url(url).database
    admin = create_engine(make_url(server).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    try:
        with admin.connect() as opened:
            opened.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
            cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"
            opened.execute(text(cut), {"name": name})
        yield
    finally:
        with admin.connect() as opened:
            opened.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"))
        admin.dispose()


@pytest.fixture
def house(tmp_path: Path, postgres_url: str) -> Iterator[Installation]:
    opened = installed(tmp_path / "data", database=postgres_url, serve_wait=60)
    yield opened
    opened.close()


def test_every_route_says_so_and_works_again(
    house: Installation, postgres_url: str, postgres_server: str, capfd: pytest.CaptureFixture[str]
) -> None:
    headers = {"Authorization": f"Bearer {house.access.add('press', 'ana', ['admin'])[1]}"}
    with running(house) as url, httpx.Client(base_url=url, headers=headers, timeout=60) as client:
        before = {path: client.get(path).status_code for path in ROUTES}
        capfd.readouterr()
        with away(postgres_url, postgres_server):
            answers = [client.get(path) for path in ROUTES]
            answers.append(client.post(IMAGES, json={"prompt": "a boat"}))
            answers.append(client.post("/v1/verify", files={"file": ("a.png", b"nothing")}))
            assert client.get("/readyz").json() == {"status": "unready", "failed": ["database"]}
            assert client.get("/healthz").status_code == 200
        for answer in answers:
            assert answer.status_code == 503, (answer.request.url, answer.text)
            assert int(answer.headers["retry-after"]) > 0
            assert answer.json()["error"]["type"] == "busy"
        assert {path: client.get(path).status_code for path in ROUTES} == before
    assert "Traceback" not in capfd.readouterr().err, "it is expected, and each request would add one"


def test_pictures_that_are_waited_for_come_although_it_went_away_meanwhile(
    house: Installation, postgres_url: str, postgres_server: str
) -> None:
    headers = {"Authorization": f"Bearer {house.access.add('press', 'ana', ['creator'])[1]}"}
    found: list[httpx.Response] = []

    def ask(url: str) -> None:
        found.append(httpx.post(f"{url}{IMAGES}", json={"prompt": "a boat"}, headers=headers, timeout=90))

    with running(house) as url:
        thread = threading.Thread(target=ask, args=(url,))
        thread.start()
        until(lambda: house.jobs.counts().get("queued"))
        with away(postgres_url, postgres_server):
            thread.join(3)
            assert thread.is_alive(), found and found[0].text
        with working(house):
            thread.join(60)
        assert found[0].status_code == 200, found[0].text


def test_a_stream_lives_on_and_tells_the_end(
    house: Installation,
    postgres_url: str,
    postgres_server: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(events, "HEARTBEAT", 0.3)
    headers = {"Authorization": f"Bearer {house.access.add('press', 'ana', ['creator'])[1]}"}
    heard: list[str] = []

    def follow(url: str, job: str) -> None:
        with httpx.stream("GET", f"{url}/v1/jobs/{job}/events", headers=headers, timeout=60) as answer:
            for line in answer.iter_lines():
                heard.append(line)

    with running(house) as url:
        job = httpx.post(f"{url}/v1/videos", json={"prompt": "a boat"}, headers=headers).json()["id"]
        thread = threading.Thread(target=follow, args=(url, job))
        thread.start()
        until(lambda: any(line.startswith("data:") for line in heard))
        with away(postgres_url, postgres_server):
            before = len(heard)
            until(lambda: heard[before:].count(": still here") >= 3, 30)
        httpx.delete(f"{url}/v1/jobs/{job}", headers=headers)
        thread.join(30)
        assert not thread.is_alive()
    assert '"state": "cancelled"' in [line for line in heard if line.startswith("data:")][-1]
    assert "Traceback" not in capfd.readouterr().err


def test_a_log_calls_it_by_a_name_that_people_know() -> None:
    """SQLAlchemy's own errors have a `code` as ours do: `e3q8`, by which its manual is searched."""
    with pytest.raises(OperationalError) as caught, create_engine("postgresql+psycopg://x@127.0.0.1:1/x").connect():
        pass
    assert code_of(caught.value) == "OperationalError"
    assert code_of(JobError("x", code="jobs.lost")) == "jobs.lost"


@pytest.mark.parametrize("key", [{}, {"Idempotency-Key": "k1"}])
def test_no_client_has_a_picture_made_twice_by_coming_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: dict[str, str]
) -> None:
    """It was made, and only its file is away for a moment."""
    house = installed(tmp_path / "data", serve_wait=60)
    try:
        headers = {"Authorization": f"Bearer {house.access.add('press', 'ana', ['creator'])[1]}", **key}
        with running(house) as url, working(house):
            made: Any = house.store.fetched

            def gone(name: str) -> Path:
                raise FileNotFoundError(name)

            monkeypatch.setattr(house.store, "fetched", gone)
            answer = httpx.post(f"{url}{IMAGES}", json={"prompt": "a boat"}, headers=headers, timeout=90)
            monkeypatch.setattr(house.store, "fetched", made)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "service.content")
        assert (answer.headers.get("x-should-retry") == "false") == (not key)
        if not key:
            assert len(answer.json()["error"]["jobs"]) == 1
    finally:
        house.close()
