"""Who is kept back is read out of the log: once, and then what is new; and not while others wait to write."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, event

from filigrana.pipeline.installation import Installation
from filigrana.pipeline.kept_back import HELD, LIFTED, KeptBack
from filigrana.pipeline.request import GenerateRequest
from filigrana.pipeline.subjects import hold
from filigrana.provenance.by_request import note
from filigrana.provenance.database import connect, session
from filigrana.provenance.log.sequencer import AuditLog
from filigrana.tests.conftest import MakeEngine

DAY = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)


@contextmanager
def reading(log: AuditLog) -> Iterator[Connection]:
    with session(log.engine) as rows:
        yield rows.connection()


def at(day: int) -> str:
    return (DAY + dt.timedelta(days=day)).strftime("%Y-%m-%dT%H:%M:%SZ")


def of_hold(actor: str, kind: str) -> dict[str, object]:
    return {"type": kind, "time": at(0), "actor": actor, "reason": "case"}


def consent(actor: str, day: int, keep: object, ends: list[tuple[str, int]]) -> list[dict[str, object]]:
    intent = str(uuid4())
    asked = {"unlabelled": "consent", "keep_days": keep}
    said: list[dict[str, object]] = [
        {"type": "intent", "time": at(day), "actor": actor, "request": asked, "intent": intent}
    ]
    said.extend({"type": kind, "time": at(day + late), "intent": intent} for kind, late in ends)
    return said


def noise(actor: str) -> list[dict[str, object]]:
    request = {"says": "legal-hold"}
    return [{"type": "intent", "time": at(0), "actor": actor, "request": request, "intent": str(uuid4())}]


NAMES = st.sampled_from(["ana", "ben", "eve"])
ENDS = st.sampled_from([
    [], [("release", 0)], [("release", 90)], [("refused", 1)], [("failed", 1)], [("abandoned", 1)], [("held", 1)],
    [("held", 1), ("release", 60)], [("refused", 1), ("appeal.overturned", 30)],
    [("refused", 1), ("appeal.overturned", 30), ("release", 31)],
    [("refused", 1), ("appeal.overturned", 30), ("refused", 31)],
])  # fmt: skip
SAID = st.one_of(
    st.builds(of_hold, NAMES, st.sampled_from([HELD, LIFTED])).map(lambda entry: [entry]),
    st.builds(consent, NAMES, st.integers(0, 400), st.sampled_from([0, 30, 400, 10**9, -1, None, "x"]), ENDS),
    st.builds(noise, NAMES),
)


def expected(said: list[dict[str, object]], name: str, days: int) -> dt.datetime | None:
    """By the words of the law, from all entries at once."""
    ends = []
    for entry in said:
        request = entry.get("request")
        if entry.get("actor") != name or not isinstance(request, dict) or "unlabelled" not in request:
            continue
        asked = request["keep_days"]
        kept = max(days, min(asked, 3650) if isinstance(asked, int) and asked > 0 else 0)
        its = [one for one in said if one.get("intent") == entry["intent"]]
        end = [one for one in its if one["type"] in ("release", "refused", "failed", "abandoned", "appeal.overturned")]
        last = end[-1]["type"] if end else None
        if kept and last not in ("refused", "failed", "abandoned"):
            since = end[-1] if last == "release" else entry
            ends.append(dt.datetime.fromisoformat(str(since["time"])) + dt.timedelta(days=kept))
    return max(ends, default=None)


@given(
    parts=st.lists(SAID, max_size=8), turns=st.randoms(use_true_random=False), looks=st.sets(st.integers(0, 30)),
    days=st.sampled_from([0, 30, 180]),
)  # fmt: skip
def test_looking_bit_by_bit_finds_what_one_look_finds(
    tmp_path_factory: pytest.TempPathFactory,
    parts: list[list[dict[str, object]]],
    turns: random.Random,
    looks: set[int],
    days: int,
) -> None:
    said: list[dict[str, object]] = []
    left = [list(part) for part in parts]
    while left := [part for part in left if part]:  # entries of several requests lie between each other
        said.append(turns.choice(left).pop(0))
    folder = tmp_path_factory.mktemp("log")
    now = DAY + dt.timedelta(days=200)
    with AuditLog(f"sqlite:///{folder / 'audit.db'}") as log:
        again = KeptBack()
        for number, entry in enumerate(said):
            with log.transaction(note) as change:
                change.append(entry)
            if number in looks:
                with reading(log) as rows:
                    again.look(rows)
        with reading(log) as rows:
            once = KeptBack()
            for name in ("ana", "ben", "eve"):
                holds = [entry["type"] for entry in said if entry.get("actor") == name and "reason" in entry]
                stands = holds[-1:] == [HELD]
                assert again.held(rows, name) == once.held(rows, name) == stands
                until = expected(said, name, days)
                assert again.until(rows, name, days) == once.until(rows, name, days) == until
                kept = stands or (until is not None and until > now)
                assert (name in again.actors(rows, now, days)) == (name in once.actors(rows, now, days)) == kept


def test_in_another_log_it_begins_anew(tmp_path_factory: pytest.TempPathFactory) -> None:
    seen = KeptBack()
    for name, count in (("first", 3), ("second", 1)):
        with AuditLog(f"sqlite:///{tmp_path_factory.mktemp(name) / 'audit.db'}") as log:
            for _ in range(count):
                log.append(of_hold(name, HELD))
            with reading(log) as rows:
                assert seen.actors(rows, DAY, 0) == {name}


def test_while_others_wait_to_write_only_what_is_new_is_read(
    installation: Installation, make_engine: MakeEngine
) -> None:
    assert make_engine().generate(GenerateRequest("a boat", subject="ana")).released
    read: list[tuple[int, int]] = []

    def seen(_c: object, _cursor: object, statement: str, values: tuple[int, ...], *_: object) -> None:
        if "leaf" in statement and "instr(" in statement:
            read.append(values[:2])

    event.listen(installation.log.engine, "before_cursor_execute", seen)
    size = installation.log.size()
    hold(installation.ledger, "ana", "case 1")
    assert read == [(0, size)], "once, before the transaction"
    hold(installation.ledger, "ana", "case 1", lift=True)
    assert read == [(0, size), (size, size + 1)]
    installation.ledger.erase("ana")
    assert read[2:] == [(size + 1, size + 2)]


def test_a_connection_of_its_own_sees_the_same(installation: Installation, make_engine: MakeEngine) -> None:
    """Another process placed the hold: this one, which looked before, knows of it at the next look."""
    assert make_engine().generate(GenerateRequest("a boat", subject="ana")).released
    installation.ledger.look_back()
    other = connect(installation.settings.database_url)
    with AuditLog(other) as log:
        actor = next(entry["actor"] for _, entry in log.entries() if entry["type"] == "intent")
        log.append(of_hold(actor, HELD))
    other.dispose()
    with pytest.raises(Exception, match="legal hold stands"):
        installation.ledger.erase("ana")
