"""The prompts that judging is measured on: our held-out half, words that no one may override, and anybody's CSV."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from ...errors import InputError
from ...safety.policy import Pack

HELD_OUT = "prompts/held_out.csv.gz"
_MOST = 1_000_000
_FRAMES = ("{}", "a picture of {}", "photo, {}, natural light", "please show {}", "a short video with {}")


@dataclass(frozen=True, slots=True)
class Labelled:
    """A prompt with its label. ``hazard``: of the pair it belongs to, or the name of a set of harmless prompts."""

    text: str
    harmful: bool
    hazard: str
    language: str
    source: str


def _rows(stream: Iterable[str], source: str) -> list[Labelled]:
    reader = csv.DictReader(stream)
    if not {"text", "label"} <= set(reader.fieldnames or ()):
        raise InputError(f"{source} needs the columns text and label", code="input.prompts")
    found = []
    for number, row in enumerate(itertools.islice(reader, _MOST), 2):
        text, label = row["text"] or "", (row["label"] or "").strip().lower()
        if label not in ("0", "1", "harmless", "harmful"):
            raise InputError(f"{source}, line {number}: a label is 1 or 0, harmful or harmless", code="input.prompts")
        if text.strip():
            found.append(
                Labelled(
                    text, label in ("1", "harmful"), (row.get("hazard") or "").strip() or "?",
                    (row.get("lang") or row.get("language") or "en").strip(),
                    (row.get("source") or "").strip() or source,
                )
            )  # fmt: skip
    if not found:
        raise InputError(f"{source} has no prompts", code="input.prompts")
    return found


def held_out() -> list[Labelled]:
    """The half of our paired prompts that nothing was trained or calibrated on."""
    data = (resources.files("filigrana.models") / HELD_OUT).read_bytes()
    return _rows(io.StringIO(gzip.decompress(data).decode()), "held-out")


def from_file(path: Path) -> list[Labelled]:
    """A CSV file (or `.csv.gz`) with the columns text and label, and perhaps hazard, lang and source. Raises
    InputError."""
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")
        return _rows(io.StringIO(text, newline=""), path.name)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as CSV: {error}", code="input.prompts") from error


def forbidden(pack: Pack, count: int) -> list[str]:
    """Prompts from the terms of the pack's rules that no one may override, in Latin letters, spread over the terms."""
    every: list[str] = []
    for rule in pack.rules:
        if rule.side != "prompt" or rule.override or rule.terms is None:
            continue
        lists = [[t for t in pack.document.lists[name] if t.isascii()] for name in rule.terms.all_of]
        size = max(map(len, lists))
        for offset in range(3):
            for i in range(size):
                words = " ".join(terms[(i + offset * n) % len(terms)] for n, terms in enumerate(lists))
                every.append(_FRAMES[(i + offset) % len(_FRAMES)].format(words))
    step = max(1, len(every) // max(1, count))
    return list(dict.fromkeys(every[::step]))[:count]
