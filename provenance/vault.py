"""What must be kept but not told: keyed commitments to texts, and texts under keys that can be destroyed.

A sealed text is AES-256-GCM under its subject's key. Its commitment, which the log carries, is HMAC-SHA256 under
a tenant's key over a random salt and the text; the salt lies sealed beside the text. While the text is kept, who
holds the keys can show that a given text is the one meant. Once the subject is erased nobody can, not even by
guessing: key, text and salt are gone (backups of the database keep what they have). Erasing is itself a log entry.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Collection
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import delete, exists, func, select
from sqlalchemy.orm import Session

from ..errors import InputError, KeyStoreError, TamperError
from .database import turn
from .service_tables import ApiKey, WebSession
from .tables import SealedText, SubjectKey, TenantKey, now

DEFAULT_TENANT = "default"
_SCHEME = "hmac-sha256"
_SALTED = "hmac-sha256.salted"
_SALT_BYTES = 16


class Sealed(NamedTuple):
    """A text that was sealed: its id in the database, and the commitment to it that may be told."""

    id: UUID
    commitment: str


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

        Without a salt: equal texts have equal commitments, and who has the key can test a guess. For what is sealed,
        :meth:`seal_text` commits with one. The text counts as it stands, in UTF-8: no normalisation.
        """
        key = self._key()
        return _commitment(_SCHEME, key, text.encode())

    def check(self, text: str, commitment: str) -> bool:
        """Whether ``commitment`` is to ``text``.

        Raises KeyStoreError when its key is not here, or (``provenance.erased``) when it was to a text whose subject
        was erased.
        """
        scheme, _, rest = commitment.partition(":")
        key_id, _, _ = rest.partition(":")
        key = self._session.get(TenantKey, key_id) if scheme in (_SCHEME, _SALTED) else None
        if key is None:
            raise KeyStoreError("the key of this commitment is not in the database", hint="")
        if scheme == _SCHEME:
            return hmac.compare_digest(_commitment(_SCHEME, key, text.encode()).encode(), commitment.encode())
        row = self._session.scalar(select(SealedText).where(SealedText.commitment == commitment).limit(1))
        if row is None:
            raise KeyStoreError("the text of this commitment is no longer kept", code="provenance.erased", hint="")
        salt, kept = self._opened(row)
        mine = _commitment(_SALTED, key, salt + text.encode())
        return kept == text and hmac.compare_digest(mine.encode(), commitment.encode())

    def actor(self, subject: str) -> str:
        """The name under which the log knows the subject: ``actor:<32 hex digits>``, the same for all its requests.

        It hangs on the subject's key (made at first use): once that is destroyed, nobody can tell whose it was.
        """
        return "actor:" + hmac.new(self._key_for(subject), b"filigrana.actor.v1", sha256).hexdigest()[:32]

    def known_actor(self, subject: str) -> str | None:
        """As :meth:`actor`, without making a key: None for who was never here, or was erased."""
        held = self._session.get(SubjectKey, subject)
        return None if held is None or held.key is None else self.actor(subject)

    def keeps(self, subject: str) -> bool:
        """Whether something may be kept under this name without making a key. Where it may, an erasure waits until
        this transaction has ended, and takes along what it keeps."""
        held = self._session.get(
            SubjectKey, subject, with_for_update={"read": True, "key_share": True}, populate_existing=True
        )
        return held is not None and held.key is not None

    def rotate(self) -> TenantKey:
        """A new current key for the tenant; the old ones stay, to check old commitments with."""
        key = TenantKey(id=secrets.token_hex(6), tenant=self._tenant, key=secrets.token_bytes(32), created_at=now())
        self._session.add(key)
        self._session.flush()
        return key

    def seal_text(self, subject: str, text: str, *, kind: str = "prompt", intent_id: UUID | None = None) -> Sealed:
        """Keeps ``text`` encrypted under ``subject``'s key (made at first use)."""
        key = self._key_for(subject)
        tenant = self._key()
        identity, nonce, salt = uuid4(), secrets.token_bytes(12), secrets.token_bytes(_SALT_BYTES)
        commitment = _commitment(_SALTED, tenant, salt + text.encode())
        bound = _bound(identity, kind, commitment)
        self._session.add(
            SealedText(
                id=identity,
                subject=subject,
                intent_id=intent_id,
                kind=kind,
                nonce=nonce,
                ciphertext=AESGCM(key).encrypt(nonce, salt + text.encode(), bound),
                commitment=commitment,
            )
        )
        self._session.flush()
        return Sealed(identity, commitment)

    def open_text(self, identity: UUID) -> str:
        """The sealed text. Raises KeyStoreError (``provenance.erased``) when there is none or its key was destroyed,
        TamperError when its row was changed."""
        row = self._session.get(SealedText, identity)
        if row is None:
            raise KeyStoreError("there is no such text, or it was erased", code="provenance.erased", hint="")
        return self._opened(row)[1]

    def _opened(self, row: SealedText) -> tuple[bytes, str]:
        """Salt and text. Texts that the first release sealed have no salt, and their subject's name in what binds
        them."""
        held = self._session.get(SubjectKey, row.subject, populate_existing=True)
        if held is None or held.key is None:
            raise KeyStoreError("the key of these texts was destroyed", code="provenance.erased", hint="")
        salted = row.commitment.startswith(f"{_SALTED}:")
        bound = _bound(row.id, row.kind, row.commitment, None if salted else row.subject)
        try:
            plain = AESGCM(held.key).decrypt(row.nonce, row.ciphertext, bound)
        except InvalidTag:
            raise TamperError("a sealed text was changed", hint="") from None
        salt, text = (plain[:_SALT_BYTES], plain[_SALT_BYTES:]) if salted else (b"", plain)
        return salt, text.decode()

    def texts_of_intent(self, intent_id: UUID) -> dict[str, UUID]:
        """The sealed texts of a request: kind -> id."""
        found = self._session.execute(select(SealedText.kind, SealedText.id).where(SealedText.intent_id == intent_id))
        return {row.kind: row.id for row in found}

    def erase(self, subject: str) -> dict[str, Any]:
        """Deletes the subject's key, name and texts, and returns the entry that the caller must append in the same
        transaction.

        The entry names the subject as the log knows it (:meth:`actor`), which from then on leads to nobody. Should
        the subject come back, it gets a new key and another name. After the commit, :func:`.database.reclaim` removes
        the rest of the key. Raises InputError for an unknown subject.
        """
        self._session.flush()
        held = self._session.get(SubjectKey, subject, with_for_update=True, populate_existing=True)
        if (held is None or held.key is None) and not self._comes_in(subject):
            raise InputError("there is nothing to erase for this subject", code="input.subject", hint="")
        actor = self.actor(subject)
        held = held or self._session.get_one(SubjectKey, subject)
        gone = self._session.execute(delete(SealedText).where(SealedText.subject == subject))
        # Who is gone can't come in any more, and the name goes with the keys.
        self._session.execute(delete(ApiKey).where(ApiKey.subject == subject))
        self._session.execute(delete(WebSession).where(WebSession.subject == subject))
        self._session.delete(held)
        self._session.flush()
        return {"type": "erase", "actor": actor, "texts": int(getattr(gone, "rowcount", 0))}

    def expire(self, before: datetime, keep: Collection[str] = ()) -> dict[str, Any] | None:
        """Deletes the texts that were sealed before ``before`` (aware), and keys of those of whom then nothing is kept.
        ``keep``: subjects of whom nothing is deleted.

        Returns the entry that the caller must append in the same transaction; None when there was nothing to delete.
        """
        self._session.flush()
        old = delete(SealedText).where(SealedText.created_at < before, SealedText.subject.not_in(keep))
        count = int(getattr(self._session.execute(old), "rowcount", 0))
        # Whoever may come in stays who they are, and can be erased: their name stands beside what lets them in.
        needed = (exists().where(table.subject == SubjectKey.subject) for table in (SealedText, ApiKey, WebSession))
        idle = select(SubjectKey.subject).where(
            SubjectKey.created_at < before, SubjectKey.subject.not_in(keep), *(~one for one in needed)
        )
        # A key that a request is using at this moment is left for the next time.
        names = self._session.scalars(idle.with_for_update(skip_locked=True)).all()
        for name in names:
            self._session.execute(delete(SubjectKey).where(SubjectKey.subject == name))
        if not count and not names:
            return None
        time = before.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        return {"type": "expire", "before": time, "texts": count, "keys": len(names)}

    def kept_before(self, before: datetime, keep: Collection[str] = ()) -> int:
        """How many texts :meth:`expire` would delete."""
        query = select(func.count()).select_from(SealedText)
        query = query.where(SealedText.created_at < before, SealedText.subject.not_in(keep))
        return int(self._session.scalar(query) or 0)

    def _comes_in(self, subject: str) -> bool:
        """Whether a name is kept although its key is gone, as older releases left it."""
        columns = (ApiKey.subject, WebSession.subject)
        return any(self._session.scalar(select(exists().where(column == subject))) for column in columns)

    def _key(self) -> TenantKey:
        """The current key. Whoever comes first makes it, and only one does: what was committed to with another one
        would not be known again."""
        found = self._current_key()
        if found is None:
            turn(self._session, f"tenant key {self._tenant}")
            found = self._current_key()
        return found or self.rotate()

    def _current_key(self) -> TenantKey | None:
        query = select(TenantKey).where(TenantKey.tenant == self._tenant)
        return self._session.scalar(query.order_by(TenantKey.created_at.desc(), TenantKey.id).limit(1))

    def _key_for(self, subject: str) -> bytes:
        row = self._session.get(SubjectKey, subject, populate_existing=True)
        if row is None:
            turn(self._session, f"subject {subject}")  # of two at once one makes it, and neither fails
            row = self._session.get(SubjectKey, subject, populate_existing=True)
        if row is None:
            row = SubjectKey(subject=subject, key=secrets.token_bytes(32))
            self._session.add(row)
            self._session.flush()
        if row.key is None:  # erased by the first release, which kept the name
            raise KeyStoreError("the key of these texts was destroyed", code="provenance.erased", hint="")
        return row.key


def _commitment(scheme: str, key: TenantKey, data: bytes) -> str:
    return f"{scheme}:{key.id}:{hmac.new(key.key, data, sha256).hexdigest()}"


def _bound(identity: UUID, kind: str, commitment: str, subject: str | None = None) -> bytes:
    """What the ciphertext is tied to: it cannot be moved to another row, kind or commitment."""
    owner = () if subject is None else (subject,)
    version = "filigrana.text.v2" if subject is None else "filigrana.text.v1"
    return "\x00".join((version, identity.hex, *owner, kind, commitment)).encode()
