"""What the options before the command say; commands ask here for settings, installation and pipeline."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import InputError

if TYPE_CHECKING:
    from ...safety.judge import TextGuard
    from ...safety.policy import Pack
    from ..api import Pipeline
    from ..installation import Installation
    from ..settings import Settings


MAX_LINE = 1 << 20


@dataclass
class State:
    data_dir: Path | None = None
    database: str | None = None
    policy: str | None = None
    model: str | None = None


state = State()


def read_lines() -> Iterator[str]:
    """Standard input, line by line. What is not UTF-8 stays recognisable as such, and is then refused as a prompt;
    a line that goes on for more than 1 MiB is an error, since it may have no end."""
    stream: Any = getattr(sys.stdin, "buffer", sys.stdin)
    while line := stream.readline(MAX_LINE + 1):
        if len(line) > MAX_LINE:
            raise InputError("a line of standard input is longer than 1 MiB", code="input.stdin")
        yield line.decode("utf-8", "surrogateescape") if isinstance(line, bytes) else line


def read_text() -> str:
    """All of standard input as one text, of 1 MiB at most."""
    lines, total = [], 0
    for line in read_lines():
        total += len(line)
        if total > MAX_LINE:
            raise InputError("standard input is longer than 1 MiB", code="input.stdin")
        lines.append(line)
    return "".join(lines).rstrip("\r\n")


def settings(**overrides: Any) -> Settings:
    from ..settings import load_settings

    options = {
        "data_dir": state.data_dir,
        "database": state.database,
        "policy": state.policy,
        "model": state.model,
    }
    return load_settings(**(options | {k: v for k, v in overrides.items() if v is not None}))


def options_given() -> list[str]:
    """Names of the settings that the options before the command say."""
    return [name for name, value in vars(state).items() if value is not None]


def environment() -> dict[str, str]:
    """What the options before the command say, for processes of our own: not as arguments, which everybody sees."""
    return {f"FILIGRANA_{name.upper()}": str(value) for name, value in vars(state).items() if value is not None}


@contextmanager
def installation(**overrides: Any) -> Iterator[Installation]:
    from ..installation import Installation

    opened = Installation(settings(**overrides))
    try:
        yield opened
    finally:
        opened.close()


def guards_for(pack: Pack) -> list[TextGuard]:
    """The guards of prompts that the installation would judge with under ``pack``. Makes nothing."""
    with installation() as opened:
        return opened.text_guards(pack)


@contextmanager
def reading(**overrides: Any) -> Iterator[Installation]:
    """An installation that is there: looking at a log must not make one. Raises InputError where there is none."""
    with installation(**overrides) as opened:
        if not opened.exists:
            raise InputError(
                f"there is no log here: {opened.where}",
                code="input.no_log",
                hint="Look at --data-dir and --database. `filigrana keys init` or the first release makes a log.",
            )
        yield opened


def check_output(target: Path) -> None:
    """Fails before any work where ``target`` cannot be written, or would overwrite what the log stands on."""
    from ...errors import ReleaseError
    from ..store import check_target

    check_target(target)
    used = settings()
    real = target.resolve()
    kept = [used.data_dir.resolve() / name for name in ("keys", "assets", "cache", "staging", "pending", "review")]
    inside = any(real.is_relative_to(folder) for folder in kept) or real.parent == used.data_dir.resolve()
    if inside or (used.database_file is not None and str(real).startswith(str(used.database_file.resolve()))):
        raise ReleaseError(
            f"{target} lies where the installation keeps its own files",
            code="release.target",
            hint="Give a file elsewhere with -o.",
        )


def make_folder(target: Path) -> None:
    """Makes the folder ``target`` where it is missing."""
    from ...errors import ReleaseError

    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ReleaseError(f"{target} cannot be made: {error.strerror}", code="release.target") from error


@contextmanager
def pipeline(**overrides: Any) -> Iterator[Pipeline]:
    from ..api import Pipeline

    with Pipeline(settings(**overrides)) as opened:
        yield opened
