"""What a command writes where it is told to is whole, or what lay there before: on a disk that runs full in between."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from filigrana.pipeline.request import GenerateRequest
from filigrana.tests.conftest import MakeEngine
from filigrana.tests.disks import small_disk

OLD = b"what lay there before"
PAGE = 4096


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    with small_disk(tmp_path / "disk", "1m") as folder:
        yield folder


@pytest.fixture
def full_disk(disk: Path) -> Callable[[int], Path]:
    """`full_disk(pages)`: a file on a disk that has room for so many pages more."""

    def leave(pages: int) -> Path:
        (disk / "output").write_bytes(OLD)
        free = os.statvfs(disk).f_bavail * PAGE
        (disk / "filler").write_bytes(bytes(free - pages * PAGE))
        return disk / "output"

    return leave


def run(data: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "FILIGRANA_DATA_DIR": str(data)}
    command = [sys.executable, "-c", "from filigrana.pipeline.cli import main; main()", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


COMMANDS = {
    "a page about a file": lambda photo, asset, target: ("verify", photo, "--html", target),
    "a proof": lambda photo, asset, target: ("audit", "prove", asset, "-o", target),
    "a record": lambda photo, asset, target: ("audit", "record", asset, "-o", target),
    "a run of rules": lambda photo, asset, target: ("comply", "check", photo, "--profile", "eu", "--junit", target),
    "a person's data": lambda photo, asset, target: ("audit", "subject", "someone", "-o", target),
}


@pytest.mark.parametrize("what", COMMANDS)
def test_on_a_full_disk_the_old_file_stays(
    what: str, sealed_photo: Path, tmp_path: Path, full_disk: Callable[[int], Path], make_engine: MakeEngine
) -> None:
    data = tmp_path / "data"
    assert make_engine().generate(GenerateRequest("a boat", subject="someone")).released
    asset = next((data / "assets").rglob("*.png")).stem
    target = full_disk(0)
    done = run(data, *COMMANDS[what](str(sealed_photo), asset, str(target)))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert target.read_bytes() == OLD
    assert sorted(path.name for path in target.parent.iterdir()) == ["filler", "output"], "a part was left behind"
    # The same command where there is room: it was the disk that it failed for.
    (target.parent / "filler").unlink()
    done = run(data, *COMMANDS[what](str(sealed_photo), asset, str(target)))
    assert target.read_bytes() not in (OLD, b""), done.stdout + done.stderr


def test_half_of_a_page_never_takes_the_place_of_a_whole_one(
    sealed_photo: Path, tmp_path: Path, full_disk: Callable[[int], Path]
) -> None:
    """With room for a part of it."""
    target = full_disk(1)
    done = run(tmp_path / "data", "verify", str(sealed_photo), "--html", str(target))
    assert done.returncode == 1, done.stdout + done.stderr
    assert target.read_bytes() == OLD


def test_a_restore_that_fails_leaves_the_place_as_it_was(make_engine: MakeEngine, tmp_path: Path, disk: Path) -> None:
    """The database has rows of some 100 KB: the disk takes the files, and not the rows."""
    assert make_engine().generate(GenerateRequest("a boat", subject="someone")).released
    archive = tmp_path / "backup.tar"
    assert run(tmp_path / "data", "backup", "-o", str(archive)).returncode == 0
    filler = disk / "filler"
    filler.write_bytes(bytes(os.statvfs(disk).f_bavail * PAGE - 100 * PAGE))
    done = run(disk / "new", "restore", str(archive))
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    assert list((disk / "new").iterdir()) == [], done.stderr
    filler.unlink()
    subprocess.run(["mount", "-o", "remount,size=16m", disk], check=True)
    done = run(disk / "new", "restore", str(archive))
    assert done.returncode == 0, done.stderr
    assert "the log holds" in done.stdout
