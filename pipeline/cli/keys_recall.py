"""`filigrana keys revoke` and `recall`: when a signing key may have fallen into other hands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.markup import escape

from ...errors import InputError
from .state import reading

JSON = Annotated[bool, typer.Option("--json", help="JSON on standard output, nothing else.")]


def revoke(
    reason: Annotated[str, typer.Option(help="Why, in a few words: it stands in the log.")],
    first: Annotated[Optional[int], typer.Option("--from", help="The first log index that is in doubt.")] = None,  # noqa: UP045
    last: Annotated[Optional[int], typer.Option("--to", help="The last one; without it, all that follow.")] = None,  # noqa: UP045
    since: Annotated[Optional[str], typer.Option(help="Instead of indices: releases from this time on.")] = None,  # noqa: UP045
    until: Annotated[Optional[str], typer.Option(help="… and before this one.")] = None,  # noqa: UP045
    certificate: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="The beginning of the certificate's SHA-256; else the one that signs now."),
    ] = None,
    chain: Annotated[Optional[Path], typer.Option(help="The certificate's PEM, where it is not known here.")] = None,  # noqa: UP045
    json_: JSON = False,
) -> None:
    """Records that a certificate's signatures over a stretch of the log are not believed any more."""
    from .. import recall as recalling
    from .output import emit_json, out

    if (first is None) == (since is None) or not 1 <= len(reason) <= 128:
        raise InputError("give --from (and --to), or --since (and --until), and a reason of 1 to 128 characters")
    with reading() as opened:
        if since is not None:
            end = None if until is None else recalling.parsed_time(until)
            first, found = recalling.indices_between(opened, recalling.parsed_time(since), end)
            last = found if until is not None else None
        index, range_ = recalling.revoke(
            opened, first=first or 0, last=last, reason=reason, certificate=certificate, chain=chain
        )
        count = len(recalling.recalled(opened))
    told = {
        "certificate": range_.fingerprint,
        "first": range_.first,
        "last": range_.last,
        "reason": range_.reason,
        "log": {"index": index},
        "assets": count,
    }
    if json_:
        emit_json(told)
    else:
        end_ = "the end" if range_.last is None else range_.last
        out.print(f"{range_.fingerprint[:24]}… is not believed for the entries {range_.first} to {end_}: log {index}")
        out.print(f"{count} assets are concerned: `filigrana keys recall` lists them")


def recall(
    resign: Annotated[bool, typer.Option("--resign", help="Sign them again with the key of today.")] = False,
    json_: JSON = False,
) -> None:
    """Lists what revoked keys signed, and signs it again. Exit codes: 0 nothing is left to do, 5 something is."""
    from .. import recall as recalling
    from .output import emit_json, out

    with reading() as opened:
        found = list(recalling.resign(opened)) if resign else recalling.recalled(opened)
    left = [item for item in found if item.status != "signed again"]
    if json_:
        told = [
            {
                "asset_id": str(item.asset_id),
                "log": {"index": item.log_index},
                "file": item.where,
                "status": item.status,
                "detail": item.detail,
            }
            for item in found
        ]
        emit_json({"assets": told, "left": len(left)})
    else:
        for item in found:
            out.print(
                f"{item.asset_id}  entry {item.log_index:<8} {item.status:<20} {escape(item.detail or item.where)}"
            )
        out.print(f"{len(found)} assets, {len(left)} of them not signed again")
    raise typer.Exit(5 if left else 0)
