"""The values of the review desk: one case, and what people said of it."""

from __future__ import annotations

import datetime as dt
import unicodedata
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from ..errors import InputError, ReleaseError

MAX_REASON = 2_000
Kind = Literal["hold", "appeal"]


class ReviewError(ReleaseError):
    """An act that the state of the request, or who acts, does not allow. Nothing was changed."""

    code = "review.state"
    hint = "`filigrana review show` tells how it stands."


@dataclass(frozen=True)
class Act:
    """``name``: None once that person was erased. ``reason``: None where its text is gone."""

    round: int
    act: str
    actor: str
    name: str | None
    reason: str | None
    time: dt.datetime
    log_index: int


@dataclass(frozen=True)
class Case:
    """One request that is, or was, before people. ``state``: of the request; ``status``: of the review;
    ``entry``: what the log says that it was put before them with; ``here``: on this installation;
    ``waits``: approved, and waits for its time-stamp now."""

    intent: UUID
    made_by: str
    state: str
    kind: Kind
    side: str
    round: int
    status: str
    approvals: int
    needed: int
    deadline: dt.datetime
    appeal_until: dt.datetime | None
    subject: str | None
    actor: str
    assignee: str | None
    kept: str | None
    log_index: int
    entry: dict[str, Any]
    acts: tuple[Act, ...]
    created: dt.datetime
    here: bool
    waits: bool

    @property
    def goes_on(self) -> bool:
        """Approved by as many as it takes, and neither released nor otherwise ended yet."""
        return (
            self.status == "approved"
            and self.approvals >= self.needed
            and self.state in ("held", "result")
            and not self.waits
        )

    @property
    def releasable(self) -> bool:
        """Whether there is anything that could go on: a prompt to generate from, or finished work that was kept."""
        return self.side == "prompt" or self.kept is not None


def spelled(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold().strip()


ACCOUNT = "oidc:"
"""How names of accounts begin that an identity provider vouches for, and that are linked to nobody here."""


def may_be_one(one: str, other: str) -> bool:
    """Whether two names may be of one person. Names that this installation gave are of as many people, and so are the
    accounts of one provider; whether an account belongs to a name that was given here, nobody knows until it is
    linked: until then they count as one."""
    one, other = spelled(one.split("/")[0]), spelled(other.split("/")[0])
    return one == other or one.startswith(ACCOUNT) is not other.startswith(ACCOUNT)


def signed(name: str) -> str:
    """A name as it was given. Raises InputError for what is no name."""
    name = name.strip()
    if not 1 <= len(name) <= 128 or not name.isprintable():
        raise InputError("a name has 1 to 128 characters", code="input.name")
    return name


def person(name: str) -> str:
    """Who decides, in one spelling: `Ann` and a full-width `ann` are the same person."""
    return signed(spelled(signed(name)))


def reason_text(text: str) -> str:
    text = text.strip()
    if any(0xD800 <= ord(char) <= 0xDFFF for char in text):
        raise InputError("a reason is text: this one holds half a character", code="input.reason")
    if not 1 <= len(text) <= MAX_REASON:
        raise InputError(f"a reason has 1 to {MAX_REASON} characters", code="input.reason")
    return text
