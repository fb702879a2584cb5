"""SIGKILL, a full disk and a lost database on the way to people and back.

As in `test_waiting_kill`: a child counts the lines that it passes and kills itself at the one it was told. Then others
finish, and the store, the catalog, the log and the desk must agree: nothing is lost, nothing is released twice, and
nothing without its approval.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from filigrana.errors import FiligranaError, LogError
from filigrana.pipeline import pending
from filigrana.pipeline.engine import Engine
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.ledger import Ledger
from filigrana.pipeline.request import GenerateRequest, Held, Release
from filigrana.pipeline.resuming import approve, go_on
from filigrana.pipeline.review import Desk
from filigrana.pipeline.reviewing import sweep
from filigrana.pipeline.settings import load_settings
from filigrana.provenance.credentials import read_credentials
from filigrana.provenance.database import session
from filigrana.provenance.tables import Asset, Intent, Review
from filigrana.tests.conftest import MakeEngine
from filigrana.tests.doubles import FakeGuard, calm
from filigrana.tests.fault.test_release_kill import Mother, assets_on_disk
from filigrana.tests.fault.test_waiting_kill import limits

PROGRAM = """
import json, os, signal, sys
from pathlib import Path
from uuid import UUID
from filigrana.pipeline import ledger, pending, releasing, resuming, review, reviewing, staging, store
from filigrana.pipeline.engine import Engine
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.parts import Parts
from filigrana.pipeline.request import GenerateRequest
from filigrana.pipeline.settings import load_settings
from filigrana.provenance.media import Frame
from filigrana.tests.doubles import FakeGenerator, FakeGuard, calm, quiet_classifier, scene

scene(7, 320, 320)
count = 0

def passing(limit):
    global count
    count += 1
    if count == limit:
        os.kill(os.getpid(), signal.SIGKILL)

def trace_lines(limit):
    files = {m.__file__ for m in (ledger, pending, releasing, resuming, review, reviewing, staging, store)}
    def local(frame, event, argument):
        if event in ("line", "return"):
            passing(limit)
        return local
    sys.settrace(lambda frame, event, argument: local if frame.f_code.co_filename in files else None)

def work(job):
    house = Installation(load_settings(
        data_dir=Path(job["folder"]), **({"database": job["database"]} if job.get("database") else {})))
    gore = 0.97 if job.get("bloody") else 0.01
    engine = Engine(Parts(
        ledger=house.ledger, pack=house.pack,
        generator=FakeGenerator(fault=lambda *_: (Frame(scene(7, 320, 320)),)), text_guards=(quiet_classifier(),),
        frame_guards=lambda _: [*calm("clip"), FakeGuard("clip", {"iwp": 0.01, "gore": gore, "sub": 0.01})],
        finisher=house.finisher, staging=house.staging, store=house.store, clock=house.clock,
    ))
    limit, trace = job.get("limit", 0), job.get("count")
    if job["do"] == "ask":
        def progress(stage, done, total):
            if stage == job["from"] and done == 0 and trace:
                trace_lines(limit)
        outcome = engine.generate(GenerateRequest(job["prompt"], seed=7, subject="anna"), progress)
    else:
        engine.recover()
        if trace:
            trace_lines(limit)
        if job["do"] == "reject":
            outcome = review.Desk(house.ledger, house.pack).reject(UUID(job["intent"]), job["by"], "no")
        elif job["do"] == "resume":
            reviewing.sweep(engine.parts)
            outcome = resuming.go_on(engine, UUID(job["intent"]))
        else:
            outcome = resuming.approve(engine, UUID(job["intent"]), job["by"], "fine")
    sys.settrace(None)
    return {"did": type(outcome).__name__, "released": getattr(outcome, "released", None),
            "status": getattr(outcome, "status", None)}

def child(job, out):
    try:
        said = work(job) | {"count": count}
    except BaseException as error:
        said = {"error": repr(error), "code": getattr(error, "code", None), "count": count}
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
PLAIN, BLOODY, FIGURE = "a boat", "a dismembered statue in a fountain", "taylor swift walks a dog in the park"


@pytest.fixture(scope="module")
def mother() -> Iterator[Mother]:
    started = Mother(PROGRAM)
    yield started
    started.close()


