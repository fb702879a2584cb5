"""SIGKILL at every boundary of a request, inside the release, and inside the recovery itself.

A process that has everything imported forks a child for each kill: the child counts what it passes (stage
boundaries, or lines of the files that release and recover) and kills itself at the one it was told. Then another
child recovers, and what lies in the store, the catalog and the log must agree.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from filigrana.pipeline.installation import Installation
from filigrana.pipeline.settings import load_settings
from filigrana.provenance.database import session
from filigrana.provenance.tables import Asset, Intent
from filigrana.tests.conftest import MakeEngine

PROGRAM = """
import json, os, signal, sys, time
from pathlib import Path
from filigrana.pipeline import ledger, staging, store
from filigrana.pipeline.engine import Engine
from filigrana.pipeline.parts import Parts
from filigrana.pipeline.installation import Installation
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
    files = {module.__file__ for module in (ledger, staging, store)}
    def local(frame, event, argument):
        if event in ("line", "return"):
            passing(limit)
        return local
    sys.settrace(lambda frame, event, argument: local if frame.f_code.co_filename in files else None)

def work(job):
    house = Installation(load_settings(data_dir=Path(job["folder"])))
    wait = job.get("wait")

    def draw(sampling, progress):
        while wait and not Path(wait).exists():
            time.sleep(0.01)
        return (Frame(scene(7, 320, 320)),)

    engine = Engine(Parts(
        ledger=house.ledger, pack=house.pack, generator=FakeGenerator(fault=draw), text_guards=(quiet_classifier(),),
        frame_guards=lambda _: calm(),
        finisher=house.finisher, staging=house.staging, store=house.store, clock=house.clock,
    ))
    if job.get("publish_first"):
        release = ledger.Ledger.release
        def early(self, intent, record, **rest):
            self_file = next(Path(job["folder"]).glob("staging/*/finished"))
            row = self.row(intent)
            house.store.publish(self_file, row.result["name"])
            store.FolderStore.publish = lambda *_: None
            return release(self, intent, record, **rest)
        ledger.Ledger.release = early
    limit, at = job.get("limit", 0), job.get("at")
    if at == "lines" and job.get("since") is None:
        trace_lines(limit)
    if job["do"] == "recover":
        found = engine.recover()
        sys.settrace(None)
        return {"published": found.published, "abandoned": [str(i) for i in found.abandoned]}

    def progress(stage, done, total):
        if at == "stages" and (done, total) in ((0, 0), (1, 1)):
            passing(limit)
        if at == stage and done == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        if stage == job.get("since") and done == 0:
            trace_lines(limit)

    outcome = engine.generate(GenerateRequest("a boat", seed=7), progress)
    sys.settrace(None)
    return {"file": str(outcome.file)}

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


class Mother:
    """The process that forks. ``start`` and ``end`` apart: for a test that does something meanwhile."""

    def __init__(self, program: str = PROGRAM) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._line() == "ready"

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def start(self, do: str, folder: Path, **job: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, "folder": str(folder), **job}) + "\n")
        self._process.stdin.flush()

    def end(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._line())
        return answer

    def run(self, do: str, folder: Path, **job: Any) -> dict[str, Any]:
        """What the child said; it must live to say it."""
        self.start(do, folder, **job)
        answer = self.end()
        assert not answer["killed"]
        assert answer["said"] is not None
        assert "error" not in answer["said"], answer["said"]
        said: dict[str, Any] = answer["said"]
        return said

    def kill(self, do: str, folder: Path, **job: Any) -> None:
        """Runs a child that must have been killed on its way."""
        self.start(do, folder, **job)
        answer = self.end()
        assert answer["killed"], answer

    def close(self) -> None:
        self._process.communicate(timeout=10)


@pytest.fixture(scope="module")
def mother() -> Iterator[Mother]:
    started = Mother()
    yield started
    started.close()


MakeFolder = Callable[[], Path]


@pytest.fixture
def new_folder(furnished: Path, tmp_path: Path) -> MakeFolder:
    """A fresh data folder at each call; the one before is removed."""
    numbers = iter(range(10_000))

    def make() -> Path:
        number = next(numbers)
        shutil.rmtree(tmp_path / f"data-{number - 1}", ignore_errors=True)
        return Path(shutil.copytree(furnished, tmp_path / f"data-{number}"))

    return make


def assets_on_disk(folder: Path) -> dict[str, str]:
    found = [path for path in (folder / "assets").rglob("*") if path.is_file()] if (folder / "assets").is_dir() else []
    return {str(p.relative_to(folder / "assets")): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}


