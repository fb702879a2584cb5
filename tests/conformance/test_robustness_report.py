"""The robustness report that ships says what rule R15 asks: which marks, which version, which kinds of file."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

from filigrana.pipeline.comply_house import report_path, robustness
from filigrana.provenance.watermark.registry import codec, sound_codec


def test_it_covers_every_mark_that_is_put_in_and_every_kind_of_file() -> None:
    said = robustness(None)
    assert "error" not in said
    assert {codec().alg, sound_codec().alg} <= set(said["algorithms"])
    assert {"picture", "art", "video", "sound", "removal", "null"} <= set(said["sections"])
    assert said["errors"] == 0
    assert said["version"] == metadata.version("filigrana")


def test_what_falls_short_in_it_is_said_and_not_rounded_up() -> None:
    path = report_path()
    assert path is not None
    report = json.loads(path.read_text("utf-8"))
    assert report["met"] is all(bar["met"] for bar in report["bars"])
    assert all(bar["value"] is not None for bar in report["bars"]), "a bar without a measurement is no bar that was met"
    page = path.with_suffix(".html").read_text("utf-8")
    assert report["code"] in page, "page and figures are of one run"


def test_a_report_without_sound_speaks_of_no_mark_in_sound(tmp_path: Path) -> None:
    path = report_path()
    assert path is not None
    report = json.loads(path.read_text("utf-8")) | {"sound": None}
    (tmp_path / "report.json").write_text(json.dumps(report))
    assert sound_codec().alg not in robustness(tmp_path / "report.json")["algorithms"]
