"""Where released assets lie: a folder of this installation, each file under its AssetId."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path, PurePosixPath
from typing import Protocol

from ..errors import ReleaseError
from ..provenance.identity import AssetId
from ..provenance.media import MIME_BY_SUFFIX
from ..provenance.sidecar import SUFFIX

SUFFIX_BY_MIME = {mime: suffix for suffix, mime in reversed(MIME_BY_SUFFIX.items())}


def beside(name: str) -> str:
    """The name of the sidecar of what is published as ``name``."""
    return str(PurePosixPath(name).with_suffix(SUFFIX))


class AssetStore(Protocol):
    """Holds released files. Publishing is atomic: under its name a file is whole or not there."""

    def name(self, asset_id: AssetId, mime: str) -> str: ...
    def publish(self, staged: Path, name: str) -> None: ...
    def exists(self, name: str) -> bool: ...
    def path(self, name: str) -> Path: ...


class FolderStore:
    """An AssetStore in a folder. Staged files lie on the same file system, so that publishing is one rename."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def name(self, asset_id: AssetId, mime: str) -> str:
        text = str(asset_id)
        return f"{text[:2]}/{text}{SUFFIX_BY_MIME[mime]}"

    def path(self, name: str) -> Path:
        return self._folder / name

    def exists(self, name: str) -> bool:
        return self.path(name).is_file()

    def publish(self, staged: Path, name: str) -> None:
        """Moves ``staged`` to its public name, and makes the move durable. Never over an existing file."""
        target = self.path(name)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(staged, target)
            staged.unlink()
            sync_folder(target.parent)
        except FileExistsError as error:
            raise ReleaseError("an asset of this id was released before", code="release.twice") from error
        except OSError as error:
            raise ReleaseError(f"the asset could not be published: {error.strerror}") from error

    def replace(self, staged: Path, name: str) -> None:
        """Puts ``staged`` in the place of what is published as ``name``, at once: a reader sees the old file or the
        new one. Raises ReleaseError."""
        target = self.path(name)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(staged, target)
            sync_folder(target.parent)
        except OSError as error:
            raise ReleaseError(f"the asset could not be replaced: {error.strerror}") from error


def sync_folder(folder: Path) -> None:
    """Makes a rename in ``folder`` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_target(target: Path) -> None:
    """Fails before any work is done where ``target`` cannot be written. Raises ReleaseError."""
    folder = target.parent
    try:
        if target.is_dir():
            raise ReleaseError(f"{target} is a folder", code="release.target", hint="Give a file name with -o.")
        if target.exists() and not target.is_file():
            raise ReleaseError(f"{target} is not a plain file", code="release.target", hint="Give another with -o.")
        if not folder.is_dir():
            raise ReleaseError(f"the folder {folder} does not exist", code="release.target", hint=f"mkdir -p {folder}")
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ReleaseError(f"{target} cannot be written: {error.strerror}", code="release.target") from error


def export(source: Path, target: Path) -> None:
    """Copies a released asset to where its author wants it, whole or not at all, over what was there."""
    handle, name = -1, ""
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(handle, "wb") as out, source.open("rb") as read:
            shutil.copyfileobj(read, out, 1 << 20)
            out.flush()
            os.fsync(out.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(name, 0o666 & ~mask)
        os.replace(name, target)
    except OSError as error:
        if name:
            Path(name).unlink(missing_ok=True)
        raise ReleaseError(
            f"the asset is released and stored, but could not be copied to {target}: {error.strerror}",
            code="release.export",
            hint=f"It lies at {source}.",
        ) from error