def check(folder: Path, *, recovered: bool) -> Counter[str]:
    """Nothing unrecorded is visible, nothing is recorded twice, and after a recovery nothing is left undone.
    Returns the log's entry types."""
    with contextlib.closing(Installation(load_settings(data_dir=folder))) as house:
        assert house.log.verify().ok
        entries = dict(house.log.entries())
        with session(house.log.engine) as rows:
            assets = {a.public_name: a for a in rows.scalars(select(Asset))}
            states = {str(i.id): i.state for i in rows.scalars(select(Intent))}
        unfinished = house.ledger.unfinished()
    on_disk = assets_on_disk(folder)
    for name, digest in on_disk.items():
        assert name in assets, "a file is visible that is not recorded"
        assert assets[name].sha256.hex() == digest
    ends: dict[str, list[str]] = {intent: [] for intent in states}
    for entry in entries.values():
        if entry["type"] in ("release", "failed", "held", "refused", "abandoned"):
            ends[entry["intent"]].append(entry["type"])
    for intent, types in ends.items():
        assert len(types) == (states[intent] not in ("open", "result")), (intent, types, states[intent])
    for asset in assets.values():
        assert asset.log_index is not None
        entry = entries[asset.log_index]
        assert entry["type"] == "release"
        assert entry["sha256"] == asset.sha256.hex()
    assert Counter(e["type"] for e in entries.values())["release"] == len(assets)
    if recovered:
        assert set(on_disk) == set(assets), "a release is recorded, and its file is lost"
        assert unfinished == []
        assert [p.name for p in (folder / "staging").glob("*") if p.name != ".gate"] == []
    return Counter(entry["type"] for entry in entries.values())


def recover_and_check(mother: Mother, folder: Path, *, twice: bool = False) -> Counter[str]:
    check(folder, recovered=False)
    mother.run("recover", folder)
    types = check(folder, recovered=True)
    if twice:
        again = mother.run("recover", folder)
        assert again["published"] == []
        assert again["abandoned"] == []
        assert check(folder, recovered=True) == types
    return types


def test_without_a_kill_there_is_nothing_to_recover(mother: Mother, new_folder: MakeFolder) -> None:
    folder = new_folder()
    mother.run("generate", folder)
    assert check(folder, recovered=True)["release"] == 1
    assert mother.run("recover", folder) == {"published": [], "abandoned": [], "count": 0}
    assert len(assets_on_disk(folder)) == 1


def test_a_kill_at_every_stage_boundary(mother: Mother, new_folder: MakeFolder) -> None:
    boundaries = mother.run("generate", new_folder(), at="stages")["count"]
    assert boundaries >= 24
    ended: Counter[str] = Counter()
    # Between the end of a stage and the start of the next nothing happens: one of the two is enough.
    for number in [*range(1, boundaries, 2), boundaries]:
        folder = new_folder()
        mother.kill("generate", folder, at="stages", limit=number)
        types = recover_and_check(mother, folder, twice=number % 5 == 0)
        ended += Counter({name: types[name] for name in ("release", "abandoned")})
        assert types["release"] + types["abandoned"] == types["intent"] <= 1
        # The installation works on.
        if number % 9 == 0:
            mother.run("generate", folder)
            assert check(folder, recovered=True)["release"] == types["release"] + 1
    assert ended["release"] >= 3
    assert ended["abandoned"] >= 9


def test_a_kill_at_every_fourth_line_of_the_release(mother: Mother, new_folder: MakeFolder) -> None:
    """From the start of `release` on: the commit, the link, the unlink, the end of the private folder."""
    lines = mother.run("generate", new_folder(), at="lines", since="release")["count"]
    assert lines > 30
    released = 0
    for number in range(1 + lines % 4, lines + 1, 4):
        folder = new_folder()
        mother.kill("generate", folder, at="lines", since="release", limit=number)
        released += recover_and_check(mother, folder)["release"]
    assert 0 < released < lines, "both sides of the commit were seen"


def test_a_kill_while_the_request_opens(mother: Mother, new_folder: MakeFolder) -> None:
    """The first lines: the private folder, its lock, the intent."""
    for number in range(1, 60, 9):
        folder = new_folder()
        mother.kill("generate", folder, at="lines", limit=number)
        assert recover_and_check(mother, folder)["release"] == 0


def unpublished(mother: Mother, folder: Path) -> None:
    """A folder in which one release was committed and not published, and one request was left open."""
    for stage in ("checkpoint", "sign"):
        mother.kill("generate", folder, at=stage)


def test_a_kill_at_every_seventh_line_of_the_recovery(mother: Mother, furnished: Path, tmp_path: Path) -> None:
    wreck = Path(shutil.copytree(furnished, tmp_path / "wreck"))
    unpublished(mother, wreck)
    control = Path(shutil.copytree(wreck, tmp_path / "control"))
    said = mother.run("recover", control, at="lines")
    assert len(said["published"]) == 1
    assert len(said["abandoned"]) == 1
    expected = check(control, recovered=True)
    assert expected["release"] == expected["abandoned"] == 1
    assert said["count"] > 60
    for number in range(2, said["count"] + 1, 7):
        folder = Path(shutil.copytree(wreck, tmp_path / f"wreck-{number}"))
        mother.kill("recover", folder, at="lines", limit=number)
        assert recover_and_check(mother, folder, twice=number % 3 == 0) == expected
        shutil.rmtree(folder)


