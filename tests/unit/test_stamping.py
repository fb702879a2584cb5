"""Several time-stamp authorities with every fault that one can have, and a real OCSP responder, all on loopback."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import tsp
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from filigrana.errors import FiligranaError, ManifestError, TimestampError
from filigrana.pipeline.engine import Engine
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.request import Release, SealRequest
from filigrana.pipeline.settings import load_settings
from filigrana.provenance import stamping
from filigrana.provenance.certificates import ClaimChain, KeyPair, make_claim_chain, make_tsa_chain
from filigrana.provenance.credentials import read_credentials
from filigrana.provenance.keys import KeyStore, TsaKey
from filigrana.provenance.manifest import definition
from filigrana.provenance.media import encode_picture
from filigrana.provenance.ocsp import RevocationCheck
from filigrana.provenance.signers import FileSigner
from filigrana.provenance.signing import sign_file
from filigrana.provenance.stamping import DOWN, Authorities, relay
from filigrana.provenance.timestamps import answer
from filigrana.tests.doubles import scene
from filigrana.tests.signing_kit import Kit, statement

NOW = dt.datetime.now(dt.UTC)
Answer = Callable[[bytes], "bytes | int | None"]


@contextmanager
def serving(respond: Answer, kind: str = "application/timestamp-reply") -> Iterator[str]:
    """Answers each POST with bytes, with an HTTP status, or (None) not at all for as long as the test lasts."""
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            given = respond(self.rfile.read(int(self.headers["Content-Length"])))
            if given is None:
                ended.wait(20)
                return
            if isinstance(given, int):
                self.send_error(given)
                return
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(given)))
            self.end_headers()
            self.wfile.write(given)

        def log_message(self, *args: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        ended.set()
        server.shutdown()
        server.server_close()


def counting(count: list[int], respond: Answer) -> Answer:
    def counted(request: bytes) -> bytes | int | None:
        count.append(1)
        return respond(request)

    return counted


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit.make(tmp_path)


def asked(**changes: Any) -> bytes:
    fields = {
        "version": "v1",
        "message_imprint": {"hash_algorithm": {"algorithm": "sha256"}, "hashed_message": b"x" * 32},
        "nonce": 77,
        "cert_req": True,
    }
    return bytes(tsp.TimeStampReq(fields | changes).dump())


def changed(request: bytes, **changes: Any) -> bytes:
    query = tsp.TimeStampReq.load(request)
    for name, value in changes.items():
        query[name] = value
    return bytes(query.dump(force=True))


def expired() -> TsaKey:
    leaf, root = make_tsa_chain(NOW - dt.timedelta(days=500), leaf_days=100)
    return TsaKey(leaf, root)


OTHER_IMPRINT = {"hash_algorithm": {"algorithm": "sha256"}, "hashed_message": b"y" * 32}


def faults(kit: Kit) -> dict[str, tuple[Answer | None, bool]]:
    """(what it answers, whether that counts as out of order rather than wrong); None: nobody listens."""
    tsa, stranger, old = kit.keys.tsa(), TsaKey(*make_tsa_chain(NOW)), expired()
    flipped = lambda request: bytes(byte ^ (i == 300) for i, byte in enumerate(answer(request, tsa, NOW)))  # noqa: E731
    return {
        "refused connection": (None, True),
        "hangs": (lambda _: None, True),
        "500": (lambda _: 500, True),
        "404": (lambda _: 404, True),
        "redirects": (lambda _: 302, True),
        "empty": (lambda _: b"", False),
        "not DER": (lambda _: b"time flies", False),
        "rejects": (lambda _: answer(b"nonsense", tsa, NOW), False),
        "too much": (lambda _: bytes(100_000), True),
        "wrong imprint": (lambda request: answer(changed(request, message_imprint=OTHER_IMPRINT), tsa, NOW), False),
        "wrong nonce": (lambda request: answer(changed(request, nonce=4), tsa, NOW), False),
        "no nonce": (lambda request: answer(changed(request, nonce=None), tsa, NOW), False),
        "not on the list": (lambda request: answer(request, stranger, NOW), False),
        "expired certificate": (lambda request: answer(request, old, NOW), False),
        "from the future": (lambda request: answer(request, tsa, NOW + dt.timedelta(days=9)), False),
        "one bit changed": (flipped, False),
    }


FAULTS = [
    "refused connection", "hangs", "500", "404", "redirects", "empty", "not DER", "rejects", "too much",
    "wrong imprint", "wrong nonce", "no nonce", "not on the list", "expired certificate", "from the future",
    "one bit changed",
]  # fmt: skip


@contextmanager
def faulty(kit: Kit, name: str) -> Iterator[str]:
    respond, _ = faults(kit)[name]
    if respond is None:
        yield "http://127.0.0.1:9"
        return
    with serving(respond) as url:
        yield url


def roots(kit: Kit) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(kit.tsa_root.encode())


@pytest.mark.parametrize("name", FAULTS)
def test_the_next_authority_is_asked(kit: Kit, name: str) -> None:
    with faulty(kit, name) as bad, kit.tsa() as good:
        several = Authorities([bad, good], roots(kit), seconds=0.4)
        reply = tsp.TimeStampResp.load(several.stamp(asked()))
        assert reply["status"]["status"].native == "granted"
        assert several.order() == [good, bad]


@pytest.mark.parametrize("name", FAULTS)
def test_one_that_is_wrong_is_told_from_one_that_is_down(kit: Kit, name: str) -> None:
    with faulty(kit, name) as bad, pytest.raises(TimestampError) as caught:
        Authorities([bad], roots(kit), seconds=0.4).stamp(asked())
    assert caught.value.code == (DOWN if faults(kit)[name][1] else "provenance.timestamp")
    assert "127.0.0.1" in caught.value.message


@pytest.mark.parametrize("name", FAULTS)
def test_nothing_is_signed_with_only_such_a_one(kit: Kit, tmp_path: Path, name: str) -> None:
    source, target = tmp_path / "in.jpg", tmp_path / "out.jpg"
    source.write_bytes(encode_picture(scene(1), "image/jpeg"))
    with ExitStack() as stack:
        bad = stack.enter_context(faulty(kit, name))
        caught = stack.enter_context(pytest.raises(TimestampError))
        url = stack.enter_context(relay(Authorities([bad], roots(kit), seconds=0.4)))
        signer = FileSigner(kit.keys.claim())
        sign_file(source, target, "image/jpeg", definition(statement()), signer, tsa_url=url)
    assert "no time-stamp authority" in caught.value.message
    assert not target.exists()


def test_through_the_relay_a_file_is_signed_and_stamped(kit: Kit, tmp_path: Path) -> None:
    source, target = tmp_path / "in.jpg", tmp_path / "out.jpg"
    source.write_bytes(encode_picture(scene(1), "image/jpeg"))
    with kit.tsa() as good, relay(Authorities(["http://127.0.0.1:9", good], roots(kit))) as url:
        signer = FileSigner(kit.keys.claim())
        sign_file(source, target, "image/jpeg", definition(statement()), signer, tsa_url=url)
    found = read_credentials(target, "image/jpeg", kit.trust)
    assert (found.state, found.time_trust) == ("trusted", "development")


def test_who_failed_is_asked_last_and_forgiven_after_a_minute(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    count: list[int] = []
    with serving(counting(count, lambda _: 503)) as bad, kit.tsa() as good:
        several = Authorities([bad, good], roots(kit))
        for _ in range(3):
            several.stamp(asked())
        assert len(count) == 1
        monkeypatch.setattr(stamping.time, "monotonic", lambda: now + 120)
        several.stamp(asked())
        assert len(count) == 2


def test_an_address_with_a_password_is_not_told() -> None:
    with pytest.raises(TimestampError) as caught:
        Authorities(["http://me:secret@127.0.0.1:9/tsa?token=abc"], []).stamp(asked())
    assert "secret" not in caught.value.diagnostics()
    assert "abc" not in caught.value.diagnostics()


@pytest.mark.parametrize("request_", [b"", b"x", asked()[:-3]])
def test_what_is_no_request_is_refused(request_: bytes) -> None:
    with pytest.raises(TimestampError):
        Authorities(["http://127.0.0.1:9"], []).stamp(request_)


# ── in an installation ───────────────────────────────────────────────────────────────────────────────────────────
def house(folder: Path, **settings: Any) -> Installation:
    opened = Installation(load_settings(data_dir=folder / "data", **settings))
    opened.ensure_keys()
    return opened


def seal(make_engine: Callable[..., Engine], opened: Installation, folder: Path) -> Release:
    path = folder / "photo.jpg"
    path.write_bytes(encode_picture(scene(3), "image/jpeg"))
    released = make_engine(finisher=opened.finisher).seal(SealRequest(path, "camera"))
    assert isinstance(released, Release)
    return released


def test_an_installation_fails_over(make_engine: Callable[..., Engine], kit: Kit, tmp_path: Path) -> None:
    root = tmp_path / "tsa-root.pem"
    root.write_text(kit.tsa_root)
    with serving(lambda _: 500) as bad, kit.tsa() as good:
        opened = house(tmp_path, tsa_url=[bad, good], tsa_trust=[root])
        released = seal(make_engine, opened, tmp_path)
    assert read_credentials(released.file, "image/jpeg", opened.trust).time_trust == "configured"


def test_an_installation_releases_nothing_unstamped(
    make_engine: Callable[..., Engine], kit: Kit, tmp_path: Path, entry_types: Callable[[], list[str]]
) -> None:
    opened = house(tmp_path, tsa_url=["http://127.0.0.1:9", "http://127.0.0.1:10"])
    with pytest.raises(TimestampError) as caught:
        seal(make_engine, opened, tmp_path)
    assert caught.value.code == DOWN
    assert entry_types()[-1] == "failed"
    assert not list((tmp_path / "data" / "assets").rglob("*.jpg"))


@pytest.mark.parametrize(
    ("given", "urls"), [("https://a", ["https://a"]), ("https://a  http://b", ["https://a", "http://b"]), ("", [])]
)
def test_one_authority_may_be_written_as_text(monkeypatch: pytest.MonkeyPatch, given: str, urls: list[str]) -> None:
    monkeypatch.setenv("FILIGRANA_TSA_URL", given)
    assert load_settings().tsa_url == urls


@pytest.mark.parametrize("urls", [["ftp://x"], ["https://a", "https://a"]])
def test_authorities_that_are_none(urls: list[str]) -> None:
    with pytest.raises(FiligranaError):
        load_settings(tsa_url=urls)


# ── OCSP ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def pki() -> tuple[ClaimChain, KeyPair]:
    """A chain whose issuing CA's key is known here, so that a responder can answer in its name."""
    from filigrana.provenance import certificates

    made: list[KeyPair] = []
    real = certificates._make

    def kept(*args: Any, **options: Any) -> KeyPair:
        made.append(real(*args, **options))
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certificates, "_make", kept)
        chain = make_claim_chain(NOW)
    return chain, made[1]


