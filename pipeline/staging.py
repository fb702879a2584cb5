"""Where unreleased files lie: one private folder a request, locked by the process that works on it.

The lock goes with the process, however it dies; a folder whose lock is free belongs to nobody any more, and
`recover` ends its request: a released file whose publishing was cut short is published, everything else is removed.
What waits for a time-stamp lies in a second folder, ``pending``, and stays there for as long as its request waits; what
waits for people in a third, ``review`` (see `reviewing`).
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from ..errors import FiligranaError, ReleaseError
from ..provenance.sidecar import sidecar_of
from .ledger import Ledger
from .store import AssetStore, beside

_LOCK = "lock"
_GATE = ".gate"
FINISHED = "finished"
MAKING = ".new-"
"""What the name of a folder in ``pending`` begins with until it is whole."""


@dataclass(frozen=True)
class Recovered:
    """``published``: names whose publishing was completed. ``abandoned``: requests that were ended."""

    published: tuple[str, ...]
    abandoned: tuple[UUID, ...]


class Staging:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pending = folder.parent / "pending"
        self.review = folder.parent / "review"

    @contextmanager
    def open(self, intent: UUID, *, keep: Callable[[], bool] = lambda: False) -> Iterator[Path]:
        """A fresh folder for this request, removed at the end, unless it ends in an error and ``keep`` says that it
        holds what `recover` needs. Raises ReleaseError, with ``release.busy`` where somebody works on it."""
        work, made = self.folder / str(intent), False
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self._gate():
                work.mkdir(mode=0o700)
                made = True
                lock = os.open(work / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if made:
                shutil.rmtree(work, ignore_errors=True)
            elif work.is_dir():
                raise ReleaseError("somebody works on this request at this moment", code="release.busy") from error
            raise ReleaseError(
                f"there is no room to work in: {error.strerror}",
                code="release.staging",
                hint="Check free space and permissions of the data folder.",
            ) from error
        kept = False
        try:
            yield work
        except BaseException:
            kept = keep()
            raise
        finally:
            if not kept:
                # Removed while still locked, so that nobody else takes it for left over.
                shutil.rmtree(work, ignore_errors=True)
            os.close(lock)

    @contextmanager
    def _gate(self) -> Iterator[None]:
        """One process at a time: a folder that was made and is not locked yet must not look left over."""
        gate = os.open(self.folder / _GATE, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(gate, fcntl.LOCK_EX)
            yield
        finally:
            os.close(gate)

    def recover(self, ledger: Ledger, store: AssetStore) -> Recovered:
        """Ends what dead processes left. Safe beside living ones, and safe to be killed itself. Raises the first error
        that it met, once everything was tried."""
        published: list[str] = []
        abandoned: list[UUID] = []
        alive: set[UUID] = set()
        failed: list[FiligranaError] = []
        for work in sorted(self.folder.iterdir()) if self.folder.is_dir() else []:
            try:
                intent = UUID(work.name)
            except ValueError:
                continue
            with self._gate():
                lock = _try_lock(work)
            if lock is None:
                alive.add(intent)
                continue
            try:
                name = _finish(ledger, store, work, intent)
                if name is not None:
                    published.append(name)
                if _abandon(ledger, intent):
                    abandoned.append(intent)
                shutil.rmtree(work, ignore_errors=True)
            except FiligranaError as error:
                failed.append(error)  # what is wrong with one keeps no other from its end
            finally:
                os.close(lock)
        abandoned += [
            i
            for i in ledger.unfinished()
            if i not in alive and not (self.folder / str(i)).exists() and _abandon(ledger, i)
        ]
        self._forget_pending(ledger)
        if failed:
            raise failed[0]
        return Recovered(tuple(published), tuple(abandoned))

    def _forget_pending(self, ledger: Ledger) -> None:
        """Removes what lies in ``pending`` for a request that does not wait (any more): the hold was never committed,
        or it has ended. A folder of another database, whose request is not known here, is left alone."""
        try:
            found = sorted(self.pending.iterdir())
        except OSError:
            return
        for kept in found:
            try:
                intent = UUID(kept.name.removeprefix(MAKING))
            except ValueError:
                continue
            # In this order: whoever works on it has a folder here until what it does is committed.
            if (self.folder / str(intent)).exists():
                continue
            row = ledger.row(intent)
            if row is not None and (kept.name.startswith(MAKING) or ledger.waits(intent) is None):
                shutil.rmtree(kept, ignore_errors=True)


def _try_lock(work: Path) -> int | None:
    lock = -1
    try:
        lock = os.open(work / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever had it may have removed the folder meanwhile, and somebody else have made it anew: that one's lock is
        # another file.
        if os.path.samestat(os.fstat(lock), os.stat(work / _LOCK)):
            return lock
    except OSError:
        pass
    if lock >= 0:
        os.close(lock)
    return None


def _finish(ledger: Ledger, store: AssetStore, work: Path, intent: UUID) -> str | None:
    """Publishes a file whose release was committed and whose process died before the rename."""
    row = ledger.row(intent)
    if row is None or row.state != "released" or not row.result:
        return None
    name, staged = str(row.result["name"]), work / FINISHED
    if store.exists(name) or not staged.is_file():
        return None
    # As in the engine: nothing becomes public that no signed checkpoint covers, and no file without its sidecar.
    ledger.log.checkpoint()
    if (sidecar := sidecar_of(staged)) is not None and not store.exists(beside(name)):
        store.publish(sidecar, beside(name))
    store.publish(staged, name)
    return name


def _abandon(ledger: Ledger, intent: UUID) -> bool:
    if not ledger.is_unfinished(intent):
        return False
    try:
        ledger.close(intent, "abandoned", code="engine.interrupted")
    except FiligranaError:
        if ledger.is_unfinished(intent):
            raise
        return False  # another process was quicker
    return True
