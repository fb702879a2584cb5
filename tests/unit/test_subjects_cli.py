"""`filigrana audit hold`, `unhold` and `subject`: what is kept of a person, by commands."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from filigrana.errors import FiligranaError
from filigrana.pipeline.cli.app import app
from filigrana.pipeline.request import GenerateRequest, Held, SealRequest
from filigrana.provenance.media import encode_picture
from filigrana.tests.comply_kit import engine_of, house_of
from filigrana.tests.doubles import FakeGuard, calm, scene


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept")
    opened = house_of(folder)
    for name in ("ana", "ben"):
        engine_of(opened).generate(GenerateRequest(f"a red boat of {name}", seed=5, subject=name))
    opened.close()
    return folder / "data"


@pytest.fixture
def data(kept: Path, tmp_path: Path) -> Path:
    """An installation that keeps a prompt of Ana, and one of Ben."""
    return Path(shutil.copytree(kept, tmp_path / "data"))


def run(data: Path, *words: str) -> tuple[int, str]:
    found = CliRunner().invoke(app, ["--data-dir", str(data), "audit", *words])
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found.exit_code, found.stdout


def error_of(data: Path, *words: str) -> str:
    with pytest.raises(FiligranaError) as error:
        run(data, *words)
    return error.value.code


def rows(data: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run(data, "search", "--json")[1].splitlines()]


def types(data: Path) -> list[str]:
    return [row["entry"]["type"] for row in rows(data)]


# ── hold, unhold ─────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_hold_is_an_entry_and_nothing_of_the_person_is_erased_until_it_is_lifted(data: Path) -> None:
    code, out = run(data, "hold", "ana", "--reason", "case 12/26", "--json")
    held = json.loads(out)
    assert (code, held["held"]) == (0, True)
    assert held["actor"].startswith("actor:")
    assert error_of(data, "erase", "ana", "--yes") == "input.subject.held"
    assert run(data, "erase", "ben", "--yes")[0] == 0
    lifted = json.loads(run(data, "unhold", "ana", "--reason", "settled", "--json")[1])
    assert (lifted["held"], lifted["actor"]) == (False, held["actor"])
    assert lifted["index"] > held["index"]
    assert run(data, "erase", "ana", "--yes")[0] == 0
    assert [kind for kind in types(data) if "hold" in kind or kind == "erase"] == [
        "legal-hold", "erase", "legal-hold.lifted", "erase"]  # fmt: skip


def test_how_many_texts_would_go_leaves_out_those_of_whoever_is_held(data: Path) -> None:
    import sqlite3

    run(data, "hold", "ana", "--reason", "case 12/26")
    with sqlite3.connect(data / "audit.db") as rows:
        rows.execute("UPDATE sealed_texts SET created_at = '2020-01-01 00:00:00'")
    told = json.loads(run(data, "retain", "--days", "200", "--dry-run", "--json")[1])
    done = json.loads(run(data, "retain", "--days", "200", "--json")[1])
    assert told["texts"] == done["texts"] == 1


def test_for_people_it_says_where_the_log_says_so(data: Path) -> None:
    said = " ".join(run(data, "hold", "ana", "--reason", "case 1")[1].split())
    assert said.startswith("held: the log says so in entry ")
    assert " ".join(run(data, "unhold", "ana", "--reason", "over")[1].split()).startswith("lifted: the log says so")


def test_the_log_has_the_reason_and_no_name(data: Path) -> None:
    index = json.loads(run(data, "hold", "ana", "--reason", " case 12/26 ", "--json")[1])["index"]
    entry = next(row["entry"] for row in rows(data) if row["index"] == index)
    assert entry["reason"] == "case 12/26"
    assert "ana" not in json.dumps(entry)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("hold", "nobody", "--reason", "x"), "input.subject"),
        (("hold", "ana", "--reason", "  "), "input.reason"),
        (("hold", "ana", "--reason", "x" * 201), "input.reason"),
        (("unhold", "ana", "--reason", "x"), "input.hold"),
        (("unhold", "nobody", "--reason", "x"), "input.subject"),
    ],
)
def test_a_wrong_hold_is_an_error_with_a_code_and_no_entry(data: Path, words: tuple[str, ...], code: str) -> None:
    before = types(data)
    assert error_of(data, *words) == code
    assert types(data) == before


def test_a_hold_that_stands_is_not_placed_again(data: Path) -> None:
    run(data, "hold", "ana", "--reason", "one")
    assert error_of(data, "hold", "ana", "--reason", "two") == "input.hold"


def test_a_hold_without_a_reason_is_a_wrong_usage(data: Path) -> None:
    assert run(data, "hold", "ana")[0] == 2
    assert run(data, "unhold", "ana")[0] == 2


# ── subject ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_all_that_is_kept_of_a_person_goes_into_a_file_that_nobody_else_reads(data: Path, tmp_path: Path) -> None:
    target = tmp_path / "ana.json"
    target.write_text("an older one, which everybody may read")
    target.chmod(0o644)
    code, out = run(data, "subject", "ana", "-o", str(target), "--json")
    answer, found = json.loads(out), json.loads(target.read_text("utf-8"))
    assert code == 0
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert [text["text"] for text in found["texts"]] == ["a red boat of ana"]
    assert (answer["texts"], answer["entries"]) == (1, len(found["entries"]))
    assert {"intent", "decision", "release"} <= {row["entry"]["type"] for row in found["entries"]}
    assert "ben" not in json.dumps(found)
    assert types(data)[-1] == "subject-export"
    assert answer["index"] == len(types(data)) - 1


def test_for_people_it_says_how_much_was_written(data: Path, tmp_path: Path) -> None:
    said = " ".join(run(data, "subject", "ana", "-o", str(tmp_path / "ana.json"))[1].split())
    assert "1 texts" in said
    assert "said in entry" in said


def test_after_an_erasure_there_is_nothing_to_hand_out(data: Path, tmp_path: Path) -> None:
    run(data, "erase", "ana", "--yes")
    assert error_of(data, "subject", "ana", "-o", str(tmp_path / "ana.json")) == "input.subject"
    assert not (tmp_path / "ana.json").exists()


def test_an_erasure_takes_along_what_waits_for_people(tmp_path: Path) -> None:
    """A photograph, under the name that its file had."""
    photo, opened = tmp_path / "anas wedding.png", house_of(tmp_path)
    photo.write_bytes(encode_picture(scene(3, 320, 320), "image/png"))
    bad = [*calm("nsfw"), FakeGuard("nsfw", {"sxc": 0.6})]
    for name in ("ana", "ben"):
        outcome = engine_of(opened, frame_guards=lambda _generated: bad).seal(
            SealRequest(photo, "camera", subject=name)
        )
        assert isinstance(outcome, Held), outcome
    opened.close()
    folder = tmp_path / "data" / "review"
    assert len(list(folder.rglob(photo.name))) == 2
    run(tmp_path / "data", "erase", "ana", "--yes")
    assert len(list(folder.rglob(photo.name))) == len(list(folder.iterdir())) == 1


def test_an_erasure_that_cannot_look_through_files_says_so(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No policy is in force: what waits for people cannot be told from what still may."""
    monkeypatch.setenv("FILIGRANA_POLICY", str(data / "no such pack"))
    assert json.loads(run(data, "erase", "ana", "--yes", "--json")[1])["remnants"] is True
    monkeypatch.delenv("FILIGRANA_POLICY")
    assert json.loads(run(data, "retain", "--days", "200", "--json")[1])["remnants"] is False


@pytest.mark.parametrize("place", ["keys/ana.json", "missing/ana.json", "."])
def test_where_it_cannot_be_written_nothing_is_said_to_have_been_handed_out(data: Path, place: str) -> None:
    before = types(data)
    assert error_of(data, "subject", "ana", "-o", str(data / place)) == "release.target"
    assert types(data) == before


def test_of_nobody_and_without_a_log_there_is_nothing(data: Path, tmp_path: Path) -> None:
    assert error_of(data, "subject", "nobody", "-o", str(tmp_path / "x.json")) == "input.subject"
    for words in (("hold", "ana", "--reason", "x"), ("unhold", "ana", "--reason", "x"), ("subject", "ana", "-o", "x")):
        assert error_of(tmp_path / "none", *words) == "input.no_log"
    assert not (tmp_path / "none").exists()
