"""Backup and restore of one installation: database, keys, released files, and what waits.

The archive is a tar file: ``database/TABLE.jsonl`` (typed rows, whichever database they came from), ``files/…`` of the
data folder, and at its end ``manifest.json`` with the sha256 of every member. The log's guard is read before the
database, so that it never knows more than that; released files after it, so that none is missing that has a row. They
come out of the store, wherever that is, and are put into the store of the place that they are restored to.
Written while the service runs.
"""

from __future__ import annotations

import base64
import datetime as dt
import io
import json
import os
import tarfile
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import IO, Any
from uuid import UUID

from sqlalchemy import Connection, insert, select, text
from sqlalchemy.sql.schema import Table

from ..errors import ReleaseError, SafetyError, SettingsError
from ..provenance.database import HEAD, current_revision, migrate, writer
from ..provenance.key_lock import reading
from ..provenance.sidecar import SUFFIX
from ..provenance.tables import Asset, Base
from .installation import Installation
from .register import FILE as REGISTER
from .register import Register
from .store import beside

FORMAT = "filigrana.backup.v1"
LEFT_OUT = ("staging", "spool", "cache", "assets", "audit.db", "audit.db-wal", "audit.db-shm", "checkpoint.guard")
"""Of the data folder: what is being made now, uploads, copies, what comes out of the store, and the database, which is
taken as rows."""
_OF_REGISTER = (REGISTER, f"{REGISTER}-journal", f"{REGISTER}-wal", f"{REGISTER}-shm")
ASSETS = "files/assets/"
GUARD = "files/checkpoint.guard"
_MANIFEST = "manifest.json"
_ROWS = 500
_LATE = 10.0
"""Seconds in which a file appears whose row was committed just before."""


class BackupError(ReleaseError):
    """A backup that cannot be made, read or put back. Nothing was changed."""

    code = "backup.failed"
    hint = ""


@dataclass(frozen=True)
class Report:
    """``missing``: released files that have a row and were not there."""

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
    log, folder = house.log, house.folder
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as out, tarfile.open(fileobj=out, mode="w") as archive:
            kept = _Kept(archive)
            guard = folder / "checkpoint.guard"
            if guard.is_file():
                kept.add(GUARD, guard.read_bytes())
            entries, published = _database(log.engine, kept)
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
            kept.add(_MANIFEST, json.dumps(said, sort_keys=True).encode(), listed=False)
            out.flush()
            os.fsync(out.fileno())
        os.replace(name, target)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise BackupError(f"the backup cannot be written: {error.strerror}") from error
        raise
    return Report(str(target), entries, len(published), kept.count, target.stat().st_size, missing)


def restore(house: Installation, source: Path) -> Report:
    """Puts everything back into an empty data folder and an empty database. Looks through all of the archive first.
    Raises BackupError, SettingsError."""
    said = _checked(source)
    folder = house.folder
    if folder.exists() and any(folder.iterdir()):
        raise BackupError(f"the data folder {folder} is not empty", code="backup.occupied")
    if said["revision"] != HEAD:
        raise SettingsError(
            f"this backup is of schema {said['revision']}, and this version has {HEAD}",
            code="backup.version",
            hint="Restore it with the version that made it; the next one then brings it up to date.",
        )
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    left_out: list[str] = []
    with tarfile.open(source) as archive:
        known = _known(archive)
        for member in archive:
            if member.name.startswith(ASSETS):
                name = member.name.removeprefix(ASSETS)
                if name in known:
                    _publish(house, archive, member, name)
                else:
                    left_out.append(name)
            elif member.name.startswith("files/"):
                _unpack(archive, member, folder)
        # The key is there by now: the log opens with it, and makes its tables.
        engine = house.log.engine
        if house.log.size():
            raise BackupError("the database is not empty", code="backup.occupied")
        migrate(engine)
        _put_back(engine, archive)
    report = house.log.verify()
    if not report.ok or report.entries != said["entries"]:
        raise BackupError("what was put back is not the log that was saved", code="backup.log")
    size = sum(1 for name in said["members"] if name.startswith("files/"))
    assets = sum(1 for name in said["members"] if name.startswith(ASSETS) and not name.endswith(SUFFIX))
    return Report(str(source), report.entries, assets, size, source.stat().st_size, tuple(left_out))


def _checked(source: Path) -> dict[str, Any]:
    """The manifest, after every member was held against it. Raises BackupError."""
    found: dict[str, str] = {}
    said: dict[str, Any] = {}
    try:
        with tarfile.open(source) as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                stream = archive.extractfile(member) if member.isfile() else None
                if stream is None or name.is_absolute() or ".." in name.parts or member.name in found:
                    raise BackupError("the archive holds what no backup has", code="backup.format")
                if member.name == _MANIFEST:
                    said = json.loads(stream.read(256 << 20))
                else:
                    found[member.name] = _digest(stream)
    except (OSError, tarfile.TarError, ValueError) as error:
        raise BackupError("this is no backup, or a damaged one", code="backup.format") from error
    if said.get("format") != FORMAT or not isinstance(said.get("members"), dict):
        raise BackupError("this is no backup, or it broke off", code="backup.format")
    if found != said["members"]:
        raise BackupError("the backup was changed after it was made, or is damaged", code="backup.changed")
    return said