class Bench:
    def __init__(self, mother: Mother, furnished: Path, tmp: Path) -> None:
        self.mother, self._furnished, self._tmp, self._number = mother, furnished, tmp, 0

    def copy(self, of: Path | None = None) -> Path:
        self._number += 1
        shutil.rmtree(self._tmp / f"data-{self._number - 1}", ignore_errors=True)
        return Path(shutil.copytree(of or self._furnished, self._tmp / f"data-{self._number}"))

    def do(self, do: str, folder: Path, mother: Mother | None = None, **job: Any) -> dict[str, Any]:
        """What the child said, or ``{}`` where it was killed."""
        using = mother or self.mother
        using.start(do, folder, **job)
        return dict(using.end()["said"] or {})

    def only(self, folder: Path, **settings: Any) -> str:
        with contextlib.closing(house_at(folder, **settings)) as house, session(house.log.engine) as rows:
            return str(rows.scalars(select(Intent).order_by(Intent.created_at.desc())).first().id)  # type: ignore[union-attr]

    def check(self, folder: Path, **settings: Any) -> tuple[Counter[str], dict[str, str]]:
        """Nothing is visible that is not recorded and approved, nothing ended twice, and what is held is whole.
        Returns the log's entry types, and the state of each request."""
        with contextlib.closing(house_at(folder, **settings)) as house:
            assert house.log.verify().ok
            entries = list(house.log.entries())
            with session(house.log.engine) as rows:
                assets = {a.public_name: a for a in rows.scalars(select(Asset))}
                states = {str(i.id): i.state for i in rows.scalars(select(Intent))}
                reviews = {str(r.intent_id): r for r in rows.scalars(select(Review))}
            for name, digest in assets_on_disk(folder).items():
                assert name in assets, "a file is visible that is not recorded"
                assert assets[name].sha256.hex() == digest
                assert read_credentials(folder / "assets" / name, "image/png", house.trust).state == "trusted"
            for intent, state in states.items():
                own = [entry for _, entry in entries if entry.get("intent") == intent]
                ends = [e["type"] for e in own if e["type"] in ("release", "failed", "abandoned")]
                assert len(ends) == (state in ("released", "failed", "abandoned")), (ends, state)
                holds = [e for e in own if e["type"] in ("held", "review.renewed")]
                if state == "released":
                    for opened in holds:
                        acts = {e["actor"] for e in own
                                if e["type"] == "review.approved" and e["round"] == opened["round"]}  # fmt: skip
                        assert len(acts) >= opened["approvals"], "released without its approvals"
                if state == "held":
                    assert intent in reviews, "it is held, and nobody is asked"
                    if reviews[intent].kept is not None:
                        assert (folder / "review" / intent / "pending.json").is_file(), (
                            "it is held, and its file is lost"
                        )
        return Counter(entry["type"] for _, entry in entries), states

    def finish(self, folder: Path, intent: str, **job: Any) -> Counter[str]:
        """Whatever was cut short is done: approvals that are missing are given, what is approved goes on."""
        settings = {"database": job["database"]} if "database" in job else {}
        for by in ("ruth", "rahel", "ruth"):
            self.check(folder, **settings)
            said = self.do("approve", folder, intent=intent, by=by, **job)
            if said.get("released"):
                break
            if said.get("code") == "review.state":
                self.do("resume", folder, intent=intent, **job)
        types, states = self.check(folder, **settings)
        if states[intent] == "released":
            assert len(assets_on_disk(folder)) >= 1
            assert not (folder / "review" / intent).exists() or self.do("resume", folder, intent=intent, **job)
        assert [p.name for p in (folder / "staging").glob("*") if p.name != ".gate"] == []
        return types


def house_at(folder: Path, **settings: Any) -> Installation:
    return Installation(load_settings(data_dir=folder, **settings))


@pytest.fixture
def bench(mother: Mother, furnished: Path, tmp_path: Path) -> Bench:
    return Bench(mother, furnished, tmp_path)


@pytest.fixture
def output(bench: Bench, furnished: Path, tmp_path: Path) -> tuple[Path, str]:
    folder = Path(shutil.copytree(furnished, tmp_path / "held"))
    assert bench.do("ask", folder, prompt=PLAIN, bloody=True, **{"from": ""})["did"] == "Held"
    return folder, bench.only(folder)


@pytest.fixture
def prompt(bench: Bench, furnished: Path, tmp_path: Path) -> tuple[Path, str]:
    folder = Path(shutil.copytree(furnished, tmp_path / "held"))
    assert bench.do("ask", folder, prompt=BLOODY, **{"from": ""})["did"] == "Held"
    return folder, bench.only(folder)


def test_a_kill_on_the_way_to_people(bench: Bench) -> None:
    job = {"prompt": PLAIN, "bloody": True, "from": "hold", "count": True}
    said = bench.do("ask", bench.copy(), **job)
    assert said["count"] > 60
    ended: Counter[str] = Counter()
    # The commit is one of the last lines.
    for limit in sorted({*limits(said["count"], 10), *range(said["count"] - 16, said["count"] + 1, 2)}):
        folder = bench.copy()
        bench.do("ask", folder, limit=limit, **job)
        _, states = bench.check(folder)
        [(intent, _)] = states.items()
        bench.finish(folder, intent, bloody=True)
        _, states = bench.check(folder)
        ended[states[intent]] += 1
        assert states[intent] in ("released", "abandoned")
        assert len(assets_on_disk(folder)) == (states[intent] == "released")
    assert ended["released"] >= 3, "both sides of the commit were seen"
    assert ended["abandoned"] >= 3


