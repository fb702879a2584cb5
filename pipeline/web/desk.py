"""Where work is done that takes time: so many at once, so many waiting, and then no."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ...errors import ServiceError

_Answer = TypeVar("_Answer")


class Desk:
    """``workers`` threads; ``queue`` more requests may wait."""

    def __init__(self, workers: int, queue: int) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="filigrana-desk")
        self._most, self._busy = workers + queue, 0

    @property
    def full(self) -> bool:
        return self._busy >= self._most

    def check(self) -> None:
        """Before an upload is taken that nobody would have time for. Raises ServiceError (503)."""
        if self.full:
            raise ServiceError(
                "too many files are being checked at this moment", status=503, code="service.busy", retry_after=5
            )

    async def do(self, work: Callable[[], _Answer]) -> _Answer:
        """The answer of ``work``, which runs in a thread: also to its end when whoever asked has gone, since nothing
        can stop it before."""
        self.check()
        loop = asyncio.get_running_loop()
        self._busy += 1
        future = self._pool.submit(work)
        future.add_done_callback(lambda _: self._loop_done(loop))
        return await asyncio.shield(asyncio.wrap_future(future))

    def _loop_done(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            loop.call_soon_threadsafe(self._one_less)
        except RuntimeError:  # the loop is closed, and with it the service
            self._one_less()

    def _one_less(self) -> None:
        self._busy -= 1

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
