"""SIGKILL on the way into the queue for time-stamps, and on the way out of it.

As in `test_release_kill`: a child counts the lines that it passes and kills itself at the one it was told. Then another
one takes up what waits, and the store, the catalog, the log and the queue must agree.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from filigrana.provenance.credentials import read_credentials
from filigrana.provenance.database import session
from filigrana.provenance.tables import Asset, Intent
from filigrana.tests.fault.test_release_kill import Mother, assets_on_disk
from filigrana.tests.signing_kit import Kit
from filigrana.tests.stamp_kit import Authority

PROGRAM = """
import json, os, signal, sys
from pathlib import Path
from filigrana.pipeline import ledger, pending, releasing, staging, store, waiting
from filigrana.pipeline.engine import Engine
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.parts import Parts
from filigrana.pipeline.request import GenerateRequest
from filigrana.pipeline.settings import load_settings
from filigrana.provenance.media import Frame
from filigrana.tests.doubles import FakeGenerator, calm, quiet_classifier, scene

scene(7, 320, 320)
count = 0

def passing(limit):
    global count
    count += 1
    if count == limit:
        os.kill(os.getpid(), signal.SIGKILL)

def trace_lines(limit):
    files = {module.__file__ for module in (ledger, pending, releasing, staging, store, waiting)}
    def local(frame, event, argument):
        if event in ("line", "return"):
            passing(limit)
        return local
    sys.settrace(lambda frame, event, argument: local if frame.f_code.co_filename in files else None)

def work(job):
    house = Installation(load_settings(
        data_dir=Path(job["folder"]), policy="platform", tsa_url=[job["url"]], tsa_trust=[job["root"]],
        **({"database": job["database"]} if job.get("database") else {}),
    ))
    limit = job.get("limit", 0)
    if job["do"] == "stamp":
        if job.get("count"):
            trace_lines(limit)
        found = list(waiting.stamp(waiting.stamping_parts(house)))
        sys.settrace(None)
        return {"found": [[one.status, one.code] for one in found]}
    engine = Engine(Parts(
        ledger=house.ledger, pack=house.pack,
        generator=FakeGenerator(fault=lambda *_: (Frame(scene(7, 320, 320)),)), text_guards=(quiet_classifier(),),
        frame_guards=lambda _: calm(),
        finisher=house.finisher, staging=house.staging, store=house.store, clock=house.clock,
    ))

    def progress(stage, done, total):
        if stage == "hold" and done == 0 and job.get("count"):
            trace_lines(limit)

    outcome = engine.generate(GenerateRequest("a boat", seed=7), progress)
    sys.settrace(None)
    return {"code": outcome.code if not outcome.released else None}

def child(job, out):
    try:
        said = work(job) | {"count": count}
    except BaseException as error:
        said = {"error": repr(error)}
    os.write(out, json.dumps(said).encode())
    os._exit(0)

