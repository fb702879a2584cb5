"""A model's signature after OpenSSF Model Signing 1.0: `model.sig`, a Sigstore bundle around a signed list of digests.

The bundle holds a DSSE envelope; its payload is an in-toto statement that names every file of the model with its
SHA-256. Signed by an elliptic-curve key (P-256, P-384, P-521), alone or with a chain of certificates. Signatures
without a key (Sigstore's identities) are recognised, and not checked here. Pure: no file is read, no clock asked.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import verification

from ...errors import GenerationError
from .pins import Difference, Pin, shown

MAX_BYTES = 16 << 20
_MEDIA = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://model_signing/signature/v1.0"
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}
_FULCIO = "1.3.6.1.4.1.57264.1."
_UNSIGNED = {".gitattributes", ".gitignore"}
_TO_READ = {".md", ".png", ".jpg", ".jpeg", ".webp", ".gif", ".mp4", ".pdf"}
"""What a signer may leave out: files that people look at, and nothing loads."""
REMEDY = (
    "Get the model again from who signed it. Only if you know why it differs: remove model.sig, and add --unsigned."
)


def refused(what: str, hint: str = REMEDY) -> GenerationError:
    """The error of everything that is wrong with a signature."""
    return GenerationError(f"the model's signature {what}", code="generate.signature", hint=hint)


@dataclass(frozen=True)
class Bundle:
    """A signature file, parsed; nothing of it is believed yet."""

    payload: bytes
    signature: bytes
    hint: str
    certificates: tuple[x509.Certificate, ...]
    keyless: bool
    """Whether a Sigstore identity signed: with a certificate of minutes that anybody with an account is given."""
    files: dict[str, str]
    ignored: tuple[str, ...]


@dataclass(frozen=True)
class Signer:
    """Whom to believe: one public key, or the certificates from which the signer's must descend. PEM, as it is kept."""

    public_key: str = ""
    certificates: str = ""

    @property
    def fingerprint(self) -> str:
        """The key's, as bundles name it; empty where certificates were given."""
        return fingerprint(load_key(self.public_key.encode())) if self.public_key else ""


def fingerprint(key: ec.EllipticCurvePublicKey) -> str:
    """SHA-256 of the key in PEM, in hex: what the bundle of the standard calls its hint."""
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(pem).hexdigest()


def load_key(pem: bytes) -> ec.EllipticCurvePublicKey:
    """A public key from PEM. Raises GenerationError."""
    hint = "Give the signer's public key as PEM (-----BEGIN PUBLIC KEY-----), on P-256, P-384 or P-521."
    try:
        key = serialization.load_pem_public_key(pem)
    except Exception as error:  # the parser raises several kinds, for bytes that anybody may have written
        raise GenerationError("the file holds no public key", code="generate.signature_key", hint=hint) from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _HASHES:
        raise GenerationError("the key is of a kind that signs no models", code="generate.signature_key", hint=hint)
    return key


def load_certificates(pem: bytes) -> list[x509.Certificate]:
    """Certificates from PEM. Raises GenerationError where there are none."""
    try:
        return x509.load_pem_x509_certificates(pem)
    except Exception as error:  # as above
        raise GenerationError(
            "the file holds no certificates", code="generate.signature_key", hint="Give them as PEM."
        ) from error


def parse(data: bytes) -> Bundle:
    """The bundle in ``data``. Raises GenerationError for whatever is not one that can be checked."""
    try:
        bundle = json.loads(data)
        if bundle["mediaType"] != _MEDIA:
            raise refused(f"is a bundle of another version: {str(bundle['mediaType'])[:80]!r}")
        envelope, material = bundle["dsseEnvelope"], bundle["verificationMaterial"]
        (signature,) = envelope["signatures"]
        if envelope["payloadType"] != _PAYLOAD:
            raise refused("signs something that is no in-toto statement")
        payload = base64.b64decode(envelope["payload"], validate=True)
        files, ignored = _statement(json.loads(payload))
        chain = material.get("x509CertificateChain", {}).get("certificates", [])
        chain = [*([material["certificate"]] if "certificate" in material else []), *chain]
        ders = [base64.b64decode(one["rawBytes"], validate=True) for one in chain]
        certificates = tuple(x509.load_der_x509_certificate(der) for der in ders)
        return Bundle(
            payload=payload,
            signature=base64.b64decode(signature["sig"], validate=True),
            hint=str(material.get("publicKey", {}).get("hint") or ""),
            certificates=certificates,
            keyless=bool(material.get("tlogEntries")) or _from_fulcio(certificates),
            files=files,
            ignored=ignored,
        )
    except GenerationError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, binascii.Error, RecursionError) as error:
        raise refused("cannot be read") from error


def _from_fulcio(certificates: tuple[x509.Certificate, ...]) -> bool:
    return bool(certificates) and any(one.oid.dotted_string.startswith(_FULCIO) for one in certificates[0].extensions)


