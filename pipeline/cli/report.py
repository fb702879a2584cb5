"""`filigrana report`: what was released, refused and decided in a stretch of time, for an auditor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from rich.markup import escape

from .state import check_output, make_folder, reading

app = typer.Typer(no_args_is_help=True, help="Compliance reports out of the log: write one, or check one.")
JSON = Annotated[bool, typer.Option("--json", help="JSON on standard output, nothing else.")]


@app.command("write")
def write(
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write into.")],
    from_: Annotated[str, typer.Option("--from", help="Entries from this time on, such as 2026-10-01.")],
    to: Annotated[str, typer.Option("--to", help="Entries before this time, which is past.")],
    profile: Annotated[Optional[list[str]], typer.Option(help="Whose duties are told; several are allowed.")] = None,  # noqa: UP045
    format_: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--format", help="html, pdf, json, csv; several are allowed. Default: all of them."),
    ] = None,
    samples: Annotated[int, typer.Option(min=0, max=1000, help="How many assets stand in it with their proofs.")] = 20,
    robustness: Annotated[Optional[Path], typer.Option(help="The robustness report in use.")] = None,  # noqa: UP045
    safety: Annotated[Optional[Path], typer.Option(help="The safety report in use (safety.json).")] = None,  # noqa: UP045
    json_: JSON = False,
) -> None:
    """Writes report.html, report.pdf, report.json, report.csv, and report.note, which is signed over them.

    The same log, window and version give the same bytes. Evidence, not legal advice.
    """
    from ..reporting import FORMATS, write_report
    from .output import emit_json, out

    make_folder(output)
    check_output(output / "report.json")
    with reading(profiles=profile or None) as opened:
        report = write_report(
            opened,
            output,
            since=from_,
            until=to,
            formats=format_ or FORMATS,
            samples=samples,
            robustness_report=robustness,
            safety_report=safety,
        )
        key = str(opened.log.keys[0])
    types: dict[str, Any] = report["figures"]["types"]
    told = {
        name: types.get(kind, 0) for name, kind in (("released", "release"), ("refused", "refused"), ("held", "held"))
    }
    if json_:
        emit_json(
            {"folder": str(output), "files": report["files"], "tree": report["tree"], "verifier_key": key, **told}
        )
    else:
        out.print(f"{escape(str(output))}: {', '.join(report['files'])}")
        out.print(", ".join(f"{count} {name}" for name, count in told.items()) + f"; tree of {report['tree']['size']}")
        out.print(f"[dim]Give the auditor the log's key by another way: {escape(key)}[/dim]")


@app.command("verify")
def verify(
    folder: Annotated[Path, typer.Argument(help="The report's folder.")],
    key: Annotated[list[str], typer.Option(help="The log's verifier key, from elsewhere, or a file that holds it.")],
    entries: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="The log (`audit export`, or a bundle of all of it): every figure is counted again."),
    ] = None,
    json_: JSON = False,
) -> None:
    """Checks a report offline: signature, digests, proofs of its samples, and that its files tell the same.

    Exit codes: 0 it holds, 5 it does not.
    """
    from ..report_checking import check_report
    from .notes import verifier_key
    from .output import emit_json, err, out

    found = check_report(folder, [verifier_key(text) for text in key], entries)
    if json_:
        emit_json({"ok": not found.problems, "problems": list(found.problems), "not_compared": list(found.left)})
    else:
        for problem in found.problems:
            err.print(f"[red]✗[/red] {escape(problem)}")
        if not found.problems:
            counted = "" if entries is None else ": every figure was counted again"
            out.print(f"[green]the report holds[/green]{counted}")
        for left in found.left:
            out.print(f"[yellow]?[/yellow] {escape(left)}")
    raise typer.Exit(5 if found.problems else 0)
