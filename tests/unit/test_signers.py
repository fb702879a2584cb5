"""Whoever holds the key: files, a real SoftHSM2 token, securesystemslib's signers. None of them is believed unchecked."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from filigrana.errors import FiligranaError, KeyStoreError, ManifestError, SettingsError
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.settings import load_settings
from filigrana.provenance.certificates import ClaimChain, make_claim_chain
from filigrana.provenance.credentials import read_credentials
from filigrana.provenance.keys import KeyStore
from filigrana.provenance.manifest import definition
from filigrana.provenance.media import encode_picture
from filigrana.provenance.signers import FileSigner, SignerSource
from filigrana.provenance.signers import open_signer as really_open
from filigrana.provenance.signers.algorithms import algorithm_of, check_signature, der_of, sign_with
from filigrana.provenance.signers.pkcs11 import TokenUri
from filigrana.provenance.signing import Signer, sign_file
from filigrana.provenance.trust import TrustList, TrustLists
from filigrana.tests.doubles import scene
from filigrana.tests.signing_kit import Kit, statement
from filigrana.tests.token_kit import PIN, Token, make_token

NOW = dt.datetime.now(dt.UTC)
ALGORITHMS = ["es256", "es384", "es512", "ps256", "ed25519"]


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit.make(tmp_path)


def pem_of(chain: ClaimChain) -> str:
    return (chain.leaf.certificate_pem() + chain.intermediate.public_bytes(serialization.Encoding.PEM)).decode()


def sign(kit: Kit, folder: Path, signer: Signer, root: str | None = None, **options: Any) -> str:
    """Signs a small picture, and says how it reads under that root."""
    source, target = folder / "in.jpg", folder / "out.jpg"
    source.write_bytes(encode_picture(scene(2), "image/jpeg"))
    with kit.tsa() as url:
        sign_file(source, target, "image/jpeg", definition(statement()), signer, tsa_url=url, **options)
    trust = TrustLists((TrustList("configured", root or kit.claim_root),), kit.trust.tsa)
    return read_credentials(target, "image/jpeg", trust).state


_OPEN: list[Any] = []
"""Token signers of this process: a login is the whole process's."""


def open_signer(source: SignerSource, keys: KeyStore) -> Any:
    signer = really_open(source, keys)
    if hasattr(signer, "close"):
        _OPEN.append(signer)
    return signer


def root_of(chain: ClaimChain) -> str:
    return chain.root.public_bytes(serialization.Encoding.PEM).decode()


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_signs_and_is_trusted(kit: Kit, tmp_path: Path, algorithm: str) -> None:
    chain = make_claim_chain(NOW, algorithm=algorithm)
    folder = tmp_path / "other"
    store = KeyStore(folder)
    store.ensure()
    for name, data in (("claim.key", chain.leaf.key_pem()), ("claim.pem", pem_of(chain).encode())):
        (folder / name).write_bytes(data)
    signer = open_signer(SignerSource("file"), store)
    assert isinstance(signer, FileSigner)
    assert signer.algorithm == algorithm
    assert sign(kit, tmp_path, signer, root_of(chain)) == "trusted"


@pytest.mark.parametrize("given", ["setting", "file", "wrong", "none", "open file"])
def test_an_encrypted_key_file(kit: Kit, tmp_path: Path, given: str) -> None:
    house = tmp_path / "data"
    store = KeyStore(house / "keys")
    (house).mkdir()
    store.ensure()
    key = store.claim().key
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"open sesame"),
    )
    (house / "keys" / "claim.key").write_bytes(encrypted)
    secret = tmp_path / "secret"
    secret.write_text("open sesame\n")
    secret.chmod(0o644 if given == "open file" else 0o600)
    options: dict[str, Any] = {
        "setting": {"key_passphrase": "open sesame"},
        "wrong": {"key_passphrase": "sesame"},
        "none": {},
    }.get(given, {"key_passphrase_file": secret})
    opened = Installation(load_settings(data_dir=house, **options))
    if given in ("setting", "file"):
        assert "sesame" not in repr(opened.settings)
        root = (store.development_root() or b"").decode()
        assert sign(kit, tmp_path, opened.signer(), root) == "trusted"
        return
    with pytest.raises(KeyStoreError) as caught:
        opened.signer()
    expected = "provenance.keys.permissions" if given == "open file" else "provenance.keys.passphrase"
    assert caught.value.code == expected
    assert "sesame" not in caught.value.diagnostics()


