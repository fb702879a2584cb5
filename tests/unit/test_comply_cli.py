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


def test_what_could_not_be_looked_at_is_no_pass(made: tuple[Path, Release], tmp_path: Path) -> None:
    """Elsewhere, where the signer is trusted but the installation is not at hand: nothing fails, and much stays open."""
    source = made[0].parent / "elsewhere.yaml"
    source.write_text(
        "id: xx\ntitle: Two rules\nversion: 2026-11-30\nrelease: {layers: 1}\nduties:\n"
        "  - {id: xx.log, law: A law of a test, says: Releases are in a log that is public., since: 2026-01-01,"
        " source: 'https://example.org/', rules: [R10]}\n"
    )
    code, out = run(tmp_path / "elsewhere", "check", str(made[1].file), "--profile", str(source), "--json")
    (file,) = json.loads(out)["files"]
    assert (code, file["passed"], [r["status"] for r in file["rules"]]) == (4, False, ["open"])


def test_a_file_that_says_nothing_of_itself_is_told_to_be_judged_as_ai_made(
    made: tuple[Path, Release], tmp_path: Path
) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(encode_picture(scene(9), "image/png"))
    for file, assumed in ((photo, True), (made[1].file, False)):
        _, out = run(made[0], "check", str(file), "--profile", "us-ny", "--no-ocr")
        assert ("as if AI had made it" in out) is assumed
        told = json.loads(run(made[0], "check", str(file), "--profile", "us-ny", "--no-ocr", "--json")[1])
        assert told["files"][0]["assumed_ai"] is assumed


def test_a_folder_is_checked_and_the_worst_file_gives_the_exit_code(made: tuple[Path, Release], tmp_path: Path) -> None:
    good = tmp_path / "in"
    good.mkdir()
    (good / "a.png").write_bytes(made[1].file.read_bytes())
    assert run(made[0], "check", str(good), "--profile", "us-ny", "--no-ocr")[0] == 0
    (good / "b.png").write_bytes(encode_picture(scene(9), "image/png"))
    code, out = run(made[0], "check", str(good), "--profile", "us-ny", "--no-ocr", "--json")
    assert code == 5
    assert [Path(file["file"]).name for file in json.loads(out)["files"]] == ["a.png", "b.png"]
    assert [file["passed"] for file in json.loads(out)["files"]] == [True, False]


def test_what_is_not_there_fails_like_what_cannot_be_read(made: tuple[Path, Release], tmp_path: Path) -> None:
    code, out = run(made[0], "check", str(tmp_path / "missing.png"), "--profile", "eu", "--json")
    (file,) = json.loads(out)["files"]
    assert (code, file["finding"], file["sha256"], file["rules"]) == (5, "unreadable", None, [])


def test_a_name_that_xml_cannot_hold_breaks_no_junit_report(made: tuple[Path, Release], tmp_path: Path) -> None:
    odd, report = tmp_path / "a\x08<b>&.png", tmp_path / "junit.xml"
    odd.write_bytes(b"no picture")
    assert run(made[0], "check", str(odd), "--profile", "eu", "--junit", str(report))[0] == 5
    (suite,) = ElementTree.parse(report).getroot().findall("testsuite")  # noqa: S314  our own
    assert "<b>&.png" in str(suite.get("name"))
    assert suite.get("failures") == "1"


def test_nothing_is_written_over_the_installations_own_files(made: tuple[Path, Release]) -> None:
    with pytest.raises(FiligranaError) as error:
        run(made[0], "check", str(made[1].file), "--profile", "eu", "--junit", str(made[0] / "keys" / "junit.xml"))
    assert error.value.code == "release.target"


def test_the_robustness_report_that_is_given_is_the_one_that_counts(made: tuple[Path, Release], tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text("{}")
    code, out = run(
        made[0], "check", str(made[1].file), "--profile", "eu", "--robustness", str(tmp_path / "r.json"), "--no-ocr",
        "--json",
    )  # fmt: skip
    r15 = next(rule for rule in json.loads(out)["files"][0]["rules"] if rule["rule"] == "R15")
    assert (code, r15["status"]) == (5, "fail")
    assert "is no robustness report" in r15["detail"]


def test_two_files_do_not_share_a_proof(made: tuple[Path, Release], tmp_path: Path) -> None:
    proof = tmp_path / "a.tlog-proof"
    found = CliRunner().invoke(
        app, ["--data-dir", str(made[0]), "audit", "prove", str(made[1].asset_id), "-o", str(proof), "--json"]
    )
    key = json.loads(found.stdout)["verifier_key"]
    with pytest.raises(FiligranaError) as error:
        run(made[0], "check", str(made[1].file), str(made[1].file), "--profile", "cn", "--proof", str(proof),
            "--log-key", key)  # fmt: skip
    assert error.value.code == "input.option"


def test_duties_of_an_unknown_profile_are_an_error_and_of_a_file_are_told(
    made: tuple[Path, Release], tmp_path: Path
) -> None:
    with pytest.raises(FiligranaError) as error:
        run(made[0], "duties", "atlantis")
    assert error.value.code == "settings.profiles"
    with pytest.raises(FiligranaError) as error:
        run(made[0], "duties", str(tmp_path / "missing.yaml"))
    assert error.value.code == "settings.profiles"
    (one,) = json.loads(run(made[0], "duties", "kr", "--json")[1])
    assert one["id"] == "kr"
    assert len(one["digest"]) == 64
    for duty in one["duties"]:
        assert duty["law"]
        assert duty["says"]
        assert duty["since"]
        assert duty["rules"] or duty["outside"]
