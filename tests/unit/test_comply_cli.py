"""`filigrana comply`: output for people, JSON, JUnit, and exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from filigrana.errors import FiligranaError
from filigrana.pipeline.cli.app import app
from filigrana.pipeline.request import GenerateRequest, Release
from filigrana.provenance.media import encode_picture
from filigrana.tests.comply_kit import engine_of, house_of
from filigrana.tests.doubles import scene


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Release]:
    folder = tmp_path_factory.mktemp("cli")
    opened = house_of(folder, profiles=["us-ny", "cn"])
    outcome = engine_of(opened).generate(GenerateRequest("a red sailboat on a blue sea", seed=5))
    assert isinstance(outcome, Release)
    opened.close()
    return folder / "data", outcome


def run(data: Path, *arguments: str) -> tuple[int, str]:
    found = CliRunner().invoke(app, ["--data-dir", str(data), "comply", *arguments])
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found.exit_code, found.stdout


def test_a_release_passes_under_its_profiles(made: tuple[Path, Release]) -> None:
    code, out = run(made[0], "check", str(made[1].file), "--profile", "us-ny", "--profile", "cn", "--json")
    answer = json.loads(out)
    (file,) = answer["files"]
    assert {r["rule"]: r["status"] for r in file["rules"] if r["status"] != "pass"} == {}
    assert (code, file["passed"], answer["note"]) == (0, True, "Evidence, not legal advice.")
    assert [p["id"] for p in answer["profiles"]] == ["us-ny", "cn"]
    duties = {duty["id"]: duty for rule in file["rules"] for duty in rule["duties"]}
    assert duties["cn.implicit"]["since"] == "2025-09-01"
    assert all(duty["source"].startswith("https://") and duty["law"] for duty in duties.values())


def test_a_strangers_picture_fails_and_junit_says_why(made: tuple[Path, Release], tmp_path: Path) -> None:
    photo, report = tmp_path / "photo.png", tmp_path / "junit.xml"
    photo.write_bytes(encode_picture(scene(9), "image/png"))
    code, out = run(
        made[0], "check", str(photo), str(made[1].file), "--profile", "cn", "--junit", str(report), "--no-ocr"
    )
    assert code == 5
    assert "✗ R5" in out
    assert "Evidence, not legal advice." in out
    suites = ElementTree.parse(report).getroot().findall("testsuite")  # noqa: S314  our own
    assert [suite.get("name") for suite in suites] == [str(photo), str(made[1].file)]
    failed = [
        case.get("name", "").split()[0] for case in suites[0].findall("testcase") if case.find("failure") is not None
    ]
    assert "R5" in failed
    assert int(suites[0].get("failures", "0")) == len(failed)
    assert int(suites[1].get("failures", "9")) == 0


def test_a_proof_from_elsewhere_is_checked_with_its_key_alone(made: tuple[Path, Release], tmp_path: Path) -> None:
    """Somebody else's installation, the file, its proof, and the log's key: no network, no catalog."""
    data, released = made
    proof, elsewhere = tmp_path / "boat.tlog-proof", tmp_path / "elsewhere"
    found = CliRunner().invoke(
        app, ["--data-dir", str(data), "audit", "prove", str(released.asset_id), "-o", str(proof), "--json"]
    )
    key = json.loads(found.stdout)["verifier_key"]
    profile = ["--profile", "cn", "--no-ocr", "--json"]

    def r10(*more: str) -> tuple[str, str]:
        rules = json.loads(run(elsewhere, "check", str(released.file), *profile, *more)[1])["files"][0]["rules"]
        return next((rule["status"], rule["detail"]) for rule in rules if rule["rule"] == "R10")

    assert r10()[0] == "open"
    status, detail = r10("--proof", str(proof), "--log-key", key)
    assert status == "pass", detail
    other = tmp_path / "other.tlog-proof"
    other.write_text(proof.read_text().replace("index ", "index 1"), "utf-8")
    assert r10("--proof", str(other), "--log-key", key)[0] == "fail"


def test_what_cannot_be_read_fails(made: tuple[Path, Release], tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 40)
    code, out = run(made[0], "check", str(broken), "--profile", "eu")
    assert code == 5
    assert "it cannot be read" in out


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["check", "x.png"], "input.profile"),
        (["check", "x.png", "--profile", "atlantis"], "settings.profiles"),
        (["check", "x.png", "--profile", "eu", "--proof", "missing", "--log-key", "k"], "input.proof"),
        (["check", "x.png", "--profile", "eu", "--log-key", "k"], "input.option"),
    ],
)
def test_a_wrong_call_is_an_error_with_a_code(made: tuple[Path, Release], arguments: list[str], code: str) -> None:
    with pytest.raises(FiligranaError) as error:
        run(made[0], *arguments)
    assert error.value.code == code or (code == "input.option" and error.value.code.startswith(("input", "log")))


def test_the_duties_are_listed(made: tuple[Path, Release]) -> None:
    code, out = run(made[0], "duties", "eu")
    assert code == 0
    assert "eu.50-4.deepfakes" in out
    assert "secondary source only" in out
    listed = json.loads(run(made[0], "duties", "--json")[1])
    assert {one["id"] for one in listed} == {"eu", "us-ca", "us-ny", "cn", "in", "kr"}
