"""`filigrana report write` and `verify`: what they print, which files there are, which exit code, which errors."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from filigrana.errors import FiligranaError
from filigrana.pipeline.cli.app import app
from filigrana.pipeline.request import GenerateRequest, Release
from filigrana.provenance.log.note import VerifierKey
from filigrana.provenance.log.signer import Ed25519LogSigner
from filigrana.tests.comply_kit import engine_of, house_of
from filigrana.tests.doubles import FakeGuard

ALL = {"report.csv", "report.html", "report.json", "report.note", "report.pdf"}


class Made:
    """An installation with two releases and a refusal; its key, its entries, and a report of all of it."""

    def __init__(self, folder: Path) -> None:
        from filigrana.safety.decision import HAZARDS

        self.data, self.report, self.entries = folder / "data", folder / "report", folder / "entries.jsonl"
        opened = house_of(folder)
        for seed in (5, 6):
            assert isinstance(engine_of(opened).generate(GenerateRequest("a boat", seed=seed)), Release)
        bad = FakeGuard("classifier", dict.fromkeys(HAZARDS, 0.999))
        assert not engine_of(opened, text_guards=(bad,)).generate(GenerateRequest("a boat")).released
        self.key = str(opened.log.keys[0])
        opened.close()
        time.sleep(1.1)  # a window ends before now, and times are of whole seconds
        import datetime as dt

        self.until = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        self.written = self.write(self.report, "--json")
        assert run(self.data, "audit", "export", "-o", str(self.entries))[0] == 0

    def write(self, target: Path, *more: str, profile: str = "eu") -> tuple[int, str]:
        chosen = ("--profile", profile) if profile else ()
        return run(
            self.data, "report", "write", "-o", str(target), "--from", "2000-01-01", "--to", self.until, *chosen, *more
        )

    def verify(self, folder: Path, *more: str, key: str = "") -> tuple[int, str]:
        return run(self.data, "report", "verify", str(folder), "--key", key or self.key, *more)

    def copy(self, folder: Path) -> Path:
        return Path(shutil.copytree(self.report, folder / "copy"))


def run(data: Path, *arguments: str) -> tuple[int, str]:
    found = CliRunner().invoke(app, ["--data-dir", str(data), *arguments])
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found.exit_code, found.output if found.exit_code else found.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("report"))


# ── write ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_report_is_five_files_and_one_answer(made: Made) -> None:
    code, out = made.written
    answer = json.loads(out)
    assert code == 0
    assert {path.name for path in made.report.iterdir()} == ALL == set(answer["files"])
    assert (answer["released"], answer["refused"], answer["held"]) == (2, 1, 0)
    assert answer["verifier_key"] == made.key
    assert set(answer["tree"]) == {"origin", "size", "root"}


def test_for_people_it_says_what_was_counted_and_which_key_to_hand_over(made: Made, tmp_path: Path) -> None:
    code, out = made.write(tmp_path / "r")
    assert code == 0
    assert "2 released, 1 refused, 0 held" in " ".join(out.split())
    assert "another way" in out


def test_only_the_formats_that_were_asked_for_lie_there_also_after_an_earlier_report(
    made: Made, tmp_path: Path
) -> None:
    assert made.write(tmp_path / "r")[0] == 0
    assert made.write(tmp_path / "r", "--format", "csv", "--format", "json", "--format", "csv")[0] == 0
    assert {path.name for path in (tmp_path / "r").iterdir()} == {"report.csv", "report.json", "report.note"}
    assert made.verify(tmp_path / "r")[0] == 0


def test_an_empty_window_is_a_report_of_nothing(made: Made, tmp_path: Path) -> None:
    window = ["--from", "2000-01-01", "--to", "2000-02-01"]
    code, out = run(
        made.data,
        "report",
        "write",
        "-o",
        str(tmp_path / "r"),
        *window,
        "--profile",
        "cn",
        "--format",
        "json",
        "--json",
    )
    assert (code, json.loads(out)["released"], json.loads(out)["tree"]["size"]) == (0, 0, 0)
    assert made.verify(tmp_path / "r")[0] == 0


def test_as_many_samples_as_were_asked_for(made: Made, tmp_path: Path) -> None:
    for count, there in ((0, 0), (1, 1), (20, 2)):
        made.write(tmp_path / str(count), "--samples", str(count), "--format", "json")
        assert len(json.loads((tmp_path / str(count) / "report.json").read_text("utf-8"))["samples"]) == there
        assert made.verify(tmp_path / str(count), "--entries", str(made.entries))[0] == 0


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (["--format", "docx"], "input.format"),
        (["--from", "2999-01-01"], "input.window"),
        (["--to", "2999-01-01"], "input.window"),
        (["--to", "2000-01-01"], "input.window"),
        (["--from", "yesterday"], "input.time"),
        (["--profile", "atlantis"], "settings.profiles"),
    ],
)
def test_a_wrong_call_is_an_error_with_a_code_and_writes_nothing(
    made: Made, tmp_path: Path, more: list[str], code: str
) -> None:
    with pytest.raises(FiligranaError) as error:
        made.write(tmp_path / "r", *more)
    assert error.value.code == code
    assert list((tmp_path / "r").iterdir()) == []


def test_without_a_profile_there_is_nothing_to_report_on(made: Made, tmp_path: Path) -> None:
    with pytest.raises(FiligranaError) as error:
        made.write(tmp_path / "r", profile="")
    assert error.value.code == "input.profile"


def test_where_there_is_no_log_none_is_made(tmp_path: Path) -> None:
    with pytest.raises(FiligranaError) as error:
        run(tmp_path / "no", "report", "write", "-o", str(tmp_path / "r"), "--from", "2000-01-01", "--to", "2001-01-01")
    assert error.value.code == "input.no_log"
    assert not (tmp_path / "no").exists()


def test_it_is_not_written_among_the_installations_own_files_or_into_a_file(made: Made, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for target in (made.data / "keys", tmp_path / "file"):
        with pytest.raises(FiligranaError) as error:
            made.write(target)
        assert error.value.code == "release.target"
    assert not list((made.data / "keys").glob("report.*"))


@pytest.mark.parametrize("more", [["--samples", "-1"], ["--samples", "1001"], ["--samples", "x"]])
def test_a_number_out_of_range_is_a_wrong_usage(made: Made, tmp_path: Path, more: list[str]) -> None:
    assert made.write(tmp_path / "r", *more)[0] == 2


def test_tests_that_are_no_reports_are_told_as_such(made: Made, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[]")
    made.write(tmp_path / "r", "--robustness", str(tmp_path / "x.json"), "--safety", str(tmp_path / "missing.json"),
               "--format", "json")  # fmt: skip
    tests = json.loads((tmp_path / "r" / "report.json").read_text("utf-8"))["tests"]
    assert "is no robustness report" in tests["robustness"]["error"]
    assert "missing.json cannot be read" in tests["safety"]["error"]


# ── verify ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_report_holds_by_the_logs_key_alone(made: Made, tmp_path: Path) -> None:
    """In a folder of somebody else's: no log, no keys, nothing but the report and the key."""
    code, out = run(tmp_path / "elsewhere", "report", "verify", str(made.report), "--key", made.key, "--json")
    assert (code, json.loads(out)) == (0, {"ok": True, "problems": [], "not_compared": []})
    (tmp_path / "log.vkey").write_text(made.key + "\n", "utf-8")
    code, out = made.verify(made.report, "--entries", str(made.entries), key=str(tmp_path / "log.vkey"))
    assert code == 0
    assert "every figure was counted again" in out
    assert "counted again" not in made.verify(made.report)[1]
    assert not (tmp_path / "elsewhere").exists()


