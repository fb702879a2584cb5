"""What is kept of a person: handed out, held back from deletion, erased. Each act is an entry of the log.

A legal hold is an entry, and so is its end: who is held is read out of the log, so nobody lifts a hold by changing a
row. While it stands, nothing of the person is erased or expires. The same goes for the records of whoever got something
without a visible label, for as long as the chosen profiles ask (China's Measures, Article 9: six months).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.orm import Session

from ..errors import InputError
from ..provenance.database import turn
from ..provenance.log.canonical import time_text
from ..provenance.log.search import Query, search
from ..provenance.service_tables import ApiKey, WebSession
from ..provenance.tables import SealedText, SubjectKey
from ..provenance.vault import Vault
from .ledger import Ledger

_MOST_DAYS = 3650
HOLDS = "legal holds"
"""The turn of whoever places one, and of what deletes texts by their age: that looks at all holds at once."""
_ENDS = ("refused", "failed", "abandoned")
HELD, LIFTED, EXPORTED = "legal-hold", "legal-hold.lifted", "subject-export"


def held(connection: Connection, actor: str) -> bool:
    """Whether a legal hold stands, by the log alone."""
    last = ""
    for kind in (HELD, LIFTED):
        for index, entry in search(connection, Query(type=kind, actor=actor)):
            last = max(last, f"{index:020d} {entry['type']}")
    return last.endswith(f" {HELD}")


def kept_until(connection: Connection, actor: str, days: int) -> dt.datetime | None:
    """Until when records of releases without a visible label must be kept; None where there are none."""
    return max((until for _, until in _kept(connection, Query(type="intent", actor=actor), days)), default=None)


def _kept(connection: Connection, query: Query, days: int) -> Iterator[tuple[str, dt.datetime]]:
    """(actor, until when) of each request that went out without a visible label, or still may. What ended otherwise
    went to nobody, unless people overturn it; the time counts from the release."""
    asked: dict[str, tuple[str, str, int]] = {}
    for _, entry in search(connection, query):
        kept = max(days, own) if (own := _consented(entry)) is not None else 0
        if kept:
            asked[str(entry["intent"])] = str(entry["actor"]), str(entry["time"]), kept
    last: dict[str, tuple[int, str, str]] = {}
    for kind in (*_ENDS, "release", "appeal.overturned") if asked else ():
        for index, entry in search(connection, Query(type=kind)):
            intent = str(entry.get("intent"))
            if intent in asked:
                last[intent] = max(last.get(intent, (-1, "", "")), (index, kind, str(entry["time"])))
    for intent, (actor, time, kept) in asked.items():
        _, kind, ended = last.get(intent, (-1, "", ""))
        if kind not in _ENDS:
            yield actor, dt.datetime.fromisoformat(ended if kind == "release" else time) + dt.timedelta(days=kept)


def _consented(entry: dict[str, Any]) -> int | None:
    """For how many days the entry of a request without a visible label asks to be kept; None for any other entry."""
    request = entry.get("request")
    if not isinstance(request, dict) or request.get("unlabelled") != "consent":
        return None
    days = request.get("keep_days")
    return min(days, _MOST_DAYS) if isinstance(days, int) and days > 0 else 0


def may_erase(rows: Session, subject: str, now: dt.datetime, days: int) -> None:
    """Raises InputError (``input.subject.held``) where the person's texts and name must be kept."""
    actor = Vault(rows).known_actor(subject)
    if actor is None:
        return  # the vault says so itself
    if held(rows.connection(), actor):
        raise InputError(
            "a legal hold stands: nothing of this person is deleted",
            code="input.subject.held",
            hint="`filigrana audit unhold` lifts it.",
        )
    until = kept_until(rows.connection(), actor, days)
    if until is not None and until > now:
        raise InputError(
            f"something was released to this person without a visible label: the record is kept until {until:%Y-%m-%d}",
            code="input.subject.held",
            hint="The chosen profiles ask for it.",
        )


def kept_subjects(rows: Session, now: dt.datetime, days: int) -> set[str]:
    """Everybody of whom nothing may expire. Looks at the log once a kind, not once a person."""
    connection = rows.connection()
    actors = {entry["actor"] for _, entry in search(connection, Query(type=HELD))}
    actors = {actor for actor in actors if held(connection, str(actor))}
    # As far back as an entry may ask for: the profile that it was made under may be chosen no more.
    since = time_text(now - dt.timedelta(days=_MOST_DAYS))
    actors |= {actor for actor, until in _kept(connection, Query(type="intent", since=since), days) if until > now}
    if not actors:
        return set()
    vault = Vault(rows)
    names = rows.scalars(select(SubjectKey.subject).where(SubjectKey.key.is_not(None))).all()
    return {name for name in names if vault.known_actor(name) in actors}


