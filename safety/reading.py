"""Text that was found in frames or heard in sound, judged as a prompt is: by the pack's prompt rules.

Each frame's text is judged by itself, and all that a clip shows is judged in order as one text too, so that a threat
spelled one word at a time is found. Memory stays flat: a long text is judged in overlapping stretches.
"""

from __future__ import annotations

import re
import unicodedata
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property

from ..errors import PromptError
from .decision import Decision, GuardRun, RuleHit, Verdict
from .judge import TextGuard, judge_text
from .policy import Pack

STRETCH = 2_000
"""Characters that are judged as one text at most; each stretch begins with the last half of the one before."""
_REMEMBERED = 256  # texts that were judged already
_READINGS = 3
_RUN_TOGETHER = 14  # letters without a blank, from which on they may be several words

Line = tuple[str, ...]


class TextJudge:
    """Feed the lines of each frame to ``see`` in order, then ask for ``hits`` and ``runs``.

    ``source``: the guard that read them, for the proof that it ran. Raises what judging raises."""

    def __init__(
        self, pack: Pack, guards: Sequence[TextGuard], source: str, *, timeout: float, languages: bool = True
    ) -> None:
        """``languages``: whether text in a language that the pack does not list is for a person. A sign in the street
        may be in any, and a recogniser's slips look like one."""
        self._languages = languages
        self._pack, self._guards, self._source, self._timeout = pack, guards, source, timeout
        self._before: frozenset[str] = frozenset()
        self._story = ["" for _ in range(_READINGS)]
        self._judged: OrderedDict[str, None] = OrderedDict()
        self._hits: dict[str, RuleHit] = {}
        self._runs: dict[str, GuardRun] = {}

    def see(self, lines: Sequence[Line]) -> None:
        """The lines of the next frame, each in its readings. A line that the frame before had too is not told twice."""
        self._judge(*(" ".join(_reading(line, number) for line in lines) for number in range(_READINGS)))
        fresh = [line for line in lines if line and _key(line[0]) not in self._before]
        self._before = frozenset(_key(line[0]) for line in lines if line)
        if fresh:
            self._story = [
                f"{text} {' '.join(_reading(line, number) for line in fresh)}".strip()
                for number, text in enumerate(self._story)
            ]
        if max(map(len, self._story)) > STRETCH:
            self._judge(*self._story)
            self._story = [text[-STRETCH // 2 :] for text in self._story]

    def finish(self) -> tuple[tuple[RuleHit, ...], tuple[GuardRun, ...]]:
        """What the rules say of all that was read, with codes of the output side."""
        self._judge(*self._story)
        return tuple(self._hits.values()), tuple(self._runs.values())

    def _judge(self, *texts: str) -> None:
        wanted = dict.fromkeys(reading for text in texts for reading in (text, self._apart(text)))
        for text in wanted:
            for stretch in _stretches(unicodedata.normalize("NFKC", text), self._pack.document.max_prompt_chars):
                self._judge_one(stretch)

    def _judge_one(self, text: str) -> None:
        if text in self._judged:
            self._judged.move_to_end(text)
            return
        if not any(char.isalnum() for char in text):
            return
        try:
            decision = judge_text(text, self._pack, self._guards, timeout=self._timeout, offer_rewrite=False)
        except PromptError as error:
            if error.code == "input.prompt.empty":
                return
            raise
        self._judged[text] = None
        if len(self._judged) > _REMEMBERED:
            self._judged.popitem(last=False)
        self._keep(decision)

    def _keep(self, decision: Decision) -> None:
        # A recogniser mixes alphabets by itself: only of a writer is that telling.
        typed = {rule.id for rule in self._pack.rules if rule.mixed_scripts}
        for hit in decision.hits:
            foreign = hit.code == "prompt.language"
            if hit.rule in typed or (foreign and not self._languages):
                continue
            failed = hit.code.endswith(".guard_failed")
            shown = replace(
                hit,
                # What is drawn already cannot be worded otherwise.
                verdict=Verdict.REVIEW if hit.verdict is Verdict.REWRITE else hit.verdict,
                code=hit.code.replace("prompt.", "output.", 1),
                reason=hit.reason if failed else f"Text in the work: {hit.reason[0].lower()}{hit.reason[1:]}",
            )
            self._hits.setdefault(f"{hit.rule} {hit.reason}", shown)
        for run in decision.guards:
            known = self._runs.get(run.guard)
            if known is None or (known.error is None and run.error is not None):
                self._runs[run.guard] = replace(run, guard=f"{self._source}:{run.guard}")
            elif known.error is None:
                self._runs[run.guard] = replace(known, inputs=known.inputs + 1, scores=_worst(known, run))

    @cached_property
    def _terms(self) -> tuple[dict[str, str], re.Pattern[str], re.Pattern[str]]:
        """The pack's terms by their letters alone, and patterns for those of several words, and for all."""
        spelled = {
            letters: term.casefold()
            for terms in self._pack.document.lists.values()
            for term in terms
            if len(letters := re.sub(r"\W", "", term.casefold())) >= 5 and letters.isascii()
        }
        return spelled, _any_of(t for t in spelled if " " in spelled[t]), _any_of(spelled)

    def _apart(self, text: str) -> str:
        """The text with the pack's own terms set apart where words run together, as recognisers leave them. A single
        word inside a longer one is most often a part of it (`minor` in `minority`): only in very long ones it counts.
        """
        spelled, several, every = self._terms
        return " ".join(
            (every if len(word) >= _RUN_TOGETHER else several).sub(lambda found: f" {spelled[found[0]]} ", word).strip()
            for word in text.casefold().split()
        )


def _any_of(terms: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted(terms, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")


def _reading(line: Line, number: int) -> str:
    return line[min(number, len(line) - 1)] if line else ""


def _key(text: str) -> str:
    return "".join(char for char in text.casefold() if char.isalnum())


def _worst(one: GuardRun, other: GuardRun) -> tuple[tuple[str, float], ...]:
    scores = dict(one.scores)
    for hazard, score in other.scores:
        scores[hazard] = max(scores.get(hazard, 0.0), score)
    return tuple(sorted(scores.items()))


def _stretches(text: str, limit: int) -> Iterable[str]:
    """The text in pieces of ``limit`` characters that overlap by half: none is cut away."""
    if len(text) <= limit:
        yield text
        return
    step = max(1, limit // 2)
    yield from (text[start : start + limit] for start in range(0, len(text) - limit + step, step))
