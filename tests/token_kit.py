"""A SoftHSM2 token for one test: its own folder and configuration, keys made inside and never extractable."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from filigrana.provenance.certificates import ClaimChain, make_claim_chain

MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so")
PIN = "98765432"


@dataclass
class Token:
    module: str
    label: str

    def uri(self, name: str, **query: str) -> str:
        asked = "&".join(f"{key}={value}" for key, value in {"module-path": self.module, **query}.items())
        return f"pkcs11:token={self.label};object={name}?{asked}"

    def make(self, name: str, algorithm: str, now: Any) -> tuple[ClaimChain, str]:
        """A key pair in the token, and a development chain for it: (chain, PEM without the root)."""
        import pkcs11
        from pkcs11.util.ec import encode_named_curve_parameters

        token = pkcs11.lib(self.module).get_token(token_label=self.label)
        try:
            opened = token.open(rw=True, user_pin=PIN)
        except pkcs11.exceptions.UserAlreadyLoggedIn:
            opened = token.open(rw=True)
        with opened as session:
            kept = {pkcs11.Attribute.EXTRACTABLE: False, pkcs11.Attribute.SENSITIVE: True}
            if algorithm == "ps256":
                public, _ = session.generate_keypair(
                    pkcs11.KeyType.RSA, 2048, label=name, store=True, private_template=kept
                )
                numbers = rsa.RSAPublicNumbers(
                    int.from_bytes(public[pkcs11.Attribute.PUBLIC_EXPONENT], "big"),
                    int.from_bytes(public[pkcs11.Attribute.MODULUS], "big"),
                )
                key: Any = numbers.public_key()
            else:
                curve = {"es256": "secp256r1", "es384": "secp384r1", "es512": "secp521r1", "ed25519": "1.3.101.112"}
                kind = pkcs11.KeyType.EC_EDWARDS if algorithm == "ed25519" else pkcs11.KeyType.EC
                parameters = session.create_domain_parameters(
                    kind, {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters(curve[algorithm])}, local=True
                )
                public, _ = parameters.generate_keypair(label=name, store=True, private_template=kept)
                point = bytes(public[pkcs11.Attribute.EC_POINT])[2:]
                if algorithm == "ed25519":
                    key = ed25519.Ed25519PublicKey.from_public_bytes(point[-32:])
                else:
                    curves = {"es256": ec.SECP256R1(), "es384": ec.SECP384R1(), "es512": ec.SECP521R1()}
                    raw = point[point.index(4) :] if algorithm == "es512" else point
                    key = ec.EllipticCurvePublicKey.from_encoded_point(curves[algorithm], raw)
        chain = make_claim_chain(now, public_key=key)
        pem = chain.leaf.certificate_pem() + chain.intermediate.public_bytes(serialization.Encoding.PEM)
        assert x509.load_pem_x509_certificates(pem)[0].public_key() == key
        return chain, pem.decode()


def make_token(folder: Path, label: str) -> Token:
    """In the folder that SOFTHSM2_CONF names: SoftHSM reads it once a process, so every test shares one."""
    pytest.importorskip("pkcs11")
    module = next((path for path in MODULES if Path(path).exists()), None)
    if module is None:
        pytest.skip("needs softhsm2")
    subprocess.run(
        ["softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", "12345678", "--pin", PIN],
        check=True,
        capture_output=True,
        env=os.environ,
    )
    return Token(module, label)
