"""Is the claim-signing certificate revoked? Asked of its OCSP responder (RFC 6960) before signing, and failing closed.

c2pa-rs can ask too, but takes an answer that does not come for a good one. Checked here: the responder's status, the
certificate, the times, and that the answer is signed by the issuer, or by a responder that the issuer certified for it.
"""

from __future__ import annotations

import datetime as dt
import secrets
import time
from collections.abc import Callable
from typing import Any

import httpx
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from ..errors import ManifestError

MAX_REPLY = 64 << 10
_SLACK = dt.timedelta(minutes=5)
_KEPT = dt.timedelta(minutes=10)
"""How long a good answer counts without asking again, at most until the responder's own end of it."""


class RevocationCheck:
    """Calling it asks the responder, unless a good answer is fresh. Raises ManifestError (``provenance.ocsp``, or
    ``provenance.ocsp.revoked``). ``url``: instead of the one in the certificate."""

    def __init__(
        self,
        chain: list[x509.Certificate],
        *,
        url: str | None = None,
        seconds: float = 10.0,
        clock: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    ) -> None:
        self._chain, self._url, self._seconds, self._clock = chain, url, seconds, clock
        self._good_until: dt.datetime | None = None

    def __call__(self) -> None:
        now = self._clock()
        if self._good_until is not None and now < self._good_until:
            return
        if len(self._chain) < 2:
            raise _failed("the chain lacks the issuer of the leaf")
        leaf, issuer = self._chain[:2]
        url = self._url or _responder(leaf)
        if url is None:
            raise _failed("the certificate names no responder", hint="Name one in the setting `ocsp_url`.")
        nonce = secrets.token_bytes(16)
        builder = ocsp.OCSPRequestBuilder().add_certificate(leaf, issuer, hashes.SHA256())
        request = builder.add_extension(x509.OCSPNonce(nonce), critical=False).build()
        reply = _ask(url, request.public_bytes(serialization.Encoding.DER), self._seconds)
        self._good_until = min(_good_until(reply, leaf, issuer, nonce, now), now + _KEPT)


def _failed(text: str, *, hint: str = "") -> ManifestError:
    return ManifestError(
        f"whether the signing certificate is revoked could not be found out: {text}",
        code="provenance.ocsp",
        hint=hint or "Nothing is signed while the setting `ocsp` says `check` and the responder does not answer.",
    )


def _responder(leaf: x509.Certificate) -> str | None:
    try:
        access = leaf.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except x509.ExtensionNotFound:
        return None
    for item in access:
        if item.access_method == AuthorityInformationAccessOID.OCSP and isinstance(
            item.access_location, x509.UniformResourceIdentifier
        ):
            return item.access_location.value
    return None


def _ask(url: str, request: bytes, seconds: float) -> bytes:
    body, until = bytearray(), time.monotonic() + seconds
    headers = {"Content-Type": "application/ocsp-request"}
    try:
        with (
            httpx.Client(timeout=seconds, follow_redirects=False) as client,
            client.stream("POST", url, content=request, headers=headers) as response,
        ):
            if response.status_code != 200:
                raise _failed(f"the responder answers with the HTTP status {response.status_code}")
            for piece in response.iter_bytes(4096):
                body += piece
                if len(body) > MAX_REPLY or time.monotonic() > until:
                    raise _failed("the responder answers too much or too slowly")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _failed(f"the responder cannot be reached ({type(error).__name__})") from error
    return bytes(body)


def _good_until(
    reply: bytes, leaf: x509.Certificate, issuer: x509.Certificate, nonce: bytes, now: dt.datetime
) -> dt.datetime:
    try:
        answer = ocsp.load_der_ocsp_response(reply)
        if answer.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            raise _failed(f"the responder says {answer.response_status.name.lower()}")
        _signed(answer, issuer, now)
        if answer.serial_number != leaf.serial_number or not _is_issuer(answer, issuer):
            raise _failed("the answer is about another certificate")
        try:
            if answer.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce != nonce:
                raise _failed("the answer is to another question")
        except x509.ExtensionNotFound:
            pass  # most responders sign beforehand, and leave it out (RFC 5019, 2.1); the times bound such an answer
        ends = answer.next_update_utc
        if answer.this_update_utc > now + _SLACK or ends is None or ends < now:
            raise _failed("the answer is not of this time")
        status = answer.certificate_status
    except (ValueError, TypeError, InvalidSignature) as error:
        raise _failed("the responder's answer cannot be read") from error
    if status is ocsp.OCSPCertStatus.REVOKED:
        raise ManifestError(
            "the signing certificate is revoked",
            code="provenance.ocsp.revoked",
            hint="Take in another key (`keys import`), then `keys revoke` and `keys recall` for what this one signed.",
        )
    if status is not ocsp.OCSPCertStatus.GOOD:
        raise _failed("the responder does not know the certificate")
    return ends


def _is_issuer(answer: ocsp.OCSPResponse, issuer: x509.Certificate) -> bool:
    expected = ocsp.OCSPRequestBuilder().add_certificate(issuer, issuer, answer.hash_algorithm).build()
    # The name's hash is of the issuer's subject only for a certificate that issues itself; the key's always is.
    return answer.issuer_key_hash == expected.issuer_key_hash


def _signed(answer: ocsp.OCSPResponse, issuer: x509.Certificate, now: dt.datetime) -> None:
    delegates = [one for one in answer.certificates if _may_answer(one, issuer, now)]
    for signer in [issuer, *delegates]:
        if _holds(signer.public_key(), answer):
            return
    raise _failed("the answer is not signed by the issuer, or by whom it certified for that")


def _may_answer(certificate: x509.Certificate, issuer: x509.Certificate, now: dt.datetime) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
        purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    valid = certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc
    return valid and ExtendedKeyUsageOID.OCSP_SIGNING in purposes


def _holds(key: Any, answer: ocsp.OCSPResponse) -> bool:
    digest, signature, data = answer.signature_hash_algorithm, answer.signature, answer.tbs_response_bytes
    try:
        if isinstance(key, ec.EllipticCurvePublicKey) and digest is not None:
            key.verify(signature, data, ec.ECDSA(digest))
        elif isinstance(key, rsa.RSAPublicKey) and digest is not None:
            key.verify(signature, data, padding.PKCS1v15(), digest)
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, data)
        else:
            return False
    except InvalidSignature:
        return False
    return True
