"""What lies in a model's folder, file by file: found, hashed, and held against what was pinned.

Every plain file counts but `.git`, what downloads leave for themselves (`.cache/huggingface`), and the signature
`model.sig`, which is checked in its own way. A link may lead to another place within the folder; in the hub's cache it
may lead to that repository's blobs, where the cache keeps the bytes. Any other link, a link to a folder, and whatever
is not a plain file is refused: nobody could say what is read there later.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...errors import GenerationError

SIGNATURE = "model.sig"
_LEFT_OUT = {".git", SIGNATURE, ".cache/huggingface"}
_CHUNK = 1 << 20
_SETTLED = 2_000_000_000
"""Nanoseconds after which a file's times can be trusted to show a change: clocks of file systems tick slowly."""

Tell = Callable[[int, int], None]
"""Bytes done, of bytes in all."""
Change = Literal["changed", "missing", "additional", "unreadable"]
_Stamp = tuple[int, int, int, int, int]


@dataclass(frozen=True)
class Pin:
    """One file: its place in the folder with `/` between, its size, and the SHA-256 of its bytes."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Difference:
    """One file that is not what was pinned."""

    file: str
    change: Change

    def __str__(self) -> str:
        return f"{shown(self.file)} ({self.change})"


@dataclass(frozen=True)
class Found:
    """What a folder holds: the files that count, each with where its bytes are, and what is refused, with why."""

    files: dict[str, Path]
    refused: dict[str, str]


def shown(text: str) -> str:
    """A stranger's name as it may stand in a message: what does not print is escaped."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def nothing_told(_done: int, _total: int) -> None:
    """Tells nobody."""


def look(folder: Path) -> Found:
    """All that lies in ``folder``. Raises GenerationError where it, or a folder in it, cannot be read."""
    root, found = folder.resolve(), Found({}, {})
    allowed = [root, *([root.parents[1] / "blobs"] if _is_snapshot(root) else [])]

    def walk(at: Path, prefix: str) -> None:
        with os.scandir(at) as entries:
            inside = sorted(entries, key=lambda entry: entry.name)
        for entry in inside:
            name = prefix + entry.name
            if name in _LEFT_OUT:
                continue
            if entry.is_symlink():
                _take_link(Path(entry.path), name, allowed, found)
            elif entry.is_dir(follow_symlinks=False):
                walk(Path(entry.path), f"{name}/")
            elif entry.is_file(follow_symlinks=False):
                found.files[name] = Path(entry.path)
            else:
                found.refused[name] = "is not a plain file"

    try:
        walk(root, "")
    except OSError as error:
        raise GenerationError(
            f"the model's folder cannot be read: {error.filename or folder}: {error.strerror}", code="generate.no_model"
        ) from error
    return found


def _is_snapshot(root: Path) -> bool:
    """Whether this is a revision in the hub's cache: models--OWNER--NAME/snapshots/REVISION, beside blobs/."""
    return len(root.parts) > 3 and root.parent.name == "snapshots" and root.parents[1].name.startswith("models--")


def _take_link(link: Path, name: str, allowed: Iterable[Path], found: Found) -> None:
    try:
        target = link.resolve(strict=True)
        kind = target.stat().st_mode
    except (OSError, RuntimeError):  # RuntimeError: links in a circle
        found.refused[name] = "is a link that leads nowhere"
        return
    if not any(target.is_relative_to(place) for place in allowed):
        found.refused[name] = "is a link out of the folder"
    elif not stat.S_ISREG(kind):
        found.refused[name] = "is a link to something that is not a plain file"
    else:
        found.files[name] = target


def accepted(folder: Path) -> dict[str, Path]:
    """The files of ``folder``. Raises GenerationError where anything in it is refused."""
    found = look(folder)
    for name, why in found.refused.items():
        raise GenerationError(
            f"{shown(name)} in the model's folder {why}",
            code="generate.unsafe_weights",
            hint="Copy what it leads to into the folder (`cp -rL` does), or remove it.",
        )
    return found.files


def pin(folder: Path, tell: Tell = nothing_told) -> tuple[Pin, ...]:
    """Every file of ``folder`` with its digest. Raises GenerationError where anything in it is refused."""
    return tuple(_hashed(accepted(folder).items(), tell))


def differences(folder: Path, pins: Iterable[Pin], tell: Tell = nothing_told, *, fresh: bool) -> list[Difference]:
    """How ``folder`` differs from ``pins``, by name; empty when it does not. ``fresh``: hash every file, also those
    that this process hashed already and that look untouched since (same place, size and times)."""
    wanted, found = {one.path: one for one in pins}, look(folder)
    changes: dict[str, Change] = {name: "missing" for name in wanted if name not in found.files}
    changes |= {name: "changed" if name in wanted else "additional" for name in found.refused}
    changes |= {name: "additional" for name in found.files if name not in wanted}
    both = {name: path for name, path in found.files.items() if name in wanted}
    total, done = sum(wanted[name].size for name in both), 0
    for name, path in both.items():
        size = wanted[name].size
        more = _from(done, total, tell)
        try:
            # What has another size needs no hash.
            same = path.stat().st_size == size and digest(path, more, fresh=fresh) == wanted[name].sha256
            if not same:
                changes[name] = "changed"
        except OSError:
            changes[name] = "unreadable"
        done += size
        tell(done, total)
    return [Difference(name, changes[name]) for name in sorted(changes)]


def _hashed(files: Iterable[tuple[str, Path]], tell: Tell) -> Iterator[Pin]:
    listed = list(files)
    try:
        total, done = sum(path.stat().st_size for _, path in listed), 0
        for name, path in listed:
            sha256 = digest(path, _from(done, total, tell), fresh=True)
            size = path.stat().st_size
            done += size
            tell(done, total)
            yield Pin(name, size, sha256)
    except OSError as error:
        raise GenerationError(
            f"a file of the model cannot be read: {error.filename}: {error.strerror}", code="generate.no_model"
        ) from error


def _from(before: int, total: int, tell: Tell) -> Callable[[int], None]:
    """Tells of one file's bytes as of those of all."""
    return lambda count: tell(min(before + count, total), total)


_known: dict[Path, tuple[_Stamp, str]] = {}


def digest(path: Path, tell: Callable[[int], None] = lambda _count: None, *, fresh: bool) -> str:
    """The SHA-256 of a file's bytes, in hex. Raises OSError, also when the file changes while it is read."""
    known = _known.get(path)
    if not fresh and known is not None and _stamp(os.stat(path)) == known[0]:
        return known[1]
    _known.pop(path, None)
    summed, done = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as stream:
        before = _stamp(os.fstat(stream.fileno()))
        # One that grows while it is read may have no end.
        while done <= before[2] and (chunk := stream.read(_CHUNK)):
            summed.update(chunk)
            done += len(chunk)
            tell(done)
        after = _stamp(os.fstat(stream.fileno()))
    if before != after or before != _stamp(os.stat(path)):
        raise OSError(0, "it changed while it was read", str(path))
    if time.time_ns() - max(after[3:]) > _SETTLED:
        _known[path] = (after, summed.hexdigest())
    return summed.hexdigest()


def _stamp(found: os.stat_result) -> _Stamp:
    # The time of the last change of the inode is among them: unlike the others nobody can set it back.
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
