"""Every command, option and setting is documented, and the README's blocks run."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from filigrana.errors import FiligranaError
from filigrana.pipeline.cli.app import app
from filigrana.pipeline.settings import Settings
from filigrana.provenance.verify import EXIT_CODES
from filigrana.safety.decision import HAZARDS, Verdict
from filigrana.safety.policy import Rule, _Document

ROOT = Path(__file__).resolve().parents[2]
COMMANDS, SETTINGS, POLICY = (
    (ROOT / "docs" / name).read_text("utf-8") for name in ("commands.md", "settings.md", "policy.md")
)
README = (ROOT / "README.md").read_text("utf-8")


def commands(tree: typer.core.TyperGroup | None = None, prefix: str = "") -> Iterator[tuple[str, object]]:
    group = tree or typer.main.get_command(app)
    for name, command in group.commands.items():  # type: ignore[union-attr]
        if hasattr(command, "commands"):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


@pytest.mark.parametrize("name", [name for name, _ in commands()])
def test_every_command_is_documented(name: str) -> None:
    assert re.search(rf"`{name}[ `]", COMMANDS), f"docs/commands.md does not mention `{name}`"


@pytest.mark.parametrize(("name", "command"), list(commands()))
def test_every_command_says_what_it_does_and_every_option_has_help(name: str, command: object) -> None:
    assert command.help  # type: ignore[attr-defined]
    for parameter in command.params:  # type: ignore[attr-defined]
        assert getattr(parameter, "help", None), f"{name}: {parameter.name}"


def test_every_option_of_generate_is_documented() -> None:
    generate = dict(commands())["generate"]
    for parameter in generate.params:  # type: ignore[attr-defined]
        for option in parameter.opts:
            if option.startswith("--") and option not in ("--output",):
                assert option in COMMANDS, option


def test_every_setting_is_documented_with_its_default_and_nothing_else_is() -> None:
    documented = set(re.findall(r"^\| `(\w+)` \|", SETTINGS, re.MULTILINE))
    assert documented == set(Settings.model_fields)


def test_every_finding_and_its_exit_code_are_documented() -> None:
    for finding, code in EXIT_CODES.items():
        assert finding in COMMANDS
        assert re.search(rf"{code} [a-z ]*{finding}", COMMANDS), finding


def test_every_field_of_a_policy_pack_is_documented() -> None:
    for field in [*_Document.model_fields, *Rule.model_fields]:
        if field not in ("status", "references", "tags", "known_false_positives"):
            assert f"`{field}" in POLICY or f"{field}:" in POLICY, field
    for verdict in Verdict:
        assert f"`{verdict.word}`" in POLICY
    assert len(HAZARDS) == 19


def test_every_error_code_prefix_stands_in_the_tree() -> None:
    import filigrana.errors as errors

    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, FiligranaError) and kind is not FiligranaError:
            assert kind.code.split(".")[0] in (errors.__doc__ or "")


def test_licences_are_those_of_what_is_installed() -> None:
    spec = importlib.util.spec_from_file_location("licences", ROOT / "docs" / "licences.py")
    assert spec is not None
    assert spec.loader is not None
    licences = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(licences)
    listed = set(re.findall(r"^\| ([a-z0-9-]+) \|", (ROOT / "docs" / "licences.md").read_text("utf-8"), re.MULTILINE))
    installed = licences.installed()
    if "torch" not in installed:
        pytest.skip("the extra `generate` is not installed")
    # A CUDA build of torch brings its own libraries; they are NVIDIA's and not listed one by one.
    brought = {name for name in installed if not name.startswith(("nvidia-", "cuda-", "triton"))}
    assert brought <= listed, sorted(brought - listed)
    assert not [name for name in brought if "AGPL" in licences.licence(installed[name]).upper()]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_python_blocks_of_the_readme_run(tmp_path: Path, sealed_photo: Path) -> None:
    found = blocks("python")
    assert found
    for block in found:
        done = subprocess.run(
            [sys.executable, "-c", block], cwd=sealed_photo.parent, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


def test_shell_blocks_of_the_readme_name_real_commands() -> None:
    known = {name for name, _ in commands()}
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("filigrana ")]
    assert lines
    for line in lines:
        words = [w for w in shlex.split(line, comments=True)[1:] if not w.startswith("-")]
        assert words[0] in known or " ".join(words[:2]) in known, line


def test_make_targets_of_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make ([a-z]+)", README)) <= targets
