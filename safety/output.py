"""Judging what was made: guards of single frames, of the text in frames, of the sequence, and of sound.

The worst frame counts, and a guard that fails on one frame has failed: a frame is never skipped."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from threading import Thread
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import SafetyError
from .decision import Decision, GuardRun, ModelRef, RuleHit, Verdict, checked_scores
from .judge import (
    DEFAULT_TIMEOUT,
    FrameGuard,
    TextGuard,
    _asked,
    _failed,
    _hit,
    _incomplete,
    _limits,
    _ran,
    _score_fires,
    _within,
)
from .policy import Pack
from .reading import Line, TextJudge


class FrameReader(Protocol):
    """Reads the text in one frame, uint8 (h, w, 3): lines in their readings. No text is an empty list."""

    @property
    def name(self) -> str: ...
    @property
    def model(self) -> ModelRef | None: ...
    def read(self, frame: NDArray[np.uint8], side: int = ...) -> Sequence[Line]: ...


class Watch(Protocol):
    """One clip under way. ``see``: every frame in order, at its time in s; ``scores``: of the whole clip."""

    def see(self, frame: NDArray[np.uint8], seconds: float) -> None: ...
    def scores(self) -> Mapping[str, float]: ...


class SequenceGuard(Protocol):
    """Scores a clip as a sequence. Its watch holds little, however long the clip is."""

    @property
    def name(self) -> str: ...
    @property
    def model(self) -> ModelRef | None: ...
    def watch(self) -> Watch: ...


T = TypeVar("T")
OutputGuard = FrameGuard | FrameReader | SequenceGuard


class OutputJudge:
    """Judges a stream of frames: ``watch`` every frame, ``look`` at each sampled one, then ask for the ``decision``.

    ``text_guards``: those that judge prompts, asked again about text in frames. ``side``: px within which text is
    looked for; None for the guard's own."""

    def __init__(
        self,
        pack: Pack,
        guards: Sequence[OutputGuard],
        *,
        origin: str,
        timeout: float = DEFAULT_TIMEOUT,
        text_guards: Iterable[TextGuard] = (),
        side: int | None = None,
    ) -> None:
        self._pack, self._timeout, self._side = pack, timeout, side
        needed = pack.requires.generated if origin == "generated" else pack.requires.sealed
        guards = list(guards)
        self._guards: dict[str, Any] = {guard.name: guard for guard in guards}
        self._names = list(dict.fromkeys([*needed, *self._guards]))
        self._scores: dict[str, dict[str, float]] = {name: {} for name in self._names}
        self._seen = dict.fromkeys(self._names, 0)
        self._seconds = dict.fromkeys(self._names, 0.0)
        self._input = hashlib.sha256()
        self._failures: dict[str, BaseException] = {
            name: SafetyError(f"the guard {name} is not installed", code="safety.missing")
            for name in self._names
            if name not in self._guards
        }
        if len(self._guards) < len(guards):
            # One would hide what the other says.
            twice = SafetyError("two guards of one name", code="safety.twice")
            self._failures |= {name: twice for name in self._guards if sum(g.name == name for g in guards) > 1}
        self._watches: dict[str, Watch | None] = {}
        self._texts: dict[str, TextJudge] = {}
        for name, guard in self._guards.items():
            if hasattr(guard, "watch"):
                self._watches[name] = self._try(name, guard.watch)
            elif hasattr(guard, "read"):
                self._texts[name] = TextJudge(pack, list(text_guards), name, timeout=timeout, languages=False)

    def _try(self, name: str, call: Callable[[], T]) -> T | None:
        """What the call answers, or None for a guard that failed, now or before. Every failure ends in review."""
        if name in self._failures:
            return None
        started = time.perf_counter()
        try:
            return _within(self._timeout, call)
        except Exception as error:  # noqa: BLE001  see above
            self._failures[name] = error
            return None
        finally:
            self._seconds[name] += time.perf_counter() - started

    def watch(self, frame: NDArray[np.uint8], seconds: float) -> None:
        """For guards of the sequence: every frame, in order, also those that ``look`` gets."""
        for name, watch in self._watches.items():
            self._seen[name] += 1
            self._try(name, partial(self._see, watch, frame, seconds))

    def look(self, frame: NDArray[np.uint8]) -> None:
        self._input.update(repr(frame.shape).encode() + np.ascontiguousarray(frame).tobytes())
        calls: dict[str, Callable[[], None]] = {}
        for name, guard in self._guards.items():
            if name in self._watches or name in self._failures:
                continue
            self._seen[name] += 1
            if name in self._texts:
                calls[name] = partial(self._read, name, guard, frame)
            else:
                calls[name] = partial(self._score, name, guard, "score", frame)
        # All at once: each holds a core for a part of its time only.
        threads = [Thread(target=self._try, args=call, daemon=True) for call in calls.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()  # ends by its own time-out

    def _read(self, name: str, guard: FrameReader, frame: NDArray[np.uint8]) -> None:
        lines = guard.read(frame) if self._side is None else guard.read(frame, self._side)
        self._texts[name].see(checked_lines(name, lines))

    def _see(self, watch: Any, frame: NDArray[np.uint8], seconds: float) -> None:
        watch.see(frame, seconds)

    def _score(self, name: str, asked: Any, how: str, *given: Any) -> None:
        scores = checked_scores(name, getattr(asked, how)(*given))
        # Of each frame: what another one scored says nothing about this one.
        if not _asked("output", self._pack, name) <= dict(scores).keys():
            raise SafetyError("a hazard without a score", code="safety.incomplete")
        for hazard, value in scores:
            self._scores[name][hazard] = max(self._scores[name].get(hazard, 0.0), value)

    def decision(self) -> Decision:
        for name, watch in self._watches.items():
            if self._seen[name]:
                self._try(name, partial(self._score, name, watch, "scores"))
        runs: list[GuardRun] = []
        hits: list[RuleHit] = []
        for name in self._names:
            if name not in self._failures and not self._seen[name]:
                self._failures[name] = SafetyError("there was no frame to judge", code="safety.empty")
            told = self._try(name, self._texts[name].finish) if name in self._texts else None
            if told is not None:
                hits += told[0]
                runs += told[1]
            # The model's digest is read here, within the time-out: its file may be gone.
            ran = self._try(name, partial(self._run, name))
            if ran is None:
                run, hit = _failed("output", name, self._failures[name])
                runs.append(run)
                hits.append(hit)
            else:
                runs.append(ran)
        hits += _incomplete("output", self._pack, runs)
        for rule in (r for r in self._pack.rules if r.side == "output" and r.status != "deprecated"):
            if _score_fires(rule, runs):
                hits.append(_hit(rule))
        verdict = max((hit.verdict for hit in hits), default=Verdict.ALLOW)
        return Decision(
            "output",
            verdict,
            self._pack.ref,
            tuple(hits),
            tuple(runs),
            None,
            input=f"sha256:{self._input.hexdigest()}" if any(self._seen.values()) else None,
            **_limits("output", self._pack),
        )

    def _run(self, name: str) -> GuardRun:
        scores = tuple(sorted(self._scores[name].items()))
        return _ran(name, self._guards[name], self._seen[name], scores, self._seconds[name])


def checked_lines(guard: str, lines: object) -> list[Line]:
    """The lines of a reader, or SafetyError: anything but lists of texts is a failed guard, never an empty page."""
    if not isinstance(lines, list | tuple) or not all(
        isinstance(line, tuple) and line and all(isinstance(text, str) for text in line) for line in lines
    ):
        raise SafetyError(f"the guard {guard} gave no text", code="safety.not_text")
    return list(lines)
