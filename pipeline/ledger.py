"""The outbox on the audit database: intent, decision, result, release, each row in one transaction with its entry.

A request's state only moves forward: open -> result -> released, or from open or result to refused, held, failed or
abandoned. `_advance` refuses any other move, so that a stage that comes back after its time-out, or a second process,
can release nothing. What is held for a time-stamp may go on from there: to result (again, if a process died in
between), and so to released, or to failed. What is held for a human may do so once enough people have approved it, and
not before: see `review`, which alone may end it otherwise.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from ..errors import KeyStoreError, LogError, ReleaseError
from ..provenance.by_request import note
from ..provenance.catalog import AssetRecord, Catalog, PreviewImage
from ..provenance.database import check_revision, reason, reclaim, session, turn
from ..provenance.identity import AssetId
from ..provenance.log.canonical import time_text
from ..provenance.log.sequencer import AuditLog, LogTransaction
from ..provenance.record import note_digest, signed_record
from ..provenance.tables import Intent, Review, SubjectKey
from ..provenance.vault import Vault
from .kept_back import KeptBack
from .request import WAITING

_FROM = {
    "result": ("open",),
    "released": ("result",),
    "refused": ("open", "result"),
    "held": ("open", "result"),
    "failed": ("open", "result"),
    "abandoned": ("open", "result"),
}
_FROM_WAITING = ("result", "failed")
"""What may become of a request that waits for a time-stamp, besides its release from `result`."""

_FROM_APPROVED = {
    "result": ("held", "result"),
    "released": ("result",),
    "refused": ("held", "result"),
    "held": ("held", "result"),
    "failed": ("held", "result"),
}
"""What may become of a request that was held for a human and approved. Interrupted, it stays what it is."""
_BY_PEOPLE = {"refused": ("held", "result"), "held": ("refused",)}
"""What people's decision makes of a request: rejected, or an appeal that was overturned."""


@dataclass(frozen=True)
class OpenIntent:
    id: UUID
    asset_id: AssetId
    actor: str
    commitments: dict[str, str]

    @property
    def prompt_commitment(self) -> str | None:
        return self.commitments.get("prompt")


@dataclass(frozen=True)
class Waiting:
    """A request that waits for its time-stamp. ``log_index``: of the entry that says so; ``pending``: the digest of the
    description that its files are held against."""

    intent: UUID
    asset_id: AssetId
    log_index: int
    pending: str


def _waiting(row: Intent | None) -> Waiting | None:
    held = (row.result or {}).get("held") if row is not None and row.state in ("held", "result") else None
    if row is None or row.asset_id is None or not isinstance(held, dict) or held.get("code") != WAITING:
        return None
    index, pending = held.get("log_index"), held.get("pending")
    if not isinstance(index, int) or not isinstance(pending, str):
        return None
    return Waiting(row.id, AssetId(row.asset_id), index, pending)


def waits_for_stamp(row: Intent) -> bool:
    return _waiting(row) is not None


