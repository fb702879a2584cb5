"""Folders for what is under way go with their owner, also with one that is killed; nobody's living work is touched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from filigrana.pipeline.generators.clips import sound_file
from filigrana.provenance import scratch
from filigrana.provenance.scratch import PREFIX, ScratchFolder, sweep

OWNER = """
import sys
from filigrana.provenance.scratch import ScratchFolder
folder = ScratchFolder()
(folder.path / "upload").write_bytes(b"a stranger's picture")
print(folder.path, flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(scratch, "_swept", None)
    return folder


@pytest.fixture
def owner(temporary: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(temporary)},
    )
    assert process.stdout is not None
    yield process, Path(process.stdout.readline().strip())
    process.kill()
    process.communicate()


def test_it_is_private_and_gone_after_its_block() -> None:
    with ScratchFolder() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "part").write_text("x")
    assert not folder.exists()


def test_what_a_killed_process_left_is_removed_by_the_next(owner: tuple[subprocess.Popen[str], Path]) -> None:
    process, left = owner
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (left / "upload").exists(), "the kill itself cleans nothing up"
    with ScratchFolder():
        assert not left.exists()


def test_what_a_living_process_holds_stays(owner: tuple[subprocess.Popen[str], Path]) -> None:
    _, held = owner
    assert sweep() == []
    assert (held / "upload").read_bytes() == b"a stranger's picture"


def test_an_owner_that_ends_by_itself_leaves_nothing(owner: tuple[subprocess.Popen[str], Path]) -> None:
    process, held = owner
    process.communicate("")
    assert process.returncode == 0
    assert not held.exists()


def test_a_forked_child_that_ends_takes_nothing_away() -> None:
    program = (
        "import os\nfrom filigrana.provenance.scratch import ScratchFolder\nfolder = ScratchFolder()\n"
        "child = os.fork()\n"
        "if child == 0:\n    raise SystemExit(0)  # runs what is registered for the end\n"
        "os.waitpid(child, 0)\nprint(folder.path.is_dir())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "True", done.stderr


def test_links_files_and_other_names_are_left_alone(temporary: Path, tmp_path: Path) -> None:
    """Anybody may write into the system's folder for temporary files."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("x")
    (temporary / f"{PREFIX}link").symlink_to(elsewhere)
    (temporary / f"{PREFIX}file").write_text("x")
    (temporary / "another").mkdir()
    assert sweep() == []
    assert (elsewhere / "precious").exists()
    assert sorted(entry.name for entry in temporary.iterdir()) == ["another", f"{PREFIX}file", f"{PREFIX}link"]


def test_a_link_inside_one_is_not_followed(temporary: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    left = temporary / f"{PREFIX}left"
    left.mkdir()
    (left / "link").symlink_to(tmp_path)
    assert sweep() == [left]
    assert (tmp_path / "precious").exists()


def test_the_sound_of_a_clip_lies_in_one(temporary: Path) -> None:
    media = sound_file(np.zeros(16_000, np.float32), 16_000)
    assert media.path.parent.name.startswith(PREFIX)
    assert media.path.parent.parent == temporary
    del media
    assert list(temporary.iterdir()) == []
