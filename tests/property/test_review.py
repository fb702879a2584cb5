"""Any acts of any people in any order: nothing is approved without the approvals that the pack asks for."""

from __future__ import annotations

import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filigrana.errors import FiligranaError
from filigrana.pipeline.appeals import appeal
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.review import Desk
from filigrana.pipeline.settings import load_settings
from filigrana.provenance.database import session
from filigrana.provenance.tables import Intent
from filigrana.safety.decision import Decision, RuleHit, Verdict
from filigrana.safety.policy import Pack, load_pack
from filigrana.tests.doubles import FakeClock

PACK = load_pack("newsroom")
PEOPLE = ("anna", "ruth", "rahel", "lea")
ACTS = st.lists(
    st.tuples(
        st.sampled_from(["approve", "approve", "approve", "reject", "assign", "later", "back", "appeal", "erase", "sweep"]),
        st.sampled_from(PEOPLE),
    ),
    max_size=12,
)  # fmt: skip


def decision(
    rule: str, hazard: str, *, override: bool = True, verdict: Verdict = Verdict.REVIEW, pack: Pack = PACK
) -> Decision:
    hit = RuleHit(rule, "title", hazard, verdict, f"prompt.{hazard}", "a reason of some length", override)
    return Decision("prompt", verdict, pack.ref, (hit,))


@dataclass
class Model:
    """What must be true, kept apart from the program: who approved in this round, and whether it has ended."""

    needed: int
    liftable: bool
    round: int = 1
    approvals: set[str] = field(default_factory=set)
    rejected_by: set[str] = field(default_factory=set)
    status: str = "open"
    kind: str = "hold"
    erased: bool = False
    appealed: bool = False


