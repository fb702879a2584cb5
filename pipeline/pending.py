"""What is kept of work that is finished but for its time-stamp (``data/pending/<request>/``), or for a person's word
(``data/review/<request>/``), for its owner alone.

The encoded file, the files that become ingredients, and ``pending.json``, which says all else that finishing needs,
with the SHA-256 of each file. Its own SHA-256 stands in the log. No prompt is in it that is not in the file already.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from ..errors import ReleaseError
from ..provenance.manifest import Statement
from ..provenance.media import Limits, MediaFile, open_media
from ..safety.decision import Decision
from .energy import Energy
from .ledger import OpenIntent, Waiting
from .making import file_digest
from .releasing import Ready
from .staging import MAKING
from .store import sync_folder

DESCRIPTION = "pending.json"
ENCODED = "encoded"
_MAX = 4 << 20


class PendingError(ReleaseError):
    """What was kept is not what the log says was kept: it is never released."""

    code = "release.pending.changed"
    hint = "Make it again. The log has the request under this code."


@dataclass(frozen=True)
class Described:
    """``files``: SHA-256 in hex by path in the folder; ``source`` and ``components``: which of them are what."""

    intent: UUID
    actor: str
    commitments: dict[str, str]
    statement: Statement
    files: dict[str, str]
    source: str | None
    components: tuple[str, ...]
    prompt_decision: Decision | None
    decision: Decision
    energy: Energy
    sampling: dict[str, Any]
    known: dict[str, Any]


@cache
def _adapter() -> TypeAdapter[Described]:
    return TypeAdapter(Described)


def keep(folder: Path, ready: Ready) -> str:
    """Keeps the work under ``folder``, whole or not at all, and durably. Returns the digest of its description. Raises
    ReleaseError where there is no room."""
    name = str(ready.intent.id)
    making = folder / f"{MAKING}{name}"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        making.mkdir(mode=0o700)
        files = {ENCODED: _taken(ready.encoded, making / ENCODED)}
        ingredients = [*([ready.source] if ready.source else []), *ready.components]
        names = [f"{one.path.parent.name}/{one.path.name}" for one in ingredients]
        for one, path in zip(ingredients, names, strict=True):
            (making / path).parent.mkdir(mode=0o700)
            files[path] = _taken(one.path, making / path)
            sync_folder((making / path).parent)
        described = Described(
            intent=ready.intent.id,
            actor=ready.intent.actor,
            commitments=ready.intent.commitments,
            statement=ready.statement,
            files=files,
            source=names[0] if ready.source else None,
            components=tuple(names[1:] if ready.source else names),
            prompt_decision=_told(ready.prompt_decision),
            decision=replace(ready.decision, rewrite=None),
            energy=ready.energy,
            sampling=ready.sampling,
            known=ready.known,
        )
        data = _adapter().dump_json(described)
        handle = os.open(making / DESCRIPTION, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        sync_folder(making)
        os.rename(making, folder / name)
        sync_folder(folder)
    except BaseException as error:
        forget(folder, ready.intent.id)
        if not isinstance(error, OSError):
            raise
        raise ReleaseError(
            f"the finished work could not be kept while it waits: {error.strerror}",
            code="release.pending",
            hint="Check free space and permissions of the data folder.",
        ) from error
    return "sha256:" + hashlib.sha256(data).hexdigest()


def forget(folder: Path, intent: UUID) -> None:
    """Removes what was kept for this request."""
    shutil.rmtree(folder / f"{MAKING}{intent}", ignore_errors=True)
    shutil.rmtree(folder / str(intent), ignore_errors=True)


def described(folder: Path, item: Waiting) -> Described:
    """The description, which must be the one that the log names. Raises PendingError."""
    path = folder / str(item.intent) / DESCRIPTION
    _plain(path)
    with path.open("rb") as stream:
        data = stream.read(_MAX + 1)
    if "sha256:" + hashlib.sha256(data).hexdigest() != item.pending:
        raise PendingError("the description of what was kept has changed")
    try:
        said = _adapter().validate_json(data)
    except (ValidationError, ValueError) as error:
        raise PendingError("what was kept cannot be read by this version", code="release.pending.broken") from error
    if (said.intent, said.statement.asset_id) != (item.intent, item.asset_id):
        raise PendingError("what was kept belongs to another request")
    return said


def taken_back(folder: Path, said: Described, work: Path, limits: Limits) -> Ready:
    """What was kept, as private copies in ``work``: what is checked here is what will be signed. Raises PendingError
    for a file that is missing or is not what it was."""
    kept = folder / str(said.intent)
    for name, digest in said.files.items():
        _plain(kept / name)
        (work / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(kept / name, work / name)
        if file_digest(work / name) != digest:
            raise PendingError("a file that was kept has changed")

    def opened(name: str) -> MediaFile:
        return open_media(work / name, limits)

    return Ready(
        intent=OpenIntent(said.intent, said.statement.asset_id, said.actor, said.commitments),
        statement=said.statement,
        encoded=work / ENCODED,
        source=None if said.source is None else opened(said.source),
        components=tuple(opened(name) for name in said.components),
        prompt_decision=said.prompt_decision,
        decision=said.decision,
        energy=said.energy,
        sampling=said.sampling,
        known=said.known,
    )


def checked(path: Path, digest: str) -> None:
    """Raises PendingError unless the file is there, and is what it was."""
    _plain(path)
    if file_digest(path) != digest:
        raise PendingError("a file that was kept has changed")


def _plain(path: Path) -> None:
    if path.is_symlink() or not path.is_file():
        raise PendingError("what was kept for this request is gone", code="release.pending.lost")


def _taken(source: Path, target: Path) -> str:
    """A second name where the file system has them, since nothing writes to either; else a copy. Durable."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
    with target.open("rb") as stream:
        os.fsync(stream.fileno())
    return file_digest(target)


def _told(decision: Decision | None) -> Decision | None:
    """Without an offered rewrite, which is text."""
    return None if decision is None else replace(decision, rewrite=None)
