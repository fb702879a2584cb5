"""Model signatures of the standard's own tool, and what is made of them by somebody who has none of the keys.

model_signatures/ was made with model_signing 1.1.1 and pyOpenSSL 26.4: a model of a few bytes, signed by keys on three
curves and by a chain of certificates, and in ways that are not read here (BLAKE2, shards).
"""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from filigrana.errors import GenerationError
from filigrana.pipeline.generators.model_signature import Bundle, Signer, check, covers, fingerprint, load_key, parse
from filigrana.pipeline.generators.pins import Pin, pin
from filigrana.tests.model_kit import bundle, new_key, public_pem, small_model, statement

FILES = Path(__file__).parent / "model_signatures"


@cache
def pins() -> tuple[Pin, ...]:
    return pin(FILES / "model")


def read(name: str) -> Bundle:
    return parse((FILES / f"{name}.sig").read_bytes())


def believed(name: str) -> Signer:
    text = (FILES / name).read_text("ascii")
    return Signer(public_key=text) if name.endswith(".pub") else Signer(certificates=text)


@pytest.mark.parametrize("name", ["p256", "p384", "p521"])
def test_signatures_by_keys_verify(name: str) -> None:
    found = read(name)
    key = load_key((FILES / f"{name}.pub").read_bytes())
    assert check(found, believed(f"{name}.pub")) == fingerprint(key) == found.hint
    assert covers(found, pins()) == []
    assert not found.keyless


@pytest.mark.parametrize("root", ["root.pem", "mid.pem"])
def test_signatures_by_certificates_verify(root: str) -> None:
    found = read("chain")
    key = found.certificates[0].public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert check(found, believed(root)) == fingerprint(key)
    assert covers(found, pins()) == []
    assert check(found, Signer(public_key=public_pem_of(key))) == fingerprint(key)


def public_pem_of(key: ec.EllipticCurvePublicKey) -> str:
    from cryptography.hazmat.primitives import serialization

    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(serialization.Encoding.PEM, form).decode()


def strange_root() -> Signer:
    """A root of the same name, with another key."""
    import datetime as dt

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    old = x509.load_pem_x509_certificate((FILES / "mid.pem").read_bytes())
    key = new_key()
    made = x509.CertificateBuilder(
        issuer_name=old.subject, subject_name=old.subject, public_key=key.public_key(), serial_number=1,
        not_valid_before=dt.datetime(2025, 1, 1), not_valid_after=dt.datetime(2035, 1, 1),
        extensions=list(old.extensions),
    ).sign(key, hashes.SHA256())  # fmt: skip
    return Signer(certificates=made.public_bytes(serialization.Encoding.PEM).decode())


@pytest.mark.parametrize(
    ("name", "signer"),
    [
        ("p256", lambda: believed("p384.pub")),
        ("p384", lambda: believed("p256.pub")),
        ("p256", lambda: Signer(public_key=public_pem(new_key()))),
        ("p256", lambda: believed("root.pem")),
        ("chain", lambda: believed("p256.pub")),
        ("chain", strange_root),
    ],
)
def test_signatures_by_others_do_not(name: str, signer: Callable[[], Signer]) -> None:
    with pytest.raises(GenerationError) as caught:
        check(read(name), signer())
    assert caught.value.code == "generate.signature"


@pytest.mark.parametrize("name", ["shards", "blake2"])
def test_forms_that_are_not_read_are_refused_by_name(name: str) -> None:
    with pytest.raises(GenerationError, match=r"shards|blake2b"):
        read(name)


def test_what_the_signer_left_out() -> None:
    assert covers(read("ignored-readme"), pins()) == []
    assert [str(one) for one in covers(read("ignored"), pins())] == ["scheduler/scheduler_config.json (additional)"]


def test_only_keys_that_sign_models_are_taken() -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519

    other = ed25519.Ed25519PrivateKey.generate()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    private = new_key().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for pem in (
        other.public_key().public_bytes(serialization.Encoding.PEM, form),
        public_pem(new_key(ec.SECP256K1())).encode(),
        private,
        (FILES / "root.pem").read_bytes(),
        b"",
        b"\xff",
    ):
        with pytest.raises(GenerationError) as caught:
            load_key(pem)
        assert caught.value.code == "generate.signature_key"


def test_sigstore_s_identities_are_not_taken_for_a_chain() -> None:
    """Everybody is given a certificate under that root: a chain would prove nothing."""
    raw = json.loads((FILES / "chain.sig").read_text())
    raw["verificationMaterial"]["tlogEntries"] = [{"logIndex": "1"}]
    found = parse(json.dumps(raw).encode())
    assert found.keyless
    with pytest.raises(GenerationError, match="identity"):
        check(found, believed("root.pem"))


# ── what somebody without the key can make of it ─────────────────────────────────────────────────────────────────
KEY = new_key()
SIGNER = Signer(public_key=public_pem(KEY))


