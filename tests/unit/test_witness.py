"""The witness: every status of the specification over real HTTP, what strangers may send, and the client."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from filigrana.errors import KeyStoreError, LogError, TamperError
from filigrana.provenance.log import signatures
from filigrana.provenance.log.cosignature import WitnessPolicy, cosign, cosignatures
from filigrana.provenance.log.note import Checkpoint, Note, VerifierKey, _b64
from filigrana.provenance.log.proof import LogProof
from filigrana.provenance.log.signer import CosignerKey, Ed25519LogSigner
from filigrana.provenance.log.witness import SIZE_TYPE, Witness, format_request, load_keys, parse_request
from filigrana.provenance.log.witness_client import WitnessClient
from filigrana.provenance.log.witness_server import Limits, WitnessServer, serving
from filigrana.tests.small_log import ORIGIN, WITNESS, SmallLog

NOW = 1_800_000_000


@pytest.fixture
def log(tmp_path: Path) -> SmallLog:
    return SmallLog(tmp_path / "log.key", leaves=7)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Witness.create(tmp_path / "witness", WITNESS)
    return tmp_path / "witness"


@pytest.fixture
def witness(folder: Path, log: SmallLog) -> Witness:
    return Witness.open(folder, [log.signer.verifier_key], clock=lambda: NOW)


@pytest.fixture
def url(witness: Witness) -> Iterator[str]:
    with serving(witness, limits=Limits(connections=4, seconds=1.0)) as prefix:
        yield prefix


Post = Callable[..., httpx.Response]


@pytest.fixture
def post(url: str) -> Iterator[Post]:
    with httpx.Client(trust_env=False) as client:

        def send(old: int, proof: list[bytes], note: str) -> httpx.Response:
            return client.post(f"{url}/add-checkpoint", content=format_request(old, proof, note))

        yield send


def test_200_a_first_checkpoint_and_one_that_extends_it(post: Post, log: SmallLog, witness: Witness) -> None:
    note = log.note(3)
    first = post(0, [], note)
    assert first.status_code == 200
    assert all(line.startswith(f"— {WITNESS} ") for line in first.text.splitlines())
    assert [item.time for item in cosignatures(note + first.text, witness.keys)] == [NOW, NOW]
    assert {item.key.kind for item in cosignatures(note + first.text, witness.keys)} == {0x04, 0x06}
    second = post(3, log.prove(3, 7), log.note())
    assert second.status_code == 200
    assert len(cosignatures(log.note() + second.text, witness.keys)) == 2
    assert post(7, [], log.note()).status_code == 200  # again, for a log that did not get the answer


def test_400_what_is_no_request(post: Post, url: str, log: SmallLog) -> None:
    assert post(8, [], log.note()).status_code == 400  # an old size above the new
    good = format_request(0, [], log.note()).decode()
    for body in (
        "",
        "old 0\n",
        good.replace("old 0", "old 00"),
        good.replace("old 0", "old -1"),
        good.replace("old 0", "old"),
        good.replace("old 0", "size 0"),
        good.replace("old 0\n", "old 0\nAAAA\n"),
        good.replace("old 0\n", "old 0\nnot base64\n"),
        good.replace("old 0\n", "old 0\n" + f"{_b64(bytes(32))}\n" * 64),
        good.replace("\n7\n", "\n07\n"),
        good[:-1],
        good.replace("\n", "\r\n"),
    ):
        answer = httpx.post(f"{url}/add-checkpoint", content=body.encode(), trust_env=False)
        assert answer.status_code == 400, body
        assert "—" not in answer.text
    assert httpx.post(f"{url}/add-checkpoint", content=b"old 0\n\n\xff\xfe", trust_env=False).status_code == 400


def test_403_not_signed_by_the_log(post: Post, log: SmallLog, tmp_path: Path) -> None:
    stranger = SmallLog(tmp_path / "stranger.key", ORIGIN, 7)
    assert post(0, [], stranger.note()).status_code == 403
    line = Note.parse(log.note()).signatures[0]
    broken = log.note().replace(_b64(line.key_id + line.signature), _b64(line.key_id + bytes(64)))
    assert post(0, [], broken).status_code == 403
    # A good line beside a false one of the same key spoils the note (c2sp.org/signed-note).
    both = log.note() + broken.split("\n\n")[1]
    assert post(0, [], both).status_code == 403


def test_signatures_of_unknown_keys_are_ignored(post: Post, log: SmallLog, tmp_path: Path) -> None:
    stranger = SmallLog(tmp_path / "stranger.key", ORIGIN, 7)
    both = log.note() + stranger.note().split("\n\n")[1]
    assert post(0, [], both).status_code == 200


def test_false_lines_under_its_own_name_do_not_spoil_its_state(post: Post, log: SmallLog, witness: Witness) -> None:
    """A stranger may add what he likes to a checkpoint; only lines that were verified are kept."""
    forged = "".join(f"— {WITNESS} {_b64(key.key_id + bytes(72))}\n" for key in witness.keys)
    assert post(0, [], log.note(3) + forged).status_code == 200
    assert [item.checkpoint.size for item in witness.seen()] == [3]
    assert post(3, log.prove(3, 7), log.note()).status_code == 200


def test_404_a_log_that_it_does_not_watch(post: Post, tmp_path: Path) -> None:
    other = SmallLog(tmp_path / "other.key", "log.example/two", 3)
    assert post(0, [], other.note()).status_code == 404


def test_409_another_old_size_says_the_known_one(post: Post, log: SmallLog) -> None:
    assert post(0, [], log.note(3)).status_code == 200
    for old, proof in ((0, []), (2, log.prove(2, 7)), (4, log.prove(4, 7))):
        answer = post(old, proof, log.note())
        assert (answer.status_code, answer.text) == (409, "3\n")
        assert answer.headers["Content-Type"] == SIZE_TYPE


def test_409_another_root_for_the_same_size(post: Post, log: SmallLog, tmp_path: Path) -> None:
    assert post(0, [], log.note()).status_code == 200
    answer = post(7, [], log.fork(tmp_path / "log.key", 3, 7).note())
    assert answer.status_code == 409
    assert answer.headers["Content-Type"] != SIZE_TYPE


def test_422_a_proof_that_does_not_hold(post: Post, log: SmallLog, witness: Witness) -> None:
    assert post(0, [bytes(32)], log.note(3)).status_code == 422
    assert post(0, [], log.note(3)).status_code == 200
    proof = log.prove(3, 7)
    for bad in ([], proof[:-1], [*proof, bytes(32)], proof[::-1], [bytes(32), *proof[1:]]):
        assert post(3, bad, log.note()).status_code == 422
    assert [item.checkpoint.size for item in witness.seen()] == [3]
    assert post(3, proof, log.note()).status_code == 200


def test_an_empty_log_has_one_root_only(post: Post, log: SmallLog) -> None:
    false = Checkpoint(ORIGIN, 0, bytes(32)).sign(log.signer)
    assert post(0, [], false).status_code == 422
    assert post(0, [], log.note(0)).status_code == 200
    assert post(0, [], false).status_code == 409
    assert post(0, [], log.note(3)).status_code == 200


def test_the_state_outlives_the_process(folder: Path, log: SmallLog, tmp_path: Path) -> None:
    Witness.open(folder, [log.signer.verifier_key]).add_checkpoint(0, [], log.note(3))
    again = Witness.open(folder, [log.signer.verifier_key])
    assert again.add_checkpoint(0, [], log.note()).body == "3\n"
    # What is kept is evidence: the log's own signature over the head, beside ours.
    (file,) = (folder / "state").glob("*.note")
    kept = file.read_text("utf-8")
    assert Checkpoint.open(kept, [log.signer.verifier_key]).size == 3
    assert file.stat().st_mode & 0o777 == 0o600


def test_logs_do_not_share_their_state(folder: Path, log: SmallLog, tmp_path: Path) -> None:
    other = SmallLog(tmp_path / "other.key", "log.example/two", 2)
    both = Witness.open(folder, [log.signer.verifier_key, other.signer.verifier_key])
    assert both.add_checkpoint(0, [], log.note()).status == 200
    assert both.add_checkpoint(0, [], other.note()).status == 200
    assert [(item.checkpoint.origin, item.checkpoint.size) for item in both.seen()] == [
        (ORIGIN, 7),
        ("log.example/two", 2),
    ]


def test_its_time_never_goes_back(folder: Path, log: SmallLog) -> None:
    for clock, expected in ((NOW, NOW), (NOW - 1000, NOW), (0, NOW), (NOW + 5.9, NOW + 5)):
        one = Witness.open(folder, [log.signer.verifier_key], clock=lambda clock=clock: clock)  # type: ignore[misc]
        size = one.seen()[0].checkpoint.size if one.seen() else 0
        answer = one.add_checkpoint(size, [], log.note()) if size else one.add_checkpoint(0, [], log.note())
        assert {item.time for item in cosignatures(log.note() + answer.body, one.keys)} == {expected}


def test_a_log_with_an_mldsa44_key_is_watched(folder: Path, log: SmallLog, tmp_path: Path) -> None:
    own = CosignerKey.create(tmp_path / "own.key", ORIGIN)
    witness = Witness.open(folder, [own.verifier_key])
    assert witness.add_checkpoint(0, [], log.note()).status == 403
    assert witness.add_checkpoint(0, [], cosign(log.note(), own, 0)).status == 200


@pytest.mark.parametrize("damage", [b"", b"\xff", b"x\n\n", "flip", "other keys", "other log"])
def test_a_damaged_state_stops_it(folder: Path, log: SmallLog, tmp_path: Path, damage: bytes | str) -> None:
    Witness.open(folder, [log.signer.verifier_key]).add_checkpoint(0, [], log.note(3))
    (file,) = (folder / "state").glob("*.note")
    if damage == "flip":
        file.write_bytes(file.read_bytes().replace(b"\n3\n", b"\n2\n"))
    elif damage == "other keys":
        for path in folder.glob("*.key"):
            path.unlink()
            CosignerKey.create(path, WITNESS)
    elif damage == "other log":
        other = SmallLog(tmp_path / "other.key", "log.example/two", 2)
        Witness.open(folder, [other.signer.verifier_key]).add_checkpoint(0, [], other.note())
        (foreign,) = set((folder / "state").glob("*.note")) - {file}
        foreign.replace(file)
    else:
        file.write_bytes(bytes(damage))  # type: ignore[arg-type]
    witness = Witness.open(folder, [log.signer.verifier_key])
    with pytest.raises(LogError) as caught:
        witness.add_checkpoint(3, log.prove(3, 7), log.note())
    assert caught.value.code == "log.witness"
    with serving(witness) as url:
        answer = httpx.post(f"{url}/add-checkpoint", content=format_request(0, [], log.note()), trust_env=False)
    assert (answer.status_code, answer.text) == (500, "the witness cannot answer\n")


def test_a_witness_without_its_state_does_not_start(folder: Path, log: SmallLog) -> None:
    (folder / "state").rmdir()
    with pytest.raises(LogError, match="forget"):
        Witness.open(folder, [log.signer.verifier_key])


def test_it_keeps_nothing_that_it_cannot_write(
    folder: Path, log: SmallLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    witness = Witness.open(folder, [log.signer.verifier_key])
    (folder / "state" / "lock").mkdir()
    with pytest.raises(LogError) as caught:
        witness.add_checkpoint(0, [], log.note())
    assert caught.value.code == "log.witness"
    (folder / "state" / "lock").rmdir()
    witness.add_checkpoint(0, [], log.note(3))

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(LogError, match="No space left") as caught:
            witness.add_checkpoint(3, log.prove(3, 7), log.note())
    assert caught.value.code == "log.witness"
    assert [item.checkpoint.size for item in witness.seen()] == [3]
    assert not list((folder / "state").glob(".*.part"))


def test_what_does_not_fit_together_is_refused(folder: Path, log: SmallLog) -> None:
    key = log.signer.verifier_key
    ours = load_keys(folder)[0].verifier_key
    for logs in ([ours], [VerifierKey(ORIGIN, key.public_key, 0x04)], [VerifierKey("é" * 128, key.public_key)]):
        with pytest.raises(LogError) as caught:
            Witness.open(folder, logs)
        assert caught.value.code == "log.witness"
    with pytest.raises(LogError, match="no witness"):
        Witness.open(folder.parent, [key])
    (folder / "ed25519.key").unlink()
    CosignerKey.create(folder / "ed25519.key", "witness.example/other", 0x04)
    with pytest.raises(LogError, match="one name"):
        Witness.open(folder, [key])


def test_keys_are_private_and_never_overwritten(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in folder.glob("*.key")}
    assert sorted(before) == ["ed25519.key", "mldsa44.key"]
    assert {path.stat().st_mode & 0o777 for path in folder.glob("*.key")} == {0o600}
    for kind in (0x04, 0x06):
        with pytest.raises(KeyStoreError, match="never overwritten"):
            CosignerKey.create(folder / "mldsa44.key", WITNESS, kind)
    with pytest.raises(LogError, match="never overwritten"):
        Witness.create(folder, WITNESS)
    assert {path.name: path.read_bytes() for path in folder.glob("*.key")} == before
    (folder / "mldsa44.key").chmod(0o640)
    with pytest.raises(KeyStoreError, match="others"):
        load_keys(folder)
    for name in ("", "a b", "a+b", "é" * 128):
        with pytest.raises(LogError):
            Witness.create(tmp_path / "bad", name)
    monkeypatch.setattr(signatures, "mldsa", None)
    with pytest.raises(LogError) as caught:
        Witness.create(tmp_path / "bad", WITNESS)
    assert caught.value.code == "log.mldsa"
    assert not (tmp_path / "bad").exists()


def test_a_logs_key_is_no_witness_key_and_the_other_way_round(folder: Path, tmp_path: Path) -> None:
    Ed25519LogSigner.create(tmp_path / "log.pem", ORIGIN)
    with pytest.raises(KeyStoreError):
        CosignerKey.load(tmp_path / "log.pem")
    with pytest.raises(KeyStoreError):
        Ed25519LogSigner.load(folder / "ed25519.key")
    text = (folder / "mldsa44.key").read_text().replace("Cosigner-Name", "Log-Name")
    (tmp_path / "swapped.pem").write_text(text)
    (tmp_path / "swapped.pem").chmod(0o600)
    with pytest.raises(KeyStoreError, match="not an Ed25519 key"):
        Ed25519LogSigner.load(tmp_path / "swapped.pem")


# --- the server against strangers


def raw(url: str, *parts: bytes, pause: float = 0.0, wait: float = 5.0) -> tuple[bytes, float]:
    """What the server answers to these bytes, and how long until it closes, in seconds."""
    host, port = url.removeprefix("http://").split(":")
    started = time.monotonic()
    with socket.create_connection((host, int(port)), timeout=wait) as connection:
        answer = b""
        try:
            for part in parts:
                connection.sendall(part)
                time.sleep(pause)
            while piece := connection.recv(65536):
                answer += piece
        except (ConnectionError, BrokenPipeError):
            pass
    return answer, time.monotonic() - started


def test_it_answers_nothing_else(url: str) -> None:
    for method, path, status in (
        ("GET", "/add-checkpoint", 405),
        ("PUT", "/add-checkpoint", 405),
        ("HEAD", "/add-checkpoint", 405),
        ("BREW", "/add-checkpoint", 501),
        ("GET", "/", 404),
        ("POST", "/", 404),
        ("POST", "/add-checkpoint/", 404),
        ("POST", "/add-checkpoint?x", 404),
        ("POST", "/../state", 404),
    ):
        answer = httpx.request(method, url + path, trust_env=False)
        assert answer.status_code == status, (method, path)
        assert "Traceback" not in answer.text
        assert answer.headers["Server"] == "filigrana-witness"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST /add-checkpoint HTTP/1.1\r\n\r\n", b"411"),
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"411"),
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 1e3\r\n\r\n", b"411"),
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nold", b"411"),
        (b"POST /add-checkpoint HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nold", b"411"),
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 262145\r\n\r\n", b"413"),
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", b"411"),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", b""),
        (b"GET\r\n\r\n", b""),
    ],
)
def test_malformed_heads_are_refused_and_the_connection_closed(url: str, head: bytes, status: bytes) -> None:
    answer, seconds = raw(url, head)
    assert answer.split(b" ")[1:2] == ([status] if status else [])
    assert seconds < 0.9


def test_the_head_is_bounded(url: str) -> None:
    answer, _ = raw(url, b"POST /add-checkpoint HTTP/1.1\r\n" + b"X-Filler: %s\r\n" % (b"a" * 500) * 60)
    assert answer == b""
    answer, _ = raw(url, b"POST /" + b"a" * 70_000)
    assert answer == b""


def test_the_largest_body_is_read_and_a_larger_one_is_not(post: Post, url: str, log: SmallLog) -> None:
    note = log.note()
    # Fifty signatures of ML-DSA-44 size by unknown keys: ignored, but read.
    filled = note + "".join(f"— filler{number} {_b64(bytes(2432))}\n" for number in range(50))
    assert post(0, [], filled).status_code == 200
    too_much = httpx.post(f"{url}/add-checkpoint", content=b"x" * (256 << 10) + b"x", trust_env=False)
    assert too_much.status_code == 413


def test_slow_clients_are_cut_off_and_others_served(url: str, log: SmallLog) -> None:
    """Three dribble a byte at a time, of four that may connect; the fourth is answered, and theirs is freed."""
    body = format_request(0, [], log.note())
    head = b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body)
    took: list[float] = []

    def dribble(data: bytes) -> None:
        took.append(raw(url, *(data[at : at + 1] for at in range(len(data))), pause=0.05)[1])

    threads = [threading.Thread(target=dribble, args=(data,)) for data in (head, head + body, b"")]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    assert httpx.post(f"{url}/add-checkpoint", content=body, trust_env=False, timeout=5).status_code == 200
    for thread in threads:
        thread.join(timeout=10)
    assert len(took) == 3
    assert all(seconds < 3 for seconds in took)


def test_connections_are_bounded(url: str, log: SmallLog) -> None:
    before = threading.active_count()
    host, port = url.removeprefix("http://").split(":")
    held = [socket.create_connection((host, int(port)), timeout=5) for _ in range(4)]
    time.sleep(0.1)
    with pytest.raises(httpx.HTTPError):
        httpx.post(f"{url}/add-checkpoint", content=format_request(0, [], log.note()), trust_env=False, timeout=0.5)
    assert threading.active_count() < before + 10
    for connection in held:
        connection.close()
    time.sleep(0.2)
    answer = httpx.post(f"{url}/add-checkpoint", content=format_request(0, [], log.note()), trust_env=False)
    assert answer.status_code == 200


def test_a_half_sent_body_changes_nothing(url: str, log: SmallLog, witness: Witness) -> None:
    body = format_request(0, [], log.note() + "— further AAAAAAAA\n")
    head = b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body)
    answer, _ = raw(url, head + body[:-1])
    assert answer == b""
    # Cut where it reads as a whole request, by a connection that ends.
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(head + format_request(0, [], log.note()))
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == b""
    assert witness.seen() == ()


def test_connections_are_kept_alive(post: Post, log: SmallLog) -> None:
    answers = [post(0, [], log.note(3)), post(0, [], log.note()), post(3, log.prove(3, 7), log.note())]
    assert [answer.status_code for answer in answers] == [200, 409, 200]
    streams = {id(answer.extensions["network_stream"].get_extra_info("socket")) for answer in answers}
    assert len(streams) == 1


def test_a_port_in_use_is_a_clear_error(witness: Witness, url: str) -> None:
    with pytest.raises(LogError, match="cannot listen"):
        WitnessServer(witness, port=int(url.rpartition(":")[2]))


# --- the client


def test_the_client_returns_the_cosigned_note(url: str, witness: Witness, log: SmallLog) -> None:
    client = WitnessClient(url, witness.keys, clock=lambda: NOW)
    first = client.cosign(log.note(3), log.prove)
    assert len(cosignatures(first, witness.keys)) == 2
    assert Checkpoint.open(first, [log.signer.verifier_key]).size == 3
    log.grow(20)
    last = client.cosign(log.note(), log.prove)  # it does not know the size: 409, then from there
    WitnessPolicy(witness.keys, 1).check(last, now=NOW)
    assert client.cosign(last, log.prove, known_size=27).count("\n") == last.count("\n")


def test_a_proof_file_with_the_required_witnesses(url: str, witness: Witness, log: SmallLog) -> None:
    from filigrana.provenance.log import merkle

    leaf = b"the entry"
    log.hashes[4] = merkle.leaf_hash(leaf)
    hashes = tuple(merkle.inclusion_proof(4, 7, log._node))
    bare = LogProof(4, hashes, log.note(), leaf)
    policy = WitnessPolicy(witness.keys, 1)
    keys = [log.signer.verifier_key]
    bare.verify(keys)
    with pytest.raises(TamperError, match="0 of the required 1"):
        bare.verify(keys, witnesses=policy)
    cosigned = LogProof(
        4, hashes, WitnessClient(url, witness.keys, clock=lambda: NOW).cosign(log.note(), log.prove), leaf
    )
    assert LogProof.parse(str(cosigned)).verify(keys, witnesses=policy).size == 7


def test_the_client_sees_a_split_view(url: str, witness: Witness, log: SmallLog, tmp_path: Path) -> None:
    client = WitnessClient(url, witness.keys, clock=lambda: NOW)
    client.cosign(log.note(5), log.prove)
    forked = log.fork(tmp_path / "log.key", 2, 9)
    with pytest.raises(TamperError, match="another tree"):
        client.cosign(forked.note(), forked.prove)
    with pytest.raises(TamperError, match="another tree"):
        client.cosign(forked.note(5), forked.prove, known_size=5)
    with pytest.raises(LogError, match="cosigned 5 entries"):
        client.cosign(log.note(4), log.prove)


def answering(status: int, body: str | bytes, kind: str = "text/plain") -> httpx.MockTransport:
    data = body if isinstance(body, bytes) else body.encode()
    return httpx.MockTransport(lambda _: httpx.Response(status, content=iter([data]), headers={"Content-Type": kind}))


def test_the_client_believes_no_false_answer(witness: Witness, log: SmallLog, tmp_path: Path) -> None:
    note = log.note()
    other = CosignerKey.create(tmp_path / "other.key", "witness.example/other")
    good = witness.add_checkpoint(0, [], note).body
    line = Note.parse(f"{note}{good}").signatures[-1]
    false = f"— {WITNESS} {_b64(line.key_id + line.signature[:-1] + bytes([line.signature[-1] ^ 1]))}\n"
    foreign = "".join(cosign(note, other, NOW).splitlines(keepends=True)[-1:])
    elsewhere = Witness.open(
        tmp_path / "witness", [SmallLog(tmp_path / "x.key", "log.example/x", 2).signer.verifier_key]
    )
    shifted = elsewhere.add_checkpoint(0, [], SmallLog(tmp_path / "x.key", "log.example/x", 2).note()).body
    cases: list[tuple[int, str | bytes, str, type[LogError]]] = [
        (200, "", "text/plain", LogError),
        (200, false, "text/plain", TamperError),
        (200, good + false, "text/plain", TamperError),
        (200, foreign, "text/plain", TamperError),
        (200, shifted, "text/plain", TamperError),
        (200, "\n" + good, "text/plain", LogError),
        (200, "more\n\n" + good, "text/plain", LogError),
        (200, b"\xff\xfe", "text/plain", LogError),
        (200, good + f"— filler {_b64(bytes(2432))}\n" * 30, "text/plain", LogError),
        (204, good, "text/plain", LogError),
        (302, good, "text/plain", LogError),
        (404, "", "text/plain", LogError),
        (409, "3\n", SIZE_TYPE, LogError),
        (409, "99\n", SIZE_TYPE, LogError),
        (409, "0\n", SIZE_TYPE, LogError),
        (409, "abc\n", SIZE_TYPE, LogError),
        (409, "3\n", "text/plain", TamperError),
        (500, "", "text/plain", LogError),
    ]
    for status, body, kind, error in cases:
        client = WitnessClient(
            "http://w.example", witness.keys, clock=lambda: NOW, transport=answering(status, body, kind)
        )
        with pytest.raises(LogError) as caught:
            client.cosign(note, log.prove)
        assert type(caught.value) is error, (status, body)
        assert ("was asked with" in caught.value.message) == (body == "0\n")
    accepting = WitnessClient(
        "http://w.example", witness.keys, clock=lambda: NOW, transport=answering(200, foreign + good)
    )
    accepted = accepting.cosign(note, log.prove)
    assert [item.name for item in Note.parse(accepted).signatures] == [ORIGIN, WITNESS, WITNESS]
    early = WitnessClient("http://w.example", witness.keys, clock=lambda: NOW - 301, transport=answering(200, good))
    with pytest.raises(TamperError, match="future"):
        early.cosign(note, log.prove)


def test_the_client_asks_at_most_twice(witness: Witness, log: SmallLog) -> None:
    sizes: list[int] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sizes.append(parse_request(request.read())[0])
        return httpx.Response(409, content=iter([b"%d\n" % len(sizes)]), headers={"Content-Type": SIZE_TYPE})

    client = WitnessClient("http://w.example", witness.keys, transport=httpx.MockTransport(answer))
    with pytest.raises(LogError, match="409"):
        client.cosign(log.note(), log.prove)
    assert sizes == [0, 1]


def test_the_client_gives_up_on_a_witness_that_does_not_answer(witness: Witness, log: SmallLog) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = time.monotonic()
        client = WitnessClient(f"http://127.0.0.1:{silent.getsockname()[1]}", witness.keys, timeout=0.3)
        with pytest.raises(LogError, match=r"in time|cannot be reached"):
            client.cosign(log.note(), log.prove)
        assert time.monotonic() - started < 3
    with pytest.raises(LogError, match="cannot be reached"):
        client.cosign(log.note(), log.prove)  # nobody listens there now
    with pytest.raises(LogError, match="https://"):
        WitnessClient("file:///etc/passwd", witness.keys)
    with pytest.raises(LogError):
        WitnessClient("https://w.example", [log.signer.verifier_key])
    with pytest.raises(LogError):
        WitnessClient("https://w.example", [])


def test_the_client_gives_up_on_an_answer_that_dribbles(witness: Witness, log: SmallLog) -> None:
    """A byte now and then keeps every single read in time; the whole must be, too."""
    stop = threading.Event()
    with socket.socket() as slow:
        slow.bind(("127.0.0.1", 0))
        slow.listen()

        def dribble() -> None:
            connection, _ = slow.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\n")
                while not stop.wait(0.05):
                    connection.sendall(b"X")

        thread = threading.Thread(target=dribble, daemon=True)
        thread.start()
        started = time.monotonic()
        client = WitnessClient(f"http://127.0.0.1:{slow.getsockname()[1]}", witness.keys, timeout=0.4)
        with pytest.raises(LogError, match="in time"):
            client.cosign(log.note(), log.prove)
        assert time.monotonic() - started < 2
        stop.set()
        thread.join(timeout=5)


# --- the command


def test_the_command_makes_and_shows_a_witness(tmp_path: Path, log: SmallLog) -> None:
    from filigrana.pipeline.cli.witness import app

    runner = CliRunner()
    folder = tmp_path / "w"
    made = runner.invoke(app, ["keygen", "--folder", str(folder), "--name", WITNESS, "--json"])
    assert made.exit_code == 0
    texts = json.loads(made.stdout)["verifier_keys"]
    assert [VerifierKey.parse(text).kind for text in texts] == [0x06, 0x04]
    shown = json.loads(runner.invoke(app, ["show", "--folder", str(folder), "--json"]).stdout)
    assert shown == {"name": WITNESS, "verifier_keys": texts, "logs": []}
    assert "not cosigned anything" in runner.invoke(app, ["show", "--folder", str(folder)]).stdout
    Witness.open(folder, [log.signer.verifier_key], clock=lambda: NOW).add_checkpoint(0, [], log.note())
    shown = json.loads(runner.invoke(app, ["show", "--folder", str(folder), "--json"]).stdout)
    assert shown["logs"] == [{"origin": ORIGIN, "size": 7, "root": log.checkpoint().root.hex(), "time": NOW}]
    assert f"{ORIGIN}  7 entries" in runner.invoke(app, ["show", "--folder", str(folder)]).stdout
    again = runner.invoke(app, ["keygen", "--folder", str(folder), "--name", WITNESS])
    assert isinstance(again.exception, LogError)
    for key in ("nonsense", str(tmp_path / "missing.vkey")):
        wrong = runner.invoke(app, ["serve", "--folder", str(folder), "--log", key])
        assert getattr(wrong.exception, "code", None) == "input.verifier_key"


def test_the_command_serves_until_it_is_told_to_stop(folder: Path, log: SmallLog, tmp_path: Path) -> None:
    """The key from a file, the address from its JSON line, an answer over HTTP, and SIGTERM ends it with 0."""
    (tmp_path / "log.vkey").write_text(f"{log.signer.verifier_key}\n")
    code = "from filigrana.pipeline.cli.witness import app; app()"
    words = ["serve", "--folder", str(folder), "--log", str(tmp_path / "log.vkey"), "--json"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        assert (said["name"], said["origins"]) == (WITNESS, [ORIGIN])
        keys = [key.verifier_key for key in load_keys(folder)]
        cosigned = WitnessClient(said["url"], keys).cosign(log.note(), log.prove)
        assert abs(cosignatures(cosigned, keys)[0].time - time.time()) < 60
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
        assert (process.returncode, out, err) == (0, "", "")
    finally:
        process.kill()


def test_two_logs_of_one_name_are_not_watched_together(folder: Path, log: SmallLog, tmp_path: Path) -> None:
    """A witness knows a log by its name: the second one would look like a rewritten first one."""
    other = SmallLog(tmp_path / "same name.key", leaves=7)
    with pytest.raises(LogError, match="two logs are named"):
        Witness.open(folder, [log.signer.verifier_key, other.signer.verifier_key])
    second = CosignerKey.create(tmp_path / "log-mldsa.key", log.signer.name)
    assert Witness.open(folder, [log.signer.verifier_key, second.verifier_key]).origins == (log.signer.name,)
