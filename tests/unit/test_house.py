"""The house rules that a machine can check: arrows between rooms, the list of packages, what imports torch."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("safety", "provenance", "pipeline", "migrations", "models")
FORBIDDEN = {
    "safety": {"provenance", "pipeline", "migrations"},
    "provenance": {"safety", "pipeline", "migrations"},
    "migrations": {"safety", "pipeline"},
    "models": {"safety", "provenance", "pipeline", "migrations"},
}
HEAVY = {"torch", "diffusers", "transformers", "open_clip", "imwatermark"}


def modules() -> Iterator[Path]:
    for room in ROOMS:
        yield from sorted((ROOT / room).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """The dotted names that a module imports, relative ones made absolute from the repository's root."""
    package = path.relative_to(ROOT).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name.removeprefix("filigrana."), node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - (node.level - 1)]
            name = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            if node.module:
                yield name, node.lineno
            else:
                yield from ((f"{name}.{alias.name}".strip("."), node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").removeprefix("filigrana."), node.lineno


def test_rooms_import_only_where_the_arrows_go() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in modules()
        for name, line in imports(path)
        if name.split(".")[0] in FORBIDDEN.get(path.relative_to(ROOT).parts[0], set())
    ]
    assert wrong == []


def test_migrations_know_provenance_only_by_its_tables() -> None:
    names = {
        name
        for path in modules()
        if path.relative_to(ROOT).parts[0] == "migrations"
        for name, _ in imports(path)
        if name.startswith("provenance")
    }
    assert names <= {"provenance.tables"}


def test_provenance_names_no_torch() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in modules()
        if path.relative_to(ROOT).parts[0] == "provenance"
        for name, line in imports(path)
        if name.split(".")[0] in HEAVY
    ]
    assert wrong == []


def test_the_arrow_test_can_fail(tmp_path: Path) -> None:
    """Negative control: an arrow against the rules is seen, however it is written."""
    for text in ("from ..pipeline import engine", "from .. import pipeline", "import filigrana.pipeline.engine"):
        path = ROOT / "safety" / "_control.py"
        try:
            path.write_text(text)
            found = [name.split(".")[0] for name, _ in imports(path)]
        finally:
            path.unlink()
        assert found == ["pipeline"], text


def test_packages_in_pyproject_are_the_folders() -> None:
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {
        "filigrana." + ".".join(path.parent.relative_to(ROOT).parts)
        for room in ROOMS
        for path in (ROOT / room).rglob("__init__.py")
    }
    assert listed == found | {"filigrana"}


@pytest.mark.parametrize("name", ["safety", "pipeline", "provenance", "migrations", "models"])
def test_no_bare_name_is_installed(name: str) -> None:
    """`safety` in site-packages would overwrite somebody else's package."""
    code = f"import importlib.util as u, sys; sys.path = [p for p in sys.path if p]; sys.exit(u.find_spec({name!r}) is not None)"
    assert subprocess.run([sys.executable, "-c", code], cwd="/", check=False).returncode == 0


def loaded_after(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter has after ``code``."""
    script = f"{code}\nimport sys\nprint(' '.join(sorted({{m.split('.')[0] for m in sys.modules}})))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": ""}
    )
    return set(done.stdout.splitlines()[-1].split())


def test_import_filigrana_costs_nothing() -> None:
    loaded = loaded_after("import filigrana")
    assert not loaded & (HEAVY | {"numpy", "sqlalchemy", "cv2", "c2pa", "typer"})


def test_verify_loads_no_torch() -> None:
    assert not loaded_after("from filigrana import verify, Watermark, AuditLog, judge_prompt") & HEAVY


def test_public_names_exist() -> None:
    import filigrana

    for name in filigrana.__all__:
        assert getattr(filigrana, name) is not None


def test_every_error_has_a_stable_code_and_a_place_in_the_tree() -> None:
    from filigrana import errors

    tree = errors.__doc__ or ""
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.FiligranaError):
            assert name in tree, name
            assert kind.code


def test_modules_are_short() -> None:
    long = {str(p.relative_to(ROOT)): n for p in modules() if (n := p.read_text("utf-8").count("\n")) > 500}
    assert long == {}
