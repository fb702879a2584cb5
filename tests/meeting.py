"""Where threads wait for each other in the middle of what they do: the worst moment, each time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


def meeting(parties: int, seconds: float = 1.0) -> Callable[[], None]:
    """Each call waits for the others, unless something keeps them from coming: then it goes on alone."""
    barrier = threading.Barrier(parties)

    def meet() -> None:
        with suppress(threading.BrokenBarrierError):
            barrier.wait(seconds)

    return meet


def together(count: int, work: Callable[[int], T]) -> list[T | Exception]:
    """What ``work(0)`` to ``work(count - 1)`` answer, or raise, each in a thread of its own."""

    def one(number: int) -> T | Exception:
        try:
            return work(number)
        except Exception as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def after(real: Callable[..., T], then: Callable[[], Any]) -> Callable[..., T]:
    """The same, and ``then`` before it returns."""

    def call(*words: Any, **options: Any) -> T:
        found = real(*words, **options)
        then()
        return found

    return call


def before(first: Callable[[], Any], real: Callable[..., T]) -> Callable[..., T]:
    """The same, and ``first`` before it begins."""

    def call(*words: Any, **options: Any) -> T:
        first()
        return real(*words, **options)

    return call


def once(work: Callable[[], T]) -> Callable[[], T | None]:
    """The first call alone does it: also where it leads here again."""
    left = [work]
    return lambda: left.pop()() if left else None
