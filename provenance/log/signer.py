"""Signing keys in files that only their owner may read: the log's, behind a port, and those of cosigners."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ...errors import KeyStoreError
from .note import NoteSigner, VerifierKey
from .signatures import ED25519_COSIGNATURE, MLDSA44_COSIGNATURE, mldsa, require_mldsa

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

LogSigner = NoteSigner
"""The port: ``name``, ``public_key`` (32 bytes) and ``sign(message) -> 64 bytes``."""

_NAME = "Log-Name: "
_COSIGNER = "Cosigner-Name: "  # another word, so that a log's key is never taken for a witness's
_BEGIN = "-----BEGIN PRIVATE KEY-----"


class Ed25519LogSigner:
    """A key file: one line with the log's name, then PKCS #8 in PEM (RFC 7468 allows text before it)."""

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        self._name = name
        self._key = key
        self._public = key.public_key().public_bytes_raw()
        self.verifier_key = VerifierKey(name, self._public)

    @property
    def name(self) -> str:
        return self._name

    @property
    def public_key(self) -> bytes:
        return self._public

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)

    def __repr__(self) -> str:
        return f"Ed25519LogSigner({str(self.verifier_key)!r})"

    @classmethod
    def create(cls, path: Path, name: str) -> Ed25519LogSigner:
        """A new key in a new file with mode 0600, whole or not there at all. Never overwrites
        (KeyStoreError).
        """
        signer = cls(name, Ed25519PrivateKey.generate())
        _write(path, f"{_NAME}{name}", signer._key)
        return signer

    @classmethod
    def load(cls, path: Path) -> Ed25519LogSigner:
        """Raises KeyStoreError when the file is missing, not such a key, or open to others than its owner."""
        name, key = _read(path, _NAME)
        if not isinstance(key, Ed25519PrivateKey):
            raise KeyStoreError("the log key is not an Ed25519 key")
        return cls(name, key)

    @classmethod
    def load_or_create(cls, path: Path, name: str) -> Ed25519LogSigner:
        """The key at ``path``, made with ``name`` when there is none; safe when several processes start at
        once.
        """
        if not path.exists():
            try:
                return cls.create(path, name)
            except KeyStoreError:
                if not path.exists():
                    raise
        return cls.load(path)


class CosignerKey:
    """A witness's key, or a log's own ML-DSA-44 key (then its name is the log's origin).

    The file is like a log key's, and says ``Cosigner-Name``. An Ed25519 key serves one name only: its
    cosignatures do not say whose they are.
    """

    def __init__(self, name: str, key: Ed25519PrivateKey | MLDSA44PrivateKey) -> None:
        self._key = key
        kind = ED25519_COSIGNATURE if isinstance(key, Ed25519PrivateKey) else MLDSA44_COSIGNATURE
        self.verifier_key = VerifierKey(name, key.public_key().public_bytes_raw(), kind)

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)

    def __repr__(self) -> str:
        return f"CosignerKey({self.verifier_key.name!r}, {self.verifier_key.key_id.hex()})"

    @classmethod
    def create(cls, path: Path, name: str, kind: int = MLDSA44_COSIGNATURE) -> CosignerKey:
        """A new key of type 0x04 or 0x06 in a new file with mode 0600, whole or not there at all.

        Never overwrites (KeyStoreError). Raises LogError (``log.mldsa``) where there is no ML-DSA-44.
        """
        if kind == MLDSA44_COSIGNATURE:
            require_mldsa()
            made = cls(name, mldsa.MLDSA44PrivateKey.generate())
        elif kind == ED25519_COSIGNATURE:
            made = cls(name, Ed25519PrivateKey.generate())
        else:
            raise KeyStoreError(f"cosigners have no keys of the type {kind:#04x}")
        _write(path, f"{_COSIGNER}{name}", made._key)
        return made

    @classmethod
    def load(cls, path: Path) -> CosignerKey:
        """Raises KeyStoreError when the file is missing, not such a key, or open to others than its owner."""
        name, key = _read(path, _COSIGNER)
        if isinstance(key, Ed25519PrivateKey) or (mldsa is not None and isinstance(key, mldsa.MLDSA44PrivateKey)):
            return cls(name, key)
        raise KeyStoreError("the cosigner key is neither an Ed25519 nor an ML-DSA-44 key")


def _write(path: Path, title: str, key: Ed25519PrivateKey | MLDSA44PrivateKey) -> None:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    what = _what(title)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(f"{title}\n".encode() + pem)
                file.flush()
                os.fsync(file.fileno())
            os.link(scratch, path)  # unlike a rename, fails when a key is already there
        finally:
            os.unlink(scratch)
    except FileExistsError:
        raise KeyStoreError(f"there is a {what} already; it is never overwritten") from None
    except OSError as error:
        raise KeyStoreError(f"the {what} could not be written: {error.strerror}") from error


def _read(path: Path, title: str) -> tuple[str, object]:
    """Name and private key."""
    what = _what(title)
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(65536).decode("utf-8")
    except OSError as error:
        raise KeyStoreError(f"the {what} could not be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise KeyStoreError(f"the {what} file is not a key in PEM") from None
    if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
        raise KeyStoreError(
            f"the {what} can be read by others than its owner",
            hint=f"Make it private (chmod 600 {path.name}), and replace it if others had access.",
        )
    head, begin, rest = text.partition(_BEGIN)
    if not begin or not head.startswith(title):
        raise KeyStoreError(f"the {what} file is not a named key in PEM")
    try:
        key = serialization.load_pem_private_key((begin + rest).encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeyStoreError(f"the {what} file is not a key in PEM that can be used here") from None
    return head[len(title) :].strip(), key


def _what(title: str) -> str:
    return "log key" if title.startswith(_NAME) else "cosigner key"
