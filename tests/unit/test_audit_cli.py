"""`filigrana audit`: the commands that people and their scripts use, against a real installation."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from filigrana.pipeline.cli.app import app
from filigrana.pipeline.engine import Engine
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.request import GenerateRequest, Refusal, Release
from filigrana.provenance.log.note import Checkpoint
from filigrana.provenance.log.sequencer import AuditLog
from filigrana.tests.conftest import MakeEngine
from filigrana.tests.meeting import before, once


def run(installation: Installation, *words: str, code: int = 0, input: str | None = None) -> str:  # noqa: A002
    result = CliRunner().invoke(app, ["--data-dir", str(installation.folder), "audit", *words], input=input)
    assert result.exit_code == code, (result.output, result.exception)
    return str(result.stdout)


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def engine(make_engine: MakeEngine) -> Engine:
    return make_engine()


@pytest.fixture
def released(engine: Engine) -> Release:
    outcome = engine.generate(GenerateRequest("a red sailboat", seed=7, subject="alice"))
    assert isinstance(outcome, Release)
    return outcome


def test_search_answers_what_an_auditor_asks(installation: Installation, engine: Engine, released: Release) -> None:
    refused = engine.generate(GenerateRequest("a sexual picture of a child", subject="bob"))
    assert isinstance(refused, Refusal)

    def types(*words: str, code: int = 0) -> list[str]:
        return [row["entry"]["type"] for row in rows(run(installation, "search", *words, "--json", code=code))]

    assert types("--asset", str(released.asset_id)) == ["intent", "decision", "decision", "result", "release"]
    assert types("--verdict", "block") == ["decision", "refused"]
    assert types("--verdict", "block", "--type", "refused") == ["refused"]
    assert types("--policy", "newsroom", "--type", "intent") == ["intent", "intent"]
    assert types("--policy", installation.pack.ref.digest[:12], "--verdict", "block") == ["decision", "refused"]
    assert types("--model", "nsfw", "--type", "release", code=4) == []
    assert types("--actor", "alice") == ["intent"]
    assert types("--since", "2020-01-01", "--until", "2021-01-01", code=4) == []
    assert len(types("--since", "2020-01-01", "--limit", "3")) == 3
    assert "nothing in the log" in run(installation, "search", "--code", "no.such", code=4)
    run(installation, "search", "--since", "yesterday", code=1)
    run(installation, "search", "--actor", "nobody", code=1)


def test_erasing_a_subject_is_an_entry_and_leaves_every_proof_valid(
    installation: Installation, released: Release, tmp_path: Path
) -> None:
    run(installation, "prove", str(released.asset_id), "-o", str(tmp_path / "before"))
    actor = rows(run(installation, "search", "--actor", "alice", "--json"))[0]["entry"]["actor"]
    run(installation, "erase", "alice", "--json", code=1)  # a program has to say --yes
    run(installation, "erase", "alice", code=1, input="n\n")
    erased = json.loads(run(installation, "erase", "alice", "--yes", "--json"))
    assert (erased["actor"], erased["texts"]) == (actor, 1)
    assert rows(run(installation, "show", str(erased["index"]), "--json"))[0]["entry"]["type"] == "erase"
    run(installation, "search", "--actor", "alice", code=1)
    assert len(rows(run(installation, "search", "--actor", actor, "--json"))) == 2
    assert json.loads(run(installation, "verify", "--json"))["ok"]
    run(installation, "prove", str(released.asset_id), "-o", str(tmp_path / "after"))
    assert (tmp_path / "before").read_text().splitlines()[:2] == (tmp_path / "after").read_text().splitlines()[:2]
    run(installation, "erase", "alice", "--yes", code=1)
    result = CliRunner().invoke(app, ["--data-dir", str(installation.folder), "replay", str(released.asset_id)])
    assert result.exit_code == 1
    for file in installation.folder.glob("audit.db*"):
        assert b"alice" not in file.read_bytes()


def test_texts_go_when_the_policy_says_so(installation: Installation, engine: Engine, released: Release) -> None:
    said = json.loads(run(installation, "retain", "--dry-run", "--json"))
    assert said == {"days": 365, "texts": 0, "index": None, "dry_run": True, "remnants": False}
    assert json.loads(run(installation, "retain", "--json"))["texts"] == 0
    with installation.log.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE sealed_texts SET created_at = '2020-01-01 00:00:00.000000'")
        connection.exec_driver_sql("UPDATE subject_keys SET created_at = '2020-01-01 00:00:00.000000'")
    assert json.loads(run(installation, "retain", "--dry-run", "--json"))["texts"] == 1
    done = json.loads(run(installation, "retain", "--json"))
    assert done["texts"] == 1
    entry = rows(run(installation, "show", str(done["index"]), "--json"))[0]["entry"]
    assert (entry["type"], entry["policy"]["id"], entry["texts"]) == ("expire", "newsroom", 1)
    result = CliRunner().invoke(app, ["--data-dir", str(installation.folder), "replay", str(released.asset_id)])
    assert "retention" in str(result.exception)
    assert isinstance(engine.generate(GenerateRequest("a red sailboat", seed=7, subject="alice")), Release)


def test_the_record_is_shown_after_it_was_checked(
    installation: Installation, released: Release, tmp_path: Path
) -> None:
    shown = json.loads(run(installation, "record", str(released.asset_id), "--json"))
    assert shown["index"] == released.log.index
    assert shown["record"]["after"]["asset_id"] == str(released.asset_id)
    run(installation, "record", str(released.asset_id), "-o", str(tmp_path / "record.txt"))
    assert (tmp_path / "record.txt").read_text() == shown["note"]
    assert json.loads(run(installation, "record", str(released.asset_id)))["before"]["approved_by"] == []
    run(installation, "record", "000000000000", code=1)
    with installation.log.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE decision_records SET note = replace(note, '\"seed\":7', '\"seed\":8')")
    run(installation, "record", str(released.asset_id), code=1)
    with installation.log.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM decision_records")
    run(installation, "record", str(released.asset_id), code=1)


def test_evidence_of_another_asset_is_not_handed_out(
    installation: Installation, engine: Engine, released: Release, tmp_path: Path
) -> None:
    """The catalog's rows can be changed, the log cannot: what is swapped there is noticed before it is given away."""
    other = engine.generate(GenerateRequest("a blue boat", seed=8))
    assert isinstance(other, Release)
    mine, theirs = str(released.asset_id), str(other.asset_id)
    for command in (["prove", mine, "-o"], ["record", mine, "-o"], ["bundle", "make", mine, "-o"]):
        run(installation, *command, str(tmp_path / "good"))

    def swap(statement: str) -> None:
        with installation.log.engine.begin() as connection:
            connection.exec_driver_sql(statement)

    swap(f"UPDATE assets SET log_index = {other.log.index} WHERE asset_id = {released.asset_id.value}")  # noqa: S608
    for command in (["prove", mine, "-o"], ["record", mine, "-o"], ["bundle", "make", mine, "-o"], ["show", mine]):
        run(installation, *command, *([str(tmp_path / "bad")] if command[-1] == "-o" else []), code=1)
    swap(f"UPDATE assets SET log_index = {released.log.index} WHERE asset_id = {released.asset_id.value}")  # noqa: S608
    taken = f"(SELECT note FROM decision_records AS other WHERE other.asset_id = {other.asset_id.value})"  # noqa: S608
    swap(f"UPDATE decision_records SET note = {taken} WHERE asset_id = {released.asset_id.value}")  # noqa: S608
    run(installation, "record", mine, code=1)
    run(installation, "record", theirs)
    assert not (tmp_path / "bad").exists()


