"""Settings: where they come from, and that no typo passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from filigrana.errors import SettingsError
from filigrana.pipeline.energy import EnergyMeter
from filigrana.pipeline.settings import load_settings
from filigrana.pipeline.settings_told import told


def test_file_then_environment_then_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "filigrana.toml").write_text('policy = "platform"\ncpu_watts = 5\nmax_seconds = 60\n')
    monkeypatch.setenv("FILIGRANA_CPU_WATTS", "6")
    settings = load_settings(max_seconds=7)
    assert (settings.policy, settings.cpu_watts, settings.max_seconds) == ("platform", 6, 7)


def test_a_file_elsewhere_is_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.toml").write_text('policy = "platform"\n')
    monkeypatch.setenv("FILIGRANA_CONFIG", str(tmp_path / "mine.toml"))
    assert load_settings().policy == "platform"
    monkeypatch.setenv("FILIGRANA_CONFIG", str(tmp_path / "gone.toml"))
    with pytest.raises(SettingsError):
        load_settings()


@pytest.mark.parametrize(
    "text", ['polcy = "platform"', "cpu_watts = -1", 'tsa_url = "ftp://x"', "not toml", 'dtype = "int8"']
)
def test_a_mistake_in_the_file_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "filigrana.toml").write_text(text)
    with pytest.raises(SettingsError):
        load_settings()


def test_a_mistake_in_the_environment_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FILIGRANA_POLCY", "platform")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "FILIGRANA_POLCY" in caught.value.message


def test_a_mistake_says_who_made_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "filigrana.toml").write_text("cpu_watts = -1\n")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "filigrana.toml" in caught.value.hint
    monkeypatch.setenv("FILIGRANA_CPU_WATTS", "many")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "FILIGRANA_CPU_WATTS" in caught.value.hint


def test_what_is_set_is_told_with_who_set_it_and_without_passwords(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "filigrana.toml").write_text('policy = "platform"\n')
    monkeypatch.delenv("FILIGRANA_DATA_DIR", raising=False)
    monkeypatch.setenv("FILIGRANA_DATABASE", "postgresql://bob:hunter2@db/filigrana")
    found = {one.name: one for one in told(load_settings(model="embedded"), ["model"])}
    assert {name: one.source for name, one in found.items()} == {
        "policy": "filigrana.toml", "database": "FILIGRANA_DATABASE", "model": "the option --model",
    }  # fmt: skip
    assert found["database"].value == "postgresql://bob:***@db/filigrana"


def test_the_watermark_key_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FILIGRANA_WATERMARK_KEY", "hunter2hunter2")
    assert "hunter2" not in repr(load_settings())
    assert "hunter2" not in str(load_settings().model_dump())


def test_energy_grows_with_work_and_names_its_method() -> None:
    meter = EnergyMeter(10.0)
    total = sum(i * i for i in range(2_000_000))
    spent = meter.spent()
    assert total
    assert spent.joules > 0
    assert spent.method.startswith(("estimate: ", "rapl", "nvml"))


@pytest.mark.parametrize("value", ["", "a key of some length"])
def test_an_empty_watermark_key_is_none_and_a_real_one_is_kept(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("FILIGRANA_WATERMARK_KEY", value)
    key = load_settings().watermark_key
    assert (key.get_secret_value() if key else "") == value


def test_a_watermark_key_that_can_be_guessed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FILIGRANA_WATERMARK_KEY", "abc")
    with pytest.raises(SettingsError):
        load_settings()
