"""Joules of one request, each figure with the method that it rests on: a meter where there is one, else an estimate.

In this order: NVIDIA's management library (the whole board's counter), Intel's and AMD's RAPL counters (the whole
package, so other work on the machine is in it), and CPU time times declared watts, which is an estimate and says so.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

_RAPL = Path("/sys/class/powercap")


@dataclass(frozen=True, slots=True)
class Energy:
    """``joules`` >= 0; ``method``: `nvml`, `rapl`, or `estimate: …` with what was assumed."""

    joules: float
    method: str

    def as_dict(self) -> dict[str, object]:
        return {"joules": round(self.joules, 3), "method": self.method}


def together(parts: Sequence[Energy]) -> Energy:
    """The sum, and every method that it rests on."""
    return Energy(sum(part.joules for part in parts), " + ".join(dict.fromkeys(part.method for part in parts)))


class EnergyMeter:
    """Reads its counters when made; ``spent()`` gives the energy since then. ``watts``: of one busy core."""

    def __init__(self, watts: float) -> None:
        self._watts = watts
        self._cpu = _cpu_seconds()
        self._rapl = _read_rapl()
        self._nvml = _nvml_counter()
        self._gpu = self._nvml() if self._nvml else None
        self._started = time.monotonic()

    def spent(self) -> Energy:
        cpu = max(0.0, _cpu_seconds() - self._cpu)
        estimate = Energy(cpu * self._watts, f"estimate: {cpu:.2f} s of CPU time x {self._watts:g} W a core")
        rapl, now = self._rapl, _read_rapl()
        if rapl is not None and now is not None and rapl.keys() == now.keys():
            # A counter that wrapped around would give a negative figure: then the estimate stands.
            joules = sum(now[name] - rapl[name] for name in rapl) / 1e6
            if joules > 0:
                estimate = Energy(joules, "rapl")
        if self._nvml is not None and self._gpu is not None:
            gpu = self._nvml()
            if gpu is not None and gpu >= self._gpu:
                return Energy((gpu - self._gpu) / 1e3 + estimate.joules, f"nvml + {estimate.method}")
        return estimate


def _cpu_seconds() -> float:
    """Of this process by its fine clock: those of `os.times` count in hundredths, and a short request took none."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def _read_rapl() -> dict[str, int] | None:
    """Microjoules by package, or None where the counters are missing or not readable."""
    try:
        zones = sorted(_RAPL.glob("*-rapl:?"))
        return {zone.name: int((zone / "energy_uj").read_text()) for zone in zones} or None
    except (OSError, ValueError):
        return None


def _nvml_counter() -> Callable[[], int | None] | None:
    """A function that gives the boards' millijoules since the driver was loaded, where NVML is installed."""
    try:
        import pynvml  # type: ignore[import-not-found,unused-ignore]

        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
    except Exception:  # noqa: BLE001  any trouble with an optional meter means: there is no such meter
        return None
    if not handles:
        return None

    def read() -> int | None:
        try:
            return int(sum(pynvml.nvmlDeviceGetTotalEnergyConsumption(h) for h in handles))
        except Exception:  # noqa: BLE001  as above
            return None

    return read
