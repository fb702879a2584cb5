"""A policy pack: rules and thresholds in YAML, versioned, identified by its digest, with its own tests inside.

A pack that does not parse, has a key that nobody knows, or fails one of its own tests is not a policy, and nothing
is judged by it. See docs/policy.md for the fields.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ..errors import PolicyError
from .decision import HAZARDS, PolicyRef, Verdict
from .text.lexicon import Lexicon

MAX_BYTES = 256 << 10
_MAX_DEPTH = 16
_EVENTS = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
VerdictWord = Literal["allow", "rewrite", "review", "block"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Terms(_Strict):
    """Fires when one term of each list in ``all_of`` stands within ``within`` words, in any view of the prompt, and
    no term of the lists in ``unless`` stands anywhere in it."""

    all_of: Annotated[list[str], Field(min_length=1)]
    within: Annotated[int, Field(ge=0, le=200)] = 8
    unless: list[str] = []


class Score(_Strict):
    """Fires when the guard's score for the rule's hazard is at least ``at_least``."""

    guard: str
    at_least: Annotated[float, Field(gt=0, le=1)]


class Cases(_Strict):
    match: list[str] = []
    no_match: list[str] = []


class Rule(_Strict):
    id: Annotated[str, Field(pattern=r"^[A-Z]{2,4}-\d{3}$")]
    title: str
    hazard: str
    side: Literal["prompt", "output"]
    verdict: VerdictWord
    reason: Annotated[str, Field(min_length=10)]
    terms: Terms | None = None
    score: Score | None = None
    mixed_scripts: bool = False
    replace_with: str | None = None
    override: bool = True
    approvals: Literal[1, 2] | None = None
    status: Literal["stable", "experimental", "deprecated"] = "stable"
    version: str = "1"
    references: list[str] = []
    tags: list[str] = []
    known_false_positives: list[str] = []
    tests: Cases = Cases()

    @field_validator("hazard")
    @classmethod
    def _known(cls, hazard: str) -> str:
        if hazard not in HAZARDS:
            raise ValueError(f"unknown hazard {hazard!r}; known: {', '.join(HAZARDS)}")
        return hazard

    @model_validator(mode="after")
    def _one_condition(self) -> Rule:
        if sum((self.terms is not None, self.score is not None, self.mixed_scripts)) != 1:
            raise ValueError("a rule has exactly one of: terms, score, mixed_scripts")
        if (self.verdict == "rewrite") != (self.replace_with is not None):
            raise ValueError("replace_with belongs to verdict rewrite, and rewrite needs it")
        if self.side == "output" and self.score is None:
            raise ValueError("terms and scripts are of prompts; an output rule needs a score")
        if self.side == "prompt" and self.terms is not None and not (self.tests.match and self.tests.no_match):
            raise ValueError("a rule of terms needs tests: at least one match and one no_match")
        return self

    @property
    def severity(self) -> Verdict:
        return Verdict.parse(self.verdict)


class Requires(_Strict):
    """The guards that must have answered before anything is allowed, by what is judged."""

    prompt: Annotated[list[str], Field(min_length=1)]
    generated: Annotated[list[str], Field(min_length=1)]
    sealed: Annotated[list[str], Field(min_length=1)]


class Review(_Strict):
    """How people decide on held work: how many must approve, within how many hours, and for how many days whoever was
    refused may appeal. Without an answer in time it is refused, and there is no other choice."""

    approvals: Literal[1, 2] = 1
    hours: Annotated[int, Field(ge=1, le=8_760)] = 72
    expired: Literal["refuse"] = "refuse"
    appeal_days: Annotated[int, Field(ge=1, le=3_650)] = 184


class Previews(_Strict):
    """Judging during generation: after which shares of the steps, and how far over its threshold a score must be."""

    at: Annotated[list[Annotated[float, Field(gt=0, lt=1)]], Field(min_length=1, max_length=8)]
    margin: Annotated[float, Field(ge=0, le=1)] = 0.05


class _Document(_Strict):
    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{1,40}$")]
    version: Annotated[str, Field(pattern=r"^[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9}$")]
    title: str
    description: str
    max_prompt_chars: Annotated[int, Field(ge=1, le=20_000)] = 4_000
    requires: Requires
    languages: Annotated[list[Annotated[str, Field(pattern=r"^[a-z]{2}$")]], Field(min_length=1)] | None = None
    unjudged_sound: Literal["allow", "review", "block"] = "review"
    previews: Previews | None = None
    timestamps: Literal["refuse", "hold"] = "refuse"
    retention_days: Annotated[int, Field(ge=1, le=36_500)] | None = None
    review: Review = Review()
    lists: dict[str, list[str]] = {}
    rules: Annotated[list[Rule], Field(min_length=1)]

    @model_validator(mode="after")
    def _consistent(self) -> _Document:
        ids = [rule.id for rule in self.rules]
        if len(set(ids)) != len(ids):
            raise ValueError("two rules have one id")
        if "lexicon" not in self.requires.prompt and any(rule.terms for rule in self.rules):
            raise ValueError("rules of terms need the guard 'lexicon' in requires.prompt")
        for rule in self.rules:
            for name in [
                *(rule.terms.all_of if rule.terms else []),
                *(rule.terms.unless if rule.terms else []),
            ]:
                if not self.lists.get(name):
                    raise ValueError(f"rule {rule.id} asks for the list {name!r}, which is missing or empty")
            if rule.score:
                needed = [self.requires.prompt] if rule.side == "prompt" else [self.requires.generated]
                if not any(rule.score.guard in guards for guards in needed):
                    raise ValueError(f"rule {rule.id} reads the guard {rule.score.guard!r}, which is not required")
        return self


@dataclass(frozen=True)
class Pack:
    """A policy pack that parsed. ``ref`` carries the sha256 of its bytes into every decision."""

    ref: PolicyRef
    document: _Document

    @property
    def rules(self) -> tuple[Rule, ...]:
        return tuple(self.document.rules)

    @property
    def requires(self) -> Requires:
        return self.document.requires

    @property
    def holds_for_timestamps(self) -> bool:
        """Whether finished work waits, unreleased, while no time-stamp authority can be reached; else it is lost."""
        return self.document.timestamps == "hold"

    @cached_property
    def lexicon(self) -> Lexicon:
        return Lexicon(self.document.lists)


def _check_shape(data: bytes) -> None:
    """Event by event, before anything is built: an alias can stand for as much as its author likes, any number of
    times, and nesting costs its square."""
    depth = 0
    for event in yaml.parse(data, Loader=_EVENTS):
        if isinstance(event, yaml.AliasEvent):
            raise PolicyError("a policy pack has no YAML aliases")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            raise PolicyError(f"a policy pack is nested {_MAX_DEPTH} deep at most")


def parse_pack(data: bytes) -> Pack:
    """Raises PolicyError, which names the place, for anything that is not a valid pack."""
    if len(data) > MAX_BYTES:
        raise PolicyError(f"a policy pack has at most {MAX_BYTES} bytes")
    try:
        _check_shape(data)
        loaded: Any = yaml.safe_load(data)
        document = _Document.model_validate(loaded)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise PolicyError(f"the policy pack is not valid YAML{where}") from error
    except ValidationError as error:
        # A key that nobody knows is most often a typo, and the missing key beside it only its consequence.
        found = sorted(error.errors(), key=lambda each: each["type"] != "extra_forbidden")[0]
        place = ".".join(str(part) for part in found["loc"])
        raise PolicyError(f"the policy pack is not valid: {place}: {found['msg']}") from error
    except (ValueError, OverflowError, RecursionError) as error:
        # PyYAML lets what date, int and float think of a scalar through as it is.
        raise PolicyError("the policy pack holds a value that cannot be read") from error
    digest = hashlib.sha256(data).hexdigest()
    return Pack(PolicyRef(document.id, document.version, digest), document)


def builtin_names() -> list[str]:
    folder = resources.files(__package__) / "packs"
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def is_path(name_or_path: str) -> bool:
    """Anything with a slash or `.yaml`."""
    return Path(name_or_path).suffix in (".yaml", ".yml") or "/" in name_or_path


def unknown_pack(name: str) -> PolicyError:
    return PolicyError(
        f"there is no policy pack {name!r}", hint=f"Built in: {', '.join(builtin_names())}; or give a path."
    )


def load_pack(name_or_path: str) -> Pack:
    """A built-in pack by name, or a pack by path."""
    if name_or_path in builtin_names():
        return parse_pack((resources.files(__package__) / "packs" / f"{name_or_path}.yaml").read_bytes())
    if not is_path(name_or_path):
        raise unknown_pack(name_or_path)
    try:
        return parse_pack(Path(name_or_path).read_bytes())
    except OSError as error:
        raise PolicyError(f"the policy pack cannot be read: {error.strerror}") from error


def cases(pack: Pack) -> Iterator[tuple[Rule, str, bool]]:
    """(rule, prompt, whether it must fire) for every test in the pack."""
    for rule in pack.rules:
        yield from ((rule, text, True) for text in rule.tests.match)
        yield from ((rule, text, False) for text in rule.tests.no_match)
