"""Holding work for people: what is kept of it, and until when.

A held prompt is kept as every prompt is: encrypted, under its subject's key. Of held output the encoded, marked file is
kept, as it would be released but for its signature, with its digest in the log: what people see is what is released.
The files are kept first, then the request becomes `held` in one transaction with its entry.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from uuid import UUID

from ..errors import code_of
from ..provenance.identity import AssetId
from ..safety.decision import Decision
from .ledger import Waiting
from .parts import Parts
from .pending import ENCODED, Described, checked, described, forget, keep, taken_back
from .releasing import Ready
from .request import Held
from .review import Desk
from .review_case import Case, ReviewError
from .run import Run
from .staging import MAKING

_log = logging.getLogger("filigrana")


def hold_prompt(parts: Parts, run: Run, intent: UUID, decision: Decision, subject: str) -> Held:
    """Raises ReleaseError, LogError where it cannot be held: the request has failed then."""
    desk = Desk(parts.ledger, parts.pack)
    desk.hold(intent, decision, kept=None, publish_prompt=parts.publish_prompt, subject=subject)
    return Held(decision, str(intent), run.stages)


def hold_output(parts: Parts, run: Run, ready: Ready, subject: str) -> Held:
    """Keeps finished work and holds it. Raises ReleaseError, LogError where it cannot be kept: it is lost then."""
    folder, intent = parts.staging.review, ready.intent.id
    desk = Desk(parts.ledger, parts.pack)

    def held() -> None:
        forget(folder, intent)  # of an attempt that was killed
        digest = keep(folder, ready)
        try:
            publish = ready.statement.prompt is not None
            desk.hold(intent, ready.decision, kept=digest, publish_prompt=publish, subject=subject)
        except BaseException:
            if not _may_be_held(desk, intent):
                forget(folder, intent)
            raise

    run.stage("hold", held, timed=False)
    return Held(ready.decision, str(intent), run.stages)


def _may_be_held(desk: Desk, intent: UUID) -> bool:
    """Whether the hold was committed after all; where that cannot be read, the sweep looks again."""
    try:
        return desk.needs_files(intent)
    except Exception:  # noqa: BLE001  nothing is thrown away then
        return True


def kept_file(parts: Parts, case: Case) -> Path:
    """The picture, clip or sound itself, after all that was kept was held against the log: what people look at.
    Raises as `kept_work`."""
    said = _described(parts, case)
    folder = parts.staging.review / str(case.intent)
    for name, digest in said.files.items():
        checked(folder / name, digest)
    return folder / ENCODED


def kept_work(parts: Parts, case: Case, work: Path) -> Ready:
    """What was kept of finished work, as private copies in ``work``, held against the log. Raises PendingError where it
    is gone or has changed, ReviewError where it lies elsewhere."""
    said = _described(parts, case)
    return taken_back(parts.staging.review, said, work, parts.finisher().limits)


def _described(parts: Parts, case: Case) -> Described:
    if not case.here:
        raise ReviewError("what was kept lies on another installation", code="review.elsewhere", hint="Decide there.")
    row = parts.ledger.row(case.intent)
    if case.kept is None or row is None or row.asset_id is None:
        raise ReviewError("no finished work was kept of this request", code="review.no_file")
    item = Waiting(case.intent, AssetId(row.asset_id), case.log_index, case.kept)
    return described(parts.staging.review, item)


def sweep(parts: Parts) -> list[UUID]:
    """Refuses what nobody decided in time, and removes files that nobody can ask for any more. Returns the former."""
    desk = Desk(parts.ledger, parts.pack)
    ended = desk.sweep()
    folder = parts.staging.review
    for kept in sorted(folder.iterdir()) if folder.is_dir() else []:
        try:
            intent = UUID(kept.name.removeprefix(MAKING))
        except ValueError:
            continue
        # In this order: whoever works on it has a folder here until what it does is committed.
        if (parts.staging.folder / str(intent)).exists() or parts.ledger.row(intent) is None:
            continue
        if kept.name.startswith(MAKING) or not desk.needs_files(intent):
            shutil.rmtree(kept, ignore_errors=True)
    return ended


def sweep_quietly(parts: Parts) -> None:
    """The same before another request, which it never fails."""
    try:
        for intent in sweep(parts):
            _log.info("request %s was refused: nobody decided in time", intent)
    except Exception as error:  # noqa: BLE001  whatever it is, it is no reason to fail another request
        _log.info("held work was left as it is: %s", code_of(error))
