"""Backup of one installation: database, keys, released files, and what waits.

The archive is a tar file: ``database/TABLE.jsonl`` (typed rows, whichever database they came from), ``files/…`` of the
data folder, and at its end ``manifest.json`` with the sha256 of every member. The log's guard is read before the
database, so that it never knows more than that; released files after it, so that none is missing that has a row. They
come out of the store, wherever that is; `restoring` puts them into the store of the place where it puts them back.
Written while the service runs.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
import tempfile
import time
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ..errors import BackupError, SafetyError
from ..provenance.database import HEAD, current_revision
from ..provenance.key_lock import reading
from ..provenance.tables import Asset, LogEntry
from .backup_rows import reading as rows_of
from .installation import Installation
from .register import FILE as REGISTER
from .register import Register
from .store import beside

if TYPE_CHECKING:
    from typing_extensions import Buffer

FORMAT = "filigrana.backup.v1"
LEFT_OUT = ("staging", "spool", "cache", "assets", "audit.db", "audit.db-wal", "audit.db-shm", "checkpoint.guard")
"""Of the data folder: what is being made now, uploads, copies, what comes out of the store, and the database, which is
taken as rows."""
_OF_REGISTER = (REGISTER, f"{REGISTER}-journal", f"{REGISTER}-wal", f"{REGISTER}-shm")
ASSETS = "files/assets/"
TABLES = "database/"
GUARD = "files/checkpoint.guard"
MANIFEST = "manifest.json"
_LATE = 10.0
"""Seconds in which a file appears whose row was committed just before."""


@dataclass(frozen=True)
class Report:
    """``file``: as it was asked for, or ``-`` for a stream. ``missing``: released files that have a row and were not
    there."""

    file: str
    entries: int
    assets: int
    files: int
    bytes: int
    missing: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"missing": list(self.missing)}


def backup(house: Installation, target: Path, *, assets: bool = True) -> Report:
    """Writes the archive, whole or not at all, readable by its owner alone: the keys are in it. ``assets``: False
    leaves out the released files, where the store keeps copies of its own."""
    if target.exists():
        raise BackupError(f"{target} is there already", code="backup.exists")
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as out:
            said = backup_into(house, out, target.parent, assets=assets)
            out.flush()
            os.fsync(out.fileno())
        os.replace(name, target)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise BackupError(f"the backup cannot be written: {error.strerror}") from error
        raise
    return replace(said, file=str(target))


def backup_into(house: Installation, out: IO[bytes], scratch: Path, *, assets: bool = True) -> Report:
    """Writes the archive into a stream, which need not be able to go back. One that ends early lacks the manifest, and
    is no backup. ``scratch``: a folder with room for each table's rows. Raises OSError where nothing more is taken."""
    folder, counted = house.folder, _Counting(out)
    with tarfile.open(fileobj=counted, mode="w|") as archive:
        kept = _Kept(archive, scratch)
        guard = folder / "checkpoint.guard"
        if guard.is_file():
            kept.add(GUARD, guard.read_bytes())
        entries, published = _database(house, kept)
        missing = _waited(house, published)
        with reading(house.keys.folder):  # a key, its chain and its root belong together
            for path in _files(house.keys.folder):
                kept.file(f"files/{path.relative_to(folder).as_posix()}", path)
        for path in _files(folder, without=(*LEFT_OUT, house.keys.folder.name, *_OF_REGISTER)):
            kept.file(f"files/{path.relative_to(folder).as_posix()}", path)
        _register(kept, folder / REGISTER)
        for asset in published if assets else ():
            _released(house, kept, asset)
        made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        said = {"format": FORMAT, "revision": HEAD, "made_at": made, "entries": entries, "members": kept.members}
        kept.add(MANIFEST, json.dumps(said, sort_keys=True).encode(), listed=False)
    return Report("-", entries, len(published), kept.count, counted.bytes, missing)


