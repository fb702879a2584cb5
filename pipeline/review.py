"""The desk: work that waits for people, and what they decide. All of it on the database and in the log, no files.

::

    held ──┬─ enough approvals ──> approved ──> (`resuming` goes on: generated, judged, released)
           ├─ one rejection ─────> refused ──> appeal ──┬─ enough approvals: overturned ──> approved
           └─ deadline passed ───> refused              └─ a rejection, or no answer: upheld, for good

Each act takes the request's rows under a lock, is weighed against their state there, and commits with its entries: of
two people at once, the second finds what the first did. What the terms are is read from the log's entry, which rows
can only repeat. No clock that is set back gives time back: the log's own last time is the least that it is now.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ..errors import InputError, KeyStoreError, TamperError
from ..provenance.log import canonical
from ..provenance.log.canonical import time_text
from ..provenance.log.rows import leaf_at
from ..provenance.log.sequencer import LogTransaction
from ..provenance.tables import Intent, LogEntry, Review, ReviewAct
from ..provenance.vault import Vault
from ..safety.decision import Decision
from ..safety.policy import Pack
from .ledger import Ledger, waits_for_stamp
from .review_case import Act, Case, ReviewError, person, reason_text
from .terms import EXPIRED, REJECTED, appealable, liftable, parse_time, terms, told

OPENED_BY = ("held", "review.renewed", "appeal.filed")


class Desk:
    """``pack``: the policy in force, by which deadlines, approvals and appeals are set."""

    def __init__(self, ledger: Ledger, pack: Pack) -> None:
        self.ledger, self.pack = ledger, pack

    # ── putting work before people ───────────────────────────────────────────────────────────────────────────────
    def hold(self, intent: UUID, decision: Decision, *, kept: str | None, publish_prompt: bool, subject: str) -> int:
        """Ends a request for now: people decide. ``kept``: the digest of what is kept of finished work. Returns the
        entry's index. Raises ReleaseError where the request cannot be held."""
        with self.ledger.change() as change:
            self.ledger.advance(change, intent, "held")
            entry = told(decision, self.pack) | {"kind": "hold", "publish_prompt": publish_prompt}
            return self.open_round(change, intent, "held", entry, kept, subject)

    def renew(self, intent: UUID, decision: Decision) -> int:
        """The same work again, judged by the policy in force: what was approved under another counts no more. The
        deadline stays, unless the new one is earlier."""
        with self.ledger.change() as change:
            row, _, old = self._locked(change, intent)
            if row.status not in ("open", "approved"):
                raise ReviewError(f"this review is {row.status}")
            if row.subject is None:
                raise KeyStoreError("whoever asked for this work was erased", code="provenance.erased", hint="")
            entry = told(decision, self.pack) | {"kind": row.kind, "publish_prompt": old.get("publish_prompt") is True}
            kept = row.kept if decision.side == "output" else None
            least = row.deadline if row.status == "open" else None
            return self.open_round(change, intent, "review.renewed", entry, kept, row.subject, least)

    def open_round(
        self,
        change: LogTransaction,
        intent: UUID,
        type_: str,
        entry: dict[str, Any],
        kept: str | None,
        subject: str,
        least: dt.datetime | None = None,
    ) -> int:
        rows, now = change.session, self.now(change.session)
        row = rows.get(Review, intent)
        actor = Vault(rows).actor(subject)
        number = 1 if row is None else row.round + 1
        entry = {
            **entry, **terms(self.pack, entry["rules"], now), "type": type_, "time": time_text(now),
            "intent": str(intent), "round": number, **({} if kept is None else {"pending": kept}),
        }  # fmt: skip
        if least is not None:
            entry["deadline"] = min(entry["deadline"], time_text(least))
        index = change.append(entry)
        if row is None:
            row = Review(intent_id=intent, created_at=now)
            rows.add(row)
        row.round, row.kind, row.side, row.status = number, entry["kind"], entry["side"], "open"
        row.actor, row.subject, row.assignee = actor, subject, None
        row.policy_digest, row.approvals = entry["policy"]["digest"], entry["approvals"]
        row.deadline, row.appeal_until = parse_time(entry["deadline"]), None
        row.kept, row.log_index, row.updated_at = kept, index, now
        rows.flush()
        return index

    # ── what people do ───────────────────────────────────────────────────────────────────────────────────────────
    def assign(self, intent: UUID, to: str, by: str) -> Case:
        """Gives it to somebody, or passes it on. Others may still decide."""
        to, by = person(to), person(by)
        with self._acting(intent) as (change, row, _, now):
            vault = Vault(change.session)
            self._not_their_own(row, vault.actor(to), to)
            row.assignee, row.updated_at = to, now
            change.append(self._act("review.assigned", row, vault.actor(by), now) | {"assignee": vault.actor(to)})
        return self.case(intent)

    def approve(self, intent: UUID, by: str, reason: str) -> Case:
        """One person's approval; the same person's second one changes nothing. With the last that is needed, the
        request may go on (see `resuming`). Raises ReviewError."""
        by, reason = person(by), reason_text(reason)
        with self._acting(intent, twice=by) as (change, row, entry, now):
            if row.status == "open":
                self._may_approve(change.session, row, entry, by)
                index = self._record(change, row, "approve", "review.approved", by, reason, now)
                done = len(self._approvals(change.session, row, entry))
                row.updated_at = now
                if done >= row.approvals:
                    row.status = "approved"
                    if row.kind == "appeal":
                        self._overturn(change, row, now, index)
        return self.case(intent)

    def reject(self, intent: UUID, by: str, reason: str) -> Case:
        """Refuses held work, or upholds what was appealed against. One person is enough. Raises ReviewError."""
        by, reason = person(by), reason_text(reason)
        with self._acting(intent) as (change, row, entry, now):
            self._may_decide(change.session, row, by)
            appeal = row.kind == "appeal"
            self._record(change, row, "reject", "appeal.upheld" if appeal else REJECTED, by, reason, now)
            row.status = "rejected"
            self._refused(change, row, entry, now, REJECTED)
        return self.case(intent)

    def refuse(self, intent: UUID, decision: Decision) -> None:
        """Ends open held work that the policy in force blocks."""
        with self.ledger.change() as change:
            row, _, _ = self._locked(change, intent)
            if row.status != "open" or row.kind != "hold":
                raise ReviewError(f"this review is {row.status}")
            now = self.now(change.session)
            row.status = "rejected"
            self._refused(change, row, told(decision, self.pack), now, decision.code)

    def needs_files(self, intent: UUID) -> bool:
        """Whether what was kept may still be asked for: by people, by going on, or by an appeal."""
        with self.ledger.reading() as rows:
            row, request = rows.get(Review, intent), rows.get(Intent, intent)
            if row is None or request is None or row.kept is None:
                return False
            if row.status == "open":
                return True
            if row.status == "approved":
                return request.state in ("held", "result") and not waits_for_stamp(request)
            return row.appeal_until is not None and row.kind == "hold" and row.appeal_until > self.now(rows)

    def sweep(self) -> list[UUID]:
        """Refuses whatever nobody decided in time. Returns which."""
        ended = []
        with self.ledger.reading() as rows:
            now = self.now(rows)
            over = select(Review.intent_id).where(Review.status == "open", Review.deadline <= now)
            found = list(rows.scalars(over))
        for intent in found:
            with self.ledger.change() as change:
                row, _, entry = self._locked(change, intent)
                now = self.now(change.session)
                if row.status == "open" and row.deadline <= now:
                    self._expire(change, row, entry, now)
                    ended.append(intent)
        return ended

    # ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────
    def case(self, intent: UUID) -> Case:
        """Raises InputError where nobody was ever asked about this request, TamperError where the rows are not what
        the log says."""
        with self.ledger.reading() as rows:
            row = rows.get(Review, intent)
            if row is None:
                raise InputError("this request is not before people", code="input.review_unknown",
                                 hint="`filigrana review list` shows what is.")  # fmt: skip
            return self._case(rows, row)

    def cases(self, *, status: str | None = "open", mine: str | None = None, appeals: bool = False) -> list[Case]:
        """The most urgent first. ``status``: ``open`` (with what is approved and has not gone on yet), ``expired``
        or another one, None for all. ``mine``: assigned to that person."""
        with self.ledger.reading() as rows:
            query = select(Review).order_by(Review.deadline, Review.created_at)
            if status == "open":
                query = query.where(Review.status.in_(("open", "approved")))
            elif status is not None:
                query = query.where(Review.status == status)
            if mine is not None:
                query = query.where(Review.assignee == mine)
            if appeals:
                query = query.where(Review.kind == "appeal")
            found = [self._case(rows, row) for row in rows.scalars(query)]
        return [case for case in found if status != "open" or case.status == "open" or case.goes_on]

    def approved(self, intent: UUID) -> Case:
        """The case, if as many people as it takes have approved it, by what the log says. Raises ReviewError."""
        case = self.case(intent)
        if not case.goes_on or case.approvals < case.needed or case.subject is None or not liftable(case.entry):
            raise ReviewError("this request is not approved")
        return case

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────
    @contextmanager
    def _acting(
        self, intent: UUID, twice: str | None = None
    ) -> Iterator[tuple[LogTransaction, Review, dict[str, Any], dt.datetime]]:
        """The rows, locked, of what is open. ``twice``: whose second approval is no error."""
        self.sweep()
        with self.ledger.change() as change:
            row, _, entry = self._locked(change, intent)
            now = self.now(change.session)
            if row.status == "expired":
                raise ReviewError("nobody decided in time: it is refused", code=EXPIRED)
            if row.status != "open" and not (row.status == "approved" and self._said(change.session, row, twice)):
                raise ReviewError(f"it is {row.status} already: somebody else was quicker")
            if row.status == "open" and row.deadline <= now:
                # Between the sweep and the lock: the next one ends it.
                raise ReviewError("nobody decided in time: it is refused", code=EXPIRED)
            yield change, row, entry, now

    def _said(self, rows: Session, row: Review, name: str | None) -> bool:
        return name is not None and any(
            act.act == "approve" and act.subject == name for act in self._acts(rows, row) if act.round == row.round
        )

    def _locked(self, change: LogTransaction, intent: UUID) -> tuple[Review, Intent, dict[str, Any]]:
        """In one order everywhere: the request, then its review."""
        request = change.session.get(Intent, intent, with_for_update=True)
        row = change.session.get(Review, intent, with_for_update=True)
        if request is None or row is None:
            raise InputError("this request is not before people", code="input.review_unknown",
                             hint="`filigrana review list` shows what is.")  # fmt: skip
        return row, request, self._entry(change.session, row)

    def _entry(self, rows: Session, row: Review) -> dict[str, Any]:
        """The terms as the log has them. Raises TamperError where the row says otherwise."""
        entry = canonical.decode(leaf_at(rows.connection(), row.log_index))
        policy = entry.get("policy")
        said = (
            entry.get("type") in OPENED_BY, entry.get("intent"), entry.get("kind"), entry.get("round"),
            entry.get("side"), entry.get("approvals"), entry.get("deadline"), entry.get("pending"),
            policy.get("digest") if isinstance(policy, dict) else None, isinstance(entry.get("rules"), list),
        )  # fmt: skip
        its = (True, str(row.intent_id), row.kind, row.round, row.side, row.approvals, time_text(row.deadline),
               row.kept, row.policy_digest, True)  # fmt: skip
        if said != its:
            raise TamperError("the row of this review is not what the log says")
        return entry

    def _may_decide(self, rows: Session, row: Review, by: str) -> str:
        actor = Vault(rows).actor(by)
        self._not_their_own(row, actor, by)
        before = {act.actor for act in self._acts(rows, row) if act.round < row.round and act.act == "reject"}
        before |= {act.actor for act in self._acts(rows, row) if act.round < row.round and act.act == "approve"
                   and row.kind == "appeal"}  # fmt: skip
        if row.kind == "appeal" and actor in before:
            raise ReviewError("who decided before does not decide the appeal", code="review.decided_before")
        return actor

    def _may_approve(self, rows: Session, row: Review, entry: dict[str, Any], by: str) -> None:
        self._may_decide(rows, row, by)
        if not liftable(entry):
            raise ReviewError(
                "a rule that nobody may lift refuses this: it can only be rejected",
                code="review.override",
                hint="`filigrana review reject`, or pass it on with `review assign`.",
            )
        releasable = row.side == "prompt" or row.kept is not None
        if row.subject is None:
            raise ReviewError("whoever asked for this work was erased", code="provenance.erased", hint="")
        if releasable and row.policy_digest != self.pack.ref.digest:
            its = entry["policy"]
            raise ReviewError(
                f"it was judged by {its['id']} {its['version']}, and another policy is in force",
                code="review.policy",
                hint="Look at it again: it is judged anew by the policy in force. Another pack is named with --policy.",
            )

    def _not_their_own(self, row: Review, actor: str, name: str) -> None:
        if actor == row.actor or name == row.subject:
            raise ReviewError(
                "whoever asked for this work does not decide on it",
                code="review.own",
                hint="Somebody else decides; --as says who.",
            )

    def _record(
        self, change: LogTransaction, row: Review, act: str, type_: str, by: str, reason: str, now: dt.datetime
    ) -> int:
        rows = change.session
        actor = Vault(rows).actor(by)
        if any(one.actor == actor and one.round == row.round for one in self._acts(rows, row)):
            if act == "approve":
                return -1
            # Whoever approved may still think better of it, as long as it is open.
            for one in self._acts(rows, row):
                if one.actor == actor and one.round == row.round:
                    rows.delete(one)
            rows.flush()
        sealed = Vault(rows).seal_text(row.subject or by, reason, kind="review.reason")
        index = change.append(self._act(type_, row, actor, now) | {"reason": sealed.commitment})
        rows.add(
            ReviewAct(intent_id=row.intent_id, round=row.round, act=act, actor=actor, subject=by, reason=sealed.id,
                      log_index=index, created_at=now)
        )  # fmt: skip
        row.updated_at = now
        rows.flush()
        return index

    def _act(self, type_: str, row: Review, actor: str, now: dt.datetime) -> dict[str, Any]:
        return {"type": type_, "time": time_text(now), "intent": str(row.intent_id), "round": row.round,
                "side": row.side, "actor": actor, "role": "reviewer"}  # fmt: skip

    def _acts(self, rows: Session, row: Review) -> list[ReviewAct]:
        query = select(ReviewAct).where(ReviewAct.intent_id == row.intent_id)
        return list(rows.scalars(query.order_by(ReviewAct.round, ReviewAct.log_index)))

    def _approvals(self, rows: Session, row: Review, entry: dict[str, Any]) -> list[ReviewAct]:
        """Those of this round that count: each by somebody else, who is still known, and in the log."""
        found: dict[str, ReviewAct] = {}
        for act in self._acts(rows, row):
            if act.round != entry["round"] or act.act != "approve" or act.subject is None or act.actor == row.actor:
                continue
            said = canonical.decode(leaf_at(rows.connection(), act.log_index))
            its = tuple(said.get(name) for name in ("type", "intent", "round", "actor"))
            if its != ("review.approved", str(row.intent_id), row.round, act.actor) or act.log_index < row.log_index:
                raise TamperError("the row of an approval is not what the log says")
            found[act.actor] = act
        return list(found.values())

    def _refused(self, change: LogTransaction, row: Review, entry: dict[str, Any], now: dt.datetime, code: str) -> None:
        """Held work becomes refused; what was refused before stays so."""
        row.updated_at = now
        if row.kind == "appeal":
            return
        self.ledger.advance(change, row.intent_id, "refused", by_people=True)
        until = appealable(self.pack, now)
        row.appeal_until = parse_time(until)
        said = {name: entry[name] for name in ("verdict", "side", "rules", "policy")}
        change.append({"type": "refused", "time": time_text(now), "intent": str(row.intent_id), "code": code,
                       "rewrite_offered": False, "appeal_until": until, "round": row.round, **said})  # fmt: skip

    def _expire(self, change: LogTransaction, row: Review, entry: dict[str, Any], now: dt.datetime) -> None:
        row.status = "expired"
        change.append({"type": EXPIRED, "time": time_text(now), "intent": str(row.intent_id), "round": row.round,
                       "side": row.side, "deadline": entry["deadline"]})  # fmt: skip
        self._refused(change, row, entry, now, EXPIRED)

    def _overturn(self, change: LogTransaction, row: Review, now: dt.datetime, index: int) -> None:
        goes_on = row.side == "prompt" or row.kept is not None
        if goes_on:
            self.ledger.advance(change, row.intent_id, "held", by_people=True)
        change.append({"type": "appeal.overturned", "time": time_text(now), "intent": str(row.intent_id),
                       "round": row.round, "side": row.side, "approval": index, "goes_on": goes_on})  # fmt: skip

    def now(self, rows: Session) -> dt.datetime:
        """The time, and never less than what was written last: a clock that is set back extends no deadline."""
        times = [self.ledger.clock()]
        latest = rows.scalar(select(func.max(Review.updated_at)))
        leaf = rows.scalar(select(LogEntry.leaf).order_by(LogEntry.seq.desc()).limit(1))
        last = {} if leaf is None else canonical.decode(leaf)
        time = last.get("time")
        if latest is not None:
            times.append(latest)
        if time is not None and "intent" in last:
            times.append(parse_time(time))
        return max(times)

    def _case(self, rows: Session, row: Review) -> Case:
        request = rows.get(Intent, row.intent_id)
        entry, vault = self._entry(rows, row), Vault(rows)
        if request is None:
            raise TamperError("a review without its request")

        def text(act: ReviewAct) -> str | None:
            try:
                return None if act.reason is None else vault.open_text(act.reason)
            except KeyStoreError:
                return None

        acts = tuple(
            Act(a.round, a.act, a.actor, a.subject, text(a), a.created_at, a.log_index) for a in self._acts(rows, row)
        )
        return Case(
            row.intent_id, request.kind, request.state, row.kind, row.side, row.round, row.status,  # type: ignore[arg-type]
            len(self._approvals(rows, row, entry)), row.approvals, row.deadline, row.appeal_until, row.subject,
            row.actor, row.assignee, row.kept, row.log_index, entry, acts, row.created_at,
            request.request.get("node") == self.ledger.node, waits_for_stamp(request),
        )  # fmt: skip