def test_recoveries_at_once_do_not_get_in_each_others_way(mother: Mother, furnished: Path, tmp_path: Path) -> None:
    from threading import Thread

    folder = Path(shutil.copytree(furnished, tmp_path / "wreck"))
    unpublished(mother, folder)
    done: list[Any] = []

    def recover() -> None:
        with contextlib.closing(Installation(load_settings(data_dir=folder))) as house:
            done.append(house.staging.recover(house.ledger, house.store))

    mother.start("recover", folder)
    threads = [Thread(target=recover) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other = mother.end()["said"]
    assert len(done) == 3, "none of them failed"
    assert sum(len(d.published) for d in done) + len(other["published"]) == 1
    assert sum(len(d.abandoned) for d in done) + len(other["abandoned"]) == 1
    recover_and_check(mother, folder, twice=True)


def test_the_work_of_a_living_process_is_left_alone(mother: Mother, new_folder: MakeFolder, tmp_path: Path) -> None:
    folder = new_folder()
    mother.start("generate", folder, wait=str(tmp_path / "go"))
    deadline = time.monotonic() + 20
    while not list((folder / "staging").glob("*/lock")) and time.monotonic() < deadline:
        time.sleep(0.02)
    with contextlib.closing(Installation(load_settings(data_dir=folder))) as house:
        while not house.ledger.unfinished() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(house.ledger.unfinished()) == 1
        for _ in range(20):
            found = house.staging.recover(house.ledger, house.store)
            assert found.published == ()
            assert found.abandoned == ()
        (tmp_path / "go").touch()
        for _ in range(20):
            found = house.staging.recover(house.ledger, house.store)
            assert found.abandoned == ()
    answer = mother.end()
    assert "file" in answer["said"], answer
    assert check(folder, recovered=True)["release"] == 1


OPENER = """
import sys
from pathlib import Path
from uuid import uuid4
from filigrana.pipeline.staging import Staging
staging = Staging(Path(sys.argv[1]))
print("ready", flush=True)
for _ in range(400):
    with staging.open(uuid4()) as work:
        (work / "finished").write_bytes(b"x")
print("done", flush=True)
"""


def test_a_folder_that_is_just_being_made_is_not_taken_for_left_over(
    make_engine: MakeEngine, installation: Installation
) -> None:
    """Between the making of a folder and its lock there is a moment in which nobody seems to own it."""
    engine = make_engine()
    folder = installation.folder / "staging"
    opener = subprocess.Popen([sys.executable, "-c", OPENER, str(folder)], stdout=subprocess.PIPE, text=True)
    with opener:
        assert opener.stdout is not None
        assert opener.stdout.readline() == "ready\n"
        while opener.poll() is None:
            engine.recover()
        assert opener.stdout.read() == "done\n"
    assert opener.returncode == 0


def test_a_store_that_publishes_before_the_record_is_noticed(mother: Mother, new_folder: MakeFolder) -> None:
    """The checks above can fail: an engine with the two steps swapped does not pass them."""
    lines = mother.run("generate", new_folder(), at="lines", since="release", publish_first=True)
    assert lines["count"]
    for number in range(1, 60, 3):
        folder = new_folder()
        mother.start("generate", folder, at="lines", since="release", limit=number, publish_first=True)
        if not mother.end()["killed"]:
            continue
        try:
            check(folder, recovered=False)
        except AssertionError:
            return
    pytest.fail("a file was visible without its row, and nothing was noticed")


def test_a_process_that_is_terminated_politely_leaves_nothing(new_folder: MakeFolder) -> None:
    """SIGTERM has no handler of ours: it is a kill like another, and recovery does the rest."""
    folder = new_folder()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        process.stdin.write(json.dumps({"do": "generate", "folder": str(folder), "wait": str(folder / "never")}) + "\n")
        process.stdin.flush()
        deadline = time.monotonic() + 20
        while not list((folder / "staging").glob("*/lock")) and time.monotonic() < deadline:
            time.sleep(0.02)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        if not children.exists():
            pytest.skip("needs /proc")
        time.sleep(0.3)
        for pid in children.read_text().split():
            os.kill(int(pid), signal.SIGTERM)
        process.stdout.readline()
        process.stdin.close()
    with contextlib.closing(Installation(load_settings(data_dir=folder))) as house:
        assert len(house.staging.recover(house.ledger, house.store).abandoned) <= 1
    assert check(folder, recovered=True)["release"] == 0
