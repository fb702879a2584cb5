"""Who may use the service: keys with scopes, of which only a digest is kept.

A key is ``fg_<id>_<secret>``: 12 letters and digits by which it is found, and 256 random bits that are shown once. What
becomes of keys is in the audit log, with neither secret nor name.
"""

from __future__ import annotations

import datetime as dt
import hmac
import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

from sqlalchemy import select

from ..errors import AccessError, InputError
from ..provenance.log.canonical import time_text
from ..provenance.service_tables import ApiKey
from ..provenance.vault import Vault
from .jobs.model import HIGHEST
from .ledger import Ledger
from .review_case import ACCOUNT, spelled

SCOPES = ("generate", "read", "review", "audit", "audit-all", "metrics", "admin")
ROLES = {
    "creator": ("generate", "read"),
    "reviewer": ("read", "review"),
    "auditor": ("read", "audit"),
    "supervisor": ("read", "audit", "audit-all"),
    "monitor": ("metrics",),
    "admin": SCOPES,
}
"""Names for sets of scopes; what a key holds are scopes."""
MOST_DAYS = 3650
_KEY = re.compile(r"fg_([0-9a-z]{12})_([A-Za-z0-9_-]{43})")
_LETTERS = "0123456789abcdefghijklmnopqrstuvwxyz"
_TENANT = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_NOBODYS = b"\x00" * 32


@dataclass(frozen=True)
class Limits:
    """What one key may use. ``rate``: requests a minute; ``in_flight``: jobs that have not ended; ``priority``: the
    highest that it may ask for. None: as the settings say for every key."""

    rate: float | None = None
    in_flight: int | None = None
    priority: int | None = None

    def __post_init__(self) -> None:
        if self.rate is not None and not 0 < self.rate <= 1e6:
            raise InputError("a rate has up to 1,000,000 requests a minute", code="input.rate")
        if self.in_flight is not None and not 0 <= self.in_flight <= 1_000_000:
            raise InputError("a key has 0 to 1,000,000 jobs in flight", code="input.in_flight")
        if self.priority is not None and not 0 <= self.priority <= HIGHEST:
            raise InputError(f"a priority goes from 0 to {HIGHEST}", code="input.priority")

    def as_dict(self) -> dict[str, Any]:
        """Those that are set."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Caller:
    """Who asks: a key's id, the tenant whose jobs it sees, the subject whose prompts are kept, what it may do, and how
    much of it."""

    key: str
    tenant: str
    subject: str
    scopes: frozenset[str]
    limits: Limits = Limits()

    def may(self, *scopes: str) -> bool:
        """Whether it has one of these scopes."""
        return not self.scopes.isdisjoint(scopes)


@dataclass(frozen=True)
class Key:
    """A key as a person may see it."""

    id: str
    tenant: str
    subject: str
    scopes: tuple[str, ...]
    created_at: dt.datetime
    expires_at: dt.datetime | None
    revoked_at: dt.datetime | None
    limits: Limits = Limits()

    def state(self, now: dt.datetime) -> str:
        """valid, expired or revoked."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "valid"


def scopes_of(names: Iterable[str]) -> tuple[str, ...]:
    """Scopes from names of scopes and roles, in their fixed order. Raises InputError."""
    wanted: set[str] = set()
    for name in names:
        if name not in ROLES and name not in SCOPES:
            raise InputError(
                "there is no such scope or role",
                code="input.scope",
                hint=f"Scopes: {', '.join(SCOPES)}. Roles: {', '.join(ROLES)}.",
            )
        # `admin` is both: the role has every scope, and so has the scope's holder.
        wanted |= set(ROLES.get(name, (name,)))
    if not wanted:
        raise InputError("a key needs a scope or a role", code="input.scope")
    return tuple(scope for scope in SCOPES if scope in wanted)


