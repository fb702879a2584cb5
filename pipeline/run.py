"""One request under way: its stages with their times and time-outs, and how it ends when one of them fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ..errors import FiligranaError
from .request import News, Progress, no_news
from .tracing import span

T = TypeVar("T")


class StageError(FiligranaError):
    """A stage raised what nobody expected, or gave no answer in time."""

    code = "engine.stage"
    hint = "Nothing was released. The audit log has the request under this code."


@dataclass
class Run:
    """``stages``: seconds by stage, in the order in which they ran. ``timeout``: seconds that one stage may take.
    ``decisions``: what was decided so far, as it stands in the log. ``commitments``: to texts met on the way.
    ``news``: who hears of decisions and glimpses while it works."""

    progress: Progress
    timeout: float
    stages: dict[str, float] = field(default_factory=dict)
    decisions: list[dict[str, Any]] = field(default_factory=list)
    commitments: dict[str, str] = field(default_factory=dict)
    news: News = no_news

    def decided(self, record: dict[str, Any]) -> None:
        """One more decision, as it stands in the log."""
        self.decisions.append(record)
        self.news("verdicts", {str(each["side"]): str(each["verdict"]) for each in self.decisions})

    def stage(self, name: str, work: Callable[[], T], *, timed: bool = True) -> T:
        """Runs one stage. ``timed``: give up after the time-out; only for stages whose late end changes nothing
        (a thread cannot be stopped), so never for those that write to the log."""
        self.progress(name, 0, 0)
        started = time.perf_counter()
        try:
            with span(f"stage {name}"):
                return _bounded(name, work, self.timeout) if timed else work()
        except FiligranaError:
            raise
        except Exception as error:  # turned into one public error with a code; the request is closed
            raise StageError(
                f"the stage '{name}' failed: {type(error).__name__}", code=f"engine.{name.replace(' ', '_')}"
            ) from error
        finally:
            self.stages[name] = self.stages.get(name, 0.0) + time.perf_counter() - started
            self.progress(name, 1, 1)


def _bounded(name: str, work: Callable[[], T], seconds: float) -> T:
    """In a daemon thread, so that Ctrl-C and the time-out end the wait whatever the work does."""
    box: list[T] = []
    errors: list[BaseException] = []

    def target() -> None:
        try:
            box.append(work())
        except BaseException as error:  # noqa: BLE001  handed on to the waiting thread, whatever it is
            errors.append(error)

    thread = threading.Thread(target=target, name=f"filigrana-{name}", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise StageError(f"the stage '{name}' gave no answer within {seconds:g} s", code="engine.timeout")
    if errors:
        error = errors[0]
        if not isinstance(error, Exception):
            # Ctrl-C reaches the main thread only: in here, SystemExit and its like are a part that gave up, and must
            # not end the program as if all were well.
            raise StageError(
                f"the stage '{name}' ended itself: {type(error).__name__}", code=f"engine.{name.replace(' ', '_')}"
            ) from error
        raise error
    return box[0]
