"""`filigrana serve`: the page, the API and the recovery service over HTTP."""

from __future__ import annotations

import signal
from typing import Annotated, Any

import typer
from rich.markup import escape

from .state import environment, installation


def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8080,
    workers: Annotated[int, typer.Option(min=0, max=256, help="So many workers beside it, which end with it.")] = 0,
    json_: Annotated[bool, typer.Option("--json", help="The address as one JSON line, then nothing.")] = False,
) -> None:
    """Answers “where is this from?” for anyone, until it is stopped: a page, POST /v1/verify, the C2PA recovery API.
    For those with a key (`access add`) it takes orders for pictures and clips, which workers make.

    Speaks plain HTTP: what faces the internet stands behind a proxy that ends TLS (docs/service.md).
    """
    from ...errors import SettingsError
    from ..jobs.crew import Crew
    from ..logs import set_up as log
    from ..tracing import finish, set_up
    from .output import emit_json, out

    try:
        from ..web.server import Server
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"the service needs the package {error.name}",
            code="settings.extra",
            hint="Run `pip install 'filigrana[serve]'`.",
        ) from error
    with installation() as opened:
        log(opened.settings.log_format, "serve")
        set_up(opened.settings, "serve")
        server = Server(opened, host, port)
        if json_:
            emit_json({"url": server.url})
        else:
            out.print(f"[bold]{escape(server.url)}[/bold]  the page; API and limits: docs/service.md")
        # uvicorn ends on it, and then raises it once more: workers must still hear of the end
        signal.signal(signal.SIGTERM, _ends)
        try:
            with Crew(workers, environment()):
                server.run()
        except KeyboardInterrupt:
            pass
        finally:
            finish()


def _ends(_number: int, _frame: Any) -> None:
    raise KeyboardInterrupt
