"""What is asked of one verification."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path


@dataclass(frozen=True)
class Asked:
    """What is asked of one verification. ``at``: the time of validation, None for now. ``sidecar``: a manifest store
    beside the file. ``crjson``: whether the whole validation is wanted too, ``thumbnail``: a small
    picture of the file. ``found_beside``: nobody named the sidecar, it lies there. ``facts``: whether what the rules
    of laws look at is wanted too."""

    at: datetime | None = None
    sidecar: Path | None = None
    crjson: bool = False
    thumbnail: bool = False
    found_beside: bool = False
    facts: bool = False
