"""Llama Guard, ShieldGemma, Granite Guardian and Qwen3Guard: each asked in its own format, each answer read whole.

Where a model documents a score it is used: the probability of `unsafe` against `safe`, of Yes against No, at the token
that decides. The categories that a model names share that probability; the others get it in proportion to how likely
the model would have named them first. A prompt that is judged in several windows has the worst one's scores.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from ...errors import SafetyError
from ..decision import ModelRef
from . import formats, tables
from .local import LocalModel, Step

_MEANT = 0.5
_NO_FORMAT = "the guard's tokenizer brings no prompt format"


class LocalGuard(ABC):
    """``name``: as policy packs call it."""

    name: str
    table: tables.Table
    kinds: frozenset[str]
    marks: tuple[str, ...] = ()

    def __init__(self, where: str, *, device: str = "auto", dtype: str = "auto", window: int | None = None) -> None:
        self.local = LocalModel(where, self.kinds, device, dtype, window)

    @property
    def model(self) -> ModelRef:
        return self.local.files.reference

    def prepare(self) -> None:
        """Loads the weights. Raises SafetyError."""
        self.local.prepare()

    def score(self, text: str) -> Mapping[str, float]:
        """Probabilities by hazard id. Raises SafetyError for anything that the model's documents do not say."""
        if not text.strip():
            raise SafetyError("there is nothing to judge", code="safety.empty")
        self.local.check_marks(text, self.marks)
        return tables.by_hazard(self.table, self._by_category(text))

    @abstractmethod
    def _by_category(self, text: str) -> dict[str, float]: ...


def _worst(found: dict[str, float], more: Mapping[str, float]) -> None:
    for category, score in more.items():
        found[category] = max(found.get(category, 0.0), score)


# ── those that name categories ───────────────────────────────────────────────────────────────────────────────────
class _Naming(LocalGuard):
    """A verdict, then the categories. ``verdict``: an expression whose group is the verdict's word. ``harmful``: where
    it said safe, what stands before the category that it would else have named."""

    verdict: re.Pattern[str]
    safe: str
    unsafe: tuple[str, ...]
    harmful: str
    room = 64

    def _by_category(self, text: str) -> dict[str, float]:
        found: dict[str, float] = {}
        for ids in self.local.windows(text, self._render, self.room):
            _worst(found, self._window(ids))
        return found

    @abstractmethod
    def _render(self, text: str) -> str: ...

    @abstractmethod
    def _named(self, text: str) -> list[tuple[str, int]]:
        """The categories of an unsafe answer, and where each begins."""

    def _window(self, ids: list[int]) -> dict[str, float]:
        answer = self.local.answer(ids, self.room)
        told = self.verdict.match(answer.text)
        if told is None:
            raise SafetyError("the guard's answer cannot be read", code="safety.unparsable")
        step = answer.step_at(told.start(1))
        begun = answer.text[len(step.text) : told.start(1)].strip()  # what one token holds before the word itself
        shares = self.local.shares(step, {word: begun + word for word in (self.safe, *self.unsafe)})
        unsafe = sum(shares[word] for word in self.unsafe)
        probability = unsafe / (unsafe + shares[self.safe])
        if told.group(1) == self.safe:
            self._check_safe(answer.text)
            begun = answer.text[: told.start(1)] + self.harmful
            return self._spread(probability, self.local.first(ids, begun), len(begun) - len(self._common))
        named = self._named(answer.text)
        if not named:
            raise SafetyError("the guard says unsafe and not why", code="safety.unparsable")
        for category, _ in named:
            if category not in self.table:
                raise SafetyError("the guard named an unknown category", code="safety.unknown_hazard")
            if not self.table[category]:
                raise SafetyError(f"the guard found {category}, which is no hazard here", code="safety.unmapped")
        start = named[0][1]
        spread = self._spread(probability, answer.step_at(start + len(self._common)), start)
        return spread | dict.fromkeys((category for category, _ in named), probability)

    _common = ""  # the letters that all categories begin with, which tell nothing

    def _spread(self, probability: float, step: Step, start: int) -> dict[str, float]:
        """By category, in proportion to how likely it is the first to be named where the names begin at ``start``. A
        model that would name none of them does not say which it means: then all have the whole probability."""
        done = max(0, len(step.text) - start)
        likely = self.local.shares(step, {category: category[done:] for category in self.table}, least=0.0)
        top = max(likely.values())
        if sum(likely.values()) < _MEANT:
            return dict.fromkeys(self.table, probability)
        return {category: probability * (share / top) for category, share in likely.items()}

    @abstractmethod
    def _check_safe(self, text: str) -> None: ...


