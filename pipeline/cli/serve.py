"""`filigrana serve`: the page, the API and the recovery service over HTTP."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from .state import installation


def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8080,
    json_: Annotated[bool, typer.Option("--json", help="The address as one JSON line, then nothing.")] = False,
) -> None:
    """Answers “where is this from?” for anyone, until it is stopped: a page, POST /v1/verify, the C2PA recovery API.

    Speaks plain HTTP: what faces the internet stands behind a proxy that ends TLS (docs/service.md).
    """
    from ...errors import SettingsError
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
        server = Server(opened, host, port)
        if json_:
            emit_json({"url": server.url})
        else:
            out.print(f"[bold]{escape(server.url)}[/bold]  the page; API and limits: docs/service.md")
        try:
            server.run()
        except KeyboardInterrupt:
            pass