@pytest.mark.parametrize("side", ["output", "prompt"])
def test_a_kill_while_it_goes_on(bench: Bench, side: str, request: pytest.FixtureRequest) -> None:
    held, intent = request.getfixturevalue(side)
    job = {"intent": intent, "by": "ruth", "count": True, "bloody": side == "output"}
    said = bench.do("approve", bench.copy(held), **job)
    assert said["released"] is True
    before: Counter[str] = Counter()
    for limit in limits(said["count"], 22):
        folder = bench.copy(held)
        bench.do("approve", folder, limit=limit, **job)
        types, states = bench.check(folder)
        before[states[intent] if types["review.approved"] else "open"] += 1
        types = bench.finish(folder, intent, bloody=side == "output")
        assert types["release"] == 1
        assert types["abandoned"] == types["failed"] == 0
        assert types["review.approved"] in (1, 2)
        assert len(assets_on_disk(folder)) == 1
    assert before["open"] >= 2
    assert before["held"] + before["result"] >= 2
    assert before["released"] >= 1


def test_a_kill_while_it_is_rejected(bench: Bench, output: tuple[Path, str]) -> None:
    held, intent = output
    job = {"intent": intent, "by": "ruth", "count": True}
    count = bench.do("reject", bench.copy(held), **job)["count"]
    seen: Counter[str] = Counter()
    for limit in limits(count, 10):
        folder = bench.copy(held)
        bench.do("reject", folder, limit=limit, **job)
        types, states = bench.check(folder)
        seen[states[intent]] += 1
        assert types["review.rejected"] == types["refused"] == (states[intent] == "refused")
        if states[intent] == "held":
            assert bench.do("reject", folder, intent=intent, by="rahel")["status"] == "rejected"
        assert bench.do("approve", folder, intent=intent, by="ruth")["code"] == "review.state"
        assert assets_on_disk(folder) == {}
    assert seen["held"]
    assert seen["refused"]


def test_two_processes_at_once(bench: Bench, output: tuple[Path, str]) -> None:
    """Two approve, or one approves and one rejects: one of them wins, and the other is told."""
    held, intent = output
    other = Mother(PROGRAM)
    try:
        for number, second in enumerate(("approve", "reject", "reject", "reject")):
            folder = bench.copy(held)
            first = ("approve", bench.mother), (second, other)
            for do, mother in first if number % 2 else reversed(first):
                mother.start(do, folder, intent=intent, by="ruth" if do == "approve" else "rahel", bloody=True)
            said = [dict(mother.end()["said"]) for mother in (bench.mother, other)]
            won = [one for one in said if "error" not in one]
            lost = [one for one in said if "error" in one]
            types, states = bench.check(folder)
            assert types["release"] + types["review.rejected"] == 1, (said, types)
            assert {one["code"] for one in lost} <= {"review.state", "release.busy"}, said
            assert len(won) >= 1
            assert states[intent] in ("released", "refused")
            assert len(assets_on_disk(folder)) == types["release"]
    finally:
        other.close()


def test_kills_on_postgresql(bench: Bench, postgres_url: str, furnished: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(furnished, tmp_path / "postgres"))
    (folder / "audit.db").unlink()
    (folder / "checkpoint.guard").unlink(missing_ok=True)
    database = {"database": postgres_url}
    released = 0
    counts: dict[bool, int] = {}
    for share in (1.0, 0.05, 0.3, 0.6, 0.8, 0.95):
        for bloody in (True, False):
            bench.do("ask", folder, prompt=PLAIN if bloody else BLOODY, bloody=bloody, **{"from": ""}, **database)
            intent = bench.only(folder, **database)
            job = {"intent": intent, "by": "ruth", "count": True, "bloody": bloody, **database}
            if bloody not in counts:
                counts[bloody] = bench.do("approve", folder, **job)["count"]
            else:
                bench.do("approve", folder, limit=int(counts[bloody] * share), **job)
                bench.finish(folder, intent, bloody=bloody, **database)
            released += 1
            assert bench.check(folder, **database)[0]["release"] == released


# ── what else can fail ───────────────────────────────────────────────────────────────────────────────────────────
def engine_of(make: MakeEngine, gore: float = 0.97) -> Engine:
    return make(frame_guards=lambda _: [*calm("clip"), FakeGuard("clip", {"iwp": 0.01, "gore": gore, "sub": 0.01})])


