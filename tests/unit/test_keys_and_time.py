"""Keys that only their owner can read, certificates in the official profile, and trusted time that others can check."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import shutil
import stat
import subprocess
from pathlib import Path

import httpx
import pytest
from asn1crypto import tsp
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from filigrana.errors import KeyStoreError
from filigrana.pipeline.timestamp_check import stamp_once
from filigrana.provenance.certificates import make_claim_chain
from filigrana.provenance.keys import KeyStore, read_private, write_private
from filigrana.provenance.lint import lint
from filigrana.provenance.timestamps import answer, loopback_tsa

NOW = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)


@pytest.fixture
def keys(tmp_path: Path) -> KeyStore:
    store = KeyStore(tmp_path / "keys")
    store.ensure(NOW)
    return store


def test_keys_are_made_once_and_readable_by_their_owner_alone(keys: KeyStore) -> None:
    assert stat.S_IMODE(keys.folder.stat().st_mode) == 0o700
    before = {path.name: path.read_bytes() for path in keys.folder.iterdir()}
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in keys.folder.iterdir())
    assert keys.ensure(NOW) == []
    assert {path.name: path.read_bytes() for path in keys.folder.iterdir()} == before


@pytest.mark.parametrize("name", ["claim.key", "tsa.key"])
def test_a_key_that_others_can_read_is_refused(keys: KeyStore, name: str) -> None:
    os.chmod(keys.folder / name, 0o644)
    with pytest.raises(KeyStoreError) as caught:
        _ = keys.claim() if name == "claim.key" else keys.tsa()
    assert caught.value.code == "provenance.keys.permissions"
    assert "chmod 600" in caught.value.hint


def test_a_key_that_does_not_fit_its_certificate_is_refused(keys: KeyStore) -> None:
    (keys.folder / "claim.key").write_bytes((keys.folder / "tsa.key").read_bytes())
    with pytest.raises(KeyStoreError):
        keys.claim()


@pytest.mark.parametrize("data", [b"", b"hello", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_what_is_no_key_is_refused(keys: KeyStore, data: bytes) -> None:
    (keys.folder / "claim.key").write_bytes(data)
    with pytest.raises(KeyStoreError):
        keys.claim()


def test_a_secret_file_is_never_overwritten(tmp_path: Path) -> None:
    write_private(tmp_path / "a", b"first")
    with pytest.raises(KeyStoreError):
        write_private(tmp_path / "a", b"second")
    assert read_private(tmp_path / "a") == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_half_a_key_folder_is_an_error_and_not_mended_over(keys: KeyStore) -> None:
    """A lost key is a matter for a person: a new one would silently change who signs."""
    (keys.folder / "claim.key").unlink()
    assert keys.ensure(NOW) == []
    with pytest.raises(KeyStoreError):
        keys.claim()


def test_our_own_certificates_pass_the_official_profile(keys: KeyStore) -> None:
    leaf = keys.claim().leaf
    assert lint(leaf) == []
    assert (leaf.not_valid_after_utc - NOW).days <= 366
    assert isinstance(leaf.public_key(), ec.EllipticCurvePublicKey)


def test_the_lint_names_what_is_wrong(keys: KeyStore) -> None:
    assert any("claimSigning" in problem.text for problem in lint(keys.tsa().pair.certificate))
    assert any("CA:FALSE" in problem.text for problem in lint(keys.tsa().root))
    assert any("366 days" in problem.text for problem in lint(make_claim_chain(NOW, leaf_days=800).leaf.certificate))


def test_roots_are_apart(keys: KeyStore) -> None:
    claim = x509.load_pem_x509_certificate(keys.development_root() or b"")
    tsa = x509.load_pem_x509_certificate(keys.tsa_root() or b"")
    assert claim.public_key() != tsa.public_key()


# ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def request(digest: bytes = hashlib.sha256(b"x").digest(), **changes: object) -> bytes:
    fields = {
        "version": "v1",
        "message_imprint": {"hash_algorithm": {"algorithm": "sha256"}, "hashed_message": digest},
        "nonce": 12345,
        "cert_req": True,
    }
    return bytes(tsp.TimeStampReq(fields | changes).dump())


def test_a_stamp_is_over_what_was_asked_with_nonce_and_time(keys: KeyStore) -> None:
    response = tsp.TimeStampResp.load(answer(request(), keys.tsa(), NOW))
    info = response["time_stamp_token"]["content"]["encap_content_info"]["content"].parsed
    assert response["status"]["status"].native == "granted"
    assert info["gen_time"].native == NOW
    assert info["nonce"].native == 12345


@pytest.mark.parametrize("data", [b"", b"x", request(b"short"), request()[:-4]])
def test_what_is_no_request_is_rejected_and_raises_nothing(keys: KeyStore, data: bytes) -> None:
    reply = answer(data, keys.tsa(), NOW)
    # asn1crypto wants a token in every response: the status is read by itself.
    assert reply[:2] == bytes([0x30, len(reply) - 2])
    assert tsp.PKIStatusInfo.load(reply[2:])["status"].native == "rejection"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_openssl_verifies_our_stamps(keys: KeyStore, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"x")
    (tmp_path / "answer").write_bytes(answer(request(), keys.tsa(), dt.datetime.now(dt.UTC)))
    command = ["openssl", "ts", "-verify", "-data", str(tmp_path / "data"), "-in", str(tmp_path / "answer")]
    done = subprocess.run(
        [*command, "-CAfile", str(keys.folder / "tsa-root.pem")], capture_output=True, text=True, check=False
    )
    assert "Verification: OK" in done.stdout + done.stderr, done.stderr
    (tmp_path / "data").write_bytes(b"y")
    other = subprocess.run(
        [*command, "-CAfile", str(keys.folder / "tsa-root.pem")], capture_output=True, text=True, check=False
    )
    assert other.returncode != 0


def test_the_loopback_authority_answers_and_goes_away(keys: KeyStore) -> None:
    with loopback_tsa(keys.tsa()) as url:
        assert url.startswith("http://127.0.0.1:")
        assert stamp_once(url).endswith("Z")
        assert httpx.post(url, content=b"x" * (65 << 10)).status_code == 413
    with pytest.raises(httpx.HTTPError):
        stamp_once(url, timeout=1)
