"""The ComfyUI node against a real service: what it shows was released, and what was not is an error."""

from __future__ import annotations

import io
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from filigrana.integrations.comfyui import NODE_CLASS_MAPPINGS
from filigrana.integrations.comfyui.seal import FiligranaSeal, SealError, Service, plain, png
from filigrana.pipeline.installation import Installation
from filigrana.tests.doubles import calm, scene
from filigrana.tests.serving import installed, running
from filigrana.tests.working import working


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Installation]:
    opened = installed(tmp_path / "data")
    yield opened
    opened.close()


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """ComfyUI's own module, as far as the node uses it."""
    folder = tmp_path / "output"
    folder.mkdir()
    module = types.ModuleType("folder_paths")
    module.get_output_directory = lambda: str(folder)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "folder_paths", module)
    return folder


def batch(count: int = 2) -> np.ndarray:
    return np.stack([scene(seed, 320, 320) for seed in range(count)]).astype(np.float32) / 255


def test_a_batch_becomes_sealed_files(house: Installation, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FILIGRANA_KEY", house.access.add("studio", "comfyui", ["creator"])[1])
    node = NODE_CLASS_MAPPINGS["FiligranaSeal"]()
    assert set(node.INPUT_TYPES()["required"]) >= {"images", "server", "source_type"}
    with running(house) as url, working(house):
        told = getattr(node, node.FUNCTION)(batch(), url, "ai", "../cover", 60)
    names = told["result"][0].split("\n")
    assert len(set(names)) == 2
    for item, asset in zip(told["ui"]["images"], names, strict=True):
        assert item["filename"] == f"cover_{asset}.png"
        finding = house.inspector.verify(output / item["filename"])
        assert (finding.finding, str(finding.asset_id)) == ("verified", asset)


def test_what_is_held_or_refused_is_an_error(house: Installation, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = house.access.add("studio", "comfyui", ["creator"])[1]
    monkeypatch.setenv("FILIGRANA_KEY", secret)
    with running(house) as url, working(house, frame_guards=lambda _generated: calm("nsfw")):
        with pytest.raises(SealError, match="held") as caught:
            FiligranaSeal().seal(batch(1), url, "ai", "x", 60)
        assert secret not in str(caught.value)
        monkeypatch.setenv("FILIGRANA_KEY", "fg_abcdefghijkl_" + "x" * 43)
        with pytest.raises(SealError, match=r"access\.key"):
            FiligranaSeal().seal(batch(1), url, "ai", "x", 60)
    assert list(output.iterdir()) == []


def test_a_key_goes_nowhere_in_the_open() -> None:
    for url, key in (("http://example.org", "k"), ("ftp://127.0.0.1", "k"), ("http://127.0.0.1", "")):
        with pytest.raises(SealError):
            Service(url, key)
    with pytest.raises(SealError, match="does not answer"):
        Service("http://127.0.0.1:1", "k").put(b"", "ai")


def test_values_outside_the_range_are_cut_and_names_stay_here() -> None:
    from PIL import Image

    image = np.array([[[-1.0, 0.5, 2.0]]], dtype=np.float32)
    assert np.asarray(Image.open(io.BytesIO(png(image)))).tolist() == [[[0, 128, 255]]]
    assert plain("../../etc/x") == "etcx"
    assert plain("…") == "filigrana"
