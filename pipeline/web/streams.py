"""How many streams of events may be open: in all, and of one key a quarter of that. Not for several threads."""

from __future__ import annotations

from collections import Counter

from ...errors import ServiceError


class Streams:
    def __init__(self, most: int) -> None:
        self._most, self._share = most, max(1, most // 4)
        self._by = Counter[str]()

    def __len__(self) -> int:
        return self._by.total()

    def open(self, key: str) -> None:
        """One more. Raises ServiceError (429)."""
        if len(self) >= self._most or self._by[key] >= self._share:
            raise ServiceError("too many streams are open", status=429, code="service.streams", retry_after=5)
        self._by[key] += 1

    def close(self, key: str) -> None:
        self._by[key] -= 1
        if self._by[key] <= 0:
            del self._by[key]
