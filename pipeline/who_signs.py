"""Whoever signs and stamps for an installation, as its settings say: signer, authorities, revocation check."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from cryptography import x509

from ..errors import ManifestError
from ..provenance.keys import KeyStore, read_private
from ..provenance.ocsp import RevocationCheck
from ..provenance.signers import SignerSource, open_signer
from ..provenance.signing import Signer
from ..provenance.stamping import Authorities, relay
from ..provenance.timestamps import loopback_tsa
from ..provenance.trust import TrustLists
from .settings import Settings


class WhoSigns:
    """``withdrawn``: whether a certificate, by its serial number, was revoked for all that is still to come.

    Each part is made once: a token's session is kept, and authorities remember who failed, until other lists are
    believed. ``trust``: asked for each time, since another process may change them."""

    def __init__(
        self,
        settings: Settings,
        keys: KeyStore,
        trust: Callable[[], TrustLists],
        clock: Callable[[], dt.datetime],
        withdrawn: Callable[[str], bool],
    ) -> None:
        self._settings, self._keys, self._trust, self._clock = settings, keys, trust, clock
        self._withdrawn = withdrawn
        self._signer: Signer | None = None
        self._authorities: tuple[str, Authorities] | None = None
        self._revocation: tuple[str, RevocationCheck] | None = None

    def signer(self) -> Signer:
        """Whoever signs claims. Raises SettingsError, KeyStoreError."""
        if self._signer is None or self._settings.signer == "file":
            # A token's PIN; a file's passphrase is asked for by the key folder.
            secret = passphrase(self._settings) if self._settings.signer != "file" else None
            text = None if secret is None else secret.decode()
            source = SignerSource(self._settings.signer, self._settings.claim_chain, text)
            self._signer = open_signer(source, self._keys)
        return self._signer

    def tsa(self) -> AbstractContextManager[str]:
        """The URL of somebody who gives time-stamps, while the block lasts."""
        return relay(self.authorities()) if self._settings.tsa_url else self._development_tsa()

    def authorities(self) -> Authorities:
        """The configured time-stamp authorities, in order."""
        pem = "".join(one.pem for one in self._trust().tsa)
        if self._authorities is None or self._authorities[0] != pem:
            roots = x509.load_pem_x509_certificates(pem.encode()) if pem else []
            urls, seconds = self._settings.tsa_url, self._settings.tsa_timeout
            self._authorities = (pem, Authorities(urls, roots, seconds=seconds, clock=self._clock))
        return self._authorities[1]

    @contextmanager
    def _development_tsa(self) -> Iterator[str]:
        with loopback_tsa(self._keys.tsa()) as url:
            yield url

    def may_sign(self) -> None:
        """Raises ManifestError where the certificate was withdrawn here (`keys revoke`), or where the setting `ocsp`
        says `check` and it is not known to be good."""
        leaf = x509.load_pem_x509_certificates(self.signer().chain_pem.encode())[0]
        if self._withdrawn(str(leaf.serial_number)):
            raise ManifestError(
                "the signing key was revoked here, and signs nothing more",
                code="provenance.signer.revoked",
                hint="Run `filigrana keys rotate` or `keys import`.",
            )
        if self._settings.ocsp == "off":
            return
        chain = self.signer().chain_pem
        if self._revocation is None or self._revocation[0] != chain:
            certificates = x509.load_pem_x509_certificates(chain.encode())
            self._revocation = (chain, RevocationCheck(certificates, url=self._settings.ocsp_url, clock=self._clock))
        self._revocation[1]()


def passphrase(settings: Settings) -> bytes | None:
    """Of an encrypted key file, or a token's PIN, from wherever the settings have it."""
    if settings.key_passphrase is not None:
        return settings.key_passphrase.get_secret_value().encode()
    file = settings.key_passphrase_file
    return None if file is None else read_private(file).rstrip(b"\r\n")