print("ready", flush=True)
for line in sys.stdin:
    job = json.loads(line)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        child(job, write)
    os.close(write)
    with os.fdopen(read, "rb") as stream:
        said = stream.read()
    _, status = os.waitpid(pid, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    print(json.dumps({"killed": killed, "said": json.loads(said) if said else None}), flush=True)
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    folder = tmp_path_factory.mktemp("authority")
    made = Authority(Kit.make(folder), folder)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def mother() -> Iterator[Mother]:
    started = Mother(PROGRAM)
    yield started
    started.close()


class Bench:
    """Runs children on copies of a folder. ``database``: of another server, else each folder has its own."""

    def __init__(self, mother: Mother, authority: Authority, furnished: Path, tmp: Path) -> None:
        self.mother, self.authority, self._furnished, self._tmp = mother, authority, furnished, tmp
        self._number = 0

    def copy(self, of: Path | None = None) -> Path:
        self._number += 1
        shutil.rmtree(self._tmp / f"data-{self._number - 1}", ignore_errors=True)
        return Path(shutil.copytree(of or self._furnished, self._tmp / f"data-{self._number}"))

    def job(self, **more: Any) -> dict[str, Any]:
        return {"url": self.authority.url, "root": str(self.authority.root), **more}

    def run(self, do: str, folder: Path, **more: Any) -> dict[str, Any]:
        return self.mother.run(do, folder, **self.job(**more))

    def kill(self, do: str, folder: Path, limit: int, **more: Any) -> None:
        self.mother.kill(do, folder, **self.job(count=True, limit=limit, **more))

    def check(self, folder: Path, *, done: bool, **settings: Any) -> Counter[str]:
        """Nothing is visible that is not recorded and stamped, nothing ended twice, and what waits is whole. ``done``:
        nothing waits any more. Returns the log's entry types."""
        with contextlib.closing(self.authority.installation(folder, **settings)) as house:
            assert house.log.verify().ok
            entries = dict(house.log.entries())
            with session(house.log.engine) as rows:
                assets = {a.public_name: a for a in rows.scalars(select(Asset))}
                states = {str(i.id): i.state for i in rows.scalars(select(Intent))}
            waiting = [str(item.intent) for item in house.ledger.waiting()]
            unfinished = house.ledger.unfinished()
            for name, digest in (on_disk := assets_on_disk(folder)).items():
                assert name in assets, "a file is visible that is not recorded"
                assert assets[name].sha256.hex() == digest
                credentials = read_credentials(folder / "assets" / name, "image/png", house.trust)
                assert (credentials.state, credentials.time_trust) == ("trusted", "configured")
        types = Counter(entry["type"] for entry in entries.values())
        assert types["release"] == len(assets) <= types["held"]
        for intent, state in states.items():
            own = [entry["type"] for entry in entries.values() if entry.get("intent") == intent]
            ends = [one for one in own if one in ("release", "failed", "abandoned")]
            assert len(ends) == (state in ("released", "failed", "abandoned")), (own, state)
            assert own.count("held") == (intent in waiting or state in ("released", "failed"))
        for intent in waiting:
            assert (folder / "pending" / intent / "pending.json").is_file(), "it waits, and its files are lost"
        if done:
            assert set(on_disk) == set(assets), "a release is recorded, and its file is lost"
            assert waiting == unfinished == []
            assert [p.name for p in (folder / "staging").glob("*") if p.name != ".gate"] == []
            assert [p.name for p in (folder / "pending").glob("*") if p.name != ".tried"] == []
        return types

    def finish(self, folder: Path, **settings: Any) -> Counter[str]:
        """After a kill: what stands now is sound, one more run ends it, and a third changes nothing."""
        self.check(folder, done=False, **settings)
        self.run("stamp", folder, **settings)
        types = self.check(folder, done=True, **settings)
        assert self.run("stamp", folder, **settings)["found"] == []
        assert self.check(folder, done=True, **settings) == types
        return types


@pytest.fixture
def bench(mother: Mother, authority: Authority, furnished: Path, tmp_path: Path) -> Bench:
    authority.stop()
    return Bench(mother, authority, furnished, tmp_path)


@pytest.fixture
def held(bench: Bench, furnished: Path, tmp_path: Path) -> Path:
    """A folder in which one request waits; the authority is back."""
    folder = Path(shutil.copytree(furnished, tmp_path / "held"))
    assert bench.run("generate", folder)["code"] == "timestamp.waiting"
    bench.authority.start()
    return folder


def limits(count: int, kills: int, half: int | None = None) -> range:
    """As many lines as ``kills``; or every other one of them: two tests that may run at the same time share them."""
    step = max(1, count // kills)
    return range(1, count + 1, step) if half is None else range(1 + half * step, count + 1, 2 * step)


@pytest.mark.parametrize("half", [0, 1])
def test_a_kill_on_the_way_into_the_queue(bench: Bench, half: int) -> None:
    said = bench.run("generate", bench.copy(), count=True)
    assert said["code"] == "timestamp.waiting"
    assert said["count"] > 80
    ended: Counter[str] = Counter()
    for limit in limits(said["count"], 30, half):
        folder = bench.copy()
        bench.authority.stop()
        bench.kill("generate", folder, limit)
        bench.authority.start()
        types = bench.finish(folder)
        assert types["release"] == types["held"]
        assert types["release"] + types["abandoned"] == 1
        ended += types
    bench.authority.stop()
    assert ended["release"] >= 1, "both sides of the commit were seen"
    assert ended["abandoned"] >= 1


@pytest.mark.parametrize("half", [0, 1])
def test_a_kill_on_the_way_out_of_the_queue(bench: Bench, held: Path, half: int) -> None:
    said = bench.run("stamp", bench.copy(held), count=True)
    assert said["found"] == [["released", ""]]
    assert said["count"] > 150
    before: Counter[str] = Counter()
    for limit in limits(said["count"], 40, half):
        folder = bench.copy(held)
        bench.kill("stamp", folder, limit)
        before["released" if bench.check(folder, done=False)["release"] else "waiting"] += 1
        types = bench.finish(folder)
        assert types["release"] == 1
        assert types["abandoned"] == types["failed"] == 0
    assert before["released"] >= 1
    assert before["waiting"] >= 1


def test_a_second_and_a_third_kill(bench: Bench, held: Path) -> None:
    """Each at another place of the same request: after the result, after the release, in the recovery."""
    lines = bench.run("stamp", bench.copy(held), count=True)["count"]
    for first, second, third in ((0.8, 0.8, 0.9), (0.7, 0.85, 0.2), (0.9, 0.3, 0.3)):
        folder = bench.copy(held)
        for share in (first, second, third):
            bench.mother.start("stamp", folder, **bench.job(count=True, limit=int(lines * share)))
            bench.mother.end()  # it may be done before its line comes
            bench.check(folder, done=False)
        assert bench.finish(folder)["release"] == 1


def test_a_kill_while_the_authority_is_still_down(bench: Bench, held: Path) -> None:
    bench.authority.stop()
    said = bench.run("stamp", bench.copy(held), count=True)
    assert said["found"] == [["waiting", "provenance.timestamp.down"]]
    for limit in limits(said["count"], 10):
        folder = bench.copy(held)
        bench.authority.stop()
        bench.kill("stamp", folder, limit)
        assert bench.check(folder, done=False)["release"] == 0
        bench.authority.start()
        assert bench.finish(folder)["release"] == 1


def test_a_kill_while_something_is_refused(bench: Bench, held: Path) -> None:
    next((held / "pending").glob("*/encoded")).write_bytes(b"something else")
    said = bench.run("stamp", bench.copy(held), count=True)
    assert said["found"] == [["refused", "release.pending.changed"]]
    for limit in limits(said["count"], 15):
        folder = bench.copy(held)
        bench.kill("stamp", folder, limit)
        types = bench.finish(folder)
        assert types["failed"] == 1
        assert types["release"] == 0


def test_kills_on_postgresql(bench: Bench, postgres_url: str, furnished: Path, tmp_path: Path) -> None:
    """One log, and one request after the other that is killed on its way in or out."""
    folder = Path(shutil.copytree(furnished, tmp_path / "postgres"))
    (folder / "audit.db").unlink()
    (folder / "checkpoint.guard").unlink(missing_ok=True)
    database = {"database": postgres_url}
    into = bench.run("generate", folder, count=True, **database)["count"]
    bench.authority.start()
    out = bench.run("stamp", folder, count=True, **database)["count"]
    released = 1
    for share in (0.3, 0.6, 0.8, 0.97):
        for do, lines in (("generate", into), ("stamp", out)):
            bench.authority.stop()
            if do == "generate":
                bench.kill(do, folder, int(lines * share), **database)
                bench.authority.start()
            else:
                bench.run("generate", folder, **database)
                bench.authority.start()
                bench.kill(do, folder, int(lines * share), **database)
            now = bench.finish(folder, **database)
            assert now["release"] - released in ((0, 1) if do == "generate" else (1,))
            released = now["release"]
    bench.authority.stop()


def test_two_processes_at_once_release_it_once(bench: Bench, held: Path) -> None:
    other = Mother(PROGRAM)
    try:
        bench.mother.start("stamp", held, **bench.job())
        other.start("stamp", held, **bench.job())
        found = [one for mother in (bench.mother, other) for one in mother.end()["said"]["found"]]
    finally:
        other.close()
    assert [status for status, _ in found].count("released") == 1
    assert {code for status, code in found if status != "released"} <= {"release.busy"}
    assert bench.check(held, done=True)["release"] == 1


def test_the_checks_notice_a_release_without_its_file(bench: Bench, held: Path) -> None:
    """Negative control."""
    bench.run("stamp", held)
    name = next(iter(assets_on_disk(held)))
    whole = (held / "assets" / name).read_bytes()
    (held / "assets" / name).unlink()
    with pytest.raises(AssertionError, match="its file is lost"):
        bench.check(held, done=True)
    (held / "assets" / name).write_bytes(whole[:-1])
    assert hashlib.sha256(whole).digest() != hashlib.sha256(whole[:-1]).digest()
    with pytest.raises(AssertionError):
        bench.check(held, done=False)
