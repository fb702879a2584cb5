"""The confined reader: what it cannot do, and that every way of breaking it ends in a finding and never in a crash."""

from __future__ import annotations

import datetime as dt
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from filigrana.errors import FiligranaError, ProvenanceError
from filigrana.provenance.asked import Asked
from filigrana.provenance.identity import AssetId
from filigrana.provenance.isolation import channel, landlock, seccomp
from filigrana.provenance.isolation.confine import Bounds, available
from filigrana.provenance.isolation.host import IsolatedVerifier, _converse
from filigrana.provenance.isolation.wire import AskingResolver, Config, answer, finding_in, record_in
from filigrana.provenance.manifest import definition
from filigrana.provenance.media import encode_picture
from filigrana.provenance.records import AssetRecord, LogEvidence, PreviewImage, RevokedKey, StoredManifest
from filigrana.tests.doubles import scene
from filigrana.tests.signing_kit import Kit, statement

pytestmark = pytest.mark.skipif(not available().whole, reason="this kernel cannot confine a process")


@pytest.fixture(scope="module")
def isolated() -> Iterator[IsolatedVerifier]:
    with IsolatedVerifier(Config()) as opened:
        yield opened


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    path.write_bytes(encode_picture(scene(3), "image/png"))
    return path


# ── what a confined process cannot do ────────────────────────────────────────────────────────────────────────────
ATTEMPTS = {
    "reads another file": "open('/etc/passwd').read()",
    "reads a secret in its own folder's parent": "open(secret).read()",
    "lists a folder": "os.listdir('/')",
    "writes elsewhere": "open('/tmp/filigrana-escape', 'w')",
    "changes the file": "open(given, 'ab')",
    "opens a socket": "socket.socket()",
    "opens a unix socket": "socket.socket(socket.AF_UNIX)",
    "runs a program": "os.execv('/bin/true', ['true'])",
    "forks": "os.fork()",
    "signals another process": "os.kill(os.getppid(), 0)",
    "traces another process": "check(libc.ptrace(16, os.getppid(), 0, 0))",
    "makes a namespace": "check(libc.unshare(0x10000000))",
    "mounts": "check(libc.mount(b'none', b'/mnt', b'tmpfs', 0, None))",
    "raises its limits": "resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
    "regains capabilities": "check(libc.chroot(b'/'))",
    "truncates by its path": "os.truncate(given, 0)",
    "renames": "os.rename(given, given + '2')",
    "makes a link": "os.symlink('/etc/passwd', given + '3')",
    "opens a secret to everybody": "os.chmod(secret, 0o777)",
    "gives a file away": "os.chown(secret, -1, -1)",
    "changes a file's times": "os.utime(secret, (1, 1))",
    "sets an attribute": "os.setxattr(secret, 'user.x', b'1')",
    "signals another process's thread": "check(libc.syscall(234 if os.uname().machine == 'x86_64' else 131, os.getppid(), os.getppid(), 0))",
    "slows another process down": "os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)",
}
ALLOWED = {
    "reads the file": "open(given, 'rb').read()",
    "writes in its own folder": "open(folder + '/spill', 'wb').write(b'x')",
    "starts a thread": "t = threading.Thread(target=time.sleep, args=(0,)); t.start(); t.join()",
    "takes memory within its limit": "bytearray(16 << 20)",
}
SCRIPT = """
import ctypes, os, resource, socket, sys, threading, time
from pathlib import Path
from filigrana.provenance.isolation.confine import Bounds, confine
given, folder, secret, confined = sys.argv[1:5]
libc = ctypes.CDLL(None, use_errno=True)
def check(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), 'refused')
if confined == '1':
    confine(Bounds(memory=256 << 20), [Path(given)], Path(folder))
try:
    exec(sys.argv[5])
except (OSError, ValueError) as error:
    os._exit(7)
os._exit(0)
"""


def attempt(tmp_path: Path, code: str, confined: bool) -> int:
    given, folder, secret = tmp_path / "given", tmp_path / "own", tmp_path / "secret"
    given.write_bytes(b"x")
    secret.write_text("s")
    folder.mkdir(exist_ok=True)
    arguments = [str(given), str(folder), str(secret), "1" if confined else "0", code]
    return subprocess.run([sys.executable, "-c", SCRIPT, *arguments], check=False, timeout=60).returncode


