"""The engine: the stages of a request in their order. This file and `releasing` know the order.

::

    open intent ─ judge prompt ─ generate ─ judge output ─ encode (label, mark) ─ `releasing`
                       │                        │                                    │
                       └─> Refusal / Held       └─> Refusal                          ├─> Held (`reviewing`)
                                                                                     └─> Held (`waiting`)

An exception, a time-out or a refusal at any stage ends the request in the log and releases nothing. A file appears
under its public name only after the commit of its release; a process that dies in between is finished by `recover`.
What is held for a human goes on in `resuming`, through the same code.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

from ..errors import FiligranaError, GenerationError, TimestampError
from ..provenance.manifest import Statement
from ..provenance.media import WRITTEN_AS, Frame, kind_of_mime, open_media
from ..provenance.record import redacted
from ..provenance.stamping import DOWN
from ..safety.decision import Decision, Verdict
from ..safety.judge import check_text
from .account import facts
from .energy import EnergyMeter, together
from .finish import Finisher, Material
from .generators.base import Sampling
from .labelled import WAIVED, ReleaseLabels, labels_for, told_labels
from .ledger import OpenIntent, new_intent_id
from .making import (
    Frames,
    Stopped,
    file_digest,
    generate_best,
    judge_frames,
    judge_prompt,
    judge_track,
    model_of,
    taken,
)
from .own_origin import check_photograph
from .parts import Parts, version
from .previews import Early
from .releasing import Ready, maybe_released, release, ticking
from .replay import pixel_digest
from .request import (
    GenerateRequest,
    Held,
    News,
    Outcome,
    Progress,
    Refusal,
    Release,
    SealRequest,
    no_news,
    no_progress,
)
from .reviewing import hold_output, hold_prompt
from .run import Run, StageError
from .staging import Recovered
from .terms import appealable, told
from .waiting import hold


class Engine:
    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    def recover(self) -> Recovered:
        """Ends what dead processes left behind: see `staging`."""
        return self.parts.staging.recover(self.parts.ledger, self.parts.store)

    # ── generate ─────────────────────────────────────────────────────────────────────────────────────────────
    def generate(self, request: GenerateRequest, progress: Progress = no_progress, news: News = no_news) -> Outcome:
        """From a prompt to a Release, a Refusal or a Held. Raises FiligranaError where a stage failed."""
        parts = self.parts
        generator = parts.generator
        if generator is None:
            raise GenerationError("no generator is configured")
        # What is no prompt is an error of the caller, and nothing is recorded of it.
        prompt = check_text(request.prompt, parts.pack)
        if request.negative_prompt:
            check_text(request.negative_prompt, parts.pack)
        if kind_of_mime(request.mime) not in generator.kinds:
            raise GenerationError(
                f"this model makes {', '.join(sorted(generator.kinds))}, not {kind_of_mime(request.mime)}",
                code="generate.media",
                hint=f"Give an -o file name that ends in {_suffixes(generator.kinds)}.",
            )
        labels = _labels(parts.finisher(), request)
        if request.sound and not getattr(generator, "sound", False):
            raise GenerationError("this model makes no sound", code="generate.media", hint="Leave --media av out.")
        run = Run(progress, parts.stage_timeout, news=news)
        model = run.stage("load", lambda: model_of(generator))
        seed = secrets.randbits(32) if request.seed is None else request.seed
        asked: dict[str, Any] = {
            "seed": seed,
            "steps": request.steps,
            "guidance": None if request.guidance is None else f"{request.guidance:g}",
            "size": None if request.size is None else list(request.size),
            "best_of": request.best_of,
            "mime": request.mime,
            "model": {"name": model.name, "version": model.version, "digest": model.digest},
            "policy": _policy(parts),
        }
        if request.sound:
            asked["sound"] = True
        asked |= told_labels(labels, request)
        # The prompt as it was written: what cleaning removes is what a guard must see.
        texts = {"prompt": request.prompt}
        if request.negative_prompt:
            texts["negative_prompt"] = request.negative_prompt
        with self._request(run, "generate", asked, texts, request.subject, request.intent) as (intent, work):
            try:
                judged, prompt = judge_prompt(parts, run, intent, request, prompt)
            except Stopped as stopped:
                return self.stop(run, intent.id, stopped.decision, request.subject)
            made = replace(request, seed=seed)
            return self.make(run, intent, work, made, prompt, judged, parts.publish_prompt, ())

    def make(
        self,
        run: Run,
        intent: OpenIntent,
        work: Path,
        request: GenerateRequest,
        prompt: str,
        judged: Decision,
        publish_prompt: bool,
        approved_by: Sequence[dict[str, Any]],
    ) -> Outcome:
        """Everything after the prompt was allowed, or approved. ``prompt``: as the generator gets it."""
        parts, generator, meter = self.parts, self.parts.generator, EnergyMeter(self.parts.cpu_watts)
        if generator is None or request.seed is None:
            raise GenerationError("no generator is configured")
        model, policy = model_of(generator), _policy(parts)
        sampling = Sampling(
            prompt,
            request.seed,
            request.steps,
            request.guidance,
            request.size,
            request.negative_prompt,
            kind_of_mime(request.mime),
            request.sound,
        )
        try:
            made, chosen = generate_best(parts, run, intent, sampling, request.best_of)
            decision = judge_frames(parts, run, intent, made.frames, made.kind, generated=True, sound=made.sound)
        except Stopped as stopped:
            return self.stop(run, intent.id, stopped.decision, request.subject, stopped.early)
        digest = run.stage("digest", lambda: pixel_digest(made.frames))
        energy = meter.spent()
        if made.energy is not None:
            energy = together([energy, made.energy])
        named = {"name": model.name, "version": model.version, "digest": model.digest}
        replayable = {**chosen, "pixel_digest": digest, "model": named}
        known = facts(
            run,
            intent,
            kind="generate",
            source_type="generated",
            policy=policy,
            energy=energy,
            inputs={"pixels": digest},
            sampling=replayable,
            time=parts.clock(),
            approved_by=approved_by,
        )
        statement = Statement(
            asset_id=intent.asset_id,
            title=f"{intent.asset_id}",
            mime=request.mime,
            source_type="generated",
            made_at=parts.clock(),
            version=version(),
            model=model,
            prompt=prompt if publish_prompt else None,
            record={
                "promptCommitment": intent.prompt_commitment,
                "policy": policy,
                "verdict": max(judged.verdict, decision.verdict).word,
                "energy": energy.as_dict(),
                **({"label": WAIVED} if request.unlabelled else {}),
                **redacted(known),
            },
        )
        material = Material(made.kind, made.frames, made.rate, made.sound)
        ready = Ready(intent, statement, work, None, (), judged, decision, energy, replayable, known)
        return self._finish(run, work, material, ready, request)

    # ── seal ─────────────────────────────────────────────────────────────────────────────────────────────────
    def seal(self, request: SealRequest, progress: Progress = no_progress, news: News = no_news) -> Outcome:
        """The same chain for media made elsewhere: opened from its parent, judged, marked, signed, released."""
        parts = self.parts
        labels = _labels(parts.finisher(), request)
        run, meter = Run(progress, parts.stage_timeout, news=news), EnergyMeter(parts.cpu_watts)
        given = open_media(request.path, parts.finisher().limits)
        mime = request.mime or WRITTEN_AS.get(given.info.mime, given.info.mime)
        if kind_of_mime(mime) != given.info.kind:
            raise GenerationError(
                f"a file of type {given.info.mime} cannot become {mime}",
                code="input.media.kind",
                hint="Keep the kind: picture to picture, clip to clip, sound to sound.",
            )
        given.check_copied()
        source = run.stage("hash", lambda: file_digest(given.path))
        parts_of_it = [open_media(path, parts.finisher().limits) for path in request.components]
        digests = run.stage("hash", lambda: [file_digest(one.path) for one in parts_of_it])
        asked: dict[str, Any] = {
            "source_type": request.source_type,
            "source_sha256": source,
            **({"edits": [edit.action for edit in request.edits]} if request.edits else {}),
            **({"components": digests} if digests else {}),
            **told_labels(labels, request),
            "mime": mime,
            "policy": _policy(parts),
        }
        with self._request(run, "seal", asked, {}, request.subject, request.intent) as (intent, work):
            media = run.stage("take", lambda: taken(given, work, source))
            if request.source_type == "camera":
                run.stage("take", lambda: check_photograph(parts, media))
            components = [
                taken(one, work, digest, f"component{number}")
                for number, (one, digest) in enumerate(zip(parts_of_it, digests, strict=True))
            ]
            try:
                if media.info.kind == "audio":
                    decision = judge_track(parts, run, intent, media)
                else:
                    decision = judge_frames(parts, run, intent, Frames(media), media.info.kind, generated=False)
            except Stopped as stopped:
                return self.stop(run, intent.id, stopped.decision, request.subject)
            keep: dict[str, Any] = {}
            frames: Iterable[Frame] = Frames(media)
            if media.info.kind == "image":
                rgb, keep = media.picture()
                frames = (Frame(rgb),)
            energy = meter.spent()
            known = facts(
                run,
                intent,
                kind="seal",
                source_type=request.source_type,
                policy=asked["policy"],
                energy=energy,
                inputs={"source_sha256": source},
                sampling={},
                time=parts.clock(),
            )
            statement = Statement(
                asset_id=intent.asset_id,
                title=f"{intent.asset_id}",
                mime=mime,
                source_type=request.source_type,
                made_at=parts.clock(),
                version=version(),
                edits=request.edits,
                components=tuple(one.path.name for one in components),
                record={
                    "policy": asked["policy"],
                    "verdict": decision.verdict.word,
                    "energy": energy.as_dict(),
                    "source": {"sha256": source},
                    **({"label": WAIVED} if request.unlabelled else {}),
                    **redacted(known),
                },
            )
            material = Material(media.info.kind, frames, media.info.rate, media, keep, media, tuple(components))
            replayable = {"source_sha256": source}
            ready = Ready(intent, statement, work, media, tuple(components), None, decision, energy, replayable, known)
            return self._finish(run, work, material, ready, request)

    # ── what both share ──────────────────────────────────────────────────────────────────────────────────────
    @contextmanager
    def _request(
        self,
        run: Run,
        kind: str,
        asked: dict[str, Any],
        texts: dict[str, str],
        subject: str,
        identity: UUID | None = None,
    ) -> Iterator[tuple[OpenIntent, Path]]:
        """Opens the intent, and ends it in the log whatever happens inside. The folder comes first: a request that
        died with no folder of its own would look like another machine's."""
        parts, identity = self.parts, identity or new_intent_id()
        ledger = parts.ledger
        ledger.log.check_guard()  # without it nothing can be released: said before any work is done
        parts.store.ready()
        with parts.staging.open(identity, keep=lambda: maybe_released(parts, identity)) as work:
            intent = run.stage(
                "open intent",
                lambda: ledger.open(kind, asked, texts=texts, subject=subject, intent_id=identity),
                timed=False,
            )
            try:
                yield intent, work
            except (FiligranaError, KeyboardInterrupt, SystemExit, GeneratorExit) as error:
                self._fail(identity, error)
                raise
            except BaseException as error:
                failure = StageError(f"the request failed: {type(error).__name__}", code="engine.unexpected")
                self._fail(identity, failure)
                raise failure from error

    def _fail(self, intent: UUID, error: BaseException) -> None:
        """Ends the request as failed (or abandoned, for Ctrl-C). A release that was committed stays."""
        code = error.code if isinstance(error, FiligranaError) else "engine.interrupted"
        state = "failed" if isinstance(error, Exception) else "abandoned"
        try:
            if self.parts.ledger.is_unfinished(intent):
                self.parts.ledger.close(intent, state, code=code)
        except Exception as second:  # noqa: BLE001  the first error is the one to show
            # The log itself is out of reach: recovery writes the end later.
            told = second.code if isinstance(second, FiligranaError) else type(second).__name__
            error.add_note(f"and the end of the request could not be recorded: {told}")

    def stop(self, run: Run, intent: UUID, decision: Decision, subject: str, early: Early | None = None) -> Refusal:
        """A refusal, an offered rewrite, or a prompt that is held for a human. ``early``: refused before it was
        finished."""
        if decision.verdict is Verdict.REVIEW:
            return hold_prompt(self.parts, run, intent, decision, subject)
        parts = self.parts
        parts.ledger.close(
            intent,
            "refused",
            **told(decision, parts.pack),
            rewrite_offered=decision.rewrite is not None,
            **({} if decision.verdict is Verdict.REWRITE else {"appeal_until": appealable(parts.pack, parts.clock())}),
            **({} if early is None else {"preview": early.record()}),
        )
        return Refusal(decision, str(intent), run.stages, early=early)

    def _finish(
        self, run: Run, work: Path, material: Material, ready: Ready, request: GenerateRequest | SealRequest
    ) -> Release | Held:
        """``ready``: but for the encoded file and its marks. What a person must see first is held as it would be
        released."""
        finisher = self.parts.finisher()
        labels = _labels(finisher, request)
        finisher = finisher if labels is finisher.labels else replace(finisher, labels=labels)
        statement = ready.statement
        encoded = run.stage("encode", lambda: finisher.encode(material, statement, work, ticking(run, "encode")))
        record = statement.record | encoded.said
        if self.parts.sound_guard is None and material.has_sound:
            record["unjudged"] = ["sound"]  # nobody listened: the file says so, rather than seem to have been judged
        ready = replace(
            ready, statement=replace(statement, bindings=encoded.bindings, record=record), encoded=encoded.path
        )
        if ready.decision.verdict is not Verdict.ALLOW:
            return hold_output(self.parts, run, ready, request.subject)
        return self.release(run, finisher, ready, work)

    def release(self, run: Run, finisher: Finisher, ready: Ready, work: Path) -> Release | Held:
        """Releases, or lets it wait for a time-stamp where the policy does."""
        parts = self.parts
        try:
            return release(parts, run, finisher, ready, work)
        except TimestampError as error:
            if error.code != DOWN or not parts.pack.holds_for_timestamps:
                raise
            return hold(parts, run, ready)


def _labels(finisher: Finisher, request: GenerateRequest | SealRequest) -> ReleaseLabels:
    return labels_for(finisher.labels, request, finisher.organisation)


def _policy(parts: Parts) -> dict[str, str]:
    ref = parts.pack.ref
    return {"id": ref.id, "version": ref.version, "digest": ref.digest}


def _suffixes(kinds: Iterable[str]) -> str:
    """File names for what a generator makes, for an error's hint."""
    known = {"image": ".png, .jpg, .webp or .avif", "video": ".mp4, .mov or .webm", "audio": ".wav, .m4a or .mp3"}
    return ", or ".join(known[kind] for kind in sorted(kinds) if kind in known)
