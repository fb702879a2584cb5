"""Going on with what people approved: the engine's own way, from where it was held.

An approved prompt is judged again, generated, and its output judged like any other. Approved output is what was kept,
and nothing else. Under another version of the policy both are judged anew: what it blocks is refused, what it wants
people to see goes before them again. Interrupted at any moment, the request is still approved, and goes on again.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from ..errors import FiligranaError, GenerationError, KeyStoreError, PromptError, ReadBackError, TamperError
from ..provenance.identity import AssetId
from ..provenance.record import redacted
from ..provenance.vault import Vault
from ..safety.decision import Decision, Verdict
from ..safety.judge import check_text
from .appeals import entries_of
from .ledger import OpenIntent
from .making import Frames, Stopped, judge_again, judge_frames, judge_track, model_of
from .parts import Parts
from .pending import PendingError, forget
from .releasing import Ready, maybe_released
from .request import GenerateRequest, Held, Outcome, Progress, Refusal, no_progress
from .review import Desk
from .review_case import Case, ReviewError
from .reviewing import kept_file, kept_work, sweep
from .run import Run, StageError
from .terms import covered

if TYPE_CHECKING:
    from .engine import Engine


def approve(engine: Engine, intent: UUID, by: str, reason: str, progress: Progress = no_progress) -> Outcome | Case:
    """One person's approval; with the last that is needed the request goes on. Raises ReviewError: ``review.policy``
    where the policy has changed since, and it was judged anew."""
    parts = engine.parts
    desk = Desk(parts.ledger, parts.pack)
    sweep(parts)
    case = desk.case(intent)
    known = case.status == "open" and case.subject is not None
    if known and case.releasable and case.entry["policy"]["digest"] != parts.pack.ref.digest:
        rejudge(engine, case)
        raise ReviewError(
            "the policy has changed since: it was judged anew by the one in force",
            code="review.policy",
            hint="Look at it again with `filigrana review show`, then decide.",
        )
    if known and case.kept is not None and case.side == "output":
        kept_file(parts, case)  # whoever approves approves of a file that is still what it was
    case = desk.approve(intent, by, reason)
    return go_on(engine, intent, progress) if case.goes_on and case.releasable else case


def go_on(engine: Engine, intent: UUID, progress: Progress = no_progress) -> Outcome:
    """Raises ReviewError where it is not approved; any other error leaves it approved, unless what was approved is
    gone: then it has failed."""
    parts = engine.parts
    desk = Desk(parts.ledger, parts.pack)
    desk.approved(intent)
    parts.ledger.log.check_guard()
    parts.staging.recover(parts.ledger, parts.store)
    with parts.staging.open(intent, keep=lambda: maybe_released(parts, intent)) as work:
        try:
            case = desk.approved(intent)  # again, now that nobody else works on it
            if not case.here:
                raise ReviewError("it was asked for on another installation", code="review.elsewhere",
                                  hint="`review resume` there.")  # fmt: skip
            if case.entry["policy"]["id"] != parts.pack.ref.id:
                raise _other_policy(case)
            run = Run(progress, parts.stage_timeout)
            done = _prompt(engine, run, desk, case, work) if case.side == "prompt" else _output(
                engine, run, desk, case, work
            )  # fmt: skip
        except FiligranaError as error:
            if _lost(error) and not maybe_released(parts, intent):
                parts.ledger.close(intent, "failed", code=error.code)
            raise
        except Exception as error:
            raise StageError(f"going on failed: {type(error).__name__}", code="engine.unexpected") from error
    if not desk.needs_files(intent):
        forget(parts.staging.review, intent)
    return done


def rejudge(engine: Engine, case: Case) -> None:
    """Judges open work by the policy in force: refused where it is blocked, else before people again."""
    parts = engine.parts
    desk, run = Desk(parts.ledger, parts.pack), Run(no_progress, parts.stage_timeout)
    if case.entry["policy"]["id"] != parts.pack.ref.id:
        raise _other_policy(case)
    with parts.staging.open(case.intent) as work:
        decision = _texts(parts, run, case)[2] if case.made_by == "generate" else None
        if case.side == "output" and (decision is None or decision.verdict is Verdict.ALLOW):
            ready = kept_work(parts, case, work)
            decision = _frames(parts, run, ready)
    if decision is None:
        raise TamperError("there is nothing that could be judged again")
    if case.kind == "hold" and decision.verdict not in (Verdict.ALLOW, Verdict.REVIEW):
        desk.refuse(case.intent, decision)
    else:
        desk.renew(case.intent, decision)


def _prompt(engine: Engine, run: Run, desk: Desk, case: Case, work: Path) -> Outcome:
    parts = engine.parts
    row, generator = parts.ledger.row(case.intent), parts.generator
    if row is None or row.asset_id is None:
        raise TamperError("an approved request without its row")
    if generator is None:
        raise GenerationError("no generator is configured")
    model, asked = run.stage("load", lambda: model_of(generator)), row.request
    if model.digest != asked["model"]["digest"]:
        raise ReviewError(
            f"it was asked of the model {asked['model']['name']}", code="review.model", hint="Name that with --model."
        )
    texts, commitments, decision = _texts(parts, run, case)
    stopped = _stopped(engine, run, desk, case, decision)
    if stopped is not None:
        return stopped
    request = GenerateRequest(
        prompt=texts["prompt"],
        seed=asked["seed"],
        steps=asked["steps"],
        guidance=None if asked["guidance"] is None else float(asked["guidance"]),
        size=None if asked["size"] is None else tuple(asked["size"]),
        negative_prompt=texts.get("negative_prompt"),
        best_of=asked["best_of"],
        mime=asked["mime"],
        subject=str(case.subject),
        sound=asked.get("sound") is True,
        unlabelled=asked.get("unlabelled") == "consent",
        profiles=tuple(asked.get("profiles") or ()),
        labelled=asked.get("visible_label") == "always",
    )
    prompt = check_text(texts.get("rewritten_prompt", request.prompt), parts.pack)
    accepted = commitments.pop("rewritten_prompt", None)
    if accepted is not None:
        run.commitments["rewritten_prompt"] = accepted
    intent = OpenIntent(case.intent, AssetId(row.asset_id), case.actor, commitments)
    publish = case.entry.get("publish_prompt") is True
    return engine.make(run, intent, work, request, prompt, decision, publish, _people(case))


def _output(engine: Engine, run: Run, desk: Desk, case: Case, work: Path) -> Outcome:
    parts = engine.parts
    ready = kept_work(parts, case, work)
    if ready.statement.prompt is not None and not parts.ledger.texts_kept(case.intent):
        raise PendingError("its prompt, which it would publish, was erased", code="provenance.erased")
    judged = ready.prompt_decision
    if ready.decision.policy != parts.pack.ref:
        if case.made_by == "generate":
            judged = _texts(parts, run, case)[2]
            if judged.verdict is not Verdict.ALLOW:
                return _anew(engine, run, desk, case, judged)
        decision = _frames(parts, run, ready)
        stopped = _stopped(engine, run, desk, case, decision)
        if stopped is not None:
            return stopped
        ready = replace(ready, prompt_decision=judged, decision=decision)
    elif not covered(ready.decision, case.entry):
        return _anew(engine, run, desk, case, ready.decision)
    ref = parts.pack.ref
    policy = {"id": ref.id, "version": ref.version, "digest": ref.digest}
    known = {
        **ready.known,
        "policy": policy,
        "decisions": [*ready.known["decisions"], *run.decisions],
        "approved_by": [*ready.known["approved_by"], *_people(case)],
    }
    record = {**ready.statement.record, "policy": policy, **redacted(known)}
    ready = replace(ready, known=known, statement=replace(ready.statement, record=record))
    return engine.release(run, parts.finisher(), ready, work)


def _stopped(engine: Engine, run: Run, desk: Desk, case: Case, decision: Decision) -> Refusal | None:
    return None if covered(decision, case.entry) else _anew(engine, run, desk, case, decision)


def _anew(engine: Engine, run: Run, desk: Desk, case: Case, decision: Decision) -> Refusal:
    """What people approved is not what was decided now: they look again, or it is refused."""
    if decision.verdict in (Verdict.ALLOW, Verdict.REVIEW):
        desk.renew(case.intent, decision)
        return Held(decision, str(case.intent), run.stages)
    return engine.stop(run, case.intent, decision, str(case.subject))


def _texts(parts: Parts, run: Run, case: Case) -> tuple[dict[str, str], dict[str, str], Decision]:
    """The request's texts, the commitments to them, and the decision on them by the policy in force. Raises
    KeyStoreError where they were erased, TamperError where they are not what the log has commitments to."""
    commitments: dict[str, str] = {}
    for _, entry in entries_of(Desk(parts.ledger, parts.pack), case.intent):
        if entry["type"] == "intent":
            commitments |= entry["commitments"]
        elif entry["type"] == "decision" and "accepted" in entry["decision"]:
            commitments["rewritten_prompt"] = entry["decision"]["accepted"]
    texts: dict[str, str] = {}
    with parts.ledger.reading() as rows:
        vault = Vault(rows)
        for name, identity in vault.texts_of_intent(case.intent).items():
            texts[name] = vault.open_text(identity)
            if name not in commitments or not vault.check(texts[name], commitments[name]):
                raise TamperError("a text of this request is not the one that the log has")
    if not commitments.keys() <= texts.keys():
        raise KeyStoreError("the texts of this request were erased", code="provenance.erased", hint="")
    judged = [texts.get("rewritten_prompt", texts["prompt"])]
    judged += [texts["negative_prompt"]] if "negative_prompt" in texts else []
    return texts, commitments, judge_again(parts, run, case.intent, *judged)


def _frames(parts: Parts, run: Run, ready: Ready) -> Decision:
    from ..provenance.media import open_media

    media = open_media(ready.encoded, parts.finisher().limits)
    try:
        if media.info.kind == "audio":
            return judge_track(parts, run, ready.intent, media)
        generated = ready.statement.source_type == "generated"
        return judge_frames(parts, run, ready.intent, Frames(media), media.info.kind, generated=generated)
    except Stopped as stopped:
        return stopped.decision


def _people(case: Case) -> list[dict[str, Any]]:
    """Who approved, as the signed record has it; released files say the role alone."""
    return [
        {"role": "reviewer", "side": case.side, "actor": act.actor, "log": act.log_index}
        for act in case.acts
        if act.round == case.round and act.act == "approve" and act.name is not None
    ]


def _other_policy(case: Case) -> ReviewError:
    its = case.entry["policy"]
    return ReviewError(
        f"it was judged by the policy {its['id']} {its['version']}, and another one is in force",
        code="review.policy",
        hint=f"Name it with --policy {its['id']}.",
    )


def _lost(error: FiligranaError) -> bool:
    """What no second try can change."""
    return isinstance(error, PendingError | PromptError | ReadBackError) or error.code == "provenance.erased"
