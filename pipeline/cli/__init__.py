"""The command line. One file a command group; `main` turns every error into one line and an exit code."""

from __future__ import annotations

import sys

from ...errors import FiligranaError


def main() -> None:
    """The entry point `filigrana`. Nothing that a user does ends in a trace-back."""
    from .app import app
    from .output import fail

    try:
        app(standalone_mode=True)
    except FiligranaError as error:
        sys.exit(fail(error))
    except KeyboardInterrupt:
        sys.stderr.write("stopped; nothing was released\n")
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output went away (`| head`): that is no error of ours.
        sys.stderr.close()
        sys.exit(141)
    except (OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        sys.exit(fail(FiligranaError(f"the system refused: {reason}", code="system")))
