"""A pipeline whose drawing and judging is on a Ray cluster, and the workers that share it."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from ...safety.output import OutputGuard
from ...safety.policy import Pack
from ..api import Pipeline
from ..generators.base import Generator
from ..jobs.worker import Worker
from ..settings import Settings
from .ray import Cluster, Plan, RayGenerator, guards_on

_log = logging.getLogger("filigrana.worker")
EVERYWHERE = ("nsfw", "clip", "ocr")
"""Guards that need nothing of an installation's data folder."""
LOST = 75
"""The exit code of a worker whose cluster is gone."""
WATCHED = 5.0
"""Seconds between two looks at the cluster's head."""
IN_VAIN = 3
"""So many looks in a row get no answer from a head that is gone; a busy machine may miss one."""


def plan_of(settings: Settings) -> Plan:
    return Plan(
        settings.ray_address,
        settings.ray_drawing,
        settings.ray_judging,
        settings.ray_drawing_gpus,
        settings.ray_judging_gpus,
        settings.cpu_watts,
    )


class ClusteredPipeline(Pipeline):
    """The same chain. A model that is an address is asked from here, as without a cluster."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        names = frozenset(EVERYWHERE) - ({"clip"} if settings.clip_model else frozenset())
        self._names = names if settings.ray_judging else frozenset[str]()
        self.cluster = Cluster(plan_of(settings), self._drawing(), partial(guards_by_name, tuple(sorted(names))))

    def _drawing(self) -> Callable[[], Generator]:
        from ..generators.diffusers import DiffusersGenerator
        from ..generators.memory import Memory
        from ..generators.registry import home_of

        used = self.installation.settings
        home = home_of(used.model, used.data_dir)
        memory = Memory(used.offload, used.weights, used.step_cache, used.vae_tiling)
        return partial(DiffusersGenerator, home, device=used.device, dtype=used.dtype, memory=memory)

    @property
    def generator(self) -> Any:
        from ..generators.remote import is_remote

        if self._generator is None and not is_remote(self.installation.settings.model):
            self._generator = RayGenerator(self.cluster.drawing, self.installation.limits)
        return super().generator

    def _judging(self, pack: Pack) -> dict[str, Any]:
        parts = super()._judging(pack)
        near = parts["frame_guards"]

        def far(generated: bool) -> list[OutputGuard]:
            timeout = self.installation.settings.guard_timeout
            return guards_on(self.cluster, near(generated), self._names, timeout)

        return parts | {"frame_guards": far}

    def close(self) -> None:
        super().close()
        self.cluster.close()


def guards_by_name(names: Iterable[str]) -> Mapping[str, OutputGuard]:
    from ..guards import frame_guards

    return {guard.name: guard for guard in frame_guards(names)}


class Together:
    """Several workers of one process: each works on one job. ``cluster``: what they share; once it is gone, their jobs
    go back to the queue, and the process ends, to be started again by whoever started it."""

    def __init__(self, workers: list[Worker], cluster: Cluster, ended: Callable[[int], object] = os._exit) -> None:
        self.workers, self._cluster, self._ended = workers, cluster, ended
        self.name = ", ".join(worker.name for worker in workers)

    def run(self, stop: threading.Event, *, drain: bool = False, once: bool = False) -> int:
        """As one worker does; with ``once`` it is one job of each."""
        counts: list[int] = []
        threads = [
            threading.Thread(
                target=lambda worker=worker: counts.append(worker.run(stop, drain=drain, once=once)),
                name=worker.name,
                daemon=True,
            )
            for worker in self.workers
        ]
        for each in threads:
            each.start()
        over = threading.Event()
        threading.Thread(target=self._watch, args=(over,), daemon=True).start()
        while any(each.is_alive() for each in threads):
            for each in threads:
                each.join(0.1)
        over.set()
        return sum(counts)

    def _watch(self, over: threading.Event) -> None:
        vain = 0
        while not over.wait(WATCHED):
            vain = 0 if self._cluster.answers() else vain + 1
            if vain >= IN_VAIN and not over.is_set():
                _log.error("the Ray cluster is gone")
                self.give_back()
                self._ended(LOST)
                return

    def give_back(self) -> None:
        """Every job goes back as if this try had not been one; whoever takes it closes what was begun."""
        for worker in self.workers:
            worker.give_back()
