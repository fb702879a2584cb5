"""A time-stamp (RFC 3161) over a SHA-256: asked for, and checked before it counts for anything.

Checked: the status, what was stamped, the nonce, the signature over the signed attributes (RFC 5652, section 5.4),
that these name the signer's certificate (RFC 5035), that the certificate is for time-stamping alone, and its chain to
one of the given roots, each valid at the stamped time. Revocation is not looked up.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
import time
from collections.abc import Sequence
from typing import Any

import httpx
from asn1crypto import cms, tsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from ...errors import TimestampError

MAX_REPLY = 64 << 10
MAX_AHEAD = dt.timedelta(seconds=300)
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
_MAX_CHAIN = 8


def ask(
    url: str, digest: bytes, timeout: float = 10.0, transport: httpx.BaseTransport | None = None
) -> tuple[bytes, int]:
    """The authority's DER reply for a SHA-256 (32 bytes), and the nonce that it must carry. Verifies nothing.

    ``timeout``: seconds for the whole exchange, as far as bytes keep coming. Raises TimestampError.
    """
    nonce = secrets.randbits(63) | 1
    imprint = {"hash_algorithm": {"algorithm": "sha256"}, "hashed_message": digest}
    query = tsp.TimeStampReq({"version": "v1", "message_imprint": imprint, "nonce": nonce, "cert_req": True})
    return post(url, query.dump(), timeout, transport), nonce


def post(url: str, query: bytes, timeout: float = 10.0, transport: httpx.BaseTransport | None = None) -> bytes:
    """The authority's reply to a DER request. Verifies nothing. Raises TimestampError."""
    until = time.monotonic() + timeout
    body = bytearray()
    try:
        with (
            httpx.Client(timeout=timeout, transport=transport, follow_redirects=False) as client,
            client.stream(
                "POST", url, content=query, headers={"Content-Type": "application/timestamp-query"}
            ) as response,
        ):
            if response.status_code != 200:
                raise TimestampError(f"the time-stamp authority answers with the HTTP status {response.status_code}")
            for piece in response.iter_bytes(4096):
                body += piece
                if len(body) > MAX_REPLY or time.monotonic() > until:
                    raise TimestampError("the time-stamp authority answers too much or too slowly")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise TimestampError(f"the time-stamp authority cannot be reached ({type(error).__name__})") from error
    return bytes(body)


def check(
    reply: bytes,
    digest: bytes,
    roots: Sequence[x509.Certificate],
    *,
    nonce: int | None = None,
    now: dt.datetime | None = None,
) -> dt.datetime:
    """The time, in UTC, at which ``digest`` existed by this reply. Raises TimestampError when any check fails.

    ``roots``: whom we believe. ``nonce``: of our request; None for a reply that was kept. ``now``: an aware time, by
    default the present: a stamp from more than five minutes later is refused.
    """
    try:
        return _check(reply, digest, roots, nonce, now or dt.datetime.now(dt.UTC))
    except TimestampError:
        raise
    except Exception as error:  # two parsers of strangers' bytes: whatever they say, it is no stamp
        raise TimestampError("the time-stamp cannot be read") from error


def _check(
    reply: bytes, digest: bytes, roots: Sequence[x509.Certificate], nonce: int | None, now: dt.datetime
) -> dt.datetime:
    if len(reply) > MAX_REPLY:
        raise TimestampError("the time-stamp is too large")
    response = tsp.TimeStampResp.load(reply, strict=True)
    if response["status"]["status"].native not in ("granted", "granted_with_mods"):
        raise TimestampError("the time-stamp authority refused")
    token = response["time_stamp_token"]
    signed: Any = token["content"]
    content = signed["encap_content_info"]
    if token["content_type"].native != "signed_data" or content["content_type"].native != "tst_info":
        raise TimestampError("the answer is no time-stamp")
    info: Any = content["content"].parsed
    imprint = info["message_imprint"]
    if imprint["hash_algorithm"]["algorithm"].native != "sha256" or imprint["hashed_message"].native != digest:
        raise TimestampError("the time-stamp is over something else")
    if nonce is not None and info["nonce"].native != nonce:
        raise TimestampError("the time-stamp answers another request")
    if len(signed["signer_infos"]) != 1:
        raise TimestampError("a time-stamp has one signer")
    when: dt.datetime = info["gen_time"].native
    certificates = [x509.load_der_x509_certificate(item.chosen.dump()) for item in signed["certificates"]]
    leaf = _signature(signed["signer_infos"][0], bytes(content["content"]), certificates)
    _purpose(leaf)
    _chain(leaf, certificates, roots, when)
    if when > now + MAX_AHEAD:
        raise TimestampError("the time-stamp is from the future")
    return when


