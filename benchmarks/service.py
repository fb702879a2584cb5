"""What the API adds to the chain's own work, and how many files a second `POST /v1/verify` looks into. Prints JSON.

python benchmarks/service.py [--calls N] [--files N] [--clients N] [--database URL] [--profile]

The server is a process of its own; it times itself around the whole application (routing, keys, rates, parsing,
answering), and around what the chain does in it (`JobQueue.put`, which ends with a durable commit). The difference is
the API's own overhead: on the wall, and of the server's processor. What a client sees is told beside it. `--profile`
says where the server's processor goes.

The file that is verified is a sealed JPEG. The share is of the worker pool's own limit: the same file given to the same
confined readers by as many threads as there are readers, with no HTTP in between. The two are measured in turns, so
that other work on the machine counts for both.
"""

from __future__ import annotations

import argparse
import cProfile
import io
import json
import os
import platform
import pstats
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from filigrana.pipeline.installation import Installation
from filigrana.pipeline.jobs.queue import JobQueue
from filigrana.pipeline.request import Release, SealRequest
from filigrana.pipeline.settings import load_settings
from filigrana.pipeline.web.server import Server
from filigrana.tests.doubles import scene
from filigrana.tests.serving import engine

ROUNDS = 5
TOOK = b"x-took"
_CHAIN: ContextVar[list[float] | None] = ContextVar("chain", default=None)