def test_the_catalog_is_held_against_the_log_when_asked(
    installation: Installation, engine: Engine, released: Release
) -> None:
    assert isinstance(engine.generate(GenerateRequest("a blue boat", seed=8)), Release)
    assert json.loads(run(installation, "verify", "--catalog", "--json"))["ok"]

    def change(*statements: str) -> list[str]:
        with installation.log.engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
        assert json.loads(run(installation, "verify", "--json"))["ok"]
        problems: list[str] = json.loads(run(installation, "verify", "--catalog", "--json", code=5))["problems"]
        return problems

    ident = released.asset_id.value
    changed = change(f"UPDATE assets SET byte_count = 1, sha256 = zeroblob(32) WHERE asset_id = {ident}")  # noqa: S608
    assert changed == [
        f"the catalog's row of {released.asset_id} is not what entry {released.log.index} of the log says"
    ]
    tables = ("decision_records", "manifests", "bindings", "previews", "assets")
    gone = change(*(f"DELETE FROM {table} WHERE asset_id = {ident}" for table in tables))  # noqa: S608
    assert gone == [
        f"entry {released.log.index} of the log releases {released.asset_id}; the catalog's row of it is gone"
    ]
    assert "the catalog's row of it is gone" in str(
        CliRunner()
        .invoke(app, ["--data-dir", str(installation.folder), "audit", "show", str(released.asset_id)])
        .exception
    )
    added = change(
        "INSERT INTO assets (asset_id, media, mime, sha256, byte_count, created_at, source_type) "
        "SELECT 7, media, mime, zeroblob(32), 1, created_at, source_type FROM assets LIMIT 1",
        "INSERT INTO assets (asset_id, media, mime, sha256, byte_count, created_at, source_type) "
        "SELECT 8, media, mime, zeroblob(31), 1, created_at, source_type FROM assets LIMIT 1",
    )
    assert "the catalog has 3 assets; the log has 2 releases" in added


