"""Of whom nothing may be deleted: who is under a legal hold, and whose records a law keeps. By the log alone, so that
nobody lifts a hold by changing a row; the log is read once, and then what is new of it."""

from __future__ import annotations

import datetime as dt
import threading
from typing import Any

from sqlalchemy import Connection

from ..provenance.log.rows import size_of
from ..provenance.log.search import having

HELD, LIFTED = "legal-hold", "legal-hold.lifted"
_MOST_DAYS = 3650
_NEEDLES = (f'"type":"{HELD}', '"unlabelled":"consent"')
"""As canonical entries have it."""


class KeptBack:
    """Safe for threads. Ask before you append to the log in the same transaction: what is rolled back stays known."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self._size = 0
        self._holds: dict[str, bool] = {}
        self._consents: dict[tuple[str, int], str] = {}

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
            its = [_end(time, days, own) for (name, own), time in self._consents.items() if name == actor]
        return max((end for end in its if end is not None), default=None)

    def actors(self, connection: Connection, now: dt.datetime, days: int) -> set[str]:
        """Everybody of whom nothing may be deleted at that time."""
        with self._lock:
            self._look(connection)
            found = {actor for actor, stands in self._holds.items() if stands}
            for (actor, own), time in self._consents.items():
                end = _end(time, days, own)
                if end is not None and end > now:
                    found.add(actor)
        return found

    def _look(self, connection: Connection) -> None:
        size = size_of(connection)
        if size < self._size:  # another log lies there by now
            self._begin()
        for _, entry in having(connection, _NEEDLES, self._size, size):
            actor = entry.get("actor")
            if not isinstance(actor, str):
                continue
            if entry.get("type") in (HELD, LIFTED):
                self._holds[actor] = entry["type"] == HELD
            elif entry.get("type") == "intent" and (own := _consented(entry)) is not None:
                key, time = (actor, own), str(entry["time"])
                self._consents[key] = max(self._consents.get(key, ""), time)
        self._size = size


def _consented(entry: dict[str, Any]) -> int | None:
    """For how many days the entry of a request without a visible label asks to be kept; None for any other entry."""
    request = entry.get("request")
    if not isinstance(request, dict) or request.get("unlabelled") != "consent":
        return None
    days = request.get("keep_days")
    return min(days, _MOST_DAYS) if isinstance(days, int) and days > 0 else 0


def _end(time: str, days: int, own: int) -> dt.datetime | None:
    kept = max(days, own)
    return dt.datetime.fromisoformat(time) + dt.timedelta(days=kept) if kept else None
