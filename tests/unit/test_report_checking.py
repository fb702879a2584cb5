"""A report that its own log's key signed and that is wrong all the same: whoever signs it is who is audited."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from filigrana.errors import InputError
from filigrana.pipeline.report_checking import ReportChecked, check_report
from filigrana.pipeline.reporting import write_report
from filigrana.pipeline.request import GenerateRequest, Release
from filigrana.provenance.log.bundle import Enclosures, make_bundle
from filigrana.provenance.reports.signed import report_note
from filigrana.tests.comply_kit import engine_of, house_of


class Audited:
    """An installation with three releases, a report of it, its entries, and the auditor's bundle of all of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.house = folder, house_of(folder, profiles=["eu"])
        for seed in (5, 6, 7):
            outcome = engine_of(self.house).generate(GenerateRequest("a red sailboat", seed=seed, subject="ana"))
            assert isinstance(outcome, Release)
        until = self.house.clock().isoformat()
        write_report(self.house, folder / "report", since="2000-01-01", until=until, samples=2)
        with (folder / "entries.jsonl").open("w", encoding="utf-8") as stream:
            self.house.log.export(stream)
        size = self.house.log.size()
        for name, indexes in (("bundle.pyz", range(size)), ("part.pyz", range(1, size))):
            made = make_bundle(self.house.log, list(indexes), Enclosures())
            (folder / name).write_bytes(made.data)

    def check(self, folder: Path, entries: str = "entries.jsonl") -> ReportChecked:
        return check_report(folder, self.house.log.keys, self.folder / entries)

    def signed(self, target: Path, change: Callable[[dict[str, Any]], object], **files: bytes) -> Path:
        """The report with something changed in it, and signed again by the log's own key."""
        shutil.copytree(self.folder / "report", target)
        report = json.loads((target / "report.json").read_text("utf-8"))
        tree, window = dict(report["tree"]), dict(report["window"])
        change(report)
        if report != json.loads((target / "report.json").read_text("utf-8")):
            (target / "report.json").write_text(json.dumps(report), "utf-8")
        for name, data in files.items():
            (target / f"report.{name}").write_bytes(data)
        names = [path.name for path in target.iterdir() if path.name != "report.note"]
        digests = {name: hashlib.sha256((target / name).read_bytes()).hexdigest() for name in names}
        (target / "report.note").write_text(report_note(digests, tree, window, self.house.log.signer), "utf-8")
        return target


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Audited]:
    made = Audited(tmp_path_factory.mktemp("audited"))
    yield made
    made.house.close()


@pytest.mark.parametrize("entries", ["entries.jsonl", "bundle.pyz"])
def test_an_auditor_counts_again_from_an_export_or_from_the_bundle(audited: Audited, entries: str) -> None:
    assert audited.check(audited.folder / "report", entries) == ReportChecked(())


def test_a_bundle_of_a_part_of_the_log_is_not_enough_and_says_what_is(audited: Audited) -> None:
    with pytest.raises(InputError) as error:
        audited.check(audited.folder / "report", "part.pyz")
    assert error.value.code == "input.entries"
    assert "from the first one on" in error.value.message
    assert "bundle make" in error.value.hint


