"""`filigrana audit witness`: a witness of logs, ours or other people's, that cosigns what only grows."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from .notes import verifier_key

app = typer.Typer(no_args_is_help=True, help="A witness: cosigns checkpoints of logs that only grow.")
JSON = Annotated[bool, typer.Option("--json", help="JSON on standard output, nothing else.")]
FOLDER = Annotated[Path, typer.Option(help="The witness's keys and state.")]


@app.command()
def keygen(
    folder: FOLDER,
    name: Annotated[str, typer.Option(help="The witness's name, such as witness.example/w1.")],
    json_: JSON = False,
) -> None:
    """Makes a witness: an ML-DSA-44 and an Ed25519 key, and an empty state. Never overwrites one."""
    from ...provenance.log.witness import Witness
    from .output import emit_json, out

    keys = Witness.create(folder, name)
    if json_:
        emit_json({"folder": str(folder), "name": name, "verifier_keys": [str(key) for key in keys]})
        return
    out.print(f"[bold]{escape(name)}[/bold]: keys and state in {escape(str(folder))}. Give the logs its verifier keys:")
    for key in keys:
        out.print(escape(str(key)))


@app.command()
def serve(
    folder: FOLDER,
    log: Annotated[
        list[str],
        typer.Option(help="The verifier key of a log to watch, or a file that holds it; may be given several times."),
    ],
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 0,
    json_: JSON = False,
) -> None:
    """Answers logs over HTTP (POST /add-checkpoint) until it is stopped. Exit code 0 after SIGINT or SIGTERM."""
    from ...provenance.log.witness import Witness
    from ...provenance.log.witness_server import WitnessServer
    from .output import emit_json, out

    witness = Witness.open(folder, [verifier_key(text) for text in log])
    witness.seen()  # a damaged state is told now, not to the first log that asks
    with WitnessServer(witness, host, port) as server:
        try:
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            if json_:
                emit_json({"url": server.url, "name": witness.keys[0].name, "origins": list(witness.origins)})
            else:
                out.print(f"[bold]{escape(witness.keys[0].name)}[/bold] listens on {server.url}, and watches:")
                for origin in witness.origins:
                    out.print(f"  {escape(origin)}")
            server.serve_forever()
        except KeyboardInterrupt:
            pass


@app.command()
def show(folder: FOLDER, json_: JSON = False) -> None:
    """Shows the witness's verifier keys, and what it cosigned last of each log."""
    from datetime import UTC, datetime

    from ...provenance.log.witness import read_state
    from .output import emit_json, out

    keys, seen = read_state(folder)
    if json_:
        emit_json(
            {
                "name": keys[0].name,
                "verifier_keys": [str(key) for key in keys],
                "logs": [
                    {
                        "origin": item.checkpoint.origin,
                        "size": item.checkpoint.size,
                        "root": item.checkpoint.root.hex(),
                        "time": item.time,
                    }
                    for item in seen
                ],
            }
        )
        return
    for key in keys:
        out.print(escape(str(key)))
    for item in seen:
        when = datetime.fromtimestamp(item.time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        root = item.checkpoint.root.hex()[:16]
        out.print(f"[bold]{escape(item.checkpoint.origin)}[/bold]  {item.checkpoint.size} entries  {root}…  {when}")
    if not seen:
        out.print("[dim]It has not cosigned anything yet.[/dim]")
