"""What differs between two policy packs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .policy import Pack

_APART = ("rules", "lists")


@dataclass(frozen=True, slots=True)
class Change:
    """``place``: such as `requires.prompt`, `lists.minor` or `rules.NR-001.score.at_least`. ``what``: added, removed or
    changed. Of a list, ``before`` has what was taken out and ``after`` what was put in; both are None where only the
    order changed."""

    place: str
    what: str
    before: Any
    after: Any

    def as_dict(self) -> dict[str, Any]:
        return {"place": self.place, "change": self.what, "before": self.before, "after": self.after}


def compare(old: Pack, new: Pack) -> list[Change]:
    """Every difference in what the packs say, field by field; none where only comments and layout differ."""
    before, after = (pack.document.model_dump(mode="json") for pack in (old, new))
    head = ({key: value for key, value in one.items() if key not in _APART} for one in (before, after))
    rules = ({rule["id"]: rule for rule in one["rules"]} for one in (before, after))
    found = [*_mapping("", *head), *_mapping("lists", before["lists"], after["lists"])]
    found += _mapping("rules", *rules)
    kept = [rule["id"] for rule in after["rules"]]
    if sorted(kept) == sorted(rule["id"] for rule in before["rules"]) and kept != [r["id"] for r in before["rules"]]:
        found.append(Change("rules", "changed", None, None))
    return found


def _mapping(place: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    for key in dict.fromkeys([*before, *after]):
        here = f"{place}.{key}" if place else key
        if key not in before:
            yield Change(here, "added", None, after[key])
        elif key not in after:
            yield Change(here, "removed", before[key], None)
        else:
            yield from _value(here, before[key], after[key])


def _value(place: str, before: Any, after: Any) -> Iterator[Change]:
    # A number and a truth value are equal in Python, and not in a policy.
    if type(before) is type(after) and before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        yield from _mapping(place, before, after)
    elif isinstance(before, list) and isinstance(after, list):
        gone, come = _without(before, after), _without(after, before)
        yield Change(place, "changed", gone or None, come or None)
    elif before is None or after is None:
        yield Change(place, "added" if before is None else "removed", before, after)
    else:
        yield Change(place, "changed", before, after)


def _without(items: list[Any], others: list[Any]) -> list[Any]:
    """``items`` less ``others``, each as often as it is there."""
    left = list(others)
    found = []
    for item in items:
        if item in left:
            left.remove(item)
        else:
            found.append(item)
    return found
