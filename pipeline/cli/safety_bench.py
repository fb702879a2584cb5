"""`filigrana safety bench`: how well prompts are judged, as a report that a release ships."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from .state import guards_for, settings

if TYPE_CHECKING:
    from ..safety_bench.run import Tell


def bench(
    files: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option("--prompts", help="CSV with text, label and perhaps hazard, lang, source. Default: our own."),
    ] = None,
    policy: Annotated[Optional[str], typer.Option(help="A pack's name or path; default: the one in use.")] = None,  # noqa: UP045
    sample: Annotated[Optional[int], typer.Option(min=1, help="Judge that many prompts at random.")] = None,  # noqa: UP045
    evaded: Annotated[int, typer.Option(min=0, help="Forbidden prompts that go through every evasion.")] = 200,
    fair: Annotated[bool, typer.Option("--bias/--no-bias", help="The same prompts over groups of people.")] = True,
    seed: Annotated[int, typer.Option(min=0, help="Of every random choice.")] = 1,
    folder: Annotated[Path, typer.Option("--output", "-o", help="Where safety.json and safety.html go.")] = Path(
        "safety-out"
    ),
    json_: Annotated[bool, typer.Option("--json", help="The report on standard output, nothing else.")] = False,
) -> None:
    """Measures how prompts are judged: by hazard and language, on harmless look-alikes, under evasions, over people.

    Exit codes: 0 every gate met, 5 not, 1 error.
    """
    from ..policies import load_tested_pack
    from ..policy_signatures import parse_signers
    from ..safety_bench.prompts import from_file, held_out
    from ..safety_bench.run import Plan, measure, write
    from .output import emit_json

    used = settings()
    pack = load_tested_pack(policy or used.policy, parse_signers(used.policy_signers))
    rows = [row for file in files for row in from_file(file)] if files else held_out()
    if sample is not None and sample < len(rows):
        rows = random.Random(seed).sample(rows, sample)
    plan = Plan(rows, evaded=evaded, harmless=min(60, evaded), fair=fair, seed=seed)
    with _bar(json_) as tell:
        report = measure(plan, pack, guards_for(pack), tell, used.cpu_watts, used.guard_timeout)
    made = write(report, folder)
    if json_:
        emit_json(report)
    else:
        _show(report, made[1])
    raise typer.Exit(0 if report["met"] else 5)


@contextmanager
def _bar(quiet: bool) -> Iterator[Tell]:
    if quiet:
        yield lambda _what, _done, _total: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from .output import err

    columns = (TextColumn("{task.description:<18}"), BarColumn(28), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err) as progress:
        tasks: dict[str, Any] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done)

        yield tell


def _show(report: dict[str, Any], page: Path) -> None:
    from rich.markup import escape
    from rich.table import Table

    from .output import out

    table = Table(box=None, padding=(0, 2))
    for head in ("", "asked", "measured", ""):
        table.add_column(head, justify="right" if head in ("asked", "measured") else "left")
    for gate in report["gates"]:
        value = "none" if gate["value"] is None else f"{gate['value']:.4g}"
        met = "[green]met[/green]" if gate["met"] else "[red]not met[/red]"
        table.add_row(escape(gate["name"]), gate["asked"], value, met)
    out.print(table)
    out.print(escape(str(page)))
