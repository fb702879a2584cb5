"""A store at an address: an object is whole or not there, is never overwritten, and no key is told to anybody."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from filigrana.errors import FiligranaError, ReleaseError, SettingsError
from filigrana.pipeline import url_store
from filigrana.pipeline.settings import load_settings
from filigrana.pipeline.store import AssetStore, FolderStore, open_store
from filigrana.pipeline.store_cache import StoreCache
from filigrana.pipeline.url_store import UrlStore
from filigrana.tests.s3_kit import BUCKET, S3, aws, free_port, serving, wired

NAME = "4G/4G7K2M9PQX0T.png"
URL = f"s3://{BUCKET}/assets"


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with serving() as server:
        yield server


@pytest.fixture(autouse=True)
def _empty(s3: S3) -> None:
    for key in s3.names():
        s3.client().delete_object(Bucket=BUCKET, Key=key)


def store(folder: Path, url: str = URL, most: int = 1 << 30, timeout: float = 10.0) -> UrlStore:
    return UrlStore(url, StoreCache(folder / "cache", most), timeout=timeout)


def staged(folder: Path, data: bytes = b"a picture", name: str = "finished") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


# ── publishing ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_what_is_published_lies_under_its_name_and_is_read_back(tmp_path: Path, s3: S3) -> None:
    here = store(tmp_path)
    assert not here.exists(NAME)
    here.ready()
    here.publish(staged(tmp_path), NAME)
    assert here.exists(NAME)
    assert s3.body(f"assets/{NAME}") == b"a picture"
    assert here.where(NAME) == f"{URL}/{NAME}"
    assert not (tmp_path / "finished").exists(), "it became the copy"
    assert here.fetched(NAME).read_bytes() == b"a picture"
    elsewhere = store(tmp_path / "another machine")
    assert elsewhere.fetched(NAME).read_bytes() == b"a picture"
    with pytest.raises(FileNotFoundError):
        here.fetched("AA/nothing.png")


def test_nothing_is_put_over_an_object_that_is_there(tmp_path: Path, s3: S3) -> None:
    here = store(tmp_path)
    here.publish(staged(tmp_path), NAME)
    other = staged(tmp_path, b"another one")
    with pytest.raises(ReleaseError) as caught:
        here.publish(other, NAME)
    assert caught.value.code == "release.twice"
    assert other.exists(), "nothing is lost"
    assert s3.body(f"assets/{NAME}") == b"a picture"
    here.publish(staged(tmp_path, name="again"), NAME)  # the same bytes: an earlier try, whose answer was lost


def test_of_many_who_publish_at_once_one_does(tmp_path: Path, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    """The condition decides, and not the look before it: here nobody sees anything."""
    stores = [store(tmp_path / str(n)) for n in range(4)]
    files = [staged(tmp_path, bytes([n]) * 1000, f"f{n}") for n in range(4)]
    looked = threading.Barrier(4)
    ended: list[str] = []

    def put(number: int) -> None:
        first = [True]
        ask = stores[number].exists

        def blind(name: str) -> bool:
            if first.pop() if first else False:
                looked.wait()
                return False
            return ask(name)

        stores[number].exists = blind  # type: ignore[method-assign]
        try:
            stores[number].publish(files[number], NAME)
            ended.append(f"published {number}")
        except ReleaseError as error:
            ended.append(error.code)

    threads = [threading.Thread(target=put, args=(n,)) for n in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(ended)[1:] == ["release.twice"] * 3
    assert s3.body(f"assets/{NAME}") == bytes([int(sorted(ended)[0][-1])]) * 1000


def test_a_server_that_knows_no_condition_is_asked_first(
    tmp_path: Path, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = store(tmp_path)
    put = here._system.put_file

    class AnswerError(Exception):
        def __init__(self) -> None:
            self.response = {"Error": {"Code": "NotImplemented"}, "ResponseMetadata": {"HTTPStatusCode": 501}}

    def old(source: str, target: str, mode: str = "overwrite", **rest: object) -> object:
        if mode == "create":
            raise OSError("A header you provided implies functionality that is not implemented") from AnswerError()
        return put(source, target, **rest)

    monkeypatch.setattr(here._system, "put_file", old)
    here.publish(staged(tmp_path), NAME)
    with pytest.raises(ReleaseError) as caught:
        here.publish(staged(tmp_path, b"another"), NAME)
    assert caught.value.code == "release.twice"
    assert s3.body(f"assets/{NAME}") == b"a picture"


def test_one_may_be_put_in_the_place_of_another_on_purpose(tmp_path: Path, s3: S3) -> None:
    """Signing again after a recall. Who has a copy of the old one reads the new one."""
    here, elsewhere = store(tmp_path), store(tmp_path / "another")
    here.publish(staged(tmp_path), NAME)
    assert elsewhere.fetched(NAME).read_bytes() == b"a picture"
    here.replace(staged(tmp_path, b"signed again"[:9]), NAME)
    assert here.fetched(NAME).read_bytes() == b"signed again"[:9]
    assert elsewhere.fetched(NAME).read_bytes() == b"signed again"[:9], "of the same size, too"


# ── large ones ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_large_file_goes_and_comes_in_parts_that_fit_into_memory(tmp_path: Path, s3: S3) -> None:
    program = """
