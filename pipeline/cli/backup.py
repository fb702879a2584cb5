"""`filigrana backup` and `restore`: an installation as one file, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .state import installation, reading

JSON = Annotated[bool, typer.Option("--json", help="JSON on standard output, nothing else.")]


def backup(
    output: Annotated[Path, typer.Option("--output", "-o", help="The archive to write: a tar file that is not there.")],
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
    from .output import emit_json, out, plain

    with reading() as opened:
        found = save(opened, output, assets=assets)
    if json_:
        emit_json(found.as_dict())
    else:
        out.print(f"{plain(found.file)}: {found.entries} entries, {found.assets} assets, {found.files} files")
        for name in found.missing:
            out.print(f"[red]missing[/red] {plain(name)}")
    raise typer.Exit(1 if found.missing else 0)


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