def test_a_key_of_another_log_does_not_open_it(made: Made, tmp_path: Path) -> None:
    signer = Ed25519LogSigner.create(tmp_path / "log.key", "example.org/other")
    other = str(VerifierKey(signer.name, signer.public_key))
    code, out = made.verify(made.report, "--json", key=other)
    assert (code, json.loads(out)["ok"]) == (5, False)


@pytest.mark.parametrize("name", sorted(ALL - {"report.note"}))
def test_each_file_that_was_changed_or_is_missing_is_named(made: Made, tmp_path: Path, name: str) -> None:
    folder = made.copy(tmp_path)
    (folder / name).write_bytes((folder / name).read_bytes() + b" ")
    assert made.verify(folder)[0] == 5
    code, out = made.verify(folder, "--json")
    assert (code, json.loads(out)["problems"]) == (5, [f"{name} was changed"])
    (folder / name).unlink()
    assert json.loads(made.verify(folder, "--json")[1])["problems"] == [f"{name} is missing"]


def test_a_page_that_nobody_signed_for_does_not_pass_for_the_reports(made: Made, tmp_path: Path) -> None:
    made.write(tmp_path / "r", "--format", "json")
    (tmp_path / "r" / "report.html").write_text("<h1>nothing was ever refused</h1>", "utf-8")
    code, out = made.verify(tmp_path / "r", "--json")
    assert (code, json.loads(out)["problems"]) == (5, ["report.html is not of this report"])