def responder(
    chain: ClaimChain,
    issuer: KeyPair,
    *,
    status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
    about: x509.Certificate | None = None,
    this: dt.datetime = NOW - dt.timedelta(minutes=1),
    next_: dt.datetime | None = NOW + dt.timedelta(hours=1),
    key: Any = None,
    delegate: KeyPair | None = None,
    nonce: bytes | None = b"",
    algorithm: hashes.HashAlgorithm | None = None,
) -> Answer:
    """RFC 6960 as `cryptography` builds it. ``nonce``: empty echoes the question's."""

    def respond(request: bytes) -> bytes:
        asked_nonce = ocsp.load_der_ocsp_request(request).extensions.get_extension_for_class(x509.OCSPNonce).value.nonce
        signer = delegate or issuer
        builder = (
            ocsp.OCSPResponseBuilder()
            .add_response(
                about or chain.leaf.certificate,
                chain.intermediate,
                algorithm or hashes.SHA256(),  # type: ignore[arg-type]
                status,
                this,
                next_,
                NOW if status is ocsp.OCSPCertStatus.REVOKED else None,
                x509.ReasonFlags.key_compromise if status is ocsp.OCSPCertStatus.REVOKED else None,
            )
            .responder_id(ocsp.OCSPResponderEncoding.HASH, signer.certificate)
        )
        if delegate is not None:
            builder = builder.certificates([delegate.certificate])
        if nonce is not None:
            builder = builder.add_extension(x509.OCSPNonce(nonce or asked_nonce), critical=False)
        made = builder.sign(key or signer.key, hashes.SHA256())
        return made.public_bytes(serialization.Encoding.DER)

    return respond