def hold(ledger: Ledger, subject: str, reason: str, *, lift: bool = False) -> tuple[int, str]:
    """Places a legal hold, or lifts it. ``reason``: a code such as a file number, for everybody to read. Returns the
    entry's index and the name under which the log knows the person. Raises InputError where there is nothing to do."""
    if not 1 <= len(reason.strip()) <= 200:
        raise InputError("a legal hold has a reason of 1 to 200 characters", code="input.reason")
    with ledger.change() as change:
        turn(change.session, HOLDS)
        # The person's row is locked, so that an erasure at the same moment waits for this, or this for it.
        row = change.session.get(SubjectKey, subject, with_for_update=True)
        actor = None if row is None else Vault(change.session).known_actor(subject)
        if actor is None:
            raise InputError("there is nothing kept of this person", code="input.subject", hint="")
        if held(change.session.connection(), actor) is not lift:
            raise InputError("no hold stands" if lift else "a hold stands already", code="input.hold", hint="")
        kind = LIFTED if lift else HELD
        index = change.append(
            {"type": kind, "time": time_text(ledger.clock()), "actor": actor, "reason": reason.strip()}
        )
    return index, actor


def export(ledger: Ledger, subject: str) -> dict[str, Any]:
    """Everything that is kept of a person (GDPR, Article 15): texts, API keys and sessions in that name, and the log's
    entries about the person's requests. That it was handed out is an entry. Raises InputError where there is nothing.
    """
    with ledger.change() as change:
        vault = Vault(change.session)
        actor = vault.known_actor(subject)
        if actor is None:
            raise InputError("there is nothing kept of this person", code="input.subject", hint="")
        rows = change.session.scalars(
            select(SealedText).where(SealedText.subject == subject).order_by(SealedText.created_at, SealedText.id)
        ).all()
        texts = [
            {
                "request": None if row.intent_id is None else str(row.intent_id),
                "kind": row.kind,
                "text": vault.open_text(row.id),
                "since": row.created_at.isoformat(timespec="seconds"),
                "commitment": row.commitment,
            }
            for row in rows
        ]
        ways_in = _ways_in(change.session, subject)
        entries = list(_about(change.session.connection(), actor))
        entry = {"type": EXPORTED, "time": time_text(ledger.clock()), "actor": actor, "texts": len(texts)}
        index = change.append(entry)
    return {"subject": subject, "actor": actor, "texts": texts, **ways_in, "entries": entries, "logged": index}


def _ways_in(rows: Session, subject: str) -> dict[str, Any]:
    keys = rows.scalars(select(ApiKey).where(ApiKey.subject == subject).order_by(ApiKey.created_at, ApiKey.id))
    sessions = rows.scalars(select(WebSession).where(WebSession.subject == subject).order_by(WebSession.created_at))

    def told(time: dt.datetime | None) -> str | None:
        return None if time is None else time.isoformat(timespec="seconds")

    return {
        "keys": [
            {"key": key.id, "tenant": key.tenant, "scopes": key.scopes, "since": told(key.created_at),
             "until": told(key.expires_at), "revoked": told(key.revoked_at)}
            for key in keys
        ],
        "sessions": [
            {"tenant": one.tenant, "since": told(one.created_at), "seen": told(one.seen_at),
             "until": told(one.expires_at)}
            for one in sessions
        ],
    }  # fmt: skip


def _about(connection: Connection, actor: str) -> Iterator[dict[str, Any]]:
    """The entries that name the person, and those about the person's requests: what somebody decided on as a reviewer
    is another person's request, of which nothing but that act is handed out."""
    requests = set[str]()
    for index, entry in search(connection, Query(actor=actor)):
        if entry.get("type") == "intent" and isinstance(entry.get("intent"), str):
            requests.add(entry["intent"])
        yield {"index": index, "entry": entry}
    for index, entry in search(connection, Query()) if requests else ():
        if entry.get("intent") in requests and entry.get("actor") != actor:
            yield {"index": index, "entry": entry}
