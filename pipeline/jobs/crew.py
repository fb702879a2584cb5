"""Worker processes beside a service: started with it, started again when one dies, ended with it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

_log = logging.getLogger("filigrana.worker")
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds before a worker that died is started again: twice as long each time."""
LIVED = 60.0
"""Seconds after which one that dies counts as having worked."""
GRACE = 60.0
"""Seconds in which workers may end the jobs they are at; then these go back to the queue."""
FIRMLY = 15.0
"""Seconds in which these must have gone back; then the processes are killed."""
PROGRAM = (sys.executable, "-c", "from filigrana.pipeline.cli import main; main()", "worker", "--tied")


@dataclass
class _Place:
    number: int
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    pause: float = FIRST_PAUSE
    due: float = 0.0


class Crew:
    """``count`` processes of ``program``. They hear of the end of this process, however it ends, by their standard
    input."""

    def __init__(
        self,
        count: int,
        environment: Mapping[str, str],
        program: Sequence[str] = PROGRAM,
        *,
        clock: Callable[[], float] = time.monotonic,
        grace: float = GRACE,
    ) -> None:
        self._places = [_Place(number) for number in range(count)]
        self._environment, self._program, self._clock, self._grace = environment, program, clock, grace
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="filigrana-crew", daemon=True)

    def __enter__(self) -> Crew:
        self.look()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._end()

    @property
    def processes(self) -> list[int]:
        """The ids of those that live."""
        return [place.process.pid for place in self._places if place.process is not None]

    def look(self) -> None:
        """Starts what is not running and due."""
        for place in self._places:
            now = self._clock()
            if place.process is not None and place.process.poll() is not None:
                place.pause = FIRST_PAUSE if now - place.started > LIVED else min(LONGEST_PAUSE, 2 * place.pause)
                place.due = now + place.pause
                _log.warning("worker %d ended with %s; again in %.0f s", place.number, place.process.returncode,
                             place.pause)  # fmt: skip
                _let_go(place.process)
                place.process = None
            if place.process is None and now >= place.due:
                place.process = self._started()
                place.started = now

    def _started(self) -> subprocess.Popen[bytes]:
        # A session of its own: Ctrl-C in the terminal is for the service, which then tells them.
        return subprocess.Popen(
            self._program,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env={**os.environ, **self._environment},
            start_new_session=True,
        )

    def _watch(self) -> None:
        while not self._stop.wait(0.2):
            try:
                self.look()
            except OSError as error:
                _log.warning("no worker can be started: %s", error.strerror)

    def _end(self) -> None:
        """Once politely, then firmly, then for good."""
        living = [place.process for place in self._places if place.process is not None]
        for say, seconds in (("terminate", self._grace), ("terminate", FIRMLY), ("kill", FIRMLY)):
            for process in living:
                if process.poll() is None:
                    getattr(process, say)()
            until = time.monotonic() + seconds
            for process in living:
                try:
                    process.wait(max(0.0, until - time.monotonic()))
                except subprocess.TimeoutExpired:
                    continue
            if all(process.poll() is not None for process in living):
                break
        for process in living:
            _let_go(process)


def _let_go(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()
