"""Sessions of people on the pages: a random secret in a cookie, of which the database has a digest only.

A session is as good as the key that was shown for it: revoked, expired or erased, the key takes it along. It ends after
``session_hours``, an hour without use, or by signing out. Each sign-in is an entry of the audit log.
"""

from __future__ import annotations

import datetime as dt
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256

from sqlalchemy import delete

from ....provenance.log.canonical import time_text
from ....provenance.service_tables import WebSession
from ....provenance.vault import Vault
from ...access import Caller, Limits
from ...installation import Installation

IDLE = dt.timedelta(hours=1)
NOTED = dt.timedelta(minutes=1)
"""How old the note of the last use may get."""


@dataclass(frozen=True)
class Session:
    """Somebody who is signed in. ``csrf``: what each of their forms carries."""

    caller: Caller
    csrf: str

    def sent_by_them(self, token: str) -> bool:
        """Whether a form came from one of their own pages."""
        return hmac.compare_digest(self.csrf.encode(), token.encode("utf-8", "replace"))


class Sessions:
    """``clock``: default, the installation's."""

    def __init__(self, house: Installation, clock: Callable[[], dt.datetime] | None = None) -> None:
        self._house, self._clock = house, clock or house.clock

    def begin(self, caller: Caller, *, by_key: bool = True) -> str:
        """The cookie's secret of a new session. ``by_key``: the caller showed an API key; else somebody else vouches
        for them."""
        secret, now = secrets.token_urlsafe(32), self._clock()
        until = now + dt.timedelta(hours=self._house.settings.session_hours)
        row = WebSession(
            digest=_digest(secret), key_id=caller.key if by_key else None, tenant=caller.tenant,
            subject=caller.subject, scopes=sorted(caller.scopes), created_at=now, seen_at=now, expires_at=until,
        )  # fmt: skip
        with self._house.ledger.change() as change:
            change.session.add(row)
            entry = {"type": "access", "time": time_text(now), "act": "signed_in", "tenant": caller.tenant}
            entry |= {"key": caller.key} if by_key else {"by": "oidc"}
            change.append(entry | {"actor": Vault(change.session).actor(caller.subject)})
        return secret

    def find(self, secret: str) -> Session | None:
        """Whose session this is; None where it is over, or never was."""
        digest, now = _digest(secret), self._clock()
        with self._house.ledger.reading() as opened:
            row = opened.get(WebSession, digest)
        if row is None or row.expires_at <= now or row.seen_at + IDLE <= now:
            return None
        caller = self._caller(row)
        if caller is None:
            return None
        if row.seen_at + NOTED <= now:
            with self._house.ledger.change() as change:
                again = change.session.get(WebSession, digest)
                if again is not None:
                    again.seen_at = now
        return Session(caller, csrf_of(secret))

    def _caller(self, row: WebSession) -> Caller | None:
        if row.key_id is None:
            # Rates and numbers in flight are a person's: signing in once more is no new allowance.
            person = sha256(f"{row.tenant}/{row.subject}".encode()).hexdigest()[:11]
            return Caller(f"oidc:{person}", row.tenant, row.subject, frozenset(row.scopes), Limits())
        found = self._house.access.caller(row.key_id)
        # Neither more than the key may now, nor more than it might when it was shown.
        return None if found is None else replace(found, scopes=found.scopes & frozenset(row.scopes))

    def end(self, secret: str) -> None:
        """Signing out. One that is over is no error."""
        with self._house.ledger.change() as change:
            change.session.execute(delete(WebSession).where(WebSession.digest == _digest(secret)))


def csrf_of(secret: str) -> str:
    """Follows from the cookie, which no other site can read or set."""
    return hmac.new(secret.encode(), b"filigrana.csrf.v1", sha256).hexdigest()


def _digest(secret: str) -> bytes:
    return sha256(secret.encode("utf-8", "replace")).digest()