@pytest.mark.parametrize("what", ATTEMPTS)
def test_a_confined_process_cannot(what: str, tmp_path: Path) -> None:
    assert attempt(tmp_path, ATTEMPTS[what], confined=True) == 7
    assert not Path("/tmp/filigrana-escape").exists()  # noqa: S108


@pytest.mark.parametrize("what", ALLOWED)
def test_a_confined_process_can_do_its_work(what: str, tmp_path: Path) -> None:
    assert attempt(tmp_path, ALLOWED[what], confined=True) == 0


def test_without_confinement_the_attempts_succeed(tmp_path: Path) -> None:
    """Negative control: it is the confinement that refuses, not the test."""
    free = [
        code
        for what, code in ATTEMPTS.items()
        if what in ("reads another file", "opens a socket", "changes the file", "forks")
    ]
    assert [attempt(tmp_path, code, confined=False) for code in free] == [0] * 4


def test_a_kernel_without_landlock_opens_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(landlock, "abi", lambda: 0)
    with pytest.raises(OSError, match="Landlock"):
        landlock.restrict([tmp_path], None)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_is_well_formed(machine: str) -> None:
    code = seccomp.program(machine)
    assert len(code) % 8 == 0
    assert len(code) // 8 < 4096, "the kernel takes no longer program"


# ── what becomes of a child that breaks ──────────────────────────────────────────────────────────────────────────
def test_a_file_is_read_and_nothing_is_left(
    isolated: IsolatedVerifier, photo: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(spool))
    assert isolated.verify(photo).finding == "unmarked"
    assert list(spool.iterdir()) == []


def test_too_long_is_unreadable(photo: Path) -> None:
    with IsolatedVerifier(Config(), Bounds(wall=0.02)) as impatient:
        started = time.monotonic()
        finding = impatient.verify(photo)
        assert (finding.finding, "longer" in finding.evidence[0].detail) == ("unreadable", True)
        assert time.monotonic() - started < 30


