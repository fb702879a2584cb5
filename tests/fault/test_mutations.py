"""A sample of the mutations of benchmarks/mutations.py over every format: none crashes the reader, hangs, or is
`verified` on changed content. The long run is `python benchmarks/mutations.py`."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def mutations() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutations", ROOT / "benchmarks" / "mutations.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutations"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_changed_files_of_every_format(mutations: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tallies = mutations.run(count=84, seconds=30, seed=random.Random(3).randrange(1 << 30))
    assert set(tallies) == set(mutations.SUFFIXES)
    for suffix, tally in tallies.items():
        assert tally.count == 6, suffix
        assert (tally.crashes, tally.hangs, tally.false) == ([], [], []), suffix


def test_the_mutations_change_something(mutations: ModuleType) -> None:
    rng, data = random.Random(1), bytes(range(256)) * 40
    changed = [mutations.mutated(data, rng)[1] for _ in range(200)]
    assert sum(item != data for item in changed) > 180


def test_a_false_verification_is_seen(mutations: ModuleType, tmp_path: Path) -> None:
    """Negative control: what is compared are pixels, so another picture under the same name is another content."""
    from filigrana.provenance.media import encode_picture
    from filigrana.tests.doubles import scene

    one, two = tmp_path / "1.png", tmp_path / "2.png"
    picture = scene(1)
    one.write_bytes(encode_picture(picture, "image/png"))
    picture[10, 10] ^= 1
    two.write_bytes(encode_picture(picture, "image/png"))
    assert mutations.content(one) != mutations.content(two)