def _statement(statement: Any) -> tuple[dict[str, str], tuple[str, ...]]:
    """The files with their digests, and what the signer left out on purpose."""
    if statement["_type"] != _STATEMENT or statement["predicateType"] != _PREDICATE:
        raise refused(f"is of a kind that is not read here: {str(statement['predicateType'])[:80]!r}")
    predicate = statement["predicate"]
    how = predicate["serialization"]
    if how["method"] != "files" or how["hash_type"] != "sha256":
        raise refused(
            f"lists {str(how['method'])[:20]!r} by {str(how['hash_type'])[:20]!r}, not files by SHA-256",
            "Ask for a signature made with the standard's default, or remove model.sig and add --unsigned.",
        )
    (subject,) = statement["subject"]
    files: dict[str, str] = {}
    whole = hashlib.sha256()
    for one in predicate["resources"]:
        name, value = one["name"], bytes.fromhex(one["digest"])
        path = PurePosixPath(name)
        if one["algorithm"] != "sha256" or len(value) != 32 or name in files:
            raise refused(f"lists {name[:200]!r} in a way that cannot be")
        if path.is_absolute() or ".." in path.parts or str(path) != name:
            raise refused(f"lists {name[:200]!r}, which is no place in a folder")
        files[name] = value.hex()
        whole.update(value)
    if not files or whole.hexdigest() != subject["digest"]["sha256"]:
        raise refused("contradicts itself: its digest of all is not that of its list")
    return files, tuple(str(path) for path in how.get("ignore_paths", []))


def covers(bundle: Bundle, pins: Iterable[Pin]) -> list[Difference]:
    """How the files that are there differ from those that are signed, by name; empty when they do not."""
    there = {one.path: one.sha256 for one in pins}
    found = [Difference(name, "missing") for name in bundle.files if name not in there]
    for name, sha256 in there.items():
        if name not in bundle.files:
            if not _may_be_unsigned(name, bundle.ignored):
                found.append(Difference(name, "additional"))
        elif bundle.files[name] != sha256:
            found.append(Difference(name, "changed"))
    return sorted(found, key=lambda one: one.file)


def _may_be_unsigned(name: str, ignored: Iterable[str]) -> bool:
    path = PurePosixPath(name)
    if name in _UNSIGNED or path.parts[0] == ".github":
        return True
    return path.suffix.lower() in _TO_READ and any(path.is_relative_to(PurePosixPath(one)) for one in ignored)


def check(bundle: Bundle, signer: Signer) -> str:
    """The fingerprint of the key that signed. Raises GenerationError where it is not one that ``signer`` believes."""
    if signer.public_key:
        key = load_key(signer.public_key.encode())
        if bundle.hint and bundle.hint != fingerprint(key):
            raise refused(f"is by another key than the one that was given ({shown(bundle.hint[:12])}…)")
    else:
        key = _certified(bundle, load_certificates(signer.certificates.encode()))
    try:
        key.verify(bundle.signature, _pae(bundle.payload), ec.ECDSA(_HASHES[key.curve.name]))
    except InvalidSignature as error:
        raise refused("is not by that key, or what it signs was changed") from error
    return fingerprint(key)


def _pae(payload: bytes) -> bytes:
    """What is signed in a DSSE envelope: the payload with its type and both lengths before it."""
    return b"DSSEv1 %d %s %d %s" % (len(_PAYLOAD), _PAYLOAD.encode(), len(payload), payload)


def _certified(bundle: Bundle, believed: list[x509.Certificate]) -> ec.EllipticCurvePublicKey:
    """The key of the signer's certificate, which must descend from one of ``believed``.

    As of the moment that certificate began, as the standard has it: such a bundle has no trusted time of its own.
    """
    if not bundle.certificates:
        raise refused("has no certificate", "It was made with a key alone: give that with --public-key.")
    if bundle.keyless:
        raise refused(
            "was made without a key, by a Sigstore identity; a chain of certificates cannot tell whose",
            "Add the model without --certificate-chain: it is then reported as signed, not checked.",
        )
    leaf, *others = bundle.certificates
    try:
        key = leaf.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise refused("is by a kind of key that signs no models") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _HASHES:
        raise refused("is by a kind of key that signs no models")
    policy = verification.PolicyBuilder().store(verification.Store(believed)).time(leaf.not_valid_before_utc)
    policy = policy.extension_policies(
        ca_policy=verification.ExtensionPolicy.webpki_defaults_ca(), ee_policy=verification.ExtensionPolicy.permit_all()
    )
    try:
        policy.build_client_verifier().verify(leaf, others)
    except (verification.VerificationError, ValueError) as error:
        raise refused("is by a certificate that does not descend from those that were given") from error
    if not _may_sign(leaf):
        raise refused("is by a certificate that is not for signing")
    return key


def _may_sign(leaf: x509.Certificate) -> bool:
    try:
        return leaf.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    except x509.ExtensionNotFound:
        pass
    try:
        used = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        return x509.oid.ExtendedKeyUsageOID.CODE_SIGNING in used
    except x509.ExtensionNotFound:
        return False
