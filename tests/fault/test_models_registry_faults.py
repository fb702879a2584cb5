"""The registry of models when the disk is full, or its process is killed: what was registered stays registered."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from filigrana.errors import GenerationError
from filigrana.pipeline.generators.registry import Asked, add, home_of, registered
from filigrana.pipeline.generators.registry_file import RegistryFile
from filigrana.tests.model_kit import small_model

UNSIGNED = Asked(unsigned=True)
# `name`, `count` and `when` say before or after which call of os the process is killed.
KILLED = """
import json, os, signal, sys
from pathlib import Path
from filigrana.pipeline.generators import registry_file
from filigrana.pipeline.generators.registry import Asked, add

data, source, name, count, when = sys.argv[1:]
left = int(count)
real = getattr(os, name)

def patched(*arguments, **options):
    global left
    left -= 1
    if left == 0 and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = real(*arguments, **options)
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

def in_place(self, models):
    text = json.dumps({"version": 1, "models": models})
    with self.path.open("w") as stream:
        stream.write(text[:60])
        stream.flush()
        os.fsync(stream.fileno())
        stream.write(text[60:])

BREAK
setattr(os, name, patched)
add(Path(data), "second", source, Asked(unsigned=True))
"""
IN_PLACE = KILLED.replace("BREAK", "registry_file.RegistryFile._write = in_place")
STEPS = [(name, count, when) for name, count in (("fsync", 1), ("replace", 1), ("fsync", 2)) for when in ("before", "after")]  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    add(tmp_path / "data", "first", str(small_model(tmp_path / "one")), UNSIGNED)
    small_model(tmp_path / "two")
    return tmp_path / "data"


def killed(program: str, data: Path, *step: object) -> None:
    words = [str(data), str(data.parent / "two"), *map(str, step)]
    done = subprocess.run([sys.executable, "-c", program, *words], check=False)
    assert done.returncode == -9, "it was killed"


@pytest.mark.parametrize(("name", "count", "when"), STEPS)
def test_a_kill_loses_what_was_being_added_at_most(data: Path, name: str, count: int, when: str) -> None:
    killed(KILLED.replace("BREAK", ""), data, name, count, when)
    names = [one.name for one in registered(data)]
    written = (name, count) == ("fsync", 2) or (name, when) == ("replace", "after")
    assert names == ["first", "second"] if written else names == ["first"]
    home_of("first", data).check()
    # Others go on: no lock is left, and no litter.
    add(data, "second", str(data.parent / "two"), UNSIGNED)
    assert [one.name for one in registered(data)] == ["first", "second"]
    assert {path.name for path in data.iterdir()} == {"models.json", "models.json.lock"}


def test_the_kill_test_notices_one_that_writes_in_place(data: Path) -> None:
    killed(IN_PLACE, data, "fsync", 1, "after")
    with pytest.raises(GenerationError) as caught:
        registered(data)
    assert caught.value.code == "generate.registry"


@pytest.mark.parametrize("name", ["fsync", "replace", "fdopen", "open"])
def test_a_full_disk_changes_nothing(data: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = RegistryFile(data).path.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(f"filigrana.pipeline.kept_file.os.{name}", full)
        with pytest.raises(GenerationError, match="No space left") as caught:
            add(data, "second", str(data.parent / "two"), UNSIGNED)
    assert caught.value.code == "generate.registry"
    assert RegistryFile(data).path.read_bytes() == before
    assert {path.name for path in data.iterdir()} == {"models.json", "models.json.lock"}
    add(data, "second", str(data.parent / "two"), UNSIGNED)
    assert len(registered(data)) == 2


def test_a_data_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(GenerationError) as caught:
        add(tmp_path / "file" / "data", "tiny", str(small_model(tmp_path / "one")), UNSIGNED)
    assert caught.value.code == "generate.registry"
