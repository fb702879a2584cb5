"""Where the keys lie: a folder that only its owner may read, made at first use with development keys.

``claim.key`` + ``claim.pem`` (leaf, then issuing CA) sign manifests; ``claim-root.pem`` is what this installation
trusts; ``tsa.key`` + ``tsa.pem`` and ``tsa-root.pem`` are the loopback time-stamp authority; ``log.key`` signs
checkpoints. Replace the claim files by an organisation's own and the trust shown is `configured`, not `development`.
"""

from __future__ import annotations

import datetime as dt
import os
import stat
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from ..errors import KeyStoreError
from .certificates import KeyPair, make_claim_chain, make_tsa_chain
from .key_lock import alone, reading

_CLAIM, _TSA = ("claim.key", "claim.pem", "claim-root.pem"), ("tsa.key", "tsa.pem", "tsa-root.pem")


def write_private(path: Path, data: bytes) -> None:
    """Creates ``path`` readable by its owner alone, whole or not at all, and never over an existing file."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:  # mkstemp gives 0600
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(name, path)
        except FileExistsError as error:
            raise KeyStoreError(f"{path.name} exists already", code="provenance.keys.exists") from error
    finally:
        os.unlink(name)


def read_private(path: Path) -> bytes:
    """Reads a secret file, and refuses one that others may read."""
    try:
        mode = path.stat().st_mode
        if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise KeyStoreError(
                f"{path.name} can be read by other users",
                code="provenance.keys.permissions",
                hint=f"chmod 600 {path}",
            )
        return path.read_bytes()
    except OSError as error:
        raise KeyStoreError(f"{path.name} cannot be read: {error.strerror}") from error


@dataclass(frozen=True)
class SigningKey:
    """A key that signs claims. ``chain_pem``: leaf first, then intermediates, without the root."""

    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
    leaf: x509.Certificate
    chain_pem: str
    development: bool


@dataclass(frozen=True)
class TsaKey:
    pair: KeyPair
    root: x509.Certificate


class KeyStore:
    """The key folder. ``KeyStore(folder).ensure()`` makes what is missing; nothing existing is ever replaced."""

    def __init__(self, folder: Path, passphrase: Callable[[], bytes | None] = lambda: None) -> None:
        """``passphrase``: of an encrypted `claim.key`; asked for only when it is needed."""
        self.folder, self._passphrase = folder, passphrase

    def ensure(self, now: dt.datetime | None = None) -> list[str]:
        """Makes the development keys that are missing. Returns the names of the files it made."""
        now = now or dt.datetime.now(dt.UTC)
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if os.name == "posix":
                os.chmod(self.folder, 0o700)
            if not any(self._lacks(some) for some in (_CLAIM, _TSA)):
                return []
            with alone(self.folder):  # of several processes at their first start, one makes them
                return self._made(now)
        except OSError as error:
            raise KeyStoreError(
                f"the key folder cannot be written: {error.strerror}", hint="Choose another --data-dir."
            ) from error

    def _lacks(self, names: Iterable[str]) -> bool:
        return not any((self.folder / name).exists() for name in names)

    def _made(self, now: dt.datetime) -> list[str]:
        """A set appears whole: a kill in between leaves no root without its key, which nobody could make good."""
        from .rotation import finished, put

        finished(self.folder)
        made: dict[str, bytes] = {}
        if self._lacks(_CLAIM):
            chain = make_claim_chain(now)
            made["claim-root.pem"] = chain.root.public_bytes(serialization.Encoding.PEM)
            issuing = chain.intermediate.public_bytes(serialization.Encoding.PEM)
            made["claim.pem"] = chain.leaf.certificate_pem() + issuing
            made["claim.key"] = chain.leaf.key_pem()
        if self._lacks(_TSA):
            leaf, root = make_tsa_chain(now)
            made["tsa-root.pem"] = root.public_bytes(serialization.Encoding.PEM)
            made["tsa.pem"] = leaf.certificate_pem()
            made["tsa.key"] = leaf.key_pem()
        if made:
            put(self.folder, made)
        return list(made)

    def claim(self) -> SigningKey:
        with reading(self.folder):  # while somebody changes who signs, they would not belong together
            chain = self._certificates("claim.pem")
            key, root = self._key("claim.key", chain[0]), self.development_root()
        pem = "".join(c.public_bytes(serialization.Encoding.PEM).decode() for c in chain)
        return SigningKey(key, chain[0], pem, development=root is not None)

    def development_root(self) -> bytes | None:
        """The root that this installation made for itself, as PEM, or None where it was replaced."""
        with reading(self.folder):
            path = self.folder / "claim-root.pem"
            return read_private(path) if path.exists() else None

    def old_roots(self) -> list[bytes]:
        """Development roots of keys that signed here before: files of theirs stay trusted."""
        return [read_private(path) for path in sorted(self.folder.glob("old/*/claim-root.pem"))]

    def tsa(self) -> TsaKey:
        with reading(self.folder):
            leaf = self._certificates("tsa.pem")[0]
            key, root = self._key("tsa.key", leaf), self._certificates("tsa-root.pem")[0]
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise KeyStoreError("tsa.key is not an elliptic-curve key")
        return TsaKey(KeyPair(key, leaf), root)

    def tsa_root(self) -> bytes | None:
        path = self.folder / "tsa-root.pem"
        return read_private(path) if path.exists() else None

    def _certificates(self, name: str) -> list[x509.Certificate]:
        try:
            return x509.load_pem_x509_certificates(read_private(self.folder / name))
        except ValueError as error:
            raise KeyStoreError(f"{name} is not a PEM certificate chain") from error

    def _key(
        self, name: str, leaf: x509.Certificate
    ) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey:
        data = read_private(self.folder / name)
        secret = self._passphrase() if b"BEGIN ENCRYPTED" in data else None
        if secret is None and b"BEGIN ENCRYPTED" in data:
            raise KeyStoreError(
                f"{name} is encrypted, and there is no passphrase",
                code="provenance.keys.passphrase",
                hint="Set FILIGRANA_KEY_PASSPHRASE, or the setting key_passphrase_file.",
            )
        try:
            key = serialization.load_pem_private_key(data, password=secret)
        except (ValueError, TypeError) as error:
            code = "provenance.keys.passphrase" if secret is not None else "provenance.keys"
            told = "is not opened by this passphrase" if secret is not None else "is not a PEM private key"
            raise KeyStoreError(f"{name} {told}", code=code) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey):
            raise KeyStoreError(f"{name} is not a key that signs claims")
        if key.public_key() != leaf.public_key():
            raise KeyStoreError(f"{name} does not belong to its certificate")
        return key

    def chain_pem(self) -> str:
        """The chain in the key folder: leaf, then issuing CA."""
        chain = self._certificates("claim.pem")
        return "".join(c.public_bytes(serialization.Encoding.PEM).decode() for c in chain)
