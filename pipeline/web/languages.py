"""Which language a reader gets: what the address asks for, else what the browser prefers, else English."""

from __future__ import annotations

from ...provenance.words import DEFAULT, languages


def preferred(asked: str | None, header: str) -> str:
    """``asked``: of the query; ``header``: Accept-Language (RFC 9110, 12.5.4)."""
    known = languages()
    if asked in known:
        return str(asked)
    wishes: list[tuple[float, int, str]] = []
    for place, item in enumerate(header[:500].split(",")):
        tag, _, quality = item.partition(";")
        try:
            weight = float(quality.strip().removeprefix("q=") or 1)
        except ValueError:
            continue
        wishes.append((-weight, place, tag.strip().lower().split("-")[0]))
    return next((tag for weight, _, tag in sorted(wishes) if tag in known and weight < 0), DEFAULT)
