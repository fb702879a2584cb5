"""The rows of the review desk, read under the log: what they say counts only as far as its entries say it too."""

from __future__ import annotations

import datetime as dt
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ..errors import InputError, KeyStoreError, TamperError
from ..provenance.log import canonical
from ..provenance.log.canonical import time_text
from ..provenance.log.rows import leaf_at
from ..provenance.log.sequencer import LogTransaction
from ..provenance.service_tables import JobOwner
from ..provenance.tables import Intent, LogEntry, Review, ReviewAct
from ..provenance.vault import DEFAULT_TENANT, Vault
from ..safety.policy import Pack
from .ledger import Ledger, waits_for_stamp
from .review_case import Act, Case, ReviewError, person
from .terms import liftable, parse_time

OPENED_BY = ("held", "review.renewed", "appeal.filed")


class DeskRows:
    """``pack``: the policy in force, by which deadlines, approvals and appeals are set."""

    def __init__(self, ledger: Ledger, pack: Pack) -> None:
        self.ledger, self.pack = ledger, pack

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

    def needs_files(self, intent: UUID) -> bool:
        """Whether what was kept may still be asked for: by people, by going on, by an appeal, or under a legal hold."""
        with self.ledger.reading() as rows:
            row, request = rows.get(Review, intent), rows.get(Intent, intent)
            # Nothing can come any more of what an erased person asked for.
            if row is None or request is None or row.kept is None or row.subject is None:
                return False
            if row.status == "open":
                return True
            if row.status == "approved":
                return request.state in ("held", "result") and not waits_for_stamp(request)
            if row.appeal_until is not None and row.kind == "hold" and row.appeal_until > self.now(rows):
                return True
            actor = Vault(rows).known_actor(row.subject)
            return actor is not None and self.ledger.kept_back.held(rows.connection(), actor)

    def cases(
        self,
        *,
        status: str | None = "open",
        mine: str | None = None,
        appeals: bool = False,
        limit: int | None = None,
        tenant: str | None = None,
    ) -> list[Case]:
        """The most urgent first. ``status``: ``open`` (with what is approved and has not gone on yet), ``expired``
        or another one, None for all. ``mine``: assigned to that person. ``tenant``: of that one's requests; None, of
        all. ``limit``: the youngest so many of these."""
        with self.ledger.reading() as rows:
            query = select(Review).order_by(Review.deadline, Review.created_at)
            if tenant is not None:
                owner = select(JobOwner.tenant).where(JobOwner.intent == Review.intent_id).scalar_subquery()
                query = query.where(func.coalesce(owner, DEFAULT_TENANT) == tenant)
            if status == "open":
                rests = select(Intent.id).where(Intent.id == Review.intent_id, Intent.state.in_(("held", "result")))
                query = query.where((Review.status == "open") | (Review.status == "approved") & rests.exists())
            elif status is not None:
                query = query.where(Review.status == status)
            if mine is not None:
                query = query.where(Review.assignee == person(mine))
            if appeals:
                query = query.where(Review.kind == "appeal")
            if limit is not None:
                newest = query.order_by(None).order_by(Review.created_at.desc()).limit(limit)
                query = query.where(Review.intent_id.in_(newest.with_only_columns(Review.intent_id)))
            found = [self._case(rows, row) for row in rows.scalars(query)]
        return [case for case in found if status != "open" or case.status == "open" or case.goes_on]

    def undone(self, limit: int) -> tuple[list[UUID], list[UUID]]:
        """What is due from a worker: requests that are approved and have not gone on, and open ones that another
        policy judged; of each the oldest few."""
        with self.ledger.reading() as rows:
            query = select(Review.intent_id).join(Intent, Intent.id == Review.intent_id).order_by(Review.updated_at)
            approved = query.where(Review.status == "approved", Intent.state.in_(("held", "result")))
            stale = query.where(Review.status == "open", Review.policy_digest != self.pack.ref.digest)
            return list(rows.scalars(approved.limit(limit))), list(rows.scalars(stale.limit(limit)))

    def case(self, intent: UUID) -> Case:
        """Raises InputError where nobody was ever asked about this request, TamperError where the rows are not what
        the log says."""
        with self.ledger.reading() as rows:
            row = rows.get(Review, intent)
            if row is None:
                raise InputError("this request is not before people", code="input.review_unknown",
                                 hint="`filigrana review list` shows what is.")  # fmt: skip
            return self._case(rows, row)

    def approved(self, intent: UUID) -> Case:
        """The case, if as many people as it takes have approved it, by what the log says. Raises ReviewError."""
        case = self.case(intent)
        if not case.goes_on or case.approvals < case.needed or case.subject is None or not liftable(case.entry):
            raise ReviewError("this request is not approved")
        return case
