"""`filigrana audit show`, `search` and `tail`: looking at entries."""

from __future__ import annotations

import re
from typing import Annotated, Any
from uuid import UUID

import typer

from ...errors import InputError
from .state import reading

UUID_FORM = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
JSON = Annotated[bool, typer.Option("--json", help="JSON on standard output, nothing else.")]


def show(
    what: Annotated[
        str | None, typer.Argument(help="An asset's or request's id, or an entry's index; default: the latest.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many entries.")] = 20,
    json_: JSON = False,
) -> None:
    """Shows log entries: the latest, one by index, or all of one asset."""
    with reading() as opened:
        for index, entry in _chosen(opened.log, what, limit):
            _print_entry(index, entry, json_, whole=what is not None)


def search(
    asset: Annotated[str | None, typer.Option(help="Everything about this asset, from its request on.")] = None,
    type_: Annotated[str | None, typer.Option("--type", help="intent, decision, result, release, refused, …")] = None,
    verdict: Annotated[str | None, typer.Option(help="allow, rewrite, review or block.")] = None,
    code: Annotated[str | None, typer.Option(help="A stable code, such as prompt.gore.")] = None,
    policy: Annotated[str | None, typer.Option(help="A pack's id, or its digest's first 8 digits or more.")] = None,
    model: Annotated[str | None, typer.Option(help="A generator's or guard's name, or its digest's beginning.")] = None,
    actor: Annotated[str | None, typer.Option(help="A subject's name, or actor:… as the log has it.")] = None,
    intent: Annotated[str | None, typer.Option(help="A request's id.")] = None,
    since: Annotated[str | None, typer.Option(help="From this time on: 2026-11-22, 2026-11-22T20:00Z.")] = None,
    until: Annotated[str | None, typer.Option(help="Before this time.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000_000, help="Stop after so many.")] = 1000,
    json_: JSON = False,
) -> None:
    """Finds entries that say all of what is given, oldest first. Exit codes: 0 found, 4 none."""
    from itertools import islice

    from ...provenance.log.search import Query, parse_time
    from .output import out

    with reading() as opened:
        if asset is not None:
            intent = _intent_of(opened.log, asset)
        query = Query(
            type=type_,
            verdict=verdict,
            code=code,
            policy=policy,
            model=model,
            intent=intent,
            actor=None if actor is None else _actor(opened.log, actor),
            since=None if since is None else parse_time(since),
            until=None if until is None else parse_time(until),
        )
        count = 0
        for count, (index, entry) in enumerate(islice(opened.log.search(query), limit), 1):  # noqa: B007
            _print_entry(index, entry, json_)
    if not count and not json_:
        out.print("nothing in the log says all of that")
    raise typer.Exit(0 if count else 4)


def tail(
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, max=1_000_000, help="How many of the latest entries first.")
    ] = 10,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new ones until Ctrl-C.")] = False,
    json_: JSON = False,
) -> None:
    """Shows the end of the log, and with --follow what is written from now on."""
    import contextlib
    import time

    with reading() as opened, contextlib.suppress(KeyboardInterrupt):  # which is how one leaves
        size = opened.log.size()
        at = max(0, size - lines)
        while True:
            for index, entry in opened.log.entries(at, size):
                _print_entry(index, entry, json_)
            if not follow:
                return
            at = size
            while (size := opened.log.size()) <= at:
                time.sleep(0.3)


def _print_entry(index: int, entry: dict[str, Any], json_: bool, *, whole: bool = False) -> None:
    from .output import emit_json, out, plain

    if json_:
        emit_json({"index": index, "entry": entry})
        return
    words = [str(entry[key]) for key in ("kind", "asset_id", "code", "mime", "texts") if entry.get(key)]
    decision = entry.get("decision")
    if isinstance(decision, dict):
        words += [str(decision.get(key, "")) for key in ("side", "verdict", "code")]
    out.print(
        f"[bold]{index:>6}[/bold]  {plain(entry.get('time', '')):<24}  {plain(entry['type']):<10} "
        f"[dim]{plain(entry.get('intent', ''))[:8]}[/dim]  {plain(' '.join(words))}"
    )
    if whole:
        out.print_json(data=entry)


def _chosen(log: Any, what: str | None, limit: int) -> Any:
    from ...provenance.by_request import entries_of

    size = log.size()
    if what is None:
        return log.entries(max(0, size - limit), size)
    if what.isascii() and what.isdecimal() and len(what) < 12:
        return [(int(what), log.entry(int(what)))]
    if UUID_FORM.fullmatch(what):
        return entries_of(log, UUID(what))
    return entries_of(log, UUID(_intent_of(log, what)))


def _intent_of(log: Any, asset: str) -> str:
    """The request that released this asset."""
    from ...provenance.identity import AssetId
    from ..released import released_asset

    return released_asset(log, AssetId.parse(asset)).intent


def _actor(log: Any, name: str) -> str:
    from ...provenance.database import session
    from ...provenance.vault import Vault

    if name.startswith("actor:"):
        return name
    with session(log.engine) as rows:
        actor = Vault(rows).known_actor(name)
    if actor is None:
        raise InputError(
            "nobody of that name asked for anything here, or was erased",
            code="input.subject",
            hint="Entries of a subject that was erased are found by the actor:… of its `erase` entry.",
        )
    return actor