class LlamaGuard3(_Naming):
    """Llama Guard 3, 8B and 1B (model card, "Prompt format"): `safe`, or `unsafe` and a line of categories."""

    name = "llama-guard-3"
    table = tables.LLAMA_GUARD
    kinds = frozenset({"llama"})
    marks = ("<BEGIN CONVERSATION>", "<END CONVERSATION>", "<BEGIN UNSAFE CONTENT CATEGORIES>",
             "<END UNSAFE CONTENT CATEGORIES>")  # fmt: skip
    verdict = re.compile(r"\s*(safe|unsafe)\b")
    safe, unsafe, harmful = "safe", ("unsafe",), "unsafe\nS"
    _common = "S"

    def _render(self, text: str) -> str:
        if self.local.has_template:
            return self.local.chat(text)
        names = "\n".join(f"{key}: {title}." for key, title in formats.LLAMA_TITLES.items())
        bos = self.local.tokenizer.bos_token or ""
        return formats.LLAMA_GUARD.format(bos=bos, names=names, text=text.strip())

    def _named(self, text: str) -> list[tuple[str, int]]:
        told = re.fullmatch(r"\s*unsafe\s*\n\s*(S\d{1,2}(?:\s*,\s*S\d{1,2})*)\s*", text)
        if told is None:
            raise SafetyError("the guard's answer cannot be read", code="safety.unparsable")
        return [(m.group(), told.start(1) + m.start()) for m in re.finditer(r"S\d{1,2}", told.group(1))]

    def _check_safe(self, text: str) -> None:
        if text.strip() != "safe":
            raise SafetyError("the guard's answer cannot be read", code="safety.unparsable")


class LlamaGuard4(LlamaGuard3):
    """Llama Guard 4, 12B: the same format and categories, another kind of network; text alone is given to it."""

    name = "llama-guard-4"
    kinds = frozenset({"llama4"})


class Qwen3Guard(_Naming):
    """Qwen3Guard-Gen (model card, "Prompt moderation"): `Safety: …`, then `Categories: …`. What it calls
    controversial counts as unsafe: the strict reading of its documents."""

    name = "qwen3guard"
    table = tables.QWEN3GUARD
    kinds = frozenset({"qwen3"})
    marks = ("<BEGIN CONVERSATION>", "<END CONVERSATION>", "<BEGIN UNSAFE CONTENT CATEGORIES>",
             "<END UNSAFE CONTENT CATEGORIES>")  # fmt: skip
    verdict = re.compile(r"\s*Safety: (Safe|Unsafe|Controversial)\b")
    safe, unsafe, harmful = "Safe", ("Unsafe", "Controversial"), "Unsafe\nCategories:"

    def _render(self, text: str) -> str:
        if not self.local.has_template:
            raise SafetyError(_NO_FORMAT, code="safety.template")
        return self.local.chat(text)

    def _named(self, text: str) -> list[tuple[str, int]]:
        told = re.fullmatch(r"\s*Safety: (?:Unsafe|Controversial)\s*\n\s*Categories:\s*([^\n]+?)\s*", text)
        if told is None:
            raise SafetyError("the guard's answer cannot be read", code="safety.unparsable")
        return [(m.group().strip(), told.start(1) + m.start()) for m in re.finditer(r"[^\s,][^,]*", told.group(1))]

    def _check_safe(self, text: str) -> None:
        if re.fullmatch(r"\s*Safety: Safe\s*\n\s*Categories: None\s*", text) is None:
            raise SafetyError("the guard's answer cannot be read", code="safety.unparsable")


