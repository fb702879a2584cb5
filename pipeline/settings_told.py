"""Which settings are in force because somebody said so, and who did: for `filigrana doctor` and for errors."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .settings import CONFIG_FILE, Settings

_PASSWORD = re.compile(r"(://[^/@:\s]*):[^/@\s]+@")


@dataclass(frozen=True)
class Told:
    """One setting that is not left at its default. ``value``: as text, without secrets."""

    name: str
    value: str
    source: str


def shown(value: Any) -> str:
    """For people: the password in an address is no part of it."""
    return _PASSWORD.sub(r"\1:***@", str(value))


def source(name: str, options: Collection[str] = ()) -> str:
    """Where a setting comes from, given that somebody set it. ``options``: those before the command."""
    if name in options:
        return f"the option --{name.replace('_', '-')}"
    if any(key.upper() == f"FILIGRANA_{name.upper()}" for key in os.environ):
        return f"FILIGRANA_{name.upper()}"
    return str(Path(os.environ.get("FILIGRANA_CONFIG") or CONFIG_FILE))


def told(settings: Settings, options: Collection[str] = ()) -> list[Told]:
    """In the order of docs/settings.md."""
    given = settings.model_fields_set
    return [
        Told(name, shown(getattr(settings, name)), source(name, options))
        for name in type(settings).model_fields
        if name in given
    ]
