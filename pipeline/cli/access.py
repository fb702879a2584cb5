"""`filigrana access`: the keys of those who may use the service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .state import installation, reading

if TYPE_CHECKING:
    import datetime as dt

    from ..access import Key

app = typer.Typer(no_args_is_help=True, help="Keys for the service: who may ask it for what.")
JSON = Annotated[bool, typer.Option("--json", help="JSON on standard output, nothing else.")]
RATE = Annotated[float | None, typer.Option(help="Requests a minute; else the setting `key_rate`.")]
IN_FLIGHT = Annotated[
    int | None, typer.Option("--in-flight", help="Jobs that have not ended; else the setting `key_in_flight`.")
]
PRIORITY = Annotated[
    int | None, typer.Option(help="The highest priority that it may ask for; else the setting `key_priority`.")
]
KEY = Annotated[str, typer.Argument(help="The key's id: the 12 characters in its middle.")]


@app.command()
def add(
    tenant: Annotated[str, typer.Option(help="Whose jobs it puts and sees.")] = "default",
    subject: Annotated[
        str | None, typer.Option(help="Under whose key prompts are kept; else the setting `user`.")
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(help="Repeatable: creator (default), reviewer, auditor, supervisor, monitor, admin; or scopes."),
    ] = None,
    days: Annotated[float | None, typer.Option(help="How long it is valid; else until it is revoked.")] = None,
    rate: RATE = None,
    in_flight: IN_FLIGHT = None,
    priority: PRIORITY = None,
    json_: JSON = False,
) -> None:
    """Makes a key, and shows it once. Only its digest is kept."""
    from ..access import Limits

    with installation() as opened:
        who = opened.settings.user if subject is None else subject
        limits = Limits(rate, in_flight, priority)
        key, secret = opened.access.add(tenant, who, scope or ["creator"], days, limits)
        _show(key, secret, opened.clock(), json_)


@app.command()
def limit(
    key: KEY, rate: RATE = None, in_flight: IN_FLIGHT = None, priority: PRIORITY = None, json_: JSON = False
) -> None:
    """Sets what a key may use; what is not given is as the settings say for every key."""
    from ..access import Limits
    from .output import emit_json, out

    with reading() as opened:
        found, now = opened.access.limit(key, Limits(rate, in_flight, priority)), opened.clock()
    if json_:
        emit_json(_row(found, now))
    else:
        said = ", ".join(f"{name} {value:g}" for name, value in found.limits.as_dict().items())
        out.print(f"{found.id}: {said or 'as the settings say'}")


@app.command("list")
def list_(
    tenant: Annotated[str | None, typer.Option(help="Of this tenant alone.")] = None, json_: JSON = False
) -> None:
    """Lists the keys, never a secret."""
    from rich.table import Table

    from .output import emit_json, out, plain

    with reading() as opened:
        found, now = opened.access.list(tenant), opened.clock()
    if json_:
        emit_json([_row(key, now) for key in found])
        return
    table = Table("key", "tenant", "subject", "scopes", "state", "until", box=None, header_style="dim")
    for key in found:
        row = _row(key, now)
        table.add_row(key.id, *(plain(row[name] or "") for name in ("tenant", "subject")), ", ".join(key.scopes),
                      row["state"], row["expires_at"] or "it is revoked")  # fmt: skip
    out.print(table if found else "there are no keys: `filigrana access add` makes one")


@app.command()
def rotate(
    key: KEY,
    grace: Annotated[float, typer.Option(help="Seconds for which the old key stays valid.")] = 3600.0,
    json_: JSON = False,
) -> None:
    """Makes a new key with the same rights, and shows it once; the old one is valid for a while longer."""
    with reading() as opened:
        made, secret = opened.access.rotate(key, grace)
        _show(made, secret, opened.clock(), json_)


@app.command()
def revoke(key: KEY, json_: JSON = False) -> None:
    """The key is worth nothing from now on."""
    from .output import emit_json, out

    with reading() as opened:
        found, now = opened.access.revoke(key), opened.clock()
    if json_:
        emit_json(_row(found, now))
    else:
        out.print(f"{found.id}: revoked")


def _show(key: Key, secret: str, now: dt.datetime, json_: bool) -> None:
    from .output import emit_json, err, out

    if json_:
        emit_json(_row(key, now) | {"secret": secret})
        return
    out.print(secret)
    err.print(f"[dim]key {key.id}, {', '.join(key.scopes)}. This is the only time that it is shown: keep it now.[/dim]")


def _row(key: Key, now: dt.datetime) -> dict[str, Any]:
    return {
        "key": key.id,
        "tenant": key.tenant,
        "subject": key.subject,
        "scopes": list(key.scopes),
        "state": key.state(now),
        "limits": key.limits.as_dict(),
        "created_at": key.created_at.isoformat(),
        "expires_at": None if key.expires_at is None else key.expires_at.isoformat(),
    }
