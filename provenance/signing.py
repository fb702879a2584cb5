"""Signing: from an encoded, labelled file to one with Content Credentials, and the port for whoever holds the key."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import c2pa
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from ..errors import ManifestError, TimestampError
from .keys import SigningKey
from .trust import base_settings


class Signer(Protocol):
    """Holds a claim-signing key: a file, a PKCS#11 token, a cloud KMS."""

    @property
    def chain_pem(self) -> str:
        """The certificate chain: leaf first, then intermediates, without the root."""

    def sign(self, data: bytes) -> bytes:
        """A DER-encoded ECDSA P-256 signature (ES256) over ``data``."""


class FileSigner:
    """Signs with a key from the key folder."""

    def __init__(self, key: SigningKey) -> None:
        self._key = key

    @property
    def chain_pem(self) -> str:
        return self._key.chain_pem

    def sign(self, data: bytes) -> bytes:
        return self._key.key.sign(data, ec.ECDSA(hashes.SHA256()))


def sign_file(
    source: Path,
    target: Path,
    mime: str,
    definition: dict[str, Any],
    signer: Signer,
    *,
    tsa_url: str,
    parent: tuple[Path, str] | None = None,
    embed: bool = True,
) -> bytes:
    """Writes ``source`` with credentials to ``target`` and returns the manifest store.

    ``embed``: False leaves the bytes as they are; the store then belongs into a sidecar (see ``sidecar``).
    ``parent``: (path, MIME type) of the file that this one was made from; its own credentials are carried along.
    Content is not hashed again here: the caller reads the result back (see ``credentials``) before it counts.
    """
    if os.path.realpath(source) == os.path.realpath(target):
        # c2pa-rs would truncate the source to nothing.
        raise ManifestError("source and target of signing are the same file")
    failed: list[BaseException] = []

    def callback(data: bytes) -> bytes:
        try:
            return signer.sign(data)
        except BaseException as error:
            failed.append(error)
            raise

    try:
        with ExitStack() as stack:
            context = stack.enter_context(c2pa.Context.from_dict(base_settings()))
            native = stack.enter_context(
                c2pa.Signer.from_callback(callback, c2pa.C2paSigningAlg.ES256, signer.chain_pem, tsa_url)
            )
            builder = stack.enter_context(c2pa.Builder(definition, context=context))
            if parent is not None:
                stream = stack.enter_context(parent[0].open("rb"))
                builder.add_ingredient_from_stream(
                    {"title": "the file as it was received", "relationship": "parentOf", "label": "parent"},
                    parent[1],
                    stream,
                )
            if not embed:
                builder.set_no_embed()
            read, write = stack.enter_context(source.open("rb")), stack.enter_context(target.open("w+b"))
            store = bytes(builder.sign(native, mime, read, write))
            write.flush()
            os.fsync(write.fileno())
            return store
    except (c2pa.C2paError, OSError) as error:
        target.unlink(missing_ok=True)
        if failed:
            raise ManifestError("the signing key did not sign", code="provenance.signer") from failed[0]
        if isinstance(error, OSError):
            raise ManifestError(
                f"the signed file could not be written: {error.strerror}", code="provenance.io"
            ) from error
        if _is_timestamp(str(error)):
            raise TimestampError("the time-stamp authority did not give a time-stamp") from error
        raise ManifestError(f"signing failed: {str(error)[:200]}") from error


def _is_timestamp(message: str) -> bool:
    """The time-stamp authority is the only host that signing asks, so a failed request is its failure too."""
    lowered = message.lower()
    return any(word in lowered for word in ("timestamp", "time stamp", "time-stamp", "http resolver"))
