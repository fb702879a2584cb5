"""What a worker does besides: it refuses what nobody decided in time, goes on with what people approved, judges held
work anew after the policy changed, writes down how held jobs ended, and forgets what is old. It does so while no job
waits, and now and then where one always does.

Each is done by whichever worker comes first, and may be interrupted at any moment: requests keep their state.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from ...errors import FiligranaError, ReleaseError
from ..engine import Engine
from ..installation import Installation
from ..resuming import go_on, rejudge
from ..review import Desk
from ..review_case import Case
from ..waiting import forget_erased
from .following import follow
from .pruning import prune

_log = logging.getLogger("filigrana.worker")
AT_ONCE = 5
AGAIN = 600.0
"""Seconds after which what could not be gone on with is tried again."""
PRUNING = 3600.0
"""Seconds between two looks at what is old."""
SWEEPING = 60.0
"""Seconds between two looks at deadlines that passed."""


@dataclass
class Chores:
    """``engine``: the engine of now, under the policy that is in force."""

    house: Installation
    engine: Callable[[], Engine]
    clock: Callable[[], float] = time.monotonic
    _failed: dict[UUID, float] = field(default_factory=dict)
    _pruned: float | None = None
    _swept: float | None = None
    _unpublished: bool = False

    def __call__(self) -> int:
        """How many requests went on or were judged anew."""
        if self._pruned is None or self.clock() - self._pruned > PRUNING:
            self._pruned = self.clock()
            prune(self.house)
        if self._swept is None or self.clock() - self._swept > SWEEPING:
            self._swept = self.clock()
            forget_erased(self.engine().parts)
        if self._unpublished:
            self.engine().recover()
            self._unpublished = False
        try:
            return self._desk()
        finally:
            follow(self.house)

    def _desk(self) -> int:
        desk = Desk(self.house.ledger, self.house.pack)
        approved, stale = desk.undone(AT_ONCE * 4)
        if not approved and not stale:
            return 0
        engine = self.engine()
        desk = Desk(engine.parts.ledger, engine.parts.pack)
        return sum(
            self._tried(desk, intent, work, wanted)
            for intents, work, wanted in (
                (approved, lambda case: go_on(engine, case.intent), _goes_on),
                (stale, lambda case: rejudge(engine, case), _judged_anew),
            )
            for intent in intents[: AT_ONCE * 4]
        )

    def _tried(self, desk: Desk, intent: UUID, work: Callable[[Case], object], wanted: Callable[[Case], bool]) -> bool:
        if self.clock() < self._failed.get(intent, 0.0):
            return False
        try:
            case = desk.case(intent)
            if not wanted(case):
                return False
            work(case)
        except FiligranaError as error:
            _log.info("request %s does not go on: %s", intent, error.code)
            self._failed[intent] = self.clock() + AGAIN
            self._unpublished |= isinstance(error, ReleaseError)
            return False
        self._failed.pop(intent, None)
        return True


def _goes_on(case: Case) -> bool:
    return case.goes_on and case.releasable and case.here


def _judged_anew(case: Case) -> bool:
    return case.status == "open" and case.subject is not None and case.releasable and case.here
