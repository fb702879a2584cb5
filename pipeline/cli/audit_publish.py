"""`filigrana audit publish` and `watch`: checkpoints to where the operator of the database cannot take them back."""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from ...errors import FiligranaError, InputError
from .state import reading

if TYPE_CHECKING:
    from ...provenance.log.publishing import PublishReport

JSON = Annotated[bool, typer.Option("--json", help="JSON on standard output, nothing else.")]
_log = logging.getLogger(__name__)


def publish(json_: JSON = False) -> None:
    """Signs the log's head and publishes it to every target of the setting log_publish, now.

    Exit codes: 0 every target has it, 1 one has not, or too few witnesses cosigned.
    """
    with reading() as opened:
        _some_target(opened)
        report = opened.publishing.run(opened.log)
    _show(report, json_)
    raise typer.Exit(0 if report.ok and not report.busy else 1)


def watch(
    every: Annotated[float, typer.Option(min=0.1, max=86_400, help="Seconds between looks at the log.")] = 30.0,
    json_: JSON = False,
) -> None:
    """Publishes whenever it is due (checkpoint_entries, checkpoint_seconds) until SIGTERM or Ctrl-C. Exit code 0."""
    stop = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    with reading() as opened:
        _some_target(opened)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, end)
        while True:
            try:
                if opened.publishing.due(opened.log.size(), opened.clock().timestamp()):
                    report = opened.publishing.run(opened.log)
                    if not report.busy:
                        _show(report, json_)
            except FiligranaError as error:  # a database that is away for a while ends no watch
                _log.warning("checkpoints cannot be published: %s [%s]", error.message, error.code)
            if stop.wait(every):  # measured on the monotonic clock: one that jumps neither stops nor hurries it
                return


def _some_target(opened: Any) -> None:
    if not opened.publishing.publishers:
        raise InputError(
            "checkpoints are published nowhere",
            code="input.no_target",
            hint='Set log_publish, such as ["/mnt/worm/checkpoints", "tsa"]: see docs/settings.md.',
        )


def _show(report: PublishReport, json_: bool) -> None:
    from .output import emit_json, out

    if json_:
        emit_json(
            {
                "ok": report.ok,
                "busy": report.busy,
                "entries": report.size,
                "checkpoint": report.note,
                "targets": [
                    {"name": item.name, "ok": item.ok, "detail": item.detail, "seconds": round(item.seconds, 3)}
                    for item in report.targets
                ],
                "problems": list(report.problems),
                "seconds": round(report.seconds, 3),
            }
        )
        return
    if report.busy:
        out.print("another process is publishing right now")
        return
    out.print(f"the checkpoint over [bold]{report.size}[/bold] entries:")
    for item in report.targets:
        sign = "[green]✓[/green]" if item.ok else "[red]✗[/red]"
        out.print(f"{sign} {escape(item.name)}  [dim]{escape(item.detail)}[/dim]")
    for problem in report.problems:
        out.print(f"[red]✗[/red] {escape(problem)}")