def test_a_changed_note_is_no_note_of_this_log(made: Made, tmp_path: Path) -> None:
    folder = made.copy(tmp_path)
    note = folder / "report.note"
    note.write_text(note.read_text("utf-8").replace("2000-01-01", "2001-01-01"), "utf-8")
    assert made.verify(folder)[0] == 5


def test_entries_of_another_history_are_seen(made: Made, tmp_path: Path) -> None:
    exported = made.entries.read_text("utf-8").splitlines(keepends=True)
    lines = [line for line in exported if "entry" in json.loads(line)]
    for name, kept in (
        ("less", lines[:-1]),
        ("none", []),
        ("changed", [line.replace("image/png", "image/jpeg") for line in lines]),
    ):
        (tmp_path / name).write_text("".join(kept), "utf-8")
        code, out = made.verify(made.report, "--entries", str(tmp_path / name), "--json")
        assert (code, json.loads(out)["problems"]) == (5, ["the entries are not those of the tree that was counted"])


@pytest.mark.parametrize(
    "text",
    ["no JSON", '{"entry": [], "index": 0}', '{"entry": {"type": 3}, "index": "x"}', "3", '{"entry": ' + "[" * 50_000],
    ids=["text", "a list", "no index", "a number", "deep"],
)
def test_what_is_no_export_is_an_error(made: Made, tmp_path: Path, text: str) -> None:
    (tmp_path / "x").write_text(text, "utf-8")
    with pytest.raises(FiligranaError) as error:
        made.verify(made.report, "--entries", str(tmp_path / "x"))
    assert error.value.code == "input.entries"


def test_figures_that_are_not_there_are_not_said_to_be_counted(made: Made, tmp_path: Path) -> None:
    made.write(tmp_path / "r", "--format", "pdf")
    assert made.verify(tmp_path / "r")[0] == 0
    with pytest.raises(FiligranaError) as error:
        made.verify(tmp_path / "r", "--entries", str(made.entries))
    assert error.value.code == "input.report"


@pytest.mark.parametrize(("key", "code"), [("nonsense", "input.verifier_key"), ("a+b+c", "input.verifier_key")])
def test_a_key_that_is_none_is_an_error(made: Made, key: str, code: str) -> None:
    with pytest.raises(FiligranaError) as error:
        made.verify(made.report, key=key)
    assert error.value.code == code


def test_a_folder_without_a_report_is_an_error_and_no_key_a_wrong_usage(made: Made, tmp_path: Path) -> None:
    with pytest.raises(FiligranaError) as error:
        made.verify(tmp_path)
    assert error.value.code == "input.report"
    assert run(made.data, "report", "verify", str(made.report))[0] == 2
