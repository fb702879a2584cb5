"""Checkpoints outside the database: folders, buckets, witnesses and time-stamps, when they are due, what fails."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from asn1crypto import tsp
from typer.testing import CliRunner

from filigrana.errors import InputError, LogError, SettingsError, TamperError, TimestampError
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.publishing import finish_publishing, published_if_due, time_stamp_roots
from filigrana.pipeline.settings import load_settings
from filigrana.provenance.certificates import make_tsa_chain
from filigrana.provenance.keys import TsaKey
from filigrana.provenance.log import merkle, stamp
from filigrana.provenance.log.cosignature import cosignatures
from filigrana.provenance.log.note import Checkpoint, Note
from filigrana.provenance.log.places import FolderPlace
from filigrana.provenance.log.publishers import (
    PlacePublisher,
    Publication,
    Receipt,
    Stage,
    StampPublisher,
    WitnessPublisher,
)
from filigrana.provenance.log.publishing import Publishing, PublishReport
from filigrana.provenance.log.publishing_state import State, TargetState, load_state, locked, save_state
from filigrana.provenance.log.sequencer import AuditLog
from filigrana.provenance.log.signer import Ed25519LogSigner
from filigrana.provenance.log.site import LogSite
from filigrana.provenance.log.witness import Witness
from filigrana.provenance.log.witness_client import WitnessClient
from filigrana.provenance.log.witness_server import serving
from filigrana.provenance.timestamps import answer, loopback_tsa

NOW = dt.datetime.now(dt.UTC)


@pytest.fixture
def signer(tmp_path: Path) -> Ed25519LogSigner:
    return Ed25519LogSigner.create(tmp_path / "log.pem", "example.com/log")


@pytest.fixture
def log(sqlite_url: str, signer: Ed25519LogSigner, tmp_path: Path) -> Iterator[AuditLog]:
    with AuditLog(sqlite_url, signer=signer, guard_path=tmp_path / "guard") as opened:
        fill(opened, 5)
        yield opened


def fill(log: AuditLog, count: int) -> None:
    size = log.size()
    log.extend({"type": "test", "n": size + number} for number in range(count))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


class Doubtful:
    """A target that can be told to fail, to hang, or to be slow."""

    stage = Stage.STORE

    def __init__(self, name: str = "doubtful") -> None:
        self.name = name
        self.error: Exception | None = None
        self.hold: threading.Event | None = None
        self.seen: list[int] = []

    def publish(self, publication: Publication, log: AuditLog) -> Receipt:
        if self.hold is not None:
            self.hold.wait(30)
        if self.error is not None:
            raise self.error
        self.seen.append(publication.checkpoint.size)
        return Receipt("took it")


# ── consistency proofs ───────────────────────────────────────────────────────────────────────────────────────────
def test_consistency_proofs_hold_between_any_two_sizes(log: AuditLog) -> None:
    fill(log, 255)
    roots = {size: LogSite(log).root(size) for size in (0, 1, 2, 5, 255, 256, 257, 260)}
    for old in roots:
        for new in roots:
            if old > new:
                with pytest.raises(LogError):
                    log.consistency(old, new)
            else:
                merkle.verify_consistency(old, roots[old], new, roots[new], log.consistency(old, new))
    for old, new in ((-1, 5), (0, 261), (261, 261)):
        with pytest.raises(LogError):
            log.consistency(old, new)


# ── time-stamps ──────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture(scope="module")
def tsa() -> TsaKey:
    return TsaKey(*make_tsa_chain(NOW - dt.timedelta(days=1)))


DIGEST = hashlib.sha256(b"a note").digest()


def test_a_stamp_is_asked_for_and_checked(tsa: TsaKey) -> None:
    with loopback_tsa(tsa) as url:
        reply, nonce = stamp.ask(url, DIGEST)
    stamped = stamp.check(reply, DIGEST, [tsa.root], nonce=nonce)
    assert abs((stamped - dt.datetime.now(dt.UTC)).total_seconds()) < 60
    assert stamp.check(reply, DIGEST, [tsa.pair.certificate]), "a pinned authority is believed as it stands"
    stranger = make_tsa_chain(NOW)[1]
    for roots, digest, number, words in (
        ([stranger], DIGEST, nonce, "nobody here trusts"),
        ([], DIGEST, nonce, "nobody here trusts"),
        ([tsa.root], hashlib.sha256(b"another").digest(), nonce, "something else"),
        ([tsa.root], DIGEST, nonce + 1, "another request"),
    ):
        with pytest.raises(TimestampError, match=words):
            stamp.check(reply, digest, roots, nonce=number)
    with pytest.raises(TimestampError, match="future"):
        stamp.check(reply, DIGEST, [tsa.root], now=NOW - dt.timedelta(hours=1))


def test_every_flipped_byte_of_a_stamp_is_refused_or_outside_what_it_says(tsa: TsaKey) -> None:
    with loopback_tsa(tsa) as url:
        reply, nonce = stamp.ask(url, DIGEST)
    when = stamp.check(reply, DIGEST, [tsa.root], nonce=nonce)
    harmless = []
    for at in range(len(reply)):
        changed = reply[:at] + bytes([reply[at] ^ 1]) + reply[at + 1 :]
        try:
            assert stamp.check(changed, DIGEST, [tsa.root], nonce=nonce) == when, at
        except TimestampError:
            continue
        harmless.append(at)
    # What may change is what nobody signs and nothing reads: the envelope's versions, its list of hash algorithms, status
    # 1 instead of 0 (both say granted). Never a byte of the statement, the attributes, the signature, a certificate.
    signed = tsp.TimeStampResp.load(reply)["time_stamp_token"]["content"]
    signer = signed["signer_infos"][0]
    parts = [
        bytes(signed["encap_content_info"]["content"]),
        signer["signed_attrs"].contents,
        signer["signature"].native,
    ]
    parts.append(signed["certificates"][0].chosen.dump())
    spans = [range(reply.index(part), reply.index(part) + len(part)) for part in parts]
    assert [at for at in harmless if any(at in span for span in spans)] == []
    assert len(harmless) < 30


@pytest.mark.parametrize(
    ("start", "days", "words"), [(-400, 365, "not valid"), (1, 365, "not valid")], ids=["expired", "not yet"]
)
def test_a_stamp_of_a_certificate_out_of_its_time_is_refused(start: int, days: int, words: str) -> None:
    key = TsaKey(*make_tsa_chain(NOW + dt.timedelta(days=start), days))
    with loopback_tsa(key) as url:
        reply, nonce = stamp.ask(url, DIGEST)
    with pytest.raises(TimestampError, match=words):
        stamp.check(reply, DIGEST, [key.root], nonce=nonce)


def test_a_certificate_for_something_else_makes_no_stamps(tmp_path: Path) -> None:
    from filigrana.provenance.certificates import make_claim_chain

    chain = make_claim_chain(NOW - dt.timedelta(days=1))
    key = TsaKey(chain.leaf, chain.root)
    with loopback_tsa(key) as url:
        reply, nonce = stamp.ask(url, DIGEST)
    with pytest.raises(TimestampError, match="not for time-stamps"):
        stamp.check(reply, DIGEST, [chain.intermediate, chain.root], nonce=nonce)


def test_a_stamp_that_names_another_certificate_is_refused(tsa: TsaKey, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signed well, by the right key; but its signed attributes are about somebody else's certificate (RFC 5035)."""
    from asn1crypto import x509 as asn1_x509
    from cryptography.hazmat.primitives.serialization import Encoding

    from filigrana.provenance import timestamps

    other = asn1_x509.Certificate.load(make_tsa_chain(NOW)[0].certificate.public_bytes(Encoding.DER))
    named = timestamps._ess_id(other)
    monkeypatch.setattr(timestamps, "_ess_id", lambda _: named)
    with loopback_tsa(tsa) as url:
        reply, nonce = stamp.ask(url, DIGEST)
    with pytest.raises(TimestampError, match="names another certificate"):
        stamp.check(reply, DIGEST, [tsa.root], nonce=nonce)


