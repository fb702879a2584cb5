"""What the options before the command say; commands ask here for settings, installation and pipeline."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..api import Pipeline
    from ..installation import Installation
    from ..settings import Settings


@dataclass
class State:
    data_dir: Path | None = None
    database: str | None = None
    policy: str | None = None
    model: str | None = None


state = State()


def read_lines() -> Iterator[str]:
    """Standard input, line by line. What is not UTF-8 stays recognisable as such, and is then refused as a prompt."""
    for line in getattr(sys.stdin, "buffer", sys.stdin):
        yield line.decode("utf-8", "surrogateescape") if isinstance(line, bytes) else line


def read_text() -> str:
    return "".join(read_lines()).rstrip("\r\n")


def settings(**overrides: Any) -> Settings:
    from ..settings import load_settings

    options = {
        "data_dir": state.data_dir,
        "database": state.database,
        "policy": state.policy,
        "model": state.model,
    }
    return load_settings(**(options | {k: v for k, v in overrides.items() if v is not None}))


@contextmanager
def installation(**overrides: Any) -> Iterator[Installation]:
    from ..installation import Installation

    opened = Installation(settings(**overrides))
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def pipeline(**overrides: Any) -> Iterator[Pipeline]:
    from ..api import Pipeline

    with Pipeline(settings(**overrides)) as opened:
        yield opened
