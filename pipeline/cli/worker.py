"""`filigrana worker`: makes what waits in the queue."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .state import pipeline

if TYPE_CHECKING:
    from ..api import Pipeline
    from ..executors.clustered import Together
    from ..jobs.worker import Worker

TOLD_TWICE = 130


def worker(
    name: Annotated[str | None, typer.Option(help="What it is called in the queue; else machine and process.")] = None,
    drain: Annotated[bool, typer.Option("--drain", help="End once nothing waits and nothing is worked on.")] = False,
    once: Annotated[bool, typer.Option("--once", help="Do one job, if one waits, and end.")] = False,
    executor: Annotated[
        str | None, typer.Option(help="`local`, or `ray`: draws and judges on a Ray cluster. Default: the setting.")
    ] = None,
    address: Annotated[str | None, typer.Option(help="The head of that cluster. Default: the setting.")] = None,
    tied: Annotated[
        bool, typer.Option("--tied", hidden=True, help="End when standard input does: for `serve --workers`.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="How many jobs it ended, as JSON, at its end.")] = False,
) -> None:
    """Takes one job after the other from the queue, until it is stopped.

    SIGTERM or Ctrl-C: it ends its job, then itself, with 0. A second one: the job goes back to the queue at once.
    """
    from ..logs import set_up as log
    from ..tracing import finish, set_up
    from .output import emit_json, err

    with _opened(executor, address) as opened:
        settings = opened.installation.settings
        log(settings.log_format, "worker")
        set_up(settings, "worker")
        stop = threading.Event()
        made = _made(opened, stop, name)
        listen(made, stop)
        if tied:
            threading.Thread(target=_tied, args=(stop,), daemon=True).start()
        if not json_:
            err.print(f"[dim]worker {made.name}[/dim]")
        count = made.run(stop, drain=drain, once=once)
        finish()
    if json_:
        emit_json({"ended": count})


@contextmanager
def _opened(executor: str | None, address: str | None) -> Iterator[Pipeline]:
    """The pipeline of the settings, or one whose heavy parts are on a cluster."""
    from .state import settings

    used = settings(executor=executor, ray_address=address)
    if used.executor == "local":
        with pipeline() as opened:
            yield opened
        return
    from ..executors.clustered import ClusteredPipeline

    with ClusteredPipeline(used) as opened:
        yield opened


def _made(opened: Pipeline, stop: threading.Event, name: str | None) -> Worker | Together:
    settings = opened.installation.settings
    if settings.executor == "local":
        return make(opened, stop, name)
    from ..executors.clustered import ClusteredPipeline, Together
    from ..jobs.worker import worker_name

    assert isinstance(opened, ClusteredPipeline)  # noqa: S101  made so above
    names = [f"{name or worker_name()}/{number + 1}" for number in range(settings.ray_jobs)]
    return Together([make(opened, stop, each) for each in names], opened.cluster)


def make(opened: Pipeline, stop: threading.Event, name: str | None = None) -> Worker:
    """A worker on this pipeline, which does after each job what `generate` does around a request. Raises where no
    policy is in force."""
    from ..api import before
    from ..jobs.chores import Chores
    from ..jobs.listening import waiting
    from ..jobs.queue import TRACE
    from ..jobs.worker import Worker
    from ..publishing import published_if_due
    from ..tracing import span

    house = opened.installation
    queue = house.jobs

    def after() -> None:
        before(opened.engine)
        published_if_due(house)

    after()
    chores = Chores(house, lambda: opened.engine)

    def besides() -> None:
        if chores():
            published_if_due(house)

    return Worker(
        opened,
        queue,
        name,
        waiting(queue.engine, stop),
        after=after,
        besides=besides,
        incoming=house.incoming,
        around=lambda job: span("job", job.request.get(TRACE), **{"filigrana.kind": job.kind}),
    )


def listen(made: Worker | Together, stop: threading.Event) -> None:
    """From now on a first signal sets ``stop``, and a second one gives the job back and ends the process."""

    def told(_number: int, _frame: Any) -> None:
        if not stop.is_set():
            stop.set()
            return
        # Not in this thread: it may hold the very lock that giving back needs.
        threading.Thread(target=_leave, args=(made,), daemon=True).start()

    signal.signal(signal.SIGTERM, told)
    signal.signal(signal.SIGINT, told)


def _leave(made: Worker | Together) -> None:
    """The job goes back as if this try had not been one. What it began is closed by whoever takes it next, and what
    it released meanwhile is found then: this is no more than a kill that says goodbye."""
    try:
        made.give_back()
    finally:
        os._exit(TOLD_TWICE)


def _tied(stop: threading.Event) -> None:
    """Ends with the process that holds the other end of standard input."""
    try:
        # By the system call alone: the buffer's lock, held while this waits, ends a process that ends of itself with a
        # fatal error of the interpreter.
        while os.read(sys.stdin.fileno(), 4096):
            pass
    finally:
        stop.set()
