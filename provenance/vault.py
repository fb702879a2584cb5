"""What must be kept but not told: keyed commitments to texts, and texts under keys that can be destroyed.

A commitment is HMAC-SHA256 under a tenant's key: the log carries it, and who holds the key can show later
that a given text is the one meant. A sealed text is AES-256-GCM under its subject's key; destroying that key
makes all of the subject's texts unreadable at once, in backups too, and is itself a log entry.
"""

from __future__ import annotations

import hmac
import secrets
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from ..errors import InputError, KeyStoreError, TamperError
from .tables import SealedText, SubjectKey, TenantKey, now

DEFAULT_TENANT = "default"
_SCHEME = "hmac-sha256"


class Vault:
    """Works in ``session`` (a writing one for everything but :meth:`check` and :meth:`open_text`); commits
    nothing.
    """

    def __init__(self, session: Session, tenant: str = DEFAULT_TENANT) -> None:
        self._session = session
        self._tenant = tenant

    def commit_text(self, text: str) -> str:
        """``hmac-sha256:<key id>:<64 hex digits>`` under the tenant's current key, which is made at first
        use.

        The text counts as it stands, in UTF-8: no normalisation, so that one commitment means one text.
        """
        key = self._current_key() or self.rotate()
        return _commitment(key, text)

    def check(self, text: str, commitment: str) -> bool:
        """Whether ``commitment`` is to ``text``. Raises KeyStoreError when its key is not here."""
        scheme, _, rest = commitment.partition(":")
        key_id, _, _ = rest.partition(":")
        key = self._session.get(TenantKey, key_id) if scheme == _SCHEME else None
        if key is None:
            raise KeyStoreError("the key of this commitment is not in the database", hint="")
        return hmac.compare_digest(_commitment(key, text).encode(), commitment.encode())

    def rotate(self) -> TenantKey:
        """A new current key for the tenant; the old ones stay, to check old commitments with."""
        key = TenantKey(id=secrets.token_hex(6), tenant=self._tenant, key=secrets.token_bytes(32), created_at=now())
        self._session.add(key)
        self._session.flush()
        return key

    def seal_text(self, subject: str, text: str, *, kind: str = "prompt", intent_id: UUID | None = None) -> UUID:
        """Keeps ``text`` encrypted under ``subject``'s key (made at first use). Returns the sealed text's id.

        Raises KeyStoreError when the subject was erased: nothing is collected again under that name.
        """
        key = self._subject_key(subject, create=True)
        identity, nonce = uuid4(), secrets.token_bytes(12)
        commitment = self.commit_text(text)
        bound = _bound(identity, subject, kind, commitment)
        self._session.add(
            SealedText(
                id=identity,
                subject=subject,
                intent_id=intent_id,
                kind=kind,
                nonce=nonce,
                ciphertext=AESGCM(key).encrypt(nonce, text.encode(), bound),
                commitment=commitment,
            )
        )
        self._session.flush()
        return identity

    def open_text(self, identity: UUID) -> str:
        """The sealed text. Raises InputError when there is none, KeyStoreError (``provenance.erased``) when
        its key was destroyed, TamperError when its row was changed."""
        row = self._session.get(SealedText, identity)
        if row is None:
            raise InputError("there is no such sealed text")
        key = self._subject_key(row.subject, create=False)
        bound = _bound(row.id, row.subject, row.kind, row.commitment)
        try:
            return AESGCM(key).decrypt(row.nonce, row.ciphertext, bound).decode()
        except InvalidTag:
            raise TamperError("a sealed text was changed", hint="") from None

    def texts_of_intent(self, intent_id: UUID) -> dict[str, UUID]:
        """The sealed texts of a request: kind -> id."""
        found = self._session.execute(select(SealedText.kind, SealedText.id).where(SealedText.intent_id == intent_id))
        return {row.kind: row.id for row in found}

    def erase(self, subject: str) -> dict[str, Any]:
        """Destroys the subject's key and returns the entry that the caller must append in the same
        transaction.

        The entry names the subject by commitment only. After the commit, :func:`.database.reclaim` removes
        the key from SQLite's write-ahead log. Raises InputError for an unknown subject.
        """
        self._session.flush()
        changed = self._session.execute(
            update(SubjectKey)
            .where(SubjectKey.subject == subject, SubjectKey.key.is_not(None))
            .values(key=None, destroyed_at=now())
            .returning(SubjectKey.subject)
        ).all()
        if not changed:
            raise InputError("there is nothing to erase for this subject", hint="")
        count = self._session.scalar(select(func.count()).select_from(SealedText).where(SealedText.subject == subject))
        return {"type": "erase", "subject": self.commit_text(subject), "texts": int(count or 0)}

    def _current_key(self) -> TenantKey | None:
        query = select(TenantKey).where(TenantKey.tenant == self._tenant)
        return self._session.scalar(query.order_by(TenantKey.created_at.desc(), TenantKey.id).limit(1))

    def _subject_key(self, subject: str, *, create: bool) -> bytes:
        row = self._session.get(SubjectKey, subject, populate_existing=True)
        if row is None and create:
            row = SubjectKey(subject=subject, key=secrets.token_bytes(32))
            self._session.add(row)
            self._session.flush()
        if row is None or row.key is None:
            raise KeyStoreError("the key of these texts was destroyed", code="provenance.erased", hint="")
        return row.key


def _commitment(key: TenantKey, text: str) -> str:
    return f"{_SCHEME}:{key.id}:{hmac.new(key.key, text.encode(), sha256).hexdigest()}"


def _bound(identity: UUID, subject: str, kind: str, commitment: str) -> bytes:
    """What the ciphertext is tied to: it cannot be moved to another row, subject or commitment."""
    return "\x00".join(("filigrana.text.v1", identity.hex, subject, kind, commitment)).encode()