# ── PKCS#11, on a real SoftHSM2 ──────────────────────────────────────────────────────────────────────────────────
@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Token]:
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(folder / "softhsm2.conf")
    yield make_token(folder, f"filigrana-{os.getpid()}")
    if before is None:
        os.environ.pop("SOFTHSM2_CONF", None)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_key_in_a_token_signs(kit: Kit, token: Token, tmp_path: Path, algorithm: str) -> None:
    chain, pem = token.make(f"key-{algorithm}", algorithm, NOW)
    path = tmp_path / "chain.pem"
    path.write_text(pem)
    signer = open_signer(SignerSource(token.uri(f"key-{algorithm}"), path, PIN), kit.keys)
    assert algorithm_of(chain.leaf.certificate.public_key()) == algorithm
    assert sign(kit, tmp_path, signer, root_of(chain)) == "trusted"
    assert sign(kit, tmp_path, signer, root_of(chain)) == "trusted"  # the session is kept


def test_the_pin_may_lie_in_a_file_of_its_owners(kit: Kit, token: Token, tmp_path: Path) -> None:
    chain, pem = token.make("pin-file", "es256", NOW)
    (tmp_path / "chain.pem").write_text(pem)
    (tmp_path / "pin").write_text(PIN + "\n")
    (tmp_path / "pin").chmod(0o600)
    uri = token.uri("pin-file", **{"pin-source": f"file:{tmp_path / 'pin'}"})
    signer = open_signer(SignerSource(uri, tmp_path / "chain.pem"), kit.keys)
    assert sign(kit, tmp_path, signer, root_of(chain)) == "trusted"


@pytest.mark.parametrize("fault", ["wrong pin", "no such key", "no such token", "no such module", "another key"])
def test_a_token_that_does_not_sign_releases_nothing(kit: Kit, token: Token, tmp_path: Path, fault: str) -> None:
    name = f"fault-{fault.replace(' ', '-')}"
    _, pem = token.make(name, "es256", NOW)
    uri, pin = token.uri(name), PIN
    if fault == "wrong pin":
        pin = "1111"
    elif fault == "no such key":
        uri = token.uri("missing")
    elif fault == "no such token":
        uri = uri.replace(token.label, "elsewhere")
    elif fault == "no such module":
        uri = uri.replace(token.module, "/nowhere.so")
    else:
        _, pem = token.make(f"{name}-2", "es256", NOW)
    (tmp_path / "chain.pem").write_text(pem)
    signer = open_signer(SignerSource(uri, tmp_path / "chain.pem", pin), kit.keys)
    for other in _OPEN:
        other.close()
    with pytest.raises(ManifestError) as caught:
        sign(kit, tmp_path, signer)
    assert caught.value.code == "provenance.signer"
    assert PIN not in caught.value.diagnostics()
    assert not (tmp_path / "out.jpg").exists()


def test_a_token_works_again_after_a_failure(kit: Kit, token: Token, tmp_path: Path) -> None:
    """A session that the token forgot (it was pulled out and put back) is opened anew."""
    chain, pem = token.make("again", "es256", NOW)
    (tmp_path / "chain.pem").write_text(pem)
    signer: Any = open_signer(SignerSource(token.uri("again"), tmp_path / "chain.pem", PIN), kit.keys)
    signer.sign(b"x")
    signer._session.close()
    with pytest.raises(ManifestError):
        signer.sign(b"x")
    assert sign(kit, tmp_path, signer, root_of(chain)) == "trusted"


def test_pkcs11_tool_sees_a_key_that_cannot_be_taken_out(token: Token) -> None:
    token.make("kept", "es256", NOW)
    done = subprocess.run(
        ["pkcs11-tool", "--module", token.module, "--token-label", token.label, "--login", "--pin", PIN, "-O"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ,
    )
    assert "never extractable" in done.stdout


@pytest.mark.parametrize(
    "uri",
    [
        "pkcs11:token=a",
        "pkcs11:object=a",
        "pkcs11:object=a?module-path=x&pin-value=1",
        "pkcs11:slot-id=1;object=a?module-path=x",
    ],
)
def test_a_uri_that_says_too_little_or_too_much(uri: str) -> None:
    with pytest.raises(SettingsError):
        TokenUri.parse(uri)


def test_a_uri_is_read_as_rfc_7512_says() -> None:
    found = TokenUri.parse("pkcs11:token=The%20Token;object=key%2D1;id=%01%fe?module-path=/usr/lib/x.so")
    assert (found.token, found.label, found.id, found.module) == ("The Token", "key-1", b"\x01\xfe", "/usr/lib/x.so")


# ── key services, through securesystemslib ───────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_securesystemslib_signs_with_every_algorithm(kit: Kit, tmp_path: Path, algorithm: str) -> None:
    pytest.importorskip("securesystemslib")
    chain = make_claim_chain(NOW, algorithm=algorithm)
    (tmp_path / "key.pem").write_bytes(chain.leaf.key_pem())
    (tmp_path / "chain.pem").write_text(pem_of(chain))
    signer = open_signer(SignerSource(f"file2:{tmp_path / 'key.pem'}", tmp_path / "chain.pem"), kit.keys)
    assert sign(kit, tmp_path, signer, root_of(chain)) == "trusted"


class FakeCloud:
    """What each cloud's client does at the boundary that its documentation draws, with a local key behind it."""

    def __init__(self, key: Any) -> None:
        self.key: Any = key
        self.asked: list[Any] = []

    def der(self, digest: bytes) -> bytes:
        from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

        assert len(digest) == 32, "the digest is made here, not there"
        return bytes(self.key.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256()))))


