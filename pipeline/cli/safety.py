"""`filigrana safety`: the register of protected works, and what judges pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from .safety_bench import bench
from .state import settings

if TYPE_CHECKING:
    from ..register import Register

app = typer.Typer(no_args_is_help=True, help="How well things are judged, and the register of protected works.")
register = typer.Typer(no_args_is_help=True, help="Protected works: what is like one of them is not released.")
app.add_typer(register, name="register")
app.command("bench")(bench)
JSON = Annotated[bool, typer.Option("--json", help="JSON on standard output, nothing else.")]
EXIT_FOUND = 5
LIKE = 0.5
"""From this likeness on, `check` says that a file shows a registered work."""


def _opened() -> Register:
    from ..register import FILE, Register

    return Register(settings().data_dir / FILE)


@register.command()
def add(
    files: Annotated[list[Path], typer.Argument(help="Pictures or clips; of a clip, its sampled frames.")],
    title: Annotated[str, typer.Option(help="What the work is called; default: the file's name.")] = "",
    owner: Annotated[str, typer.Option(help="Whose it is.")] = "",
    reference: Annotated[str, typer.Option(help="Where its right is documented: a contract, a case, a URL.")] = "",
    json_: JSON = False,
) -> None:
    """Registers works. Only fingerprints and a thumbnail of 96 px are kept, never the works."""
    from .output import emit_json, out, plain

    opened, added = _opened(), []
    for file in files:
        entry = opened.add(file, title=title, owner=owner, reference=reference)
        added.append(vars(entry))
        if not json_:
            out.print(f"{entry.number:>5}  {plain(entry.title)}  [dim]{entry.frames} fingerprints[/dim]")
    if json_:
        emit_json(added)


@register.command("list")
def list_(json_: JSON = False) -> None:
    """Every registered work."""
    from .output import emit_json, out, plain

    entries = _opened().entries()
    if json_:
        emit_json([vars(entry) for entry in entries])
        return
    table = Table("number", "title", "owner", "reference", "fingerprints")
    for each in entries:
        table.add_row(str(each.number), plain(each.title), plain(each.owner), plain(each.reference), str(each.frames))
    out.print(table)


@register.command()
def remove(
    numbers: Annotated[list[int], typer.Argument(help="The works' numbers, as `list` shows them.")], json_: JSON = False
) -> None:
    """Takes works out of the register."""
    from .output import emit_json, out

    opened = _opened()
    for number in numbers:
        opened.remove(number)
    if json_:
        emit_json({"removed": numbers})
    else:
        out.print(f"removed {', '.join(map(str, numbers))}")


@register.command()
def check(
    files: Annotated[list[Path], typer.Argument(help="Pictures or clips to hold against the register.")],
    json_: JSON = False,
) -> None:
    """Is this a registered work, or a part of one?

    Exit codes: 0 none is, 5 one is, 1 error.
    """
    from .output import emit_json, out, plain

    opened, found = _opened(), []
    for file in files:
        likeness, work = opened.nearest(file)
        same: dict[str, Any] | None = None
        if work is not None and likeness >= LIKE:
            same = {"number": work.number, "title": work.title, "owner": work.owner, "reference": work.reference}
        found.append({"file": str(file), "likeness": round(likeness, 4), "work": same})
        if not json_:
            told = "no registered work"
            if same is not None:
                told = f"like [bold]{plain(same['title'])}[/bold] ({same['number']})"
            out.print(f"{likeness:.2f}  {plain(file)}: {told}")
    if json_:
        emit_json(found)
    raise typer.Exit(EXIT_FOUND if any(each["work"] for each in found) else 0)


@app.command()
def calibrate(
    source: Annotated[Path, typer.Argument(help="A folder HAZARD/harmful and HAZARD/harmless, or a CSV.")],
    json_: JSON = False,
) -> None:
    """Fits the configured `clip_model` on your own labelled pictures; without that it answers nothing.

    Exit codes: 0 fitted, 1 error.
    """
    from dataclasses import asdict

    from ...errors import SettingsError
    from ...safety.vision.clip_general import CALIBRATION_FILE, GeneralClipGuard
    from ..calibration import calibrate as fitted
    from ..calibration import labelled
    from ..torch_compat import ready
    from .output import checking, emit_json, err, out

    used = settings()
    if used.clip_model is None:
        raise SettingsError(
            "the model that ships is calibrated already", hint="Set clip_model to a tag of open_clip, or a folder."
        )
    ready()
    file = used.data_dir / CALIBRATION_FILE
    guard, found = GeneralClipGuard(used.clip_model, file), labelled(source)
    with checking(len(found), json_) as tell:
        curves, left_out = fitted(guard, found, file, tell)
    if json_:
        told = {hazard: asdict(each) for hazard, each in curves.items()}
        emit_json({"file": str(file), "digest": guard.digest, "hazards": told, "left_out": left_out})
        return
    table = Table("hazard", "AUC", "caught at .5", "harmless flagged at .5")
    for hazard, each in curves.items():
        shares = [f"{s.count} of {s.total} ({s.low:.0%} to {s.high:.0%})" for s in (each.caught, each.flagged)]
        table.add_row(hazard, f"{each.auc:.3f}", *shares)
    out.print(table)
    for text in left_out:
        err.print(f"[yellow]left out[/yellow] {text}")
