"""`filigrana audit`: the record, and what proves that nobody rewrote it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from rich.markup import escape

from ...errors import InputError
from .state import installation

app = typer.Typer(no_args_is_help=True, help="The audit log: look, verify, prove, export.")
JSON = Annotated[bool, typer.Option("--json", help="JSON on standard output, nothing else.")]
OUT = Annotated[Path, typer.Option("--output", "-o", help="The file to write.")]


@app.command()
def show(
    what: Annotated[str | None, typer.Argument(help="An asset id or an entry's index; default: the latest.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many entries.")] = 20,
    json_: JSON = False,
) -> None:
    """Shows log entries: the latest, one by index, or all of one asset."""
    from .output import emit_json, out

    with installation() as opened:
        log = opened.log
        for index, entry in _chosen(log, what, limit):
            if json_:
                emit_json({"index": index, "entry": entry})
                continue
            words = [str(entry[key]) for key in ("kind", "asset_id", "code", "mime") if entry.get(key)]
            if entry["type"] == "decision":
                words += [entry["decision"]["side"], entry["decision"]["verdict"], entry["decision"]["code"]]
            out.print(
                f"[bold]{index:>6}[/bold]  {entry.get('time', ''):<24}  {entry['type']:<10} "
                f"[dim]{entry.get('intent', '')[:8]}[/dim]  {escape(' '.join(words))}"
            )
            if what is not None:
                out.print_json(data=entry)


def _chosen(log: Any, what: str | None, limit: int) -> Any:
    from ...provenance.catalog import Catalog
    from ...provenance.database import session
    from ...provenance.identity import AssetId

    size = log.size()
    if what is None:
        return log.entries(max(0, size - limit), size)
    if what.isdecimal() and len(what) < 12:
        return [(int(what), log.entry(int(what)))]
    ident = AssetId.parse(what)
    with session(log.engine) as rows:
        record = Catalog(rows).by_asset_id(ident)
    if record is None:
        raise _unknown(ident)
    intent = str(record.intent_id)
    return [(i, e) for i, e in log.entries() if e.get("intent") == intent]


def _unknown(ident: object) -> InputError:
    return InputError(
        f"nothing was released here under {ident}",
        code="input.asset_unknown",
        hint="`filigrana audit show` lists the latest releases.",
    )


@app.command("verify")
def verify_(
    checkpoint: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option(help="A signed checkpoint that was kept elsewhere; may be given several times."),
    ] = None,
    json_: JSON = False,
) -> None:
    """Recomputes the whole log against itself, its guard and outside checkpoints. Exit codes: 0 intact, 5 not."""
    from .output import emit_json, err, out, progress_bars

    notes = []
    for path in checkpoint or []:
        try:
            notes.append(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"the checkpoint {path.name} cannot be read", code="input.checkpoint") from error
    with installation() as opened, progress_bars(json_) as tell:
        report = opened.log.verify(notes, lambda done, total: tell("verify", done, total))
        tell("verify", 1, 1)
    if json_:
        emit_json(
            {
                "ok": report.ok,
                "entries": report.entries,
                "root": report.root,
                "first_bad": report.first_bad,
                "seconds": round(report.seconds, 4),
                "problems": list(report.problems),
            }
        )
    elif report.ok:
        out.print(f"[green]intact[/green]: {report.entries} entries, root {report.root[:16]}…, {report.seconds:.2f} s")
        if not notes:
            out.print(
                "[dim]Only a checkpoint that the operator cannot change shows a wholly rewritten history: "
                "give one with --checkpoint.[/dim]"
            )
    else:
        err.print("[red]not intact[/red]")
        for problem in report.problems:
            err.print(f"  {escape(problem)}")
    raise typer.Exit(0 if report.ok else 5)


@app.command()
def prove(asset: Annotated[str, typer.Argument(help="An asset id.")], output: OUT, json_: JSON = False) -> None:
    """Writes the proof that an asset's release is in the log: a C2SP tlog-proof that verifies offline."""
    from ...provenance.catalog import Catalog
    from ...provenance.database import session
    from ...provenance.identity import AssetId
    from ...provenance.log.proof import LogProof
    from ..store import check_target
    from .output import emit_json, out

    ident = AssetId.parse(asset)
    check_target(output)
    with installation() as opened:
        with session(opened.log.engine) as rows:
            record = Catalog(rows).by_asset_id(ident)
        if record is None or record.log_index is None:
            raise _unknown(ident)
        text = opened.log.prove(record.log_index, embed_entry=True)
        # What we hand out, we check first, as the receiver will.
        LogProof.parse(text).verify(opened.log.keys)
        key = str(opened.log.keys[0])
    output.write_text(text, "utf-8")
    note = LogProof.parse(text).checkpoint
    if json_:
        emit_json(
            {
                "file": str(output),
                "asset_id": str(ident),
                "index": record.log_index,
                "checkpoint": note,
                "verifier_key": key,
            }
        )
    else:
        out.print(f"{output}: entry {record.log_index}, verifies with the key {escape(key)}")


@app.command()
def export(output: OUT, json_: JSON = False) -> None:
    """Writes every entry as JSON Lines, and the signed checkpoint over them."""
    from ..store import check_target
    from .output import emit_json, out

    check_target(output)
    partial = output.with_name(f".{output.name}.part")
    with installation() as opened:
        try:
            with partial.open("w", encoding="utf-8") as stream:
                count = opened.log.export(stream)
            partial.replace(output)
        finally:
            partial.unlink(missing_ok=True)
    if json_:
        emit_json({"file": str(output), "entries": count})
    else:
        out.print(f"{output}: {count} entries")


@app.command()
def checkpoint(json_: JSON = False) -> None:
    """Prints the signed head of the log. Keep it where the operator of the log cannot change it."""
    from .output import emit_json, out

    with installation() as opened:
        note = opened.log.checkpoint()
        key = str(opened.log.keys[0])
    if json_:
        emit_json({"checkpoint": note, "verifier_key": key})
    else:
        out.print(escape(note), end="")