def test_too_much_memory_is_unreadable(tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    Image.fromarray(np.zeros((6000, 6000, 3), np.uint8)).save(large, compress_level=1)
    with IsolatedVerifier(Config(), Bounds(memory=64 << 20)) as narrow:
        finding = narrow.verify(large)
        assert finding.finding == "unreadable"
        assert "memory" in finding.evidence[0].detail
    with IsolatedVerifier(Config(), Bounds(memory=3 << 30)) as wide:
        assert wide.verify(large).finding == "unmarked", "control: with room it is read"


def test_too_much_processor_time_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "slow.png"
    Image.fromarray(scene(5, 3000, 3000)).save(path, compress_level=1)
    with IsolatedVerifier(Config(), Bounds(cpu=1)) as brief:
        assert brief.verify(path).finding == "unreadable"


def test_a_zygote_that_was_killed_is_started_again(photo: Path) -> None:
    with IsolatedVerifier(Config()) as opened:
        assert opened.verify(photo).finding == "unmarked"
        assert opened._zygote is not None
        os.kill(opened._zygote.process.pid, signal.SIGKILL)
        assert opened.verify(photo).finding == "unmarked"


def test_a_reader_that_cannot_start_is_an_error_and_no_finding(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("filigrana.provenance.isolation.host.sys.executable", "/bin/false")
    with IsolatedVerifier(Config()) as opened, pytest.raises(ProvenanceError):
        opened.verify(photo)


def test_many_at_once(isolated: IsolatedVerifier, photo: Path) -> None:
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(isolated.verify(photo).finding)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == ["unmarked"] * 6


def test_the_child_sees_no_environment_of_ours(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("FILIGRANA_DATABASE", "postgresql://user:password@host/db")
    with IsolatedVerifier(Config()) as opened:
        opened.verify(photo)
        assert opened._zygote is not None
        environment = Path(f"/proc/{opened._zygote.process.pid}/environ").read_bytes()
    assert b"secret" not in environment
    assert b"password" not in environment


def test_the_child_loads_no_torch_and_forks_from_one_thread(photo: Path) -> None:
    with IsolatedVerifier(Config()) as opened:
        opened.verify(photo)
        assert opened._zygote is not None
        pid = opened._zygote.process.pid
        assert len(os.listdir(f"/proc/{pid}/task")) == 1, "a thread would not survive the fork"
        assert "torch" not in Path(f"/proc/{pid}/maps").read_text()


# ── what a child that was taken over may say ─────────────────────────────────────────────────────────────────────
class Knowing:
    """A catalog that knows one asset."""

    name = "a double"

    def by_asset_id(self, asset_id: AssetId) -> AssetRecord | None:
        return AssetRecord(
            asset_id, "image", "image/png", b"\1" * 32, 5, "ai", created_at=dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
        )

    def by_binding(self, alg: str, value: str) -> AssetRecord | None:
        raise FiligranaError(f"{alg} is out of reach")

    def by_sha256(self, digest: bytes) -> AssetRecord | None:
        return None

    def preview(self, asset_id: AssetId) -> PreviewImage | None:
        return PreviewImage("image/jpeg", b"\0\1\xff", 3, 4)

    def manifest(self, asset_id: AssetId) -> StoredManifest | None:
        return StoredManifest("urn:c2pa:x", b"store")

    def revoked(self, asset_id: AssetId, at: dt.datetime | None) -> RevokedKey | None:
        return RevokedKey("stolen", "2026-01-01T00:00:00Z")

    def revoked_signer(self, serial: str, at: dt.datetime | None) -> RevokedKey | None:
        return RevokedKey("stolen", "2026-01-01T00:00:00Z") if serial == "5" else None

    def log_evidence(self, record: AssetRecord) -> LogEvidence:
        return LogEvidence(True, 3, 4, "proven", pinned=False)


def through(question: dict[str, Any]) -> Any:
    return json.loads(json.dumps(answer([Knowing()], json.loads(json.dumps(question)))))


def test_a_catalog_is_the_same_through_the_wire() -> None:
    here, there, ident = Knowing(), AskingResolver(through, 0, "a double"), AssetId(77)
    record = there.by_asset_id(ident)
    assert record == here.by_asset_id(ident)
    assert record is not None
    assert there.preview(ident) == here.preview(ident)
    assert there.manifest(ident) == here.manifest(ident)
    assert there.revoked(ident, None) == here.revoked(ident, None)
    assert there.log_evidence(record) == here.log_evidence(record)
    assert there.by_sha256(b"\0" * 32) is None
    assert there.revoked_signer("5", None) == here.revoked_signer("5", None)
    assert there.revoked_signer("6", None) is None
    with pytest.raises(FiligranaError, match="out of reach"):
        there.by_binding("alg", "value")


def test_a_database_that_is_gone_knows_nothing(installation: Any, photo: Path) -> None:
    """Through the child and back: an error of the catalog is said, and is no crash."""
    from sqlalchemy.exc import OperationalError

    class Gone(Knowing):
        def by_sha256(self, digest: bytes) -> AssetRecord | None:
            raise OperationalError("SELECT secret", {}, Exception("password=secret"))

    with IsolatedVerifier(Config()) as opened:
        finding = opened.verify(photo, resolvers=[Gone()])
    assert finding.finding == "unmarked"
    said = " ".join(e.detail for e in finding.evidence)
    assert "cannot be asked" in said
    assert "secret" not in said


@pytest.mark.parametrize(
    "question",
    [
        {}, {"resolver": 1, "ask": "preview", "with": ["x"]}, {"resolver": -1, "ask": "preview", "with": ["x"]},
        {"resolver": True, "ask": "__class__", "with": []}, {"resolver": 0, "ask": "by_binding", "with": ["x"]},
        {"resolver": 0, "ask": "by_binding", "with": [1, 2]}, {"resolver": 0, "ask": "by_binding", "with": ["x" * 5000, "y"]},
        {"resolver": 0, "ask": "by_sha256", "with": ["zz"]}, {"resolver": 0, "ask": "revoked", "with": [str(AssetId(1)), "never"]},
    ],
)  # fmt: skip
def test_questions_out_of_form_end_the_conversation(question: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        answer([Knowing()], question)


@pytest.mark.parametrize(
    "change",
    [
        {"finding": "certified"}, {"trust": "absolute"}, {"evidence": [{"technique": "x", "status": "great", "detail": ""}]},
        {"evidence": None}, {"asset_id": "'; DROP TABLE assets"}, {"regions": [[0, 0, 1, 1]]},
    ],
)  # fmt: skip
def test_a_finding_out_of_form_is_none(change: dict[str, Any]) -> None:
    good: dict[str, Any] = {
        "finding": "unmarked", "trust": "none", "match": None, "signer": None, "time": None, "made_by": None,
        "history": {"nodes": [], "edges": [], "truncated": False}, "media": None, "record": None, "crjson": None, "asset_id": None, "evidence": [], "regions": [], "thumbnail": None,
    }  # fmt: skip
    assert finding_in(good, Path("x"), 0.0, None).finding == "unmarked"
    with pytest.raises(ValueError):
        finding_in(good | change, Path("x"), 0.0, None)


@pytest.mark.parametrize(
    "record", [{}, {"asset_id": "x"}, {"asset_id": str(AssetId(1)), "media": "image", "mime": "a", "sha256": 5}]
)
def test_a_record_out_of_form_is_an_error(record: dict[str, Any]) -> None:
    with pytest.raises(FiligranaError):
        record_in(record)


def test_a_child_that_asks_without_end_is_ended() -> None:
    ours, theirs = socket.socketpair()

    def chatter() -> None:
        try:
            while True:
                channel.send(theirs.fileno(), {"resolver": 0, "ask": "by_sha256", "with": ["00"]})
                channel.receive(theirs.fileno(), time.monotonic() + 10)
        except (channel.ChannelError, TimeoutError, OSError, ValueError):
            return

    thread = threading.Thread(target=chatter, daemon=True)
    thread.start()
    with pytest.raises(ValueError, match="too many"):
        _converse(ours.fileno(), [Knowing()], time.monotonic() + 60)
    ours.close()
    thread.join(10)
    theirs.close()


@pytest.mark.parametrize("data", [b"", b"\0\0\0\4null", b"\xff\xff\xff\xff", b"\0\0\0\5{bad}", b"\0\0\0\x09[[[[[[[[["])
def test_messages_out_of_form_end_the_conversation(data: bytes) -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(data)
    theirs.close()
    with pytest.raises((ValueError, channel.ChannelError)):
        _converse(ours.fileno(), [], time.monotonic() + 5)
    ours.close()


# ── another time of validation ───────────────────────────────────────────────────────────────────────────────────
def unstamped(kit: Kit, folder: Path) -> Path:
    """A signature without a time-stamp: what holds of it depends on the time at which it is looked at."""
    import c2pa

    from filigrana.provenance.signers.file import FileSigner
    from filigrana.provenance.trust import base_settings

    claim = kit.keys.claim()
    signer = c2pa.Signer.from_callback(FileSigner(claim).sign, c2pa.C2paSigningAlg.ES256, claim.chain_pem, None)
    manifest = definition(statement("image/jpeg", bindings=()))
    out = io.BytesIO()
    c2pa.Builder(manifest, context=c2pa.Context.from_dict(base_settings())).sign(
        signer, "image/jpeg", io.BytesIO(encode_picture(scene(2), "image/jpeg")), out
    )
    (folder / "unstamped.jpg").write_bytes(out.getvalue())
    return folder / "unstamped.jpg"


def test_the_time_of_validation_decides_over_certificates(tmp_path: Path) -> None:
    kit = Kit.make(tmp_path)
    path, now = unstamped(kit, tmp_path), dt.datetime.now(dt.UTC)
    stamped = kit.picture(tmp_path, bindings=())
    config = Config(claim=(("configured", kit.claim_root),), tsa=(("configured", kit.tsa_root),))
    with IsolatedVerifier(config) as opened:

        def at(file: Path, moment: dt.datetime | None) -> str:
            return opened.verify(file, Asked(moment)).finding

        assert at(path, None) == "verified"
        assert at(path, now + dt.timedelta(days=2)) == "verified"
        assert at(path, now + dt.timedelta(days=800)) == "intact", "the certificate had expired by then"
        assert at(path, now - dt.timedelta(days=30)) == "intact", "the certificate was not valid yet"
        assert at(stamped, now + dt.timedelta(days=800)) == "verified", "a time-stamp outlives the certificate"
        assert at(stamped, now - dt.timedelta(days=30)) == "intact", "it was not signed yet"
        assert at(path, None) == "verified", "the clock of one child is not that of the next"
        assert opened.verify(path, Asked(now + dt.timedelta(days=800))).at == now + dt.timedelta(days=800)
