"""How results reach people and programs: tables and progress on the terminal, one JSON value on standard output."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from ...errors import FiligranaError

if TYPE_CHECKING:
    from ...provenance.verify import Finding
    from ..request import Progress as Tell
    from ..request import Release

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

COLOURS = {
    "verified": "green",
    "recovered": "green",
    "intact": "yellow",
    "unmarked": "yellow",
    "altered": "red",
    "contradicted": "red",
    "unreadable": "red",
}


def emit_json(value: Any) -> None:
    """One JSON value on one line, and nothing else. In ASCII where the output cannot carry its characters."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, ensure_ascii=True, allow_nan=False)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def plain(text: object) -> str:
    """As it may stand on a terminal: no markup, and control characters as escapes."""
    return escape("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text)))


def fail(error: FiligranaError) -> int:
    """Tells a person on standard error what happened and what to do; the exit code is 1."""
    err.print(f"[red]error[/red] {escape(error.message)} [dim]({escape(error.code)})[/dim]")
    if error.hint:
        err.print(f"      {escape(error.hint)}")
    for note in getattr(error, "__notes__", []):
        err.print(f"      {escape(note)}")
    return 1


@contextmanager
def progress_bars(quiet: bool) -> Iterator[Tell]:
    """A bar a stage on standard error; nothing at all with --json or where no terminal listens."""
    if quiet:
        yield lambda _stage, _done, _total: None
        return
    columns = (
        SpinnerColumn(finished_text="[green]✓[/green]"),
        TextColumn("{task.description:<13}"),
        BarColumn(bar_width=28),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, transient=False) as bars:
        tasks: dict[str, Any] = {}

        def tell(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=None, note="")
            if done == 1 and total == 1:
                bars.update(tasks[stage], total=1, completed=1)
            elif total > 1:
                bars.update(tasks[stage], total=total, completed=min(done, total - 1), note=f"{done}/{total}")
            elif done > 1:
                bars.update(tasks[stage], note=f"{done} frames")

        yield tell


def show_release(release: Release) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column()
    for name, value in release_rows(release):
        table.add_row(name, escape(value))
    out.print(table)


def release_rows(release: Release) -> list[tuple[str, str]]:
    """What a person wants to know of a release, line by line."""
    decisions = [d for d in (release.prompt_decision, release.decision) if d is not None]
    guards = "; ".join(
        f"{run.guard} {', '.join(f'{hazard} {score:.3f}' for hazard, score in run.scores) or 'no term found'}"
        for decision in decisions
        for run in decision.guards
    )
    policy = release.decision.policy
    # With no rule fired, "allow" is what the policy says when all its guards have answered.
    hits = [hit.rule for decision in decisions for hit in decision.hits]
    verdict = max(d.verdict for d in decisions).word
    size = len(release.log.checkpoint.splitlines()) and release.log.checkpoint.splitlines()[1]
    score = (
        f"read back, score {release.watermark_score:.1f}"
        if release.watermark_score is not None
        else ("none: no codec for sound in this version")
    )
    return [
        ("file", str(release.file)),
        *([("credentials", f"{release.sidecar}: keep it beside the file")] if release.sidecar else []),
        ("asset id", str(release.asset_id)),
        (
            "decision",
            f"{verdict} by {policy.id} {policy.version} ({policy.digest[:12]}); "
            f"{'rules ' + ', '.join(hits) if hits else 'no rule fired'}",
        ),
        ("guards", guards),
        ("signed by", f"{release.signer}; trust: {release.trust}"),
        ("time-stamp", release.timestamp or "none"),
        ("watermark", score),
        ("log", f"entry {release.log.index}, in the signed tree of {size}"),
        *([("best of", _candidates(release))] if "candidates" in release.details else []),
        ("energy", f"{release.energy.joules:.1f} J ({release.energy.method})"),
        ("stages", ", ".join(f"{name} {seconds:.2f} s" for name, seconds in release.stages.items())),
    ]


def _candidates(release: Release) -> str:
    """Every sample's agreement with the prompt, the chosen one first."""
    every = sorted(release.details["candidates"], key=lambda each: -float(each["agreement"]))
    return ", ".join(f"seed {each['seed']} {float(each['agreement']):.3f}" for each in every)


@contextmanager
def checking(total: int, quiet: bool) -> Iterator[Callable[[str], None]]:
    """A bar over many files on standard error."""
    if quiet:
        yield lambda _name: None
        return
    columns = (
        SpinnerColumn(),
        TextColumn("checking"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, transient=True) as bars:
        task = bars.add_task("files", total=total)
        yield lambda _name: bars.update(task, advance=1)


@contextmanager
def hashing(title: str, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar over bytes on standard error: what is told are bytes done, and bytes in all."""
    if quiet:
        yield lambda _done, _total: None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=28))
    with Progress(*columns, DownloadColumn(), TransferSpeedColumn(), console=err, transient=True) as bars:
        task = bars.add_task(escape(title), total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


SIGNS = {
    "ok": "[green]✓[/green]",
    "failed": "[red]✗[/red]",
    "warning": "[yellow]![/yellow]",
    "absent": "[dim]·[/dim]",
}


def show_finding(finding: Finding, *, language: str = "en", brief: bool = False) -> None:
    """The finding, what it means in plain words, then the evidence. Whatever a file says of itself is escaped."""
    colour, told = COLOURS[finding.finding], finding.telling(language)
    out.print(f"[bold {colour}]{finding.finding.upper():<12}[/bold {colour}] {plain(finding.file)}")
    out.print(f"             [bold]{plain(told.headline)}[/bold]")
    for line in told.explanation:
        out.print(f"             {plain(line)}")
    for line in told.not_conclude:
        out.print(f"             [dim]{plain(line)}[/dim]")
    if finding.asset_id is not None and not brief:
        out.print(
            f"             asset [bold]{finding.asset_id}[/bold]"
            + (f", trust: {finding.trust}" if finding.finding == "verified" else "")
        )
    if brief:
        return
    for evidence in finding.evidence:
        out.print(f"           {SIGNS[evidence.status]} {evidence.technique:<16} {plain(evidence.detail)}")