def delegated(issuer: KeyPair, purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.OCSP_SIGNING) -> KeyPair:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a responder")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(5)
        .not_valid_before(NOW - dt.timedelta(days=1))
        .not_valid_after(NOW + dt.timedelta(days=1))
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .sign(issuer.key, hashes.SHA384())
    )
    return KeyPair(key, made)


def check(chain: ClaimChain, respond: Answer | None, seconds: float = 0.5) -> None:
    with ExitStack() as stack:
        url = (
            "http://127.0.0.1:9"
            if respond is None
            else stack.enter_context(serving(respond, "application/ocsp-response"))
        )
        RevocationCheck([chain.leaf.certificate, chain.intermediate], url=url, seconds=seconds)()


@pytest.mark.parametrize("how", ["issuer", "delegate", "no nonce", "sha1 names"])
def test_a_good_certificate_is_good(pki: tuple[ClaimChain, KeyPair], how: str) -> None:
    chain, issuer = pki
    known: dict[str, dict[str, Any]] = {
        "delegate": {"delegate": delegated(issuer)},
        "no nonce": {"nonce": None},
        "sha1 names": {"algorithm": hashes.SHA1()},  # noqa: S303  what many responders name certificates by
    }
    options = known.get(how, {})
    check(chain, responder(chain, issuer, **options))