@pytest.fixture(scope="module")
def opened(furnished: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = Path(shutil.copytree(furnished, tmp_path_factory.mktemp("desk") / "data"))
    house = Installation(load_settings(data_dir=folder), FakeClock())
    yield house
    house.close()


def held(house: Installation, desk: Desk, what: Decision, subject: str) -> UUID:
    intent = uuid4()
    house.ledger.open("generate", {}, texts={"prompt": "x"}, subject=subject, intent_id=intent)
    desk.hold(intent, what, kept=None, publish_prompt=False, subject=subject)
    return intent


@settings(max_examples=40)
@given(acts=ACTS, two=st.booleans(), override=st.booleans())
def test_no_order_of_acts_approves_too_early(
    opened: Installation, acts: list[tuple[str, str]], two: bool, override: bool
) -> None:
    clock: Any = opened.clock
    desk = Desk(opened.ledger, PACK)
    # Each example has people of its own: an erasure is for good.
    mark = uuid4().hex[:8]
    people = {name: f"{name}-{mark}" for name in PEOPLE}
    what = decision("NR-009" if two else "NR-008", "pub" if two else "gore", override=override)
    intent = held(opened, desk, what, people["anna"])
    model = Model(2 if two else 1, override)
    for act, name in acts:
        before = desk.case(intent)
        try:
            if act == "approve":
                desk.approve(intent, people[name], "fine")
            elif act == "reject":
                desk.reject(intent, people[name], "no")
            elif act == "assign":
                desk.assign(intent, people[name], people["lea"])
            elif act == "appeal":
                appeal(desk, intent, people[name], "please")
            elif act == "erase":
                opened.ledger.erase(people[name])
            elif act == "later":
                clock.jump(hours=9)
            elif act == "back":
                clock.jump(hours=-30)
            else:
                desk.sweep()
            done = True
        except FiligranaError:
            done = False
        _step(model, act, name, done, desk.case(intent), before)
        case = desk.case(intent)
        assert case.status == model.status or case.status == "expired", (case.status, model)
        if case.goes_on:
            assert model.liftable
            assert len(model.approvals) >= model.needed, "approved without its approvals"
            assert "anna" not in model.approvals
            assert not (model.kind == "appeal" and model.approvals & model.rejected_by)
        assert (opened.ledger.state(intent) in ("held", "refused")) is True
    if acts:
        clock.jump(hours=1)  # never behind what was written


def _step(model: Model, act: str, name: str, done: bool, after: Any, before: Any) -> None:
    if act == "erase" and done:
        model.approvals.discard(name)
    if model.status == "approved" and len(model.approvals) < model.needed and act not in ("erase", "later", "back"):
        model.status = "open"  # whoever approved is gone: every act of the desk looks first
    if not done:
        if after.status == "expired":
            model.status = "expired"
        return
    if act == "approve" and model.status == "open":
        assert name != "anna"
        model.approvals.add(name)
        if len(model.approvals) >= model.needed:
            model.status = "approved"
    elif act == "reject":
        assert model.status == "open"
        assert name != "anna"
        model.rejected_by.add(name)
        model.status = "rejected"
    elif act == "appeal":
        assert name == "anna"
        assert before.status in ("rejected", "expired")
        assert not model.appealed
        model.appealed, model.kind, model.status, model.approvals = True, "appeal", "open", set()
    if after.status == "expired":
        model.status = "expired"


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_many_reviewers_at_once(furnished: Path, tmp_path: Path, backend: str, request: pytest.FixtureRequest) -> None:
    """Threads, each with connections of its own: exactly one end, and the approvals that count are distinct people's."""
    folder = Path(shutil.copytree(furnished, tmp_path / "data"))
    more = {}
    if backend == "postgresql":
        (folder / "audit.db").unlink()
        (folder / "checkpoint.guard").unlink(missing_ok=True)
        more = {"database": request.getfixturevalue("postgres_url")}
    house = Installation(load_settings(data_dir=folder, **more))
    try:
        desk = Desk(house.ledger, PACK)
        ends = set()
        for number in range(6):
            intent = held(house, desk, decision("NR-009", "pub"), "anna")
            said: list[str] = []
            start = threading.Barrier(5)

            def act(name: str, what: str, intent: UUID = intent, said: list[str] = said, start: Any = start) -> None:
                start.wait()
                try:
                    said.append(getattr(desk, what)(intent, name, "so").status)
                except FiligranaError as error:
                    said.append(error.code)

            whats = [
                ("ruth", "approve"),
                ("ruth", "approve"),
                ("rahel", "approve"),
                ("lea", "reject"),
                ("mara", "reject"),
            ]
            threads = [
                threading.Thread(target=act, args=one) for one in (whats if number % 2 else whats[:3] + whats[3:][::-1])
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            case = desk.case(intent)
            assert len(said) == 5
            assert set(said) <= {"open", "approved", "rejected", "review.state", "log.write"}, said
            types = [e["type"] for _, e in house.log.entries() if e.get("intent") == str(intent)]
            assert types.count("review.rejected") == (case.status == "rejected")
            assert types.count("refused") == (case.status == "rejected")
            approvers = {a.actor for a in case.acts if a.act == "approve"}
            assert types.count("review.approved") == len(approvers)
            assert case.status != "approved" or len(approvers) == 2
            assert case.status in ("approved", "rejected")
            ends.add(case.status)
        assert house.log.verify().ok
        assert ends
    finally:
        house.close()


def test_the_model_notices_a_desk_that_counts_twice(opened: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: approvals counted as rows and not as people's."""
    desk = Desk(opened.ledger, PACK)
    intent = held(opened, desk, decision("NR-009", "pub"), f"anna-{uuid4().hex}")
    monkeypatch.setattr(Desk, "_approvals", lambda *_: [1, 2])
    monkeypatch.setattr(Desk, "_lacks", lambda *_: False)
    desk.approve(intent, "ruth", "fine")
    model = Model(2, True)
    model.approvals.add("ruth")
    case = desk.case(intent)
    assert case.goes_on
    assert len(model.approvals) < model.needed
    with session(opened.log.engine) as rows:
        found = rows.get(Intent, intent)
        assert found is not None
        assert found.state == "held"
