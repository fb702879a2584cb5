"""A job's changes as server-sent events, until its end, the client's, or the server's."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi.responses import StreamingResponse

from ...errors import FiligranaError
from ..jobs.model import Job
from .problems import AWAY, problem_of
from .service import Service
from .streams import Streams

PAUSE = 0.25
"""Seconds between two looks."""
HEARTBEAT = 15.0
"""Seconds of silence after which a comment shows that the stream lives."""


SURE = 15.0
"""Seconds for which whoever listens is believed to be let in still."""


async def changes(
    look: Callable[[], Job], tell: Callable[[Job], dict[str, Any]], here: Service, still: Callable[[], bool]
) -> AsyncIterator[str]:
    """``look``: reads the job; ``tell``: what is told of it; ``still``: whether whoever listens may: a key that is
    revoked, or a session that is over, hears no more. They run in threads. The first event is how it stands. While the
    database is away nothing is told but that the stream lives; a job that is gone ends it."""
    before: tuple[str, int, str] | None = None
    spoke, sure, number = time.monotonic(), time.monotonic(), 0
    while not here.stopping():
        try:
            if time.monotonic() - sure >= SURE:
                if not await asyncio.to_thread(still):
                    return
                sure = time.monotonic()
            job = await asyncio.to_thread(look)
            now = (job.state, job.attempts, json.dumps(job.progress))
            data = json.dumps(await asyncio.to_thread(tell, job), ensure_ascii=True) if now != before else ""
        except (FiligranaError, *AWAY) as error:
            if problem_of(error)[0] != 503:
                return
        else:
            if now != before:
                name, before, spoke, number = _named(before, now), now, time.monotonic(), number + 1
                yield f"id: {number}\nevent: {name}\ndata: {data}\n\n"
            if job.ended:
                return
        if time.monotonic() - spoke >= HEARTBEAT:
            spoke = time.monotonic()
            yield ": still here\n\n"
        await asyncio.sleep(PAUSE)


def _named(before: tuple[str, int, str] | None, now: tuple[str, int, str]) -> str:
    """What is new: the state, a side's verdict, a preview, or how far it is."""
    if before is None or before[:2] != now[:2]:
        return "state"
    was, is_ = json.loads(before[2]) or {}, json.loads(now[2]) or {}
    if was.get("verdicts") != is_.get("verdicts"):
        return "verdict"
    return "preview" if is_.get("preview") not in (None, was.get("preview")) else "progress"


class EventStream(StreamingResponse):
    """Counts as open from the start to the end, however it ends."""

    def __init__(self, events: AsyncIterator[str], streams: Streams, key: str) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
        self._streams, self._key = streams, key

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.close(self._key)
