"""`filigrana verify`: where is this file from?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .state import installation


def verify(
    files: Annotated[list[Path], typer.Argument(help="Pictures, clips and sounds to check.")],
    json_: Annotated[bool, typer.Option("--json", help="One JSON list on standard output, nothing else.")] = False,
) -> None:
    """One finding a file, with its evidence. Loads no model, opens no connection.

    Exit codes: 0 verified, 7 recovered, 3 intact, 4 unmarked, 6 unreadable, 5 altered or contradicted, 1 error; of
    several files the worst, in the order 1, 5, 6, 4, 3, 7, 0.
    """
    from ...provenance.verify import EXIT_CODES, worst_exit_code
    from ..api import verify_many
    from .output import emit_json, show_finding

    with installation() as opened:
        findings = verify_many(files, opened)
    if json_:
        emit_json([finding.as_dict() for finding in findings])
    else:
        for finding in findings:
            show_finding(finding)
    raise typer.Exit(worst_exit_code([EXIT_CODES[finding.finding] for finding in findings]))
