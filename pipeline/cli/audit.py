"""`filigrana audit`: the record, and what proves that nobody rewrote it."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.markup import escape

from ...errors import InputError
from ...provenance.durable import write_file
from . import audit_bundle, audit_data, audit_explain, audit_look, audit_publish, audit_site, witness
from .notes import read_note
from .state import check_output, installation, reading

app = typer.Typer(no_args_is_help=True, help="The audit log: look, verify, prove, export.")
app.command("show")(audit_look.show)
app.command("search")(audit_look.search)
app.command("explain")(audit_explain.explain)
app.command("tail")(audit_look.tail)
app.command("erase")(audit_data.erase)
app.command("retain")(audit_data.retain)
app.command("hold")(audit_data.hold)
app.command("unhold")(audit_data.unhold)
app.command("subject")(audit_data.subject_export)
app.command("doctor")(audit_data.doctor)
app.command("publish")(audit_publish.publish)
app.command("watch")(audit_publish.watch)
app.command("tiles")(audit_site.export_site)
app.command("serve")(audit_site.serve)
app.command("verify-tiles")(audit_site.verify_site)
app.add_typer(audit_bundle.app, name="bundle")
app.add_typer(witness.app, name="witness")
JSON = Annotated[bool, typer.Option("--json", help="JSON on standard output, nothing else.")]
OUT = Annotated[Path, typer.Option("--output", "-o", help="The file to write.")]


@app.command("verify")
def verify_(
    checkpoint: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option(help="A signed checkpoint that was kept elsewhere; may be given several times."),
    ] = None,
    catalog: Annotated[
        bool, typer.Option("--catalog", help="Hold every release against the catalog and its decision record too.")
    ] = False,
    json_: JSON = False,
) -> None:
    """Recomputes the whole log against itself, its guard and outside checkpoints. Exit codes: 0 intact, 5 not."""
    from ..released import catalog_problems
    from .output import emit_json, err, out, progress_bars

    notes = {str(path): read_note(path) for path in checkpoint or []}
    with reading() as opened, progress_bars(json_) as tell:
        report = opened.log.verify(notes, lambda done, total: tell("verify", done, total))
        tell("verify", 1, 1)
        problems = list(report.problems)
        if catalog and report.ok:
            problems += catalog_problems(opened.log, tell)
            tell("catalog", 1, 1)
    if json_:
        emit_json(
            {
                "ok": not problems,
                "entries": report.entries,
                "root": report.root,
                "first_bad": report.first_bad,
                "seconds": round(report.seconds, 4),
                "problems": problems,
            }
        )
    elif not problems:
        out.print(f"[green]intact[/green]: {report.entries} entries, root {report.root[:16]}…, {report.seconds:.2f} s")
        if not notes:
            out.print(
                "[dim]Only a checkpoint that the operator cannot change shows a wholly rewritten history: "
                "give one with --checkpoint.[/dim]"
            )
    else:
        err.print("[red]not intact[/red]")
        for problem in problems:
            err.print(f"  {escape(problem)}")
    raise typer.Exit(5 if problems else 0)


@app.command()
def reindex(json_: JSON = False) -> None:
    """Writes the index of requests anew from the log, where `verify --catalog` found that it is not what the log says.

    Nobody can write to the log meanwhile.
    """
    from ...provenance.by_request import rebuild
    from .output import emit_json, out

    with reading() as opened:
        count = rebuild(opened.log)
    if json_:
        emit_json({"entries": count})
    else:
        out.print(f"{count} entries are in the index of requests")


@app.command()
def prove(asset: Annotated[str, typer.Argument(help="An asset id.")], output: OUT, json_: JSON = False) -> None:
    """Writes the proof that an asset's release is in the log: a C2SP tlog-proof that verifies offline."""
    from ...provenance.identity import AssetId
    from ...provenance.log.proof import LogProof
    from ..released import released_asset
    from .output import emit_json, out

    ident = AssetId.parse(asset)
    check_output(output)
    with reading() as opened:
        found = released_asset(opened.log, ident)
        text = opened.log.prove(found.index, embed_entry=True)
        # What we hand out, we check first, as the receiver will.
        LogProof.parse(text).verify(opened.log.keys)
        key = str(opened.log.keys[0])
    write_file(output, text.encode(), 0o666)
    note = LogProof.parse(text).checkpoint
    if json_:
        emit_json(
            {
                "file": str(output),
                "asset_id": str(ident),
                "index": found.index,
                "checkpoint": note,
                "verifier_key": key,
            }
        )
    else:
        out.print(f"{output}: entry {found.index}, verifies with the key {escape(key)}")


