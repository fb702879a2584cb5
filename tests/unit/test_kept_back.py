"""Who is kept back is read out of the log: once, and then what is new; and not while others wait to write."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, event

from filigrana.pipeline.installation import Installation
from filigrana.pipeline.kept_back import HELD, LIFTED, KeptBack
from filigrana.pipeline.request import GenerateRequest
from filigrana.pipeline.subjects import hold
from filigrana.provenance.database import connect, session
from filigrana.provenance.log.sequencer import AuditLog
from filigrana.tests.conftest import MakeEngine

DAY = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)


@contextmanager
def reading(log: AuditLog) -> Iterator[Connection]:
    with session(log.engine) as rows:
        yield rows.connection()


def consent(actor: str, day: int, keep: object) -> dict[str, object]:
    time = (DAY + dt.timedelta(days=day)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"type": "intent", "time": time, "actor": actor, "request": {"unlabelled": "consent", "keep_days": keep}}


def of_hold(actor: str, kind: str) -> dict[str, object]:
    return {"type": kind, "time": "2026-03-01T00:00:00Z", "actor": actor, "reason": "case"}


def noise(actor: str) -> dict[str, object]:
    return {"type": "intent", "time": "2026-03-01T00:00:00Z", "actor": actor, "request": {"says": "legal-hold"}}


NAMES = st.sampled_from(["ana", "ben", "eve"])
SAID = st.one_of(
    st.builds(of_hold, NAMES, st.sampled_from([HELD, LIFTED])),
    st.builds(consent, NAMES, st.integers(0, 400), st.sampled_from([0, 30, 400, 10**9, -1, None, "x"])),
    st.builds(noise, NAMES),
)


@given(said=st.lists(SAID, max_size=12), looks=st.sets(st.integers(0, 12)), days=st.sampled_from([0, 30, 180]))
def test_looking_bit_by_bit_finds_what_one_look_finds(
    tmp_path_factory: pytest.TempPathFactory, said: list[dict[str, object]], looks: set[int], days: int
) -> None:
    folder = tmp_path_factory.mktemp("log")
    now = DAY + dt.timedelta(days=200)
    with AuditLog(f"sqlite:///{folder / 'audit.db'}") as log:
        again = KeptBack()
        for number, entry in enumerate(said):
            log.append(entry)
            if number in looks:
                with reading(log) as rows:
                    again.look(rows)
        with reading(log) as rows:
            once = KeptBack()
            for name in ("ana", "ben", "eve"):
                holds = [entry["type"] for entry in said if entry["actor"] == name and "reason" in entry]
                stands = holds[-1:] == [HELD]
                assert again.held(rows, name) == once.held(rows, name) == stands
                ends = [
                    dt.datetime.fromisoformat(str(entry["time"])) + dt.timedelta(days=kept)
                    for entry in said
                    if entry["actor"] == name and isinstance(entry.get("request"), dict)
                    and "unlabelled" in entry["request"]  # type: ignore[operator]
                    for asked in [entry["request"]["keep_days"]]  # type: ignore[index]
                    if (kept := max(days, min(asked, 3650) if isinstance(asked, int) and asked > 0 else 0))
                ]  # fmt: skip
                until = max(ends, default=None)
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