def _set(*path: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(report: dict[str, Any]) -> None:
        place: Any = report
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_set("figures", "refused", value={"prompt.cse": 1}), "the figure refused is not what the entries say"),
        (_set("figures", "complaints", value={"none": 1}), "the figure complaints is not what the entries say"),
        (lambda report: report["figures"].pop("first"), "the figure first is not what the entries say"),
        (_set("assets", 1, "sha256", value="0" * 64), "the assets are not those of the entries"),
        (_set("samples", 0, "mime", value="image/gif"), "is about something else"),
        (_set("samples", 0, "bindings", value=[]), "is about something else"),
        (_set("samples", 1, "proof", value=[]), "proof"),
        (_set("tree", "size", value=10**6), "the tree in report.json is not the one that was signed for"),
        (_set("window", "from", value="2001-01-01T00:00:00.000Z"), "the window in report.json is not the one"),
        (_set("figures", value=7), "report.json is out of form"),
        (lambda report: report.pop("samples"), "report.json is out of form"),
        (lambda report: report["samples"].reverse(), "the samples are not the assets with the smallest hashes"),
    ],
)  # fmt: skip
def test_a_wrong_figure_is_found_although_it_is_signed(
    audited: Audited, tmp_path: Path, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    found = audited.check(audited.signed(tmp_path / "r", change))
    assert any(words in one for one in found.problems), found.problems


@pytest.mark.parametrize("name", ["csv", "html"])
def test_a_page_that_tells_something_else_than_the_figures_is_found_although_it_is_signed(
    audited: Audited, tmp_path: Path, name: str
) -> None:
    data = (audited.folder / "report" / f"report.{name}").read_bytes()
    folder = audited.signed(tmp_path / "r", lambda report: None, **{name: data.replace(b"image/png", b"image/gif")})
    assert audited.check(folder).problems == (f"report.{name} does not say what report.json says",)


def test_a_pdf_of_other_bytes_is_not_called_wrong_but_named(audited: Audited, tmp_path: Path) -> None:
    folder = audited.signed(tmp_path / "r", lambda report: None, pdf=b"%PDF-1.4")
    found = audited.check(folder)
    assert found.problems == ()
    assert any("report.pdf" in one for one in found.left)


@pytest.mark.parametrize("name", ["version", "pages"])
def test_a_report_of_other_code_says_which_pages_nobody_compared(audited: Audited, tmp_path: Path, name: str) -> None:
    found = audited.check(audited.signed(tmp_path / "r", _set(name, value="0.0.1")))
    assert found.problems == ()
    assert [one.split()[0] for one in found.left] == ["report.html", "report.pdf"]
    assert all("other code" in one for one in found.left)


def test_entries_that_are_not_under_the_root_are_not_counted(audited: Audited, tmp_path: Path) -> None:
    """A figure that hangs on a line which was put behind the log's own entries is found to be wrong."""
    lines = (audited.folder / "entries.jsonl").read_text("utf-8").splitlines()
    real = [line for line in lines if "entry" in json.loads(line)]
    more = {"index": len(real), "entry": {"type": "refused", "time": "2026-01-01T00:00:00.000Z", "code": "prompt.cse"}}
    (tmp_path / "entries.jsonl").write_text("\n".join([*real, json.dumps(more)]), "utf-8")
    folder = audited.signed(tmp_path / "r", _set("figures", "refused", value={"prompt.cse": 1}))
    found = check_report(folder, audited.house.log.keys, tmp_path / "entries.jsonl")
    assert "the figure refused is not what the entries say" in found.problems


@pytest.mark.parametrize("swapped", [True, False])
def test_entries_out_of_their_order_are_no_export(audited: Audited, tmp_path: Path, swapped: bool) -> None:
    lines = (audited.folder / "entries.jsonl").read_text("utf-8").splitlines()
    later = json.dumps({"index": 10**9, "entry": {"type": "refused", "time": "2026-01-01T00:00:00.000Z"}})
    changed = [lines[1], lines[0], *lines[2:]] if swapped else [*lines[:-1], later]
    (tmp_path / "entries.jsonl").write_text("\n".join(changed), "utf-8")
    with pytest.raises(InputError) as error:
        check_report(audited.folder / "report", audited.house.log.keys, tmp_path / "entries.jsonl")
    assert error.value.code == "input.entries"


def test_a_bundle_in_which_one_bit_differs_is_not_counted(audited: Audited, tmp_path: Path) -> None:
    data = bytearray((audited.folder / "bundle.pyz").read_bytes())
    data[data.index(b'"type":"release"') + 9] ^= 1
    (tmp_path / "bundle.pyz").write_bytes(data)
    with pytest.raises(InputError, match=r"bundle.pyz: the bundle (is not as it was written|holds members)"):
        check_report(audited.folder / "report", audited.house.log.keys, tmp_path / "bundle.pyz")


def test_a_note_over_nothing_is_no_report(audited: Audited, tmp_path: Path) -> None:
    tree = {"origin": "x", "size": 1, "root": "0" * 64}
    (tmp_path / "report.note").write_text(report_note({}, tree, {}, audited.house.log.signer), "utf-8")
    assert check_report(tmp_path, audited.house.log.keys).problems == ("report.note: it is signed over no file",)
