"""X.509 certificates in the C2PA profile, made here for development and enterprise trust.

Profile (C2PA specification 2.4, section 14.5, and the conformance programme's certificate policy): root P-384 with
pathLen 2; issuing CA P-384 with pathLen 0, EKU claimSigning and emailProtection; leaf with CA:FALSE, digitalSignature
and nonRepudiation critical, SKI, AKI, the same EKUs and the policy 1.3.6.1.4.1.62558.1.1, valid 366 days at most.
The time-stamp authority has a root of its own, and a leaf whose sole, critical EKU is timeStamping (RFC 3161, 2.3).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CLAIM_SIGNING = x509.ObjectIdentifier("1.3.6.1.4.1.62558.2.1")
POLICY = x509.ObjectIdentifier("1.3.6.1.4.1.62558.1.1")


@dataclass(frozen=True)
class KeyPair:
    """A private key with its certificate."""

    key: Any
    certificate: x509.Certificate

    def key_pem(self, passphrase: bytes | None = None) -> bytes:
        """PKCS#8, encrypted where there is a passphrase."""
        how: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if passphrase is not None:
            how = serialization.BestAvailableEncryption(passphrase)
        key: bytes = self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)
        return key

    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)


def _name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Filigrana development"),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def _usage(*, sign: bool = False, repudiation: bool = False, ca: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=sign,
        content_commitment=repudiation,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _make(
    common: str,
    *,
    issuer: KeyPair | None,
    key: Any = None,
    days: int,
    now: dt.datetime,
    ca_path: int | None = None,
    eku: list[x509.ObjectIdentifier] | None = None,
    eku_critical: bool = False,
    repudiation: bool = False,
    policy: bool = False,
) -> KeyPair:
    key = key or ec.generate_private_key(ec.SECP384R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(common))
        .issuer_name(issuer.certificate.subject if issuer else _name(common))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # An hour of slack: the verifier's clock may be behind ours.
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=ca_path is not None, path_length=ca_path), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            _usage(ca=True) if ca_path is not None else _usage(sign=True, repudiation=repudiation),
            critical=True,
        )
    )
    signing_key = issuer.key if issuer else key
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key()), critical=False
    )
    if eku:
        builder = builder.add_extension(x509.ExtendedKeyUsage(eku), critical=eku_critical)
    if policy:
        builder = builder.add_extension(
            x509.CertificatePolicies([x509.PolicyInformation(POLICY, None)]), critical=False
        )
    return KeyPair(key, builder.sign(signing_key, hashes.SHA384()))


@dataclass(frozen=True)
class _Elsewhere:
    """Stands where a private key would, and has only its public half."""

    key: Any

    def public_key(self) -> Any:
        return self.key


@dataclass(frozen=True)
class ClaimChain:
    """The root's private key is not kept: nothing more is ever signed with it."""

    leaf: KeyPair
    intermediate: x509.Certificate
    root: x509.Certificate


NEW_KEYS: dict[str, Callable[[], Any]] = {
    "es256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "es384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "es512": lambda: ec.generate_private_key(ec.SECP521R1()),
    "ps256": lambda: rsa.generate_private_key(65_537, 3072),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}


def make_claim_chain(
    now: dt.datetime, leaf_days: int = 365, *, algorithm: str = "es256", public_key: Any = None
) -> ClaimChain:
    """A development chain for claim signing: a leaf under a P-384 issuing CA under a P-384 root.

    ``public_key``: of a key that lies elsewhere, such as in a token; the leaf's pair then has no private key."""
    eku = [CLAIM_SIGNING, ExtendedKeyUsageOID.EMAIL_PROTECTION]
    root = _make("Filigrana development root", issuer=None, days=3650, now=now, ca_path=2)
    issuing = _make(
        "Filigrana development issuing CA",
        issuer=root,
        days=1825,
        now=now,
        ca_path=0,
        eku=eku,
    )
    leaf = _make(
        "Filigrana development claim signer",
        issuer=issuing,
        key=_Elsewhere(public_key) if public_key is not None else NEW_KEYS[algorithm](),
        days=leaf_days,
        now=now,
        eku=eku,
        repudiation=True,
        policy=True,
    )
    return ClaimChain(leaf, issuing.certificate, root.certificate)


def make_tsa_chain(now: dt.datetime, leaf_days: int = 365) -> tuple[KeyPair, x509.Certificate]:
    """A development time-stamp authority: (leaf, root), with a root that signs nothing else."""
    root = _make(
        "Filigrana development time-stamp root",
        issuer=None,
        days=3650,
        now=now,
        ca_path=0,
    )
    leaf = _make(
        "Filigrana development time-stamp authority",
        issuer=root,
        key=NEW_KEYS["es256"](),
        days=leaf_days,
        now=now,
        eku=[ExtendedKeyUsageOID.TIME_STAMPING],
        eku_critical=True,
    )
    return leaf, root.certificate
