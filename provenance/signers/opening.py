"""From the setting `signer` to whoever signs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from ...errors import KeyStoreError, SettingsError
from ..keys import KeyStore
from ..signing import Signer
from .file import FileSigner
from .kms import open_kms
from .pkcs11 import open_pkcs11


@dataclass(frozen=True)
class SignerSource:
    """``uri``: `file`, or a URI. ``chain``: PEM, leaf first; None for `claim.pem` of the key folder. ``secret``: the
    PIN of a token."""

    uri: str
    chain: Path | None = None
    secret: str | None = None


def open_signer(source: SignerSource, keys: KeyStore) -> Signer:
    """Raises SettingsError, KeyStoreError. A token or service is reached at the first signature only."""
    if source.uri == "file":
        if source.chain is not None:
            raise SettingsError("`claim_chain` goes with a signer that is not `file`", hint="Use `keys import`.")
        return FileSigner(keys.claim())
    chain = keys.chain_pem() if source.chain is None else _chain(source.chain)
    if source.uri.startswith("pkcs11:"):
        return open_pkcs11(source.uri, chain, source.secret)
    return open_kms(source.uri, chain)


def _chain(path: Path) -> str:
    try:
        text = path.read_text("ascii")
        x509.load_pem_x509_certificates(text.encode())
    except (OSError, ValueError) as error:
        raise KeyStoreError(f"{path.name} is not a PEM certificate chain") from error
    return text
