"""`filigrana jobs`: what waits, what is made, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer
from rich.markup import escape

from ...errors import InputError
from .state import reading

if TYPE_CHECKING:
    from ..installation import Installation
    from ..jobs.model import Job

app = typer.Typer(no_args_is_help=True, help="Jobs in the queue: look, cancel, try again.")
JOB = Annotated[str, typer.Argument(help="The job's id.")]
JSON = Annotated[bool, typer.Option("--json", help="JSON on standard output, nothing else.")]


@app.command("list")
def list_(
    state: Annotated[
        str | None, typer.Option(help="queued, running, released, refused, held, failed, cancelled.")
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Of this tenant alone.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, the youngest first.")] = 50,
    json_: JSON = False,
) -> None:
    """Lists jobs, the youngest first."""
    from ...provenance.service_tables import JOB_STATES
    from .output import emit_json, out

    if state is not None and state not in JOB_STATES:
        raise InputError(f"a job is {', '.join(JOB_STATES)}", code="input.option")
    with reading() as opened:
        found, counts = opened.jobs.list(tenant, state, limit), opened.jobs.counts()
    if json_:
        emit_json({"jobs": [_row(job) for job in found], "counts": counts})
        return
    if not found:
        out.print("there are no jobs")
    for line in _lines(found):
        out.print(line)
    if counts:
        out.print(f"[dim]{escape(', '.join(f'{count} {state}' for state, count in sorted(counts.items())))}[/dim]")


def _lines(found: list[Job]) -> Iterator[str]:
    """One a job, never cut: a narrow terminal, or a pipe, hides neither the state nor what came of it."""
    from .output import plain

    if found:
        yield f"[dim]{'job':<36}  {'state':<9}  {'asked':<16}  {'attempts'}  tenant, what came of it[/dim]"
    for job in found:
        told = job.outcome or {}
        came = plain(told.get("asset_id") or told.get("code") or "")
        yield (
            f"{job.id}  {job.state:<9}  {job.created_at:%Y-%m-%d %H:%M}  {job.attempts:>8}  {plain(job.tenant)}  {came}"
        ).rstrip()


def _flat(said: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What there is to say, a line each; what holds more is written as JSON, as `--json` has it."""
    import json

    for name, value in said.items():
        if isinstance(value, dict):
            for key, one in value.items():
                text = one if isinstance(one, str) else json.dumps(one, ensure_ascii=False)
                yield f"{name}.{key}", text
        elif value is not None:
            yield name, str(value)


@app.command()
def show(job: JOB, json_: JSON = False) -> None:
    """Shows one job: where it stands, who works on it, what came of it. No prompt."""
    from .output import emit_json, out, plain

    with reading() as opened:
        said = _row(_now(opened, _id(job)))
    if json_:
        emit_json(said)
        return
    for name, value in _flat(said):
        out.print(f"[dim]{escape(name):<18}[/dim] {plain(value)}")


@app.command()
def cancel(job: JOB, json_: JSON = False) -> None:
    """Cancels a job that waits, or is worked on; one that is released first stays released."""
    with reading() as opened:
        _say(opened.jobs.cancel(_id(job)), json_)


@app.command()
def retry(job: JOB, json_: JSON = False) -> None:
    """Puts a job that failed into the queue again."""
    with reading() as opened:
        _say(opened.jobs.retry(_id(job)), json_)


@app.command()
def prune(
    days: Annotated[
        float | None, typer.Option(min=0, help="Jobs that ended so long ago; else the setting `jobs_keep_days`.")
    ] = None,
    json_: JSON = False,
) -> None:
    """Forgets ended jobs and what belongs to them; workers do it by themselves. The log keeps what happened."""
    from ..jobs.pruning import prune as forget
    from .output import emit_json, out

    with reading() as opened:
        found = forget(opened, days).as_dict()
    if json_:
        emit_json(found)
    else:
        out.print(", ".join(f"{count} {name}" for name, count in found.items()))


def _now(opened: Installation, ident: UUID) -> Job:
    from ..jobs.fence import standing

    job = opened.jobs.get(ident)
    if job.state not in ("held", "refused"):
        return job
    went_on = standing(opened.ledger, job)
    return job if went_on is None else opened.jobs.went_on(job, *went_on)


def _say(job: Job, json_: bool) -> None:
    from .output import emit_json, out

    if json_:
        emit_json(_row(job))
    else:
        asked = ", and its worker is told" if job.state == "running" else ""
        out.print(f"{job.id}: {job.state}{asked}")


def _row(job: Job) -> dict[str, Any]:
    return {**job.as_dict(), "tenant": job.tenant, "priority": job.rank, "worker": job.worker}


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise InputError("this is no job's id", code="input.job", hint="`jobs list` shows them.") from None
