"""Drawing and judging on a Ray cluster; everything else stays in the worker's own process, beside the keys.

Ray carries work and nothing else. Which job is whose, how often it was begun and how it ended stands in the jobs
database, as without Ray; what goes over is a prompt with its seed, and pixels; neither keys nor settings do. An actor
that dies is started again by Ray, on another machine if need be. The drawing that it was at fails, the job goes back to
the queue, and counts as begun, so that a prompt that kills its model does so `jobs_attempts` times. A judge that dies
is asked again within the guard's time-out, and fails closed after it.
"""

from __future__ import annotations

import logging
import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from ...errors import GenerationError, SafetyError, SettingsError
from ...provenance.manifest import Model
from ...provenance.media import Frame, Kind, Limits, open_media
from ...provenance.scratch import ScratchFolder
from ...safety.decision import ModelRef
from ...safety.output import OutputGuard
from ..generators.base import Generated, Generator, Sampling, StepProgress
from ..run import StageError
from .actors import DrawingActor, Drawn, JudgingActor

_log = logging.getLogger("filigrana.worker")
NAMESPACE = "filigrana"
LOOKS = 0.25
"""Seconds between two looks at how far a drawing is."""
ANSWERS = 10.0
"""Seconds in which the cluster's head must answer."""
STARTS = 300.0
"""Seconds that an actor may take to be started again."""
RETRIES = 3
LOST = "engine.executor"
WORK, LOOK = "work", "look"


@dataclass(frozen=True)
class Plan:
    """How many actors, and how much of a GPU each has: 0 is none, a share lets several live on one card.
    ``address``: of the cluster's head; None: a Ray of this machine alone, which ends with the worker."""

    address: str | None = None
    drawing: int = 1
    judging: int = 1
    drawing_gpus: float = 0.75
    judging_gpus: float = 0.25
    watts: float = 10.0


class Cluster:
    """A connection to Ray with the actors of one worker. They end with it. ``drawing`` and ``judging`` make, in the
    actors, a generator and guards by name."""

    def __init__(
        self, plan: Plan, drawing: Callable[[], Generator], judging: Callable[[], Mapping[str, OutputGuard]]
    ) -> None:
        self._ray = ray = _imported()
        if plan.address is not None:
            _look(plan.address)
        try:
            # Named: without an address Ray joins whatever cluster it finds on this machine.
            options: dict[str, Any] = {"address": plan.address or "local"}
            if plan.address is None:
                options["include_dashboard"] = False
            ray.init(namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR, **options)
        except Exception as error:
            raise _away(type(error).__name__) from error
        wanted = plan.drawing * plan.drawing_gpus + plan.judging * plan.judging_gpus
        there = float(ray.cluster_resources().get("GPU", 0.0))
        if wanted > there:
            ray.shutdown()
            raise SettingsError(
                f"the actors want {wanted:g} GPUs, and the Ray cluster has {there:g}",
                code="settings.ray",
                hint="Set ray_drawing_gpus and ray_judging_gpus; 0 is the processor alone.",
            )
        # Looking at a drawing does not wait for it. Judging again is no harm; drawing again is the queue's to say.
        draws = ray.remote(
            max_restarts=-1, num_cpus=0, num_gpus=plan.drawing_gpus, concurrency_groups={WORK: 1, LOOK: 1}
        )(DrawingActor)
        judges = ray.remote(
            max_restarts=-1, max_task_retries=RETRIES, num_cpus=0, num_gpus=plan.judging_gpus, max_concurrency=4
        )(JudgingActor)
        self.drawing = [draws.remote(drawing, plan.watts) for _ in range(plan.drawing)]
        self.judging = [judges.remote(judging) for _ in range(plan.judging)]

    def answers(self) -> bool:
        """Whether the head does. What hangs is left behind: a thread cannot be stopped."""
        box: list[Any] = []

        def ask() -> None:
            try:
                box.append(self._ray.cluster_resources())
            except Exception as error:  # noqa: BLE001  whatever it says: it does not answer
                _log.warning("the Ray cluster does not answer: %s", type(error).__name__)

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        asking.join(ANSWERS)
        return bool(box)

    def close(self) -> None:
        self._ray.shutdown()


