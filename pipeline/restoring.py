"""Restore: a backup (`backup`) goes into an empty data folder, an empty database, and the store of that place."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
import tempfile
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import IO, Any

from sqlalchemy import select

from ..errors import BackupError, ReleaseError, SettingsError
from ..provenance.database import HEAD, connect, current_revision, migrate
from ..provenance.sidecar import SUFFIX
from ..provenance.tables import Asset, LogEntry
from .backup import ASSETS, FORMAT, MANIFEST, TABLES, Report
from .backup_rows import lines_of, put_back
from .installation import Installation
from .store import beside

_MANIFEST_BYTES = 2 << 30
"""Some twenty million released files."""


def restore(house: Installation, source: Path) -> Report:
    """Puts everything back into an empty data folder and an empty database. Looks through all of the archive first.
    One of an earlier version is brought up to date. Raises BackupError, SettingsError."""
    said = _checked(source)
    folder = house.folder
    if folder.exists() and any(folder.iterdir()):
        raise BackupError(f"the data folder {folder} is not empty", code="backup.occupied")
    revision = str(said.get("revision"))
    if not (revision.isdecimal() and len(revision) == len(HEAD) and revision <= HEAD):
        raise SettingsError(
            f"this backup is of schema {revision}, and this version has {HEAD}",
            code="backup.version",
            hint="Restore it with the version that made it, or a newer one.",
        )
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _is_free(house.settings.database_url, revision)  # before any file is written
    try:
        left_out = _unpacked(house, source, revision)
    except BaseException:
        _emptied(folder)  # as it was: the next try must not stumble over what this one left
        raise
    # The key is there by now: the log opens with it.
    report = house.log.verify()
    if not report.ok or report.entries != said["entries"]:
        raise BackupError("what was put back is not the log that was saved", code="backup.log")
    size = sum(1 for name in said["members"] if name.startswith("files/"))
    assets = sum(1 for name in said["members"] if name.startswith(ASSETS) and not name.endswith(SUFFIX))
    return Report(str(source), report.entries, assets, size, source.stat().st_size, tuple(left_out))


def _unpacked(house: Installation, source: Path, revision: str) -> list[str]:
    """Files first, then all rows or none. The names of files that no row knows."""
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
                _unpack(archive, member, house.folder)
        _put_back(house, archive, revision)
    return left_out


def _emptied(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


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
                if member.name == MANIFEST:
                    said = json.loads(stream.read(_MANIFEST_BYTES))
                else:
                    found[member.name] = _digest(stream)
    except (OSError, tarfile.TarError, ValueError) as error:
        raise BackupError("this is no backup, or a damaged one", code="backup.format") from error
    if said.get("format") != FORMAT or not isinstance(said.get("members"), dict):
        raise BackupError("this is no backup, or it broke off", code="backup.format")
    if found != said["members"]:
        raise BackupError("the backup was changed after it was made, or is damaged", code="backup.changed")
    return said


def _put_back(house: Installation, archive: tarfile.TarFile, revision: str) -> None:
    """The rows go into the schema that they were taken from; the migrations since then do with them what they do with
    every database of that version."""
    engine = connect(house.settings.database_url)
    try:
        migrate(engine, revision)
        members = [name.removeprefix(TABLES) for name in archive.getnames() if name.startswith(TABLES)]
        put_back(engine, [(name.removesuffix(".jsonl"), lines_of(archive, TABLES + name)) for name in members])
        migrate(engine)
    finally:
        engine.dispose()


def _is_free(url: str, revision: str) -> None:
    """Raises BackupError where the database has entries, or tables of another version than the backup's."""
    engine = connect(url)
    try:
        found = current_revision(engine)
        with engine.connect() as connection:
            used = found is not None and connection.scalar(select(LogEntry.seq).limit(1)) is not None
    finally:
        engine.dispose()
    if used or found not in (None, revision):
        raise BackupError("the database is not empty", code="backup.occupied")


def _known(archive: tarfile.TarFile) -> set[str]:
    """Names of files that the archive's database has a row of; others were released after it was taken, and nothing is
    released unrecorded."""
    rows = lines_of(archive, f"{TABLES}{Asset.__tablename__}.jsonl")
    names = {str(row["public_name"]) for row in rows if row["public_name"] is not None}
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