import resource, sys
from pathlib import Path
from filigrana.pipeline.store_cache import StoreCache
from filigrana.pipeline.url_store import UrlStore
folder = Path(sys.argv[1])
def store(name): return UrlStore(sys.argv[2], StoreCache(folder / name, 1 << 30))
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
here, away = store("here"), store("away")
(folder / "small").write_bytes(b"x")
here.publish(folder / "small", "AA/AA.bin"); away.fetched("AA/AA.bin")
before = peak()
big = folder / "big"
with big.open("wb") as out:
    for number in range(256): out.write(bytes([number]) * (1 << 20))
here.publish(big, "BB/BB.mp4")
assert away.fetched("BB/BB.mp4").stat().st_size == 256 << 20
import hashlib
same = {hashlib.file_digest(open(s.path("BB/BB.mp4"), "rb"), "sha256").hexdigest() for s in (here, away)}
assert len(same) == 1
print((peak() - before) // 1024)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), URL], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 160, "MiB above what a small file takes, for 256"
    other = staged(tmp_path, b"\1" * (32 << 20), "other")
    assert failed(store(tmp_path / "c").publish, other, "BB/BB.mp4").code == "release.twice"
    here = store(tmp_path / "d")
    with pytest.raises(FileExistsError):
        here._system.put_file(str(other), here._at("BB/BB.mp4"), mode="create", **here._parts(other.stat().st_size))
    # the condition holds for what goes in parts, too


# ── copies ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_copies_are_kept_up_to_a_size_and_the_one_in_use_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from filigrana.pipeline import store_cache

    cache = StoreCache(tmp_path / "cache", 3000)
    for number in range(5):
        cache.fetch(f"{number}{number}/a.png", "v", lambda part: part.write_bytes(b"x" * 1000))
        os.utime(cache.path(f"{number}{number}/a.png"), ns=((100 + number) * 10**9, 10**9))
    (tmp_path / "cache" / "00" / ".part-dead").write_bytes(b"x")
    os.utime(tmp_path / "cache" / "00" / ".part-dead", (1, 1))
    monkeypatch.setattr(store_cache, "_EVERY", 0.0)
    cache.fetch("55/a.png", "v", lambda part: part.write_bytes(b"x" * 1000))
    left = sorted(path.relative_to(cache.folder).as_posix() for path in cache.folder.rglob("*") if path.is_file())
    assert left == ["33/a.png", "44/a.png", "55/a.png"]
    assert cache.fresh("55/a.png", "v", 1000) is not None
    assert cache.fresh("55/a.png", "w", 1000) is None, "of another version"
    assert cache.fresh("55/a.png", "v", 999) is None
    tiny = StoreCache(tmp_path / "tiny", 0)
    assert tiny.fetch("a", "v", lambda part: part.write_bytes(b"x")).is_file(), "somebody is about to read it"


def test_a_copy_that_cannot_be_kept_costs_the_copy_alone(tmp_path: Path) -> None:
    here = store(tmp_path)
    (tmp_path / "cache").write_text("no folder")
    here.publish(staged(tmp_path), NAME)
    assert here.exists(NAME)


# ── what goes wrong ──────────────────────────────────────────────────────────────────────────────────────────────
def failed(work: object, *words: object) -> ReleaseError:
    with pytest.raises(ReleaseError) as caught:
        work(*words)  # type: ignore[operator]
    return caught.value


def test_each_fault_has_its_code_and_tells_no_key(
    tmp_path: Path, s3: S3, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG, "filigrana")
    secret = "very-secret-key-material"
    told = []
    nowhere = f"http://127.0.0.1:{free_port()}"
    with aws(nowhere, "AKIAEXAMPLE", secret):
        away = store(tmp_path, timeout=2.0)
        started = time.monotonic()
        told += [failed(away.ready), failed(away.publish, staged(tmp_path), NAME), failed(away.fetched, NAME)]
        assert {each.code for each in told} == {"release.store"}
        assert time.monotonic() - started < 60
        assert failed(away.ready).code == "release.store", "at once, without another attempt"
    missing = store(tmp_path, "s3://no-such-bucket/assets")
    told += [failed(missing.ready), failed(missing.publish, staged(tmp_path), NAME)]
    assert [each.code for each in told[-2:]] == ["release.store.missing"] * 2
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with aws(s3.url):
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        keyless = store(tmp_path)
        told.append(failed(keyless.ready))
        assert told[-1].code == "release.store.denied"
        monkeypatch.undo()
    for each in told:
        assert each.hint
        assert secret not in each.diagnostics()
        assert "AKIA" not in each.diagnostics()
    assert secret not in caplog.text


def test_wrong_keys_are_refused_as_such(tmp_path: Path) -> None:
    server = S3()
    try:
        server.bucket()
        key, secret = server.strict()
        with aws(server.url, key, secret):
            good = store(tmp_path / "good")
            good.ready()
            good.publish(staged(tmp_path), NAME)
        with aws(server.url, key, secret[:-1] + ("a" if secret[-1] != "a" else "b")):
            bad = store(tmp_path / "bad")
            for error in (failed(bad.ready), failed(bad.publish, staged(tmp_path), "AA/AA.png")):
                assert error.code == "release.store.denied"
                assert key not in error.diagnostics()
                assert secret[:8] not in error.diagnostics()
    finally:
        server.down()


def test_a_connection_that_is_cut_leaves_nothing_and_the_next_try_all_of_it(tmp_path: Path, s3: S3) -> None:
    with wired(s3) as wire, aws(wire.url):
        here = store(tmp_path, timeout=3.0)
        here.ready()
        whole = os.urandom(3 << 20)
        file = staged(tmp_path, whole)
        wire.most = 1 << 20
        assert failed(here.publish, file, NAME).code == "release.store"
        assert wire.cut
        assert s3.names() == ["assets/.ready"], "no half of it is there"
        assert file.read_bytes() == whole
        wire.most = None
        here.publish(file, NAME)
        assert s3.body(f"assets/{NAME}") == whole


def test_an_answer_that_is_lost_is_no_second_release(tmp_path: Path, s3: S3) -> None:
    """The object is there, and the driver's own second try meets it."""
    with wired(s3) as wire, aws(wire.url):
        here = store(tmp_path, timeout=3.0)
        assert not here.exists(NAME)
        file = staged(tmp_path, b"x" * 5000)
        wire.deaf = True
        assert failed(here._put, file, here._at(NAME)).code == "release.store"
        assert s3.body(f"assets/{NAME}") == b"x" * 5000
        wire.deaf = False
        here.publish(file, NAME)
        assert here.fetched(NAME).read_bytes() == b"x" * 5000


def test_a_slow_server_is_waited_for_and_a_silent_one_is_not(tmp_path: Path, s3: S3) -> None:
    with wired(s3) as wire, aws(wire.url):
        here = store(tmp_path, timeout=3.0)
        wire.delay = 0.3
        here.publish(staged(tmp_path), NAME)
        wire.delay = 60.0
        started = time.monotonic()
        assert failed(here.exists, "AA/AA.png").code == "release.store"
        assert time.monotonic() - started < 45


def test_a_server_that_is_killed_and_comes_back(tmp_path: Path) -> None:
    server = S3()
    try:
        server.bucket()
        with aws(server.url):
            here = store(tmp_path, timeout=2.0)
            here.ready()
            server.down()
            file = staged(tmp_path)
            assert failed(here.publish, file, NAME).code == "release.store"
            assert failed(here.ready).code == "release.store", "what failed is not believed to be ready"
            server.up()
            server.bucket()
            time.sleep(url_store.DOUBTED)
            here.ready()
            here.publish(file, NAME)
            assert server.body(f"assets/{NAME}") == b"a picture"
    finally:
        server.down()


# ── other drivers ────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_driver_that_shows_half_written_files_gets_them_under_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = store(tmp_path, f"file://{tmp_path}/files")
    seen: list[list[str]] = []
    put = here._system.put_file

    def slow(source: str, target: str, **rest: object) -> object:
        done = put(source, target, **rest)
        seen.append([path.suffix for path in (tmp_path / "files").rglob("*") if path.is_file()])
        return done

    monkeypatch.setattr(here._system, "put_file", slow)
    here.publish(staged(tmp_path), NAME)
    assert seen == [[".part"]]
    assert failed(here.publish, staged(tmp_path, b"other"), NAME).code == "release.twice"
    here.replace(staged(tmp_path, b"new"), NAME)
    assert (tmp_path / "files" / NAME).read_bytes() == b"new"
    assert here.fetched(NAME).read_bytes() == b"new"

    def broken(*_: object, **__: object) -> None:
        raise OSError("told to fail")

    monkeypatch.setattr(here._system, "mv", broken)
    assert failed(here.publish, staged(tmp_path), "AA/AA.png").code == "release.store"
    assert [path.name for path in (tmp_path / "files").rglob("*") if path.is_file()] == [Path(NAME).name]


# ── the setting ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_setting_chooses(tmp_path: Path) -> None:
    def opened(value: str | None) -> AssetStore:
        return open_store(load_settings(data_dir=tmp_path, store=value))

    assert isinstance(opened(None), FolderStore)
    assert opened(None).where("a") == str(tmp_path / "assets" / "a")
    assert isinstance(opened(str(tmp_path / "disk")), FolderStore)
    assert isinstance(opened("memory://press"), UrlStore)
    for wrong in ("s3://user:secret@press/x", "s3://press/x?key=secret", "https://example.org/x"):
        with pytest.raises(SettingsError) as caught:
            opened(wrong)
        assert "secret" not in caught.value.diagnostics()
    with pytest.raises(FiligranaError) as unknown:
        opened("nosuchthing://x")
    assert unknown.value.code.startswith("settings.")


def test_a_chosen_folder_must_be_there_and_may_be_another_disk(tmp_path: Path) -> None:
    disk = tmp_path / "mounted"
    here = open_store(load_settings(data_dir=tmp_path, store=str(disk)))
    assert failed(here.ready).code == "release.store.missing", "it may be a disk that is not mounted"
    other = Path("/dev/shm")  # noqa: S108
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system here")
    import tempfile

    with tempfile.TemporaryDirectory(dir=other) as name:
        far = FolderStore(Path(name), made=False)
        far.ready()
        far.publish(staged(tmp_path), NAME)
        assert failed(far.publish, staged(tmp_path, b"other"), NAME).code == "release.twice"
        assert far.fetched(NAME).read_bytes() == b"a picture"
        far.replace(staged(tmp_path, b"new"), NAME)
        assert [p.read_bytes() for p in Path(name).rglob("*") if p.is_file()] == [b"new"]
        assert not (tmp_path / "finished").exists()
