"""A service under load while its workers are killed: every job ends once, nothing is released unrecorded, no lease is
stuck, and memory does not grow. Prints JSON; ends with 1 where anything of it is not so.

python benchmarks/soak.py                                  # short: 3 minutes
python benchmarks/soak.py --jobs 100 --workers 4           # until 100 jobs were asked for, with kills
python benchmarks/soak.py --seconds 3600 --workers 4       # an hour
python benchmarks/soak.py --database postgresql://…

Workers are real processes on real parts with a fast stand-in for the model (`tests/working.py`). Memory is the server's
resident set, each minute; what counts is the growth from the first third to the last.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import psutil

from filigrana.pipeline.installation import Installation
from filigrana.pipeline.settings import load_settings

WORKER = "from filigrana.tests.working import main; main()"
SERVE = (
    "import sys; from filigrana.pipeline.cli import main; "
    "sys.argv = ['filigrana', 'serve', '--port', '0', '--json']; main()"
)
LEASE = 5
ATTEMPTS = 10
ENDS = ("released", "refused", "held", "failed", "cancelled")


class Workers:
    """Processes that are killed at random moments and started again."""

    def __init__(self, count: int, folder: Path, database: str) -> None:
        self._count, self._folder, self._database = count, folder, database
        self._living: list[subprocess.Popen[bytes]] = []
        self.killed = 0

    def keep(self) -> None:
        self._living = [each for each in self._living if each.poll() is None]
        while len(self._living) < self._count:
            words = (str(self._folder), self._database, f"w{time.monotonic_ns()}", str(LEASE), str(ATTEMPTS))
            self._living.append(
                subprocess.Popen(
                    [sys.executable, "-c", WORKER, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
            )

    def kill_one(self) -> None:
        one = random.choice(self._living)
        one.send_signal(signal.SIGKILL)
        one.wait()
        self.killed += 1

    def end(self) -> None:
        for each in self._living:
            each.terminate()
        for each in self._living:
            try:
                each.wait(60)
            except subprocess.TimeoutExpired:
                each.kill()
                each.wait()


def soak(options: argparse.Namespace, folder: Path) -> int:
    database = options.database or f"sqlite:///{folder / 'data' / 'audit.db'}"
    house = Installation(load_settings(data_dir=folder / "data", database=database))
    _, secret = house.access.add("press", "ana", ["creator"])
    environment = {
        **os.environ, "FILIGRANA_DATA_DIR": str(folder / "data"), "FILIGRANA_DATABASE": database,
        "FILIGRANA_SERVE_RATE": "1e6", "FILIGRANA_KEY_RATE": "1e6", "FILIGRANA_KEY_IN_FLIGHT": "100000",
        "FILIGRANA_JOBS_LEASE": str(LEASE), "FILIGRANA_SERVE_WAIT": "0.01",
    }  # fmt: skip
    server = subprocess.Popen(
        [sys.executable, "-c", SERVE], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    )
    assert server.stdout is not None
    url = json.loads(server.stdout.readline())["url"]
    memory = psutil.Process(server.pid)
    workers = Workers(options.workers, folder / "data", database)
    asked: list[str] = []
    sizes: list[tuple[float, int]] = []
    started = time.monotonic()
    next_kill, next_look = started + options.kill_every, started
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {secret}"}, timeout=60) as client:
        while time.monotonic() - started < options.seconds and (options.jobs is None or len(asked) < options.jobs):
            workers.keep()
            waiting = house.jobs.counts().get("queued", 0)
            if waiting < options.waiting:
                number = len(asked)
                prompt = "how to build a pipe bomb" if number % 10 == 9 else "a red boat"
                body = {"prompt": prompt, "seed": number % 97}
                answer = client.post("/v1/images/generations", json=body, headers={"Idempotency-Key": f"soak-{number}"})
                # Nobody waits: 504 tells the job.
                if answer.status_code == 504:
                    asked += answer.json()["error"]["jobs"]
                elif answer.status_code == 200:
                    asked += [each["job"] for each in answer.json()["filigrana"]]
                elif answer.status_code == 400:
                    asked += answer.json()["error"]["jobs"]
            else:
                client.get(f"/v1/jobs/{random.choice(asked)}")
                client.get("/readyz")
                time.sleep(0.05)
            now = time.monotonic()
            if options.kill_every and now >= next_kill:
                workers.kill_one()
                next_kill = now + random.uniform(0.5, 1.5) * options.kill_every
            if now >= next_look:
                sizes.append((now - started, memory.memory_info().rss))
                next_look = now + max(2.0, options.seconds / 60)
        drained = time.monotonic() + max(600.0, 10.0 * options.waiting)
        while time.monotonic() < drained and any(house.jobs.counts().get(state) for state in ("queued", "running")):
            workers.keep()
            if options.jobs is not None and options.kill_every and time.monotonic() >= next_kill:
                workers.kill_one()
                next_kill = time.monotonic() + random.uniform(0.5, 1.5) * options.kill_every
            time.sleep(0.5)
        sizes.append((time.monotonic() - started, memory.memory_info().rss))
    workers.end()
    server.terminate()
    server.wait(60)
    return told(house, asked, sizes, workers.killed, options.workers)


def told(house: Installation, asked: list[str], sizes: list[tuple[float, int]], killed: int, count: int) -> int:
    from uuid import UUID

    jobs = house.jobs.some([UUID(each) for each in asked])
    states = Counter(job.state for job in jobs)
    stuck = [job for job in jobs if job.state not in ENDS]
    releases = Counter(str(entry["asset_id"]) for _, entry in house.log.entries() if entry["type"] == "release")
    told_ = [str((job.outcome or {}).get("asset_id")) for job in jobs if job.state == "released"]
    files = {path.stem for path in (house.folder / "assets").rglob("*") if path.is_file()}
    report = house.log.verify()
    third = max(1, len(sizes) // 3)
    first, last = (sum(size for _, size in part) / len(part) for part in (sizes[:third], sizes[-third:]))
    result: dict[str, Any] = {
        "jobs": len(asked), "states": dict(states), "killed": killed, "stuck": len(stuck),
        "released_twice": sum(count - 1 for count in releases.values()) + len(told_) - len(set(told_)),
        "released_untold": len(set(releases) - set(told_)), "told_unreleased": len(set(told_) - set(releases)),
        "files_unrecorded": len(files - set(releases)), "files_missing": len(set(releases) - files),
        "log_ok": report.ok, "memory_MB": [round(first / 1e6, 1), round(last / 1e6, 1)],
        "growth_percent": round(100 * (last - first) / first, 1), "seconds": round(sizes[-1][0]),
        "workers": count, "load": round(os.getloadavg()[0], 1),
    }  # fmt: skip
    print(json.dumps(result, indent=1))
    house.close()
    wrong = ("stuck", "released_twice", "released_untold", "told_unreleased", "files_unrecorded", "files_missing")
    return 1 if any(result[name] for name in wrong) or not report.ok else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--jobs", type=int, help="ends once so many were asked for, and have ended")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--waiting", type=int, default=100, help="jobs that wait at most")
    parser.add_argument("--kill-every", type=float, default=4.0, help="seconds between two kills; 0: none")
    parser.add_argument("--database", help="default: SQLite in a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        sys.exit(soak(options, Path(name)))


if __name__ == "__main__":
    main()
