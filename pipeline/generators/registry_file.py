"""The registry of models: one JSON file of the data folder, changed by one process at a time, whole or not at all.

Unlike a cache it is believed: a damaged file means that no model but the embedded one is loaded, since nobody could
say any more which files were pinned.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from ...errors import GenerationError
from ...provenance.manifest import Model
from ..kept_file import KeptFile
from .model_signature import Signer
from .pins import Pin

FILE = "models.json"
VERSION = 1
_MOST = 256 << 20
Status = Literal["verified", "signed, not checked", "unsigned"]


@dataclass(frozen=True)
class Signed:
    """How a model was signed when it was added: whom to believe since then, and the fingerprint of the key."""

    status: Status
    key: str = ""
    signer: Signer | None = None


@dataclass(frozen=True)
class Entry:
    """One registered model. ``source``: where it came from, a folder or a hub id; ``folder``: where it lies."""

    name: str
    folder: Path
    source: str
    added: str
    model: Model
    files: tuple[Pin, ...]
    signature: Signed

    @property
    def bytes(self) -> int:
        """Of all its files."""
        return sum(one.size for one in self.files)


class RegistryFile:
    """``folder``: the data folder, made at the first change."""

    def __init__(self, folder: Path) -> None:
        self._file = KeptFile(folder, FILE)

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self._file.path

    def read(self) -> dict[str, Entry]:
        """What is registered, by name. Raises GenerationError (``generate.registry``) for a file that is damaged."""
        try:
            found = json.loads(self._file.read(_MOST))
            if found["version"] != VERSION:
                raise _damaged(f"is of version {str(found['version'])[:20]}, this program writes {VERSION}")
            return {name: _entry(name, one) for name, one in found["models"].items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise _damaged("cannot be read") from error

    @contextmanager
    def change(self) -> Iterator[dict[str, Entry]]:
        """What is registered, to be changed within the block; written at its end, nothing where it raises."""
        with ExitStack() as alone:
            try:
                alone.enter_context(self._file.alone())
            except OSError as error:
                raise _unwritten(error) from error
            entries = self.read()  # another process may have been quicker
            yield entries
            self._write({name: _plain(entries[name]) for name in sorted(entries)})

    def _write(self, models: dict[str, Any]) -> None:
        try:
            self._file.write(json.dumps({"version": VERSION, "models": models}, indent=1).encode())
        except OSError as error:
            raise _unwritten(error) from error


def _plain(entry: Entry) -> dict[str, Any]:
    plain = asdict(entry) | {"folder": str(entry.folder)}
    del plain["name"]
    return plain


def _entry(name: str, plain: dict[str, Any]) -> Entry:
    """Strict: whatever is missing or of another type raises ValueError, TypeError or KeyError."""
    model = {key: _text(plain["model"][key]) for key in Model.__dataclass_fields__}
    signed, signer = plain["signature"], plain["signature"]["signer"]
    if signed["status"] not in get_args(Status) or not isinstance(plain["files"], list) or not plain["files"]:
        raise ValueError("a model without files, or with an unknown status")
    if (signed["status"] == "verified") != (signer is not None):
        raise ValueError("verified by nobody")
    folder = Path(_text(plain["folder"]))
    if not folder.is_absolute():
        raise ValueError("a folder that could be anywhere")
    return Entry(
        name=name,
        folder=folder,
        source=_text(plain["source"]),
        added=_text(plain["added"]),
        model=Model(**model),
        files=tuple(_pin(one) for one in plain["files"]),
        signature=Signed(
            signed["status"],
            _text(signed["key"]),
            None if signer is None else Signer(_text(signer["public_key"]), _text(signer["certificates"])),
        ),
    )


def _pin(plain: dict[str, Any]) -> Pin:
    size = plain["size"]
    if not isinstance(size, int) or isinstance(size, bool) or len(bytes.fromhex(plain["sha256"])) != 32:
        raise ValueError("a pin without size or digest")
    return Pin(_text(plain["path"]), size, plain["sha256"])


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("text is missing")
    return value


def _damaged(what: str) -> GenerationError:
    return GenerationError(
        f"{FILE} in the data folder {what}, so nobody can tell which models were pinned",
        code="generate.registry",
        hint="Put it back from a backup, or remove it and run `filigrana models add` again for each model.",
    )


def _unwritten(error: OSError) -> GenerationError:
    return GenerationError(
        f"the model cannot be noted in the data folder: {error.strerror}",
        code="generate.registry",
        hint="The data folder must be writable, and have room. What was registered before is as it was.",
    )
