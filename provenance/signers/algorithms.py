"""The signature algorithms of C2PA claims (specification 2.4, section 13.2), and which key makes which."""

from __future__ import annotations

from typing import Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from ...errors import KeyStoreError, ManifestError

Algorithm = Literal["es256", "es384", "es512", "ps256", "ed25519"]
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

_CURVES: dict[str, Algorithm] = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
_DIGESTS: dict[Algorithm, hashes.HashAlgorithm] = {
    "es256": hashes.SHA256(),
    "es384": hashes.SHA384(),
    "es512": hashes.SHA512(),
    "ps256": hashes.SHA256(),
}
# RFC 8230, section 2: the salt is as long as the digest.
PSS = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)


def algorithm_of(key: object) -> Algorithm:
    """The algorithm of a public key. Raises KeyStoreError for keys that sign no claims."""
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
        return _CURVES[key.curve.name]
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= 2048:
        return "ps256"
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "ed25519"
    raise KeyStoreError(
        "this kind of key signs no claims",
        code="provenance.keys.algorithm",
        hint="Claims are signed with P-256, P-384, P-521, Ed25519, or RSA of 2048 bits at least.",
    )


def digest_of(algorithm: Algorithm, data: bytes) -> bytes:
    """What a token signs for this algorithm; Ed25519 signs the data itself."""
    if algorithm == "ed25519":
        return data
    context = hashes.Hash(_DIGESTS[algorithm])
    context.update(data)
    return context.finalize()


def sign_with(key: PrivateKey, data: bytes) -> bytes:
    """DER for ECDSA, the bare signature for RSA-PSS and Ed25519."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(data, ec.ECDSA(_DIGESTS[algorithm_of(key.public_key())]))
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, PSS, hashes.SHA256())
    return key.sign(data)


def der_of(raw: bytes) -> bytes:
    """The DER form of an ECDSA signature that a token gives as r and s side by side (IEEE P1363)."""
    if not raw or len(raw) % 2:
        raise ManifestError("the token gave no ECDSA signature", code="provenance.signer")
    half = len(raw) // 2
    return encode_dss_signature(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))


def check_signature(key: object, data: bytes, signature: object) -> bytes:
    """The signature, if it is one by this key over ``data``. Raises ManifestError: nothing else is ever handed on."""
    try:
        if not isinstance(signature, bytes):
            raise InvalidSignature
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, data, ec.ECDSA(_DIGESTS[algorithm_of(key)]))
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, data, PSS, hashes.SHA256())
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, data)
        else:
            raise InvalidSignature
    except (InvalidSignature, ValueError):
        raise ManifestError(
            "what the signer gave is no signature by the certificate's key",
            code="provenance.signer",
            hint="Does the setting `claim_chain` belong to this key?",
        ) from None
    return signature
