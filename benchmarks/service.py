"""What the API adds to the chain's own work, and how many files a second `POST /v1/verify` looks into.

python benchmarks/service.py [--calls N] [--files N] [--clients N]

The file is a sealed JPEG, which verifies. The share is of the worker pool's own limit: the same file given to the same
confined readers by as many threads as there are readers, with no HTTP in between. The two are measured in turns, so
that other work on the machine counts for both.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
from PIL import Image

from filigrana.pipeline.installation import Installation
from filigrana.pipeline.request import Release, SealRequest
from filigrana.pipeline.settings import load_settings
from filigrana.pipeline.web.server import Server
from filigrana.tests.doubles import scene
from filigrana.tests.serving import engine

ROUNDS = 5


def picture(bytes_: int = 200_000) -> bytes:
    """A JPEG of about this size."""
    rgb, quality = Image.fromarray(scene(5, 900, 700)), 95
    while True:
        out = io.BytesIO()
        rgb.save(out, "JPEG", quality=quality)
        if out.tell() <= bytes_ * 1.1 or quality < 40:
            return out.getvalue()
        quality -= 3


@contextmanager
def serving(house: Installation) -> Iterator[str]:
    server = Server(house, "127.0.0.1", 0)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield server.url
    finally:
        server.stop()
        thread.join()


Taken = tuple[float, float]


def calls(work: Callable[[], httpx.Response], count: int) -> list[Taken]:
    """Seconds on the wall and of this process's processor, client and server together."""
    found = []
    for _ in range(count):
        wall, used = time.perf_counter(), time.process_time()
        answer = work()
        found.append((time.perf_counter() - wall, time.process_time() - used))
        assert answer.status_code == 200, answer.text
    return found[count // 10 :]


def throughput(work: Callable[[int], object], count: int, clients: int) -> float:
    started = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(work, range(count)))
    return count / (time.perf_counter() - started)


def overhead(house: Installation, url: str, count: int) -> None:
    _, secret = house.access.add("press", "ana", ["creator"])
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {secret}"}) as client:
        job = client.post("/v1/videos", json={"prompt": "a red boat"}).json()["id"]
        print("| call | p50 ms | p95 ms | of it processor, client and server |\n|---|---|---|---|")
        for name, work in (
            ("`GET /healthz`", lambda: client.get("/healthz")),
            ("`GET /v1/jobs/{id}`", lambda: client.get(f"/v1/jobs/{job}")),
            ("`POST /v1/videos`", lambda: client.post("/v1/videos", json={"prompt": "a red boat"})),
        ):
            found = calls(work, count)
            walls = sorted(1000 * wall for wall, _ in found)
            used = statistics.median(1000 * each for _, each in found)
            print(
                f"| {name} | {statistics.median(walls):.2f} | {walls[int(len(walls) * 0.95)]:.2f} | {used:.2f} |",
                flush=True,
            )


def verifying(house: Installation, url: str, folder: Path, count: int, clients: int) -> None:
    given = folder / "picture.jpg"
    given.write_bytes(picture())
    outcome = engine(house).seal(SealRequest(given, "camera"))
    assert isinstance(outcome, Release), outcome
    path, data = outcome.file, outcome.file.read_bytes()
    seconds = house.settings.serve_verify_seconds
    wrong: list[int] = []

    def over_http(_: int) -> None:
        answer = session.post("/v1/verify", files={"file": ("picture.jpg", data)})
        if answer.status_code != 200:
            wrong.append(answer.status_code)

    from filigrana.provenance.asked import Asked

    workers = house.settings.verify_workers
    limits = httpx.Limits(max_connections=clients)
    with httpx.Client(base_url=url, timeout=300, limits=limits) as session:
        over_http(0)
        http, own = [], []
        for _ in range(ROUNDS):
            http.append(throughput(over_http, count // ROUNDS, clients))
            own.append(
                throughput(lambda _: house.inspector.verify(path, Asked(), seconds=seconds), count // ROUNDS, workers)
            )
    share = statistics.median(a / b for a, b in zip(http, own, strict=True))
    print(
        f"\n{count} requests of {len(data) / 1000:.0f} kB by {clients} clients, {workers} workers: {len(wrong)} errors;"
    )
    print(
        f"{statistics.median(http):.2f} a second; the workers' own limit {statistics.median(own):.2f}; "
        f"share {100 * share:.0f} %"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=200, help="calls of the API")
    parser.add_argument("--files", type=int, default=500, help="files that are verified")
    parser.add_argument("--clients", type=int, default=6, help="connections at once")
    options = parser.parse_args()
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{machine}; load {os.getloadavg()[0]:.1f}\n")
    with tempfile.TemporaryDirectory() as name:
        settings = load_settings(
            data_dir=Path(name) / "data", serve_rate=1e6, key_rate=1e6, key_in_flight=1_000_000, serve_queue=1000,
            serve_connections=1000,
        )  # fmt: skip
        house = Installation(settings)
        house.ledger.unfinished()
        with serving(house) as url:
            overhead(house, url, options.calls)
            verifying(house, url, Path(name), options.files, options.clients)
        house.close()


if __name__ == "__main__":
    main()
