"""A certificate held against the profile: the C2PA specification 2.4 (section 14.5) and the conformance programme's
certificate policy 0.2, which ask more than c2pa-rs checks.

Pure: certificates in, problems out. Roles: `root`, `issuing`, `leaf` (claim signing), `tsa` (time-stamping leaf).
Levels: AL1, certificates of 366 days at most; AL2, 90 days at most (and a key in an HSM, which no certificate shows).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from .certificates import CLAIM_SIGNING, POLICY

Role = Literal["root", "issuing", "leaf", "tsa"]
Level = Literal["AL1", "AL2"]
_DAYS: dict[Level, int] = {"AL1": 366, "AL2": 90}
_SLACK = dt.timedelta(hours=2)
_SIGNATURES = {
    "1.2.840.10045.4.3.2": "ecdsa-with-SHA256",
    "1.2.840.10045.4.3.3": "ecdsa-with-SHA384",
    "1.2.840.10045.4.3.4": "ecdsa-with-SHA512",
    "1.2.840.113549.1.1.11": "sha256WithRSAEncryption",
    "1.2.840.113549.1.1.12": "sha384WithRSAEncryption",
    "1.2.840.113549.1.1.13": "sha512WithRSAEncryption",
    "1.2.840.113549.1.1.10": "id-RSASSA-PSS",
    "1.3.101.112": "id-Ed25519",
}
_FORBIDDEN = {
    ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE: "anyExtendedKeyUsage",
    ExtendedKeyUsageOID.TIME_STAMPING: "timeStamping",
    ExtendedKeyUsageOID.OCSP_SIGNING: "OCSPSigning",
}
E = TypeVar("E", bound=x509.ExtensionType)


@dataclass(frozen=True, slots=True)
class Problem:
    """``rule``: a stable name. ``reference``: who asks for it."""

    rule: str
    text: str
    reference: str


_SPEC = "C2PA 2.4, 14.5.1"
_POLICY = "C2PA certificate policy 0.2"


def _extension(certificate: x509.Certificate, kind: type[E]) -> x509.Extension[E] | None:
    try:
        return certificate.extensions.get_extension_for_class(kind)
    except (x509.ExtensionNotFound, ValueError):
        return None


def lint(
    certificate: x509.Certificate, role: Role = "leaf", *, level: Level = "AL1", now: dt.datetime | None = None
) -> list[Problem]:
    """What the profile asks of a certificate in this role and this one lacks. ``now``: None leaves the dates alone."""
    problems = [*_common(certificate, now)]
    problems += _authority(certificate, role) if role in ("root", "issuing") else _end(certificate, role, level)
    return problems


def _common(certificate: x509.Certificate, now: dt.datetime | None) -> Iterator[Problem]:
    if certificate.version is not x509.Version.v3:
        yield Problem("version", "it is not an X.509 certificate of version 3", _SPEC)
    if certificate.signature_algorithm_oid.dotted_string not in _SIGNATURES:
        yield Problem("signature", "it is signed with an algorithm that the specification does not list", _SPEC)
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < 2048:
            yield Problem("key", f"its RSA key has {key.key_size} bits, and 2048 are the least", _SPEC)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name not in ("secp256r1", "secp384r1", "secp521r1"):
            yield Problem("key", f"its key is on {key.curve.name}: P-256, P-384 or P-521 are asked for", _SPEC)
    elif not isinstance(key, ed25519.Ed25519PublicKey):
        yield Problem("key", "its key is none that signs claims", _SPEC)
    if _extension(certificate, x509.SubjectKeyIdentifier) is None:
        yield Problem("ski", "the subject key identifier is missing", _SPEC)
    if certificate.issuer != certificate.subject and _extension(certificate, x509.AuthorityKeyIdentifier) is None:
        yield Problem("aki", "the authority key identifier is missing", _SPEC)
    if now is not None and not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        yield Problem("dates", "it is not valid now", _SPEC)


def _authority(certificate: x509.Certificate, role: Role) -> Iterator[Problem]:
    basic = _extension(certificate, x509.BasicConstraints)
    if basic is None or not basic.critical or not basic.value.ca:
        yield Problem("basic-constraints", "basic constraints must be critical and CA:TRUE", _SPEC)
    elif role == "issuing" and basic.value.path_length != 0:
        yield Problem("path-length", "an issuing CA has a path length of 0", _POLICY)
    elif role == "root" and (basic.value.path_length or 0) > 2:
        yield Problem("path-length", "a root has a path length of 2 at most", _POLICY)
    usage = _extension(certificate, x509.KeyUsage)
    if usage is None or not usage.critical or not usage.value.key_cert_sign:
        yield Problem("key-usage", "key usage must be critical and allow keyCertSign", _SPEC)
    if role == "root" and certificate.issuer != certificate.subject:
        yield Problem("self-signed", "a root is issued by itself", _POLICY)
    if role == "issuing":
        eku = _extension(certificate, x509.ExtendedKeyUsage)
        if eku is None or CLAIM_SIGNING not in eku.value:
            yield Problem("eku", "an issuing CA is limited to c2pa-kp-claimSigning (1.3.6.1.4.1.62558.2.1)", _POLICY)


def _end(certificate: x509.Certificate, role: Role, level: Level) -> Iterator[Problem]:
    basic = _extension(certificate, x509.BasicConstraints)
    if basic is None or not basic.critical or basic.value.ca:
        yield Problem("basic-constraints", "basic constraints must be critical and CA:FALSE", _SPEC)
    usage = _extension(certificate, x509.KeyUsage)
    if usage is None or not usage.critical or not usage.value.digital_signature:
        yield Problem("key-usage", "key usage must be critical and allow digitalSignature", _SPEC)
    elif usage.value.key_cert_sign:
        yield Problem("key-usage", "a leaf must not sign certificates", _SPEC)
    elif role == "leaf" and not usage.value.content_commitment:
        yield Problem("non-repudiation", "key usage lacks nonRepudiation (contentCommitment)", _POLICY)
    eku = _extension(certificate, x509.ExtendedKeyUsage)
    purposes = set(eku.value) if eku is not None else set()
    if role == "tsa":
        if eku is None or not eku.critical or purposes != {ExtendedKeyUsageOID.TIME_STAMPING}:
            yield Problem("eku", "a time-stamping leaf has timeStamping as its sole, critical purpose", "RFC 3161, 2.3")
        return
    if CLAIM_SIGNING not in purposes:
        yield Problem("eku", "extended key usage lacks c2pa-kp-claimSigning (1.3.6.1.4.1.62558.2.1)", _POLICY)
    if eku is not None and ExtendedKeyUsageOID.EMAIL_PROTECTION not in purposes:
        yield Problem("eku-email", "extended key usage lacks emailProtection, without which c2pa-rs refuses it", _SPEC)
    for oid, name in _FORBIDDEN.items():
        if oid in purposes:
            yield Problem("eku-forbidden", f"extended key usage must not hold {name}", _SPEC)
    policies = _extension(certificate, x509.CertificatePolicies)
    if policies is None or POLICY not in {item.policy_identifier for item in policies.value}:
        yield Problem("policy", "the certificate policy 1.3.6.1.4.1.62558.1.1 is missing", _POLICY)
    if certificate.not_valid_after_utc - certificate.not_valid_before_utc > dt.timedelta(days=_DAYS[level]) + _SLACK:
        yield Problem(
            "validity", f"it is valid for more than {_DAYS[level]} days, which {level} does not allow", _POLICY
        )


def lint_chain(
    chain: Sequence[x509.Certificate], *, level: Level = "AL1", now: dt.datetime | None = None, tsa: bool = False
) -> list[tuple[str, Problem]]:
    """(subject, problem) of each certificate of a chain, leaf first, and of how they hang together."""
    found: list[tuple[str, Problem]] = []
    for place, certificate in enumerate(chain):
        name = certificate.subject.rfc4514_string()
        found += [
            (name, problem) for problem in lint(certificate, _role(place, certificate, tsa), level=level, now=now)
        ]
        above = chain[place + 1] if place + 1 < len(chain) else None
        if above is not None and not _issued(certificate, above):
            found.append((name, Problem("chain", "it is not issued by the certificate that follows it", _SPEC)))
        if place > 0 and place == len(chain) - 1 and certificate.issuer == certificate.subject and not tsa:
            found.append((name, Problem("root", "the chain that is shipped ends before its root", _POLICY)))
    if len(chain) == 1 and chain[0].issuer == chain[0].subject:
        found.append((chain[0].subject.rfc4514_string(), Problem("self-issued", "a leaf must not issue itself", _SPEC)))
    return found


def _role(place: int, certificate: x509.Certificate, tsa: bool) -> Role:
    if place == 0:
        return "tsa" if tsa else "leaf"
    return "root" if certificate.issuer == certificate.subject else "issuing"


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True
