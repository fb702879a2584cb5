"""`filigrana models`: what can generate and judge here."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape

from ...errors import FiligranaError
from .state import settings

app = typer.Typer(no_args_is_help=True, help="The models of this installation.")


@app.command("list")
def list_(
    json_: Annotated[bool, typer.Option("--json", help="JSON on standard output, nothing else.")] = False,
) -> None:
    """The generator in use, the embedded one, and the guards, each with its digest. Loads no weights."""
    from ..generators.folder import EMBEDDED, ModelFolder
    from ..guards import frame_guards
    from .output import emit_json, out

    used = settings().model
    rows: list[dict[str, Any]] = []
    for name in dict.fromkeys([EMBEDDED, used]):
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
        out.print(f"{mark} {row['kind']:<10} [bold]{escape(row['name'])}[/bold]  {about}")
