"""A process that dies at a chosen step, within this one: nothing that catches errors catches it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Died(BaseException):
    """Not an `Exception`: a kill asks nobody either."""


def dying(steps: int) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Wraps calls: together they are answered ``steps`` times, and each later one raises `Died`."""
    count = 0

    def counted(real: Callable[..., T]) -> Callable[..., T]:
        def call(*words: object, **options: object) -> T:
            nonlocal count
            count += 1
            if count > steps:
                raise Died
            return real(*words, **options)

        return call

    return counted