class _Kept:
    """Writes members and remembers their digests."""

    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive
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
                stat = os.fstat(stream.fileno())
                info = tarfile.TarInfo(name)
                info.size, info.mode, info.mtime = stat.st_size, stat.st_mode & 0o777, int(stat.st_mtime)
                read = _Hashed(stream)
                self._archive.addfile(info, read)
        except FileNotFoundError:
            return
        self.members[name] = read.digest.hexdigest()


class _Hashed:
    """What is read, and its digest: of these bytes, whatever becomes of the file meanwhile."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self.digest = stream, sha256()

    def read(self, size: int = -1) -> bytes:
        block = self._stream.read(size)
        self.digest.update(block)
        return block


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


def _database(engine: Any, kept: _Kept) -> tuple[int, list[str]]:
    """All tables as they are at one moment. How many entries the log has, and the names of released files."""
    if current_revision(engine) != HEAD:
        raise BackupError("the database is of another version", code="backup.version")
    count, published = 0, []
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
        for table in Base.metadata.sorted_tables:
            with tempfile.TemporaryFile() as lines:
                for row in _rows(connection, table):
                    lines.write(json.dumps(row, ensure_ascii=True).encode() + b"\n")
                    count += table.name == "log_entries"
                    if table.name == Asset.__tablename__ and row["public_name"] is not None:
                        published.append(str(row["public_name"]))
                lines.seek(0)
                kept.add(f"database/{table.name}.jsonl", lines.read())
    return count, published


def _rows(connection: Connection, table: Table) -> Iterator[dict[str, Any]]:
    query = select(table).order_by(*table.primary_key.columns).execution_options(yield_per=_ROWS)
    for row in connection.execute(query):
        yield {name: _plain(value) for name, value in row._mapping.items()}


def _plain(value: Any) -> Any:
    """As JSON that tells its type."""
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, dt.datetime):
        return {"$time": value.astimezone(dt.UTC).isoformat()}
    if isinstance(value, UUID):
        return {"$uuid": str(value)}
    return {"$json": value} if isinstance(value, (dict, list)) else value


def _typed(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    kind, inner = next(iter(value.items()))
    readers: dict[str, Any] = {"$bytes": base64.b64decode, "$time": dt.datetime.fromisoformat, "$uuid": UUID}
    return readers[kind](inner) if kind in readers else inner


def _put_back(engine: Any, archive: tarfile.TarFile) -> None:
    with writer(engine).begin() as connection:
        for table in Base.metadata.sorted_tables:
            stream = archive.extractfile(f"database/{table.name}.jsonl")
            if stream is None:
                raise BackupError("a table is missing", code="backup.format")
            for rows in _batches(json.loads(line) for line in stream):
                connection.execute(
                    insert(table), [{name: _typed(value) for name, value in row.items()} for row in rows]
                )
            if connection.dialect.name == "postgresql":
                _sequences(connection, table)


def _sequences(connection: Connection, table: Table) -> None:
    """Where numbers go on that the database draws by itself."""
    for column in table.primary_key.columns:
        quoted = {"table": table.name, "column": column.name}
        sequence = connection.scalar(text("SELECT pg_get_serial_sequence(:table, :column)"), quoted)
        if sequence is not None:
            most = connection.scalar(select(column).order_by(column.desc()).limit(1))
            if most is not None:
                connection.execute(text("SELECT setval(:sequence, :most)"), {"sequence": sequence, "most": most})


def _batches(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _ROWS:
            yield batch
            batch = []
    if batch:
        yield batch


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


def _known(archive: tarfile.TarFile) -> set[str]:
    """Names of files that the archive's database has a row of; others were released after it was taken, and nothing is
    released unrecorded."""
    stream = archive.extractfile(f"database/{Asset.__tablename__}.jsonl")
    if stream is None:
        raise BackupError("a table is missing", code="backup.format")
    names = {str(row["public_name"]) for row in map(json.loads, stream) if row["public_name"] is not None}
    return names | {beside(name) for name in names}


def _publish(house: Installation, archive: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> None:
    """Puts a released file into the store. It may be there already, where the store outlived the installation."""
    folder = house.folder / "staging"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        _unpack(archive, member, Path(work), "file")
        try:
            house.store.publish(Path(work) / "file", name)
        except ReleaseError as error:
            raise BackupError(f"{name} cannot be put back: {error.message}", code="backup.store") from error


def _unpack(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, name: str | None = None) -> None:
    stream = archive.extractfile(member)
    path = folder / (name or PurePosixPath(member.name).relative_to("files"))
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if stream is None:
        raise BackupError("a member is no file", code="backup.format")
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, member.mode & 0o777), "wb") as out:
        while block := stream.read(1 << 20):
            out.write(block)


def _digest(stream: IO[bytes]) -> str:
    found = sha256()
    while block := stream.read(1 << 20):
        found.update(block)
    return found.hexdigest()
