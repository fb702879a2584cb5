"""Finding entries: by what they say, in one pass over the log and constant memory.

The log has no index beside its own: every index that a writer keeps costs each append, and one that the entries do
not prove can lie. The database looks for the bytes of the wanted values inside each leaf, and only leaves that have
them all are decoded and looked at properly.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Connection

from ...errors import InputError, TamperError
from . import canonical
from .rows import CHUNK, size_of


@dataclass(frozen=True, slots=True)
class Query:
    """What an entry must say, all of it. ``type``, ``verdict``, ``code``, ``intent``, ``actor``: exactly.

    ``policy`` and ``model``: an id or name, or a digest's beginning (8 hex digits at least). ``asset_id``: of the
    entry itself. ``since`` and ``until``: RFC 3339 in UTC as the entries have it, inclusive and exclusive.
    """

    type: str | None = None
    intent: str | None = None
    asset_id: str | None = None
    verdict: str | None = None
    code: str | None = None
    policy: str | None = None
    model: str | None = None
    actor: str | None = None
    since: str | None = None
    until: str | None = None

    def matches(self, entry: Mapping[str, Any]) -> bool:
        said = facts(entry)
        for item in fields(self):
            wanted = getattr(self, item.name)
            if wanted is None:
                continue
            if item.name in ("since", "until"):
                time = entry.get("time")
                if not isinstance(time, str) or (time < wanted if item.name == "since" else time >= wanted):
                    return False
            elif not any(_is(wanted, value, item.name) for value in said.get(item.name, ())):
                return False
        return True

    def needles(self) -> list[bytes]:
        """Bytes that a matching leaf must contain."""
        exact = (self.type, self.intent, self.asset_id, self.verdict, self.code, self.actor)
        wanted = [json.dumps(value, ensure_ascii=False)[1:-1] for value in (*exact, self.policy, self.model) if value]
        return [text.encode("utf-8", "surrogatepass") for text in wanted]


def facts(entry: Mapping[str, Any]) -> dict[str, list[str]]:
    """What an entry says that people search for: name -> values, whatever the entry's type."""
    said: dict[str, list[str]] = {}

    def add(name: str, value: object) -> None:
        if isinstance(value, str) and value not in said.setdefault(name, []):
            said[name].append(value)

    for name in ("type", "intent", "asset_id", "verdict", "code", "actor"):
        add(name, entry.get(name))
    decision = _mapping(entry.get("decision"))
    for name in ("verdict", "code"):
        add(name, decision.get(name))
    for holder in (entry, _mapping(entry.get("request")), decision):
        policy = _mapping(holder.get("policy"))
        for name in ("id", "digest"):
            add("policy", policy.get(name))
        _add_model(add, holder.get("model"))
    for guard in decision.get("guards", ()) if isinstance(decision.get("guards"), list) else ():
        _add_model(add, _mapping(guard).get("model"))
    return said


def search(connection: Connection, query: Query, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, Any]]:
    """``(index, entry)`` of the entries in ``[start, stop)`` that match, in order.

    Raises TamperError at a matching leaf that is no entry; what is not looked at is not checked (``verify`` does).
    """
    size = size_of(connection)
    for index, leaf in _leaves(connection, query.needles(), " AND ", start, size if stop is None else min(stop, size)):
        entry = _read(leaf)
        if entry is None or query.matches(entry):
            yield index, canonical.decode(leaf)


def having(connection: Connection, texts: Sequence[str], start: int, stop: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """``(index, entry)`` of the entries in ``[start, stop)`` whose bytes have one of the texts in them, in order.

    Raises TamperError at one that is no entry."""
    for index, leaf in _leaves(connection, [text.encode() for text in texts], " OR ", start, stop):
        yield index, canonical.decode(leaf)


def _leaves(
    connection: Connection, needles: Sequence[bytes], joined: str, start: int, stop: int
) -> Iterator[tuple[int, bytes]]:
    postgres = connection.dialect.name == "postgresql"
    has = "position(%s::bytea in leaf) > 0" if postgres else "instr(leaf, ?) > 0"
    mark = "%s" if postgres else "?"
    where = f"seq >= {mark} AND seq < {mark}" + (f" AND ({joined.join(has for _ in needles)})" if needles else "")
    statement = f"SELECT seq, leaf FROM log_entries WHERE {where} ORDER BY seq"  # noqa: S608  only marks are put in
    step = CHUNK * 16 if needles else CHUNK  # a wide step costs nothing where few rows come back
    for low in range(max(0, start), stop, step):
        for index, leaf in connection.exec_driver_sql(statement, (low, min(low + step, stop), *needles)):
            if not isinstance(leaf, bytes):
                raise TamperError(f"entry {index} of the log is damaged")
            yield int(index), leaf


def parse_time(text: str) -> str:
    """A time as people write it (``2026-11-22``, ``2026-11-22T20:00``, with a zone or in UTC) as entries have it."""
    import datetime as dt

    try:
        time = dt.datetime.fromisoformat(text.strip())
        if time.tzinfo is None:
            time = time.replace(tzinfo=dt.UTC)
        return canonical.time_text(time)
    except (ValueError, OverflowError):
        raise InputError(
            f"{text[:40]!r} is no time", code="input.time", hint="Expected: 2026-11-22 or 2026-11-22T20:00:00Z."
        ) from None


def _read(leaf: bytes) -> dict[str, Any] | None:
    """The entry, without the proof that it is canonical, which only what is shown has to give; None for no entry."""
    try:
        entry = json.loads(leaf)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


def _is(wanted: str, value: str, name: str) -> bool:
    if wanted == value:
        return True
    return name in ("policy", "model") and len(wanted) >= 8 and value.startswith(wanted)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _add_model(add: Any, model: object) -> None:
    for name in ("name", "digest"):
        add("model", _mapping(model).get(name))
