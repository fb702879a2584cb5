"""The command line. One file a command group; `main` turns every error into one line and an exit code."""

from __future__ import annotations

import sys
import traceback
from typing import TextIO

from ...errors import FiligranaError


def main() -> None:
    """The entry point `filigrana`. Nothing that a user does ends in a trace-back."""
    from .app import app

    for stream in (sys.stdout, sys.stderr):
        _never_fails(stream)
    try:
        app(standalone_mode=True)
    except SystemExit as done:
        # Usage errors leave with 2, which means nothing here: an error is 1.
        sys.exit(1 if done.code == 2 else done.code)
    except FiligranaError as error:
        _fail(error)
    except KeyboardInterrupt:
        sys.stderr.write("stopped; nothing was released\n")
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output went away (`| head`): that is no error of ours.
        sys.stderr.close()
        sys.exit(141)
    except (OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        _fail(FiligranaError(f"the system refused: {reason}", code="system"))
    except Exception as error:  # noqa: BLE001  a fault of ours: one line that says where, for a report
        last = traceback.extract_tb(error.__traceback__)[-1]
        _fail(
            FiligranaError(
                f"{type(error).__name__} in {last.name}, line {last.lineno}",
                code="internal",
                hint="This is a fault in Filigrana. Please report this line and the command.",
            )
        )


def _fail(error: FiligranaError) -> None:
    from .output import fail

    sys.exit(fail(error))


def _never_fails(stream: TextIO) -> None:
    """File names need not be text, and terminals need not know our characters: such are written as escapes."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
