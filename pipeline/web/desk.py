"""Where work is done that takes time: so many at once, so many waiting, and then no. One address has a part of it only:
a file can be made so that reading it takes all the time that is allowed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import TypeVar

from ...errors import ServiceError

ASKING: ContextVar[str] = ContextVar("asking", default="?")
"""Who sent the request that is being answered, as the rate counts them."""
_Answer = TypeVar("_Answer")


class Desk:
    """``workers`` threads; ``queue`` more requests may wait, of one address a quarter of all at most."""

    def __init__(self, workers: int, queue: int) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="filigrana-desk")
        self._most, self._busy = workers + queue, 0
        self._share, self._by = max(2, self._most // 4), Counter[str]()

    @property
    def full(self) -> bool:
        return self._busy >= self._most

    def check(self) -> None:
        """Before an upload is taken that nobody would have time for. Raises ServiceError (503)."""
        if self.full or self._by[ASKING.get()] >= self._share:
            raise ServiceError(
                "too many files are being checked at this moment", status=503, code="service.busy", retry_after=5
            )

    async def do(self, work: Callable[[], _Answer]) -> _Answer:
        """The answer of ``work``, which runs in a thread: also to its end when whoever asked has gone, since nothing
        can stop it before."""
        self.check()
        loop, who = asyncio.get_running_loop(), ASKING.get()
        self._busy += 1
        self._by[who] += 1
        future = self._pool.submit(work)
        future.add_done_callback(lambda _: self._loop_done(loop, who))
        return await asyncio.shield(asyncio.wrap_future(future))

    def _loop_done(self, loop: asyncio.AbstractEventLoop, who: str) -> None:
        try:
            loop.call_soon_threadsafe(self._one_less, who)
        except RuntimeError:  # the loop is closed, and with it the service
            self._one_less(who)

    def _one_less(self, who: str) -> None:
        self._busy -= 1
        self._by[who] -= 1
        if self._by[who] <= 0:
            del self._by[who]

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
