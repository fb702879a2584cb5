"""Runs the units of a bench, in worker processes, and keeps each finished one in a file: a killed run goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager, suppress
from itertools import islice
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any

from ...errors import FiligranaError
from .measure import Find, measure
from .peers import contestant
from .plan import BenchSettings, Unit, units

RESULTS = "results.jsonl"
Tell = Callable[[int, int, str], None]
"""Called as (done, total, what was done last)."""
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def read_results(path: Path, digest: str) -> dict[str, dict[str, Any]]:
    """The finished units of a results file, by key. A last line that a kill cut short is left out; a file of another
    run (other seed, split…) is refused."""
    if not path.is_file():
        return {}
    found: dict[str, dict[str, Any]] = {}
    lines = path.read_text("utf-8").split("\n")
    for number, line in enumerate(lines):
        if not line:
            continue
        try:
            value = json.loads(line)
        except ValueError:
            if number >= len(lines) - 2:
                continue
            raise FiligranaError(
                f"{path.name}, line {number + 1} is not JSON", code="bench.results", hint="Remove it, or start anew."
            ) from None
        if "digest" in value and "key" not in value:
            if value["digest"] != digest:
                raise FiligranaError(
                    f"{path} belongs to a run with another seed, split or clip length, or of another version",
                    code="bench.results",
                    hint="Give another folder with -o, or remove this one.",
                )
            continue
        found[value["key"]] = value
    return found


class _Ledger:
    """Appends one line a finished unit; each is on the disk before the next begins."""

    def __init__(self, path: Path, digest: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file() and not path.read_bytes().endswith(b"\n"):
            # A kill in the middle of a line: what comes next must not be glued to it.
            with path.open("rb+") as stream:
                kept = stream.read().rpartition(b"\n")
                stream.truncate(len(kept[0]) + len(kept[1]))
        self._stream = path.open("a", encoding="utf-8")
        if path.stat().st_size == 0:
            self.add({"digest": digest})

    def add(self, value: dict[str, Any]) -> None:
        self._stream.write(json.dumps(value, ensure_ascii=True) + "\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def close(self) -> None:
        self._stream.close()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Workers inherit these, so that CPU time is that of one thread and two workers do not fight for cores."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def run(
    settings: BenchSettings,
    folder: Path,
    *,
    jobs: int = 1,
    tell: Tell = lambda _done, _total, _last: None,
    find: Find = contestant,
) -> list[dict[str, Any]]:
    """Does what is not done yet and returns every unit's result, in the order of the plan.

    ``find`` other than the default (a test's own codecs) needs ``jobs`` 0, which runs in this process. A unit that
    ended in an error is tried again by the next run, since a package may have been installed since.
    """
    plan = units(settings)
    done = {k: v for k, v in read_results(folder / RESULTS, settings.digest()).items() if not stale(v, settings)}
    todo = [unit for unit in plan if unit.key not in done]
    ledger = _Ledger(folder / RESULTS, settings.digest())
    tell(len(plan) - len(todo), len(plan), "")
    try:
        for value in _results(todo, settings, jobs, find):
            ledger.add(value)
            done[value["key"]] = value
            tell(sum(1 for unit in plan if unit.key in done), len(plan), f"{value['kind']} {value['name']}".strip())
    finally:
        ledger.close()
    return [done[unit.key] for unit in plan]


def stale(value: dict[str, Any], settings: BenchSettings) -> bool:
    """Whether a finished unit has to be done again: it failed, or it lacks something that is asked for now."""
    if "error" in value:
        return True
    if value["kind"] in ("picture", "art"):
        return any(attack.name not in value["attacks"] for attack in settings.chosen())
    if value["kind"] == "null":
        from .plan import NULL_CHUNK

        index = int(value["key"].split("|")[3])
        return len(value["scores"]) < min(NULL_CHUNK, settings.null - index * NULL_CHUNK)
    return False


def _end_with_parent() -> None:
    """In a worker: a run that was killed must not leave it working for nobody."""
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def _results(todo: list[Unit], settings: BenchSettings, jobs: int, find: Find) -> Iterator[dict[str, Any]]:
    if jobs < 1:
        for unit in todo:
            yield measure(unit, settings, find)
        return
    if any(unit.kind in ("art", "null") for unit in todo) and settings.generated:
        # Once, before two workers would draw the same pictures.
        from .generated import generated

        with suppress(FiligranaError):  # each unit says it again
            generated(settings.generated, settings.cache, settings.seed)
    # Spawned, not forked: a forked child inherits OpenCV's and torch's threads in whatever state they are.
    with _one_thread(), ProcessPoolExecutor(jobs, get_context("spawn"), _end_with_parent) as pool:
        waiting: set[Future[dict[str, Any]]] = set()
        rest = iter(todo)
        try:
            while True:
                for following in islice(rest, 2 * jobs - len(waiting)):
                    waiting.add(pool.submit(measure, following, settings))
                if not waiting:
                    return
                finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in finished:
                    yield future.result()
        finally:
            for future in waiting:
                future.cancel()
