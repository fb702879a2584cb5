"""The two sides of making: judging what is asked and what came out, and sampling in between."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np

from ..errors import GenerationError, MediaError, PromptError
from ..provenance.manifest import Model
from ..provenance.media import Frame, Kind, MediaFile
from ..safety.decision import Decision, Verdict
from ..safety.judge import judge_text
from ..safety.output import OutputJudge
from ..safety.sound import judge_sound
from ..safety.vision.frames import sample
from ..safety.vision.ocr import CLIP_SIDE
from .energy import Energy, together
from .generators.base import Generated, Generator, Previews, Sampling, StepProgress, StoppedEarly
from .glimpses import glimpse
from .ledger import OpenIntent
from .parts import Parts
from .previews import Early, PreviewJudge
from .request import GenerateRequest
from .run import Run
from .soundtrack import speech_of


class Stopped(Exception):  # noqa: N818  not an error: the request ended with a decision
    def __init__(self, decision: Decision, early: Early | None = None) -> None:
        self.decision, self.early = decision, early


def judge_prompt(
    parts: Parts, run: Run, intent: OpenIntent, request: GenerateRequest, prompt: str
) -> tuple[Decision, str]:
    guards = list(parts.text_guards)

    def judge(text: str, kind: str) -> Decision:
        decision = judge_text(text, parts.pack, guards, timeout=parts.guard_timeout)
        return replace(decision, input=run.commitments.get(kind, intent.commitments.get(kind)))

    decision = run.stage("judge prompt", lambda: judge(request.prompt, "prompt"))
    if decision.verdict is Verdict.REWRITE and request.accept_rewrite is not None:
        rewrite = decision.rewrite
        if rewrite is None or rewrite.digest != request.accept_rewrite:
            raise PromptError(
                "the accepted rewrite is not the one that is offered",
                code="input.rewrite",
                hint="Ask again, and accept the digest that is offered now.",
            )
        prompt = rewrite.prompt
        commitment = parts.ledger.keep_text(intent.id, request.subject, "rewritten_prompt", prompt)
        # The short digest is for the dialogue: in the log, it would let anybody test a guess.
        _decided(parts, run, intent, decision.record() | {"accepted": commitment})
        run.commitments["rewritten_prompt"] = commitment
        decision = run.stage("judge prompt", lambda: judge(rewrite.prompt, "rewritten_prompt"))
    if request.negative_prompt:
        negative = run.stage("judge prompt", lambda: judge(request.negative_prompt or "", "negative_prompt"))
        if negative.verdict > decision.verdict:
            decision = negative
    _decided(parts, run, intent, decision.record())
    if decision.verdict is not Verdict.ALLOW:
        raise Stopped(decision)
    return decision, prompt


def judge_again(parts: Parts, run: Run, intent: UUID, *texts: str) -> Decision:
    """The strictest decision on these texts by the policy in force, which goes into the log."""
    guards, found = list(parts.text_guards), []
    for text in texts:

        def judge(text: str = text) -> Decision:
            return judge_text(text, parts.pack, guards, timeout=parts.guard_timeout)

        found.append(run.stage("judge prompt", judge))
    decision = max(found, key=lambda each: each.verdict)
    parts.ledger.decided(intent, decision.record())
    run.decided(decision.record())
    return decision


def _decided(parts: Parts, run: Run, intent: OpenIntent, record: dict[str, Any]) -> None:
    parts.ledger.decided(intent.id, record)
    run.decided(record)


def _sampled(parts: Parts, run: Run, intent: OpenIntent, sampling: Sampling, step: StepProgress) -> Generated:
    """One sampling, its previews judged on the way. Raises Stopped where one of them is surely refused."""
    generator: Any = parts.generator
    asked = parts.pack.document.previews
    judge: PreviewJudge | None = None
    if asked is not None and getattr(generator, "gives_previews", False):
        guards = run.stage("judge output", lambda: list(parts.frame_guards(True)))
        judge = PreviewJudge(parts.pack, guards, parts.guard_timeout, parts.cpu_watts)
    if asked is None or judge is None or not judge.useful:
        return run.stage("generate", lambda: parts.generator.generate(sampling, step))  # type: ignore[union-attr]

    def look(done: int, steps: int, frame: Any) -> None:
        if judge.look(done, steps, frame):
            run.news("preview", glimpse(done, steps, frame).as_dict())

    def sample_() -> Generated | None:
        try:
            made: Generated = generator.generate(sampling, step, Previews(tuple(asked.at), look))
            return made
        except StoppedEarly:
            return None

    made = run.stage("generate", sample_)
    if made is not None:
        return made
    assert judge.decision is not None and judge.early is not None  # noqa: S101, PT018  set before it stops
    _decided(parts, run, intent, judge.decision.record() | {"preview": judge.early.record()})
    raise Stopped(judge.decision, judge.early)


def generate_best(
    parts: Parts, run: Run, intent: OpenIntent, sampling: Sampling, best_of: int
) -> tuple[Generated, dict[str, Any]]:
    """The best of ``best_of`` samples with seeds counted up, by the guard's agreement with the prompt, and its record,
    in which `candidates` has every seed's score. One whose preview is refused ends them all."""
    agreement = parts.agreement
    if best_of > 1 and agreement is None:
        raise GenerationError(
            "best-of needs the CLIP model, which is not installed",
            code="generate.best_of",
            hint="pip install 'filigrana[generate]'",
        )
    best: tuple[float, Generated] | None = None
    elsewhere: list[Energy] = []
    candidates: list[dict[str, Any]] = []
    for number in range(best_of):
        each = replace(sampling, seed=(sampling.seed + number) % (1 << 63))

        def step(done: int, steps: int, number: int = number) -> None:
            run.progress("generate", number * steps + done, best_of * steps)

        made = _sampled(parts, run, intent, each, step)
        elsewhere += [] if made.energy is None else [made.energy]
        _check_frames(made)
        score = 0.0
        if agreement is not None and best_of > 1:
            score = run.stage("choose", lambda made=made: _agreement(agreement, sampling.prompt, made))  # type: ignore[misc]
            candidates.append({"seed": each.seed, "agreement": f"{score:.4f}"})
        if best is None or score > best[0]:
            best = (score, made)
    assert best is not None  # noqa: S101  best_of is at least 1
    if elsewhere:
        best = (best[0], replace(best[1], energy=together(elsewhere)))
    return best[1], {**best[1].sampling, **({"candidates": candidates} if candidates else {})}