def refused(raw: Any) -> None:
    with pytest.raises(GenerationError) as caught:
        check(parse(json.dumps(raw).encode()), SIGNER)
    assert caught.value.code == "generate.signature"


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return statement(small_model(tmp_path_factory.mktemp("model")))


def test_ours_is_read_as_theirs_is(said: dict[str, Any]) -> None:
    assert check(parse(json.dumps(bundle(said, KEY)).encode()), SIGNER) == fingerprint(KEY.public_key())


def test_a_signature_moved_to_other_words_is_refused(said: dict[str, Any]) -> None:
    one, other = bundle(said, KEY), bundle(said | {"subject": said["subject"] * 1, "x": 1}, KEY)
    one["dsseEnvelope"]["signatures"] = other["dsseEnvelope"]["signatures"]
    refused(one)


def changed(raw: dict[str, Any], *place: Any, to: Any) -> dict[str, Any]:
    raw = copy.deepcopy(raw)
    at: Any = raw
    for key in place[:-1]:
        at = at[key]
    if to is KeyError:
        del at[place[-1]]
    else:
        at[place[-1]] = to
    return raw


@pytest.mark.parametrize(
    ("place", "to"),
    [
        (("mediaType",), "application/vnd.dev.sigstore.bundle+json;version=0.1"), (("mediaType",), KeyError),
        (("dsseEnvelope", "payloadType"), "text/plain"), (("dsseEnvelope", "signatures"), []),
        (("dsseEnvelope",), None), (("dsseEnvelope", "payload"), "!!"), (("dsseEnvelope", "payload"), ""),
        (("dsseEnvelope", "signatures", 0, "sig"), ""), (("dsseEnvelope", "signatures", 0, "sig"), 7),
        (("verificationMaterial",), KeyError), (("verificationMaterial",), []),
        (("verificationMaterial", "publicKey", "hint"), "00"), (("verificationMaterial", "publicKey"), 1),
        (("verificationMaterial", "x509CertificateChain"), {"certificates": [{"rawBytes": "AA=="}]}),
    ],
)  # fmt: skip
def test_a_bundle_of_another_form_is_refused(said: dict[str, Any], place: tuple[Any, ...], to: Any) -> None:
    refused(changed(bundle(said, KEY), *place, to=to))


def test_two_signatures_are_not_one(said: dict[str, Any]) -> None:
    raw = bundle(said, KEY)
    raw["dsseEnvelope"]["signatures"] *= 2
    refused(raw)


RESOURCE = ("predicate", "resources", 0)


@pytest.mark.parametrize(
    ("place", "to"),
    [
        (("_type",), "https://in-toto.io/Statement/v0.1"), (("predicateType",), "https://model_signing/Digests/v0.1"),
        (("subject",), []), (("subject", 0, "digest", "sha256"), "00" * 32), (("predicate", "resources"), []),
        (("predicate", "serialization", "method"), "shards"), (("predicate", "serialization", "hash_type"), "md5"),
        ((*RESOURCE, "digest"), "00" * 32), ((*RESOURCE, "digest"), "0"), ((*RESOURCE, "algorithm"), "blake3"),
        ((*RESOURCE, "name"), "../up"), ((*RESOURCE, "name"), "/etc/passwd"), ((*RESOURCE, "name"), "a//b"),
        ((*RESOURCE, "name"), "./a"), ((*RESOURCE, "name"), ""), ((*RESOURCE, "name"), "unet/config.json"),
        ((*RESOURCE, "name"), None), (("predicate",), KeyError),
    ],
)  # fmt: skip
def test_a_statement_that_cannot_be_is_refused_also_when_it_is_signed(
    said: dict[str, Any], place: tuple[Any, ...], to: Any
) -> None:
    refused(bundle(changed(said, *place, to=to), KEY))


@given(st.data())
def test_no_change_of_any_byte_makes_another_model_of_it(data: st.DataObject) -> None:
    """Whatever is changed in the file: it is refused, or says word for word what was signed."""
    raw = bytearray((FILES / "p256.sig").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    held(bytes(raw))


@given(st.data())
def test_no_change_of_what_is_signed_is_missed(data: st.DataObject) -> None:
    raw = json.loads((FILES / "p256.sig").read_bytes())
    envelope = raw["dsseEnvelope"]
    for where, place in ((envelope, "payload"), (envelope["signatures"][0], "sig")):
        inner = bytearray(base64.b64decode(where[place]))
        if data.draw(st.booleans()):
            inner[data.draw(st.integers(0, len(inner) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        where[place] = base64.b64encode(inner).decode()
    held(json.dumps(raw).encode())


@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["mediaType", "dsseEnvelope", "verificationMaterial", "payload", "signatures"]), inner
    ),
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(GenerationError):
        parse(data)


def outcome(data: bytes) -> object:
    try:
        found = parse(data)
        check(found, believed("p256.pub"))
    except GenerationError as error:
        return error.code
    return (found.payload, found.files, found.ignored)


def held(data: bytes) -> None:
    original = read("p256")
    assert outcome(data) in ("generate.signature", (original.payload, original.files, original.ignored))
