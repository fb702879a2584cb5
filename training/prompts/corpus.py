"""Reading the paired prompts: every line of a YAML file is a template family, `{a|b|c}` its alternatives.

A family belongs whole to one half, so that the test half shares no phrasing with the training half. Which half is
decided by the sha256 of the families' texts, in turn, within each (language, hazard, label): nobody picks. What lies
in `more/` was written later and is for training alone. Shape:

    vcr:                      # a hazard id, or `ordinary` / `newsroom` (harmless only)
      harmful:
        plain: ["a {man|woman} strangles {a rival|a guard}"]
      harmless:
        plain: ["a {man|woman} strangles {a chicken in a cartoon|a deadline}"]
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from ...safety.decision import HAZARDS

Half = Literal["train", "test"]
FOLDER = Path(__file__).parent
FORMS = ("plain", "cinematic", "oblique", "historical", "medical", "news", "fiction", "role-play", "request")
EXTRA = ("ordinary", "newsroom")
MORE = "more"
MOST = 12
"""Prompts of one family at most: more teach nothing but its wording."""

_SLOT = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Prompt:
    """``harmful``: the label; ``hazard``: the id whose pair it belongs to, or `ordinary` / `newsroom`."""

    text: str
    harmful: bool
    hazard: str
    language: str
    form: str
    family: str
    half: Half


def expand(line: str, most: int = MOST) -> list[str]:
    """Up to ``most`` different prompts of a family, spread over its alternatives, the same ones every time."""
    slots = [[choice.strip() for choice in match.split("|")] for match in _SLOT.findall(line)]
    frame = _SLOT.sub("\0", line)
    every = list(itertools.product(*slots))
    every.sort(key=lambda chosen: hashlib.sha256("|".join((line, *chosen)).encode()).digest())
    found: dict[str, None] = {}
    used: dict[tuple[int, str], int] = {}
    while every and len(found) < most:
        # The least used alternatives first: each gets its turn.
        best = min(range(len(every)), key=lambda i: (sum(used.get(s, 0) for s in enumerate(every[i])), i))
        chosen = every.pop(best)
        for slot in enumerate(chosen):
            used[slot] = used.get(slot, 0) + 1
        words = [part for pair in zip(frame.split("\0"), (*chosen, ""), strict=True) for part in pair]
        found[" ".join("".join(words).split())] = None
    return list(found)


def _lines(folder: Path, skip: str = "") -> Iterator[tuple[str, str, bool, str, str]]:
    """(language, hazard, harmful, form, line) of every family."""
    for path in sorted(folder.rglob("*.yaml")):
        if skip and path.relative_to(folder).parts[0] == skip:
            continue
        language = path.relative_to(folder).parts[0].removesuffix(".yaml")
        data: Any = yaml.safe_load(path.read_text("utf-8"))
        for hazard, labels in data.items():
            if hazard not in HAZARDS and hazard not in EXTRA:
                raise ValueError(f"{path.name}: {hazard!r} is no hazard")
            for label, forms in labels.items():
                if label not in ("harmful", "harmless") or (hazard in EXTRA and label == "harmful"):
                    raise ValueError(f"{path.name}: {hazard}: {label!r} is no label here")
                for form, lines in forms.items():
                    if form not in FORMS:
                        raise ValueError(f"{path.name}: {hazard}: {form!r} is no form")
                    for line in lines:
                        if (
                            not isinstance(line, str)
                            or _SLOT.sub("", line).count("{")
                            or _SLOT.sub("", line).count("}")
                        ):
                            raise ValueError(f"{path.name}: {hazard}: {line!r} is no template")
                        yield language, hazard, label == "harmful", form, line


def read(folder: Path = FOLDER) -> list[Prompt]:
    """Every prompt, in a fixed order."""
    groups: dict[tuple[str, str, bool], list[tuple[str, str]]] = {}
    for language, hazard, harmful, form, line in _lines(folder, skip=MORE):
        groups.setdefault((language, hazard, harmful), []).append((form, line))
    prompts: list[Prompt] = []
    for (language, hazard, harmful), families in sorted(groups.items()):
        ordered = sorted(families, key=lambda each: hashlib.sha256(each[1].encode()).digest())
        for place, (form, line) in enumerate(ordered):
            half: Half = "train" if place % 2 == 0 else "test"
            name = hashlib.sha256(line.encode()).hexdigest()[:12]
            prompts += [Prompt(text, harmful, hazard, language, form, name, half) for text in expand(line)]
    return prompts


def read_more(folder: Path = FOLDER / MORE) -> list[Prompt]:
    """What was written for training alone."""
    return [
        Prompt(text, harmful, hazard, language, form, hashlib.sha256(line.encode()).hexdigest()[:12], "train")
        for language, hazard, harmful, form, line in _lines(folder)
        for text in expand(line)
    ]


def digest(prompts: list[Prompt]) -> str:
    """sha256 (hex) over every prompt with its label and half: what a frozen split is recognised by."""
    sha = hashlib.sha256()
    for p in prompts:
        sha.update("\0".join((p.half, p.language, p.hazard, str(int(p.harmful)), p.form, p.text)).encode() + b"\n")
    return sha.hexdigest()
