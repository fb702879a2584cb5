"""Folders and files that two processes of one house are at: what one of them removes, the other one may be using."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest

from filigrana.errors import ReleaseError
from filigrana.pipeline import recall, staging
from filigrana.pipeline.api import Pipeline
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.jobs.incoming import Incoming
from filigrana.pipeline.jobs.worker import Worker
from filigrana.pipeline.rekeying import rotate
from filigrana.pipeline.released import catalog_problems
from filigrana.pipeline.request import GenerateRequest, Release
from filigrana.pipeline.store import export
from filigrana.pipeline.web.contents import content
from filigrana.provenance.catalog import Catalog
from filigrana.provenance.database import session
from filigrana.tests.conftest import MakeEngine
from filigrana.tests.meeting import after, once


def test_recovery_leaves_a_folder_that_somebody_opened_anew(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It opened the lock of a folder that went away, and got it, since nobody held that one any more: then it emptied
    the folder of whoever came next, with what they had signed and not published yet."""
    house, intent, real = installation, uuid4(), staging.fcntl.flock
    row, made, gone = house.ledger.row, list[Path](), list[bool]()
    first, second = house.staging.open(intent), house.staging.open(intent)
    first.__enter__()

    def locked(handle: int, how: int) -> None:
        if how & staging.fcntl.LOCK_NB and not gone:
            gone.append(True)
            first.__exit__(None, None, None)  # the folder goes, and with it the file whose lock is asked for
        real(handle, how)

    def anew(_: UUID) -> Any:
        """Whenever the database is asked, the first time: recovery has let go of the gate by then."""
        if not made:
            made.append(second.__enter__())
            (made[0] / "finished").write_bytes(b"signed")
        return row(intent)

    monkeypatch.setattr(staging.fcntl, "flock", locked)
    monkeypatch.setattr(house.ledger, "row", anew)
    house.staging.recover(house.ledger, house.store)
    assert gone
    anew(intent)
    assert (made[0] / "finished").read_bytes() == b"signed"
    second.__exit__(None, None, None)


# ── alarms that are none ─────────────────────────────────────────────────────────────────────────────────────────
def test_a_release_while_the_catalog_is_checked_is_no_finding(
    make_engine: MakeEngine, installation: Installation
) -> None:
    engine = make_engine()
    assert isinstance(engine.generate(GenerateRequest("a red boat", seed=1)), Release)
    more = [2, 3]

    def meanwhile(*_: object) -> None:
        while more:
            assert isinstance(engine.generate(GenerateRequest("a red boat", seed=more.pop())), Release)

    assert catalog_problems(installation.log, meanwhile) == []


def test_the_first_checkpoint_while_the_log_is_verified_is_no_finding(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = installation.log
    log.append({"type": "test"})
    guard = log._checkpoints.guard_note
    monkeypatch.setattr(log._checkpoints, "guard_note", after(guard, once(log.checkpoint)))
    report = log.verify()
    assert report.ok, report


# ── files that are sent again ────────────────────────────────────────────────────────────────────────────────────
def test_a_file_that_is_sent_again_at_the_moment_it_would_go_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Incoming(tmp_path / "incoming")

    def sent() -> str:
        (tmp_path / "upload").write_bytes(b"a photograph")
        return kept.take(tmp_path / "upload")

    name = sent()
    os.utime(tmp_path / "incoming" / name, (1, 1))
    stat = Path.stat
    again = once(sent)
    with ThreadPoolExecutor(1) as pool:
        sending: list[Future[str]] = []

        def looked(path: Path, **how: Any) -> Any:
            found = stat(path, **how)
            if path.name == name and not sending:
                sending.append(pool.submit(again))
                time.sleep(0.3)  # it gets through, or waits
            return found

        monkeypatch.setattr(Path, "stat", looked)
        kept.sweep(set())
    assert kept.checked(sending[0].result()).read_bytes() == b"a photograph"


# ── files that are replaced ──────────────────────────────────────────────────────────────────────────────────────
def test_a_file_that_is_signed_again_while_somebody_asks_for_it_is_what_was_released(
    make_engine: MakeEngine, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = installation
    done = make_engine().generate(GenerateRequest("a red boat", seed=1))
    assert isinstance(done, Release)
    with session(house.log.engine) as opened:
        record = Catalog(opened).by_asset_id(done.asset_id)
    assert record is not None
    recall.revoke(house, first=0, last=None, reason="stolen")
    rotate(house)
    fetched = house.store.fetched
    meanwhile = once(lambda: list(recall.resign(house)))

    def late(name: str) -> Path:
        meanwhile()
        return fetched(name)

    monkeypatch.setattr(house.store, "fetched", late)
    found = content(SimpleNamespace(installation=house), record)  # type: ignore[arg-type]
    assert found.sha256 != record.sha256.hex(), "it was signed again before it was read"


def test_an_export_leaves_the_mask_of_other_threads_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was set to nothing to be read: folders that others made meanwhile could be written by everybody."""
    (tmp_path / "asset").write_bytes(b"released")
    real = os.umask
    mask = real(0o027)

    def slow(to: int) -> int:
        found = real(to)
        time.sleep(0.3)
        return found

    monkeypatch.setattr(os, "umask", slow)
    try:
        with ThreadPoolExecutor(1) as pool:
            exporting = pool.submit(export, tmp_path / "asset", tmp_path / "copy")
            time.sleep(0.1)
            (tmp_path / "folder").mkdir()
            exporting.result()
    finally:
        real(mask)
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o640
    assert not list(tmp_path.glob(".copy.*"))


# ── what was released, and not published yet ─────────────────────────────────────────────────────────────────────
@pytest.fixture
def unpublished(make_engine: MakeEngine, installation: Installation) -> list[str]:
    """The names of two assets whose store went away between the commit and the copy."""
    store = installation.store
    away = SimpleNamespace(**{name: getattr(store, name) for name in ("name", "ready", "exists", "path", "where")})
    away.publish = gone
    engine = make_engine(store=away)
    for seed in (1, 2):
        with pytest.raises(ReleaseError):
            engine.generate(GenerateRequest("a red boat", seed=seed))
    with session(installation.log.engine) as opened:
        names = sorted(str(row.public_name) for row in Catalog(opened).newest())
    assert len(names) == 2
    assert not any(map(store.exists, names))
    return names


def gone(*_: object) -> None:
    raise ReleaseError("the store is away", code="release.store")


def test_one_file_that_cannot_be_published_keeps_no_other_from_it(
    make_engine: MakeEngine, installation: Installation, unpublished: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, tried = installation.store, list[str]()
    publish = store.publish

    def first_fails(staged: Path, name: str) -> None:
        tried.append(name)
        if name == tried[0]:
            gone()
        publish(staged, name)

    monkeypatch.setattr(store, "publish", first_fails)
    with pytest.raises(ReleaseError):
        make_engine().recover()
    assert [name for name in unpublished if store.exists(name)] == tried[1:] != []


def test_a_worker_that_starts_while_the_store_is_away_publishes_once_it_is_back(
    installation: Installation, unpublished: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Pipeline(installation.settings) as pipeline:
        house = pipeline.installation
        worker = Worker(pipeline, house.jobs)
        with monkeypatch.context() as patch:
            patch.setattr(house.store, "publish", gone)
            assert worker.run(threading.Event(), once=True) == 0
        assert worker.run(threading.Event(), once=True) == 0
        assert all(map(house.store.exists, unpublished))
