"""A key in other hands: what it signed is listed, signed again, and whoever asks is told; on both databases, past any kill."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from typer.testing import CliRunner

from filigrana.errors import InputError
from filigrana.pipeline import recall
from filigrana.pipeline.cli.app import app
from filigrana.pipeline.engine import Engine
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.rekeying import rotate
from filigrana.pipeline.request import GenerateRequest, Release, SealRequest
from filigrana.pipeline.settings import load_settings
from filigrana.provenance import database
from filigrana.provenance.catalog import Catalog
from filigrana.provenance.credentials import read_credentials
from filigrana.provenance.database import session
from filigrana.provenance.media import encode_picture
from filigrana.provenance.revocations import Revocation, newest_resigning
from filigrana.provenance.sidecar import read_sidecar, sidecar_of
from filigrana.tests.doubles import scene
from filigrana.tests.dying import Died, dying


@pytest.fixture
def house(tmp_path: Path, database_url: str) -> Iterator[Installation]:
    opened = Installation(load_settings(data_dir=tmp_path / "house", database=database_url))
    yield opened
    opened.close()


@pytest.fixture
def make(make_engine: Callable[..., Engine], house: Installation) -> Callable[..., Engine]:
    def engine(**changes: Any) -> Engine:
        parts = {"ledger": house.ledger, "finisher": house.finisher, "staging": house.staging, "store": house.store}
        return make_engine(**(parts | changes))

    return engine


def sealed(make: Callable[..., Engine], folder: Path, seed: int = 1, **changes: Any) -> Release:
    path = folder / f"in{seed}.jpg"
    path.write_bytes(encode_picture(scene(seed), "image/jpeg"))
    released = make(**changes).seal(SealRequest(path, "camera"))
    assert isinstance(released, Release)
    return released


def about(house: Installation, released: Release) -> Revocation | None:
    with session(house.log.engine) as rows:
        return Catalog(rows).revocation(released.asset_id)


def signer_of(house: Installation, path: Path, mime: str = "image/jpeg") -> tuple[str, str]:
    found = read_credentials(path, mime, house.trust)
    return found.state, found.label or ""


def compromised(house: Installation, released: Release, last: int | None = None) -> str:
    """The key that signed is replaced, and revoked from this release on. Its fingerprint."""
    old = rotate(house).old
    assert old is not None
    recall.revoke(house, first=released.log.index, last=last, reason="stolen laptop", certificate=old)
    return old


def test_what_a_revoked_key_signed_is_listed_signed_again_and_told(
    house: Installation, make: Callable[..., Engine], tmp_path: Path
) -> None:
    before = sealed(make, tmp_path, 1)
    first, second = sealed(make, tmp_path, 2), make().generate(GenerateRequest("a boat", seed=3))
    assert isinstance(second, Release)
    old = compromised(house, first)
    after = sealed(make, tmp_path, 4)
    assert [item.asset_id for item in recall.recalled(house)] == [first.asset_id, second.asset_id]
    assert about(house, before) is None
    assert about(house, after) is None
    told = about(house, first)
    assert told is not None
    assert (told.reason, told.fingerprint, told.replaced_by) == ("stolen laptop", old, None)
    labels = {r.asset_id: signer_of(house, r.file, r.mime)[1] for r in (first, second)}

    assert {item.status for item in recall.resign(house)} == {"signed again"}
    for released in (first, second):
        state, label = signer_of(house, released.file, released.mime)
        assert state == "trusted"
        told = about(house, released)
        assert told is not None
        assert told.replaced_by == label != labels[released.asset_id]
        with session(house.log.engine) as rows:
            stores = Catalog(rows).manifests(released.asset_id)
        assert set(stores) == {label, labels[released.asset_id]}
        finding = house.verifier().verify(released.file)
        assert (finding.finding, finding.asset_id) == ("verified", released.asset_id)
        credentials = read_credentials(released.file, released.mime, house.trust)
        assert credentials.actions[0] == "c2pa.opened"
        assert "parentOf" in credentials.ingredients
        assert (credentials.record or {})["resigned"] == {"reason": "stolen laptop"}
    assert signer_of(house, before.file)[0] == "trusted"
    types = [entry["type"] for _, entry in house.log.entries()]
    assert types.count("resign") == 2
    assert house.log.verify().ok


def test_doing_it_again_does_nothing(house: Installation, make: Callable[..., Engine], tmp_path: Path) -> None:
    released = sealed(make, tmp_path)
    compromised(house, released)
    list(recall.resign(house))
    data, size = released.file.read_bytes(), house.log.size()
    assert [item.status for item in recall.resign(house)] == ["signed again"]
    assert (released.file.read_bytes(), house.log.size()) == (data, size)


def test_the_range_has_an_end(house: Installation, make: Callable[..., Engine], tmp_path: Path) -> None:
    first, second = sealed(make, tmp_path, 1), sealed(make, tmp_path, 2)
    compromised(house, first, last=first.log.index)
    assert [item.asset_id for item in recall.recalled(house)] == [first.asset_id]
    assert about(house, second) is None


def test_a_file_signed_with_another_key_in_the_same_range_is_left_alone(
    house: Installation, make: Callable[..., Engine], tmp_path: Path
) -> None:
    first = sealed(make, tmp_path, 1)
    old = rotate(house).old
    second = sealed(make, tmp_path, 2)
    recall.revoke(house, first=0, last=None, reason="lost", certificate=old)
    assert [item.asset_id for item in recall.recalled(house)] == [first.asset_id]
    assert about(house, second) is None


def test_a_sidecar_is_replaced_and_its_file_is_not(
    house: Installation, make: Callable[..., Engine], tmp_path: Path
) -> None:
    finisher = replace(house.finisher(), embed_limit=10)
    released = sealed(make, tmp_path, finisher=lambda: finisher)
    data, store = released.file.read_bytes(), read_sidecar(sidecar_of(released.file) or tmp_path)
    compromised(house, released)
    house.settings.__dict__["embed_limit"] = 10
    assert [item.status for item in recall.resign(house)] == ["signed again"]
    new = read_sidecar(sidecar_of(released.file) or tmp_path)
    assert released.file.read_bytes() == data
    assert new != store
    assert read_credentials(released.file, "image/jpeg", house.trust, manifest_store=new).state == "trusted"
    assert [item.status for item in recall.recalled(house)] == ["signed again"]


@pytest.mark.parametrize("fault", ["missing", "changed"])
def test_a_file_that_is_not_there_any_more_is_told(
    house: Installation, make: Callable[..., Engine], tmp_path: Path, fault: str
) -> None:
    released = sealed(make, tmp_path)
    compromised(house, released)
    if fault == "missing":
        released.file.unlink()
    else:
        released.file.write_bytes(released.file.read_bytes() + b"x")
    assert [item.status for item in recall.resign(house)] == [fault]


def test_a_revoked_key_signs_nothing_again(house: Installation, make: Callable[..., Engine], tmp_path: Path) -> None:
    released = sealed(make, tmp_path)
    recall.revoke(house, first=released.log.index, last=None, reason="lost")
    with pytest.raises(InputError) as caught:
        list(recall.resign(house))
    assert caught.value.code == "input.revoked"


def test_an_asset_that_cannot_be_signed_again_keeps_its_file(
    house: Installation, make: Callable[..., Engine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = sealed(make, tmp_path)
    data = released.file.read_bytes()
    compromised(house, released)
    down = load_settings(data_dir=house.folder, database=house.settings.database, tsa_url=["http://127.0.0.1:9"])
    other = Installation(down)
    assert [item.status for item in recall.resign(other)] == ["failed"]
    other.close()
    assert released.file.read_bytes() == data
    with session(house.log.engine) as rows:
        assert newest_resigning(rows, released.asset_id) is None


@pytest.mark.parametrize("step", range(9))
def test_a_recall_that_dies_is_made_good_by_the_next(
    house: Installation, make: Callable[..., Engine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    released = sealed(make, tmp_path)
    old = signer_of(house, released.file)[1]
    compromised(house, released)

    counted: Any = dying(step)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", counted(os.replace))
        patch.setattr(recall, "record_resigning", counted(recall.record_resigning))
        patch.setattr(recall, "file_digest", counted(recall.file_digest))
        patch.setattr(type(house.log), "checkpoint", counted(type(house.log).checkpoint))
        try:
            list(recall.resign(house))
        except Died:
            pass
    state, label = signer_of(house, released.file)
    assert state == "trusted"  # the old file or the new one, whole
    assert [item.status for item in recall.resign(house)] == ["signed again"]
    state, label = signer_of(house, released.file)
    assert (state, label != old) == ("trusted", True)
    told = about(house, released)
    assert told is not None
    assert told.replaced_by == label
    assert [path.name for path in house.recall_folder.iterdir()] == [".lock"]
    assert house.log.verify().ok


def test_a_signed_file_that_was_kept_and_lost_is_signed_once_more(
    house: Installation, make: Callable[..., Engine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = sealed(make, tmp_path)
    compromised(house, released)

    def die(*_: Any) -> None:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(type(house.store), "replace", die)
        with pytest.raises(Died):
            list(recall.resign(house))
    for path in house.recall_folder.glob("*.jpg"):
        path.unlink()
    assert [item.status for item in recall.resign(house)] == ["signed again"]
    told = about(house, released)
    assert told is not None
    assert told.replaced_by == signer_of(house, released.file)[1]


@pytest.mark.parametrize("table", ["key_revocations", "resignings"])
@pytest.mark.parametrize(
    "statement", ["DELETE FROM {}", "UPDATE {} SET log_index = 0", "INSERT OR REPLACE", "TRUNCATE {}"]
)
def test_what_was_recorded_stays(
    house: Installation, make: Callable[..., Engine], tmp_path: Path, table: str, statement: str
) -> None:
    released = sealed(make, tmp_path)
    compromised(house, released)
    list(recall.resign(house))
    engine = house.log.engine
    sqlite = engine.dialect.name == "sqlite"
    if (sqlite and statement.startswith("TRUNCATE")) or (not sqlite and "REPLACE" in statement):
        return
    replaced = f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}"  # noqa: S608  our own names
    words = replaced if "REPLACE" in statement else statement.format(table)
    with pytest.raises(DBAPIError), database.writer(engine).begin() as connection:
        connection.execute(text(words))


@pytest.mark.parametrize(("first", "last"), [(-1, None), (10_000, None), (3, 1)])
def test_ranges_outside_the_log_are_refused(
    house: Installation, make: Callable[..., Engine], tmp_path: Path, first: int, last: int | None
) -> None:
    sealed(make, tmp_path)
    with pytest.raises(InputError):
        recall.revoke(house, first=first, last=last, reason="x")


@pytest.mark.parametrize("name", ["", "abc", "00000000"])
def test_a_certificate_that_nobody_knows(
    house: Installation, make: Callable[..., Engine], tmp_path: Path, name: str
) -> None:
    sealed(make, tmp_path)
    with pytest.raises(InputError):
        recall.revoke(house, first=0, last=None, reason="x", certificate=name)


def test_the_commands(make_engine: Callable[..., Engine], installation: Installation, tmp_path: Path) -> None:
    def run(*words: str, code: int = 0) -> Any:
        done = CliRunner().invoke(app, ["--data-dir", str(installation.folder), "keys", *words, "--json"])
        assert done.exit_code == code, (done.output, done.exception)
        return json.loads(done.stdout)

    released = sealed(make_engine, tmp_path)
    old = run("rotate")["old"]
    told = run(
        "revoke", "--since", "2020-01-01", "--until", "2999-01-01", "--reason", "stolen", "--certificate", old[:12]
    )
    assert (told["certificate"], told["first"], told["last"], told["assets"]) == (
        old,
        released.log.index,
        released.log.index,
        1,
    )
    assert run("recall", code=5)["left"] == 1
    assert run("recall", "--resign") == {
        "assets": [
            {
                "asset_id": str(released.asset_id),
                "log": {"index": released.log.index},
                "file": str(released.file),
                "status": "signed again",
                "detail": "",
            }
        ],
        "left": 0,
    }
    wrong = CliRunner().invoke(app, ["--data-dir", str(installation.folder), "keys", "revoke", "--reason", "x"])
    assert wrong.exit_code == 1


def test_what_a_stolen_key_signed_again_is_signed_once_more(make: Callable[..., Engine], house: Installation) -> None:
    """The key that took the stolen one's place is stolen, too: its files were told to be signed again already."""
    released = make().generate(GenerateRequest("a red boat", seed=1))
    assert isinstance(released, Release)
    signed = list[str]()
    for _ in range(3):
        recall.revoke(house, first=0 if not signed else house.log.size() - 1, last=None, reason="stolen")
        rotate(house)
        assert [item.status for item in recall.recalled(house)] == ["to be signed again"]
        assert house.verifier().verify(released.file).finding != "verified"
        assert [item.status for item in recall.resign(house)] == ["signed again"]
        assert [item.status for item in recall.recalled(house)] == ["signed again"]
        assert house.verifier().verify(released.file).finding == "verified"
        signed.append(recall.file_digest(released.file))
    assert len(set(signed)) == 3
