"""Signing the log's head, with a guard: what was signed once is never contradicted.

The guard is a file outside the database that holds the last signed checkpoint. Before anything is signed, the
tree must be shown to extend that checkpoint. The file is replaced (fsync, rename) before the checkpoint is
stored or returned, so a kill at any point leaves at worst a signature that nobody has seen, which the next
call completes.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, Engine, insert, select, text
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from ...errors import LogError, TamperError
from ..database import current_revision, reason, unopened, writer
from ..durable import write_file
from ..tables import LogCheckpoint
from .cosignature import Cosigner, cosign
from .merkle import consistency_proof, verify_consistency
from .note import Checkpoint, VerifierKey
from .rows import size_of
from .signer import LogSigner
from .tiles import TileReader

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows: one process at a time is up to the operator
    fcntl = None  # type: ignore[assignment]

_STORED = text("SELECT note FROM log_checkpoints WHERE size = :size AND verifier_key = :key")
_LATEST = text("SELECT note FROM log_checkpoints WHERE verifier_key = :key ORDER BY size DESC LIMIT 1")
_LATEST_OF_ANY = text("SELECT note FROM log_checkpoints ORDER BY size DESC LIMIT 1")
_NEWEST = 8
"""Several keys of one log sign one size: this many checkpoints are of several sizes."""
_COVERING = text(
    "SELECT size, note FROM log_checkpoints WHERE size > :index AND verifier_key = :key ORDER BY size LIMIT 1"
)


def signers(engine: Engine) -> set[str]:
    """The keys, as text, that signed the newest checkpoints in this database; empty where there is none. Raises
    SettingsError where it cannot be opened."""
    newest = select(LogCheckpoint.verifier_key).order_by(LogCheckpoint.size.desc()).limit(_NEWEST)
    try:
        if current_revision(engine) is None:
            return set()
        with engine.connect() as connection:
            return set(connection.execute(newest).scalars())
    except SQLAlchemyError as error:
        raise unopened(error) from error


class Head(NamedTuple):
    """Size and root of the tree."""

    size: int
    root: bytes


class Checkpoints:
    """Signs, stores and finds checkpoints. ``keys``: all that are trusted, the signer's first if there is
    one. ``second``: the log's own ML-DSA-44 key, whose line is added for readers of a day when Ed25519 is broken.
    """

    def __init__(
        self,
        engine: Engine,
        signer: LogSigner | None,
        guard: Path | None,
        keys: Sequence[VerifierKey],
        second: Cosigner | None = None,
    ) -> None:
        self._second = second
        self._engine = engine
        self._signer = signer
        self._guard = guard
        self._keys = tuple(keys)
        self._lock = threading.Lock()

    @property
    def can_sign(self) -> bool:
        return self._signer is not None

    def sign_head(self) -> str:
        """The signed note of the head. Raises TamperError when the log does not extend what was signed
        before.
        """
        signer = self._signer
        if signer is None:
            raise LogError("there is no log key to sign a checkpoint with", code="log.signer")
        with self._alone():
            last = self._last_signed(VerifierKey.of(signer))
            head = self._head_after(None if last is None else self._open(last))
            if last is not None and self._open(last).size == head.size:
                note = last
            else:
                note = Checkpoint(signer.name, *head).sign(signer)
                if self._second is not None:
                    note = cosign(note, self._second, 0)
                self._remember(note)
            self._store(note, head.size, VerifierKey.of(signer))
        return note

    def adopt(self, note: str) -> None:
        """Writes the guard from a checkpoint kept elsewhere, after the same checks that signing makes."""
        if self._guard is None:
            raise LogError("there is no guard file to write", code="log.guard")
        with self._alone():
            offered = self._open(note)
            self._head_after(offered)
            known = [held for held in (self.guard_note(), self._latest_own()) if held is not None]
            newest = max((self._open(held).size for held in known), default=0)
            if offered.size < newest:
                raise TamperError(
                    f"the checkpoint is over {offered.size} entries; {newest} were signed since, and the guard "
                    "must not forget them"
                )
            self._remember(note)

    def covering(self, index: int) -> tuple[Checkpoint, str]:
        """The oldest trusted stored checkpoint over entry ``index``, or a new one; and its note."""
        with self._reading() as connection:
            found = [
                row
                for key in self._keys
                for row in connection.execute(_COVERING, {"index": index, "key": str(key)}).all()
            ]
        note = min(found)[1] if found else self.sign_head()
        checkpoint = self._open(note)
        if checkpoint.size <= index:
            raise LogError(f"no checkpoint covers entry {index} yet", code="log.index")
        return checkpoint, note

    def has_signed(self, key: VerifierKey) -> bool:
        """Whether a note of this key is stored."""
        with self._reading() as connection:
            return connection.execute(_LATEST, {"key": str(key)}).first() is not None

    def latest_note(self) -> str | None:
        """The stored note over the most entries, whoever signed it; not verified."""
        with self._reading() as connection:
            return connection.execute(_LATEST_OF_ANY).scalar()

    def guard_note(self) -> str | None:
        """What the guard file holds; None without one."""
        if self._guard is None:
            return None
        try:
            return self._guard.read_bytes().decode("utf-8", "replace")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise LogError(f"the guard file cannot be read: {error.strerror}", code="log.guard") from error

    def check_guard(self) -> None:
        """Raises LogError when the guard file is gone though this key has signed."""
        if self.guard_is_due() and self.guard_note() is None:
            raise _gone()

    def guard_is_due(self) -> bool:
        """Whether there should be a guard file."""
        return self._guard is not None and self._latest_own() is not None

    def _latest_own(self) -> str | None:
        """The stored note of this log's own key over the most entries."""
        if self._signer is None:
            return None
        with self._reading() as connection:
            found: str | None = connection.execute(_LATEST, {"key": str(VerifierKey.of(self._signer))}).scalar()
        return found

    def _last_signed(self, key: VerifierKey) -> str | None:
        """The guard's note; without a guard, the database's. A vanished guard is not replaced unasked."""
        with self._reading() as connection:
            stored: str | None = connection.execute(_LATEST, {"key": str(key)}).scalar()
        if self._guard is None:
            return stored
        note = self.guard_note()
        if note is None and stored is not None:
            raise _gone()
        return note

    def _head_after(self, last: Checkpoint | None) -> Head:
        """Size and root of the log now, shown to extend ``last``."""
        with self._reading() as connection:
            tiles = TileReader(connection, size_of(connection))
            head = Head(tiles.size, tiles.root())
            if last is not None:
                if last.size > head.size:
                    raise TamperError(f"the log has {head.size} entries; {last.size} were signed")
                if tiles.root(last.size) != last.root:
                    raise TamperError(f"the first {last.size} entries of the log are not those that were signed")
                proof = consistency_proof(last.size, head.size, tiles.node)
                verify_consistency(last.size, last.root, head.size, head.root, proof)
        return head

    def _open(self, note: str) -> Checkpoint:
        try:
            return Checkpoint.open(note, self._keys)
        except LogError as error:
            raise TamperError(f"a checkpoint of the log is damaged or not ours: {error.message}") from error

    def _remember(self, note: str) -> None:
        if self._guard is None:
            return
        try:
            write_file(self._guard, note.encode(), 0o600)
        except OSError as error:
            raise LogError(f"the guard file cannot be written: {error.strerror}", code="log.guard") from error

    def _store(self, note: str, size: int, key: VerifierKey) -> None:
        row = {"size": size, "verifier_key": str(key), "note": note}
        try:
            with writer(self._engine).begin() as connection:
                if connection.execute(_STORED, {"size": size, "key": str(key)}).first() is None:
                    connection.execute(insert(LogCheckpoint), [row])
        except IntegrityError:
            pass  # another process signed the same head at the same moment: equal keys make equal notes
        except SQLAlchemyError as error:
            raise LogError(f"the checkpoint cannot be stored: {reason(error)}", code="log.write") from error

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with self._engine.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise LogError(f"the audit log cannot be read: {reason(error)}", code="log.read") from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One signer at a time: among the threads, and among the processes that share the guard file."""
        with self._lock:
            if self._guard is None or fcntl is None:
                yield
                return
            path = self._guard.with_name(self._guard.name + ".lock")
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            except OSError as error:
                raise LogError(f"the guard cannot be locked: {error.strerror}", code="log.guard") from error
            try:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
                except OSError as error:
                    raise LogError(f"the guard cannot be locked: {error.strerror}", code="log.guard") from error
                yield
            finally:
                # The lock first: a close that fails would keep it. Nothing was written, so nothing can be lost.
                with suppress(OSError):
                    fcntl.flock(descriptor, fcntl.LOCK_UN)
                with suppress(OSError):
                    os.close(descriptor)


def _gone() -> LogError:
    return LogError(
        "the guard file is missing, but this key has signed checkpoints of this log",
        code="log.guard",
        hint="Put the guard file back, or `filigrana audit adopt FILE` with a checkpoint kept outside the database.",
    )
