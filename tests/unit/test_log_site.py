"""The log as static files: layout, export to folders and buckets, the HTTP server, and a reader without a database."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from typer.testing import CliRunner

from filigrana.errors import InputError, LogError, TamperError
from filigrana.provenance.log import merkle
from filigrana.provenance.log.note import Checkpoint
from filigrana.provenance.log.places import FolderPlace, UrlPlace, place, shown
from filigrana.provenance.log.sequencer import AuditLog
from filigrana.provenance.log.signer import Ed25519LogSigner
from filigrana.provenance.log.site import LogSite
from filigrana.provenance.log.site_export import export
from filigrana.provenance.log.site_paths import (
    Resource,
    index_path,
    join_entries,
    parse_path,
    split_entries,
    tree_resources,
)
from filigrana.provenance.log.site_reader import verify_site
from filigrana.provenance.log.site_server import serving
from filigrana.provenance.log.witness_server import Limits

SIZE = 70_000 // 256 + 3  # one full tile and an edge


@pytest.fixture
def signer(tmp_path: Path) -> Ed25519LogSigner:
    return Ed25519LogSigner.create(tmp_path / "log.pem", "example.com/log")


@pytest.fixture
def log(database_url: str, signer: Ed25519LogSigner, tmp_path: Path) -> Iterator[AuditLog]:
    with AuditLog(database_url, signer=signer, guard_path=tmp_path / "guard") as opened:
        yield opened


@pytest.fixture
def small(sqlite_url: str, signer: Ed25519LogSigner, tmp_path: Path) -> Iterator[AuditLog]:
    """260 entries and a checkpoint, on SQLite."""
    with AuditLog(sqlite_url, signer=signer, guard_path=tmp_path / "guard") as opened:
        fill(opened, 260)
        opened.checkpoint()
        yield opened


def fill(log: AuditLog, count: int) -> None:
    start = log.size()
    while count:
        step = min(count, 1000)
        log.extend({"type": "test", "n": start + at, "text": "é" * (at % 7)} for at in range(step))
        start, count = start + step, count - step


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("path", "resource"),
    [
        ("tile/0/000", Resource(0, 0)),
        ("tile/3/x001/x234/067", Resource(3, 1234067)),
        ("tile/63/999.p/1", Resource(63, 999, 1)),
        ("tile/entries/x001/000.p/255", Resource(None, 1000, 255)),
    ],
)
def test_the_names_of_the_specification(path: str, resource: Resource) -> None:
    assert parse_path(path) == resource
    assert resource.path == path


@pytest.mark.parametrize(
    "path",
    [
        "", "/", "tile", "tile/0", "tile/0/", "tile/0/0", "tile/0/0000", "tile/00/000", "tile/64/000", "tile/-1/000",
        "tile/+1/000", "tile/0/x000/001", "tile/0/001/002", "tile/0/x001", "tile/0/000.p", "tile/0/000.p/",
        "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/000.p/1/", "tile/0/000/", "/tile/0/000",
        "tile/0/000\n", "tile/0/٠٠٠", "tile/0/000?x", "tile/0/%30%30%30", "tile//000", "tile/0/../0/000",
        "tile/entries", "tile/Entries/000", "TILE/0/000", "tile/0/X001/000", "tile/0/000.P/1", "tile/" + "0" * 99,
        "tile/0/" + "x999/" * 10 + "999", "checkpoint",
    ],
)  # fmt: skip
def test_no_other_name_is_read(path: str) -> None:
    assert parse_path(path) is None


@given(st.one_of(st.none(), st.integers(0, 63)), st.integers(0, 2**55), st.integers(1, 256))
def test_every_resource_has_one_name(level: int | None, index: int, width: int) -> None:
    resource = Resource(level, index, width)
    assert parse_path(resource.path) == resource


@given(
    st.one_of(
        st.text(max_size=70),
        st.from_regex(r"tile/(entries|[0-9]{1,3})/(x?[0-9]{2,4}/){0,3}x?[0-9]{2,4}(\.p/[0-9]{0,4})?/?", fullmatch=True),
    )
)
def test_whatever_is_read_has_exactly_that_name(path: str) -> None:
    found = parse_path(path)
    if found is not None:
        assert found.path == path
        assert (found.level or 0) <= 63
        assert 1 <= found.width <= 256


def test_the_tiles_of_a_tree_are_those_of_the_specification() -> None:
    """The example in c2sp.org/tlog-tiles: 70,000 entries."""
    assert [item.path for item in tree_resources(70_000)] == [
        "tile/entries/273.p/112", "tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"
    ]  # fmt: skip
    assert [item.path for item in tree_resources(256)] == ["tile/1/000.p/1"]
    assert list(tree_resources(0)) == []
    assert index_path(1234067) == "x001/x234/067"


@given(st.lists(st.binary(max_size=300), max_size=256))
def test_entry_bundles_read_back(leaves: list[bytes]) -> None:
    assert split_entries(join_entries(leaves)) == leaves


@given(st.binary(max_size=600))
def test_a_bundle_is_read_whole_or_refused(data: bytes) -> None:
    try:
        leaves = split_entries(data)
    except TamperError:
        return
    assert join_entries(leaves) == data


def test_bundles_refuse_too_many_and_too_large() -> None:
    with pytest.raises(TamperError, match="more than"):
        split_entries(join_entries([b""] * 257))
    with pytest.raises(LogError):
        join_entries([bytes(65536)])


# ── the responder ────────────────────────────────────────────────────────────────────────────────────────────────
def test_files_are_those_of_the_checkpoint_and_nothing_beyond(log: AuditLog, signer: Ed25519LogSigner) -> None:
    site = LogSite(log)
    fill(log, SIZE)
    assert site.read("/checkpoint") is None, "before there is a checkpoint, nothing is shown"
    assert site.read("/tile/0/000") is None
    note = log.checkpoint()
    fill(log, 300)
    head = site.read("/checkpoint")
    assert head is not None
    assert (head.data.decode(), head.content_type, head.immutable) == (note, "text/plain; charset=utf-8", False)
    full = site.read("/tile/0/000")
    assert full is not None
    assert (full.content_type, full.immutable) == ("application/octet-stream", True)
    assert full.data == b"".join(merkle.leaf_hash(log.leaf(index)) for index in range(256))
    bundle = site.read("/tile/entries/000")
    assert bundle is not None
    assert split_entries(bundle.data) == [log.leaf(index) for index in range(256)]
    width = SIZE - 256
    edge = site.read(f"/tile/0/001.p/{width}")
    assert edge is not None
    assert len(edge.data) == 32 * width
    assert site.read(f"/tile/0/001.p/{width - 1}") is not None, "an earlier checkpoint may have been there"
    top = site.read("/tile/1/000.p/1")
    assert top is not None
    assert top.data == merkle.complete_root([full.data[at : at + 32] for at in range(0, 8192, 32)])
    beyond = [f"/tile/0/001.p/{width + 1}", "/tile/0/001", "/tile/entries/001", f"/tile/entries/001.p/{width + 1}"]
    for path in [
        *beyond,
        "/tile/1/000",
        "/tile/2/000",
        "/tile/2/000.p/1",
        "checkpoint",
        "/checkpoint/",
        "",
        "//checkpoint",
    ]:
        assert site.read(path) is None, path


@given(path=st.one_of(st.text(max_size=40), st.from_regex(r"/(checkpoint|tile/[0-9a-z./]{0,20})", fullmatch=True)))
def test_no_path_is_an_error(path: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    global _FUZZED
    if _FUZZED is None:
        folder = tmp_path_factory.mktemp("fuzz")
        log = AuditLog(f"sqlite:///{folder / 'a.db'}", signer=Ed25519LogSigner.create(folder / "k", "a.example/l"))
        fill(log, 3)
        log.checkpoint()
        _FUZZED = LogSite(log)
    found = _FUZZED.read(path)
    assert (found is not None) == (path in FUZZED_FILES), path


_FUZZED: LogSite | None = None
FUZZED_FILES = {"/checkpoint"} | {f"/tile/{kind}/000.p/{width}" for kind in ("0", "entries") for width in (1, 2, 3)}


def test_a_damaged_database_is_not_served(small: AuditLog) -> None:
    site = LogSite(small)
    damage(small, "UPDATE log_entries SET leaf = x'7b7d' WHERE seq = 7")
    with pytest.raises(TamperError, match="entry 7"):
        site.read("/tile/entries/000")
    damage(small, "UPDATE log_entries SET leaf_hash = zeroblob(32) WHERE seq = 259")
    with pytest.raises(TamperError, match="checkpoint"):
        site.read("/checkpoint")


def damage(log: AuditLog, statement: str) -> None:
    with log.engine.begin() as connection:
        names = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars().all()
        for name in names:
            connection.execute(text(f'DROP TRIGGER "{name}"'))
        connection.execute(text(statement))


# ── export and the reader without a database ─────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 1000])
def test_an_export_verifies_without_the_database(
    log: AuditLog, signer: Ed25519LogSigner, tmp_path: Path, count: int
) -> None:
    fill(log, count)
    log.checkpoint()
    seen: list[tuple[int, int]] = []
    report = export(log, tmp_path / "site", lambda done, total: seen.append((done, total)))
    assert (report.entries, report.before) == (count, 0)
    assert not seen if count == 0 else seen[-1] == (count, count)
    found = verify_site(tmp_path / "site", [signer.verifier_key])
    assert (found.ok, found.entries, found.root, found.problems) == (True, count, log.root(), ())
    again = export(log, tmp_path / "site")
    assert again.written == 0


def test_full_tiles_are_written_once_and_the_checkpoint_last(
    small: AuditLog, signer: Ed25519LogSigner, tmp_path: Path
) -> None:
    target = tmp_path / "site"
    first = export(small, target)
    assert first.written == 2 + 3  # a full bundle and tile; the edge of two levels
    kept = (target / "tile/0/000").stat()
    old_note = (target / "checkpoint").read_text()
    fill(small, 300)
    small.checkpoint()
    second = export(small, target)
    assert (second.before, second.entries) == (260, 560)
    assert (target / "tile/0/000").stat() == kept, "not even looked at"
    report = verify_site(target, [signer.verifier_key], [old_note])
    assert (report.ok, report.outside) == (True, 1)
    assert not list(target.rglob(".*")), "no scratch file is left"


def test_an_interrupted_export_goes_on_and_shows_no_checkpoint_before_its_tiles(
    small: AuditLog, signer: Ed25519LogSigner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(small, 900)
    small.checkpoint()
    full = FolderPlace.write
    for writes in range(8):
        target = tmp_path / f"site{writes}"
        left = writes

        def dying(self: FolderPlace, path: str, data: bytes) -> None:
            nonlocal left
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
            full(self, path, data)

        with monkeypatch.context() as patched:
            patched.setattr(FolderPlace, "write", dying)
            with pytest.raises(KeyboardInterrupt):
                export(small, target)
        assert not (target / "checkpoint").exists()
        export(small, target)
        assert verify_site(target, [signer.verifier_key]).ok


def test_every_flipped_byte_of_an_export_is_caught(sqlite_url: str, signer: Ed25519LogSigner, tmp_path: Path) -> None:
    with AuditLog(sqlite_url, signer=signer) as log:
        fill(log, 3)
        log.checkpoint()
        export(log, tmp_path / "site")
    files = [path for path in (tmp_path / "site").rglob("*") if path.is_file()]
    assert len(files) == 3
    for path in files:
        good = path.read_bytes()
        for at in range(len(good)):
            path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
            assert not verify_site(tmp_path / "site", [signer.verifier_key]).ok, (path.name, at)
        path.write_bytes(good)
    assert verify_site(tmp_path / "site", [signer.verifier_key]).ok


@pytest.mark.parametrize(
    ("path", "first_bad"),
    [("tile/entries/000", 0), ("tile/entries/001.p/4", 256), ("tile/0/000", 0), ("tile/0/001.p/4", 256),
     ("tile/1/000.p/1", 0), ("checkpoint", None)],
)  # fmt: skip
def test_what_is_missing_is_named(
    small: AuditLog, signer: Ed25519LogSigner, tmp_path: Path, path: str, first_bad: int | None
) -> None:
    export(small, tmp_path / "site")
    (tmp_path / "site" / path).unlink()
    report = verify_site(tmp_path / "site", [signer.verifier_key])
    assert (report.ok, report.first_bad) == (False, first_bad)
    assert (path in report.problems[0]) or path == "checkpoint"


def test_a_whole_rewritten_site_is_caught_by_the_key_or_a_kept_checkpoint(
    small: AuditLog, signer: Ed25519LogSigner, tmp_path: Path
) -> None:
    note = small.checkpoint()
    stranger = Ed25519LogSigner.create(tmp_path / "other.pem", "example.com/log")
    for name, key in (("resigned", stranger), ("rewritten", signer)):
        with AuditLog(f"sqlite:///{tmp_path / name}.db", signer=key) as other:
            other.extend({"type": "other", "n": number} for number in range(300))
            other.checkpoint()
            export(other, tmp_path / name)
    assert not verify_site(tmp_path / "resigned", [signer.verifier_key]).ok
    assert verify_site(tmp_path / "rewritten", [signer.verifier_key]).ok, (
        "the same key signed it: nothing inside shows it"
    )
    assert not verify_site(tmp_path / "rewritten", [signer.verifier_key], [note]).ok
    export(small, tmp_path / "short")
    longer = Checkpoint("example.com/log", 999, bytes(32)).sign(signer)
    assert not verify_site(tmp_path / "short", [signer.verifier_key], [longer]).ok
    assert not verify_site(tmp_path / "short", [signer.verifier_key], ["junk"]).ok


def test_other_entries_and_their_tiles_under_the_true_checkpoint_are_caught(
    small: AuditLog, signer: Ed25519LogSigner, tmp_path: Path
) -> None:
    """All of it fits together, except with what was signed."""
    with AuditLog(f"sqlite:///{tmp_path / 'other'}.db", signer=signer) as other:
        other.extend({"type": "other", "n": number} for number in range(260))
        other.checkpoint()
        export(other, tmp_path / "site")
    (tmp_path / "site" / "checkpoint").write_text(small.checkpoint())
    report = verify_site(tmp_path / "site", [signer.verifier_key])
    assert (report.ok, report.first_bad) == (False, 0)
    assert "signed root" in report.problems[0]


def test_files_of_another_or_a_longer_log_are_not_overwritten(
    small: AuditLog, signer: Ed25519LogSigner, tmp_path: Path
) -> None:
    target = tmp_path / "site"
    target.mkdir()
    notes = {
        "junk": (LogError, "not of this log"),
        Checkpoint("example.com/log", 999, bytes(32)).sign(signer): (TamperError, "999"),
        Checkpoint("example.com/log", 9, bytes(32)).sign(signer): (TamperError, "first 9 entries"),
    }
    for note, (kind, words) in notes.items():
        (target / "checkpoint").write_text(note)
        with pytest.raises(kind, match=words):
            export(small, target)
        assert [path.name for path in target.iterdir()] == ["checkpoint"]
    (target / "checkpoint").unlink()
    (target / "tile/0").mkdir(parents=True)
    (target / "tile/0/000").write_bytes(b"another log's")
    with pytest.raises(LogError, match="other bytes"):
        export(small, target)


def test_whole_puts_back_what_was_lost_there(small: AuditLog, signer: Ed25519LogSigner, tmp_path: Path) -> None:
    target = tmp_path / "site"
    export(small, target)
    (target / "tile/0/000").unlink()
    export(small, target)
    assert not verify_site(target, [signer.verifier_key]).ok
    assert export(small, target, whole=True).written == 1
    assert verify_site(target, [signer.verifier_key]).ok


def test_export_and_reader_take_constant_memory(sqlite_url: str, signer: Ed25519LogSigner, tmp_path: Path) -> None:
    import tracemalloc

    with AuditLog(sqlite_url, signer=signer) as log:
        for _ in range(16):
            log.extend({"type": "test", "text": "x" * 4000} for _ in range(256))
        log.checkpoint()
        tracemalloc.start()
        try:
            export(log, tmp_path / "site")
            assert verify_site(tmp_path / "site", [signer.verifier_key]).ok
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    total = sum(path.stat().st_size for path in (tmp_path / "site").rglob("*") if path.is_file())
    assert total > 16_000_000
    assert peak < 8_000_000, "a chunk of entries, not the log"


def test_a_bucket_is_written_and_read_through_fsspec(small: AuditLog, signer: Ed25519LogSigner) -> None:
    import fsspec

    url = "memory://bucket/log"
    fsspec.filesystem("memory").store.clear()
    export(small, url)
    fill(small, 300)
    small.checkpoint()
    assert export(small, url).before == 260
    assert verify_site(url, [signer.verifier_key]).ok
    fsspec.filesystem("memory").pipe_file("/bucket/log/tile/0/000", b"x" * 8192)
    assert not verify_site(url, [signer.verifier_key]).ok


def test_a_folder_needs_no_fsspec(small: AuditLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    assert export(small, tmp_path / "site").written
    with pytest.raises(InputError, match="needs fsspec"):
        export(small, "memory://bucket/log")


def test_places_refuse_what_they_cannot_be(tmp_path: Path) -> None:
    for target in ("", "a\x00b", "https://example.com/log", "nosuchscheme://x"):
        with pytest.raises(InputError):
            place(target)
    assert shown("s3://key:secret@bucket/log?token=1") == "s3://bucket/log"
    (tmp_path / "file").write_text("x")
    with pytest.raises(LogError, match="cannot be written"):
        FolderPlace(tmp_path / "file" / "under").write("a", b"")
    with pytest.raises(LogError, match="more than"):
        FolderPlace(tmp_path).read("file", 0)
    memory = UrlPlace("memory://bucket/limits")
    memory.write("a", b"12345")
    with pytest.raises(LogError, match="more than"):
        memory.read("a", 4)
    assert memory.read("b", 4) is None


# ── HTTP ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def url(small: AuditLog) -> Iterator[str]:
    with serving(LogSite(small), limits=Limits(connections=4, seconds=1.0)) as prefix:
        yield prefix


def test_the_server_answers_get_and_head_with_the_right_headers(small: AuditLog, url: str) -> None:
    with httpx.Client(trust_env=False, base_url=url) as client:
        head = client.get("/checkpoint")
        assert (head.status_code, head.text) == (200, small.checkpoint())
        assert head.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert head.headers["Cache-Control"] == "no-cache"
        tile = client.get("/tile/0/000")
        assert (tile.status_code, len(tile.content)) == (200, 8192)
        assert "immutable" in tile.headers["Cache-Control"]
        only = client.head("/tile/0/000")
        assert (only.status_code, only.content, only.headers["Content-Length"]) == (200, b"", "8192")
        for path in ("/", "/tile/0/001", "/tile/0/000/", "/checkpoint?x=1", "/%63heckpoint", "/../checkpoint.db"):
            assert client.get(path).status_code == 404, path
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"):
            assert client.request(method, "/checkpoint", content=b"x").status_code == 405, method
        assert client.request("GET", "/checkpoint", content=b"x").status_code == 400


def test_the_server_bounds_what_strangers_send(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    for data in (b"GET /" + b"a" * 70_000, b"\x00\xff\r\n\r\n", b"GET /checkpoint HTTP/1.1\r\nx:" + b"y" * 40_000):
        with socket.create_connection((host, int(port)), timeout=5) as raw:
            try:
                raw.sendall(data)
                while raw.recv(4096):
                    pass
            except OSError:
                pass
    slow = [socket.create_connection((host, int(port)), timeout=5) for _ in range(4)]
    try:
        with socket.create_connection((host, int(port)), timeout=5) as fifth:
            fifth.sendall(b"GET /checkpoint HTTP/1.1\r\nHost: a\r\n\r\n")
            try:
                assert fifth.recv(100) == b"", "the fifth of four connections is closed unanswered"
            except ConnectionError:
                pass
        for connection in slow:
            assert connection.recv(1) == b"", "silence ends after a second"
    finally:
        for connection in slow:
            connection.close()
    assert httpx.get(f"{url}/checkpoint", trust_env=False).status_code == 200


def test_a_damaged_log_is_a_500_without_details(small: AuditLog, url: str) -> None:
    damage(small, "UPDATE log_entries SET leaf = x'7b7d' WHERE seq = 7")
    answer = httpx.get(f"{url}/tile/entries/000", trust_env=False)
    assert (answer.status_code, answer.text, answer.headers["Cache-Control"]) == (
        500,
        "the log cannot be read\n",
        "no-cache",
    )


def test_the_reader_verifies_over_http(small: AuditLog, signer: Ed25519LogSigner, url: str) -> None:
    report = verify_site(url, [signer.verifier_key])
    assert (report.ok, report.entries) == (True, 260)
    with pytest.raises(LogError):
        verify_site(f"{url}0/nothing", [signer.verifier_key])


# ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def run(installation: object) -> object:
    import typer

    from filigrana.pipeline.cli import audit_site

    app = typer.Typer()
    app.command("tiles")(audit_site.export_site)
    app.command("serve")(audit_site.serve)
    app.command("verify-tiles")(audit_site.verify_site)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


def test_tiles_and_verify_tiles(installation: object, run: object, tmp_path: Path) -> None:
    installation.log.append({"type": "test"})
    done = run("tiles", "-o", tmp_path / "site", "--json")
    assert done.exit_code == 0, done.output
    key = json.loads(done.stdout)["verifier_key"]
    (tmp_path / "key").write_text(key)
    shutil.copy(tmp_path / "site/checkpoint", tmp_path / "kept")
    good = run(
        "verify-tiles", tmp_path / "site", "--key", tmp_path / "key", "--checkpoint", tmp_path / "kept", "--json"
    )
    assert good.exit_code == 0, good.output
    assert json.loads(good.stdout)["outside"] == 1
    assert "intact" in run("verify-tiles", tmp_path / "site", "--key", key).output
    (tmp_path / "site/tile/entries/000.p/1").write_bytes(b"\x00\x02{}")
    bad = run("verify-tiles", tmp_path / "site", "--key", key, "--json")
    assert bad.exit_code == 5
    assert json.loads(bad.stdout)["first_bad"] == 0
    for words in (
        ("verify-tiles", tmp_path / "nowhere", "--key", key),
        ("verify-tiles", tmp_path / "site", "--key", "x"),
    ):
        assert isinstance(run(*words).exception, InputError)


def test_serve_runs_until_it_is_stopped(installation: object, tmp_path: Path) -> None:
    installation.log.append({"type": "test"})
    installation.log.checkpoint()
    key = installation.log.keys[0]
    script = (
        "import typer; from filigrana.pipeline.cli import audit_site, state; from pathlib import Path\n"
        f"state.state.data_dir = Path({str(installation.folder)!r})\n"
        "app = typer.Typer(); app.command()(audit_site.serve); app(['--port', '0', '--json'])"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        told = json.loads(process.stdout.readline())
        assert told["entries"] == 1
        assert verify_site(told["url"], [key]).ok
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