def full(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_holds_nothing_half(installation: Installation, make_engine: MakeEngine) -> None:
    engine = engine_of(make_engine)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pending, "_taken", full)
        with pytest.raises(FiligranaError) as caught:
            engine.generate(GenerateRequest(PLAIN, seed=7))
    assert caught.value.code == "release.pending"
    [(_, last)] = list(installation.log.entries())[-1:]
    assert (last["type"], last["code"]) == ("failed", "release.pending")
    assert list((installation.folder / "review").glob("*")) == []
    assert Desk(installation.ledger, installation.pack).cases(status=None) == []


def test_a_full_disk_leaves_what_is_approved_approved(installation: Installation, make_engine: MakeEngine) -> None:
    engine = engine_of(make_engine)
    outcome = engine.generate(GenerateRequest(PLAIN, seed=7))
    assert isinstance(outcome, Held)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "copyfile", full)
        with pytest.raises(FiligranaError):
            approve(engine, UUID(outcome.intent), "ruth", "fine")
    assert Desk(installation.ledger, installation.pack).case(UUID(outcome.intent)).goes_on
    assert assets_on_disk(installation.folder) == {}
    assert isinstance(go_on(engine, UUID(outcome.intent)), Release)


@pytest.mark.parametrize("act", ["hold", "approve", "reject", "sweep"])
def test_a_database_that_refuses_changes_nothing(installation: Installation, make_engine: MakeEngine, act: str) -> None:
    engine = engine_of(make_engine)
    desk = Desk(installation.ledger, installation.pack)

    @contextlib.contextmanager
    def broken(self: Ledger) -> Iterator[Any]:
        with self.log.transaction() as transaction:
            yield transaction
            raise LogError("told to fail", code="log.write")

    outcome: Any = None if act == "hold" else engine.generate(GenerateRequest(PLAIN, seed=7))
    acts: dict[str, Any] = {
        "hold": lambda: engine.generate(GenerateRequest(PLAIN, seed=7)),
        "approve": lambda: approve(engine, UUID(outcome.intent), "ruth", "fine"),
        "reject": lambda: desk.reject(UUID(outcome.intent), "ruth", "no"),
        "sweep": desk.sweep,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ledger, "change", broken)
        if act == "sweep":
            patch.setattr(Desk, "now", lambda *_: installation.clock().replace(year=2100))
        with pytest.raises(LogError):
            acts[act]()
    assert assets_on_disk(installation.folder) == {}
    if act == "hold":
        sweep(engine.parts)
        assert list((installation.folder / "review").glob("*")) == []
        assert [e["type"] for _, e in installation.log.entries()][-1] == "failed"
    else:
        assert desk.case(UUID(outcome.intent)).status == "open"
        assert desk.case(UUID(outcome.intent)).acts == ()


@pytest.mark.parametrize("how", ["raise", "nan", "none"])
def test_a_guard_that_fails_while_it_goes_on_releases_nothing(
    installation: Installation, make_engine: MakeEngine, how: str
) -> None:
    """The output of an approved prompt, judged by a guard that cannot answer, goes before people."""
    engine = engine_of(make_engine, 0.01)
    outcome = engine.generate(GenerateRequest(BLOODY, seed=7))
    faults: dict[str, Any] = {"raise": lambda: 1 / 0, "nan": lambda: float("nan"), "none": lambda: None}
    failing = make_engine(frame_guards=lambda _: [FakeGuard("nsfw", fault=faults[how]), *calm("nsfw")])
    again = approve(failing, UUID(outcome.intent), "ruth", "fine")  # type: ignore[union-attr]
    assert isinstance(again, Held)
    assert again.code == "output.guard_failed"
    assert assets_on_disk(installation.folder) == {}


def test_the_checks_notice_a_release_without_an_approval(bench: Bench, output: tuple[Path, str]) -> None:
    """Negative control: the gates are taken away, and the checks see it."""
    folder, intent = output
    with contextlib.closing(house_at(folder)) as house:
        with session(house.log.engine, write=True) as rows:
            row = rows.get(Review, UUID(intent))
            assert row is not None
            rows.delete(row)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("filigrana.pipeline.ledger._FROM", {"result": ("held",), "released": ("result",)})
            house.ledger.result(UUID(intent), {"name": "x", "sampling": {}}, {})
            with house.ledger._writing() as change:
                house.ledger._advance(change, UUID(intent), "released", None)
                change.append({"type": "release", "intent": intent})
    with pytest.raises(AssertionError, match="released without its approvals"):
        bench.check(folder)


def test_the_checks_notice_a_lost_file(bench: Bench, output: tuple[Path, str]) -> None:
    """Negative control."""
    folder, intent = output
    shutil.rmtree(folder / "review" / intent)
    with pytest.raises(AssertionError, match="its file is lost"):
        bench.check(folder)
