"""Changing who signs: rotation and import, each with its entry in the log."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from ..errors import KeyStoreError, SettingsError
from ..provenance.certificates import make_claim_chain
from ..provenance.keys import read_private
from ..provenance.lint import Problem, lint_chain
from ..provenance.log.canonical import time_text
from ..provenance.log.search import Query
from ..provenance.log.sequencer import AuditLog
from ..provenance.rotation import change_to_tell, install
from ..provenance.signers.algorithms import algorithm_of
from .installation import Installation

CHANGED = "signing-key"


@dataclass(frozen=True)
class Rekeyed:
    """``old`` and ``new``: SHA-256 of the leaves, in hex; ``old`` is None where there was none."""

    old: str | None
    new: str
    log_index: int
    development: bool


def rotate(house: Installation, algorithm: str = "es256") -> Rekeyed:
    """A new development chain. The old one goes to ``keys/old``, and its root stays trusted for files of its time."""
    _only_files(house)
    house.ensure_keys()
    chain = make_claim_chain(house.clock(), algorithm=algorithm)
    pem = serialization.Encoding.PEM
    files = {
        "claim-root.pem": chain.root.public_bytes(pem),
        "claim.pem": chain.leaf.certificate_pem() + chain.intermediate.public_bytes(pem),
        "claim.key": chain.leaf.key_pem(house.passphrase()),
    }
    return _changed(house, files, chain.leaf.certificate, "rotated")


def take_in(house: Installation, key: Path, chain: Path) -> tuple[Rekeyed, list[tuple[str, Problem]]]:
    """An organisation's own key and chain. Raises KeyStoreError where they do not belong together, or where the leaf
    is not valid now; what the profile finds besides is handed back."""
    _only_files(house)
    house.ensure_keys()
    try:
        certificates = x509.load_pem_x509_certificates(chain.read_bytes())
        data = read_private(key)
        secret = house.passphrase() if b"BEGIN ENCRYPTED" in data else None
        private: Any = serialization.load_pem_private_key(data, secret)
    except (OSError, ValueError, TypeError) as error:
        raise KeyStoreError("the key or the chain cannot be read: PEM is asked for") from error
    algorithm_of(private.public_key())
    if private.public_key() != certificates[0].public_key():
        raise KeyStoreError("the key does not belong to the first certificate of the chain")
    if not certificates[0].not_valid_before_utc <= house.clock() <= certificates[0].not_valid_after_utc:
        raise KeyStoreError("the certificate is not valid now")
    problems = lint_chain(certificates, now=house.clock())
    pem = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates)
    return _changed(house, {"claim.pem": pem, "claim.key": data}, certificates[0], "imported"), problems


def _only_files(house: Installation) -> None:
    if house.settings.signer != "file":
        raise SettingsError(
            "the signer is not a file: its keys are changed where they lie",
            hint="Change the settings `signer` and `claim_chain` together.",
        )


def _changed(house: Installation, files: dict[str, bytes], leaf: x509.Certificate, how: str) -> Rekeyed:
    new = leaf.fingerprint(hashes.SHA256()).hex()
    log = house.log  # open before: whoever opens it tells what a process before this one did not come to tell
    old = install(house.keys.folder, files, {"time": time_text(house.clock()), "how": how, "new": new})
    house.forget_signer()
    index = tell_change(house.keys.folder, log)
    if index is None:  # another process did
        index = max(index for index, entry in log.search(Query(type=CHANGED)) if entry["new"] == new)
    return Rekeyed(old, new, index, "claim-root.pem" in files)


def tell_change(folder: Path, log: AuditLog) -> int | None:
    """Writes down a change of the signing key that the log does not have yet. Returns the entry's index."""
    with change_to_tell(folder) as said:
        return None if said is None else log.append({"type": CHANGED, **said})