# ── those that are asked one question a harm ─────────────────────────────────────────────────────────────────────
class _Asking(LocalGuard):
    """Yes or No to each category. ``verdict``: an expression whose group is the answer's word."""

    verdict: re.Pattern[str]
    room: int

    def _by_category(self, text: str) -> dict[str, float]:
        found: dict[str, float] = {}
        for category in self.table:
            for ids in self.local.windows(text, lambda part, c=category: self._render(part, c), self.room):  # type: ignore[misc]
                _worst(found, {category: self._yes(ids)})
        return found

    @abstractmethod
    def _render(self, text: str, category: str) -> str: ...

    @abstractmethod
    def _yes(self, ids: list[int]) -> float: ...

    def _probability(self, step: Step, yes: str, no: str) -> float:
        shares = self.local.shares(step, {"yes": yes, "no": no})
        return shares["yes"] / (shares["yes"] + shares["no"])


class ShieldGemma(_Asking):
    """ShieldGemma (model card, "Usage"): one guideline at a time, and the softmax of Yes and No at the first token of
    an answer that is not waited for."""

    name = "shieldgemma"
    table = tables.SHIELDGEMMA
    kinds = frozenset({"gemma2"})
    marks = ("Human Question:", "Our safety principles are defined in the below:")
    room = 1

    def _render(self, text: str, category: str) -> str:
        guideline = f'* "{category}": {tables.SHIELDGEMMA_GUIDELINES[category]}'
        if self.local.has_template:
            prompt = self.local.chat(text, guideline=guideline, add_generation_prompt=True)
            if tables.SHIELDGEMMA_GUIDELINES[category] not in prompt:
                raise SafetyError("the guard's prompt format leaves the guideline out", code="safety.template")
            return prompt
        bos = self.local.tokenizer.bos_token or ""
        return formats.SHIELDGEMMA.format(bos=bos, text=text.strip(), guideline=guideline)

    def _yes(self, ids: list[int]) -> float:
        return self._probability(self.local.first(ids), "Yes", "No")


class GraniteGuardian(_Asking):
    """Granite Guardian 3.0 to 3.3 (model cards, "Usage"): `guardian_config` of its chat template names the risk; the
    answer is Yes or No, in 3.3 between `<score>` marks and in small letters."""

    name = "granite-guardian"
    table = tables.GRANITE
    kinds = frozenset({"granite", "granitemoe", "granitemoehybrid", "granitemoeshared"})
    marks = ("<start_of_turn>", "<end_of_turn>", "<start_of_risk_definition>", "<end_of_risk_definition>", "<guardian>")
    verdict = re.compile(
        r"\s*(?:<think>\s*</think>\s*)?(?:<score>\s*(yes|no)\s*</score>"
        r"|(Yes|No)(?:\s*<confidence>\s*(?:High|Low)\s*</confidence>)?)\s*"
    )
    room = 32

    def _render(self, text: str, category: str) -> str:
        if not self.local.has_template:
            raise SafetyError(_NO_FORMAT, code="safety.template")
        # 3.0 to 3.2 call it risk_name, 3.3 criteria_id; each ignores what it does not know.
        config = {"risk_name": category, "criteria_id": category}
        return self.local.chat(text, guardian_config=config, think=False, add_generation_prompt=True)

    def _yes(self, ids: list[int]) -> float:
        answer = self.local.answer(ids, self.room)
        told = self.verdict.fullmatch(answer.text)
        if told is None:
            raise SafetyError("the guard's answer cannot be read", code="safety.unparsable")
        small = told.group(1) is not None
        step = answer.step_at(told.start(1 if small else 2))
        return self._probability(step, *(("yes", "no") if small else ("Yes", "No")))


GUARDS: dict[str, type[Any]] = {
    guard.name: guard for guard in (LlamaGuard3, LlamaGuard4, ShieldGemma, GraniteGuardian, Qwen3Guard)
}
