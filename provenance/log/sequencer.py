"""The audit log on a database: append, read, prove, checkpoint, verify. One order for all who write.

Who assigns an index holds a lock until its transaction ends, so that indexes are dense and rows appear in
order: on SQLite the database's write lock (BEGIN IMMEDIATE), on PostgreSQL an advisory lock. Several processes
may write to one database (on PostgreSQL their appends share commits: :mod:`.leader`). An index is returned only
after the commit.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from ...errors import EntryError, LogError
from ..database import connect, migrate, reason, writer
from . import canonical
from .audit import verify_log
from .checkpoints import Checkpoints
from .cosignature import Cosigner
from .findings import LogReport
from .group import GroupCommit
from .leader import Leader
from .merkle import consistency_proof, inclusion_proof, verify_inclusion
from .note import Checkpoint, VerifierKey
from .proof import LogProof
from .rows import leaf_at, leaves, size_of
from .search import Query, search
from .signer import LogSigner
from .single import Single
from .tiles import Tail, TileReader

_APPEND = "SELECT filigrana_append(%s::bytea[])"
Noted = Callable[[Session, int, Mapping[str, Any]], None]
_TOGETHER = 1024  # entries of one `extend` that are committed at once


class LogTransaction:
    """The caller's rows and their log entries, committed together or not at all.

    ``session`` is an SQLAlchemy session. Append last: from the first append on, other writers wait.
    """

    def __init__(self, session: Session, log: AuditLog, noted: Noted | None = None) -> None:
        self.session = session
        self._log, self._noted = log, noted
        self._tail: Tail | None = None
        # What a savepoint took back must not be remembered as the edge of the tree.
        event.listen(session, "after_soft_rollback", self._forget)

    def _forget(self, _session: object, _previous: object) -> None:
        self._tail = None

    def append(self, entry: Mapping[str, Any]) -> int:
        """The index that ``entry`` has once this transaction commits. Raises EntryError, LogError.

        What the database says of the caller's own rows, which are written before it, comes as SQLAlchemy raises it.
        """
        leaf = canonical.encode(entry)
        self.session.flush()
        with self._log._writing():
            index = self._append([leaf])
            if self._noted is not None:
                self._noted(self.session, index, entry)
        return index

    def _append(self, leaves: Sequence[bytes]) -> int:
        connection = self.session.connection()
        if connection.dialect.name == "postgresql":
            return int(connection.exec_driver_sql(_APPEND, (list(leaves),)).scalar_one())
        first, self._tail = self._log._single.append(connection, leaves, self._tail)
        return first


class AuditLog:
    """A transparency log in an SQLite file or a PostgreSQL database; an empty database is created and
    migrated.

    ``signer``: signs checkpoints; without it the log can be read, appended to and verified. ``guard_path``: a
    file outside the database that remembers the last signed checkpoint. ``keys``: verifier keys (text form)
    to trust besides the signer's, such as retired ones. ``second``: the log's ML-DSA-44 key (under the log's own name),
    which signs checkpoints beside it. Safe for threads; do not carry it through a fork.
    """

    def __init__(
        self,
        database: str | Engine,
        *,
        signer: LogSigner | None = None,
        guard_path: Path | None = None,
        keys: Iterable[str] = (),
        second: Cosigner | None = None,
    ) -> None:
        self._signer = signer
        self._owned = not isinstance(database, Engine)
        self.engine = database if isinstance(database, Engine) else connect(database)
        migrate(self.engine)
        self.keys = tuple(VerifierKey.parse(key) for key in keys)
        if signer is not None:
            self.keys = (VerifierKey.of(signer), *self.keys)
        self._writer = writer(self.engine)
        self.second_key = None if second is None else second.verifier_key
        self._checkpoints = Checkpoints(self.engine, signer, guard_path, self.keys, second)
        self._single = Single(self._writer)
        postgres = self.engine.dialect.name == "postgresql"
        self._turn: AbstractContextManager[object] = nullcontext() if postgres else self._single.turn
        self._thread = threading.local()
        self._leader = Leader(self._writer)
        self._group = GroupCommit(self._leader.commit if postgres else self._single.commit)

    def append(self, entry: Mapping[str, Any]) -> int:
        """Writes ``entry`` and returns its index, after the commit; concurrent calls share commits.

        Raises EntryError before anything is written, LogError when the database refused (nothing was written
        then, unless the connection was lost during the commit).
        """
        self._not_nested()
        return self._group.submit((canonical.encode(entry),))

    def extend(self, entries: Iterable[Mapping[str, Any]]) -> range:
        """Writes many entries in order and returns their indexes; as :meth:`append`, with fewer commits.

        At most 1,024, which are committed together or not at all (EntryError for more).
        """
        self._not_nested()
        leaves = [canonical.encode(entry) for entry in entries]
        if len(leaves) > _TOGETHER:
            raise EntryError(f"{len(leaves)} entries at once; {_TOGETHER} are the most")
        first = self._group.submit(leaves) if leaves else self.size()
        return range(first, first + len(leaves))

    @contextmanager
    def transaction(self, noted: Noted | None = None) -> Iterator[LogTransaction]:
        """One transaction for the caller's rows and log entries: committed at the end, rolled back on
        exceptions. ``noted(session, index, entry)``: called after each append, to write rows about the entry.

        Errors of the caller's own statements come as SQLAlchemy raises them; a failing commit as LogError.
        On SQLite it holds the database's write lock from its start: keep it short, and do not nest it.
        """
        self._not_nested()
        with self._turn, Session(self._writer, expire_on_commit=False) as session:
            self._thread.inside = True
            try:
                with self._writing():
                    session.connection()
                transaction = LogTransaction(session, self, noted)
                yield transaction
                session.flush()
                try:
                    with self._writing():
                        session.commit()
                except LogError:
                    # SQLite may keep the transaction open after a failed COMMIT, and the pool would not know.
                    session.invalidate()
                    raise
                if transaction._tail is not None:
                    self._single.remember(transaction._tail)
            finally:
                self._thread.inside = False

    @property
    def signer(self) -> LogSigner:
        """The log's key. Raises LogError when this log was opened without one."""
        if self._signer is None:
            raise LogError("there is no log key to sign with", code="log.signer")
        return self._signer

    def size(self) -> int:
        """The number of entries."""
        with self._reading() as connection:
            return size_of(connection)

    def root(self) -> str:
        """The tree's root over all entries, in hex."""
        with self._reading() as connection:
            return TileReader(connection, size_of(connection)).root().hex()

    def leaf(self, index: int) -> bytes:
        """The canonical bytes of an entry: what its hash is over. Raises LogError when there is none."""
        with self._reading() as connection:
            return leaf_at(connection, index)

    def entry(self, index: int) -> dict[str, Any]:
        """One entry. Raises LogError when there is none, TamperError when its bytes are not an entry."""
        return canonical.decode(self.leaf(index))

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
        """``(index, entry)`` for ``start <= index < stop`` as of now, read in chunks in constant memory."""
        with self._reading() as connection:
            size = size_of(connection)
            for row in leaves(connection, start, size if stop is None else min(stop, size)):
                yield row.seq, canonical.decode(row.leaf)

    def search(self, query: Query, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
        """``(index, entry)`` of those in ``[start, stop)`` that match, in order and in constant memory."""
        with self._reading() as connection:
            yield from search(connection, query, start, stop)

    def has_checkpoint(self, key: VerifierKey) -> bool:
        """Whether a checkpoint signed with this key is stored."""
        return self._checkpoints.has_signed(key)

    def checkpoint(self) -> str:
        """The signed head of the log as of now. Refuses (TamperError) a tree inconsistent with the last
        signed.
        """
        self._not_nested()
        return self._checkpoints.sign_head()

    def adopt_guard(self, checkpoint: str) -> None:
        """Puts the guard file back from a checkpoint that was kept elsewhere.

        It must be ours, fit the log, and cover all that the guard or a stored checkpoint covers (TamperError).
        """
        self._checkpoints.adopt(checkpoint)

    def check_guard(self) -> None:
        """Raises LogError when a checkpoint could not be signed now because the guard file is gone."""
        if self._signer is not None:
            self._checkpoints.check_guard()

    def prove(self, index: int, *, embed_entry: bool = False) -> str:
        """A C2SP tlog-proof of the entry under the oldest stored checkpoint that covers it, or a new one.

        ``embed_entry`` puts the entry's bytes into the file, which then verifies by itself. Raises LogError
        when there is no such entry or no checkpoint can be signed, TamperError when the log does not fit its
        checkpoint.
        """
        self._not_nested()
        leaf = self.leaf(index)
        checkpoint, note = self._checkpoints.covering(index)
        with self._reading() as connection:
            path = inclusion_proof(index, checkpoint.size, TileReader(connection, checkpoint.size).node)
        verify_inclusion(sha256(b"\x00" + leaf).digest(), index, checkpoint.size, path, checkpoint.root)
        return str(LogProof(index, tuple(path), note, leaf if embed_entry else None))

    def root_at(self, size: int) -> str:
        """The root over the first ``size`` entries, in hex: for reports of what was, whatever came after it."""
        with self._reading() as connection:
            if not 0 <= size <= size_of(connection):
                raise LogError(f"the log has no {size} entries", code="log.index")
            return TileReader(connection, size).root().hex()

    def path(self, index: int, size: int) -> list[bytes]:
        """The inclusion proof (RFC 6962, 2.1.1) of an entry in the tree of the first ``size`` entries."""
        with self._reading() as connection:
            if not 0 <= index < size <= size_of(connection):
                raise LogError(f"the log has no proof of {index} in {size} entries", code="log.index")
            return inclusion_proof(index, size, TileReader(connection, size).node)

    def consistency(self, old: int, new: int) -> list[bytes]:
        """The proof (RFC 6962, 2.1.2) that the tree of ``new`` entries adds to that of ``old``: for witnesses.

        Empty when ``old`` is 0 or equals ``new``. Raises LogError unless ``old <= new <=`` the log's size.
        """
        with self._reading() as connection:
            if not 0 <= old <= new <= size_of(connection):
                raise LogError(f"the log has no proof from {old} to {new} entries", code="log.index")
            return consistency_proof(old, new, TileReader(connection, new).node)

    def verify(
        self,
        checkpoints: Iterable[str] | Mapping[str, str] = (),
        progress: Callable[[int, int], None] | None = None,
    ) -> LogReport:
        """Recomputes the whole log, in constant memory, against itself, its guard and outside
        ``checkpoints``.

        ``checkpoints``: notes, or notes by a name that the findings use. ``progress(done, total)`` is called now and
        then. Only checkpoints that the operator could not change
        show a history that was rewritten as a whole.
        """
        outside = checkpoints if isinstance(checkpoints, Mapping) else [*checkpoints]
        due = self._checkpoints.guard_is_due()  # in this order: a first checkpoint in between is none that lacks it
        guard = self._checkpoints.guard_note()
        missing = guard is None and due
        with self._reading() as connection:
            return verify_log(connection, self.keys, outside, guard, progress, guard_missing=missing)

    def export(self, stream: IO[str]) -> int:
        """JSON Lines: ``{"index", "leaf_hash", "entry"}`` for each entry, then ``{"checkpoint"}`` if one is
        signed.

        Returns the number of entries. ``entry`` stands as its canonical bytes, so the hash can be recomputed.
        """
        note, size = self.head()
        count = 0
        with self._reading() as connection:
            for row in leaves(connection, 0, size):
                entry = row.leaf.decode("utf-8")
                stream.write(f'{{"index":{row.seq},"leaf_hash":"{row.leaf_hash.hex()}","entry":{entry}}}\n')
                count += 1
        if note is not None:
            stream.write(json.dumps({"checkpoint": note}, ensure_ascii=False) + "\n")
        return count

    def head(self) -> tuple[str | None, int]:
        """A checkpoint for what is about to be read, and how many entries to read: those that it covers.

        Without a key, the latest stored one (or None), and all entries.
        """
        if not self._checkpoints.can_sign:
            return self._checkpoints.latest_note(), self.size()
        note = self.checkpoint()
        return note, Checkpoint.open(note, self.keys).size

    def rows(self, start: int, stop: int) -> Iterator[tuple[int, bytes, bytes, dict[str, Any]]]:
        """``(index, leaf hash, leaf, entry)`` in order. Raises TamperError at a row that is none."""
        with self._reading() as connection:
            for row in leaves(connection, start, stop):
                yield row.seq, row.leaf_hash, row.leaf, canonical.decode(row.leaf)

    def close(self) -> None:
        """Closes the connections that this log opened."""
        self._leader.close()
        if self._owned:
            self.engine.dispose()

    def __enter__(self) -> AuditLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _not_nested(self) -> None:
        """A thread that holds a transaction would wait for itself."""
        if getattr(self._thread, "inside", False):
            raise LogError(
                "inside a transaction of the log, only append to the transaction", code="log.nested", hint=""
            )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            raise LogError(f"the audit log cannot be written: {reason(error)}", code="log.write") from error

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with self.engine.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise LogError(f"the audit log cannot be read: {reason(error)}", code="log.read") from error
