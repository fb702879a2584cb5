"""Of whom nothing may be deleted: who is under a legal hold, and whose records a law keeps. By the log alone, so that
nobody lifts a hold by changing a row; the log is read once, and then what is new of it.

A law keeps the record of what went out without a visible label, counted from the release. What ended otherwise went to
nobody, unless people overturn that; what has not ended may still go out, and counts from when it was asked for.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from ..provenance.by_request import entries_of_all, request_of
from ..provenance.log.rows import size_of
from ..provenance.log.search import having

HELD, LIFTED = "legal-hold", "legal-hold.lifted"
_OVERTURNED = "appeal.overturned"
_ENDS = ("refused", "failed", "abandoned")
_MOST_DAYS = 3650
_NEEDLES = (f'"type":"{HELD}', f'"type":"{_OVERTURNED}"', '"unlabelled":"consent"')
"""As canonical entries have it."""


@dataclass(frozen=True)
class _Asked:
    """A request without a visible label that has not ended. ``days``: how long its own profiles ask for its record."""

    actor: str
    days: int
    time: str


class KeptBack:
    """Safe for threads. Ask before you append to the log in the same transaction: what is rolled back stays known."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self._size = 0
        self._holds: dict[str, bool] = {}
        self._open: dict[UUID, _Asked] = {}
        self._released: dict[tuple[str, int], str] = {}  # the last time, by (actor, days)

    def look(self, connection: Connection) -> None:
        """Reads what is new of the log: before a transaction that others wait for, so that little is left for it."""
        with self._lock:
            self._look(connection)

    def held(self, connection: Connection, actor: str) -> bool:
        """Whether a legal hold stands."""
        with self._lock:
            self._look(connection)
            return self._holds.get(actor, False)

    def until(self, connection: Connection, actor: str, days: int) -> dt.datetime | None:
        """Until when records of releases without a visible label must be kept; None where there are none. ``days``: how
        long the chosen profiles ask for; what the profiles of then asked for stands as well."""
        with self._lock:
            self._look(connection)
            return self._untils(days).get(actor)

    def actors(self, connection: Connection, now: dt.datetime, days: int) -> set[str]:
        """Everybody of whom nothing may be deleted at that time."""
        with self._lock:
            self._look(connection)
            kept = {actor for actor, until in self._untils(days).items() if until > now}
            return kept | {actor for actor, stands in self._holds.items() if stands}

    def _untils(self, days: int) -> dict[str, dt.datetime]:
        found: dict[str, dt.datetime] = {}
        times = [(actor, own, time) for (actor, own), time in self._released.items()]
        times += [(one.actor, one.days, one.time) for one in self._open.values()]
        for actor, own, time in times:
            if kept := max(days, own):
                until = dt.datetime.fromisoformat(time) + dt.timedelta(days=kept)
                found[actor] = max(found.get(actor, until), until)
        return found

    def _look(self, connection: Connection) -> None:
        size = size_of(connection)
        if size < self._size:  # another log lies there by now
            self._begin()
        overturned: list[UUID] = []
        for _, entry in having(connection, _NEEDLES, self._size, size):
            intent, actor = request_of(entry), entry.get("actor")
            if entry.get("type") in (HELD, LIFTED) and isinstance(actor, str):
                self._holds[actor] = entry["type"] == HELD
            elif entry.get("type") == _OVERTURNED and intent is not None:
                overturned.append(intent)
            else:
                self._asked(intent, entry)
        for _, entry in entries_of_all(connection, overturned):
            self._asked(request_of(entry), entry)
        self._settle(connection)
        self._size = size

    def _asked(self, intent: UUID | None, entry: Mapping[str, Any]) -> None:
        actor, days = entry.get("actor"), _consented(entry)
        if intent is not None and days is not None and isinstance(actor, str):
            self._open[intent] = _Asked(actor, days, str(entry["time"]))

    def _settle(self, connection: Connection) -> None:
        """What became of those that had not ended."""
        last: dict[UUID, tuple[str, str]] = {}
        for _, entry in entries_of_all(connection, [*self._open]):
            intent = request_of(entry)
            if intent is not None and entry["type"] in (*_ENDS, "release", _OVERTURNED):
                last[intent] = entry["type"], str(entry["time"])
        for intent, (kind, time) in last.items():
            if kind == _OVERTURNED:
                continue
            one = self._open.pop(intent)
            if kind == "release":
                key = one.actor, one.days
                self._released[key] = max(self._released.get(key, ""), time)


def _consented(entry: Mapping[str, Any]) -> int | None:
    """For how many days the entry of a request without a visible label asks to be kept; None for any other entry."""
    request = entry.get("request")
    if entry.get("type") != "intent" or not isinstance(request, dict) or request.get("unlabelled") != "consent":
        return None
    days = request.get("keep_days")
    return min(days, _MOST_DAYS) if isinstance(days, int) and days > 0 else 0
