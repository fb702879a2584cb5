"""The queue for time-stamps: work that is finished waits, unreleased, until an authority can be reached again.

A policy pack says whether there is one (``timestamps: hold``). The files are kept first, then the request becomes
`held` with their digest in the log, in one transaction: before it nothing waits, after it everything does. `stamp`
takes up what waits, each request under the lock of its folder in ``staging``, and goes the engine's own way from there.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from ..errors import FiligranaError, ReleaseError, TamperError, TimestampError, code_of
from ..provenance.identity import AssetId
from .finish import Finisher
from .ledger import Waiting
from .parts import Parts
from .pending import Described, PendingError, described, forget, keep, taken_back
from .releasing import Ready, maybe_released, release
from .request import WAITING, Held, no_progress
from .reviewing import sweep_quietly
from .run import Run

if TYPE_CHECKING:
    from .installation import Installation

AT_ONCE = 3
"""How many a request takes up before its own work …"""
_LOOKS = 30
"""… of so many that it looks at: those of another policy cost little, and are not for it."""
PAUSE = 60.0
"""Seconds after a vain attempt in which requests do not try again; `keys stamp-pending` always does."""
_TRIED = ".tried"
_LATER = (
    "provenance.timestamp", "provenance.ocsp", "provenance.signer", "provenance.keys", "provenance.io", "log.",
    "settings.", "engine.timeout", "release.staging", "release.busy", "release.state", "release.store",
    "release.pending.policy",
)  # fmt: skip
"""Beginnings of codes that say nothing against the work itself: it goes on waiting."""
_log = logging.getLogger("filigrana")


@dataclass(frozen=True)
class Stamped:
    """What came of one request that waited. ``file``: where it was released; ``code``, ``detail``: why it was not."""

    intent: UUID
    asset_id: AssetId
    status: Literal["released", "waiting", "refused"]
    file: Path | None = None
    code: str = ""
    detail: str = ""


def hold(parts: Parts, run: Run, ready: Ready) -> Held:
    """Lets finished work wait. Raises ReleaseError, LogError where it cannot be kept: the request has failed then."""
    folder, intent = parts.staging.pending, ready.intent.id
    decision = max((d for d in (ready.prompt_decision, ready.decision) if d), key=lambda d: d.verdict)

    def held() -> None:
        digest = keep(folder, ready)
        try:
            parts.ledger.hold(intent, digest, verdict=decision.verdict.word)
        except BaseException:
            if not _may_wait(parts, intent):
                forget(folder, intent)
            raise

    run.stage("hold", held, timed=False)
    _vain(folder)
    file = parts.store.where(parts.store.name(ready.intent.asset_id, ready.statement.mime))
    reasons = (
        "It was allowed and is finished, but no time-stamp authority can be reached, and nothing is released without a "
        "time-stamp.",
        f"It waits. `filigrana keys stamp-pending` finishes it once an authority answers (so does a later generate or "
        f"seal); it is then released as {file}.",
    )
    return Held(decision, str(intent), run.stages, reasons)


def _may_wait(parts: Parts, intent: UUID) -> bool:
    """Whether the hold was committed after all; where that cannot be read, recovery looks again."""
    try:
        return parts.ledger.waits(intent) is not None
    except Exception:  # noqa: BLE001  nothing is thrown away then
        return True


def stamp(parts: Parts, *, limit: int | None = None, refuse_changed_policy: bool = True) -> Iterator[Stamped]:
    """Finishes what waits, the oldest first, until the authorities are found to be still out of reach. ``limit``: how
    many are tried, of the first few. ``refuse_changed_policy``: False lets those wait on that another version of the
    policy decided."""
    parts.staging.recover(parts.ledger, parts.store)
    finisher: Finisher | None = None
    down: Stamped | None = None
    tried = 0
    for item in parts.ledger.waiting()[: None if limit is None else _LOOKS]:
        if down is not None:
            yield Stamped(item.intent, item.asset_id, "waiting", code=down.code, detail=down.detail)
            continue
        if tried == limit:
            return
        finisher = finisher or parts.finisher()
        found = _one(parts, finisher, item, refuse_changed_policy)
        if found is None:
            continue
        tried += found.code != "release.pending.policy"
        if found.status == "waiting" and found.code.startswith(TimestampError.code):
            down = found
            _vain(parts.staging.pending)
        yield found


def stamp_quietly(parts: Parts) -> None:
    """The same before another request, which it never fails and seldom delays."""
    folder = parts.staging.pending
    try:
        if not parts.pack.holds_for_timestamps or not folder.is_dir():
            return
        if not any(not one.name.startswith(".") for one in folder.iterdir()):
            return
        tried = folder / _TRIED
        if tried.exists() and abs(time.time() - tried.stat().st_mtime) < PAUSE:
            return
        for found in stamp(parts, limit=AT_ONCE, refuse_changed_policy=False):
            _log.info("request %s waited for a time-stamp: %s %s", found.intent, found.status, found.code)
    except Exception as error:  # noqa: BLE001  whatever it is, it is no reason to fail another request
        _log.info("what waits for a time-stamp was left waiting: %s", code_of(error))


def forget_erased(parts: Parts) -> None:
    """Removes the files that are kept of an erased person's unreleased work: what waits for people, and what waits for
    a time-stamp with a prompt that it would publish, whose text stands in what is kept. Fails nothing."""
    sweep_quietly(parts)
    try:
        waiting = parts.ledger.waiting()
    except FiligranaError:
        return
    for item in waiting:
        try:
            if _erased(parts, described(parts.staging.pending, item)):
                with parts.staging.open(item.intent, keep=lambda: True):
                    if parts.ledger.waits(item.intent) is None or maybe_released(parts, item.intent):
                        continue
                    parts.ledger.close(item.intent, "failed", code="provenance.erased")
                forget(parts.staging.pending, item.intent)
        except (FiligranaError, OSError) as error:  # the next time-stamp refuses it, too
            _log.info("request %s was left waiting: %s", item.intent, getattr(error, "code", type(error).__name__))


def _erased(parts: Parts, kept: Described) -> bool:
    return kept.statement.prompt is not None and not parts.ledger.texts_kept(kept.intent)


def stamping_parts(house: Installation) -> Parts:
    """The parts that finishing needs: no generator, no guards."""
    return Parts(
        ledger=house.ledger,
        pack=house.pack,
        generator=None,
        text_guards=(),
        frame_guards=lambda _generated: (),
        finisher=house.finisher,
        staging=house.staging,
        store=house.store,
        clock=house.clock,
        stage_timeout=house.settings.stage_timeout,
    )


def _one(parts: Parts, finisher: Finisher, item: Waiting, strict: bool) -> Stamped | None:
    """None: it waits no more, since another process was quicker."""
    intent = item.intent
    try:
        with parts.staging.open(intent, keep=lambda: maybe_released(parts, intent)) as work:
            if parts.ledger.waits(intent) is None:
                return None
            try:
                ready = _checked(parts, finisher, item, work, strict)
                done = release(parts, Run(no_progress, parts.stage_timeout), finisher, ready, work)
            except FiligranaError as error:
                # Once it may be released, it is recovery's.
                if maybe_released(parts, intent) or _later(error):
                    raise
                parts.ledger.close(intent, "failed", code=error.code)
                forget(parts.staging.pending, intent)
                return Stamped(intent, item.asset_id, "refused", code=error.code, detail=error.message)
            forget(parts.staging.pending, intent)
            return Stamped(intent, item.asset_id, "released", done.file)
    except FiligranaError as error:
        return Stamped(intent, item.asset_id, "waiting", code=error.code, detail=error.message)
    except OSError as error:
        return Stamped(intent, item.asset_id, "waiting", code="release.staging", detail=str(error.strerror))


def _checked(parts: Parts, finisher: Finisher, item: Waiting, work: Path, strict: bool) -> Ready:
    """The work, if it is what the log says, and what may still be released. Raises PendingError."""
    entry = parts.ledger.log.entry(item.log_index)
    said = tuple(entry.get(name) for name in ("type", "intent", "code", "pending"))
    if said != ("held", str(item.intent), WAITING, item.pending):
        raise TamperError("the log does not say that this request waits for a time-stamp")
    kept = described(parts.staging.pending, item)
    its, now = kept.decision.policy, parts.pack.ref
    if its.id != now.id or (its.digest != now.digest and not strict):
        raise _OtherPolicyError(
            f"it was judged by the policy {its.id} {its.version}, and {now.id} {now.version} is in force: "
            f"name the former with --policy",
        )
    if its.digest != now.digest or not parts.pack.holds_for_timestamps:
        raise PendingError(
            "the policy that allowed it has changed since, or lets nothing wait", code="release.pending.changed_policy"
        )
    if _erased(parts, kept):
        raise PendingError("its prompt, which it would publish, was erased", code="provenance.erased")
    return taken_back(parts.staging.pending, kept, work, finisher.limits)


class _OtherPolicyError(ReleaseError):
    code = "release.pending.policy"


def _later(error: FiligranaError) -> bool:
    if isinstance(error, PendingError):
        return False
    no_room = isinstance(error.__cause__, OSError)
    return no_room or (error.code.startswith(_LATER) and error.code != "provenance.ocsp.revoked")


def _vain(folder: Path) -> None:
    """Remembers that the authorities were just asked in vain."""
    try:
        (folder / _TRIED).touch(mode=0o600)
        os.utime(folder / _TRIED)
    except OSError:
        pass