def test_what_is_no_stamp_is_refused(tsa: TsaKey) -> None:
    rejected = answer(b"junk", tsa, NOW)
    for reply in (b"", b"junk", b"\x30\x00", bytes(70_000), rejected, b"\x30\x80" * 100):
        with pytest.raises(TimestampError):
            stamp.check(reply, DIGEST, [tsa.root])
    answers = {500: b"", 200: bytes(stamp.MAX_REPLY + 1), 302: b""}
    for status, body in answers.items():
        transport = httpx.MockTransport(lambda _, status=status, body=body: httpx.Response(status, content=body))
        with pytest.raises(TimestampError):
            stamp.ask("http://tsa.example", DIGEST, transport=transport)
    with pytest.raises(TimestampError, match="reached"):
        stamp.ask("http://127.0.0.1:9", DIGEST)


# ── folders ──────────────────────────────────────────────────────────────────────────────────────────────────────
def place_target(folder: Path) -> PlacePublisher:
    return PlacePublisher(FolderPlace(folder))


def test_a_folder_has_the_newest_and_every_size(log: AuditLog, home: Path, tmp_path: Path) -> None:
    publishing = Publishing([place_target(tmp_path / "out")], home)
    first = publishing.run(log)
    assert first.ok
    fill(log, 3)
    second = publishing.run(log)
    assert (first.size, second.size) == (5, 8)
    names = {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}
    assert names == {"5": first.note, "8": second.note, "checkpoint": second.note}
    assert log.verify(names.values()).outside == 3 + 1  # and the guard
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert publishing.run(log).ok
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}, (
        "nothing new: nothing written"
    )


