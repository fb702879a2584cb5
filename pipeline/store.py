"""Where released assets lie, each file under its AssetId: a folder, or what :mod:`.url_store` knows."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol

from ..errors import ReleaseError
from ..provenance.identity import AssetId
from ..provenance.media import MIME_BY_SUFFIX
from ..provenance.sidecar import SUFFIX

if TYPE_CHECKING:
    from .settings import Settings

SUFFIX_BY_MIME = {mime: suffix for suffix, mime in reversed(MIME_BY_SUFFIX.items())}


def beside(name: str) -> str:
    """The name of the sidecar of what is published as ``name``."""
    return str(PurePosixPath(name).with_suffix(SUFFIX))


def public_name(asset_id: AssetId, mime: str) -> str:
    """The name under which an asset is published, the same in every store."""
    text = str(asset_id)
    return f"{text[:2]}/{text}{SUFFIX_BY_MIME[mime]}"


class AssetStore(Protocol):
    """Holds released files. Publishing is atomic: under its name a file is whole or not there.

    ``ready`` raises where nothing could be published at this moment: asked before any work, and again before a release
    is committed. ``path`` says where on this machine a file lies, or would; ``fetched`` makes sure that it is there,
    and the newest. ``where`` is the place as people read it. Errors are ReleaseError: ``release.store`` where the store
    cannot be reached, ``release.store.denied``, ``release.store.missing`` (the place itself), ``release.twice``."""

    def name(self, asset_id: AssetId, mime: str) -> str: ...
    def ready(self) -> None: ...
    def publish(self, staged: Path, name: str) -> None: ...
    def replace(self, staged: Path, name: str) -> None: ...
    def exists(self, name: str) -> bool: ...
    def path(self, name: str) -> Path: ...
    def fetched(self, name: str) -> Path: ...
    def where(self, name: str) -> str: ...


def open_store(settings: Settings) -> AssetStore:
    """The store that the settings name. Raises SettingsError where its driver is missing."""
    from ..provenance.log.places import is_url

    if settings.store is None or not is_url(settings.store):
        given = settings.store
        return FolderStore(settings.data_dir / "assets") if given is None else FolderStore(Path(given), made=False)
    from .store_cache import StoreCache
    from .url_store import UrlStore

    cache = StoreCache(settings.data_dir / "cache", settings.store_cache << 20)
    return UrlStore(settings.store, cache, timeout=settings.store_timeout)


class FolderStore:
    """An AssetStore in a folder. Where staged files lie on the same file system, publishing is one rename; elsewhere
    they are first copied beside their place. ``made``: whether it is made where it is missing; one that was chosen may
    be a disk that is not mounted, and must be there."""

    def __init__(self, folder: Path, *, made: bool = True) -> None:
        self._folder, self._made = folder, made

    def name(self, asset_id: AssetId, mime: str) -> str:
        return public_name(asset_id, mime)

    def ready(self) -> None:
        """That it is full is found when it is written to: nothing is lost by then."""
        if not self._made and not self._folder.is_dir():
            raise ReleaseError(
                f"the store {self._folder} is not there",
                code="release.store.missing",
                hint="Mount it, make it, or correct the setting `store`.",
            )

    def path(self, name: str) -> Path:
        return self._folder / name

    def fetched(self, name: str) -> Path:
        return self.path(name)

    def where(self, name: str) -> str:
        return str(self.path(name))

    def exists(self, name: str) -> bool:
        return self.path(name).is_file()

    def publish(self, staged: Path, name: str) -> None:
        """Moves ``staged`` to its public name, and makes the move durable. Never over an existing file."""
        target = self.path(name)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with _beside(staged, target) as ready:
                os.link(ready, target)
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
            with _beside(staged, target) as ready:
                os.replace(ready, target)
            staged.unlink(missing_ok=True)
            sync_folder(target.parent)
        except OSError as error:
            raise ReleaseError(f"the asset could not be replaced: {error.strerror}") from error


@contextmanager
def _beside(staged: Path, target: Path) -> Iterator[Path]:
    """``staged`` on the file system of ``target``: itself, or a synced copy under one hidden name, which a killed
    process leaves there until the same file is tried again."""
    if staged.stat().st_dev == target.parent.stat().st_dev:
        yield staged
        return
    part = target.with_name(f".{target.name}.part")
    try:
        with staged.open("rb") as read, part.open("wb") as out:
            shutil.copyfileobj(read, out, 1 << 20)
            out.flush()
            os.fsync(out.fileno())
        yield part
    finally:
        part.unlink(missing_ok=True)


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
    name = ""
    try:
        part = str(target.with_name(f".{target.name}.{secrets.token_hex(4)}"))
        # With the rights that any new file gets. The mask is not asked for: that means changing it, and whatever other
        # threads make at that moment could be written by everybody.
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        name = part
        with os.fdopen(handle, "wb") as out, source.open("rb") as read:
            shutil.copyfileobj(read, out, 1 << 20)
            out.flush()
            os.fsync(out.fileno())
        os.replace(name, target)
    except OSError as error:
        if name:
            Path(name).unlink(missing_ok=True)
        raise ReleaseError(
            f"the asset is released and stored, but could not be copied to {target}: {error.strerror}",
            code="release.export",
            hint=f"It lies at {source}.",
        ) from error
