"""`filigrana trust`: whose signatures and time-stamps this verifier believes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from .state import installation

app = typer.Typer(no_args_is_help=True, help="The trust lists of this verifier.")
JSON = Annotated[bool, typer.Option("--json", help="JSON on standard output, nothing else.")]
Kind = Literal["claim", "tsa"]


@app.command()
def update(
    file: Annotated[Path, typer.Argument(help="A PEM file: the official C2PA trust list, or its time-stamp list.")],
    tsa: Annotated[bool, typer.Option("--tsa", help="It is the list of time-stamp authorities.")] = False,
    json_: JSON = False,
) -> None:
    """Installs or refreshes an official trust list: checked first, the one before it kept beside it."""
    from ...errors import SettingsError
    from ...provenance.trust_store import MAX_BYTES, TrustStore
    from .output import emit_json, out, plain

    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}", code="settings.trust", hint="") from error
    with installation() as opened:
        done = TrustStore(opened.folder / "trust").update("tsa" if tsa else "claim", data, opened.clock())
    if json_:
        emit_json(
            {
                "kind": done.kind,
                "certificates": done.count,
                "added": list(done.added),
                "removed": list(done.removed),
                "sha256": done.digest,
            }
        )
        return
    out.print(f"{done.count} certificates on the list of {'time-stamp authorities' if tsa else 'claim signers'}")
    for sign, names in (("+", done.added), ("-", done.removed)):
        for name in names:
            out.print(f"  {sign} {plain(name)}")


@app.command()
def show(json_: JSON = False) -> None:
    """Every certificate that this verifier believes, with its list and when it expires."""
    from ...provenance.trust_store import read_list
    from .output import emit_json, out, plain

    rows: list[dict[str, Any]] = []
    with installation() as opened:
        now = opened.clock()
        for kind, lists in (("claim", opened.trust.claim), ("tsa", opened.trust.tsa)):
            for item in lists:
                rows += [
                    {
                        "kind": kind,
                        "level": item.level,
                        "subject": one.subject,
                        "not_after": one.not_after,
                        "sha256": one.sha256,
                        "expired": one.expired,
                    }
                    for one in read_list(item.pem.encode(), now, expired=True)
                ]
    if json_:
        emit_json(rows)
        return
    if not rows:
        out.print("nobody is trusted yet: `filigrana trust update FILE` installs a list")
    for row in rows:
        late = "  [red]expired[/red]" if row["expired"] else ""
        out.print(f"{row['kind']:<6} {row['level']:<12} {plain(row['subject'])}  until {row['not_after'][:10]}{late}")