# ── the server ───────────────────────────────────────────────────────────────────────────────────────────────────
class Timed:
    """Around the application: says in a header what it took, seconds: wall, processor, and of both the chain's."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        chain = [0.0, 0.0]
        _CHAIN.set(chain)
        wall, used = time.perf_counter(), time.process_time()

        async def told(message: Any) -> None:
            if message["type"] == "http.response.start":
                found = (time.perf_counter() - wall, time.process_time() - used, *chain)
                message["headers"] = [*message["headers"], (TOOK, " ".join(map(str, found)).encode())]
            await send(message)

        await self._app(scope, receive, told)


def timed_put(put: Callable[..., Any]) -> Callable[..., Any]:
    def timed(self: JobQueue, *given: Any) -> Any:
        wall, used = time.perf_counter(), time.thread_time()
        try:
            return put(self, *given)
        finally:
            chain = _CHAIN.get()
            if chain is not None:
                chain[0] += time.perf_counter() - wall
                chain[1] += time.thread_time() - used

    return timed


def settings(folder: Path, database: str | None) -> Any:
    return load_settings(
        data_dir=folder, database=database, serve_rate=1e6, key_rate=1e6, key_in_flight=1_000_000, serve_queue=1000,
        serve_connections=1000, jobs_limit=1_000_000, jobs_tenant_limit=1_000_000,
    )  # fmt: skip


def serve(folder: Path, database: str | None, profile: bool) -> None:
    JobQueue.put_all = timed_put(JobQueue.put_all)  # type: ignore[method-assign]
    server = Server(Installation(settings(folder, database)), "127.0.0.1", 0)
    server._server.config.loaded_app = Timed(server._server.config.loaded_app)
    print(server.url, flush=True)
    if not profile:
        server.run()
        return
    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn hands it on once it has ended
    with cProfile.Profile() as found:  # of the thread that serves; what goes to others is waited for
        server.run()
    text = io.StringIO()
    pstats.Stats(found, stream=text).sort_stats("tottime").print_stats(45)
    print(text.getvalue(), file=sys.stderr)


@contextmanager
def serving(folder: Path, database: str | None, profile: bool) -> Iterator[str]:
    words = [sys.executable, __file__, "--serve", str(folder), *(["--database", database] if database else [])]
    server = subprocess.Popen([*words, *(["--profile"] if profile else [])], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    url = server.stdout.readline().strip()
    try:
        while True:
            try:
                httpx.get(f"{url}/healthz")
                break
            except httpx.HTTPError:
                assert server.poll() is None, "the server did not start"
                time.sleep(0.05)
        yield url
    finally:
        server.terminate()
        server.wait(60)


# ── the client ───────────────────────────────────────────────────────────────────────────────────────────────────
def middle(values: list[float], share: float = 0.5) -> float:
    ordered = sorted(1000 * value for value in values)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2)


def calls(work: Callable[[], httpx.Response], count: int) -> dict[str, float]:
    """Milliseconds."""
    seen, said = [], []
    for _ in range(count):
        wall = time.perf_counter()
        answer = work()
        seen.append(time.perf_counter() - wall)
        assert answer.status_code == 200, answer.text
        said.append([float(part) for part in answer.headers[TOOK.decode()].split()])
    seen, said = seen[count // 10 :], said[count // 10 :]
    return {
        "client_p50": middle(seen),
        "server_p50": middle([each[0] for each in said]),
        "server_cpu_p50": middle([each[1] for each in said]),
        "chain_p50": middle([each[2] for each in said]),
        "chain_cpu_p50": middle([each[3] for each in said]),
        "overhead_p50": middle([each[0] - each[2] for each in said]),
        "overhead_p95": middle([each[0] - each[2] for each in said], 0.95),
        "overhead_cpu_p50": middle([each[1] - each[3] for each in said]),
    }


def overhead(url: str, secret: str, count: int) -> dict[str, dict[str, float]]:
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {secret}"}, timeout=60) as client:
        job = client.post("/v1/videos", json={"prompt": "a red boat"}).json()["id"]
        return {
            name: calls(work, count)
            for name, work in {
                "GET /healthz": lambda: client.get("/healthz"),
                "GET /v1/jobs/{id}": lambda: client.get(f"/v1/jobs/{job}"),
                "POST /v1/videos": lambda: client.post("/v1/videos", json={"prompt": "a red boat"}),
            }.items()
        }


def picture(bytes_: int = 200_000) -> bytes:
    """A JPEG of about this size."""
    rgb, quality = Image.fromarray(scene(5, 900, 700)), 95
    while True:
        out = io.BytesIO()
        rgb.save(out, "JPEG", quality=quality)
        if out.tell() <= bytes_ * 1.1 or quality < 40:
            return out.getvalue()
        quality -= 3


def throughput(work: Callable[[int], object], count: int, clients: int) -> float:
    started = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(work, range(count)))
    return count / (time.perf_counter() - started)


def verifying(house: Installation, url: str, folder: Path, count: int, clients: int) -> dict[str, Any]:
    from filigrana.provenance.asked import Asked

    given = folder / "picture.jpg"
    given.write_bytes(picture())
    outcome = engine(house).seal(SealRequest(given, "camera"))
    assert isinstance(outcome, Release), outcome
    path, data = outcome.file, outcome.file.read_bytes()
    seconds, workers = house.settings.serve_verify_seconds, house.settings.verify_workers
    wrong: list[int] = []

    def over_http(_: int) -> None:
        answer = session.post("/v1/verify", files={"file": ("picture.jpg", data)})
        if answer.status_code != 200:
            wrong.append(answer.status_code)

    each = max(1, count // ROUNDS)
    http, own = [], []
    with httpx.Client(base_url=url, timeout=300, limits=httpx.Limits(max_connections=clients)) as session:
        over_http(0)
        for _ in range(ROUNDS):
            http.append(throughput(over_http, each, clients))
            own.append(throughput(lambda _: house.inspector.verify(path, Asked(), seconds=seconds), each, workers))
    return {
        "requests": each * ROUNDS,
        "bytes": len(data),
        "clients": clients,
        "workers": workers,
        "errors": len(wrong),
        "per_second": round(statistics.median(http), 2),
        "workers_alone_per_second": round(statistics.median(own), 2),
        "share_percent": round(100 * statistics.median(a / b for a, b in zip(http, own, strict=True)), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=200, help="calls of the API; 0: none")
    parser.add_argument("--files", type=int, default=500, help="files that are verified; 0: none")
    parser.add_argument("--clients", type=int, default=6, help="connections at once")
    parser.add_argument("--database", help="default: SQLite in a temporary folder")
    parser.add_argument(
        "--profile", action="store_true", help="where the serving thread spends its time"
    )
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        serve(options.serve, options.database, options.profile)
        return
    said: dict[str, Any] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "load": round(os.getloadavg()[0], 1),
    }
    with tempfile.TemporaryDirectory() as name:
        house = Installation(settings(Path(name) / "data", options.database))
        _, secret = house.access.add("press", "ana", ["creator"])
        with serving(house.folder, options.database, options.profile) as url:
            if options.calls:
                said["calls_ms"] = overhead(url, secret, options.calls)
            if options.files:
                said["verify"] = verifying(house, url, Path(name), options.files, options.clients)
        house.close()
    print(json.dumps(said | {"load_after": round(os.getloadavg()[0], 1)}, indent=1))


if __name__ == "__main__":
    main()
