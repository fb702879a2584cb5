"""`filigrana guard`: what became of released files on a site or in a folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.markup import escape

from ...provenance.durable import write_file
from .state import check_output, installation

if TYPE_CHECKING:
    from ..ingest import Copy
    from ..installation import Installation
    from ..site_walk import Walk

_SIGNS = {
    "kept": "[green]✓[/green]", "lost": "[red]✗[/red]", "altered": "[red]✗[/red]", "unknown": "[dim]·[/dim]",
    "unreadable": "[yellow]?[/yellow]",
}  # fmt: skip


def guard(
    place: Annotated[str, typer.Argument(help="A page, a site map (both http or https), a file, or a folder.")],
    pages: Annotated[int, typer.Option(min=1, max=10_000, help="How many pages are read at most.")] = 50,
    files: Annotated[int, typer.Option(min=1, max=100_000, help="How many files are looked at, at most.")] = 500,
    pause: Annotated[float, typer.Option(min=0.0, max=60.0, help="Seconds between two requests.")] = 0.5,
    report: Annotated[Optional[Path], typer.Option(help="Write the answer as JSON here, too.")] = None,  # noqa: UP045
    json_: Annotated[bool, typer.Option("--json", help="JSON on standard output, nothing else.")] = False,
) -> None:
    """Finds copies that lost their credentials or marks on the way, says which asset each is, and what to fix.

    Exit codes: 0 all is kept, 5 something was lost or altered, 4 nothing of it is known here, 1 error. Run it daily.
    """
    import json

    from ..fetching import Allowed, FetchLimits
    from ..site_walk import Bounds, Walk
    from .output import emit_json, out

    if report is not None:
        check_output(report)
    with installation() as opened:
        used = opened.settings
        limits = FetchLimits(used.fetch_max_bytes, used.fetch_seconds, allowed=Allowed.parse(used.fetch_allow))
        walk = Walk(limits, Bounds(pages, files, pause))
        found: list[Copy] = []
        for copy in _copies(opened, place, walk):
            found.append(copy)
            if not json_:
                _show(copy)
    counted = Counter(copy.status for copy in found)
    answer = {
        "place": place,
        "files": [copy.as_dict() for copy in found],
        "counts": dict(sorted(counted.items())),
        "notes": walk.notes,
    }
    if report is not None:
        # Names of files in another encoding come with halves of pairs, which UTF-8 has not: JSON escapes them.
        text = json.dumps(answer, ensure_ascii=False, indent=1) + "\n"
        write_file(report, text.encode("utf-8", "backslashreplace"), 0o666)
    if json_:
        emit_json(answer)
    else:
        for note in walk.notes:
            out.print(f"[dim]{escape(note)}[/dim]")
        told = ", ".join(f"{n} {word}" for word, n in sorted(counted.items(), key=_most))
        out.print(f"{len(found)} files: {told or 'none'}")
    raise typer.Exit(5 if counted["lost"] or counted["altered"] else 0 if counted["kept"] else 4)


def _most(counted: tuple[str, int]) -> tuple[int, str]:
    """The most frequent first, and in one order."""
    return -counted[1], counted[0]


def _copies(opened: Installation, place: str, walk: Walk) -> Iterator[Copy]:
    from ...errors import InputError
    from ...provenance.scratch import ScratchFolder
    from ..ingest import looked_at
    from .verify import _files_of

    if place.lower().startswith(("http://", "https://")):
        with ScratchFolder() as folder:
            for url, page, path in walk.files(place, folder):
                yield looked_at(opened, url, page, path)
        return
    path = Path(place)
    if not path.exists():
        raise InputError(f"there is no {path.name}", code="input.guard", hint="Give an address, a file or a folder.")
    everything = _files_of(path) if path.is_dir() else [path]
    for file in everything[: walk.bounds.files]:
        yield looked_at(opened, str(file), None, file)
    if len(everything) > walk.bounds.files:
        walk.notes.append(f"stopped after {walk.bounds.files} files of {len(everything)}")


def _show(copy: Copy) -> None:
    from .output import out

    asset = f" [dim]{copy.asset_id}[/dim]" if copy.asset_id else ""
    out.print(f"{_SIGNS[copy.status]} {escape(copy.place)}{asset} {copy.status}")
    if copy.lost:
        out.print(f"    lost: {', '.join(copy.lost)}")
    for line in (*copy.why, *([copy.detail] if copy.detail else []), *(f"→ {fix}" for fix in copy.fix)):
        out.print(f"    {escape(line)}")
