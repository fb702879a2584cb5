"""`python -m training.prompts.check [LANGUAGE] [HAZARD]`: counts by language, hazard and label, and what is wrong."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict

from .corpus import Prompt, digest, read


def _grams(text: str) -> set[str]:
    words = text.casefold().split()
    return {" ".join(words[i : i + 5]) for i in range(len(words) - 4)}


def problems(prompts: list[Prompt]) -> list[str]:
    """Texts with both labels, texts in both halves, and phrasings (five words) that both halves share."""
    found = []
    labels: dict[str, set[bool]] = defaultdict(set)
    halves: dict[str, set[str]] = defaultdict(set)
    for p in prompts:
        labels[p.text.casefold()].add(p.harmful)
        halves[p.text.casefold()].add(p.half)
    found += [f"both labels: {text!r}" for text, seen in labels.items() if len(seen) > 1]
    found += [f"in both halves: {text!r}" for text, seen in halves.items() if len(seen) > 1]
    by_half: dict[str, dict[str, str]] = {"train": {}, "test": {}}
    for p in prompts:
        for gram in _grams(p.text):
            by_half[p.half].setdefault(gram, p.family)
    shared = by_half["train"].keys() & by_half["test"].keys()
    pairs = {(by_half["train"][g], by_half["test"][g]): g for g in shared}
    found += [f"shared phrasing of {a} and {b}: {gram!r}" for (a, b), gram in pairs.items()]
    return found


def main() -> None:
    prompts = read()
    wanted = [p for p in prompts if all(a in (p.language, p.hazard) for a in sys.argv[1:])]
    counts = Counter((p.language, p.hazard, p.harmful) for p in wanted)
    families = {key: len({p.family for p in wanted if (p.language, p.hazard, p.harmful) == key}) for key in counts}
    for language, hazard in sorted({key[:2] for key in counts}):
        a, b = (language, hazard, True), (language, hazard, False)
        print(f"{language:3} {hazard:9} harmful {counts[a]:4} in {families.get(a, 0):3} families", end="")
        print(f"   harmless {counts[b]:4} in {families.get(b, 0):3}")
    for text in problems(wanted):
        print("PROBLEM", text)
    print(len(wanted), "prompts;", "digest", digest(prompts))


if __name__ == "__main__":
    main()
