"""`filigrana models`: what can generate and judge here, and which files of a model are believed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from ...errors import FiligranaError, InputError
from .state import settings

if TYPE_CHECKING:
    from ..generators.model_signature import Signer
    from ..generators.registry import Checked
    from ..generators.registry_file import Entry

app = typer.Typer(no_args_is_help=True, help="The models of this installation: list, add, verify, remove.")
JSON = Annotated[bool, typer.Option("--json", help="JSON on standard output, nothing else.")]


@app.command("list")
def list_(json_: JSON = False) -> None:
    """The generator in use, the embedded one, those that are registered, and the guards, each with its digest. Loads
    no weights, and reads none of registered models."""
    from ..generators.folder import EMBEDDED, ModelFolder
    from ..generators.registry import meant, registered
    from ..guards import frame_guards
    from .output import emit_json, out

    used, data_dir = settings().model, settings().data_dir
    entries: list[Entry] = []
    damaged: list[dict[str, Any]] = []
    try:
        entries = registered(data_dir)
    except FiligranaError as error:
        damaged = [{"name": "models.json", "kind": "registry", "used": False, "problem": error.message}]
    chosen = None if used == EMBEDDED else meant(entries, used)
    rows: list[dict[str, Any]] = []
    for name in dict.fromkeys([EMBEDDED, *([used] if chosen is None else [])]):
        row: dict[str, Any] = {"name": name, "kind": "generator", "used": name == used}
        try:
            model = ModelFolder(name).model
            row |= {
                "title": model.name,
                "version": model.version,
                "digest": model.digest,
                "licence": model.licence,
                "training_data": model.training_data,
                "problem": None,
            }
        except FiligranaError as error:
            row |= {"problem": error.message}
        rows.append(row)
    rows += [_row(entry) | {"used": entry is chosen} for entry in entries] + damaged
    for name in ("nsfw", "clip"):
        row = {"name": name, "kind": "guard", "used": True}
        try:
            found = frame_guards([name])
            if not found:
                raise FiligranaError("not installed: pip install 'filigrana[generate]'")
            guard = found[0].model
            row |= (
                {"title": guard.name, "version": guard.version, "digest": guard.digest, "problem": None}
                if guard
                else {}
            )
        except FiligranaError as error:
            row |= {"problem": error.message}
        rows.append(row)
    if json_:
        emit_json(rows)
        return
    for row in rows:
        mark = "[green]●[/green]" if row["used"] else " "
        about = (
            f"[red]{escape(row['problem'])}[/red]"
            if row.get("problem")
            else (
                f"{escape(str(row.get('title', '')))} {escape(str(row.get('version', '')))} "
                f"[dim]{str(row.get('digest', ''))[:12]}[/dim] {escape(str(row.get('licence', '')))}"
            )
        )
        if "files" in row:
            about += (
                f" [dim]pinned {escape(row['added'][:10])}, {row['files']} files, {row['signature']['status']}[/dim]"
            )
        out.print(f"{mark} {row['kind']:<10} [bold]{escape(row['name'])}[/bold]  {about}")


def _row(entry: Entry) -> dict[str, Any]:
    """A registered model as `list` and `add` show it."""
    model, signature = entry.model, entry.signature
    return {
        "name": entry.name,
        "kind": "generator",
        "used": False,
        "title": model.name,
        "version": model.version,
        "digest": model.digest,
        "licence": model.licence,
        "training_data": model.training_data,
        "problem": None if entry.folder.is_dir() else f"the folder {entry.folder} is not there",
        "folder": str(entry.folder),
        "source": entry.source,
        "added": entry.added,
        "files": len(entry.files),
        "bytes": entry.bytes,
        "signature": {"status": signature.status, "key": signature.key or None},
    }


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What --model shall call it.")],
    source: Annotated[str, typer.Argument(help="A folder in diffusers' layout, or a hub id.")],
    licence: Annotated[str, typer.Option(help="Its licence; default: what its filigrana.json says.")] = "",
    training_data: Annotated[str, typer.Option(help="An address, or words: what it was trained on.")] = "",
    public_key: Annotated[Path | None, typer.Option(help="PEM: model.sig must be signed by this key.")] = None,
    certificate_chain: Annotated[
        list[Path] | None, typer.Option(help="PEM: model.sig's certificate must descend from one of these. Repeatable.")
    ] = None,
    unsigned: Annotated[bool, typer.Option("--unsigned", help="Take it although nobody signed it.")] = False,
    json_: JSON = False,
) -> None:
    """Registers a model: the digest of every file is pinned, and its signature checked.

    From then on it is loaded only while its files are exactly these. Added again from the same place, it is pinned
    anew; the key that was given the first time still counts.
    """
    from ..generators.registry import Asked
    from ..generators.registry import add as add_model
    from .output import emit_json, hashing, out, plain

    started = time.perf_counter()
    asked = Asked(licence, training_data, _signer(public_key, certificate_chain or []), unsigned)
    with hashing("pinning", json_) as tell:
        entry, again = add_model(settings().data_dir, name, source, asked, tell)
    row = _row(entry)
    del row["kind"], row["used"], row["problem"]
    if json_:
        emit_json(row | {"again": again, "seconds": round(time.perf_counter() - started, 3)})
        return
    out.print(f"[bold]{plain(entry.name)}[/bold] is {'pinned anew' if again else 'registered'}: {plain(entry.folder)}")
    out.print(f"  {len(entry.files)} files, {entry.bytes:,} bytes; weights sha256 {entry.model.digest}")
    by = f" by key {entry.signature.key[:16]}…" if entry.signature.key else ""
    out.print(f"  signature: {entry.signature.status}{by}")
    if entry.signature.status == "signed, not checked":
        out.print("  [dim]no key was given: --public-key or --certificate-chain says whom to believe[/dim]")
    if not entry.model.licence:
        out.print("  [dim]no licence is known: --licence says it, and manifests then name it[/dim]")
    out.print(f"  [dim]use it with --model {plain(entry.name)}[/dim]")


def _signer(public_key: Path | None, chain: list[Path]) -> Signer | None:
    from ..generators.model_signature import Signer, load_certificates, load_key

    if public_key and chain:
        raise InputError("give --public-key or --certificate-chain, not both")
    try:
        if public_key:
            pem = public_key.read_bytes()
            load_key(pem)
            return Signer(public_key=pem.decode("ascii"))
        if not chain:
            return None
        pems = [path.read_bytes() for path in chain]
        for pem in pems:
            load_certificates(pem)
        return Signer(certificates="\n".join(pem.decode("utf-8") for pem in pems))
    except OSError as error:
        raise InputError(f"{error.filename} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError("a key or certificate in PEM is text") from error


@app.command()
def verify(
    name: Annotated[str | None, typer.Argument(help="A registered name; without one, all of them.")] = None,
    json_: JSON = False,
) -> None:
    """Reads every file of registered models again, and checks their signatures.

    Exit codes: 0 all as it was pinned, 1 something differs or is missing; each such file is named.
    """
    from ..generators.registry import registered, verified
    from .output import emit_json, hashing, out, plain

    entries = registered(settings().data_dir, name)
    found: list[Checked] = []
    rows: list[dict[str, Any]] = []
    for entry in entries:
        started = time.perf_counter()
        with hashing(entry.name, json_) as tell:
            one = verified(entry, tell)
        found.append(one)
        rows.append(_finding(one) | {"seconds": round(time.perf_counter() - started, 3)})
        if not json_:
            _show(one)
    if json_:
        emit_json(rows)
    elif not entries:
        out.print(f"no model is registered: {plain('filigrana models add NAME SOURCE')} does")
    raise typer.Exit(0 if all(one.ok for one in found) else 1)


def _finding(one: Checked) -> dict[str, Any]:
    return {
        "name": one.entry.name,
        "ok": one.ok,
        "folder": str(one.entry.folder),
        "digest": one.entry.model.digest,
        "files": len(one.entry.files),
        "bytes": one.entry.bytes,
        "problem": one.problem,
        "differences": [{"file": item.file, "change": item.change} for item in one.differences],
        "signature": {
            "status": one.signature,
            "key": one.entry.signature.key or None,
            "problem": one.signature_problem,
        },
    }


def _show(one: Checked) -> None:
    from .output import out, plain

    sign = "[green]✓[/green]" if one.ok else "[red]✗[/red]"
    out.print(f"{sign} [bold]{plain(one.entry.name)}[/bold]  {plain(one.entry.folder)}")
    if one.problem:
        out.print(f"    [red]{plain(one.problem)}[/red]")
    for item in one.differences:
        out.print(f"    [red]{item.change:<10}[/red] {plain(item.file)}")
    if not one.differences and not one.problem:
        out.print(
            f"    {len(one.entry.files)} files, {one.entry.bytes:,} bytes: all as pinned on {one.entry.added[:10]}"
        )
    told = f"[red]{plain(one.signature_problem)}[/red]" if one.signature_problem else one.signature
    out.print(f"    signature{' of what was pinned' if one.differences else ''}: {told}")


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="A registered name.")],
    json_: JSON = False,
) -> None:
    """Forgets a registered model and its pins. Its files stay where they are."""
    from ..generators.registry import remove as remove_model
    from .output import emit_json, out, plain

    entry = remove_model(settings().data_dir, name)
    if json_:
        emit_json({"name": entry.name, "removed": True, "folder": str(entry.folder)})
        return
    out.print(f"[bold]{plain(entry.name)}[/bold] is forgotten; its files stay in {plain(entry.folder)}")
