"""Workers as people run them: on the command line, beside the service, and how they hear of work."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from filigrana.pipeline.api import Pipeline
from filigrana.pipeline.cli.app import app
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.jobs.crew import Crew
from filigrana.pipeline.jobs.listening import Listener, waiting
from filigrana.pipeline.jobs.model import Order
from filigrana.pipeline.settings import load_settings
from filigrana.tests.working import engine, process, until

runner = CliRunner()


def order(prompt: str = "a boat", **changes: Any) -> Order:
    given: dict[str, Any] = {
        "tenant": "press", "subject": "ana", "kind": "generate",
        "request": {"seed": 3, "mime": "image/png"}, "texts": {"prompt": prompt},
    }  # fmt: skip
    return Order(**(given | changes))


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Installation]:
    """The installation that the command line finds."""
    opened = Installation(load_settings(data_dir=tmp_path / "data"))
    opened.ledger.unfinished()
    yield opened
    opened.close()


@pytest.fixture
def doubled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Pipelines with doubles where models would be; signals as they were before."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    monkeypatch.setattr(Pipeline, "engine", property(lambda self: engine(self.installation)))
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("doubled")
def test_a_worker_drains_the_queue_and_ends(here: Installation) -> None:
    for number in range(2):
        here.jobs.put(order(f"boat {number}"))
    done = runner.invoke(app, ["worker", "--drain", "--json", "--name", "w1"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"ended": 2}
    assert here.jobs.counts() == {"released": 2}


@pytest.mark.usefixtures("doubled")
def test_a_worker_does_one_job_or_none(here: Installation) -> None:
    assert json.loads(runner.invoke(app, ["worker", "--once", "--json"]).stdout) == {"ended": 0}
    for number in range(2):
        here.jobs.put(order(f"boat {number}"))
    assert json.loads(runner.invoke(app, ["worker", "--once", "--json"]).stdout) == {"ended": 1}
    assert here.jobs.counts() == {"queued": 1, "released": 1}


def test_jobs_on_the_command_line(here: Installation) -> None:
    job, _ = here.jobs.put(order("a secret boat"))
    listed = runner.invoke(app, ["jobs", "list", "--json"])
    assert json.loads(listed.stdout)["counts"] == {"queued": 1}
    assert "secret" not in listed.stdout
    assert str(job.id) in runner.invoke(app, ["jobs", "list"]).stdout
    assert runner.invoke(app, ["jobs", "list", "--state", "nonsense"]).exit_code == 1
    shown = json.loads(runner.invoke(app, ["jobs", "show", str(job.id), "--json"]).stdout)
    assert (shown["state"], shown["tenant"]) == ("queued", "press")
    assert "queued" in runner.invoke(app, ["jobs", "show", str(job.id)]).stdout
    assert json.loads(runner.invoke(app, ["jobs", "cancel", str(job.id), "--json"]).stdout)["state"] == "cancelled"
    assert runner.invoke(app, ["jobs", "retry", str(job.id)]).exit_code == 1
    other, _ = here.jobs.put(order())
    lease = here.jobs.lease("w")
    assert lease is not None
    here.jobs.finish(lease, "failed", {"code": "x"})
    assert "queued" in runner.invoke(app, ["jobs", "retry", str(other.id)]).stdout
    assert runner.invoke(app, ["jobs", "show", "nonsense"]).exit_code == 1


def test_looking_for_jobs_makes_no_installation(tmp_path: Path) -> None:
    assert runner.invoke(app, ["jobs", "list"]).exit_code == 1
    assert not (tmp_path / "data").exists()


# ── hearing of work ──────────────────────────────────────────────────────────────────────────────────────────────
def test_on_postgresql_a_worker_hears_of_a_job_at_once(tmp_path: Path, postgres_url: str) -> None:
    house = Installation(load_settings(data_dir=tmp_path / "data", database=postgres_url))
    stop = threading.Event()
    try:
        listener = waiting(house.jobs.engine, stop)
        assert isinstance(listener, Listener)
        listener(0.1)
        heard: list[float] = []

        def wait() -> None:
            started = time.monotonic()
            listener(20)
            heard.append(time.monotonic() - started)

        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.5)
        house.jobs.put(order())
        thread.join(10)
        assert heard
        assert heard[0] < 5
        # what was put between two waits is not missed either
        house.jobs.put(order("another"))
        started = time.monotonic()
        listener(20)
        assert time.monotonic() - started < 5
        # and without any, the time limit holds
        started = time.monotonic()
        listener(0.5)
        assert 0.4 < time.monotonic() - started < 5
        # a connection that breaks is made again
        with house.jobs.engine.connect() as connection:
            connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'"
                )
            )
        listener(0.6)
        listener(0.1)
        house.jobs.put(order("a third"))
        started = time.monotonic()
        listener(20)
        assert time.monotonic() - started < 5
        stop.set()
        started = time.monotonic()
        listener(20)
        assert time.monotonic() - started < 2
        listener.close()
    finally:
        house.close()


def test_on_sqlite_a_worker_looks_twice_a_second(here: Installation) -> None:
    stop = threading.Event()
    wait = waiting(here.jobs.engine, stop)
    started = time.monotonic()
    wait(60)
    assert time.monotonic() - started < 3
    stop.set()
    wait(60)
    assert time.monotonic() - started < 3


# ── beside the service ───────────────────────────────────────────────────────────────────────────────────────────
SLEEPS = (sys.executable, "-c", "import sys; sys.stdin.buffer.read()")
DIES = (sys.executable, "-c", "")
DEAF = (sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)")


def test_workers_end_with_the_block() -> None:
    with Crew(2, {}, SLEEPS) as crew:
        pids = crew.processes
        assert len(pids) == 2
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_one_that_dies_is_started_again_after_a_pause_that_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    crew = Crew(1, {}, DIES, clock=lambda: now[0])
    starts: list[float] = []
    real = crew._started

    def started() -> Any:
        starts.append(now[0])
        return real()

    monkeypatch.setattr(crew, "_started", started)
    while now[0] < 200:
        crew.look()
        for place in crew._places:
            if place.process is not None:
                place.process.wait(30)
        now[0] += 0.5
    gaps = [b - a for a, b in pairwise(starts)]
    assert gaps == sorted(gaps)
    assert 2 <= gaps[0] < 4
    assert 55 < gaps[-1] <= 61


def test_one_that_does_not_listen_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    import filigrana.pipeline.jobs.crew as module

    monkeypatch.setattr(module, "FIRMLY", 0.5)
    with Crew(1, {}, DEAF, grace=0.5) as crew:
        pid = crew.processes[0]
        time.sleep(0.5)
    assert not psutil.pid_exists(pid)


@pytest.mark.slow
def test_serve_starts_workers_again_and_ends_them_with_it(here: Installation) -> None:
    program = "from filigrana.pipeline.cli import main; main()"
    with process(program, "--data-dir", str(here.folder), "serve", "--port", "0", "--json", "--workers", "1") as server:
        assert server.stdout is not None
        assert json.loads(server.stdout.readline())["url"]

        def workers() -> list[psutil.Process]:
            return [
                one
                for one in psutil.Process(server.pid).children()
                if one.status() != psutil.STATUS_ZOMBIE and "worker" in one.cmdline()
            ]

        first = until(workers)[0]
        assert str(here.folder) not in " ".join(first.cmdline()), "settings are no arguments, which everybody sees"
        os.kill(first.pid, signal.SIGKILL)
        second = until(lambda: [one for one in workers() if one.pid != first.pid])[0]
        server.terminate()
        assert server.wait(90) == 0
        assert not second.is_running()


@pytest.mark.slow
def test_workers_of_a_server_that_was_killed_end_by_themselves(here: Installation) -> None:
    program = "from filigrana.pipeline.cli import main; main()"
    with process(program, "--data-dir", str(here.folder), "serve", "--port", "0", "--json", "--workers", "1") as server:
        assert server.stdout is not None
        server.stdout.readline()
        found = until(lambda: psutil.Process(server.pid).children())
        server.kill()
        until(lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in found), 90)


def test_a_worker_beside_a_service_ends_of_itself_while_that_lives(here: Installation) -> None:
    """It listens for the end of the service, and stops listening without dying of it."""
    program = "from filigrana.pipeline.cli import main; main()"
    with process(program, "--data-dir", str(here.folder), "worker", "--tied", "--once") as worker:
        assert worker.wait(120) == 0
        assert worker.stderr is not None
        assert "Fatal" not in worker.stderr.read()
