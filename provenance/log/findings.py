"""What the verification of a log found, in values and in sentences."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ...errors import LogError
from .note import Checkpoint, VerifierKey

MAX_PROBLEMS = 20


@dataclass(frozen=True, slots=True)
class LogReport:
    """What the verification of a log found.

    ``root``: hex, over the entries as they are now. ``first_bad``: the lowest index at which the log is known
    to differ from what was recorded; where only a checkpoint shows it, the lowest at which it may differ.
    None when no entry is in question. ``problems``: sentences for a person. ``checkpoints``: stored ones that
    agree. ``outside``: checkpoints from elsewhere (the guard among them) that agree.
    """

    ok: bool
    entries: int
    root: str
    first_bad: int | None
    problems: tuple[str, ...]
    seconds: float
    checkpoints: int
    outside: int


@dataclass(slots=True)
class Findings:
    """Problems, and what they say about the first bad entry."""

    problems: list[str] = field(default_factory=list)
    count: int = 0
    exact: int | None = None
    spans: list[tuple[int, int, bool]] = field(default_factory=list)

    def add(self, message: str) -> None:
        self.count += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(message)

    def entry(self, index: int, message: str) -> None:
        self.exact = index if self.exact is None else min(self.exact, index)
        self.add(message)

    def span(self, low: int, high: int, message: str, *, explained: bool = False) -> None:
        """Some entry in [low, high) is not what it was. ``explained``: by the exact finding there, if there is one."""
        if len(self.spans) < MAX_PROBLEMS:
            self.spans.append((low, high, explained))
        self.add(message)

    def first_bad(self) -> int | None:
        exact = self.exact
        open_spans = [
            low for low, high, explained in self.spans if exact is None or not (explained and low <= exact < high)
        ]
        found = open_spans if exact is None else [exact, *open_spans]
        return min(found, default=None)


class Pinned:
    """Checkpoints from outside the database, by size."""

    def __init__(
        self,
        keys: Sequence[VerifierKey],
        outside: Iterable[str] | Mapping[str, str],
        guard: str | None,
        found: Findings,
    ) -> None:
        self.at: dict[int, list[tuple[str, bytes]]] = defaultdict(list)
        self.agreed = 0
        self.count = 0
        if isinstance(outside, Mapping):
            named = [(f"the checkpoint {name}", note) for name, note in outside.items()]
        else:
            named = [(f"outside checkpoint {place}", note) for place, note in enumerate(outside, 1)]
        if guard is not None:
            named.append(("the guard's checkpoint", guard))
        for name, note in named:
            try:
                checkpoint = Checkpoint.open(note, keys)
            except LogError as error:
                found.add(
                    f"{name} cannot be used: {error.message}. It is damaged, or another log's, or this log's key "
                    "was replaced since"
                )
                continue
            self.at[checkpoint.size].append((name, checkpoint.root))

    def compare(self, size: int, root: bytes, found: Findings, explains: Callable[[bytes], bool]) -> None:
        """``explains(root)``: whether what is known to be damaged accounts for another root than this one."""
        here = self.at.pop(size, [])
        good = [name for name, expected in here if expected == root]
        for name, expected in ((name, expected) for name, expected in here if expected != root):
            if good:
                what = f"has another root than {good[0]}: two histories were shown (a split view), which part"
            else:
                what = "is not over these: history was rewritten"
            found.span(
                self.agreed,
                size,
                f"{name}, signed over {size} entries, {what} somewhere from entry {self.agreed} to {size - 1}",
                explained=explains(expected),
            )
        if good:
            self.agreed = size
            self.count += len(good)
