"""Ten thousand short schedules of faults; and broken logs, which the simulator must find."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from filigrana.errors import LogError
from filigrana.provenance.log.sequencer import AuditLog
from filigrana.tests.fault.faulty_sqlite import FAULTS, scratch
from filigrana.tests.fault.log_simulator import BrokenPromiseError, Make, Simulator, main, schedule

SEED = int(os.environ.get("FILIGRANA_SEED", "20"))
SCHEDULES = 10_000


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=scratch()) as name:
        yield Path(name)


@pytest.mark.slow
def test_ten_thousand_schedules(folder: Path) -> None:
    simulator = Simulator(folder, SEED)
    simulator.run(0, SCHEDULES)
    for fault in FAULTS:
        assert simulator.struck[fault] > SCHEDULES // 20, f"{fault} hardly ever happened: {simulator.struck}"


class AcknowledgesEarly(AuditLog):
    def append(self, entry: Mapping[str, Any]) -> int:
        index = self.size()
        try:
            super().append(entry)
        except LogError:
            pass
        return index


class CountsForItself(AuditLog):
    """Reuses an index: does not look at what other processes wrote."""

    counted: int | None = None

    def append(self, entry: Mapping[str, Any]) -> int:
        self.counted = super().append(entry) if self.counted is None else self.counted + 1
        return self.counted


class Retries(AuditLog):
    """Submits again by itself when it does not know the outcome: the entry may be there twice."""

    def append(self, entry: Mapping[str, Any]) -> int:
        try:
            return super().append(entry)
        except LogError:
            return super().append(entry)


class ForgetsTheGuard(AuditLog):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{**options, "guard_path": None})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (AcknowledgesEarly, "given to|acknowledged, and not there"),
        (CountsForItself, "given to|acknowledged, and not there"),
        (Retries, "never or not so often"),
        (ForgetsTheGuard, "the guard forgot"),
    ],
)
def test_a_broken_log_is_found_and_the_failure_plays_again(folder: Path, make: Make, words: str) -> None:
    with pytest.raises(BrokenPromiseError, match=words) as first:
        Simulator(folder, SEED, make).run(0, 2000)
    found = str(first.value)
    number = int(found.split("schedule ", 1)[1].split(":", 1)[0])
    assert f"seed {SEED}, schedule {number}" in found
    assert all(str(step) in found for step in schedule(SEED, number))
    with tempfile.TemporaryDirectory(dir=scratch()) as other, pytest.raises(BrokenPromiseError) as again:
        Simulator(Path(other), SEED, make).run(number, 1)
    assert str(again.value) == found


def test_it_runs_from_a_shell_and_says_its_seed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--schedules", "20"]) == 0
    assert capsys.readouterr().out.startswith("seed ")