@app.command()
def export(
    output: OUT,
    format_: Annotated[
        str | None, typer.Option("--format", help="jsonl or parquet; default: by the file's name.")
    ] = None,
    json_: JSON = False,
) -> None:
    """Writes every entry as JSON Lines or Parquet, and the signed checkpoint over them."""
    from ...provenance.log.tables_out import write_parquet
    from .output import emit_json, out, progress_bars

    wanted = format_ or ("parquet" if output.suffix.lower() == ".parquet" else "jsonl")
    if wanted not in ("jsonl", "parquet"):
        raise InputError(f"entries are not exported as {wanted}", code="input.format", hint="jsonl or parquet.")
    check_output(output)
    # A name of its own: of two at once into the same file, one is there at the end, and it is whole.
    partial = output.with_name(f".{output.name}.{secrets.token_hex(4)}.part")
    with reading() as opened, progress_bars(json_) as tell:
        try:
            if wanted == "parquet":
                count = write_parquet(opened.log, partial, lambda done, total: tell("export", done, total))
            else:
                with partial.open("w", encoding="utf-8") as stream:
                    count = opened.log.export(stream)
            tell("export", 1, 1)
            partial.replace(output)
        finally:
            partial.unlink(missing_ok=True)
    if json_:
        emit_json({"file": str(output), "entries": count})
    else:
        out.print(f"{output}: {count} entries")


@app.command()
def record(
    asset: Annotated[str, typer.Argument(help="An asset id.")],
    output: Annotated[Optional[Path], typer.Option("--output", "-o", help="Write the signed record here.")] = None,  # noqa: UP045
    json_: JSON = False,
) -> None:
    """Shows an asset's decision record: who decided what by which policy, guards and models, and what came of it.

    It is checked first: signed with the log's key, and the very one that the log's release entry names.
    """
    from ...provenance.identity import AssetId
    from ...provenance.record import open_record
    from ..released import released_asset
    from .output import emit_json, out

    ident = AssetId.parse(asset)
    if output is not None:
        check_output(output)
    with reading() as opened:
        found = released_asset(opened.log, ident)
        note = found.note
        if note is None:
            raise InputError("this asset was released before there were decision records", code="input.no_record")
        said = open_record(note, opened.log.keys)
    if output is not None:
        write_file(output, note.encode(), 0o666)
    if json_:
        emit_json({"asset_id": str(ident), "index": found.index, "record": said, "note": note})
    elif output is not None:
        out.print(f"{output}: the signed record of {ident}")
    else:
        out.print_json(data=said)


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


@app.command()
def adopt(
    file: Annotated[Path, typer.Argument(help="A signed checkpoint of this log that was kept elsewhere.")],
    json_: JSON = False,
) -> None:
    """Puts a lost guard file back from a checkpoint that was kept elsewhere.

    It must fit the log, and cover all that is known to have been signed.
    """
    from .output import emit_json, out

    note = read_note(file)
    with reading() as opened:
        opened.log.adopt_guard(note)
        path = opened.guard_path
    if json_:
        emit_json({"file": str(path), "checkpoint": note})
    else:
        out.print(f"{path}: the guard is back")
