"""`filigrana audit explain`: why one asset was released, or one request was not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...errors import InputError
from .audit_look import UUID_FORM
from .state import reading

if TYPE_CHECKING:
    from ..installation import Installation

JSON = Annotated[bool, typer.Option("--json", help="JSON on standard output, nothing else.")]


def explain(
    what: Annotated[str, typer.Argument(metavar="ASSET", help="An asset's id, a request's id, or a released file.")],
    texts: Annotated[
        bool, typer.Option("--texts/--no-texts", help="Show the prompt, names and reasons, where they are kept.")
    ] = True,
    json_: JSON = False,
) -> None:
    """Explains a decision: what was asked, by which policy and guards it was judged, with which scores, and what came
    of it.

    All from the log, and from the database where texts are kept. --no-texts is for passing it on.
    """
    from ..explained import explained
    from ..explained_words import lines
    from .output import emit_json, out, plain

    with reading() as opened:
        ident, file = _meant(opened, what)
        said = explained(opened.log, ident, texts=texts) | {"file": file}
    if json_:
        emit_json(said)
        return
    out.print(f"[bold]{plain(said['summary'])}[/bold]")
    if file is not None:
        out.print(f"[dim]{'file':<16}[/dim] {plain(file['path'])}: {plain(file['finding'])}")
    for name, text in lines(said):
        out.print(f"[dim]{plain(name):<16}[/dim] {plain(text)}")


def _meant(opened: Installation, what: str) -> tuple[Any, dict[str, str] | None]:
    """The asset or request, and what ties a file to it: its very bytes, or what `verify` found in it."""
    from uuid import UUID

    from ...provenance.identity import AssetId

    if UUID_FORM.fullmatch(what):
        return UUID(what), None
    if not Path(what).is_file():
        return AssetId.parse(what), None
    return _of_file(opened, Path(what))


def _of_file(opened: Installation, path: Path) -> tuple[Any, dict[str, str]]:
    import hashlib

    from ...provenance.catalog import Catalog
    from ...provenance.database import session

    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").digest()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", code="input.media") from error
    with session(opened.log.engine) as rows:
        record = Catalog(rows).by_sha256(digest)
    if record is not None:
        return record.asset_id, {"path": str(path), "finding": "the very bytes that were released"}
    finding = opened.inspector.verify(path)
    # Altered or contradicted, it names an asset that it is not.
    if finding.asset_id is None or finding.finding not in ("verified", "recovered", "intact"):
        raise InputError(
            f"{path} is nothing that was released here: {finding.finding}",
            code="input.asset_unknown",
            hint="`filigrana verify` tells what it is. Give the asset's id to see how that was decided.",
        )
    return finding.asset_id, {"path": str(path), "finding": finding.finding}