def test_evidence_in_a_folder_is_never_overwritten(
    log: AuditLog, home: Path, tmp_path: Path, signer: Ed25519LogSigner
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for note, words in (
        (Checkpoint("example.com/log", 99, bytes(32)).sign(signer), "99 entries"),
        (Checkpoint("example.com/log", 4, bytes(32)).sign(signer), "first 4 entries"),
        (Checkpoint("example.com/log", 5, bytes(32)).sign(signer), "first 5 entries"),
        ("junk", "not of this log"),
    ):
        (out / "checkpoint").write_text(note)
        report = Publishing([place_target(out)], home).run(log)
        assert not report.ok
        assert words in report.targets[0].detail
        assert [path.name for path in out.iterdir()] == ["checkpoint"]
        assert (out / "checkpoint").read_text() == note


def test_a_place_that_takes_only_new_files_still_counts(
    log: AuditLog, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Write once, read many: the copy by size is the evidence; only `checkpoint` cannot be replaced."""
    publishing = Publishing([place_target(tmp_path / "worm")], home)
    assert publishing.run(log).ok
    full = FolderPlace.write

    def once(self: FolderPlace, path: str, data: bytes) -> None:
        if "worm" in self.name and (self._folder / path).exists():
            raise LogError("read-only", code="log.place")
        full(self, path, data)

    monkeypatch.setattr(FolderPlace, "write", once)
    fill(log, 1)
    report = publishing.run(log)
    assert report.ok
    assert "could not be replaced" in report.targets[0].detail
    assert (tmp_path / "worm" / "6").exists()


def test_a_bucket_gets_the_same(log: AuditLog, home: Path) -> None:
    import fsspec

    from filigrana.provenance.log.places import place

    report = Publishing([PlacePublisher(place("memory://worm/checkpoints"))], home).run(log)
    assert report.ok
    assert fsspec.filesystem("memory").cat("/worm/checkpoints/5").decode() == report.note


# ── failure, time, state ─────────────────────────────────────────────────────────────────────────────────────────
def test_one_failing_target_costs_the_others_nothing(log: AuditLog, home: Path, tmp_path: Path) -> None:
    bad, worse, good = Doubtful("bad"), Doubtful("worse"), Doubtful("good")
    bad.error, worse.error = LogError("the bucket is full"), ZeroDivisionError()
    publishing = Publishing([bad, worse, good, place_target(tmp_path / "out")], home)
    report = publishing.run(log)
    assert not report.ok
    assert {item.name: item.ok for item in report.targets} == {
        "bad": False,
        "worse": False,
        "good": True,
        str(tmp_path / "out"): True,
    }
    assert (tmp_path / "out" / "5").exists()
    assert publishing.state.targets["bad"] == TargetState(0, 0.0, "the bucket is full")
    with pytest.raises(LogError, match="bad: the bucket is full; worse: failed"):
        publishing.summary()
    bad.error = worse.error = None
    assert publishing.run(log).ok
    assert bad.seen == [5]
    assert "5 entries published" in publishing.summary()


def test_a_hanging_target_is_left_behind_and_not_piled_up(log: AuditLog, home: Path) -> None:
    slow, good = Doubtful("slow"), Doubtful("good")
    slow.hold = threading.Event()
    publishing = Publishing([slow, good], home, timeout=0.3)
    started = time.monotonic()
    report = publishing.run(log)
    assert time.monotonic() - started < 3
    assert [(item.name, item.ok) for item in report.targets if not item.ok] == [("slow", False)]
    assert good.seen == [5]
    threads = threading.active_count()
    again = publishing.run(log)
    assert "still hangs" in next(item.detail for item in again.targets if item.name == "slow")
    assert threading.active_count() <= threads
    slow.hold.set()
    for _ in range(100):
        if slow.seen:
            break
        time.sleep(0.02)
    assert publishing.run(log).ok


def test_when_it_is_due(log: AuditLog, home: Path) -> None:
    clock = [1_000_000.0]
    target = Doubtful()
    assert not Publishing([], home).due(10, 0), "without targets, never"
    publishing = Publishing([target], home, entries=10, seconds=100, clock=lambda: clock[0])
    assert publishing.due(5, clock[0]), "never published"
    assert publishing.run(log).ok
    cases = [
        (5, 0, False), (5, 10_000, False),  # nothing new
        (6, 50, False), (6, 99.9, False), (6, 100, True),  # time
        (14, 1, False), (15, 1, True),  # entries
        (6, -1, True), (6, -1e9, True), (5, -1, False),  # the clock was set back
        (4, 0, True),  # the log shrank: the attempt will say so
    ]  # fmt: skip
    for size, later, expected in cases:
        assert publishing.due(size, clock[0] + later) is expected, (size, later)
    target.error = LogError("away")
    fill(log, 1)
    assert not publishing.run(log).ok
    assert not publishing.due(6, clock[0] + 59)
    assert publishing.due(6, clock[0] + 60), "a failure is tried again"
    assert publishing.due(6, clock[0] - 1)
    assert Publishing([target, Doubtful("new")], home).due(6, clock[0] + 61)


def test_the_state_survives_damage_and_restart(log: AuditLog, home: Path) -> None:
    assert Publishing([Doubtful()], home).run(log).ok
    again = Publishing([Doubtful()], home)
    assert again.state.targets["doubtful"].size == 5
    assert not again.due(5, time.time())
    file = home / "publishing.json"
    assert file.stat().st_mode & 0o077 == 0
    for damage in (b"", b"{", b"[]", b'{"version": 2}', b'{"version":1,"targets":[]}', b"\xff", b"[" * 100_000):
        file.write_bytes(damage)
        assert load_state(home) == State()
        assert again.due(5, time.time())
    save_state(home, State(7, 3.5, ("x",), {"é": TargetState(1, 2.0, "")}))
    assert load_state(home) == State(7, 3.5, ("x",), {"é": TargetState(1, 2.0, "")})
    with pytest.raises(LogError, match="cannot be written"):
        save_state(home / "nowhere", State())


def test_two_processes_do_not_publish_at_once(log: AuditLog, home: Path) -> None:
    target = Doubtful()
    with locked(home) as ours:
        assert ours
        report = Publishing([target], home).run(log)
    assert report.busy
    assert target.seen == []
    assert not Publishing([target], home).run(log).busy


def test_a_log_that_was_rewritten_is_not_published(
    log: AuditLog, home: Path, tmp_path: Path, signer: Ed25519LogSigner
) -> None:
    (tmp_path / "guard").write_text(Checkpoint("example.com/log", 5, bytes(32)).sign(signer))
    target = Doubtful()
    publishing = Publishing([target], home)
    with pytest.raises(TamperError):
        publishing.run(log)
    assert target.seen == []
    with pytest.raises(LogError, match="not those that were signed"):
        publishing.summary()


def test_a_full_data_folder_does_not_stop_the_targets(
    log: AuditLog, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = Doubtful()
    (home / "checkpoints").write_text("in the way")
    report = Publishing([target], home).run(log)
    assert (report.ok, target.seen) == (False, [5])
    assert "checkpoints" in report.problems[0]


# ── witnesses ────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def witnesses(tmp_path: Path, signer: Ed25519LogSigner) -> Iterator[list[tuple[str, Witness]]]:
    found = []
    for number in (1, 2):
        folder = tmp_path / f"witness{number}"
        Witness.create(folder, f"witness.example/w{number}")
        found.append(Witness.open(folder, [signer.verifier_key]))
    with serving(found[0]) as first, serving(found[1]) as second:
        yield [(first, found[0]), (second, found[1])]


def test_witnesses_cosign_and_everybody_gets_their_lines(
    log: AuditLog, home: Path, tmp_path: Path, witnesses: list[tuple[str, Witness]], tsa: TsaKey
) -> None:
    keys = [key for _, witness in witnesses for key in witness.keys]
    targets = [WitnessPublisher(WitnessClient(url, witness.keys)) for url, witness in witnesses]
    with loopback_tsa(tsa) as url:
        stamper = StampPublisher(lambda: loopback(url), lambda: [tsa.root], 5.0)
        publishing = Publishing([place_target(tmp_path / "out"), stamper, *targets], home, witnesses=keys, quorum=2)
        report = publishing.run(log)
        assert report.ok, report
        fill(log, 4)
        second = publishing.run(log)  # the witnesses ask for a consistency proof
    assert second.ok, second
    for size, note in ((5, report.note), (9, second.note)):
        assert len({item.key.name for item in cosignatures(note, keys)}) == 2
        assert Checkpoint.open(note, log.keys).size == size
        for folder in (tmp_path / "out", home / "checkpoints"):
            assert (folder / str(size)).read_text() == note
            stamped = (folder / f"{size}.tsr").read_bytes()
            assert stamp.check(stamped, hashlib.sha256(note.encode()).digest(), [tsa.root])
    head = LogSite(log, publishing.archive).head()
    assert head is not None
    assert head.note == second.note, "the static files show the cosignatures, too"
    assert log.verify([second.note]).ok


def loopback(url: str) -> Any:
    from contextlib import nullcontext

    return nullcontext(url)


def test_a_witness_that_was_away_cosigns_the_same_checkpoint_later(
    log: AuditLog, home: Path, tmp_path: Path, witnesses: list[tuple[str, Witness]]
) -> None:
    (first_url, first), (second_url, second) = witnesses
    keys = [*first.keys, *second.keys]

    def make(url: str) -> Publishing:
        targets = [
            WitnessPublisher(WitnessClient(first_url, first.keys)),
            WitnessPublisher(WitnessClient(url, second.keys)),
        ]
        return Publishing([*targets, place_target(tmp_path / "out")], home, witnesses=keys, quorum=2)

    early = make("http://127.0.0.1:9").run(log)
    assert not early.ok
    assert "1 of the required 2" in early.problems[0]
    assert {item.name: item.ok for item in early.targets} == {
        "witness witness.example/w1": True, "witness witness.example/w2": False, str(tmp_path / "out"): True
    }  # fmt: skip
    late = make(second_url).run(log)
    assert late.ok, late
    assert Note.parse(late.note).text == Note.parse(early.note).text
    assert "already" in late.targets[0].detail
    assert (tmp_path / "out" / "5").read_text() == early.note, "what was published is never replaced"
    assert (tmp_path / "out" / "checkpoint").read_text() == late.note
    assert len(list((tmp_path / "out").glob("5-*"))) == 1


def test_a_witness_that_saw_another_history_is_reported(
    log: AuditLog, home: Path, tmp_path: Path, signer: Ed25519LogSigner, witnesses: list[tuple[str, Witness]]
) -> None:
    url, witness = witnesses[0]
    with AuditLog(f"sqlite:///{tmp_path / 'other.db'}", signer=signer) as other:
        other.extend({"type": "other", "n": number} for number in range(4))
        WitnessClient(url, witness.keys).cosign(other.checkpoint(), other.consistency)
    report = Publishing([WitnessPublisher(WitnessClient(url, witness.keys))], home).run(log)
    assert not report.ok
    assert "saw another tree" in report.targets[0].detail


# ── settings, installation, commands ─────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "targets",
    [
        [""],
        [" /a"],
        ["/a", "/a"],
        ["https://example.com"],
        ["witness+https://w.example"],
        ["witness+ftp://w k"],
        ["a\x00"],
    ],
)
def test_targets_that_cannot_be_are_refused_as_settings(targets: list[str]) -> None:
    with pytest.raises(SettingsError, match="log_publish"):
        load_settings(log_publish=targets)


@pytest.mark.parametrize(
    "changes",
    [
        {"log_publish": ["witness+https://w.example junk"]},
        {"log_publish": ["nosuchscheme://x"]},
        {"log_publish": ["/a"], "log_witness_quorum": 1},
    ],
)
def test_targets_that_do_not_work_are_named(tmp_path: Path, changes: dict[str, Any]) -> None:
    installation = Installation(load_settings(data_dir=tmp_path / "d", **changes))
    with pytest.raises(SettingsError):
        _ = installation.publishing


def installed(tmp_path: Path, **changes: Any) -> Installation:
    changes = {"log_publish": [str(tmp_path / "out"), "tsa"], "checkpoint_entries": 3, **changes}
    return Installation(load_settings(data_dir=tmp_path / "data", **changes))


def test_an_installation_publishes_after_its_releases_and_close_waits(tmp_path: Path) -> None:
    opened = installed(tmp_path)
    opened.log.append({"type": "test"})
    published_if_due(opened)
    opened.close()
    note = (tmp_path / "out" / "1").read_text()
    reply = (tmp_path / "out" / "1.tsr").read_bytes()
    assert stamp.check(reply, hashlib.sha256(note.encode()).digest(), time_stamp_roots(opened))
    again = installed(tmp_path)
    again.log.append({"type": "test"})
    published_if_due(again)
    assert again.publisher is None, "one entry later it is not due"
    again.log.extend([{"type": "test"}] * 2)
    published_if_due(again)
    again.close()
    assert (tmp_path / "out" / "4").exists()


def test_openssl_verifies_the_stamp(tmp_path: Path) -> None:
    """The stamp is over the file beside it, so anybody's tool can check it."""
    opened = installed(tmp_path)
    opened.log.append({"type": "test"})
    assert opened.publishing.run(opened.log).ok
    opened.close()
    data, reply = str(tmp_path / "out" / "1"), str(tmp_path / "out" / "1.tsr")
    command = ["openssl", "ts", "-verify", "-data", data, "-in", reply]
    roots = ["-CAfile", str(tmp_path / "data" / "keys" / "tsa-root.pem")]
    done = subprocess.run([*command, *roots], capture_output=True, text=True, check=False)
    assert "Verification: OK" in done.stdout + done.stderr, done


def test_failures_after_a_release_are_warnings_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").write_text("a file, no folder")
    opened = installed(tmp_path, log_publish=[str(tmp_path / "out")])
    opened.log.append({"type": "test"})
    with caplog.at_level(logging.WARNING):
        published_if_due(opened)
        finish_publishing(opened)
        monkeypatch.setattr(Publishing, "due", lambda *_: 1 / 0)
        published_if_due(opened)
    opened.close()
    assert "was not published to" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_the_pipeline_publishes_after_a_seal(
    tmp_path: Path, make_engine: Any, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    from importlib import resources

    from filigrana.pipeline.api import Pipeline

    photo = tmp_path / "photo.jpg"
    photo.write_bytes((resources.files("filigrana.pipeline.cli") / "photo.jpg").read_bytes())
    settings = load_settings(data_dir=tmp_path / "data", log_publish=[str(tmp_path / "out")])
    with Pipeline(settings) as opened:
        monkeypatch.setattr(type(opened), "engine", property(lambda _: make_engine()))
        outcome = opened.seal(photo, source_type="camera")
        assert outcome.released, outcome
    assert (tmp_path / "out" / "checkpoint").exists()


@pytest.fixture
def app() -> Any:
    import typer

    from filigrana.pipeline.cli import audit_publish

    made = typer.Typer()
    made.command("publish")(audit_publish.publish)
    made.command("watch")(audit_publish.watch)
    return made


def test_publish_says_what_came_of_it(app: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(CliRunner().invoke(app, ["publish"]).exception, InputError)
    house = Installation(load_settings(data_dir=tmp_path / "data"))
    house.ledger.unfinished()
    house.close()
    assert isinstance(CliRunner().invoke(app, ["publish"]).exception, InputError)
    monkeypatch.setenv("FILIGRANA_LOG_PUBLISH", json.dumps([str(tmp_path / "out"), "tsa"]))
    done = CliRunner().invoke(app, ["publish", "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["ok"], said["entries"], [item["ok"] for item in said["targets"]]) == (True, 0, [True, True])
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FILIGRANA_LOG_PUBLISH", json.dumps([str(tmp_path / "out"), str(tmp_path / "file")]))
    bad = CliRunner().invoke(app, ["publish"])
    assert bad.exit_code == 1
    assert "✗" in bad.output


def test_watch_publishes_when_due_and_ends_on_a_signal(tmp_path: Path) -> None:
    opened = installed(tmp_path, log_publish=[str(tmp_path / "out")])
    opened.log.append({"type": "test"})
    script = (
        "import typer; from filigrana.pipeline.cli import audit_publish\n"
        "app = typer.Typer(); app.command()(audit_publish.watch); app(['--every', '0.1', '--json'])"
    )
    environment = os.environ | {
        "FILIGRANA_DATA_DIR": str(tmp_path / "data"),
        "FILIGRANA_LOG_PUBLISH": json.dumps([str(tmp_path / "out")]),
        "FILIGRANA_CHECKPOINT_ENTRIES": "3",
    }
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    try:
        assert json.loads(process.stdout.readline())["entries"] == 1
        opened.log.extend([{"type": "test"}] * 3)
        assert json.loads(process.stdout.readline())["entries"] == 4
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        opened.close()


def test_doctor_tells_what_was_not_published(tmp_path: Path, home: Path) -> None:
    assert "nowhere" in Publishing([], home).summary()
    assert "nothing was published yet" in Publishing([Doubtful()], home).summary()
    assert isinstance(PublishReport(True, 0, "", (), (), 0.0).busy, bool)


def test_a_slower_machine_does_not_take_a_newer_checkpoint_for_tampering(
    log: AuditLog, home: Path, tmp_path: Path
) -> None:
    """Two machines write to one log and publish to one folder; the one that signed first comes last."""
    fill(log, 3)
    early = log.checkpoint()
    fill(log, 5)
    late = log.checkpoint()
    target = PlacePublisher(FolderPlace(tmp_path / "out"))
    for note in (late, early):
        receipt = target.publish(Publication(note, Checkpoint.open(note, log.keys)), log)
        assert ("a newer `checkpoint`" in receipt.text) == (note == early)
    assert (tmp_path / "out" / "checkpoint").read_text() == late
    assert (tmp_path / "out" / str(Checkpoint.open(early, log.keys).size)).read_text() == early


def test_every_installation_s_log_has_a_name_of_its_own(tmp_path: Path) -> None:
    one, two, three = (Installation(load_settings(data_dir=tmp_path / name)) for name in "abc")
    names = {each.log.signer.name for each in (one, two, three)}
    assert len(names) == 3
    named = Installation(load_settings(data_dir=tmp_path / "d", log_name="example.com/audit"))
    assert named.log.signer.name == "example.com/audit"
    with pytest.raises(SettingsError, match="log_name"):
        _ = Installation(load_settings(data_dir=tmp_path / "a", log_name="example.com/other")).log
    for wrong in ("", "two words", "a+b"):
        with pytest.raises(SettingsError):
            load_settings(data_dir=tmp_path / "e", log_name=wrong)
    for each in (one, two, three, named):
        each.close()