def aws(monkeypatch: pytest.MonkeyPatch, cloud: FakeCloud) -> str:
    """`kms:Sign` (AWS KMS API reference): MessageType DIGEST, a DER signature back."""
    from securesystemslib.signer import _aws_signer as module

    class Client:
        def sign(self, **asked: Any) -> dict[str, Any]:
            cloud.asked.append(asked)
            assert (asked["MessageType"], asked["SigningAlgorithm"]) == ("DIGEST", "ECDSA_SHA_256")
            return {"Signature": cloud.der(asked["Message"])}

    fake = type("boto3", (), {"client": staticmethod(lambda name: Client())})
    monkeypatch.setattr(module, "AWS_IMPORT_ERROR", None)
    monkeypatch.setattr(module, "boto3", fake, raising=False)
    for name in ("BotoCoreError", "ClientError"):
        monkeypatch.setattr(module, name, OSError, raising=False)
    return "awskms:alias/filigrana"


def azure(monkeypatch: pytest.MonkeyPatch, cloud: FakeCloud) -> str:
    """`CryptographyClient.sign` (azure-keyvault-keys): a digest in, r and s side by side back."""
    from securesystemslib.signer import _azure_signer as module

    class Client:
        def __init__(self, uri: str, credential: Any) -> None:
            cloud.asked.append(uri)

        def sign(self, algorithm: str, digest: bytes) -> Any:
            assert algorithm == "ES256"
            r, s = decode_dss_signature(cloud.der(digest))
            return type("SignResult", (), {"signature": r.to_bytes(32, "big") + s.to_bytes(32, "big")})

    scheme = ("ecdsa", "ecdsa-sha2-nistp256")
    monkeypatch.setattr(module, "AZURE_IMPORT_ERROR", None)
    for name, value in {
        "DefaultAzureCredential": lambda: None,
        "CryptographyClient": Client,
        "KEYTYPES_AND_SCHEMES": {"P-256": scheme},
        "SIGNATURE_ALGORITHMS": {scheme[1]: "ES256"},
        "encode_dss_signature": __import__(
            "cryptography.hazmat.primitives.asymmetric.utils", fromlist=["encode_dss_signature"]
        ).encode_dss_signature,
    }.items():
        monkeypatch.setattr(module, name, value, raising=False)
    return "azurekms://vault.vault.azure.net/keys/claim/1"


def gcp(monkeypatch: pytest.MonkeyPatch, cloud: FakeCloud) -> str:
    """`KeyManagementServiceClient.asymmetric_sign` (Cloud KMS v1): a digest by name, a DER signature back."""
    from securesystemslib.signer import _gcp_signer as module

    class Client:
        def asymmetric_sign(self, request: dict[str, Any]) -> Any:
            cloud.asked.append(request["name"])
            return type("Response", (), {"signature": cloud.der(request["digest"]["sha256"])})

    fake = type("kms", (), {"KeyManagementServiceClient": Client})
    monkeypatch.setattr(module, "GCP_IMPORT_ERROR", None)
    monkeypatch.setattr(module, "kms", fake, raising=False)
    schemes = {1: ("ecdsa", "ecdsa-sha2-nistp256")}
    monkeypatch.setattr(module, "KEYTYPES_AND_SCHEMES", schemes, raising=False)
    return "gcpkms:projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1"


@pytest.mark.parametrize("service", [aws, azure, gcp])
def test_a_clouds_key_signs_what_is_trusted(
    kit: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, service: Any
) -> None:
    pytest.importorskip("securesystemslib")
    chain = make_claim_chain(NOW)
    cloud = FakeCloud(chain.leaf.key)
    (tmp_path / "chain.pem").write_text(pem_of(chain))
    signer = open_signer(SignerSource(service(monkeypatch, cloud), tmp_path / "chain.pem"), kit.keys)
    assert sign(kit, tmp_path, signer, root_of(chain)) == "trusted"
    assert cloud.asked


