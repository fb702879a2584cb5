"""The command line as users script against it: exit codes, JSON keys, and what is loaded for what."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from filigrana.pipeline.api import Pipeline
from filigrana.pipeline.cli.app import app
from filigrana.pipeline.cli.state import State, state
from filigrana.pipeline.installation import Installation
from filigrana.provenance.media import encode_picture
from filigrana.provenance.verify import worst_exit_code
from filigrana.tests.doubles import FakeGenerator, calm, scene

RELEASED = {"released", "file", "asset_id", "media", "verdict", "policy", "energy", "stages", "log"}
REFUSED = {"released", "verdict", "code", "reasons", "rewrite"}
FINDING = {"file", "finding", "asset_id", "trust", "match", "evidence", "seconds"}
CHECK = {"verdict", "hazards", "rules", "policy", "milliseconds"}
MARK = {"file", "asset_id", "score", "p_value", "geometry", "seconds"}


class Shell:
    """`filigrana --data-dir … COMMAND` in this process, with doubles for the models."""

    def __init__(self, data: Path) -> None:
        self.data = data

    def __call__(self, *arguments: str | Path, input: str | None = None) -> Result:  # noqa: A002  CliRunner's name
        words = ["--data-dir", str(self.data), *map(str, arguments)]
        return CliRunner().invoke(app, words, input=input)

    def json(self, *arguments: str | Path, code: int = 0) -> Any:
        """The one JSON value on standard output; nothing else may stand there."""
        result = self(*arguments, "--json")
        assert result.exit_code == code, (result.output, result.exception)
        return json.loads(result.stdout)


@pytest.fixture
def shell(furnished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    shutil.copytree(furnished, tmp_path / "data")
    guards = calm()
    monkeypatch.setattr(Pipeline, "generator", property(lambda _self: FakeGenerator()))
    monkeypatch.setattr(Installation, "frame_guards", lambda _self, _generated, _pack=None: guards)
    monkeypatch.setattr(Installation, "agreement", lambda _self: None)
    monkeypatch.chdir(tmp_path)
    yield Shell(tmp_path / "data")
    for name, value in vars(State()).items():
        setattr(state, name, value)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(encode_picture(scene(9, 400, 300), "image/jpeg"))
    return path


# ── generate, seal ───────────────────────────────────────────────────────────────────────────────────────────────
def test_generate(shell: Shell, tmp_path: Path) -> None:
    said = shell.json("generate", "a red boat", "-o", "boat.png", "--seed", "7")
    assert set(said) >= RELEASED
    assert said["released"] is True
    assert said["media"] == "image"
    assert said["verdict"] == "allow"
    assert set(said["policy"]) == {"id", "version", "digest"}
    assert set(said["energy"]) >= {"joules", "method"}
    assert set(said["log"]) == {"index", "checkpoint"}
    assert said["file"] == "boat.png"
    assert (tmp_path / "boat.png").read_bytes().startswith(b"\x89PNG")
    assert all(isinstance(seconds, float) for seconds in said["stages"].values())


def test_generate_several(shell: Shell, tmp_path: Path) -> None:
    result = shell("generate", "a red boat", "-o", "boats", "--count", "2", "--seed", "7", "--json")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 0
    assert len(rows) == 2
    assert {Path(row["file"]).parent.name for row in rows} == {"boats"}
    assert len(list((tmp_path / "boats").iterdir())) == 2
    assert len({row["asset_id"] for row in rows}) == 2


@pytest.mark.parametrize(("prompt", "code", "verdict"), [("child porn", 10, "block")])
def test_generate_refused(shell: Shell, prompt: str, code: int, verdict: str) -> None:
    said = shell.json("generate", prompt, "-o", "out.png", code=code)
    assert set(said) >= REFUSED
    assert said["released"] is False
    assert said["verdict"] == verdict
    assert said["reasons"]
    assert said["rewrite"] is None
    assert not Path("out.png").exists()


def test_what_was_understood_is_said_of_prompts_that_come_to_the_model_alone(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def understood(_self: Pipeline, prompt: str) -> dict[str, tuple[str, float]]:
        asked.append(prompt)
        return {"concept": ("boat", 0.9)}

    monkeypatch.setattr(Pipeline, "understood", understood)
    assert "understood" not in shell.json("generate", "child porn", "-o", "out.png", code=10)
    assert asked == []
    said = shell.json("generate", "a red boat", "-o", "boat.png", "--seed", "7")
    assert said["understood"] == {"concept": {"answer": "boat", "likely": 0.9}}
    assert said["unknown_words"] == []
    result = shell("generate", "a red boat", "-o", "again.png", "--seed", "8")
    assert "understood: boat" in result.output


def test_generate_held(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Installation, "frame_guards", lambda *_: [])
    said = shell.json("generate", "a red boat", "-o", "out.png", code=11)
    assert set(said) >= REFUSED
    assert said["verdict"] == "review"
    assert said["code"] == "output.guard_failed"


def test_a_rewrite_is_offered_and_accepted(shell: Shell) -> None:
    prompts = [rule for rule in shell.json("policy", "show", "platform")["rules"] if rule["verdict"] == "rewrite"]
    if not prompts:
        pytest.skip("no pack offers a rewrite")
    prompt = prompts[0]["tests"]["match"][0]
    result = shell("generate", prompt, "-o", "out.png", "--policy", "platform", "--json")
    said = json.loads(result.stdout)
    if result.exit_code != 12:
        pytest.skip("another rule is stricter")
    assert set(said["rewrite"]) == {"prompt", "digest"}
    again = ["generate", prompt, "-o", "out.png", "--policy", "platform", "--accept-rewrite"]
    assert shell.json(*again, said["rewrite"]["digest"])["released"] is True
    assert shell(*again, "0" * 16).exit_code == 1


@pytest.mark.parametrize(
    "options",
    [
        ["-o", "out.bmp"],
        ["-o", "out"],
        ["-o", "missing/out.png"],
        ["-o", "."],
        ["-o", "out.mp4"],
        ["-o", "out.png", "--size", "big"],
        ["-o", "out.png", "--size", "1x1"],
        ["-o", "out.png", "--seed", "-1"],
        ["-o", "out.png", "--steps", "0"],
        ["-o", "out.png", "--media", "video"],
        ["-o", "out.png", "--media", "hologram"],
        ["-o", "out.png", "--policy", "newsrom"],
        ["-o", "out.png", "--best-of", "2"],
    ],
)
def test_what_generate_cannot_do_is_an_error_with_a_code(shell: Shell, options: list[str]) -> None:
    from filigrana.errors import FiligranaError

    result = shell("generate", "a boat", *options, "--json")
    assert result.exit_code == 1
    assert isinstance(result.exception, FiligranaError)
    assert "." in result.exception.code
    assert result.stdout == ""
    assert not (shell.data / "assets").exists() or not list((shell.data / "assets").rglob("*.png"))


def test_seal(shell: Shell, photo: Path) -> None:
    said = shell.json("seal", photo, "-o", "sealed.jpg", "--source-type", "camera")
    assert set(said) >= RELEASED
    assert said["media"] == "image"
    assert shell("seal", photo, "-o", "sealed.jpg", "--source-type", "drawing").exit_code == 1
    assert shell("seal", photo, "-o", "sealed.mp4", "--source-type", "camera").exit_code == 1
    assert shell("seal", "nothing.jpg", "-o", "sealed.jpg", "--source-type", "camera").exit_code == 1


# ── verify ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_verify(shell: Shell, photo: Path, tmp_path: Path) -> None:
    asset = shell.json("generate", "a red boat", "-o", "boat.png")["asset_id"]
    (only,) = shell.json("verify", "boat.png")
    assert set(only) >= FINDING
    assert only["finding"] == "verified"
    assert only["asset_id"] == asset
    assert only["trust"] == "development"
    assert only["match"] == "same"
    assert all(set(evidence) >= {"technique", "status", "detail", "meaning"} for evidence in only["evidence"])
    (tmp_path / "text.png").write_text("no picture")
    damaged = bytearray((tmp_path / "boat.png").read_bytes())
    damaged[-5000] ^= 1
    (tmp_path / "damaged.png").write_bytes(damaged)
    stripped = io.BytesIO()
    Image.open(tmp_path / "boat.png").convert("RGB").save(stripped, "JPEG", quality=90)
    (tmp_path / "stripped.jpg").write_bytes(stripped.getvalue())
    files = {"boat.png": 0, "stripped.jpg": 7, photo: 4, "text.png": 6}
    for file, code in files.items():
        assert shell("verify", file).exit_code == code
        shell.json("verify", file, code=code)
    said = shell.json("verify", *files, code=6)
    assert [row["finding"] for row in said] == ["verified", "recovered", "unmarked", "unreadable"]
    # Elsewhere the same file is intact, and nobody there trusts its signer.
    elsewhere = Shell(tmp_path / "elsewhere")
    assert elsewhere.json("verify", "boat.png", code=3)[0]["trust"] == "none"


def test_the_worst_finding_decides() -> None:
    assert worst_exit_code([0, 7, 3, 4, 6, 5, 1]) == 1
    assert worst_exit_code([0, 7, 3, 4, 6, 5]) == 5
    assert worst_exit_code([0, 7, 3, 4, 6]) == 6
    assert worst_exit_code([0, 7, 3, 4]) == 4
    assert worst_exit_code([0, 7, 3]) == 3
    assert worst_exit_code([0, 7]) == 7
    assert worst_exit_code([0]) == 0


# ── policy ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_policy_check(shell: Shell) -> None:
    result = shell("policy", "check", "a red boat", "child porn")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 10
    assert all(set(row) >= CHECK for row in rows)
    assert [row["verdict"] for row in rows] == ["allow", "block"]
    piped = shell("policy", "check", input="a red boat\nchild porn\n")
    assert piped.exit_code == 10
    assert len(piped.stdout.splitlines()) == 2
    assert shell("policy", "check", "a red boat").exit_code == 0
    assert shell.json("policy", "check", "a red boat")["verdict"] == "allow"


def test_policy_list_show_test(shell: Shell) -> None:
    listed = shell.json("policy", "list")
    assert [row["used"] for row in listed].count(True) == 1
    for row in listed:
        assert shell.json("policy", "show", row["id"])["digest"] == row["digest"]
        assert shell.json("policy", "test", row["id"])["failed"] == []


# ── watermark, audit, keys, doctor, replay ───────────────────────────────────────────────────────────────────────
def test_watermark(shell: Shell, photo: Path) -> None:
    said = shell.json("watermark", "embed", photo, "marked.png", "--id", "0123456789AB")
    assert set(said) == MARK
    assert said["asset_id"] == "0123456789AB"
    found = shell.json("watermark", "detect", "marked.png")
    assert set(found) == MARK
    assert found["asset_id"] == "0123456789AB"
    assert shell.json("watermark", "detect", photo, code=4)["asset_id"] is None
    assert shell("watermark", "embed", photo, "marked.png", "--id", "not an id").exit_code == 1
    before = photo.read_bytes()
    assert shell("watermark", "embed", photo, photo, "--id", "0123456789AB").exit_code == 1
    assert photo.read_bytes() == before, "a file is never marked in place"


def test_watermark_of_a_turned_crop_says_so(shell: Shell, photo: Path) -> None:
    shell.json("watermark", "embed", photo, "marked.png", "--id", "0123456789AB")
    with Image.open("marked.png") as opened:
        width, height = opened.size
        opened.crop((20, 10, width - 40, height - 15)).transpose(Image.Transpose.ROTATE_90).save("turned.png")
    found = shell.json("watermark", "detect", "turned.png")
    assert found["asset_id"] == "0123456789AB"
    assert found["geometry"]["rotation_degrees"] == pytest.approx(90, abs=0.5)
    assert found["geometry"]["flipped"] is False


def test_watermark_of_clips_and_sound(shell: Shell, tmp_path: Path) -> None:
    from filigrana.tests.unit.test_engine import write_clip, write_samples

    write_clip(tmp_path / "clip.mp4", sound="aac")
    said = shell.json("watermark", "embed", tmp_path / "clip.mp4", "marked.mp4", "--id", "0123456789AB")
    assert said["asset_id"] == "0123456789AB"
    found = shell.json("watermark", "detect", "marked.mp4")
    assert found["asset_id"] == "0123456789AB"
    assert set(found) >= MARK | {"timing", "frames", "sound"}
    rng = np.random.default_rng(2)
    sound = write_samples(tmp_path / "sound.wav", rng.normal(0, 0.1, 3 * 16_000), 16_000)
    shell.json("watermark", "embed", sound, "marked.wav", "--id", "0123456789AB")
    heard = shell.json("watermark", "detect", "marked.wav")
    assert (heard["asset_id"], heard["geometry"]) == ("0123456789AB", None)
    assert heard["timing"]["offset"] == pytest.approx(0, abs=0.01)
    assert shell("watermark", "embed", sound, "marked.png", "--id", "0123456789AB").exit_code == 1
    silent = write_samples(tmp_path / "silent.wav", np.zeros(32_000), 16_000)
    assert shell.json("watermark", "embed", silent, "unmarked.wav", "--id", "0123456789AB", code=4)["asset_id"] is None


def test_audit(shell: Shell) -> None:
    asset = shell.json("generate", "a red boat", "-o", "boat.png")["asset_id"]
    report = shell.json("audit", "verify")
    assert set(report) >= {"ok", "entries", "root", "first_bad", "seconds"}
    assert report["ok"] is True
    proof = shell.json("audit", "prove", asset, "-o", "proof")
    assert set(proof) >= {"file", "asset_id", "index", "checkpoint"}
    assert Path("proof").read_text().startswith("c2sp.org/tlog-proof")
    exported = shell.json("audit", "export", "-o", "log.jsonl")
    assert exported == {"file": "log.jsonl", "entries": report["entries"]}
    assert len(Path("log.jsonl").read_text().splitlines()) == report["entries"] + 1
    rows = [json.loads(line) for line in shell("audit", "show", asset, "--json").stdout.splitlines()]
    assert [row["entry"]["type"] for row in rows] == ["intent", "decision", "decision", "result", "release"]
    assert "a red boat" not in json.dumps(rows)
    assert shell("audit", "prove", "000000000000", "-o", "proof").exit_code == 1
    assert shell("audit", "show", "no id").exit_code == 1


def test_a_log_that_was_changed_is_told(shell: Shell) -> None:
    import sqlite3

    shell.json("generate", "a red boat", "-o", "boat.png")
    with sqlite3.connect(shell.data / "audit.db") as rows:
        for (name,) in rows.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            rows.execute(f"DROP TRIGGER {name}")
        rows.execute("UPDATE log_entries SET leaf = replace(leaf, 'allow', 'block')")
    rows.close()
    report = shell.json("audit", "verify", code=5)
    assert report["ok"] is False
    assert report["first_bad"] is not None


def test_keys(shell: Shell) -> None:
    assert shell.json("keys", "init")["made"] == []
    shown = shell("keys", "show", "--json")
    assert shown.exit_code == 0
    assert "PRIVATE" not in shown.stdout
    assert json.loads(shown.stdout)["claim"]["development"] is True


def test_replay(shell: Shell, photo: Path) -> None:
    asset = shell.json("generate", "a red boat", "-o", "boat.png", "--seed", "3")["asset_id"]
    said = shell.json("replay", asset)
    assert said["identical"] is True
    sealed = shell.json("seal", photo, "-o", "sealed.jpg", "--source-type", "camera")["asset_id"]
    assert shell("replay", sealed).exit_code == 1
    assert shell("replay", "000000000000").exit_code == 1


def test_doctor(shell: Shell) -> None:
    result = shell("doctor", "--json")
    said = json.loads(result.stdout)
    assert result.exit_code in (0, 1)
    assert said["fit"] is (result.exit_code == 0)
    assert all(set(check) == {"name", "ok", "detail"} for check in said["checks"])


# ── what is loaded for what ──────────────────────────────────────────────────────────────────────────────────────
HEAVY = [
    "torch",
    "numpy",
    "cv2",
    "sqlalchemy",
    "av",
    "PIL",
    "c2pa",
    "pydantic_settings",
    "scipy",
    "cryptography",
    "alembic",
]


def loaded(*arguments: str | Path, among: list[str]) -> set[str]:
    program = (
        "import sys\nfrom filigrana.pipeline.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"sys.stderr.write('LOADED ' + ' '.join(m for m in {among!r} if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60)
    return set(done.stderr.rsplit("LOADED", 1)[1].split())


@pytest.mark.parametrize("command", [[], ["verify"], ["generate"], ["seal"], ["audit"], ["audit", "prove"], ["policy"]])
def test_help_loads_nothing_heavy(command: list[str]) -> None:
    assert loaded(*command, "--help", among=HEAVY) == set()


def test_verify_loads_no_model_library(photo: Path, tmp_path: Path) -> None:
    libraries = ["torch", "diffusers", "transformers", "open_clip", "imwatermark", "onnxruntime"]
    assert loaded("--data-dir", tmp_path / "d", "verify", photo, among=libraries) == set()
    # The check can fail.
    assert loaded("--data-dir", tmp_path / "d", "verify", photo, among=["pydantic"]) == {"pydantic"}


def test_a_fault_of_ours_is_one_line() -> None:
    program = (
        "import sys\nimport filigrana.pipeline.cli.app as a\nfrom filigrana.pipeline.cli import main\n"
        "@a.app.command()\ndef broken():\n    raise ZeroDivisionError('secret')\n"
        "sys.argv = ['filigrana', 'broken']\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "internal" in done.stderr
    assert "secret" not in done.stderr
