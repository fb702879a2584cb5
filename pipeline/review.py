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

from sqlalchemy import select
from sqlalchemy.orm import Session

from ..errors import KeyStoreError
from ..provenance.log.canonical import time_text
from ..provenance.log.sequencer import LogTransaction
from ..provenance.tables import Intent, Review, ReviewAct
from ..provenance.vault import Vault
from ..safety.decision import Decision
from .ledger import waits_for_stamp
from .review_case import Case, ReviewError, may_be_one, person, reason_text, spelled
from .review_rows import DeskRows
from .terms import EXPIRED, REJECTED, appealable, liftable, parse_time, terms, told


class Desk(DeskRows):
    """``pack``: the policy in force, by which deadlines, approvals and appeals are set."""

    # ── putting work before people ───────────────────────────────────────────────────────────────────────────────
    def hold(self, intent: UUID, decision: Decision, *, kept: str | None, publish_prompt: bool, subject: str) -> int:
        """Ends a request for now: people decide. ``kept``: the digest of what is kept of finished work. Returns the
        entry's index. Raises ReleaseError where the request cannot be held."""
        with self.ledger.change() as change:
            vault = Vault(change.session)
            known = vault.keeps(subject)
            request = self.ledger.advance(change, intent, "held")
            if not known or (request.kind == "generate" and not vault.texts_of_intent(intent)):
                # Nobody's name comes back with what was asked for before its erasure.
                raise KeyStoreError("whoever asked for this work was erased", code="provenance.erased", hint="")
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
            if old["policy"]["version"] == self.pack.ref.version:
                raise ReviewError(
                    f"another policy calls itself {self.pack.ref.id} {self.pack.ref.version}, too",
                    code="review.policy",
                    hint="Use the pack that it was judged by, or give the changed one a version of its own.",
                )
            entry = told(decision, self.pack) | {"kind": row.kind, "publish_prompt": old.get("publish_prompt") is True}
            # A later policy adds to what people have to mind and takes nothing from it: what nobody may lift stays.
            barred = [rule for rule in old["rules"] if rule.get("override") is not True]
            known = {rule["id"] for rule in entry["rules"]}
            entry["rules"] = [*entry["rules"], *(rule for rule in barred if rule["id"] not in known)]
            kept = row.kept if decision.side == "output" else None
            least = row.deadline if row.status == "open" else None
            return self.open_round(
                change, intent, "review.renewed", entry, kept, row.subject, least, int(old.get("approvals") or 1)
            )

    def open_round(
        self,
        change: LogTransaction,
        intent: UUID,
        type_: str,
        entry: dict[str, Any],
        kept: str | None,
        subject: str,
        least: dt.datetime | None = None,
        approvals: int = 1,
    ) -> int:
        rows, now = change.session, self.now(change.session)
        row = rows.get(Review, intent)
        actor = Vault(rows).actor(subject)
        number = 1 if row is None else row.round + 1
        entry = {
            **entry, **terms(self.pack, entry["rules"], now), "type": type_, "time": time_text(now),
            "intent": str(intent), "round": number, **({} if kept is None else {"pending": kept}),
        }  # fmt: skip
        entry["approvals"] = max(approvals, entry["approvals"])
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

    def sweep(self) -> list[UUID]:
        """Refuses whatever nobody decided in time. Returns which."""
        self._reopen()
        ended = []
        grace = dt.timedelta(hours=self.pack.document.review.hours)
        with self.ledger.reading() as rows:
            now = self.now(rows)
            over = select(Review.intent_id).where(Review.status == "open", Review.deadline <= now)
            # What was approved and never went on does not stay so for ever.
            stuck = (
                select(Review.intent_id)
                .join(Intent, Intent.id == Review.intent_id)
                .where(
                    Review.status == "approved", Review.deadline <= now - grace, Intent.state.in_(("held", "result"))
                )
            )
            found = [*rows.scalars(over), *rows.scalars(stuck)]
        for intent in found:
            with self.ledger.change() as change:
                row, request, entry = self._locked(change, intent)
                now = self.now(change.session)
                stays = row.status == "approved" and request.state in ("held", "result")
                late = stays and not waits_for_stamp(request) and row.deadline <= now - grace
                if late or (row.status == "open" and row.deadline <= now):
                    self._expire(change, row, entry, now)
                    ended.append(intent)
        return ended

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

    def _may_decide(self, rows: Session, row: Review, by: str) -> str:
        actor = Vault(rows).actor(by)
        self._not_their_own(row, actor, by)
        before = {act.actor for act in self._acts(rows, row) if act.round < row.round and act.act == "reject"}
        before |= {act.actor for act in self._acts(rows, row) if act.round < row.round and act.act == "approve"
                   and row.kind == "appeal"}  # fmt: skip
        if row.kind == "appeal" and actor in before:
            raise ReviewError("who decided before does not decide the appeal", code="review.decided_before")
        others = [row.subject] + [act.subject for act in self._acts(rows, row) if self._counts_against(act, row)]
        for name in others:
            if name is not None and name != by and may_be_one(name, by):
                raise ReviewError(
                    "nobody knows whether this account and somebody who asked or decided here are two people",
                    code="review.person",
                    hint="Link the account to its person with the setting `oidc_people`, and sign in again.",
                )
        return actor

    def _counts_against(self, act: ReviewAct, row: Review) -> bool:
        """Whether who did this must be somebody else: another of the approvals, or a decision that is appealed."""
        if act.round == row.round:
            return act.act == "approve"
        return row.kind == "appeal" and act.act in ("approve", "reject")

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
        if actor == row.actor or (row.subject is not None and name == spelled(row.subject)):
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

    def _reopen(self) -> None:
        """What was approved by somebody who is erased now, and has not gone on yet, is open again."""
        with self.ledger.reading() as rows:
            query = select(Review, Intent).join(Intent, Intent.id == Review.intent_id)
            pending = query.where(Review.status == "approved", Intent.state.in_(("held", "result")))
            found = [row.intent_id for row, request in rows.execute(pending) if self._lacks(rows, row, request)]
        for intent in found:
            with self.ledger.change() as change:
                row, request, _ = self._locked(change, intent)
                if self._lacks(change.session, row, request):
                    row.status, row.updated_at = "open", self.now(change.session)
                    change.append(
                        {
                            "type": "review.reopened",
                            "time": time_text(row.updated_at),
                            "intent": str(intent),
                            "round": row.round,
                            "side": row.side,
                        }
                    )

    def _lacks(self, rows: Session, row: Review, request: Intent) -> bool:
        goes_on = row.status == "approved" and request.state in ("held", "result") and not waits_for_stamp(request)
        known = {a.actor for a in self._acts(rows, row) if (a.round, a.act) == (row.round, "approve") and a.subject}
        return goes_on and len(known) < row.approvals

    def _refused(self, change: LogTransaction, row: Review, entry: dict[str, Any], now: dt.datetime, code: str) -> None:
        """Held work becomes refused; what was refused before stays so."""
        row.updated_at = now
        request = change.session.get(Intent, row.intent_id)
        if request is None or request.state == "refused":
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
