"""Changing who signs: the old files go to ``old/<sha256 of the leaf>/``, the new ones take their place, all or none.

A kill at any moment leaves the old files or the new ones: the new ones are written whole into ``pending/`` first, and
whoever opens the folder next (`finish`) moves what is left of them. One process at a time does either (`key_lock`). The
roots under ``old/`` stay trusted for old files.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from ..errors import KeyStoreError
from .key_lock import alone
from .keys import read_private, write_private

CLAIM_FILES = ("claim-root.pem", "claim.pem", "claim.key")
_GONE, _CHANGE = "gone", "signing-key.json"


def install(folder: Path, files: dict[str, bytes], told: dict[str, str] | None = None) -> str | None:
    """Puts claim files in place of the present ones; a name of `CLAIM_FILES` that is not given is taken away. Returns
    the fingerprint (hex) under which the old ones are kept, None where there were none. ``told``: what the log is to
    say of the change: it lies beside the new files until it does (`change_to_tell`). Raises KeyStoreError."""
    try:
        with alone(folder):
            finished(folder)
            kept = _archive(folder)
            note = {} if told is None else {_CHANGE: json.dumps({**told, "old": kept}).encode()}
            put(folder, files | note, [name for name in CLAIM_FILES if name not in files])
    except OSError as error:
        raise KeyStoreError(f"the key folder cannot be written: {error.strerror}") from error
    return kept


def change_is_untold(folder: Path) -> bool:
    """Whether `change_to_tell` has something."""
    return (folder / _CHANGE).exists()


@contextmanager
def change_to_tell(folder: Path) -> Iterator[dict[str, Any] | None]:
    """A change that the log does not have yet: told once the block has ended. Raises KeyStoreError."""
    path = folder / _CHANGE
    if not change_is_untold(folder):
        yield None
        return
    try:
        with alone(folder):
            try:
                said = json.loads(read_private(path)) if path.exists() else None
            except ValueError as error:
                raise KeyStoreError(f"{_CHANGE} is damaged") from error
            yield said
            path.unlink(missing_ok=True)
            _sync(folder)
    except OSError as error:
        raise KeyStoreError(f"the key folder cannot be written: {error.strerror}") from error


def put(folder: Path, files: dict[str, bytes], gone: Iterable[str] = ()) -> None:
    """All of ``files`` in their places, and ``gone`` away, or nothing of it. Within `alone`. Raises OSError."""
    draft = folder / "pending.draft"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    for name, data in files.items():
        write_private(draft / name, data)
    write_private(draft / _GONE, "\n".join(gone).encode())
    _sync(draft)
    os.rename(draft, folder / "pending")
    _sync(folder)
    finished(folder)


def finish(folder: Path) -> None:
    """Moves what an interrupted change left in ``pending/``. Does nothing where there is none."""
    if not (folder / "pending").is_dir():
        return
    try:
        with alone(folder):
            finished(folder)
    except OSError as error:
        raise KeyStoreError(f"the key folder cannot be written: {error.strerror}") from error


def finished(folder: Path) -> None:
    """The same within `alone`. Raises OSError."""
    pending = folder / "pending"
    if not pending.is_dir():
        return
    for path in sorted(pending.iterdir()):
        if path.name != _GONE and not path.name.startswith("."):
            os.replace(path, folder / path.name)
    gone = pending / _GONE
    for name in gone.read_text("ascii").split() if gone.exists() else []:
        (folder / name).unlink(missing_ok=True)
    _sync(folder)
    shutil.rmtree(pending)


def _archive(folder: Path) -> str | None:
    """Hard links, so that the old key is never in a file that others could read."""
    chain = folder / "claim.pem"
    if not chain.exists():
        return None
    try:
        leaf = x509.load_pem_x509_certificates(read_private(chain))[0]
    except ValueError as error:
        raise KeyStoreError("claim.pem is not a PEM certificate chain") from error
    name = leaf.fingerprint(hashes.SHA256()).hex()
    old = folder / "old" / name
    for each in (old.parent, old):
        each.mkdir(exist_ok=True, mode=0o700)
    for file in CLAIM_FILES:
        if (folder / file).exists() and not (old / file).exists():
            os.link(folder / file, old / file)
    _sync(old)
    return name


def old_leaves(folder: Path) -> dict[str, x509.Certificate]:
    """The leaves that signed here before, by their SHA-256 in hex."""
    found = {}
    for path in sorted((folder / "old").glob("*/claim.pem")):
        try:
            found[path.parent.name] = x509.load_pem_x509_certificates(read_private(path))[0]
        except ValueError as error:
            raise KeyStoreError(f"{path} is not a PEM certificate chain") from error
    return found


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
