"""The whole chain on a store in another place: what is released is recorded, what is recorded gets there, and while the
store is away nothing else is released."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from filigrana.errors import BackupError, ReleaseError
from filigrana.pipeline import url_store
from filigrana.pipeline.backup import backup
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.jobs.model import Order
from filigrana.pipeline.request import Release
from filigrana.pipeline.restoring import restore
from filigrana.pipeline.settings import load_settings
from filigrana.pipeline.url_store import UrlStore
from filigrana.tests import working
from filigrana.tests.s3_kit import BUCKET, S3, aws, serving, wired
from filigrana.tests.serving import engine, released, running

Open = Callable[..., Installation]
URL = f"s3://{BUCKET}/assets"


@pytest.fixture
def s3() -> Iterator[S3]:
    with serving() as server:
        yield server


@pytest.fixture
def opened() -> Iterator[Open]:
    houses: list[Installation] = []

    def make(folder: Path, store: str | None = URL, **settings: object) -> Installation:
        given = {"store_timeout": 2.0, "serve_rate": 1e6, **settings}
        houses.append(Installation(load_settings(data_dir=folder, store=store, **given)))
        return houses[-1]

    yield make
    for house in houses:
        house.close()


def types(house: Installation) -> list[str]:
    return [str(entry["type"]) for _, entry in house.log.entries()]


def published(server: S3) -> list[str]:
    return [name for name in server.names() if not name.endswith(url_store.PROBE)]


def name_of(release: Release) -> str:
    return f"{str(release.asset_id)[:2]}/{release.asset_id}.png"


def test_a_release_lies_in_the_bucket_verifies_and_is_served_by_another_machine(
    tmp_path: Path, s3: S3, opened: Open
) -> None:
    here = opened(tmp_path / "a")
    release = released(here)
    assert published(s3) == [f"assets/{name_of(release)}"]
    assert release.file.read_bytes() == s3.body(f"assets/{name_of(release)}")
    assert here.inspector.verify(release.file).finding == "verified"
    assert not list((tmp_path / "a" / "staging").glob("*/finished"))
    # a machine with the same database and none of the files
    there = opened(tmp_path / "b", database=here.settings.database_url)
    assert there.inspector.verify(there.store.fetched(name_of(release))).asset_id == release.asset_id


def test_the_service_sends_what_lies_there_and_says_so_while_the_store_is_away(
    tmp_path: Path, s3: S3, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(url_store, "TRUSTED", 0.0)
    monkeypatch.setattr(url_store, "DOUBTED", 0.0)
    with wired(s3) as wire, aws(wire.url):
        house = opened(tmp_path / "a", store_cache=0)
        _, secret = house.access.add("press", "ana", ["creator"])
        job, _ = house.jobs.put(
            Order("press", "ana", "generate", {"seed": 3, "mime": "image/png"}, {"prompt": "a boat"})
        )
        with working.working(house):
            ended = working.until(lambda: (found := house.jobs.get(job.id)).ended and found)
        assert ended.state == "released", ended.outcome
        asset = ended.outcome["asset_id"]
        with (
            running(house) as url,
            httpx.Client(base_url=url, headers={"Authorization": f"Bearer {secret}"}, timeout=60) as client,
        ):
            answer = client.get(f"/v1/assets/{asset}/content")
            assert answer.status_code == 200
            assert answer.content == s3.body(f"assets/{asset[:2]}/{asset}.png")
            part = client.get(f"/v1/assets/{asset}/content", headers={"Range": "bytes=0-9"})
            assert (part.status_code, part.content) == (206, answer.content[:10])
            assert client.get("/readyz").status_code == 200
            wire.deaf = True
            said = client.get("/readyz").json()
            assert said.get("failed") == ["store"], said
            away = client.get(f"/v1/assets/{asset}/content")
            assert (away.status_code, away.json()["error"]["code"]) == (503, "service.content")
            assert away.headers["Retry-After"]
            wire.deaf = False
            # what is not what was released is not sent, whoever changed it
            s3.client().put_object(Bucket=BUCKET, Key=f"assets/{asset[:2]}/{asset}.png", Body=answer.content[:-1])
            changed = client.get(f"/v1/assets/{asset}/content")
            assert (changed.status_code, changed.json()["error"]["code"]) == (500, "service.content_changed")


def test_with_the_store_away_no_work_is_begun_and_nothing_recorded(
    tmp_path: Path, s3: S3, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = opened(tmp_path / "a")
    made = engine(house)
    released(house)
    before = types(house)
    monkeypatch.setattr(url_store, "TRUSTED", 0.0)
    s3.down()
    with pytest.raises(ReleaseError) as caught:
        released(house, seed=5)
    assert caught.value.code == "release.store"
    assert types(house) == before
    s3.up()
    s3.bucket()
    time.sleep(url_store.DOUBTED)
    assert made.recover().published == ()
    assert released(house, seed=5).released


@pytest.mark.parametrize("stage", ["encode", "sign", "read back"])
def test_a_store_that_goes_away_during_the_work_ends_it_unreleased(
    tmp_path: Path, s3: S3, opened: Open, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    monkeypatch.setattr(url_store, "TRUSTED", 0.0)
    from filigrana.pipeline.request import GenerateRequest

    house = opened(tmp_path / "a")

    def progress(name: str, done: int, total: int) -> None:
        if (name, done, total) == (stage, 0, 0):
            s3.down()

    with pytest.raises(ReleaseError) as caught:
        engine(house).generate(GenerateRequest("a red sailboat", seed=4, mime="image/png"), progress)
    assert caught.value.code == "release.store"
    assert types(house)[-1] == "failed"
    assert "release" not in types(house)


def test_what_was_released_as_the_store_went_away_is_published_by_the_worker_once_it_is_back(
    tmp_path: Path, s3: S3, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job has ended by then, and its file is 503 until it is there. Jobs behind it wait: none is used up."""
    with wired(s3) as wire, aws(wire.url):
        house = opened(tmp_path / "a", jobs_attempts=1)
        put = UrlStore.publish
        cut: list[str] = []

        def publish(self: UrlStore, staged: Path, name: str) -> None:
            if not cut:
                cut.append(name)
                wire.most = 0
            put(self, staged, name)

        monkeypatch.setattr(UrlStore, "publish", publish)
        orders = [
            Order("press", "ana", "generate", {"seed": seed, "mime": "image/png"}, {"prompt": "a boat"})
            for seed in range(3)
        ]
        jobs = [house.jobs.put(each)[0] for each in orders]
        with working.working(house):
            first = working.until(lambda: (found := house.jobs.get(jobs[0].id)).ended and found)
            assert first.state == "released", first.outcome
            assert published(s3) == []
            time.sleep(3.0)
            assert house.jobs.counts().get("queued") == 2, "they wait"
            wire.most = None
            ends = working.until(
                lambda: (found := house.jobs.some([j.id for j in jobs])) and all(j.ended for j in found) and found
            )
        assert [job.state for job in ends] == ["released"] * 3
        releases = [str(entry["asset_id"]) for _, entry in house.log.entries() if entry["type"] == "release"]
        assert sorted(published(s3)) == sorted(f"assets/{each[:2]}/{each}.png" for each in releases)
        assert len(releases) == 3
        assert house.log.verify().ok


