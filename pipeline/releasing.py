"""The second half of a request: from a finished file without a signature to a released one.

::

    sign ─ read back ─ record result ─ release ─ checkpoint ─ publish

The engine goes through it right after encoding, `resuming` with what people approved, and `waiting` with what was held
for a time-stamp.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from ..errors import ReleaseError
from ..provenance.catalog import AssetRecord, PreviewImage
from ..provenance.identity import AssetId
from ..provenance.manifest import Statement
from ..provenance.media import MediaFile, kind_of_mime
from ..provenance.preview import Preview
from ..safety.decision import Decision, Verdict
from .account import outcome
from .energy import Energy
from .finish import Finished, Finisher, Material
from .ledger import OpenIntent
from .parts import Parts
from .request import LogRef, Release
from .run import Run
from .staging import FINISHED
from .store import beside

_SHOWN = ("seed", "steps", "width", "height", "candidates")
"""What a caller is told of the sampling."""


@dataclass(frozen=True)
class Ready:
    """Judged, labelled, marked and encoded: all that a release needs but a signature with its time-stamp.

    ``source`` and ``components``: the files that become ingredients. ``sampling``: for replay. ``known``: the first
    part of the decision record."""

    intent: OpenIntent
    statement: Statement
    encoded: Path
    source: MediaFile | None
    components: tuple[MediaFile, ...]
    prompt_decision: Decision | None
    decision: Decision
    energy: Energy
    sampling: dict[str, Any]
    known: dict[str, Any]


def ticking(run: Run, stage: str) -> Callable[[int], None]:
    """Counts frames of a stage."""
    return lambda count: run.progress(stage, count, 0)


def maybe_released(parts: Parts, intent: UUID) -> bool:
    """Whether the release stands in the log. Where that cannot be read, it may: nothing is thrown away then."""
    try:
        return parts.ledger.state(intent) == "released"
    except Exception:  # noqa: BLE001  recovery looks again
        return True


def release(parts: Parts, run: Run, finisher: Finisher, ready: Ready, work: Path) -> Release:
    """Signs into ``work``, reads back, records, releases, publishes. Whatever fails raises; once the release stands in
    the log, `Staging.recover` finishes from ``work`` what is left."""
    _may_be_released(ready)
    finisher.labels.chosen(ready.statement)
    intent, statement, encoded = ready.intent, ready.statement, ready.encoded
    material = Material(kind_of_mime(statement.mime), (), source=ready.source, components=ready.components)
    store = run.stage("sign", lambda: finisher.sign(encoded, statement, material, work / FINISHED))
    done = run.stage(
        "read back", lambda: finisher.read_back(work / FINISHED, store, statement, ticking(run, "read back"))
    )
    name = parts.store.name(intent.asset_id, statement.mime)
    run.stage("store", parts.store.ready, timed=False)
    bindings = list(statement.bindings)
    claims: dict[str, Any] = {
        "asset_id": str(intent.asset_id),
        "sha256": done.sha256,
        "bytes": done.size,
        "mime": statement.mime,
        "source_type": statement.source_type,
        "manifest": done.credentials.label,
        "bindings": [list(pair) for pair in bindings],
        **{name: statement.record[name] for name in ("profiles", "label") if name in statement.record},
    }
    run.stage(
        "record",
        lambda: parts.ledger.result(
            intent.id,
            {"name": name, "sampling": ready.sampling},
            claims
            | {
                "energy": ready.energy.as_dict(),
                "signer": done.credentials.signer,
                "timestamp": done.credentials.time,
                "pixels": ready.sampling.get("pixel_digest"),
            },
        ),
        timed=False,
    )
    index = run.stage(
        "release",
        lambda: parts.ledger.release(
            intent.id,
            lambda at: _record(intent, done, statement, at, name),
            manifests={done.credentials.label or "": done.store},
            bindings=bindings,
            preview=_preview_row(done.preview),
            entry=claims,
            account=(ready.known, claims | outcome(done, parts.clock())),
        ),
        timed=False,
    )
    # Before anything is public: a log that does not agree with its last checkpoint says so here.
    checkpoint = run.stage("checkpoint", parts.ledger.log.checkpoint, timed=False)
    if done.sidecar is not None:
        sidecar = done.sidecar
        run.stage("publish", lambda: parts.store.publish(sidecar, beside(name)), timed=False)
    run.stage("publish", lambda: parts.store.publish(done.path, name), timed=False)
    return Release(
        file=parts.store.path(name),
        asset_id=intent.asset_id,
        media=done.info.kind,
        mime=statement.mime,
        sha256=done.sha256,
        prompt_decision=ready.prompt_decision,
        decision=ready.decision,
        energy=ready.energy,
        stages=run.stages,
        log=LogRef(index, checkpoint),
        signer=done.credentials.signer or "",
        timestamp=done.credentials.time,
        trust=done.credentials.trust,
        watermark_score=None if done.detection is None else done.detection.score,
        sidecar=None if done.sidecar is None else parts.store.path(beside(name)),
        details={key: value for key, value in ready.sampling.items() if key in _SHOWN},
    )


def _may_be_released(ready: Ready) -> None:
    """Whatever led here: allowed, or approved by people on the side where it was not."""
    approved = {str(one.get("side")) for one in ready.known.get("approved_by", ())}
    for decision in (ready.prompt_decision, ready.decision):
        if decision is not None and decision.verdict is not Verdict.ALLOW and decision.side not in approved:
            raise ReleaseError("this was neither allowed nor approved", code="release.verdict")


def _record(intent: OpenIntent, done: Finished, statement: Statement, index: int, name: str) -> AssetRecord:
    return AssetRecord(
        asset_id=AssetId(intent.asset_id.value),
        media=done.info.kind,
        mime=statement.mime,
        sha256=bytes.fromhex(done.sha256),
        byte_count=done.size,
        source_type=statement.source_type,
        width=done.info.width or None,
        height=done.info.height or None,
        duration=done.info.duration,
        intent_id=intent.id,
        log_index=index,
        public_name=name,
    )


def _preview_row(preview: Preview | None) -> PreviewImage | None:
    return None if preview is None else PreviewImage("image/jpeg", preview.data, preview.width, preview.height)
