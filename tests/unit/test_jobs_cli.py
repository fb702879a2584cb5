"""`filigrana jobs` as people read it: nothing that tells one job from another is cut away."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from filigrana.pipeline.cli.app import app
from filigrana.pipeline.cli.state import State, state
from filigrana.pipeline.jobs.model import Order
from filigrana.tests.serving import installed


def test_a_narrow_terminal_hides_neither_state_nor_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    house = installed(tmp_path / "data")
    job, _ = house.jobs.put(Order("newsroom-of-the-north", "ana", "generate", {"mime": "image/png"}, {"prompt": "a boat"}))
    lease = house.jobs.lease("w")
    assert lease is not None
    told = {"code": "provenance.watermark.too_small", "message": "a mark needs at least 256 px", "hint": "Larger."}
    house.jobs.finish(lease, "failed", told)
    house.close()
    run = CliRunner().invoke(app, ["--data-dir", str(tmp_path / "data"), "jobs", "list"])
    line = next(line for line in run.output.splitlines() if str(job.id) in line)
    for word in ("failed", "newsroom-of-the-north", "provenance.watermark.too_small"):
        assert word in line
    shown = CliRunner().invoke(app, ["--data-dir", str(tmp_path / "data"), "jobs", "show", str(job.id)]).output
    assert "a mark needs at least 256 px" in shown
    assert "{'" not in shown, "no Python is shown to people"
    for name, value in vars(State()).items():
        setattr(state, name, value)
