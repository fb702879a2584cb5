"""A backup is all that an installation is; a changed one is not put back; and it goes from one database to the other."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import secrets
import stat
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from filigrana.errors import BackupError, FiligranaError, InputError
from filigrana.pipeline.backup import _Kept, backup
from filigrana.pipeline.cli.app import app
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.jobs.model import Order
from filigrana.pipeline.register import Register
from filigrana.pipeline.rekeying import rotate
from filigrana.pipeline.request import Release
from filigrana.pipeline.restoring import restore
from filigrana.pipeline.settings import load_settings
from filigrana.pipeline.web.spooling import Spool
from filigrana.pipeline.webhooks import Webhooks
from filigrana.provenance.by_request import problems
from filigrana.provenance.database import HEAD, current_revision, session
from filigrana.provenance.media import encode_picture
from filigrana.provenance.service_tables import JobOwner
from filigrana.provenance.tables import Asset
from filigrana.tests.doubles import scene
from filigrana.tests.serving import released

KEPT = Path(__file__).parent.parent / "kept"
Open = Callable[..., Installation]


@pytest.fixture
def opened() -> Iterator[Open]:
    houses: list[Installation] = []

    def make(folder: Path, database: str | None = None) -> Installation:
        houses.append(Installation(load_settings(data_dir=folder, database=database)))
        return houses[-1]

    yield make
    for house in houses:
        house.close()


def filled(house: Installation) -> Release:
    release = released(house)
    house.access.add("press", "ana", ["creator"])
    house.jobs.put(Order("press", "ana", "generate", {"seed": 3, "mime": "image/png"}, {"prompt": "a boat"}, key="k"))
    return release


@pytest.mark.parametrize("way", ["sqlite-sqlite", "sqlite-postgresql", "postgresql-sqlite"])
def test_all_of_it_comes_back(tmp_path: Path, opened: Open, way: str, request: pytest.FixtureRequest) -> None:
    urls = [request.getfixturevalue("postgres_url") if name == "postgresql" else None for name in way.split("-")]
    old = opened(tmp_path / "old", urls[0])
    release = filled(old)
    archive = tmp_path / "backup.tar"
    made = backup(old, archive)
    assert (made.entries, made.assets, made.missing) == (old.log.size(), 1, ())
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600, "the keys are in it"
    root, size = old.log.root(), old.log.size()

    new = opened(tmp_path / "new", urls[1])
    assert restore(new, archive).entries == size
    assert (new.log.root(), new.log.size()) == (root, size)
    finding = new.inspector.verify(new.store.path(f"{str(release.asset_id)[:2]}/{release.asset_id}.png"))
    assert (finding.finding, finding.asset_id) == ("verified", release.asset_id)
    # and it goes on: the same key signs, numbers are drawn anew, the text opens
    job = new.jobs.list("press")[0]
    assert new.jobs.text(job, "prompt") == "a boat"
    lease = new.jobs.lease("w")
    assert lease is not None
    assert new.jobs.put(Order("press", "ana", "generate", {"seed": 4}, {"prompt": "b"}))[0].place > job.place
    filled(new)
    report = new.log.verify([old.log.checkpoint()])
    assert report.ok, "what was promised before still holds"


def changed(archive: Path, name: str, change: Callable[[bytes], bytes]) -> Path:
    target = archive.with_name("changed.tar")
    with tarfile.open(archive) as source, tarfile.open(target, "w") as out:
        for member in source:
            data = source.extractfile(member).read()  # type: ignore[union-attr]
            if member.name == name:
                data = change(data)
            member.size = len(data)
            out.addfile(member, io.BytesIO(data))
    return target


def added(archive: Path, name: str, data: bytes) -> Path:
    """The archive with one more member, or another one in its place, listed as if it had been there."""
    with_it = archive.with_name("added.tar")
    with tarfile.open(archive) as source, tarfile.open(with_it, "w") as out:
        for member in (each for each in source if each.name != name):
            held = source.extractfile(member).read()  # type: ignore[union-attr]
            if member.name == "manifest.json":
                said = json.loads(held)
                said["members"][name] = hashlib.sha256(data).hexdigest()
                info = tarfile.TarInfo(name)
                info.size = len(data)
                out.addfile(info, io.BytesIO(data))
                held = json.dumps(said).encode()
            member.size = len(held)
            out.addfile(member, io.BytesIO(held))
    return with_it


def test_what_was_changed_is_not_put_back_and_nothing_is_written(tmp_path: Path, opened: Open) -> None:
    old = opened(tmp_path / "old")
    filled(old)
    archive = tmp_path / "backup.tar"
    backup(old, archive)
    with pytest.raises(BackupError):
        backup(old, archive)  # never over another one
    cut = tmp_path / "cut.tar"
    cut.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    nonsense = tmp_path / "nonsense.tar"
    nonsense.write_bytes(b"no tar")
    wrong = [
        changed(archive, "database/log_entries.jsonl", lambda data: data.replace(b"A", b"B", 1)), cut, nonsense,
        tmp_path / "nowhere.tar",
    ]  # fmt: skip
    for number, path in enumerate(wrong):
        new = opened(tmp_path / f"new{number}")
        with pytest.raises(BackupError) as caught:
            restore(new, path)
        assert caught.value.code in ("backup.changed", "backup.format")
        assert not (tmp_path / f"new{number}").exists()
    evil = tmp_path / "evil.tar"
    with tarfile.open(evil, "w") as out:
        info = tarfile.TarInfo("files/../../outside")
        info.size = 1
        out.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(BackupError):
        restore(opened(tmp_path / "evil"), evil)
    assert not (tmp_path / "outside").exists()


def test_it_is_put_into_an_empty_place_only(tmp_path: Path, opened: Open) -> None:
    old = opened(tmp_path / "old")
    filled(old)
    archive = tmp_path / "backup.tar"
    backup(old, archive)
    with pytest.raises(BackupError) as caught:
        restore(old, archive)
    assert caught.value.code == "backup.occupied"
    elsewhere = opened(tmp_path / "elsewhere", f"sqlite:///{old.folder}/audit.db")
    with pytest.raises(BackupError) as caught:
        restore(elsewhere, archive)
    assert caught.value.code == "backup.occupied"
    assert list(elsewhere.folder.iterdir()) == [], "nothing was written"
    for number, revision in enumerate([b"90009", b"9", b"head", b"base", b""]):
        said = re.compile(rb'"revision": "[0-9]+"')
        other = changed(archive, "manifest.json", lambda data: said.sub(b'"revision": "' + revision + b'"', data))  # noqa: B023
        with pytest.raises(FiligranaError) as version:
            restore(opened(tmp_path / f"new{number}"), other)
        assert version.value.code == "backup.version"


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_one_of_the_version_before_is_put_back_and_brought_up_to_date(
    tmp_path: Path, opened: Open, database: str, request: pytest.FixtureRequest
) -> None:
    """`kept/backup-0008.tar.gz` was made by the version with that schema: a key, a webhook, a cancelled job and the
    message about it, and a job that was released (without its file)."""
    url = request.getfixturevalue("postgres_url") if database == "postgresql" else None
    new = opened(tmp_path / "new", url)
    told = restore(new, KEPT / "backup-0008.tar.gz")
    assert (told.entries, told.assets) == (new.log.size(), 0) == (7, 0)
    assert current_revision(new.log.engine) == HEAD
    assert new.log.verify().ok
    assert problems(new.log, new.log.size()) == []
    (hook,) = Webhooks(new).list("press")
    (message,) = Webhooks(new).deliveries("press", hook.id, 10)
    assert (message["event"], message["reason"], message["state"]) == ("job.cancelled", None, "waiting")
    assert [job.state for job in new.jobs.list("press", mime="image/png")] == ["released", "cancelled"]
    with session(new.log.engine) as rows:
        (owner,) = rows.scalars(select(JobOwner)).all()
        asset = rows.get_one(Asset, owner.asset_id)
        assert (owner.media, owner.released_at) == (asset.media, asset.created_at)
    assert new.log.append({"type": "after"}) == 7
    assert restore(opened(tmp_path / "again"), backed_up(new, tmp_path / "new.tar")).entries == 8


def backed_up(house: Installation, archive: Path) -> Path:
    backup(house, archive)
    return archive


def test_tables_that_its_version_does_not_have_are_not_put_back(tmp_path: Path, opened: Open) -> None:
    archive = tmp_path / "old.tar"
    archive.write_bytes(gzip.decompress((KEPT / "backup-0008.tar.gz").read_bytes()))
    strange = {"database/webhooks.jsonl": b'{"id": "a1", "uri": "https://example.org/"}\n', "database/more.jsonl": b""}
    for number, (name, data) in enumerate(strange.items()):
        with pytest.raises(BackupError) as caught:
            restore(opened(tmp_path / str(number)), added(archive, name, data))
        assert caught.value.code == "backup.format"


def test_a_file_without_a_row_is_left_out_and_one_that_is_gone_is_told(tmp_path: Path, opened: Open) -> None:
    old = opened(tmp_path / "old")
    release = filled(old)
    stray = old.folder / "assets" / "ZZ" / "ZZZZZZZZZZZZ.png"
    stray.parent.mkdir()
    stray.write_bytes(b"released after the database was taken")
    archive = tmp_path / "backup.tar"
    backup(old, archive)
    with tarfile.open(archive) as made:
        assert not [name for name in made.getnames() if "ZZZZ" in name]
    # an archive of another version may hold one
    with_it = added(archive, "files/assets/ZZ/ZZZZZZZZZZZZ.png", stray.read_bytes())
    new = opened(tmp_path / "new")
    assert restore(new, with_it).missing == ("ZZ/ZZZZZZZZZZZZ.png",)
    assert not new.store.exists("ZZ/ZZZZZZZZZZZZ.png")
    assert new.store.exists(f"{str(release.asset_id)[:2]}/{release.asset_id}.png")
    release.file.unlink()
    old.close()
    runner = CliRunner()
    told = runner.invoke(app, ["--data-dir", str(tmp_path / "old"), "backup", "-o", str(tmp_path / "b.tar"), "--json"])
    assert told.exit_code == 1
    assert str(release.asset_id) in json.loads(told.output)["missing"][0]
    told = runner.invoke(app, ["--data-dir", str(tmp_path / "third"), "restore", str(archive), "--json"])
    assert told.exit_code == 0, told.output


def test_uploads_may_come_and_go_while_it_is_made(tmp_path: Path, opened: Open) -> None:
    old = opened(tmp_path / "old")
    filled(old)
    done = threading.Event()

    def visited() -> None:
        with closing(Spool(old.folder / "spool")) as spool:
            while not done.is_set():
                with spool.open() as work:
                    (work / "upload").write_bytes(b"x")

    visitors = [threading.Thread(target=visited) for _ in range(4)]
    for visitor in visitors:
        visitor.start()
    try:
        made = [backup(old, tmp_path / f"{number}.tar") for number in range(20)]
    finally:
        done.set()
        for visitor in visitors:
            visitor.join()
    assert len({one.files for one in made}) == 1


def test_released_files_may_be_left_to_a_store_that_keeps_its_own_copies(tmp_path: Path, opened: Open) -> None:
    old = opened(tmp_path / "old")
    release = filled(old)
    archive = tmp_path / "backup.tar"
    assert backup(old, archive, assets=False).missing == ()
    with tarfile.open(archive) as made:
        assert not [name for name in made.getnames() if str(release.asset_id) in name]
    new = opened(tmp_path / "new")
    assert restore(new, archive).assets == 0


def test_a_register_that_is_written_to_meanwhile_comes_back_whole(tmp_path: Path, opened: Open) -> None:
    """It changed between its digest and its copy: the archive was one that could not be put back."""
    house = opened(tmp_path / "old")
    house.log.size()
    register, done = Register(house.folder / "register.db"), threading.Event()
    for number in range(3):
        picture = tmp_path / f"{number}.png"
        picture.write_bytes(encode_picture(scene(number, 128, 128), "image/png"))
        register.add(picture)

    def written() -> None:
        while not done.is_set():
            with register._writing() as rows:
                rows.execute("update works set title = ? where number = 1", (secrets.token_hex(3000),))

    writer = threading.Thread(target=written)
    writer.start()
    try:
        for number in range(8):
            backup(house, tmp_path / f"{number}.tar")
    finally:
        done.set()
        writer.join()
    for number in range(8):
        new = opened(tmp_path / f"new{number}")
        restore(new, tmp_path / f"{number}.tar")
        assert len(Register(new.folder / "register.db").entries()) == 3


def test_a_file_that_changes_while_it_is_read_does_not_spoil_the_rest(
    tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = opened(tmp_path / "old")
    house.log.size()
    note, real = house.folder / "note", tarfile.TarFile.addfile
    note.write_bytes(b"before")

    def slow(archive: tarfile.TarFile, info: tarfile.TarInfo, stream: Any = None) -> None:
        if info.name == "files/note":
            note.write_bytes(b"after!")
        real(archive, info, stream)

    monkeypatch.setattr(tarfile.TarFile, "addfile", slow)
    backup(house, tmp_path / "backup.tar")
    new = opened(tmp_path / "new")
    restore(new, tmp_path / "backup.tar")
    assert (new.folder / "note").read_bytes() == b"after!"


def test_a_key_that_changes_meanwhile_comes_back_with_its_own_chain(
    tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = opened(tmp_path / "old")
    house.log.size()
    real = _Kept.file
    with ThreadPoolExecutor(1) as pool:

        def slow(kept: _Kept, name: str, path: Path) -> None:
            real(kept, name, path)
            if name == "files/keys/claim.key":
                pool.submit(rotate, opened(house.folder))
                time.sleep(0.5)  # it gets through, or waits

        monkeypatch.setattr(_Kept, "file", slow)
        backup(house, tmp_path / "backup.tar")
    new = opened(tmp_path / "new")
    restore(new, tmp_path / "backup.tar")
    new.keys.claim()


COMMAND = [sys.executable, "-c", "from filigrana.pipeline.cli import main; main()", "backup", "-o", "-"]


def test_it_flows_into_a_pipe_and_comes_back(tmp_path: Path, opened: Open) -> None:
    old = opened(tmp_path / "old")
    filled(old)
    environment = {**os.environ, "FILIGRANA_DATA_DIR": str(tmp_path / "old")}
    done = subprocess.run(COMMAND, env=environment, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert f"-: {old.log.size()} entries, 1 assets" in done.stderr.decode()
    archive = tmp_path / "backup.tar"
    archive.write_bytes(done.stdout)
    new = opened(tmp_path / "new")
    assert restore(new, archive).entries == old.log.size()
    assert new.log.root() == old.log.root()
    assert list((tmp_path / "old").glob("tmp*")) == [], "rows were left beside the log"


def test_a_pipe_that_breaks_is_no_success_and_no_backup(tmp_path: Path, opened: Open) -> None:
    old = opened(tmp_path / "old")
    filled(old)
    environment = {**os.environ, "FILIGRANA_DATA_DIR": str(tmp_path / "old")}
    with subprocess.Popen(COMMAND, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        head = running.stdout.read(20_480)
        running.stdout.close()
        said = running.stderr.read().decode()
        assert running.wait(120) == 1
    assert "cannot be written: Broken pipe" in said
    # What came through may end between two members: then only the manifest is lacking.
    archive = tmp_path / "cut.tar"
    archive.write_bytes(head)
    ends: list[int] = []
    with tarfile.open(archive, "r|") as members, suppress(tarfile.ReadError):
        ends.extend(member.offset_data + -(-member.size // 512) * 512 for member in members)
    cuts = [len(head), *(end for end in ends if end < len(head))]
    assert len(cuts) > 2
    for cut in cuts:
        archive.write_bytes(head[:cut])
        with pytest.raises(BackupError):
            restore(opened(tmp_path / f"new-{cut}"), archive)


def test_standard_output_takes_one_thing(tmp_path: Path, opened: Open) -> None:
    filled(opened(tmp_path / "old"))
    told = CliRunner().invoke(app, ["--data-dir", str(tmp_path / "old"), "backup", "-o", "-", "--json"])
    assert told.exit_code == 1
    assert isinstance(told.exception, InputError)
