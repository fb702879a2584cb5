"""What the engine works with. Every part can be replaced, in tests by one that fails."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ..safety.judge import TextGuard
from ..safety.output import OutputGuard
from ..safety.policy import Pack
from ..safety.sound import SoundGuard
from .finish import Finisher
from .generators.base import Generator
from .ledger import Ledger
from .staging import Staging
from .store import AssetStore

BestOf = Callable[[str, Any], float]
"""(prompt, frame) -> agreement; a higher one is better."""


def version() -> str:
    return importlib.metadata.version("filigrana")


@dataclass(frozen=True)
class Parts:
    """``frame_guards``: called with whether the frames were generated here. ``agreement``: for best-of-N."""

    ledger: Ledger
    pack: Pack
    generator: Generator | None
    text_guards: Iterable[TextGuard]
    frame_guards: Callable[[bool], Iterable[OutputGuard]]
    finisher: Callable[[], Finisher]
    staging: Staging
    store: AssetStore
    clock: Callable[[], dt.datetime]
    guard_timeout: float = 30.0
    stage_timeout: float = 3600.0
    cpu_watts: float = 10.0
    publish_prompt: bool = False
    agreement: BestOf | None = None
    sound_guard: SoundGuard | None = None
