"""`filigrana audit tiles`, `serve` and `verify-tiles`: the log as static files, written, served and checked."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.markup import escape

from .notes import read_note, verifier_key
from .state import reading

WITNESS = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        help="A witness's verifier key, from elsewhere, or a file that holds it: no other cosignature counts. May be "
        "given several times."
    ),
]
JSON = Annotated[bool, typer.Option("--json", help="JSON on standard output, nothing else.")]


def export_site(
    output: Annotated[str, typer.Option("--output", "-o", help="A folder, or a URL such as s3://bucket/log.")],
    whole: Annotated[bool, typer.Option(help="Look at every file there, not only at what is new.")] = False,
    json_: JSON = False,
) -> None:
    """Writes the log as static files (C2SP tlog-tiles) that anybody can check: what is new since the last time."""
    from ...provenance.log.site_export import export
    from .output import emit_json, out, progress_bars

    with reading() as opened, progress_bars(json_) as tell:
        opened.log.checkpoint()
        report = export(
            opened.log,
            output,
            lambda done, total: tell("tiles", done, total),
            cosigned=opened.folder / "checkpoints",
            whole=whole,
        )
        tell("tiles", 1, 1)
        key = str(opened.log.keys[0])
    if json_:
        emit_json(
            {
                "target": report.target,
                "entries": report.entries,
                "before": report.before,
                "written": report.written,
                "kept": report.kept,
                "verifier_key": key,
            }
        )
    else:
        out.print(f"{escape(report.target)}: {report.entries} entries, {report.written} files written")
        out.print(f"[dim]Anyone can check it: filigrana audit verify-tiles … --key {escape(key)}[/dim]")


def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8780,
    json_: JSON = False,
) -> None:
    """Serves the log's static files (GET and HEAD) until it is stopped. Exit code 0 after SIGINT or SIGTERM."""
    from ...provenance.log.site import LogSite
    from ...provenance.log.site_server import SiteServer
    from .output import emit_json, out

    with reading() as opened:
        site = LogSite(opened.log, opened.folder / "checkpoints")
        head = site.head()  # a log that does not fit its checkpoint is told now, not to the first reader
        with SiteServer(site, host, port) as server:
            try:
                signal.signal(signal.SIGTERM, signal.default_int_handler)
                if json_:
                    emit_json({"url": server.url, "entries": 0 if head is None else head.checkpoint.size})
                else:
                    out.print(f"the log's files: [bold]{server.url}/checkpoint[/bold]")
                    if head is None:
                        out.print("[dim]There is no checkpoint yet: `filigrana audit checkpoint` signs one.[/dim]")
                server.serve_forever()
            except KeyboardInterrupt:
                pass


def verify_site(
    source: Annotated[str, typer.Argument(help="A folder or a URL (http, https, or what fsspec knows).")],
    key: Annotated[
        list[str],
        typer.Option(
            help="The log's verifier key, from elsewhere, or a file that holds it; may be given several times."
        ),
    ],
    checkpoint: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option(help="A checkpoint kept from earlier, which the files must contain; may be given several times."),
    ] = None,
    witness: WITNESS = None,
    json_: JSON = False,
) -> None:
    """Checks a log by its static files alone: every entry, every tile, the signed root. Exit codes: 0 intact, 5 not."""
    from ...provenance.log.cosignature import utc
    from ...provenance.log.site_reader import verify_site as check
    from .output import emit_json, err, out, progress_bars

    notes = [read_note(path) for path in checkpoint or []]
    witnesses = [verifier_key(text) for text in witness or []]
    with progress_bars(json_) as tell:
        report = check(
            source,
            [verifier_key(text) for text in key],
            notes,
            lambda at, of: tell("verify", at, of),
            witnesses=witnesses,
        )
        tell("verify", 1, 1)
    if json_:
        emit_json(
            {
                "ok": report.ok,
                "source": report.source,
                "origin": report.origin,
                "entries": report.entries,
                "root": report.root,
                "first_bad": report.first_bad,
                "outside": report.outside,
                "cosigned": [{"witness": item.key.name, "time": item.time} for item in report.cosigned],
                "seconds": round(report.seconds, 4),
                "problems": list(report.problems),
            }
        )
    elif report.ok:
        out.print(
            f"[green]intact[/green]: {report.entries} entries of {escape(report.origin)}, root {report.root[:16]}…, "
            f"{report.seconds:.2f} s"
        )
        for item in report.cosigned:
            out.print(f"cosigned up to entry {report.entries - 1} by {escape(item.key.name)}, at {utc(item.time)}")
        for other in witnesses:
            if other not in [item.key for item in report.cosigned]:
                out.print(f"not checked: this checkpoint has no cosignature that counts by {escape(other.name)}")
        if not report.cosigned:
            out.print("not checked: whether others are shown the same log (--witness KEY)")
        if not notes:
            out.print("[dim]Keep the checkpoint, and give it next time with --checkpoint.[/dim]")
    else:
        err.print("[red]not intact[/red]")
        for problem in report.problems:
            err.print(f"  {escape(problem)}")
    raise typer.Exit(0 if report.ok else 5)