class _Counting(io.BufferedIOBase):
    """How much went into a stream."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self.bytes = stream, 0

    def write(self, block: Buffer, /) -> int:
        written = self._stream.write(block)
        self.bytes += written
        return written


class _Digesting:
    """Of just those bytes that were copied: what is written meanwhile must not make the digest another file's."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self.digest = stream, sha256()

    def read(self, size: int = -1, /) -> bytes:
        block = self._stream.read(size)
        self.digest.update(block)
        return block


class _Kept:
    """Writes members and remembers their digests."""

    def __init__(self, archive: tarfile.TarFile, folder: Path) -> None:
        """``folder``: where there is room for what becomes part of the archive."""
        self._archive, self.folder = archive, folder
        self.members: dict[str, str] = {}

    @property
    def count(self) -> int:
        return sum(1 for name in self.members if name.startswith("files/"))

    def add(self, name: str, data: bytes, *, listed: bool = True) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = len(data), 0o600, int(time.time())
        self._archive.addfile(info, io.BytesIO(data))
        if listed:
            self.members[name] = sha256(data).hexdigest()

    def file(self, name: str, path: Path) -> None:
        """One that vanished meanwhile is left out: what has a row was waited for."""
        try:
            with path.open("rb") as stream:
                self.stream(name, stream)
        except FileNotFoundError:
            return

    def stream(self, name: str, stream: IO[bytes]) -> None:
        """A file that is open, from its beginning; never all of it in memory."""
        stream.flush()
        stat = os.fstat(stream.fileno())
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = stat.st_size, stat.st_mode & 0o777, int(stat.st_mtime)
        stream.seek(0)
        copied = _Digesting(stream)
        self._archive.addfile(info, copied)
        self.members[name] = copied.digest.hexdigest()


def _register(kept: _Kept, path: Path) -> None:
    """The register of works as it is at one moment, though somebody may be writing to it. One that is damaged is taken
    as it lies there."""
    if not path.is_file():
        return
    with tempfile.TemporaryDirectory() as work:
        copy = Path(work) / REGISTER
        try:
            Register(path).copy_to(copy)
        except SafetyError:
            copy = path
        kept.file(f"files/{REGISTER}", copy)


def _database(house: Installation, kept: _Kept) -> tuple[int, list[str]]:
    """All tables as they are at one moment. How many entries the log has, and the names of released files."""
    engine = house.log.engine
    if current_revision(engine) != HEAD:
        raise BackupError("the database is of another version", code="backup.version")
    count, published = 0, []
    with rows_of(engine) as tables:
        for name, rows in tables:
            with tempfile.TemporaryFile(dir=kept.folder) as lines:
                for row in rows:
                    lines.write(json.dumps(row, ensure_ascii=True).encode() + b"\n")
                    count += name == LogEntry.__tablename__
                    if name == Asset.__tablename__ and row["public_name"] is not None:
                        published.append(str(row["public_name"]))
                kept.stream(f"{TABLES}{name}.jsonl", lines)
    return count, published


def _files(folder: Path, *, without: Collection[str] = ()) -> Iterator[Path]:
    """``without``: names in the folder itself. What is left out is not walked either: it can be large, and folders
    vanish there while the house works."""

    def failed(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    for at, folders, names in os.walk(folder, onerror=failed):
        if at == str(folder):
            folders[:], names = [[name for name in some if name not in without] for some in (folders, names)]
        folders.sort()
        for path in (Path(at, name) for name in sorted(names)):
            if path.is_file() and not path.is_symlink():
                yield path


def _waited(house: Installation, names: list[str]) -> tuple[str, ...]:
    """Released files that are still not there: their move to the public name follows the commit."""
    until = time.monotonic() + _LATE
    left = [name for name in names if not house.store.exists(name)]
    while left and time.monotonic() < until:
        time.sleep(0.1)
        left = [name for name in left if not house.store.exists(name)]
    return tuple(left)


def _released(house: Installation, kept: _Kept, name: str) -> None:
    """One released file and its sidecar, by way of this machine. What is not there was told of already."""
    for part in (name, beside(name)):
        try:
            if part == name or house.store.exists(part):
                kept.file(f"{ASSETS}{part}", house.store.fetched(part))
        except FileNotFoundError:
            continue
