"""`filigrana doctor` asks every part as the chain would, with the guards that are really installed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from filigrana.pipeline import guards
from filigrana.pipeline.cli.app import app
from filigrana.pipeline.cli.state import State, state
from filigrana.safety.vision.ocr import OcrGuard


@pytest.fixture
def data(furnished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    shutil.copytree(furnished, tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "data"
    for name, value in vars(State()).items():
        setattr(state, name, value)


def doctor(data: Path) -> tuple[int, dict[str, dict[str, Any]]]:
    result = CliRunner().invoke(app, ["--data-dir", str(data), "doctor", "--json"])
    said = json.loads(result.stdout)
    assert said["fit"] is (result.exit_code == 0)
    return result.exit_code, {check["name"]: check for check in said["checks"]}


def test_a_whole_installation_is_fit(data: Path) -> None:
    code, checks = doctor(data)
    assert code == 0, [check for check in checks.values() if not check["ok"]]
    asked = set(checks["guards"]["detail"].split(", "))
    assert {"clip", "nsfw", "ocr", "flashes"} <= asked, "each output guard looked at a frame"
    assert "none" in checks["guard of sound"]["detail"]


def test_it_shows_what_is_set_and_no_password(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FILIGRANA_DATABASE", "postgresql://bob:hunter2@127.0.0.1:1/x")
    for more in ([], ["--json"]):
        result = CliRunner().invoke(app, ["--data-dir", str(data), "doctor", *more])
        assert result.exit_code == 1
        assert "hunter2" not in result.output
        assert "FILIGRANA_DATABASE" in result.output
        assert "--data-dir" in result.output
    assert json.loads(result.stdout)["settings"]["database"] == "postgresql://bob:***@127.0.0.1:1/x"


def test_a_guard_that_cannot_read_is_named(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> list[Any]:
        raise OSError("the weights are gone")

    monkeypatch.setattr(OcrGuard, "read", broken)
    code, checks = doctor(data)
    assert code == 1
    assert not checks["guards"]["ok"]
    assert checks["guards"]["detail"].startswith("no answer from ocr")
    assert checks["guards of prompts"]["ok"], "the others are asked all the same"


def test_a_guard_that_is_not_installed_is_named(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = guards.frame_guards

    def without(names: Any, *others: Any) -> list[Any]:
        return [guard for guard in found(names, *others) if guard.name != "nsfw"]

    monkeypatch.setattr(guards, "frame_guards", without)
    code, checks = doctor(data)
    assert code == 1
    assert "nsfw (safety.missing)" in checks["guards"]["detail"]


def test_a_recogniser_of_speech_that_cannot_hear_is_named(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (data / "whisper").mkdir()
    np.save(data / "whisper" / "model.npy", np.zeros(3))
    monkeypatch.setenv("FILIGRANA_SPEECH_MODEL", str(data / "whisper"))
    code, checks = doctor(data)
    assert code == 1
    assert not checks["guard of sound"]["ok"]
    assert checks["guards"]["ok"]
