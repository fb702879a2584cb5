"""The proof beside an asset: it verifies offline, alone, and no byte of it can be changed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from filigrana.errors import KeyStoreError, LogError, TamperError
from filigrana.provenance.log.note import Checkpoint, VerifierKey, sign
from filigrana.provenance.log.proof import LogProof
from filigrana.provenance.log.sequencer import AuditLog
from filigrana.provenance.log.signer import Ed25519LogSigner


@pytest.fixture
def signer(tmp_path: Path) -> Ed25519LogSigner:
    return Ed25519LogSigner.create(tmp_path / "log.pem", "example.com/log")


@pytest.fixture
def log(sqlite_url: str, signer: Ed25519LogSigner) -> AuditLog:
    log = AuditLog(sqlite_url, signer=signer)
    for number in range(20):
        log.append({"type": "test", "number": number})
    return log


def test_a_proof_verifies_with_the_entry_and_the_key(log: AuditLog, signer: Ed25519LogSigner) -> None:
    text = log.prove(7)
    lines = text.split("\n")
    assert lines[:2] == ["c2sp.org/tlog-proof@v1", "index 7"]
    proof = LogProof.parse(text)
    assert str(proof) == text
    key = VerifierKey.parse(str(signer.verifier_key))
    assert proof.verify([key], log.leaf(7)).size == 20
    with pytest.raises(TamperError):
        proof.verify([key], log.leaf(8))
    with pytest.raises(LogError):
        proof.verify([key])


def test_no_bit_of_a_proof_can_be_changed(log: AuditLog, signer: Ed25519LogSigner) -> None:
    data = log.prove(7, embed_entry=True).encode()
    leaf = log.leaf(7)
    for at in range(len(data)):
        for bit in (0, 3, 5):
            changed = bytearray(data)
            changed[at] ^= 1 << bit
            with pytest.raises((LogError, UnicodeDecodeError)):
                LogProof.parse(changed.decode()).verify([signer.verifier_key], leaf)


def test_a_proof_that_carries_its_entry_stands_alone(log: AuditLog, signer: Ed25519LogSigner) -> None:
    proof = LogProof.parse(log.prove(7, embed_entry=True))
    proof.verify([signer.verifier_key])
    assert proof.extra == log.leaf(7)


def test_a_proof_by_another_key_is_refused(log: AuditLog, tmp_path: Path) -> None:
    other = Ed25519LogSigner.create(tmp_path / "other.pem", "example.com/log")
    with pytest.raises(TamperError):
        LogProof.parse(log.prove(7)).verify([other.verifier_key], log.leaf(7))


def test_a_key_signs_for_its_own_log_only(signer: Ed25519LogSigner) -> None:
    """The same key over another log's head, or a name that is only part of it, is no checkpoint of ours."""
    for origin in ("example.com/other", "example.com/log2", "example.com"):
        head = Checkpoint(origin, 1, bytes(32))
        with pytest.raises(TamperError, match="another log"):
            Checkpoint.open(sign(head.text, signer), [signer.verifier_key])
        with pytest.raises(LogError):
            head.sign(signer)


def test_checking_a_proof_imports_no_database() -> None:
    code = (
        "import sys; import filigrana.provenance.log.proof; "
        "sys.exit(bool({'sqlalchemy', 'alembic', 'rfc8785', 'numpy', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_key_is_read_back_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    made = Ed25519LogSigner.create(path, "example.com/log")
    assert path.stat().st_mode & 0o777 == 0o600
    assert str(Ed25519LogSigner.load(path).verifier_key) == str(made.verifier_key)
    assert Ed25519LogSigner.load_or_create(path, "other").name == "example.com/log"
    with pytest.raises(KeyStoreError):
        Ed25519LogSigner.create(path, "example.com/log")
    assert [item.name for item in tmp_path.iterdir()] == ["key.pem"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key.pem"
    Ed25519LogSigner.create(path, "example.com/log")
    path.chmod(mode)
    with pytest.raises(KeyStoreError, match="others"):
        Ed25519LogSigner.load(path)


@pytest.mark.parametrize("content", [b"", b"\xff", b"Log-Name: x\n", b"-----BEGIN PRIVATE KEY-----\n"])
def test_what_is_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeyStoreError):
        Ed25519LogSigner.load(path)
    with pytest.raises(KeyStoreError):
        Ed25519LogSigner.load(tmp_path / "missing.pem")


def test_a_name_with_spaces_or_plus_is_refused(tmp_path: Path) -> None:
    for name in ("", "a b", "a+b", "a\nb", "a\u00a0b"):
        with pytest.raises(LogError):
            Ed25519LogSigner.create(tmp_path / "key.pem", name)
