"""What a wheel carries: an installation from one does what a checkout does."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHIPPED = ("migrations", "models", "pipeline", "provenance", "safety")
FOR_PEOPLE = {"README.md"}
"""Stands in folders for whoever reads the sources; a wheel may have it or not."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    # A copy: building leaves its own folders beside the sources.
    leave = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*", "build", "work", "tests")
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "__init__.py", "errors.py", "py.typed"):
        shutil.copy(ROOT / name, source / name)
    for name in (*SHIPPED, "docs"):
        shutil.copytree(ROOT / name, source / name, ignore=leave)
    words = ["wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(folder), str(source)]
    done = subprocess.run([sys.executable, "-m", "pip", *words], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("filigrana-*.whl")
    with zipfile.ZipFile(built) as opened:
        return set(opened.namelist())


@pytest.mark.parametrize("folder", SHIPPED)
def test_every_file_of_a_shipped_folder_is_in_it(wheel: set[str], folder: str) -> None:
    files = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.name not in FOR_PEOPLE
    }
    assert files, folder
    assert sorted(files - {name.removeprefix("filigrana/") for name in wheel}) == []


def test_the_robustness_report_is_in_it(wheel: set[str]) -> None:
    """Rule R15 asks for the report of the marks in use, wherever the product runs."""
    assert "filigrana/docs/robustness/report.json" in wheel


def test_what_only_makes_or_tests_it_is_not(wheel: set[str]) -> None:
    roots = {name.split("/")[1] for name in wheel if name.startswith("filigrana/")}
    assert not roots & {"tests", "training", "benchmarks", "integrations"}
