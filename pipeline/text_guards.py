"""The guards of prompts: the classifier that ships, and those of others that the settings name."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ..errors import SafetyError

if TYPE_CHECKING:
    from ..safety.judge import TextGuard
    from .settings import Settings

MODELS = ("llama-guard-3", "llama-guard-4", "shieldgemma", "granite-guardian", "qwen3guard")
MODERATION = "moderation"
CLASSIFIER = "classifier"


def parse(texts: Iterable[str]) -> dict[str, str]:
    """Where each guard is, by name, from texts `NAME=WHERE`. Raises ValueError."""
    found: dict[str, str] = {}
    for text in texts:
        name, given, where = text.partition("=")
        name, where = name.strip(), where.strip()
        if not given or not where:
            raise ValueError("a guard is written NAME=FOLDER, NAME=OWNER/MODEL, or moderation=URL")
        if name not in (*MODELS, MODERATION):
            raise ValueError(f"there is no guard {name[:40]!r}; known: {', '.join((*MODELS, MODERATION))}")
        if name in found:
            raise ValueError(f"the guard {name} is named twice")
        found[name] = where
    return found


@cache
def classifier() -> TextGuard:
    """The prompt classifier that ships. Loaded at its first prompt."""
    from ..safety.text.classifier import PromptClassifier

    return PromptClassifier()


class TextGuards:
    """Those of one installation. A guard that cannot be loaded stays, and fails whenever it is asked: a person
    looks."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def _places(self) -> dict[str, str]:
        return parse(self._settings.guards)

    @cached_property
    def _made(self) -> dict[str, TextGuard]:
        return {}

    def of(self, names: Iterable[str], *, prepare: bool = True) -> list[TextGuard]:
        """The guards among ``names`` that the settings know. One that is missing is left out: judging then fails
        closed. Raises SettingsError for an address that prompts must not go to."""
        found: list[TextGuard] = []
        for name in dict.fromkeys(names):
            if name == CLASSIFIER:
                found.append(classifier())
            elif name in self._places:
                found.append(self._guard(name, prepare))
        return found

    def _guard(self, name: str, prepare: bool) -> TextGuard:
        if name not in self._made:
            self._made[name] = self._make(name, prepare)
        return self._made[name]

    def _make(self, name: str, prepare: bool) -> TextGuard:
        settings, where = self._settings, self._places[name]
        if name == MODERATION:
            from ..safety.guards.moderation import ModerationGuard

            key = settings.moderation_key
            return ModerationGuard(
                where,
                model=settings.moderation_model,
                key=None if key is None else key.get_secret_value(),
                seconds=settings.guard_timeout * 0.9,
            )
        from ..safety.guards.models import GUARDS

        if find_spec("torch") is not None:  # without it, each answer is that it is missing
            from .torch_compat import ready

            ready()
        guard: TextGuard = GUARDS[name](where, device=settings.guard_device, dtype=settings.guard_dtype)
        if prepare:
            try:
                guard.prepare()  # type: ignore[attr-defined]
            except SafetyError:
                pass  # its answer to every prompt, and to `doctor`
        return guard
