"""What lives on the cluster: plain classes that hold a model and answer. They open no database and see no key."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from ...provenance.media import Frame, Kind
from ...safety.output import OutputGuard
from ..energy import Energy, EnergyMeter
from ..generators.base import Generator, Sampling


@dataclass(frozen=True)
class Drawn:
    """What was drawn, as it travels. ``sound``: the bytes of its file."""

    kind: Kind
    frames: list[Frame]
    rate: Fraction | None
    sound: bytes | None
    suffix: str
    sampling: dict[str, Any]
    energy: Energy


class _Stopped(Exception):  # noqa: N818  nobody waits for it any more
    pass


@dataclass
class DrawingActor:
    """Draws one thing at a time, and says meanwhile how far it is. ``watts``: of a busy core, for the estimate."""

    make: Callable[[], Generator]
    watts: float = 10.0
    _generator: Generator | None = None
    _at: dict[str, tuple[int, int]] = field(default_factory=dict)
    _unwanted: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def about(self) -> dict[str, Any]:
        made = self._made()
        return {"model": made.model, "kinds": made.kinds, "sound": getattr(made, "sound", False)}

    def draw(self, ticket: str, sampling: Sampling) -> Drawn:
        def step(done: int, steps: int) -> None:
            self._at[ticket] = (done, steps)
            if ticket in self._unwanted:
                raise _Stopped

        meter = EnergyMeter(self.watts)
        try:
            generated = self._made().generate(sampling, step)
            frames = [Frame(frame.rgb, frame.time, frame.alpha) for frame in generated.frames]
        finally:
            self._at.pop(ticket, None)
            self._unwanted.discard(ticket)
        sound = generated.sound
        return Drawn(
            generated.kind,
            frames,
            generated.rate,
            None if sound is None else sound.path.read_bytes(),
            "" if sound is None else sound.path.suffix,
            generated.sampling,
            meter.spent(),
        )

    def look(self, ticket: str) -> tuple[int, int] | None:
        return self._at.get(ticket)

    def stop(self, ticket: str) -> None:
        if ticket in self._at:
            self._unwanted.add(ticket)

    def process(self) -> int:
        return os.getpid()

    def _made(self) -> Generator:
        with self._lock:
            if self._generator is None:
                self._generator = self.make()
            return self._generator


@dataclass
class JudgingActor:
    """Asks guards by name."""

    make: Callable[[], Mapping[str, OutputGuard]]
    _guards: Mapping[str, OutputGuard] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, name: str, method: str, *given: Any) -> Any:
        with self._lock:
            if self._guards is None:
                self._guards = self.make()
        guard: Any = self._guards[name]
        return guard.model if method == "model" else getattr(guard, method)(*given)

    def process(self) -> int:
        return os.getpid()
