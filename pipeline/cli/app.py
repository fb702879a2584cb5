"""The command tree. Commands import what they need when they run, so that `--help` answers at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from . import (
    access,
    audit,
    backup,
    comply,
    generate,
    guard,
    jobs,
    keys,
    models,
    policy,
    report,
    review,
    safety,
    serve,
    tools,
    trust,
    verify,
    watermark,
    worker,
)
from .state import state

app = typer.Typer(
    name="filigrana",
    help="From a prompt to a released picture, clip or sound that anyone can check.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"filigrana {version('filigrana')}")
        raise typer.Exit


@app.callback()
def options(
    data_dir: Annotated[Optional[Path], typer.Option(help="Keys, database and released assets.")] = None,  # noqa: UP045
    database: Annotated[Optional[str], typer.Option(help="sqlite:///FILE or postgresql://…")] = None,  # noqa: UP045
    policy_: Annotated[str | None, typer.Option("--policy", help="A policy pack: a name or a path.")] = None,
    model: Annotated[Optional[str], typer.Option(help="embedded, a registered name, a folder, a hub id.")] = None,  # noqa: UP045
    _version_flag: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    state.data_dir, state.database, state.policy, state.model = data_dir, database, policy_, model


app.command("generate")(generate.generate)
app.command("seal")(generate.seal)
app.command("verify")(verify.verify)
app.command("guard")(guard.guard)
app.command("appeal")(review.appeal)
app.command("reasons")(review.reasons)
app.command("serve")(serve.serve)
app.command("worker")(worker.worker)
app.command("replay")(tools.replay)
app.command("doctor")(tools.doctor)
app.command("demo")(tools.demo)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.add_typer(access.app, name="access")
app.add_typer(jobs.app, name="jobs")
app.add_typer(audit.app, name="audit")
app.add_typer(comply.app, name="comply")
app.add_typer(policy.app, name="policy")
app.add_typer(report.app, name="report")
app.add_typer(review.app, name="review")
app.add_typer(safety.app, name="safety")
app.add_typer(keys.app, name="keys")
app.add_typer(trust.app, name="trust")
app.add_typer(models.app, name="models")
app.add_typer(watermark.app, name="watermark")
