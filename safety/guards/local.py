"""A guard model on this machine, through transformers: its prompt, and what it would answer next.

A model is loaded once, and its answers are computed one after the other. Errors are SafetyError: those of
:mod:`.files`, ``safety.template`` (the prompt format loses the text), ``safety.special_token`` (the text holds the
format's own marks), ``safety.too_long``, ``safety.not_a_number``, ``safety.unparsable``, ``safety.busy``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import SafetyError
from .files import Loaded, ModelFiles

MAX_WINDOWS = 64
_OVERLAP = 4  # a window begins a quarter of its length before the last one's end
_SHORTEST = 16
_BUSY_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Step:
    """One token of an answer: the ``text`` before it, and the ``probabilities`` of all tokens there (float64)."""

    text: str
    probabilities: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says, greedily, and the steps that led there. The end mark is not part of ``text``."""

    text: str
    steps: tuple[Step, ...]

    def step_at(self, start: int) -> Step:
        """The step whose token holds the character at ``start``."""
        ends = [*(step.text for step in self.steps[1:]), self.text]
        for step, end in zip(self.steps, ends, strict=True):
            if len(end) > start:
                return step
        raise SafetyError("the guard's answer has no such place", code="safety.unparsable")


@dataclass
class LocalModel:
    """``where`` and ``kinds``: see :class:`.files.ModelFiles`. ``dtype``: auto (float32 on a CPU, bfloat16 elsewhere),
    float32 or bfloat16. ``window``: how many tokens are judged at once at most; None: as many as the model takes."""

    where: str
    kinds: frozenset[str]
    device: str = "auto"
    dtype: str = "auto"
    window: int | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @cached_property
    def files(self) -> ModelFiles:
        return ModelFiles(self.where, self.kinds)

    @cached_property
    def _loaded(self) -> Loaded:
        return self.files.load(self.device, self.dtype)

    @property
    def tokenizer(self) -> Any:
        return self._loaded.tokenizer

    def prepare(self) -> None:
        """Loads it now, so that the first prompt does not wait. Raises SafetyError."""
        with self._alone():
            _ = self._loaded, self._places, self._ends

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._lock.acquire(timeout=_BUSY_SECONDS):
            raise SafetyError("the guard is busy with earlier prompts", code="safety.busy")
        try:
            yield
        finally:
            self._lock.release()

    # ── prompts ──────────────────────────────────────────────────────────────────────────────────────────────
    @property
    def has_template(self) -> bool:
        return bool(getattr(self.tokenizer, "chat_template", None))

    def chat(self, text: str, **options: Any) -> str:
        """The model's own chat template around ``text``, as one message of the user. Some templates want the text bare,
        some in parts; one that loses it is an error."""
        for content in (text, [{"type": "text", "text": text}]):
            try:
                prompt = self.tokenizer.apply_chat_template(
                    [{"role": "user", "content": content}], tokenize=False, **options
                )
            except Exception:  # noqa: BLE001, S112  the other form is tried; if neither serves, that is told below
                continue
            if isinstance(prompt, str) and text.strip() in prompt and "'type': 'text'" not in prompt:
                return prompt
        raise SafetyError("the guard's prompt format does not take this text", code="safety.template")

    def check_marks(self, text: str, marks: Sequence[str]) -> None:
        """A text with the marks of the prompt format in it could speak with the guard's own voice."""
        special = {token.content for token in self.tokenizer.added_tokens_decoder.values() if token.special}
        folded = text.casefold()
        if any(mark.strip() and mark.casefold() in folded for mark in (*special, *marks)):
            raise SafetyError("the prompt holds the guard's own marks", code="safety.special_token")

    def encode(self, prompt: str) -> list[int]:
        return list(self.tokenizer(prompt, add_special_tokens=False)["input_ids"])

    @cached_property
    def _limit(self) -> int:
        config = self._loaded.network.config
        config = getattr(config, "text_config", None) or config
        most = getattr(config, "max_position_embeddings", None)
        if not isinstance(most, int) or most < _SHORTEST:
            raise SafetyError("the guard model does not say how much it reads", code="safety.model")
        return min(most, self.window or most)

    def windows(self, text: str, render: Callable[[str], str], room: int) -> list[list[int]]:
        """The tokens of one prompt, or of several that overlap where ``text`` is too long for one: nothing is cut off.
        ``room``: tokens that the answer needs."""
        limit = self._limit - room
        whole = self.encode(render(text))
        if len(whole) <= limit:
            return [whole]
        spans = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        most = limit - (len(whole) - len(spans)) - 8  # a cut may change the tokens beside it
        if most < _SHORTEST:
            raise SafetyError("the guard's prompt format leaves no room for a text", code="safety.too_long")
        stride = most - most // _OVERLAP
        starts = range(0, max(1, len(spans) - most // _OVERLAP), stride)
        if len(starts) > MAX_WINDOWS:
            raise SafetyError("the prompt is too long for this guard", code="safety.too_long")
        found = []
        for start in starts:
            part = text[spans[start][0] : spans[min(start + most, len(spans)) - 1][1]]
            ids = self.encode(render(part))
            if not part.strip() or len(ids) > limit:
                raise SafetyError("the prompt does not go into the guard's windows", code="safety.too_long")
            found.append(ids)
        return found

    # ── answers ──────────────────────────────────────────────────────────────────────────────────────────────
    @cached_property
    def _pieces(self) -> list[str]:
        """The text of every token."""
        size = int(self._loaded.network.get_output_embeddings().weight.shape[0])
        known = min(size, len(self.tokenizer))
        pieces = self.tokenizer.batch_decode([[index] for index in range(known)], skip_special_tokens=False)
        return [*pieces, *([""] * (size - known))]

    def answer(self, ids: Sequence[int], most: int) -> Answer:
        """What the model says after ``ids``, greedily. Raises SafetyError when it has not ended after ``most`` tokens:
        an answer that was cut is none."""
        ends = self._ends
        said: list[int] = []
        steps: list[Step] = []
        for token, step in zip(range(most), self._steps(ids, said), strict=False):
            del token
            steps.append(step)
            best = int(step.probabilities.argmax())
            if best in ends:
                return Answer(self._text(said), tuple(steps))
            said.append(best)
        raise SafetyError("the guard's answer has no end", code="safety.unparsable")

    def first(self, ids: Sequence[int], begun: str = "") -> Step:
        """What may come next after ``ids``. ``begun``: how the answer is made to begin."""
        step = next(self._steps([*ids, *(self.encode(begun) if begun else [])], []))
        return Step(begun, step.probabilities)

    def _steps(self, ids: Sequence[int], said: list[int]) -> Iterator[Step]:
        """The next step, and one more each time that a token was put into ``said``."""
        import torch

        network, device = self._loaded.network, self._loaded.device
        feed, cache = list(ids), None
        while True:
            with self._alone(), torch.inference_mode():
                out = network(input_ids=torch.tensor([feed], device=device), past_key_values=cache, use_cache=True)
                logits = out.logits[0, -1].float().cpu().numpy().astype(np.float64)
            cache = out.past_key_values
            if not np.isfinite(logits).all():
                raise SafetyError("the guard's answer is not finite", code="safety.not_a_number")
            weights = np.exp(logits - logits.max())
            yield Step(self._text(said), weights / weights.sum())
            feed = said[-1:]

    def _text(self, said: list[int]) -> str:
        return str(self.tokenizer.decode(said, skip_special_tokens=False)) if said else ""

    def shares(self, step: Step, words: Mapping[str, str], *, least: float = 0.5) -> dict[str, float]:
        """By label: the probability of the tokens that begin its word at this step. A token that begins several words
        counts for each. Raises SafetyError when all together are less than ``least``: then it meant something else."""
        places, shares, anything = self._places, {}, set()
        for label, word in words.items():
            exact = word in places
            begins = [
                index
                for length in range(1, len(word) + 1)
                # "1" begins "10", but where "10" is a token of its own, "1" says 1.
                if not (exact and length < len(word) and word[:length] in words.values())
                for index in places.get(word[:length], ())
            ]
            shares[label] = float(step.probabilities[begins].sum())
            anything.update(begins)
        total = float(step.probabilities[sorted(anything)].sum())
        if total < least or not all(map(np.isfinite, shares.values())):
            raise SafetyError("the guard's answer is not of its own format", code="safety.unparsable")
        return shares

    @cached_property
    def _places(self) -> dict[str, list[int]]:
        """The tokens of each text, without the blanks around it."""
        found: dict[str, list[int]] = {}
        for index, piece in enumerate(self._pieces):
            found.setdefault(piece.strip(), []).append(index)
        found.pop("", None)
        return found

    @cached_property
    def _ends(self) -> frozenset[int]:
        tokenizer, network = self._loaded.tokenizer, self._loaded.network
        configured = getattr(network.generation_config, "eos_token_id", None)
        marks = configured if isinstance(configured, list) else [configured]
        return frozenset(int(mark) for mark in (*marks, tokenizer.eos_token_id) if mark is not None)