def test_a_refused_request_is_found_by_the_id_that_its_author_was_shown(
    installation: Installation, engine: Engine
) -> None:
    refused = engine.generate(GenerateRequest("a sexual picture of a child"))
    assert isinstance(refused, Refusal)
    shown = rows(run(installation, "show", refused.intent, "--json"))
    assert [row["entry"]["type"] for row in shown] == ["intent", "decision", "refused"]


def test_nothing_is_written_over_the_installation_s_own_files(installation: Installation, released: Release) -> None:
    before = {path: path.read_bytes() for path in installation.folder.rglob("*") if path.is_file()}
    for name in ("audit.db", "audit.db-wal", "checkpoint.guard", "new", "keys/log.key", f"assets/{released.file.name}"):
        target = str(installation.folder / name)
        run(installation, "prove", str(released.asset_id), "-o", target, code=1)
        run(installation, "export", "-o", target, code=1)
    assert {path for path in installation.folder.rglob("*") if path.is_file()} >= set(before)
    assert json.loads(run(installation, "verify", "--json"))["ok"]


def test_looking_at_a_log_that_is_not_there_makes_none(tmp_path: Path) -> None:
    looking = (["verify"], ["show"], ["tail"], ["doctor"], ["export", "-o", str(tmp_path / "x")], ["publish"])
    for words in (*looking, ["erase", "bob", "--yes"], ["retain"], ["tiles", "-o", str(tmp_path / "t")], ["serve"]):
        result = CliRunner().invoke(app, ["--data-dir", str(tmp_path / "nowhere"), "audit", *words])
        assert result.exit_code == 1
        assert getattr(result.exception, "code", "") == "input.no_log"
    assert not (tmp_path / "nowhere").exists()


def test_the_log_as_a_table(installation: Installation, released: Release, tmp_path: Path) -> None:
    said = json.loads(run(installation, "export", "-o", str(tmp_path / "log.parquet"), "--json"))
    table = pq.read_table(tmp_path / "log.parquet")
    assert table.num_rows == said["entries"] == released.log.index + 1
    note = table.schema.metadata[b"filigrana.checkpoint"].decode()
    assert Checkpoint.open(note, installation.log.keys).size == said["entries"]
    run(installation, "export", "-o", str(tmp_path / "log.csv"), "--format", "csv", code=1)
    assert not (tmp_path / "log.csv").exists()
    run(installation, "export", "-o", str(tmp_path / "x"), "--format", "jsonl")
    assert len((tmp_path / "x").read_text().splitlines()) == said["entries"] + 1


def test_the_doctor_of_the_log(installation: Installation, released: Release) -> None:
    said = json.loads(run(installation, "doctor", "--json"))
    assert said["sound"] is True
    assert released.log.index > 0
    assert all(check["ok"] for check in said["checks"])
    with installation.log.engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER log_entries_no_delete")
    assert "it was possible" in run(installation, "doctor", code=1)
    assert json.loads(run(installation, "verify", "--json"))["ok"]


def test_tail_shows_the_end_and_goes_on(installation: Installation, released: Release) -> None:
    assert [r["index"] for r in rows(run(installation, "tail", "-n", "2", "--json"))] == [3, 4]
    assert released.log.index == 4
    command = [
        sys.executable,
        "-c",
        # A job in the background of a shell ignores SIGINT, and so would its children.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from filigrana.pipeline.cli import main; main()",
        "--data-dir",
        str(installation.folder),
        "audit",
        "tail",
        "-n",
        "1",
        "-f",
        "--json",
    ]
    environment = {**os.environ, "FILIGRANA_DATA_DIR": str(installation.folder)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            assert json.loads(process.stdout.readline())["index"] == 4
            installation.log.append({"type": "later"})
            started = time.monotonic()
            assert json.loads(process.stdout.readline()) == {"index": 5, "entry": {"type": "later"}}
            assert time.monotonic() - started < 10
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


def test_a_checkpoint_file_without_an_end_is_refused(installation: Installation, released: Release) -> None:
    """`/dev/zero` never ends; a note has 1 MiB at most."""
    assert released.log.index > 0
    for words in (["verify", "--checkpoint"], ["adopt"], ["witness", "serve", "--folder", "nowhere", "--log"]):
        run(installation, *words, "/dev/zero", code=1)


def test_two_exports_at_once_into_one_file_are_whole(
    installation: Installation, released: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "log.jsonl"

    def exported() -> None:
        run(installation, "export", "-o", str(target))

    monkeypatch.setattr(AuditLog, "export", before(once(exported), AuditLog.export))
    exported()
    assert [line.get("index") for line in rows(target.read_text("utf-8"))] == [*range(installation.log.size()), None]
    assert [path.name for path in tmp_path.glob("*log.jsonl*")] == ["log.jsonl"]
