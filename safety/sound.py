"""Judging sound: what is said in it is judged as a prompt is. Without a recogniser, the pack says what happens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Protocol

from ..errors import SafetyError
from .decision import Decision, GuardRun, ModelRef, RuleHit, Verdict
from .judge import DEFAULT_TIMEOUT, TextGuard, _failed, _within
from .policy import Pack
from .reading import TextJudge
from .speech import Speech


class SoundGuard(Protocol):
    """Writes down what is said, piece by piece and in order; nothing said is an empty text."""

    @property
    def name(self) -> str: ...
    @property
    def model(self) -> ModelRef | None: ...
    def transcribe(self, speech: Iterable[Speech]) -> Iterable[str]: ...


def judge_sound(
    pack: Pack,
    guard: SoundGuard | None = None,
    speech: Callable[[], Iterable[Speech]] | None = None,
    *,
    timeout: float = DEFAULT_TIMEOUT,
    text_guards: Sequence[TextGuard] = (),
) -> Decision:
    """The decision on a sound: by its transcript, where there is a guard, and by what the pack says of sound that no
    guard examines otherwise. ``timeout``: seconds for each 30 s of sound."""
    if guard is None or speech is None:
        return _unjudged(pack)
    texts = TextJudge(pack, text_guards, guard.name, timeout=timeout)
    pieces = 0
    try:
        said = iter(_within(timeout, partial(guard.transcribe, speech())))
        while (text := _within(timeout, partial(next, said, None))) is not None:
            if not isinstance(text, str):
                raise SafetyError(f"the guard {guard.name} gave no text", code="safety.not_text")
            pieces += 1
            texts.see([(text,)] if text.strip() else [])
        if not pieces:
            raise SafetyError("there was no sound to judge", code="safety.empty")
        hits, runs = texts.finish()
        runs = (GuardRun(guard.name, guard.model, pieces, ()), *runs)
    except Exception as error:  # noqa: BLE001  every failure of a guard ends in review
        run, hit = _failed("output", guard.name, error)
        return Decision("output", Verdict.REVIEW, pack.ref, (hit,), (run,))
    verdict = max((hit.verdict for hit in hits), default=Verdict.ALLOW)
    return Decision("output", verdict, pack.ref, hits, runs)


def _unjudged(pack: Pack) -> Decision:
    verdict = Verdict.parse(pack.document.unjudged_sound)
    if verdict is Verdict.ALLOW:
        return Decision("output", verdict, pack.ref)
    hit = RuleHit(
        "ENGINE",
        "sound is not examined",
        "",
        verdict,
        "output.sound_unjudged",
        "No guard listens to sound, and the policy does not let it pass unexamined.",
    )
    return Decision("output", verdict, pack.ref, (hit,))
