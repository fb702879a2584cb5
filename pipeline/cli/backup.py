"""`filigrana backup` and `restore`: an installation as one file, and back."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...errors import BackupError, InputError
from .state import installation, reading

if TYPE_CHECKING:
    from ..backup import Report
    from ..installation import Installation

JSON = Annotated[bool, typer.Option("--json", help="JSON on standard output, nothing else.")]


def backup(
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="A tar file that is not there; - for standard output."),
    ],
    assets: Annotated[
        bool, typer.Option("--assets/--no-assets", help="With the released files, or without: the store keeps them.")
    ] = True,
    json_: JSON = False,
) -> None:
    """Writes database, keys and released files into one archive, while the service may run.

    The keys are in it: it is readable by its owner alone, and belongs where keys belong. Exit codes: 0, or 1 where a
    released file is missing.
    """
    from ..backup import backup as save
    from .output import emit_json, err, out, plain

    streamed = str(output) == "-"
    if streamed and json_:
        raise InputError("standard output takes the archive, not JSON as well", code="input.option")
    with reading() as opened:
        found = _streamed(opened, assets) if streamed else save(opened, output, assets=assets)
    if json_:
        emit_json(found.as_dict())
    else:
        told = err if streamed else out
        told.print(f"{plain(found.file)}: {found.entries} entries, {found.assets} assets, {found.files} files")
        for name in found.missing:
            told.print(f"[red]missing[/red] {plain(name)}")
    raise typer.Exit(1 if found.missing else 0)


def _streamed(opened: Installation, assets: bool) -> Report:
    """Into standard output; the rows wait in the data folder, since temporary folders may be memory."""
    from ..backup import backup_into

    if sys.stdout.isatty():
        raise InputError(
            "a terminal is no place for keys and tables", code="input.option", hint="filigrana backup -o - | age -r …"
        )
    try:
        found = backup_into(opened, sys.stdout.buffer, opened.folder, assets=assets)
        sys.stdout.buffer.flush()
    except (
        OSError
    ) as error:  # a reader that goes away has half a backup, which must not pass for a whole one in silence
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is buffered goes nowhere
        raise BackupError(f"the backup cannot be written: {error.strerror}") from error
    return found


def restore(
    archive: Annotated[Path, typer.Argument(help="What `backup` wrote.")],
    json_: JSON = False,
) -> None:
    """Puts a backup into an empty data folder and an empty database, and verifies the log that came of it.

    Every member is held against the archive's manifest before anything is written.
    """
    from ..restoring import restore as put_back
    from .output import emit_json, out, plain

    with installation() as opened:
        found: Any = put_back(opened, archive)
    if json_:
        emit_json(found.as_dict())
    else:
        out.print(f"{found.entries} entries, {found.files} files; the log holds")
        for name in found.missing:
            out.print(f"left out, released after the backup: {plain(name)}")
