"""Where published files go: a folder, or any address that fsspec knows (``s3://``, ``gs://``, ``memory://``, …).

Whole files only: a reader finds the old one or the new one. Paths are of our making (:mod:`.site_paths`, names of
checkpoints), never a stranger's.
"""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

from ...errors import InputError, LogError
from ..durable import sync_folder, write_file

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class Place(Protocol):
    """A tree of files. Errors are LogError (``log.place``)."""

    @property
    def name(self) -> str:
        """For people: without user names, passwords and query strings."""
        ...

    def read(self, path: str, most: int) -> bytes | None:
        """The file's bytes; None when there is none. Raises when it has more than ``most`` bytes."""
        ...

    def write(self, path: str, data: bytes) -> None:
        """Writes or replaces the file, whole and durably."""
        ...


def place(target: str | os.PathLike[str]) -> Place:
    """The place that a folder's path or a URL names. Raises InputError for one that cannot be written to."""
    text = os.fspath(target)
    if not text or "\x00" in text:
        raise InputError("this names neither a folder nor a URL", code="input.target")
    if not _SCHEME.match(text):
        return FolderPlace(Path(text))
    if text.lower().startswith(("http://", "https://")):
        raise InputError(
            "nothing can be written to an http address",
            code="input.target",
            hint="Give a folder, or a bucket's address such as s3://bucket/log.",
        )
    return UrlPlace(text)


def is_url(target: str) -> bool:
    return _SCHEME.match(target) is not None


def shown(url: str) -> str:
    """The address without what may be secret in it."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


class FolderPlace:
    """A folder, made when something is written: written beside, synced, renamed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def name(self) -> str:
        return str(self._folder)

    def read(self, path: str, most: int) -> bytes | None:
        try:
            with (self._folder / path).open("rb") as file:
                # Not the limit itself: Python sets aside as much memory as it is asked to read.
                data = file.read(min(most, os.fstat(file.fileno()).st_size) + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _failed(f"{path} in {self.name} cannot be read: {error.strerror}") from error
        if len(data) > most:
            raise _failed(f"{path} in {self.name} has more than {most} bytes")
        return data

    def write(self, path: str, data: bytes) -> None:
        target = self._folder / path
        try:
            made = _make_folders(target.parent)
            write_file(target, data)
            for folder in made:
                sync_folder(folder.parent)
        except OSError as error:
            raise _failed(f"{path} in {self.name} cannot be written: {error.strerror}") from error


class UrlPlace:
    """An address that fsspec knows; credentials and regions come from where its drivers look for them."""

    def __init__(self, url: str) -> None:
        try:
            from fsspec.core import url_to_fs
        except ImportError:
            raise InputError(
                "writing to an address needs fsspec",
                code="input.target",
                hint="pip install 'filigrana[publish]', and the driver: s3fs for s3://, gcsfs for gs://.",
            ) from None
        try:
            self._system: Any
            self._system, self._root = url_to_fs(url)
        except ImportError as error:
            raise InputError(f"no driver for {shown(url)}: {error}", code="input.target") from error
        except Exception as error:
            raise InputError(f"{shown(url)} is no address that fsspec knows", code="input.target") from error
        self._name = shown(url)

    @property
    def name(self) -> str:
        return self._name

    def read(self, path: str, most: int) -> bytes | None:
        try:
            self._system.invalidate_cache()  # another process may have written since the last listing
            with self._system.open(self._at(path), "rb") as file:
                data = bytes(file.read(most + 1))
        except FileNotFoundError:
            return None
        except Exception as error:  # every driver has errors of its own
            raise _failed(f"{path} in {self.name} cannot be read ({type(error).__name__})") from error
        if len(data) > most:
            raise _failed(f"{path} in {self.name} has more than {most} bytes")
        return data

    def write(self, path: str, data: bytes) -> None:
        try:
            self._system.makedirs(self._at(path).rpartition("/")[0], exist_ok=True)
            self._system.pipe_file(self._at(path), data)
        except Exception as error:
            raise _failed(f"{path} in {self.name} cannot be written ({type(error).__name__})") from error

    def _at(self, path: str) -> str:
        return f"{self._root.rstrip('/')}/{path}"


def _make_folders(folder: Path) -> list[Path]:
    """Those that were missing, the outermost first."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        if folder.parent == folder:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        folder = folder.parent
    missing.reverse()
    for item in missing:
        item.mkdir(exist_ok=True)
    return missing


def _failed(message: str) -> LogError:
    return LogError(message, code="log.place", hint="Check that it exists, has room and lets us in; then try again.")