def test_vault_signs_over_http_as_its_api_says(kit: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`POST /transit/sign/:name` (Vault API): base64 in, ``vault:v1:<base64>`` back, Ed25519 over the data itself."""
    import base64

    from securesystemslib.signer import _vault_signer as module

    chain = make_claim_chain(NOW, algorithm="ed25519")

    class Transit:
        def sign_data(self, name: str, hash_input: str, key_version: int) -> dict[str, Any]:
            assert (name, key_version) == ("claim", 1)
            made = chain.leaf.key.sign(base64.b64decode(hash_input))
            return {"data": {"signature": "vault:v1:" + base64.b64encode(made).decode()}}

    client = type("Client", (), {"secrets": type("S", (), {"transit": Transit()})})
    monkeypatch.setattr(module, "VAULT_IMPORT_ERROR", None)
    monkeypatch.setattr(module, "hvac", type("hvac", (), {"Client": client}), raising=False)
    (tmp_path / "chain.pem").write_text(pem_of(chain))
    signer = open_signer(SignerSource("hv:claim/1", tmp_path / "chain.pem"), kit.keys)
    assert sign(kit, tmp_path, signer, root_of(chain)) == "trusted"


def test_a_service_whose_client_is_not_installed_says_what_to_install(kit: Kit, tmp_path: Path) -> None:
    (tmp_path / "chain.pem").write_text(pem_of(make_claim_chain(NOW)))
    signer = open_signer(SignerSource("azurekms://x.vault.azure.net/keys/a/1", tmp_path / "chain.pem"), kit.keys)
    with pytest.raises(ManifestError) as caught:
        sign(kit, tmp_path, signer)
    assert "securesystemslib[azurekms]" in caught.value.hint


# ── none of them is believed ─────────────────────────────────────────────────────────────────────────────────────
class Odd:
    def __init__(self, kit: Kit, answer: Any) -> None:
        self.chain_pem, self.answer = kit.keys.claim().chain_pem, answer

    def sign(self, data: bytes) -> Any:
        return self.answer(data)


@pytest.mark.parametrize(
    "answer",
    [
        lambda data: b"",
        lambda data: None,
        lambda data: "text",
        lambda data: bytes(64),
        lambda data: sign_with(ec.generate_private_key(ec.SECP256R1()), data),
        lambda data: (_ for _ in ()).throw(OSError("gone")),
    ],
)
def test_what_is_no_signature_by_the_leaf_signs_nothing(kit: Kit, tmp_path: Path, answer: Any) -> None:
    with pytest.raises(ManifestError) as caught:
        sign(kit, tmp_path, Odd(kit, answer))
    assert caught.value.code == "provenance.signer"
    assert not (tmp_path / "out.jpg").exists()


def test_a_signature_over_something_else_signs_nothing(kit: Kit, tmp_path: Path) -> None:
    key = kit.keys.claim().key
    with pytest.raises(ManifestError):
        sign(kit, tmp_path, Odd(kit, lambda data: sign_with(key, data + b"x")))


def test_a_signer_that_hangs_is_waited_for_so_long(kit: Kit, tmp_path: Path) -> None:
    started = time.perf_counter()
    with pytest.raises(ManifestError) as caught:
        sign(kit, tmp_path, Odd(kit, lambda data: time.sleep(30)), signer_seconds=0.3)
    assert caught.value.code == "provenance.signer.timeout"
    assert time.perf_counter() - started < 5
    assert not (tmp_path / "out.jpg").exists()


def test_a_signer_without_a_chain(kit: Kit, tmp_path: Path) -> None:
    odd = Odd(kit, lambda data: b"")
    odd.chain_pem = "nothing"
    with pytest.raises(ManifestError):
        sign(kit, tmp_path, odd)


def test_raw_and_der_signatures_are_told_apart() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    der = sign_with(key, b"x")
    r, s = decode_dss_signature(der)
    raw = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    assert check_signature(key.public_key(), b"x", der_of(raw)) == der_of(raw)
    with pytest.raises(ManifestError):
        check_signature(key.public_key(), b"x", raw)
    for bad in (b"", b"123"):
        with pytest.raises(ManifestError):
            der_of(bad)


@pytest.mark.parametrize("uri", ["", "awskms", "ftp:x", "pkcs12:x", "File"])
def test_a_signer_that_nobody_knows_is_a_wrong_setting(tmp_path: Path, uri: str) -> None:
    with pytest.raises(FiligranaError) as caught:
        load_settings(data_dir=tmp_path, signer=uri)
    assert "signer" in caught.value.message


def test_keys_that_sign_no_claims(tmp_path: Path) -> None:
    for key in (ec.generate_private_key(ec.SECP256K1()), None):
        with pytest.raises(KeyStoreError):
            algorithm_of(None if key is None else key.public_key())
