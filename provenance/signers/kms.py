"""A key in AWS KMS, Google Cloud KMS, Azure Key Vault or HashiCorp Vault, through securesystemslib's signers.

The setting `signer` is securesystemslib's private key URI: ``awskms:KEY``, ``gcpkms:projects/…``, ``azurekms://…``,
``hv:NAME/VERSION`` (Ed25519), or ``file2:PATH`` (an unencrypted file, to try it without a cloud). Credentials are what
each cloud's client finds by itself. The public key is the certificate's, so a wrong chain is found out at the first
signature.

securesystemslib gives ECDSA signatures in DER whatever the service's own form is (Azure's and PKCS#11's is r and s side
by side), and hashes locally; RSA is PSS with SHA-256 and a salt of 32 bytes, as COSE asks.
"""

from __future__ import annotations

import threading
from importlib import import_module
from typing import Any

from cryptography import x509

from ...errors import ManifestError, SettingsError
from .algorithms import Algorithm, algorithm_of

_NAMES: dict[Algorithm, str] = {
    "es256": "ecdsa-sha2-nistp256",
    "es384": "ecdsa-sha2-nistp384",
    "es512": "ecdsa-sha2-nistp521",
    "ps256": "rsassa-pss-sha256",
    "ed25519": "ed25519",
}
_EXTRA = {"awskms": "awskms", "gcpkms": "gcpkms", "azurekms": "azurekms", "hv": "vault", "file2": "crypto"}


class KmsSigner:
    """The client is made at the first signature, which is inside the time limit of signing."""

    def __init__(self, uri: str, chain_pem: str) -> None:
        self._uri, self._chain = uri, chain_pem
        self._public: Any = x509.load_pem_x509_certificates(chain_pem.encode())[0].public_key()
        self._algorithm = algorithm_of(self._public)
        self._lock = threading.Lock()
        self._signer: Any = None

    @property
    def chain_pem(self) -> str:
        return self._chain

    @property
    def algorithm(self) -> Algorithm:
        return self._algorithm

    def sign(self, data: bytes) -> bytes:
        """Raises ManifestError where the service refuses or cannot be reached."""
        library: Any = import_module("securesystemslib.signer")
        with self._lock:
            try:
                if self._signer is None:
                    key = library.SSlibKey.from_crypto(self._public, scheme=_NAMES[self._algorithm])
                    self._signer = library.Signer.from_priv_key_uri(self._uri, key)
                return bytes.fromhex(self._signer.sign(data).signature)
            except Exception as error:  # four clouds' clients: whatever they throw, there is no signature
                self._signer = None
                extra = _EXTRA[self._uri.partition(":")[0]]
                raise ManifestError(
                    f"the key service did not sign ({type(error).__name__})",
                    code="provenance.signer",
                    hint=f"pip install 'securesystemslib[{extra}]', and check the credentials.",
                ) from error


def open_kms(uri: str, chain_pem: str) -> KmsSigner:
    """Raises SettingsError where securesystemslib is not installed."""
    try:
        import securesystemslib.signer  # noqa: F401  only whether it is there
    except ImportError:
        raise SettingsError("key services are not installed", hint="pip install 'filigrana[kms]'") from None
    return KmsSigner(uri, chain_pem)
