"""The log's signing key: a port, and the Ed25519 key in a file that only its owner may read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ...errors import KeyStoreError
from .note import NoteSigner, VerifierKey

LogSigner = NoteSigner
"""The port: ``name``, ``public_key`` (32 bytes) and ``sign(message) -> 64 bytes``."""

_NAME = "Log-Name: "
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
        pem = signer._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        scratch = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
        try:
            descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(f"{_NAME}{name}\n".encode() + pem)
                    file.flush()
                    os.fsync(file.fileno())
                os.link(scratch, path)  # unlike a rename, fails when a key is already there
            finally:
                os.unlink(scratch)
        except FileExistsError:
            raise KeyStoreError("there is a log key already; it is never overwritten") from None
        except OSError as error:
            raise KeyStoreError(f"the log key could not be written: {error.strerror}") from error
        return signer

    @classmethod
    def load(cls, path: Path) -> Ed25519LogSigner:
        """Raises KeyStoreError when the file is missing, not such a key, or open to others than its owner."""
        try:
            with path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                text = file.read(65536).decode("utf-8")
        except OSError as error:
            raise KeyStoreError(f"the log key could not be read: {error.strerror}") from error
        except UnicodeDecodeError:
            raise KeyStoreError("the log key file is not a key in PEM") from None
        if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
            raise KeyStoreError(
                "the log key can be read by others than its owner",
                hint=f"Make it private (chmod 600 {path.name}), and replace it if others had access.",
            )
        head, begin, rest = text.partition(_BEGIN)
        if not begin or not head.startswith(_NAME):
            raise KeyStoreError("the log key file is not a named key in PEM")
        try:
            key = serialization.load_pem_private_key((begin + rest).encode(), password=None)
        except (ValueError, TypeError):
            raise KeyStoreError("the log key file is not a key in PEM") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise KeyStoreError("the log key is not an Ed25519 key")
        return cls(head[len(_NAME) :].strip(), key)

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
