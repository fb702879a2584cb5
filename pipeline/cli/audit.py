"""`filigrana audit`: the record, and what proves that nobody rewrote it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from rich.markup import escape

from ...errors import InputError
from . import audit_bundle, audit_data, audit_publish, audit_site, witness
from .state import check_output, installation, reading

app = typer.Typer(no_args_is_help=True, help="The audit log: look, verify, prove, export.")
app.add_typer(witness.app, name="witness")
app.command("erase")(audit_data.erase)
app.command("retain")(audit_data.retain)
app.command("doctor")(audit_data.doctor)
app.command("publish")(audit_publish.publish)
app.command("watch")(audit_publish.watch)
app.command("tiles")(audit_site.export_site)
app.command("serve")(audit_site.serve)
app.command("verify-tiles")(audit_site.verify_site)
app.add_typer(audit_bundle.app, name="bundle")
JSON = Annotated[bool, typer.Option("--json", help="JSON on standard output, nothing else.")]
OUT = Annotated[Path, typer.Option("--output", "-o", help="The file to write.")]


@app.command()
def show(
    what: Annotated[str | None, typer.Argument(help="An asset id or an entry's index; default: the latest.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many entries.")] = 20,
    json_: JSON = False,
) -> None:
    """Shows log entries: the latest, one by index, or all of one asset."""
    with reading() as opened:
        for index, entry in _chosen(opened.log, what, limit):
            _print_entry(index, entry, json_, whole=what is not None)


@app.command()
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


@app.command()
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
    from ...provenance.log.search import Query

    size = log.size()
    if what is None:
        return log.entries(max(0, size - limit), size)
    if what.isascii() and what.isdecimal() and len(what) < 12:
        return [(int(what), log.entry(int(what)))]
    return log.search(Query(intent=_intent_of(log, what)))


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

    notes: dict[str, str] = {}
    for path in checkpoint or []:
        try:
            notes[str(path)] = path.read_text("utf-8")
        except (OSError, ValueError) as error:
            raise InputError(f"the checkpoint {path.name} cannot be read", code="input.checkpoint") from error
    with reading() as opened, progress_bars(json_) as tell:
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
    output.write_text(text, "utf-8")
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
    partial = output.with_name(f".{output.name}.part")
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
        output.write_text(note, "utf-8")
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

    try:
        note = file.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"the checkpoint {file.name} cannot be read", code="input.checkpoint") from error
    with reading() as opened:
        opened.log.adopt_guard(note)
        path = opened.guard_path
    if json_:
        emit_json({"file": str(path), "checkpoint": note})
    else:
        out.print(f"{path}: the guard is back")