class ApiKeys:
    """The keys of an installation. ``clock``: default, the ledger's."""

    def __init__(self, ledger: Ledger, clock: Callable[[], dt.datetime] | None = None) -> None:
        self.ledger, self._clock = ledger, clock or ledger.clock

    def add(
        self,
        tenant: str,
        subject: str,
        scopes: Iterable[str],
        days: float | None = None,
        limits: Limits = Limits(),
    ) -> tuple[Key, str]:
        """A new key, and its secret text, which nobody can show again. ``days``: how long it is valid; None: until
        it is revoked."""
        if not _TENANT.fullmatch(tenant):
            raise InputError("a tenant is named with a-z, 0-9, `.`, `_` and `-`, 64 at most", code="input.tenant")
        if not 1 <= len(subject) <= 128 or "/" in subject or not subject.isprintable():
            raise InputError("a subject has 1 to 128 characters, and no `/`", code="input.subject")
        if spelled(subject).startswith(ACCOUNT):
            # Else its holder would count as another person than the account that is theirs.
            raise InputError(f"names that begin with `{ACCOUNT}` are those of accounts", code="input.subject")
        if days is not None and not 0 < days <= MOST_DAYS:
            raise InputError(f"a key is valid for up to {MOST_DAYS} days", code="input.days")
        now = self._clock()
        until = None if days is None else now + dt.timedelta(days=days)
        row, secret = _new(tenant, subject, scopes_of(scopes), until, now, limits)
        with self.ledger.change() as change:
            change.session.add(row)
            actor = Vault(change.session).actor(subject)
            change.append(_entry("added", row, actor, now) | _limited(limits))
        return _key(row), secret

    def rotate(self, key: str, grace: float = 0.0) -> tuple[Key, str]:
        """A new key for the same tenant, subject and scopes, valid for as long as the old one had been from its
        making; the old one stays valid for ``grace`` more seconds, but no longer than it was."""
        if not 0 <= grace <= 30 * 86_400:
            raise InputError("a grace period has 0 to 30 days", code="input.grace")
        now = self._clock()
        with self.ledger.change() as change:
            # Looked at under its lock: of two at once the second finds what the first made of it.
            old = change.session.get(ApiKey, key, with_for_update=True)
            if old is None:
                raise _unknown()
            found = _key(old)
            if found.state(now) != "valid":
                raise AccessError(f"this key is {found.state(now)}: add a new one", code="access.state")
            until = None if found.expires_at is None else now + (found.expires_at - found.created_at)
            row, secret = _new(found.tenant, found.subject, found.scopes, until, now, found.limits)
            change.session.add(row)
            last = now + dt.timedelta(seconds=grace)
            old.expires_at = last if old.expires_at is None else min(last, old.expires_at)
            actor = Vault(change.session).actor(row.subject)
            told = {"old": key, "until": time_text(old.expires_at)}
            change.append(_entry("rotated", row, actor, now) | _limited(found.limits) | told)
        return _key(row), secret

    def limit(self, key: str, limits: Limits) -> Key:
        """Sets what this key may use, from now on."""
        with self.ledger.change() as change:
            row = change.session.get(ApiKey, key, with_for_update=True)
            if row is None:
                raise _unknown()
            row.limits = limits.as_dict() or None
            now = self._clock()
            entry = _entry("limited", row, Vault(change.session).actor(row.subject), now)
            change.append(entry | {"limits": _plain(limits)})
            return _key(row)

    def revoke(self, key: str) -> Key:
        """The key is worth nothing from now on. Revoking it again changes nothing."""
        now = self._clock()
        with self.ledger.change() as change:
            row = change.session.get(ApiKey, key, with_for_update=True)
            if row is None:
                raise _unknown()
            if row.revoked_at is None:
                row.revoked_at = now
                actor = Vault(change.session).actor(row.subject)
                change.append(_entry("revoked", row, actor, now))
            return _key(row)

    def find(self, secret: str) -> Caller | None:
        """Who shows this; None for what is no key, or one that is unknown, expired or revoked. Takes the same time
        whichever it is that is wrong with a well-formed key."""
        shape = _KEY.fullmatch(secret)
        if shape is None:
            return None
        with self.ledger.reading() as opened:
            row = opened.get(ApiKey, shape[1])
        same = hmac.compare_digest(_digest(secret), _NOBODYS if row is None else row.digest)
        if not same or row is None or _key(row).state(self._clock()) != "valid":
            return None
        return _caller(row)

    def caller(self, key: str) -> Caller | None:
        """Whoever has this key, as long as it is valid: for those who showed it before."""
        with self.ledger.reading() as opened:
            row = opened.get(ApiKey, key)
        if row is None or _key(row).state(self._clock()) != "valid":
            return None
        return _caller(row)

    def get(self, key: str) -> Key:
        """The key with this id. Raises AccessError."""
        with self.ledger.reading() as opened:
            row = opened.get(ApiKey, key)
        if row is None:
            raise _unknown()
        return _key(row)

    def list(self, tenant: str | None = None) -> list[Key]:
        """All keys, the oldest first."""
        query = select(ApiKey).order_by(ApiKey.created_at, ApiKey.id)
        with self.ledger.reading() as opened:
            rows = opened.scalars(query if tenant is None else query.where(ApiKey.tenant == tenant))
            return [_key(row) for row in rows]


def _new(
    tenant: str, subject: str, scopes: tuple[str, ...], until: dt.datetime | None, now: dt.datetime, limits: Limits
) -> tuple[ApiKey, str]:
    """A row, and its secret."""
    ident = "".join(secrets.choice(_LETTERS) for _ in range(12))
    secret = f"fg_{ident}_{secrets.token_urlsafe(32)}"
    row = ApiKey(
        id=ident, digest=_digest(secret), tenant=tenant, subject=subject, scopes=list(scopes),
        created_at=now, expires_at=until, revoked_at=None, limits=limits.as_dict() or None,
    )  # fmt: skip
    return row, secret


def _limited(limits: Limits) -> dict[str, Any]:
    return {} if limits == Limits() else {"limits": _plain(limits)}


def _entry(act: str, row: ApiKey, actor: str, now: dt.datetime) -> dict[str, object]:
    return {
        "type": "access",
        "time": time_text(now),
        "act": act,
        "key": row.id,
        "tenant": row.tenant,
        "scopes": list(row.scopes),
        "actor": actor,
    }


def _digest(secret: str) -> bytes:
    return sha256(secret.encode()).digest()


def _key(row: ApiKey) -> Key:
    return Key(
        row.id, row.tenant, row.subject, tuple(row.scopes), row.created_at, row.expires_at, row.revoked_at,
        Limits(**(row.limits or {})),
    )  # fmt: skip


def _caller(row: ApiKey) -> Caller:
    return Caller(row.id, row.tenant, row.subject, frozenset(row.scopes), Limits(**(row.limits or {})))


def _plain(limits: Limits) -> dict[str, Any]:
    """For an entry, whose numbers are whole: a rate is told as text."""
    return {name: f"{value:g}" if name == "rate" else value for name, value in limits.as_dict().items()}


def _unknown() -> AccessError:
    return AccessError("there is no such key", code="access.unknown")