def _signature(signer: Any, content: bytes, certificates: Sequence[x509.Certificate]) -> x509.Certificate:
    """The certificate whose key signed the attributes, which are about this content and this certificate."""
    algorithm = signer["digest_algorithm"]["algorithm"].native
    attributes: cms.CMSAttributes = signer["signed_attrs"]
    values = {item["type"].native: item["values"] for item in attributes}
    if len(values) != len(attributes) or any(len(item) != 1 for item in values.values()):
        raise TimestampError("the time-stamp has an attribute twice")
    if values["content_type"][0].native != "tst_info":
        raise TimestampError("the time-stamp's attributes are about something else")
    if values["message_digest"][0].native != hashlib.new(_HASHES[algorithm].name, content).digest():
        raise TimestampError("the time-stamp's content was changed")
    named = signer["sid"].chosen
    leaf = next(
        (
            item
            for item in certificates
            if item.serial_number == named["serial_number"].native
            and asn1_x509.Name.load(item.issuer.public_bytes()) == named["issuer"]
        ),
        None,
    )
    if leaf is None:
        raise TimestampError("the time-stamp does not bring its signer's certificate")
    _names(values, leaf)
    _verify(leaf.public_key(), signer, attributes.untag().dump(), _HASHES[algorithm])
    return leaf


def _names(values: dict[str, Any], leaf: x509.Certificate) -> None:
    if "signing_certificate_v2" in values:
        first = values["signing_certificate_v2"][0]["certs"][0]
        kind = first["hash_algorithm"]["algorithm"].native
        expected = leaf.fingerprint(_HASHES[kind])
    else:
        first = values["signing_certificate"][0]["certs"][0]
        expected = leaf.fingerprint(hashes.SHA1())  # noqa: S303  what RFC 2634 fixed; the signature does not rest on it
    if first["cert_hash"].native != expected:
        raise TimestampError("the time-stamp names another certificate than the one that signed it")


def _verify(key: object, signer: Any, message: bytes, digest: hashes.HashAlgorithm) -> None:
    kind = signer["signature_algorithm"]
    signature = signer["signature"].native
    algorithm = _HASHES[kind.hash_algo] if kind.signature_algo != "ed25519" and _has_hash(kind) else digest
    try:
        if isinstance(key, rsa.RSAPublicKey) and kind.signature_algo == "rsassa_pkcs1v15":
            key.verify(signature, message, padding.PKCS1v15(), algorithm)
        elif isinstance(key, rsa.RSAPublicKey) and kind.signature_algo == "rsassa_pss":
            key.verify(signature, message, padding.PSS(padding.MGF1(algorithm), padding.PSS.AUTO), algorithm)
        elif isinstance(key, ec.EllipticCurvePublicKey) and kind.signature_algo == "ecdsa":
            key.verify(signature, message, ec.ECDSA(algorithm))
        elif isinstance(key, ed25519.Ed25519PublicKey) and kind.signature_algo == "ed25519":
            key.verify(signature, message)
        else:
            raise TimestampError("the time-stamp is signed in a way that is not known here")
    except InvalidSignature:
        raise TimestampError("the signature of the time-stamp does not hold") from None


def _has_hash(kind: Any) -> bool:
    """Some authorities name only the key's type (``rsassa_pkcs1v15``); then the digest's algorithm is meant."""
    try:
        return kind.hash_algo in _HASHES
    except ValueError:
        return False


def _purpose(leaf: x509.Certificate) -> None:
    try:
        usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound:
        usage = None
    if usage is None or not usage.critical or list(usage.value) != [ExtendedKeyUsageOID.TIME_STAMPING]:
        raise TimestampError("the time-stamp is signed with a certificate that is not for time-stamps alone")


def _chain(
    leaf: x509.Certificate, others: Sequence[x509.Certificate], roots: Sequence[x509.Certificate], when: dt.datetime
) -> None:
    """From the leaf, over certificates of the token, to a root of ours; each valid at that time."""
    at = leaf
    for _ in range(_MAX_CHAIN):
        if not at.not_valid_before_utc <= when <= at.not_valid_after_utc:
            raise TimestampError("a certificate of the time-stamp authority was not valid at that time")
        if at in roots:
            return
        root = next((item for item in roots if _issued(at, item)), None)
        above = root or next((item for item in others if item != at and _issued(at, item)), None)
        if above is None:
            break
        at = above
    raise TimestampError(
        "nobody here trusts the time-stamp authority", hint="Name its root's PEM file in the setting `tsa_trust`."
    )


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
        return issuer.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound, UnsupportedAlgorithm):
        return False
