"""Trust lists that a user has installed: the official C2PA lists, refreshed by `trust update FILE`.

A list is a PEM file of certificates. It is checked before it is kept, kept whole or not at all, and the one before it
stays beside it as `.old`, so that a bad list can be taken back.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import SettingsError
from .durable import write_file

Kind = Literal["claim", "tsa"]
MAX_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Listed:
    """One certificate of a list. ``not_after``: RFC 3339."""

    subject: str
    not_after: str
    sha256: str
    expired: bool
    authority: bool


@dataclass(frozen=True, slots=True)
class TrustUpdate:
    """What an update changed. ``added`` and ``removed``: subjects. ``digest``: SHA-256 of the list as kept."""

    kind: Kind
    count: int
    added: tuple[str, ...]
    removed: tuple[str, ...]
    digest: str


class TrustStore:
    """The folder of installed lists: ``claim.pem`` and ``tsa.pem``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, kind: Kind) -> Path:
        return self.folder / f"{kind}.pem"

    def pems(self, kind: Kind) -> list[str]:
        """The installed list, as one PEM text, or nothing. Raises SettingsError where it cannot be read."""
        path = self.path(kind)
        try:
            return [path.read_text("ascii")]
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"the installed trust list {path.name} cannot be read", code="settings.trust"
            ) from error

    def listed(self, kind: Kind, now: dt.datetime) -> list[Listed]:
        return [one for pem in self.pems(kind) for one in read_list(pem.encode("ascii"), now, expired=True)]

    def update(self, kind: Kind, data: bytes, now: dt.datetime) -> TrustUpdate:
        """Checks ``data`` and puts it in the place of the list before. Raises SettingsError for what is no list."""
        fresh = read_list(data, now)
        before = {one.sha256: one.subject for one in self.listed(kind, now)}
        after = {one.sha256: one.subject for one in fresh}
        target = self.path(kind)
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if target.exists():
                write_file(target.with_suffix(".pem.old"), target.read_bytes())
            write_file(target, data)
        except OSError as error:
            raise SettingsError(f"the trust list cannot be kept: {error.strerror}", code="settings.trust") from error
        return TrustUpdate(
            kind,
            len(fresh),
            tuple(subject for digest, subject in after.items() if digest not in before),
            tuple(subject for digest, subject in before.items() if digest not in after),
            hashlib.sha256(data).hexdigest(),
        )


def read_list(data: bytes, now: dt.datetime, *, expired: bool = False) -> list[Listed]:
    """The certificates of a PEM list. Raises SettingsError for what is none, or holds nothing that could be trusted:
    a list on which everything has expired would silently trust nobody (``expired`` lets it pass)."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    if len(data) > MAX_BYTES:
        raise _no_list("it is larger than 4 MiB")
    try:
        data.decode("ascii")
        certificates = x509.load_pem_x509_certificates(data)
    except ValueError as error:
        raise _no_list("it holds no PEM certificates") from error
    listed = []
    for certificate in certificates:
        try:
            basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
            authority = bool(basic.ca)
        except (x509.ExtensionNotFound, ValueError):
            authority = False
        listed.append(
            Listed(
                certificate.subject.rfc4514_string()[:300],
                certificate.not_valid_after_utc.isoformat(),
                certificate.fingerprint(hashes.SHA256()).hex(),
                certificate.not_valid_after_utc < now,
                authority,
            )
        )
    if not expired and all(one.expired for one in listed):
        raise _no_list("all its certificates have expired")
    return listed


def _no_list(why: str) -> SettingsError:
    return SettingsError(
        f"this is no trust list: {why}",
        code="settings.trust",
        hint="Expected: the PEM file of a C2PA trust list, as published by the C2PA or by your organisation.",
    )