class RayGenerator:
    """A Generator that draws on the cluster: as many at once as there are actors. It shows no previews."""

    def __init__(self, actors: list[Any], limits: Limits) -> None:
        self._ray, self._limits = _imported(), limits
        self._free: queue.Queue[Any] = queue.Queue()
        for each in actors:
            self._free.put(each)
        self._first = actors[0]
        self._about: dict[str, Any] | None = None

    @property
    def model(self) -> Model:
        found: Model = self._said()["model"]
        return found

    @property
    def kinds(self) -> frozenset[Kind]:
        found: frozenset[Kind] = self._said()["kinds"]
        return found

    @property
    def sound(self) -> bool:
        return bool(self._said()["sound"])

    def _said(self) -> dict[str, Any]:
        if self._about is None:
            self._awake(self._first, lambda *_: None)
            self._about = self._answer(_call(self._first.about, WORK))
        return self._about

    def generate(self, sampling: Sampling, progress: StepProgress) -> Generated:
        actor = self._taken(progress)
        try:
            self._awake(actor, progress)
            return self._drawn(actor, sampling, progress)
        finally:
            self._free.put(actor)

    def _taken(self, progress: StepProgress) -> Any:
        while True:
            try:
                return self._free.get(timeout=LOOKS)
            except queue.Empty:
                progress(0, 0)  # raises where the job was taken from us

    def _awake(self, actor: Any, progress: StepProgress) -> None:
        """Waits for an actor that is being started again: a try that never began must not count as one."""
        until = time.monotonic() + STARTS
        asked = _call(actor.process, LOOK)
        while time.monotonic() < until:
            if self._ray.wait([asked], timeout=LOOKS)[0]:
                try:
                    self._ray.get(asked)
                    return
                except self._ray.exceptions.RayError:
                    time.sleep(LOOKS)
                    asked = _call(actor.process, LOOK)
            progress(0, 0)
        raise StageError("the cluster does not start what draws", code=LOST)

    def _drawn(self, actor: Any, sampling: Sampling, progress: StepProgress) -> Generated:
        ticket = uuid4().hex
        work = _call(actor.draw, WORK, ticket, sampling)
        told = None
        try:
            while not self._ray.wait([work], timeout=LOOKS)[0]:
                # Not waited for: a look that gets no answer says nothing about the work.
                look = _call(actor.look, LOOK, ticket)
                if self._ray.wait([look], timeout=LOOKS)[0]:
                    at = self._answer(look)
                    if at != told and at is not None:
                        told = at
                        progress(*at)
                    else:
                        progress(*(told or (0, 0)))
        except BaseException:
            _call(actor.stop, LOOK, ticket)
            raise
        return self._received(self._answer(work))

    def _answer(self, reference: Any) -> Any:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, GenerationError):
                raise cause from None
            raise StageError(f"drawing failed on the cluster: {type(cause).__name__}", code=LOST) from error
        except self._ray.exceptions.RayError as error:
            raise StageError(f"the cluster lost what it was drawing ({type(error).__name__})", code=LOST) from error

    def _received(self, drawn: Drawn) -> Generated:
        sound = None
        frames: Any = tuple(drawn.frames)
        if drawn.sound is not None:
            folder = ScratchFolder()
            path = folder.path / f"sound{drawn.suffix}"
            path.write_bytes(drawn.sound)
            sound = open_media(path, self._limits)
            frames = _Frames(frames, folder)
        return Generated(drawn.kind, frames, drawn.rate, sound, drawn.sampling, drawn.energy)


class _Frames(tuple[Frame, ...]):
    """Frames that keep the folder of their sound for as long as they are needed."""

    folder: ScratchFolder

    def __new__(cls, frames: tuple[Frame, ...], folder: ScratchFolder) -> _Frames:
        made = super().__new__(cls, frames)
        made.folder = folder
        return made


class RayGuard:
    """A guard of single frames that scores on the cluster. ``model`` is what the actor really loaded."""

    def __init__(self, name: str, actors: list[Any], timeout: float) -> None:
        self.name = name
        self._ray, self._actors, self._timeout = _imported(), actors, timeout
        self._next = 0

    @property
    def model(self) -> ModelRef | None:
        found: ModelRef | None = self._asked("model")
        return found

    def _asked(self, method: str, *given: Any) -> Any:
        self._next += 1
        actor = self._actors[self._next % len(self._actors)]
        try:
            return self._ray.get(actor.ask.remote(self.name, method, *given), timeout=self._timeout)
        except self._ray.exceptions.RayTaskError as error:
            raise SafetyError(f"the guard {self.name} failed: {type(error.cause).__name__}") from error
        except self._ray.exceptions.RayError as error:
            raise SafetyError(
                f"the guard {self.name} gave no answer from the cluster ({type(error).__name__})",
                code="safety.executor",
            ) from error


class RayScorer(RayGuard):
    def score(self, frame: Any) -> Mapping[str, float]:
        found: Mapping[str, float] = self._asked("score", frame)
        return found


class RayReader(RayGuard):
    def read(self, frame: Any, *side: int) -> Any:
        return self._asked("read", frame, *side)


def guards_on(cluster: Cluster, guards: list[OutputGuard], names: frozenset[str], timeout: float) -> list[OutputGuard]:
    """``guards``, those of these names asked on the cluster. Guards of sequences stay: they see every frame."""
    found: list[OutputGuard] = []
    for guard in guards:
        if guard.name in names and hasattr(guard, "score"):
            found.append(RayScorer(guard.name, cluster.judging, timeout))
        elif guard.name in names and hasattr(guard, "read"):
            found.append(RayReader(guard.name, cluster.judging, timeout))
        else:
            found.append(guard)
    return found


def _look(address: str) -> None:
    """Fails at once where nobody listens: Ray itself would try for a minute or longer, and can't be interrupted."""
    host, mark, port = address.rpartition("//")[2].rpartition(":")
    if not mark or not port.isdigit():
        return  # `auto`, or another word of Ray's own
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWERS).close()
    except OSError as error:
        raise _away(type(error).__name__) from error


def _away(why: str) -> SettingsError:
    return SettingsError(
        f"no Ray cluster answers ({why})",
        code="settings.ray",
        hint="Check the setting `ray_address`, or start one: `ray start --head`.",
    )


def _call(method: Any, group: str, *given: Any) -> Any:
    return method.options(concurrency_group=group).remote(*given)


def _imported() -> Any:
    # Before the import: nothing is told to anybody about this cluster.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ModuleNotFoundError as error:
        raise SettingsError(
            "the executor `ray` needs the package ray", code="settings.extra", hint="pip install 'filigrana[ray]'"
        ) from error
    return ray


__all__ = ["Cluster", "Plan", "RayGenerator", "guards_on"]
