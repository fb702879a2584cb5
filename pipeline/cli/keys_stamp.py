"""`filigrana keys stamp-pending`: finishes what waits for a time-stamp."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from .state import reading

JSON = Annotated[bool, typer.Option("--json", help="JSON on standard output, nothing else.")]


def stamp_pending(json_: JSON = False) -> None:
    """Signs, stamps and releases what was held for want of a time-stamp.

    Exit codes: 0 nothing waits any more, 5 something does, or was refused.
    """
    from ..publishing import published_if_due
    from ..waiting import stamp, stamping_parts
    from .output import emit_json, out

    with reading() as opened:
        found = list(stamp(stamping_parts(opened)))
        published_if_due(opened)
    released = [item for item in found if item.status == "released"]
    if json_:
        told = [
            {
                "request": str(item.intent),
                "asset_id": str(item.asset_id),
                "status": item.status,
                "file": None if item.file is None else str(item.file),
                "code": item.code or None,
                "detail": item.detail,
            }
            for item in found
        ]
        waiting = sum(item.status == "waiting" for item in found)
        emit_json({"requests": told, "released": len(released), "waiting": waiting})
    else:
        for item in found:
            out.print(f"{item.asset_id}  {item.status:<9} {escape(str(item.file or item.detail))}")
        out.print(f"{len(found)} waited for a time-stamp, {len(released)} of them are released now")
    raise typer.Exit(0 if len(released) == len(found) else 5)