class Ledger:
    """Writes what happened to a request. ``clock``: the time in UTC, which goes into every entry."""

    def __init__(self, log: AuditLog, clock: Callable[[], dt.datetime], node: str) -> None:
        self.log, self._clock, self.node = log, clock, node
        self.kept_back = KeptBack()

    def open(
        self, kind: str, request: dict[str, Any], *, texts: dict[str, str], subject: str, intent_id: UUID
    ) -> OpenIntent:
        """The intent, before any work. ``texts``: what must be kept but not told, such as the prompt: encrypted
        under the subject's key, and in the entry as a keyed commitment. Raises JobError, KeyStoreError where it is an
        attempt at a job that may not begin any more."""
        from .jobs.beginning import may_begin

        for attempt in range(3):
            try:
                with self._writing() as transaction:
                    check_revision(transaction.session)
                    may_begin(transaction.session, intent_id, subject)
                    asset_id = Catalog(transaction.session).draw_asset_id()
                    vault = Vault(transaction.session)
                    actor = vault.actor(subject)
                    row = {**request, "node": self.node}
                    transaction.session.add(
                        Intent(id=intent_id, asset_id=asset_id.value, kind=kind, state="open", request=row)
                    )
                    transaction.session.flush()
                    commitments = {
                        name: vault.seal_text(subject, text, kind=name, intent_id=intent_id).commitment
                        for name, text in texts.items()
                    }
                    transaction.append(
                        self._entry(
                            "intent", intent_id, kind=kind, actor=actor, request=request, commitments=commitments
                        )
                    )
                return OpenIntent(intent_id, asset_id, actor, commitments)
            except IntegrityError:
                if attempt == 2:
                    raise LogError("no free asset id could be reserved") from None
        raise LogError("no free asset id could be reserved")

    def keep_text(self, intent: UUID, subject: str, kind: str, text: str) -> str:
        """Keeps one more text of the request, encrypted. Returns its commitment. Raises KeyStoreError
        (``provenance.erased``) when its subject was erased meanwhile: it is not collected again."""
        with _reported("log.write"), _no_duplicates(), session(self.log.engine, write=True) as opened:
            if not Vault(opened).texts_of_intent(intent):
                raise KeyStoreError("the subject of this request was erased", code="provenance.erased", hint="")
            return Vault(opened).seal_text(subject, text, kind=kind, intent_id=intent).commitment

    def decided(self, intent: UUID, decision: dict[str, Any]) -> None:
        with self._writing() as transaction:
            transaction.append(self._entry("decision", intent, decision=decision))

    def close(self, intent: UUID, state: str, **details: Any) -> None:
        """Ends a request without a release: refused, held, failed or abandoned."""
        with _no_duplicates(), self._writing() as transaction:
            self._advance(transaction, intent, state, None)
            transaction.append(self._entry(state, intent, **details))

    def hold(self, intent: UUID, pending: str, **details: Any) -> int:
        """Ends a request for now: it is finished but for its time-stamp. ``pending``: the digest of what is kept for
        it. Returns the entry's index."""
        with _no_duplicates(), self._writing() as transaction:
            row = self._advance(transaction, intent, "held", None)
            index = transaction.append(self._entry("held", intent, code=WAITING, pending=pending, **details))
            row.result = {"held": {"code": WAITING, "pending": pending, "log_index": index}}
        return index

    def result(self, intent: UUID, result: dict[str, Any], entry: dict[str, Any]) -> None:
        """What was made and read back. ``result``: for recovery and replay; ``entry``: for the log."""
        with self._writing() as transaction:
            self._advance(transaction, intent, "result", result)
            transaction.append(self._entry("result", intent, **entry))

    def release(
        self,
        intent: UUID,
        record: Callable[[int], AssetRecord],
        *,
        manifests: dict[str, bytes],
        bindings: list[tuple[str, str]],
        preview: PreviewImage | None,
        entry: dict[str, Any],
        account: tuple[dict[str, Any], dict[str, Any]],
    ) -> int:
        """The release: state, catalog rows, decision record and log entry at once. Returns the entry's index.

        ``record``: makes the catalog row from that index. ``account``: the two parts of the decision record."""
        note = signed_record(*account, self.log.signer)
        entry = {**entry, "record": note_digest(note)}
        try:
            with self._writing() as transaction:
                self._advance(transaction, intent, "released", None)
                index = transaction.append(self._entry("release", intent, **entry))
                Catalog(transaction.session).add(
                    record(index), manifests=manifests, bindings=bindings, preview=preview, decision_record=note
                )
        except IntegrityError as error:
            raise ReleaseError("this asset was released before", code="release.twice") from error
        return index

    def erase(self, subject: str, keep_days: int = 0) -> tuple[int, dict[str, Any]]:
        """Destroys the subject's key and texts, and records that. Returns the entry and its index. Call
        :meth:`reclaim` after it. ``keep_days``: how long laws keep records of what went out unlabelled. Raises
        InputError where something of the subject must be kept: see :mod:`.subjects`."""
        from .subjects import may_erase

        self.look_back()
        with _no_duplicates(), self._writing() as transaction:
            transaction.session.get(SubjectKey, subject, with_for_update=True)
            may_erase(transaction.session, self.kept_back, subject, self._clock(), keep_days)
            entry = {**Vault(transaction.session).erase(subject), "time": self._time()}
            index = transaction.append(entry)
        return index, entry

    def look_back(self) -> None:
        """Reads who is kept back while nobody waits: in a transaction only the entries since then are left to read."""
        with self.reading() as rows:
            self.kept_back.look(rows.connection())

    def reclaim(self) -> bool:
        """Removes what the database's files still hold of deleted rows; False when some is left for the next time."""
        with _reported("log.write"):
            return reclaim(self.log.engine)

    def expire(
        self, before: dt.datetime, policy: dict[str, str], keep_days: int = 0
    ) -> tuple[int, dict[str, Any]] | None:
        """Deletes the texts from before that time, and records that; None when there are none. ``policy``: which
        pack's retention period this is. What must be kept stays (``keep_days``: as for :meth:`erase`)."""
        from .subjects import HOLDS, kept_subjects

        self.look_back()
        with _no_duplicates(), self._writing() as transaction:
            turn(transaction.session, HOLDS)  # who is held stays so until what goes is gone
            kept = kept_subjects(transaction.session, self.kept_back, self._clock(), keep_days)
            found = Vault(transaction.session).expire(before, kept)
            if found is None:
                return None
            entry = {**found, "time": self._time(), "policy": policy}
            index = transaction.append(entry)
        return index, entry

    def state(self, intent: UUID) -> str | None:
        with _reported("log.read"), session(self.log.engine) as opened:
            return opened.scalar(select(Intent.state).where(Intent.id == intent))

    def row(self, intent: UUID) -> Intent | None:
        with _reported("log.read"), session(self.log.engine) as opened:
            return opened.get(Intent, intent)

    def unfinished(self) -> list[UUID]:
        """Requests of this installation that neither ended nor were released, nor wait for a time-stamp."""
        rows = [row for row in self._mine("open", "result") if _waiting(row) is None]
        return [row.id for row in rows if not self._reviewed(row.id)]

    def is_unfinished(self, intent: UUID) -> bool:
        row = self.row(intent)
        waits = row is None or row.state not in ("open", "result") or _waiting(row) is not None
        return not waits and not self._reviewed(intent)

    def _reviewed(self, intent: UUID) -> bool:
        """Whether people had it before them: such a request can always go on where it was."""
        with _reported("log.read"), session(self.log.engine) as opened:
            return opened.get(Review, intent) is not None

    def waiting(self) -> list[Waiting]:
        """Requests of this installation that wait for a time-stamp, the oldest first."""
        return [found for row in self._mine("held", "result") if (found := _waiting(row)) is not None]

    def waits(self, intent: UUID) -> Waiting | None:
        """Whether this one does. A request that is held for a human does not."""
        return _waiting(self.row(intent))

    def texts_kept(self, intent: UUID) -> bool:
        """Whether the request's texts were neither erased nor deleted after their time."""
        with _reported("log.read"), session(self.log.engine) as opened:
            return bool(Vault(opened).texts_of_intent(intent))

    def _mine(self, *states: str) -> list[Intent]:
        with _reported("log.read"), session(self.log.engine) as opened:
            rows = opened.scalars(select(Intent).where(Intent.state.in_(states)).order_by(Intent.created_at))
            return [row for row in rows if row.request.get("node") == self.node]

    def _advance(
        self,
        transaction: LogTransaction,
        intent: UUID,
        state: str,
        result: dict[str, Any] | None,
        *,
        by_people: bool = False,
    ) -> Intent:
        row = transaction.session.get(Intent, intent, with_for_update=True)
        if row is None:
            raise ReleaseError("there is no such request", code="release.unknown")
        review = transaction.session.get(Review, intent, with_for_update=True)
        waits = _waiting(row) is not None
        if by_people:
            allowed = row.state in _BY_PEOPLE.get(state, ())
        elif review is not None and review.status != "approved":
            allowed = False
        elif waits and state != "released":
            allowed = state in _FROM_WAITING
        else:
            allowed = row.state in (_FROM if review is None else _FROM_APPROVED).get(state, ())
        if not allowed:
            raise ReleaseError(f"a request that is {row.state} cannot become {state}", code="release.state")
        if result is not None:
            row.result = {**result, "held": (row.result or {})["held"]} if waits else result
        row.state = state
        row.updated_at = self._clock()
        return row

    @property
    def clock(self) -> Callable[[], dt.datetime]:
        return self._clock

    def advance(self, transaction: LogTransaction, intent: UUID, state: str, *, by_people: bool = False) -> Intent:
        """Moves a request on within the caller's transaction, which must append the entry that says so. ``by_people``:
        a person's decision does. Raises ReleaseError (``release.state``) for a move that is not allowed."""
        return self._advance(transaction, intent, state, None, by_people=by_people)

    @contextmanager
    def change(self) -> Iterator[LogTransaction]:
        """A transaction of the caller's. What the database says against it comes as LogError."""
        with _no_duplicates(), self._writing() as transaction:
            yield transaction

    @contextmanager
    def reading(self) -> Iterator[Session]:
        with _reported("log.read"), session(self.log.engine) as opened:
            yield opened

    def _entry(self, type_: str, intent: UUID, **fields: Any) -> dict[str, Any]:
        return {"type": type_, "time": self._time(), "intent": str(intent), **fields}

    def _time(self) -> str:
        return time_text(self._clock())

    @contextmanager
    def _writing(self) -> Iterator[LogTransaction]:
        with _reported("log.write"), self.log.transaction(note) as transaction:
            yield transaction


@contextmanager
def _reported(code: str) -> Iterator[None]:
    """What the database says becomes a LogError; a row that exists already stays an IntegrityError."""
    try:
        yield
    except IntegrityError:
        raise
    except SQLAlchemyError as error:
        raise LogError(f"the audit database refused: {reason(error)}", code=code) from error


@contextmanager
def _no_duplicates() -> Iterator[None]:
    """Where two at once can only be in each other's way. The database's words about it would tell names."""
    try:
        yield
    except IntegrityError:
        raise LogError("another request changed the same rows at this moment: try again", code="log.write") from None


def new_intent_id() -> UUID:
    return uuid4()
