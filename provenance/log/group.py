"""Group commit: many threads, one transaction at a time, and nobody is answered before the commit.

The first thread in the queue leads: it writes everything that is queued in one transaction, answers, and
hands the lead to the next in the queue. No thread of its own, nothing to start or stop, nothing lost when the
process ends: whatever is in the queue has not been acknowledged.

Threads are woken while the next batch waits for the disk: woken at once, dozens of them would fight for the
interpreter with the one that has the next batch to prepare, and the disk would stand idle.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from ...errors import LogError

MAX_BATCH = 1024
MAX_BATCH_BYTES = 4 << 20


Write = Callable[[Sequence[bytes], Callable[[], None]], int]


class _Waiting:
    """The leaves of one caller in the queue: one, or some that stay together."""

    __slots__ = ("error", "index", "leads", "leaves", "wake")

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.leaves = leaves
        self.index = -1
        self.error: BaseException | None = None
        self.leads = False
        # A bare lock, taken from the start: an Event costs several times as much, and here it is woken once.
        self.wake = threading.Lock()
        self.wake.acquire()


class GroupCommit:
    """``write(leaves, waiting)`` commits a batch and returns the index of its first leaf, or raises: then none
    is in. It calls ``waiting()`` when it has nothing left to do but to wait for the disk or the server.
    """

    def __init__(self, write: Write) -> None:
        self._write = write
        self._answered: list[_Waiting] = []
        self._queue: deque[_Waiting] = deque()
        self._lock = threading.Lock()
        self._led = False

    def submit(self, leaves: Sequence[bytes]) -> int:
        """The index of the first of ``leaves``, once they are committed; the others follow it.

        Raises LogError, for this caller, when the batch failed.
        """
        me = _Waiting(leaves)
        try:
            with self._lock:
                self._queue.append(me)
                if not self._led:
                    self._led = me.leads = True
            if not me.leads:
                me.wake.acquire()
            if me.leads:
                self._lead(me)
        except BaseException:
            self._leave(me)
            raise
        if me.error is not None:
            if isinstance(me.error, LogError):
                raise LogError(me.error.message, code=me.error.code, hint=me.error.hint) from me.error
            raise me.error
        return me.index

    def _lead(self, me: _Waiting) -> None:
        """Writes one batch, ``me`` first in it, and passes the lead on, whatever happens."""
        batch: list[_Waiting] = []
        try:
            self._take(batch)
            index = self._write([leaf for item in batch for leaf in item.leaves], self._answer)
            for item in batch:
                item.index = index
                index += len(item.leaves)
        except Exception as error:  # noqa: BLE001 - each waiting thread raises it
            for item in batch:
                item.error = error
        except BaseException:
            for item in batch:
                item.error = LogError("the log was interrupted while it wrote: the entry may or may not be in")
            raise
        finally:
            self._pass_on(me, [item for item in batch if item is not me])

    def _answer(self) -> None:
        """Wakes those whose batch was committed before this one."""
        with self._lock:
            answered, self._answered = self._answered, []
        for item in answered:
            if item.wake.locked():
                item.wake.release()

    def _take(self, batch: list[_Waiting]) -> None:
        """Moves callers from the queue to ``batch``; none is ever in neither, wherever an interrupt falls."""
        with self._lock:
            count = size = 0
            while self._queue and count < MAX_BATCH and size < MAX_BATCH_BYTES:
                item = self._queue[0]
                batch.append(item)
                self._queue.popleft()
                count += len(item.leaves)
                size += sum(map(len, item.leaves))

    def _pass_on(self, me: _Waiting, answered: list[_Waiting]) -> None:
        """The lead goes to the next in the queue, and with it those who are yet to be woken. Once is enough."""
        with self._lock:
            self._answered += answered
            if not me.leads:
                return
            me.leads = False
            if self._queue:
                self._queue[0].leads = True
                self._queue[0].wake.release()
            else:
                self._led = False
            idle = not self._led
        if idle:
            self._answer()

    def _leave(self, me: _Waiting) -> None:
        """A caller was interrupted: its leaves are withdrawn if they are still in the queue."""
        with self._lock:
            if me in self._queue:
                self._queue.remove(me)
        self._pass_on(me, [])