def test_a_revoked_certificate_is_told(pki: tuple[ClaimChain, KeyPair]) -> None:
    chain, issuer = pki
    with pytest.raises(ManifestError) as caught:
        check(chain, responder(chain, issuer, status=ocsp.OCSPCertStatus.REVOKED))
    assert caught.value.code == "provenance.ocsp.revoked"


def unsuccessful(status: ocsp.OCSPResponseStatus) -> Answer:
    made = ocsp.OCSPResponseBuilder.build_unsuccessful(status)
    return lambda _: made.public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize(
    "fault",
    ["unreachable", "hangs", "500", "empty", "not DER", "too much", "unknown", "try later", "another certificate",
     "old", "future", "no end", "another nonce", "another key", "a delegate for something else", "a foreign delegate"],
)  # fmt: skip
def test_no_answer_that_holds_is_no_signature(pki: tuple[ClaimChain, KeyPair], fault: str) -> None:
    chain, issuer = pki
    past, later = NOW - dt.timedelta(days=2), NOW + dt.timedelta(days=2)
    stranger = make_claim_chain(NOW)
    foreign = delegated(KeyPair(ec.generate_private_key(ec.SECP384R1()), issuer.certificate))
    answers: dict[str, Answer | None] = {
        "unreachable": None,
        "hangs": lambda _: None,
        "500": lambda _: 500,
        "empty": lambda _: b"",
        "not DER": lambda _: b"good",
        "too much": lambda _: bytes(100_000),
        "unknown": responder(chain, issuer, status=ocsp.OCSPCertStatus.UNKNOWN),
        "try later": unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER),
        "another certificate": responder(chain, issuer, about=stranger.leaf.certificate),
        "old": responder(chain, issuer, this=past, next_=NOW - dt.timedelta(days=1)),
        "future": responder(chain, issuer, this=later, next_=later + dt.timedelta(days=1)),
        "no end": responder(chain, issuer, next_=None),
        "another nonce": responder(chain, issuer, nonce=b"z" * 16),
        "another key": responder(chain, issuer, key=ec.generate_private_key(ec.SECP384R1())),
        "a delegate for something else": responder(
            chain, issuer, delegate=delegated(issuer, ExtendedKeyUsageOID.EMAIL_PROTECTION)
        ),
        "a foreign delegate": responder(chain, issuer, delegate=foreign),
    }
    with pytest.raises(ManifestError) as caught:
        check(chain, answers[fault])
    assert caught.value.code == "provenance.ocsp"


def test_a_good_answer_is_kept_for_ten_minutes(pki: tuple[ClaimChain, KeyPair]) -> None:
    chain, issuer = pki
    count: list[int] = []
    respond, now = responder(chain, issuer), [NOW]
    with serving(counting(count, respond)) as url:
        asks = RevocationCheck([chain.leaf.certificate, chain.intermediate], url=url, clock=lambda: now[0])
        asks()
        asks()
        assert len(count) == 1
        now[0] += dt.timedelta(minutes=11)
        asks()
        assert len(count) == 2
        now[0] += dt.timedelta(hours=2)
        with pytest.raises(ManifestError):
            asks()


@pytest.mark.parametrize("status", [ocsp.OCSPCertStatus.GOOD, ocsp.OCSPCertStatus.REVOKED])
def test_an_installation_asks_before_it_signs(
    make_engine: Callable[..., Engine],
    installation: Installation,
    pki: tuple[ClaimChain, KeyPair],
    tmp_path: Path,
    status: Any,
) -> None:
    chain, issuer = pki
    installation.ensure_keys()
    folder = installation.keys.folder
    for name, data in {
        "claim.key": chain.leaf.key_pem(),
        "claim.pem": chain.leaf.certificate_pem() + chain.intermediate.public_bytes(serialization.Encoding.PEM),
        "claim-root.pem": chain.root.public_bytes(serialization.Encoding.PEM),
    }.items():
        (folder / name).write_bytes(data)
    with serving(responder(chain, issuer, status=status)) as url:
        opened = house(tmp_path, ocsp="check", ocsp_url=url)
        if status is ocsp.OCSPCertStatus.GOOD:
            seal(make_engine, opened, tmp_path)
            return
        with pytest.raises(ManifestError) as caught:
            seal(make_engine, opened, tmp_path)
    assert caught.value.code == "provenance.ocsp.revoked"
    assert not list((tmp_path / "data" / "assets").rglob("*.jpg"))


def test_a_certificate_that_names_no_responder_signs_nothing_where_it_must_be_asked(kit: Kit) -> None:
    chain = x509.load_pem_x509_certificates(KeyStore(kit.keys.folder).claim().chain_pem.encode())
    with pytest.raises(ManifestError) as caught:
        RevocationCheck(chain)()
    assert "ocsp_url" in caught.value.hint
