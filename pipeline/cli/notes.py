"""Keys and checkpoints as people give them on the command line: as text, or in files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import InputError, LogError

if TYPE_CHECKING:
    from ...provenance.log.note import VerifierKey

_MOST = 1 << 20  # bytes; what a note may have (c2sp.org/signed-note)


def read_note(path: Path) -> str:
    """A checkpoint's text from a file, of 1 MiB at most."""
    try:
        return _text(path)
    except (OSError, ValueError) as error:
        raise InputError(f"the checkpoint {path.name} cannot be read", code="input.checkpoint") from error


def verifier_key(text: str) -> VerifierKey:
    """From the text of a verifier key, or a file that holds it: those of ML-DSA-44 are long."""
    from ...provenance.log.note import VerifierKey

    try:
        return VerifierKey.parse(text)
    except LogError as problem:
        try:
            held = _text(Path(text)) if len(text) < 4096 and "\x00" not in text else ""
        except (OSError, ValueError):
            held = ""
        if not held:
            raise InputError(
                f"this is no verifier key, and no file that holds one: {problem.message}",
                code="input.verifier_key",
                hint="`filigrana keys show` prints the key of a log: name+id+base64.",
            ) from problem
    return VerifierKey.parse(held)


def _text(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(_MOST + 1)
    if len(data) > _MOST:
        raise ValueError("longer than any note")
    return data.decode("utf-8")
