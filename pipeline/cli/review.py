"""`filigrana review`, `appeal` and `reasons`: what people decide, and what the refused are told."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer
from rich.markup import escape

from ...errors import InputError
from .state import check_output, pipeline, reading, settings

if TYPE_CHECKING:
    from ..installation import Installation
    from ..review import Desk
    from ..review_case import Case

app = typer.Typer(no_args_is_help=True, help="Work that is held for people: look, assign, approve, reject.")
REQUEST = Annotated[str, typer.Argument(help="The request's id, as `generate` or `seal` told it.")]
REASON = Annotated[str, typer.Option("--reason", help="Why, in 1 to 2,000 characters. Kept encrypted.")]
AS = Annotated[str | None, typer.Option("--as", help="Who you are; else the setting `user`.")]
JSON = Annotated[bool, typer.Option("--json", help="JSON on standard output, nothing else.")]


@app.command("list")
def list_(
    open_: Annotated[bool, typer.Option("--open", help="What waits for somebody; also without any filter.")] = False,
    mine: Annotated[bool, typer.Option("--mine", help="What is assigned to you.")] = False,
    overdue: Annotated[bool, typer.Option("--overdue", help="What nobody decided in time, and was refused.")] = False,
    appeals: Annotated[bool, typer.Option("--appeals", help="Appeals alone.")] = False,
    all_: Annotated[bool, typer.Option("--all", help="What is decided, too.")] = False,
    as_: AS = None,
    json_: JSON = False,
) -> None:
    """Lists held work and appeals, the most urgent first."""
    from .output import emit_json, out, plain

    if open_ and (overdue or all_):
        raise InputError("--open goes with neither --overdue nor --all", code="input.option")
    status = "expired" if overdue else None if all_ else "open"
    with _desk() as (_, desk):
        found = desk.cases(status=status, mine=_who(as_) if mine else None, appeals=appeals)
    if json_:
        emit_json([_row(case) for case in found])
        return
    if not found:
        out.print("nothing waits for anybody")
        return
    # Lines and no table: a narrow terminal, or a pipe, would cut what tells one from another.
    out.print(f"[dim]{'request':<36}  {'by':<20}  approvals  status, what, code, assigned to[/dim]")
    for case in found:
        status_ = "goes on: review resume" if case.goes_on else case.status
        to = f" · {plain(case.assignee)}" if case.assignee else ""
        out.print(
            f"{case.intent}  {_time(case.deadline):<20}  {f'{case.approvals} of {case.needed}':<9}  "
            f"{status_} · {case.kind} · {case.side} · {plain(case.entry['code'])}{to}"
        )


@app.command()
def show(
    request: REQUEST,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Copy the held picture or clip here.")] = None,
    json_: JSON = False,
) -> None:
    """Shows one request as a person needs it to decide: what was asked, by which rule it was held, and with what score.

    It shows the prompt's text, and the path of the held file, which is checked against the log first.
    """
    from ..review_showing import shown
    from ..reviewing import kept_file
    from ..store import export
    from .output import emit_json, out, plain

    if output is not None:
        check_output(output)
    with _desk() as (opened, desk):
        case = desk.case(_id(request))
        parts = _parts(opened)
        file = kept_file(parts, case) if case.kept is not None and case.here and desk.needs_files(case.intent) else None
        said = shown(desk, case) | {"file": None if file is None else str(file)}
        if output is not None:
            if file is None:
                raise InputError("no picture or clip of this request is kept here", code="review.no_file")
            export(file, output)
            said["file"] = str(output)
    if json_:
        emit_json(said)
        return
    lines: list[tuple[str, Any]] = [
        ("request", f"{said['request']} ({said['made_by']}), {said['kind']}, on the {said['side']}"),
        ("status", f"{said['status']}; {said['approvals']} of {said['needed']} approvals, by {said['deadline']}"),
        ("policy", "{id} {version} ({digest:.12})".format(**said["policy"])),
        *(("rule", f"{r['id']} {r['title']}: {r['reason']}{'' if r['override'] else ' Nobody may lift it.'}")
          for r in said["rules"]),
        *(("score", f"{s['guard']} {s['hazard']} {s['score']}, threshold {s['threshold'] or 'none'}")
          for s in said["scores"]),
        *((name.replace("_", " "), text) for name, text in said["texts"].items()),
        *([("file", said["file"])] if said["file"] else []),
        *([("assigned to", said["assignee"])] if said["assignee"] else []),
        *((h["act"], f"{h['time']} {h['name'] or h['actor'] or ''} {h['reason'] or ''}") for h in said["history"]),
    ]  # fmt: skip
    for name, value in lines:
        out.print(f"[dim]{escape(name):<12}[/dim] {plain(value)}")


@app.command()
def assign(
    request: REQUEST,
    reviewer: Annotated[str, typer.Argument(help="Who looks at it.")],
    as_: AS = None,
    json_: JSON = False,
) -> None:
    """Gives a request to a reviewer, or passes it on. Others may still decide."""
    from .output import emit_json, out, plain

    with _desk() as (_, desk):
        case = desk.assign(_id(request), reviewer, _who(as_))
    if json_:
        emit_json(_row(case))
    else:
        out.print(f"{case.intent}: assigned to {plain(case.assignee)}")


@app.command()
def approve(request: REQUEST, reason: REASON, as_: AS = None, json_: JSON = False) -> None:
    """Approves held work, or overturns what was appealed against. With the last approval needed, it goes on.

    Exit codes: 0 released, or counted; 10 refused all the same, 11 held again, 1 error.
    """
    with pipeline() as opened:
        _goes_on(opened.review_approve(_id(request), _who(as_), reason), json_)


@app.command()
def resume(request: REQUEST, json_: JSON = False) -> None:
    """Goes on with what was approved, and was interrupted. Exit codes: 0 released, 10 refused, 11 held, 1 error."""
    with pipeline() as opened:
        _goes_on(opened.review_resume(_id(request)), json_)


@app.command()
def reject(request: REQUEST, reason: REASON, as_: AS = None, json_: JSON = False) -> None:
    """Refuses held work, or upholds what was appealed against. One person is enough."""
    from .output import emit_json, out

    with _desk() as (_, desk):
        case = desk.reject(_id(request), _who(as_), reason)
    if json_:
        emit_json(_row(case))
    else:
        out.print(f"{case.intent}: {'upheld' if case.kind == 'appeal' else 'refused'}")


def appeal(request: REQUEST, reason: REASON, as_: AS = None, json_: JSON = False) -> None:
    """Asks a human to look again at what was refused: for whoever asked, once a request, within the time told."""
    from ..appeals import appeal as file_appeal
    from .output import emit_json, out

    with _desk() as (_, desk):
        case = file_appeal(desk, _id(request), _who(as_), reason)
    if json_:
        emit_json(_row(case))
    else:
        out.print(f"{case.intent}: somebody who did not decide before looks at it by {_time(case.deadline)}")


def reasons(request: REQUEST, json_: JSON = False) -> None:
    """The statement of reasons for a request that was refused or held: what, why, by which rule, and how to appeal."""
    from ..reasons import as_text, statement
    from .output import emit_json, out, plain

    with _desk() as (_, desk):
        said = statement(desk, _id(request))
    if json_:
        emit_json(said)
    else:
        for line in as_text(said):
            out.print(plain(line))


def _goes_on(found: Any, json_: bool) -> None:
    from ..review_case import Case
    from .generate import report
    from .output import emit_json, out

    if not isinstance(found, Case):
        raise typer.Exit(report(found, json_))
    if json_:
        emit_json(_row(found))
    elif found.status == "approved":
        out.print(f"{found.intent}: overturned. Nothing was kept that could be released: it may be asked for again.")
    else:
        out.print(f"{found.intent}: counted, {found.approvals} of {found.needed}")


@contextmanager
def _desk() -> Iterator[tuple[Installation, Desk]]:
    """The desk of an installation that is there; what nobody decided in time is refused first."""
    from ..review import Desk
    from ..reviewing import sweep

    with reading() as opened:
        sweep(_parts(opened))
        yield opened, Desk(opened.ledger, opened.pack)


def _parts(opened: Installation) -> Any:
    from ..waiting import stamping_parts

    return stamping_parts(opened)


def _who(name: str | None) -> str:
    return settings().user if name is None else name


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise InputError("this is no request's id", code="input.request", hint="`review list` shows them.") from None


def _time(time: dt.datetime) -> str:
    return time.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M UTC")


def _row(case: Case) -> dict[str, Any]:
    from ..review_showing import row

    return row(case)
