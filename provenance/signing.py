"""Signing: from an encoded, labelled file to one with Content Credentials, and the port for whoever holds the key."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import c2pa
from cryptography import x509

from ..errors import FiligranaError, ManifestError, TimestampError
from .bounded import bounded
from .detached import sign_detached
from .manifest import component_label
from .signers.algorithms import Algorithm, algorithm_of, check_signature
from .trust import TrustLists, base_settings

_NATIVE: dict[Algorithm, Any] = {
    "es256": c2pa.C2paSigningAlg.ES256,
    "es384": c2pa.C2paSigningAlg.ES384,
    "es512": c2pa.C2paSigningAlg.ES512,
    "ps256": c2pa.C2paSigningAlg.PS256,
    "ed25519": c2pa.C2paSigningAlg.ED25519,
}
SIGNER_SECONDS = 30.0
"""How long a token or a key service may take for one signature."""


class Signer(Protocol):
    """Holds a claim-signing key: a file, a PKCS#11 token, a cloud KMS."""

    @property
    def chain_pem(self) -> str:
        """The certificate chain: leaf first, then intermediates, without the root."""

    def sign(self, data: bytes) -> bytes:
        """A signature over ``data`` by the leaf's key: DER for ECDSA, bare for RSA-PSS (SHA-256, salt of 32 bytes) and
        Ed25519. The leaf's key says which algorithm is meant (``signers.algorithm_of``)."""


def sign_file(
    source: Path,
    target: Path,
    mime: str,
    definition: dict[str, Any],
    signer: Signer,
    *,
    tsa_url: str,
    parent: tuple[Path, str] | None = None,
    components: Sequence[tuple[Path, str]] = (),
    trust: TrustLists | None = None,
    embed: bool = True,
    signer_seconds: float = SIGNER_SECONDS,
) -> bytes:
    """Writes ``source`` with credentials to ``target`` and returns the manifest store.

    ``components``: the same of what was put into it. ``trust``: by which the ingredients' own credentials are judged;
    how that came out is kept with them.
    ``embed``: False leaves the bytes as they are; the store then belongs into a sidecar (see ``sidecar``).
    ``signer_seconds``: how long the signer may take; a later answer, and one that is no signature by the leaf's key, is
    a ManifestError (``provenance.signer``).
    ``parent``: (path, MIME type) of the file that this one was made from; its own credentials are carried along.
    Content is not hashed again here: the caller reads the result back (see ``credentials``) before it counts.
    """
    if os.path.realpath(source) == os.path.realpath(target):
        # c2pa-rs would truncate the source to nothing.
        raise ManifestError("source and target of signing are the same file")
    failed: list[BaseException] = []
    leaf = _leaf(signer)

    def callback(data: bytes) -> bytes:
        try:
            answer = bounded(lambda: signer.sign(data), signer_seconds, "the signer")
            return check_signature(leaf, data, answer)
        except BaseException as error:
            failed.append(error)
            raise

    try:
        with ExitStack() as stack:
            settings = base_settings() if trust is None else trust.settings()
            context = stack.enter_context(c2pa.Context.from_dict(settings))
            native = stack.enter_context(
                c2pa.Signer.from_callback(callback, _NATIVE[algorithm_of(leaf)], signer.chain_pem, tsa_url)
            )
            builder = stack.enter_context(c2pa.Builder(definition, context=context))
            if parent is not None:
                told = {"title": "the file as it was received", "relationship": "parentOf", "label": "parent"}
                builder.add_ingredient_from_stream(told, parent[1], stack.enter_context(parent[0].open("rb")))
            for number, (path, kind) in enumerate(components):
                # No file's name: it may be a person's.
                told = {"title": f"part {number + 1}", "relationship": "componentOf", "label": component_label(number)}
                builder.add_ingredient_from_stream(told, kind, stack.enter_context(path.open("rb")))
            if not embed:
                _same_bytes(source, target)
                return sign_detached(builder, native, source)
            read, write = stack.enter_context(source.open("rb")), stack.enter_context(target.open("w+b"))
            store = bytes(builder.sign(native, mime, read, write))
            write.flush()
            os.fsync(write.fileno())
            return store
    except (c2pa.C2paError, OSError) as error:
        target.unlink(missing_ok=True)
        if failed:
            if isinstance(failed[0], ManifestError):
                raise failed[0] from error
            hint = failed[0].hint if isinstance(failed[0], FiligranaError) else ""
            raise ManifestError("the signing key did not sign", code="provenance.signer", hint=hint) from failed[0]
        if isinstance(error, OSError):
            raise ManifestError(
                f"the signed file could not be written: {error.strerror}", code="provenance.io"
            ) from error
        if _is_timestamp(str(error)):
            raise TimestampError("the time-stamp authority did not give a time-stamp") from error
        raise ManifestError(f"signing failed: {str(error)[:200]}") from error


def _leaf(signer: Signer) -> object:
    try:
        return x509.load_pem_x509_certificates(signer.chain_pem.encode())[0].public_key()
    except ValueError as error:
        raise ManifestError("the signer has no certificate chain", code="provenance.signer") from error


def _same_bytes(source: Path, target: Path) -> None:
    """A second name where the file system has them, since nothing writes to either; else a copy."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _is_timestamp(message: str) -> bool:
    """The time-stamp authority is the only host that signing asks, so a failed request is its failure too."""
    lowered = message.lower()
    return any(word in lowered for word in ("timestamp", "time stamp", "time-stamp", "http resolver"))
