"""`filigrana models` as users script against it: exit codes, JSON keys, and what people are told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from filigrana.errors import FiligranaError
from filigrana.pipeline.cli.app import app
from filigrana.pipeline.cli.state import State, state
from filigrana.tests.model_kit import FILES, new_key, public_pem, sign, small_model

MODELS = Path(__file__).parents[1] / "conformance" / "model_signatures"
LISTED = {"name", "kind", "used", "title", "version", "digest", "licence", "training_data", "problem"}
ADDED = {"name", "title", "version", "digest", "licence", "training_data", "folder", "source", "added", "files", "bytes", "signature", "again", "seconds"}  # fmt: skip
VERIFIED = {"name", "ok", "folder", "digest", "files", "bytes", "problem", "differences", "signature", "seconds"}


@pytest.fixture(autouse=True)
def _as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    for name, value in vars(State()).items():
        setattr(state, name, value)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return small_model(tmp_path / "model")


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["--data-dir", "data", *map(str, words)])


def said(*words: str | Path, code: int = 0) -> Any:
    result = run(*words, "--json")
    assert result.exit_code == code, (result.output, result.exception)
    return json.loads(result.stdout)


def failed(*words: str | Path) -> FiligranaError:
    result = run(*words)
    assert result.exit_code == 1
    assert isinstance(result.exception, FiligranaError)
    return result.exception


def test_add_list_verify_remove(model: Path) -> None:
    assert failed("models", "add", "tiny", model).code == "generate.unsigned"
    added = said("models", "add", "tiny", model, "--unsigned", "--licence", "MIT", "--training-data", "drawings")
    assert set(added) == ADDED
    assert added["again"] is False
    assert added["files"] == len(FILES)
    assert (added["licence"], added["training_data"]) == ("MIT", "drawings")
    assert added["signature"] == {"status": "unsigned", "key": None}
    (row,) = said("models", "verify")
    assert set(row) == VERIFIED
    assert row["ok"] is True
    assert row["differences"] == []
    assert said("models", "remove", "tiny") == {"name": "tiny", "removed": True, "folder": str(model)}
    assert said("models", "verify") == []
    assert "no model is registered" in run("models", "verify").output
    assert failed("models", "verify", "tiny").code == "generate.no_model"


def test_verify_names_every_file_that_differs(model: Path, tmp_path: Path) -> None:
    said("models", "add", "tiny", model, "--unsigned")
    said("models", "add", "other", small_model(tmp_path / "other"), "--unsigned")
    (model / "README.md").unlink()
    (model / "unet" / "config.json").write_text("[]")
    (model / "odd\x1b[31m.json").write_text("{}")
    rows = {row["name"]: row for row in said("models", "verify", code=1)}
    assert rows["other"]["ok"]
    changes = {one["file"]: one["change"] for one in rows["tiny"]["differences"]}
    assert changes == {"README.md": "missing", "unet/config.json": "changed", "odd\x1b[31m.json": "additional"}
    assert [row["name"] for row in said("models", "verify", "other")] == ["other"]
    result = run("models", "verify", "tiny")
    assert result.exit_code == 1
    for text in ("missing    README.md", "changed    unet/config.json", "additional odd\\x1b"):
        assert text in result.output
    assert "\x1b[31m." not in result.output


def test_list_shows_registered_models_beside_the_others(model: Path) -> None:
    before = said("models", "list")
    said("models", "add", "tiny", model, "--unsigned", "--licence", "MIT")
    rows = {row["name"]: row for row in said("models", "list")}
    assert [row for row in rows.values() if row["name"] != "tiny"] == before
    assert set(rows["tiny"]) >= LISTED
    assert rows["tiny"]["kind"] == "generator"
    assert not rows["tiny"]["used"]
    for name in ("tiny", str(model)):
        used = {r["name"]: r for r in json.loads(run("--model", name, "models", "list", "--json").stdout)}
        assert used["tiny"]["used"]
        assert not used["embedded"]["used"]
        assert name == "tiny" or name not in used
    model.rename(model.parent / "away")
    assert "not there" in {row["name"]: row for row in said("models", "list")}["tiny"]["problem"]
    Path("data/models.json").write_text("{")
    rows = {row["name"]: row for row in said("models", "list")}
    assert rows["models.json"]["problem"]
    assert rows["embedded"]["problem"] is None


def test_signed_by_a_key_or_a_chain(model: Path, tmp_path: Path) -> None:
    key = new_key()
    sign(model, key)
    (tmp_path / "key.pub").write_text(public_pem(key))
    (tmp_path / "other.pub").write_text(public_pem(new_key()))
    assert said("models", "add", "tiny", model)["signature"]["status"] == "signed, not checked"
    assert "not checked" in run("models", "verify").output
    assert failed("models", "add", "tiny", model, "--public-key", "other.pub").code == "generate.signature"
    added = said("models", "add", "tiny", model, "--public-key", "key.pub")
    assert added["again"] is True
    assert added["signature"]["status"] == "verified"
    assert said("models", "verify")[0]["signature"] == {"status": "verified", "key": added["signature"]["key"], "problem": None}  # fmt: skip
    sign(model, new_key())
    assert "another key" in said("models", "verify", code=1)[0]["signature"]["problem"]

    import shutil

    chained = tmp_path / "chained"
    shutil.copytree(MODELS / "model", chained)
    shutil.copy(MODELS / "chain.sig", chained / "model.sig")
    words = ("models", "add", "chained", chained, "--certificate-chain")
    assert failed(*words, "key.pub").code == "generate.signature_key"
    assert failed("models", "add", "c", chained, "--public-key", MODELS / "root.pem").code == "generate.signature_key"
    assert said(*words, MODELS / "root.pem")["signature"]["status"] == "verified"
    assert said("models", "verify", "chained")[0]["ok"]


@pytest.mark.parametrize(
    "options",
    [
        ("--public-key", "nowhere"),
        ("--certificate-chain", "nowhere"),
        ("--public-key", "a", "--certificate-chain", "b"),
    ],
)
def test_options_that_cannot_be_are_one_line(model: Path, options: tuple[str, ...]) -> None:
    assert failed("models", "add", "tiny", model, *options).code.startswith("input.")


def test_people_are_told_what_is_missing(model: Path) -> None:
    told = run("models", "add", "tiny", model, "--unsigned").output
    for text in ("registered", "6 files", "unsigned", "no licence is known", "--model tiny"):
        assert text in told
    assert "pinned anew" in run("models", "add", "tiny", model, "--unsigned").output
    assert "pinned" in run("models", "list").output


def test_doctor_looks_at_the_pins_too(model: Path) -> None:
    from filigrana.pipeline.cli.tools import _generator
    from filigrana.pipeline.settings import load_settings

    run("models", "add", "tiny", model, "--unsigned")
    used = load_settings(data_dir=Path("data"), model="tiny")
    assert _generator(used) == "model"
    (model / "unet" / "config.json").write_text("[]")
    with pytest.raises(FiligranaError, match="not what was registered"):
        _generator(used)