def _agreement(agreement: Callable[[str, Any], float], prompt: str, made: Generated) -> float:
    """The mean over a clip's first, middle and last frame: what it shows may come and go."""
    every = [frame.rgb for frame in made.frames] if made.kind == "image" else _three(made.frames)
    score = float(np.mean([agreement(prompt, rgb) for rgb in every]))
    if not np.isfinite(score):
        raise GenerationError("the agreement of a sample is not a number", code="generate.best_of")
    return score


def _three(frames: Iterable[Frame]) -> list[Any]:
    count = sum(1 for _ in frames)
    wanted = {0, count // 2, count - 1}
    return [frame.rgb for number, frame in enumerate(frames) if number in wanted]


def _views(frame: Frame) -> list[Any]:
    """A picture that is not opaque is judged as it shows, and as it is when its transparency is lost."""
    return [frame.rgb] if frame.alpha is None else [frame.rgb, frame.shown]


def judge_frames(
    parts: Parts,
    run: Run,
    intent: OpenIntent,
    frames: Iterable[Frame],
    kind: Kind,
    *,
    generated: bool,
    sound: MediaFile | None = None,
) -> Decision:
    """Allowed, or for a person to see: whoever calls must not release the latter. Raises Stopped for anything else.
    ``sound``: the file with the frames' sound, where it isn't their own."""

    def judge() -> Decision:
        judged = OutputJudge(
            parts.pack,
            list(parts.frame_guards(generated)),
            origin="generated" if generated else "sealed",
            timeout=parts.guard_timeout,
            text_guards=parts.text_guards,
            # A clip shows its text for longer than one frame, and there are many of them.
            side=CLIP_SIDE if kind == "video" else None,
        )

        def every() -> Iterator[tuple[Any, float]]:
            for frame in frames:
                judged.watch(frame.rgb if frame.alpha is None else frame.shown, float(frame.time))
                for view in _views(frame):
                    yield view, float(frame.time)

        for count, view in enumerate(sample(every()), 1):
            judged.look(view)
            if kind == "video":
                run.progress("judge output", count, 0)
        return judged.decision()

    decision = run.stage("judge output", judge)
    _decided(parts, run, intent, decision.record())
    if decision.verdict not in (Verdict.ALLOW, Verdict.REVIEW):
        raise Stopped(decision)
    media = frames.media if isinstance(frames, Frames) else sound
    if parts.sound_guard is not None and media is not None and media.info.sound is not None:
        # The stricter of both: a person sees what either would have seen.
        decision = max(decision, judge_track(parts, run, intent, media), key=lambda each: each.verdict)
    return decision


def judge_track(parts: Parts, run: Run, intent: OpenIntent, media: MediaFile) -> Decision:
    """A file's sound: what is said in it, or, where no recogniser is installed, what the pack says of that."""

    def judge() -> Decision:
        return judge_sound(
            parts.pack,
            parts.sound_guard,
            lambda: speech_of(media),
            timeout=parts.guard_timeout,
            text_guards=list(parts.text_guards),
        )

    decision = run.stage("judge output", judge)
    _decided(parts, run, intent, decision.record())
    if decision.verdict not in (Verdict.ALLOW, Verdict.REVIEW):
        raise Stopped(decision)
    return decision


@dataclass(frozen=True)
class Frames:
    """A file's frames, as often as they are asked for."""

    media: MediaFile

    def __iter__(self) -> Iterator[Frame]:
        return self.media.frames()


def model_of(generator: Generator) -> Model:
    """Reads and hashes the weights, which is why it is a stage."""
    return generator.model


def _check_frames(made: Generated) -> None:
    """A generator that gives nothing, or no picture, has failed."""
    first = next(iter(made.frames), None)
    if first is None or first.rgb.dtype != np.uint8 or first.rgb.ndim != 3 or first.rgb.shape[2] != 3:
        raise GenerationError("the model gave no picture", code="generate.empty")


def file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def taken(given: MediaFile, work: Path, digest: str, folder: str = "source") -> MediaFile:
    """A private copy: it is read several times, and what was judged must be what is sealed."""
    own = work / folder / given.path.name
    own.parent.mkdir()
    shutil.copyfile(given.path, own)
    if file_digest(own) != digest:
        raise MediaError(f"{given.path.name} changed while it was read", code="input.media.changed")
    return replace(given, path=own)
