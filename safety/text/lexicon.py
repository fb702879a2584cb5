"""Word lists, searched in every view of a prompt by one Aho-Corasick pass a view (the `pyahocorasick` package).

Lists are for zero-tolerance terms and for names; what a sentence means is the classifier's business. A rule asks for
terms of several lists close together, so that no single innocent word decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import ahocorasick

from .views import RUN_ON, View, views

_SHORTEST_RUN_ON = 4
_SHORTEST_SWAPPED = 4
_RUN = re.compile(r"(.)\1+")
_WORD = re.compile(r"\w{4,}")
_STRETCHED = re.compile(r"\w*(\w)\1\1\w*")


@dataclass(frozen=True, slots=True)
class Match:
    """A term of ``list`` at characters [start, end) of one view; ``word``: how many words stand before it."""

    list: str
    term: str
    view: str
    start: int
    end: int
    word: int


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_"


def _dense(term: str) -> bool:
    """Scripts that are written without spaces have no word boundary to ask for."""
    return any("\u2e80" <= c <= "\u9fff" or "\u0e00" <= c <= "\u0eff" or "\uac00" <= c <= "\ud7af" for c in term)


def _letters(word: str) -> tuple[str, str, str]:
    """What stays when the letters between the first and the last change places."""
    return word[0], "".join(sorted(word[1:-1])), word[-1]


class Lexicon:
    """Named lists of terms, compiled once. Terms are folded like the prompts are."""

    def __init__(self, lists: Mapping[str, Iterable[str]]) -> None:
        self._automaton = ahocorasick.Automaton()
        self._swapped: dict[tuple[str, str, str], str] = {}
        self._squeezed: dict[str, str] = {}
        entries: dict[str, list[tuple[str, str]]] = {}
        for name, terms in lists.items():
            for term in terms:
                plain = views(term)
                if plain:
                    entries.setdefault(plain[0].text, []).append((name, term))
                    for word in plain[0].text.split():
                        self._squeezed.setdefault(_RUN.sub(r"\1", word), word)
                        if len(word) >= _SHORTEST_SWAPPED and word.isalpha():
                            self._swapped.setdefault(_letters(word), word)
        for folded, owners in entries.items():
            self._automaton.add_word(folded, (folded, tuple(owners)))
        self._empty = not entries
        if entries:
            self._automaton.make_automaton()

    def search(self, text: str) -> list[Match]:
        """Every match in every view."""
        if self._empty:
            return []
        found: list[Match] = []
        seen = views(text)
        for view in (*seen, *self._mended(seen)):
            found += self._in_view(view)
        return found

    def _mended(self, seen: tuple[View, ...]) -> Iterable[View]:
        """The plain view with words turned into a term's: with its inner letters in another order, or with letters
        that are written three times and more, so that nobody can tell which of them were double."""
        if not seen:
            return
        text = seen[0].text
        swapped = _WORD.sub(lambda m: self._swapped.get(_letters(m.group()), m.group()), text)
        squeezed = _STRETCHED.sub(lambda m: self._squeezed.get(_RUN.sub(r"\1", m.group()), m.group()), text)
        for name, other in (("swapped", swapped), ("stretched", squeezed)):
            if other != text:
                yield View(name, other)

    def _in_view(self, view: View) -> list[Match]:
        text, matches = view.text, []
        for last, (folded, owners) in self._automaton.iter(text):
            start, end = last - len(folded) + 1, last + 1
            if view.name == RUN_ON:
                if len(folded) < _SHORTEST_RUN_ON:
                    continue
            elif not _dense(folded):
                if start and _is_word(text[start - 1]):
                    continue
                # A plural s is the same word.
                rest = text[end : end + 3]
                tail = next((n for n in (0, 1, 2) if not (rest[n : n + 1] and _is_word(rest[n]))), 3)
                if tail == 3 or (tail and rest[:tail] not in ("s", "es")):
                    continue
            words = text.count(" ", 0, start)
            matches += [Match(name, term, view.name, start, end, words) for name, term in owners]
        return matches


# Views in which each word keeps its place, or nearly.
_IN_PLACE = frozenset(("plain", "invisible", "lookalike", "leet", "spaced", "punctuated", "stretched", "mirrored",
                       "swapped", "pictured"))  # fmt: skip


def near(matches: Iterable[Match], lists: Iterable[str], within: int) -> list[Match] | None:
    """One match of each list in ``lists``, all in one view and within ``within`` words, or None. Where no view holds
    all, each word may have been hidden in its own way: then by the words' places in the views that keep them."""
    wanted, matches = list(lists), list(matches)
    by_view: dict[str, list[Match]] = {}
    for match in matches:
        if match.list in wanted:
            by_view.setdefault(match.view, []).append(match)
    for group in by_view.values():
        for anchor in (m for m in group if m.list == wanted[0]):
            chosen = [anchor]
            for name in wanted[1:]:
                best = min(
                    (m for m in group if m.list == name and (m.end <= anchor.start or m.start >= anchor.end)),
                    key=lambda m: abs(m.word - anchor.word),
                    default=None,
                )
                if best is None or abs(best.word - anchor.word) > within:
                    break
                chosen.append(best)
            if len(chosen) == len(wanted):
                return chosen
    return _across(matches, wanted, within) if len(wanted) > 1 else None


def _across(matches: Iterable[Match], wanted: Sequence[str], within: int) -> list[Match] | None:
    """One match of each list at another word than the first's, whatever the view."""
    places: dict[str, dict[int, Match]] = {name: {} for name in wanted}
    for match in matches:
        if match.view in _IN_PLACE and match.list in places:
            places[match.list].setdefault(match.word, match)
    for word, anchor in places[wanted[0]].items():
        # At most twice `within` places are tried, however often a term stands in the text.
        around = [word + step for distance in range(1, within + 1) for step in (-distance, distance)]
        others = [next((places[name][at] for at in around if at in places[name]), None) for name in wanted[1:]]
        if None not in others:
            return [anchor, *(other for other in others if other is not None)]
    return None