def test_a_worker_that_died_before_publishing_is_made_good_by_the_next_start(
    tmp_path: Path, s3: S3, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = opened(tmp_path / "a")

    def dies(*_: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(UrlStore, "publish", dies)
        with pytest.raises(SystemExit):
            released(house)
    assert published(s3) == []
    recovered = engine(house).recover()
    assert published(s3) == [f"assets/{name}" for name in recovered.published]
    assert len(recovered.published) == 1
    assert engine(house).recover().published == ()


def test_two_servers_that_share_a_bucket_end_a_release_once(tmp_path: Path, s3: S3, opened: Open) -> None:
    house = opened(tmp_path / "a")
    other = opened(tmp_path / "b", database=house.settings.database_url)
    ends: list[object] = []
    threads = [
        threading.Thread(target=lambda h=h, n=n: ends.append(released(h, seed=n))) for n, h in enumerate((house, other))
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(published(s3)) == len(ends) == 2


# ── backup, recall ───────────────────────────────────────────────────────────────────────────────────────────────
def test_a_backup_holds_the_files_and_they_may_come_back_to_another_kind_of_store(
    tmp_path: Path, s3: S3, opened: Open
) -> None:
    old = opened(tmp_path / "old")
    release = released(old)
    archive = tmp_path / "backup.tar"
    assert (backup(old, archive).assets, backup(old, tmp_path / "2.tar", assets=False).missing) == (1, ())
    folder = opened(tmp_path / "folder", None)
    assert restore(folder, archive).assets == 1
    assert folder.inspector.verify(folder.store.fetched(name_of(release))).finding == "verified"
    # the bucket outlived the machine: what is there is the same, and stays
    assert restore(opened(tmp_path / "again"), archive).assets == 1
    s3.bucket("other")
    moved = opened(tmp_path / "moved", "s3://other")
    assert restore(moved, archive).assets == 1
    assert s3.names("other") == [name_of(release)]
    # and one that is not the same is not written over
    s3.client().put_object(Bucket=BUCKET, Key=f"assets/{name_of(release)}", Body=b"something else")
    with pytest.raises(BackupError) as caught:
        restore(opened(tmp_path / "wrong"), archive)
    assert caught.value.code == "backup.store"
    assert s3.body(f"assets/{name_of(release)}") == b"something else"
    s3.client().delete_object(Bucket=BUCKET, Key=f"assets/{name_of(release)}")
    assert backup(old, tmp_path / "3.tar").missing == (name_of(release),)


def test_what_a_revoked_key_signed_is_signed_again_in_the_bucket(tmp_path: Path, s3: S3, opened: Open) -> None:
    from filigrana.pipeline import recall

    house = opened(tmp_path / "a")
    release = released(house)
    before = s3.body(f"assets/{name_of(release)}")
    recall.revoke(house, first=0, last=house.log.size() - 1, reason="key-compromise")
    listed = recall.recalled(house)
    assert [(item.status, item.where) for item in listed] == [("to be signed again", f"{URL}/{name_of(release)}")]
    assert [item.status for item in recall.resign(house)] == ["signed again"]
    after = s3.body(f"assets/{name_of(release)}")
    assert after != before
    assert [item.status for item in recall.recalled(house)] == ["signed again"]
    elsewhere = opened(tmp_path / "b", database=house.settings.database_url)
    assert elsewhere.store.fetched(name_of(release)).read_bytes() == after
    s3.client().delete_object(Bucket=BUCKET, Key=f"assets/{name_of(release)}")
    assert [item.status for item in recall.recalled(house)] == ["missing"]
