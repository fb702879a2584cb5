"""Compliance reports: what they count, that they are the same bytes again, and that a change is seen."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from filigrana.errors import InputError, LogError
from filigrana.pipeline import terms
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.report_checking import check_report
from filigrana.pipeline.reporting import _cell, write_report
from filigrana.pipeline.request import GenerateRequest, Release
from filigrana.provenance.reports.tally import EXPIRED, MOST_KEYS, REJECTED, Tally
from filigrana.tests.comply_kit import engine_of, house_of
from filigrana.tests.doubles import FakeGuard
from filigrana.tests.meeting import before, meeting, together

WINDOW = {"since": "2000-01-01", "until": ""}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Two releases, a refusal with an appeal, an erasure."""
    from filigrana.safety.decision import HAZARDS

    opened = house_of(tmp_path_factory.mktemp("reporting"), profiles=["eu", "cn"])
    engine = engine_of(opened)
    for seed in (5, 6):
        assert isinstance(engine.generate(GenerateRequest("a red sailboat", seed=seed, subject="ana")), Release)
    bad = FakeGuard("classifier", dict.fromkeys(HAZARDS, 0.999))
    refused = engine_of(opened, text_guards=(bad,)).generate(GenerateRequest("a red sailboat", seed=7, subject="ben"))
    assert not refused.released
    opened.ledger.erase("ana")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def until(house: Installation) -> str:
    import time

    time.sleep(1.1)  # times in entries are whole seconds, and the window ends before now
    return house.clock().isoformat(timespec="seconds")


def test_every_figure_is_what_the_entries_say(house: Installation, until: str, tmp_path: Path) -> None:
    write_report(house, tmp_path / "r", since="2000-01-01", until=until)
    report = json.loads((tmp_path / "r" / "report.json").read_text("utf-8"))
    size = report["tree"]["size"]  # another test lets the log grow
    types = Counter(entry["type"] for index, entry in house.log.entries() if index < size)
    assert report["figures"]["types"] == dict(sorted(types.items()))
    assert report["figures"]["released"] == {"image/png": 2}
    assert report["figures"]["layers"] == {"signed metadata and watermark": 2}
    assert report["figures"]["profiles"] == {"cn": 2, "eu": 2}
    assert report["figures"]["labels"] == {"seen": 2}
    assert sum(report["figures"]["refused"].values()) == 1
    assert [asset["asset_id"] for asset in report["assets"]] == [s["asset_id"] for s in report["samples"]]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "r" / "report.csv").read_text("utf-8"))))
    assert [row["asset_id"] for row in rows] == [asset["asset_id"] for asset in report["assets"]]
    page = (tmp_path / "r" / "report.html").read_text("utf-8")
    assert "Evidence, not legal advice." in page
    assert "refused, held or failed before is not in these figures" in page  # of energy
    assert "<svg" in page
    assert "<script" not in page
    assert "secondary source only" in page
    assert "Article 50(4)" in page


def test_the_same_log_gives_the_same_bytes_also_when_it_has_grown(
    house: Installation, until: str, tmp_path: Path
) -> None:
    write_report(house, tmp_path / "one", since="2000-01-01", until=until)
    engine_of(house).generate(GenerateRequest("a red sailboat", seed=8))
    write_report(house, tmp_path / "two", since="2000-01-01", until=until)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["report.csv", "report.html", "report.json", "report.note", "report.pdf"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_a_report_holds_without_the_installation_and_every_figure_is_counted_again(
    house: Installation, until: str, tmp_path: Path
) -> None:
    write_report(house, tmp_path / "r", since="2000-01-01", until=until)
    with (tmp_path / "entries.jsonl").open("w", encoding="utf-8") as stream:
        house.log.export(stream)
    assert check_report(tmp_path / "r", house.log.keys, tmp_path / "entries.jsonl").problems == ()
    other = house_of(tmp_path / "other")
    assert any("report.note" in one for one in check_report(tmp_path / "r", other.log.keys).problems)
    other.close()


@pytest.mark.parametrize("name", ["report.json", "report.csv", "report.html", "report.pdf", "report.note"])
def test_a_changed_or_missing_file_is_seen(house: Installation, until: str, tmp_path: Path, name: str) -> None:
    write_report(house, tmp_path / "r", since="2000-01-01", until=until)
    path = tmp_path / "r" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    try:
        found = list(check_report(tmp_path / "r", house.log.keys).problems)
    except (LogError, InputError) as error:
        found = [error.message]
    assert found
    path.unlink()
    if name == "report.note":
        with pytest.raises(InputError):
            check_report(tmp_path / "r", house.log.keys)
    else:
        assert check_report(tmp_path / "r", house.log.keys).problems


def test_entries_that_say_something_else_are_seen(house: Installation, until: str, tmp_path: Path) -> None:
    write_report(house, tmp_path / "r", since="2000-01-01", until=until)
    stream = io.StringIO()
    house.log.export(stream)
    lines = stream.getvalue().splitlines()
    (tmp_path / "less.jsonl").write_text("\n".join(lines[:3]), "utf-8")
    assert check_report(tmp_path / "r", house.log.keys, tmp_path / "less.jsonl").problems == (
        "the entries are not those of the tree that was counted",
    )


@pytest.mark.parametrize(("own", "said"), [(True, "of the policy in use"), (False, "not of the policy in use")])
def test_a_safety_report_is_held_against_the_policy_in_force(
    house: Installation, until: str, tmp_path: Path, own: bool, said: str
) -> None:
    digest = house.pack.ref.digest if own else "0" * 64
    (tmp_path / "safety.json").write_text(json.dumps({"made": "2026-11-30", "met": True, "policy": {"digest": digest}}))
    report = write_report(house, tmp_path / "r", since="2000-01-01", until=until, formats=["html", "json"],
                          safety_report=tmp_path / "safety.json")  # fmt: skip
    assert report["tests"]["safety"]["current"] is own
    assert f"made 2026-11-30, {said}; every bar met" in (tmp_path / "r" / "report.html").read_text("utf-8")


def test_the_pdf_has_text_that_can_be_read(house: Installation, until: str, tmp_path: Path) -> None:
    from pypdf import PdfReader

    write_report(house, tmp_path / "r", since="2000-01-01", until=until, formats=["pdf"])
    assert sorted(p.name for p in (tmp_path / "r").iterdir()) == ["report.note", "report.pdf"]
    text = "\n".join(page.extract_text() for page in PdfReader(tmp_path / "r" / "report.pdf").pages)
    assert "shall ensure that the outputs" in text.replace("\n", " "), "a text of the law is quoted"
    assert "its words: filigrana comply duties" in text.replace("\n", " "), "no boxes in place of Chinese"
    assert "■" not in text
    for words in ("Compliance report: eu, cn", "Evidence, not legal advice.", "生成", "Article 50(4)", "root"):
        assert words in text, words


def test_no_person_stands_in_a_report(house: Installation, until: str, tmp_path: Path) -> None:
    write_report(house, tmp_path / "r", since="2000-01-01", until=until, formats=["json", "csv", "html"])
    for name in ("report.json", "report.csv", "report.html"):
        text = (tmp_path / "r" / name).read_text("utf-8")
        assert "sailboat" not in text
        assert "actor:" not in text


@pytest.mark.parametrize(
    ("since", "until", "code"),
    [
        ("2026-02-01", "2026-01-01", "input.window"),
        ("2026-01-01", "2999-01-01", "input.window"),
        ("soon", "2026-01-01", "input.time"),
    ],
)
def test_a_window_that_is_none_is_an_error(
    house: Installation, tmp_path: Path, since: str, until: str, code: str
) -> None:
    with pytest.raises(InputError) as error:
        write_report(house, tmp_path / "r", since=since, until=until)
    assert error.value.code == code


def test_a_formula_is_text_in_a_spreadsheet() -> None:
    assert _cell("=HYPERLINK(1)") == "'=HYPERLINK(1)"
    assert _cell("@x") == "'@x"
    assert _cell("image/png") == "image/png"


def test_memory_does_not_grow_with_what_entries_say() -> None:
    tally = Tally(samples=3)
    for number in range(3 * MOST_KEYS):
        tally.add(number, {"type": "release", "time": "2026-01-01T00:00:00Z", "mime": f"x/{number}", "asset_id": str(number),
                           "sha256": str(number), "bindings": []})  # fmt: skip
    assert len(tally.released) <= MOST_KEYS + 1
    assert sum(tally.released.values()) == 3 * MOST_KEYS
    assert len(tally.picked) == 3


@pytest.mark.parametrize("entry", [{"type": "release", "bindings": 3, "profiles": 4, "label": None}, {"type": "refused", "rules": 7},
                                   {"type": "result", "energy": {"joules": "much"}}, {"type": "decision", "decision": []}, {},
                                   {"type": "picked"}, {"type": "_init__"}, {"type": "release", "label": 3},
                                   {"type": "result", "energy": {"joules": "1e999999"}}])  # fmt: skip
def test_entries_out_of_form_are_counted_and_break_nothing(entry: dict[str, object]) -> None:
    tally = Tally()
    tally.add(0, entry)
    assert tally.figures()["entries"] == 1
    assert len(json.dumps(tally.figures())) < 2000


def test_what_nobody_decided_in_time_was_refused_by_no_person() -> None:
    tally = Tally()
    for entry in (
        {"code": "prompt.cse"},
        {"code": "review.rejected", "round": 1},
        {"code": "review.expired", "round": 1},
        {"code": "review.expired", "round": 2},
        {"code": "output.gore", "round": 1},  # held, and then blocked by a policy that was put in force meanwhile
    ):
        tally.add(0, {"type": "refused", "time": "2026-01-01T00:00:00.000Z", "rules": [], **entry})
    assert tally.figures()["automated"] == {"automated": 2, "by people": 1, "out of time": 2}
    assert (EXPIRED, REJECTED) == (terms.EXPIRED, terms.REJECTED)


def test_two_reports_at_once_into_one_folder_are_one_after_the_other(
    house: Installation, until: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each wrote over the other's drafts, and what was signed was of two windows."""
    from filigrana.pipeline import reporting

    monkeypatch.setattr(reporting, "_report", before(meeting(2), reporting._report))
    windows = (("2000-01-01", until), ("2000-01-01", "2000-01-02"))

    def written(number: int) -> dict[str, Any]:
        since, end = windows[number]
        return write_report(house, tmp_path / "r", since=since, until=end, formats=("json", "csv"))

    found = together(2, written)
    assert not [one for one in found if isinstance(one, Exception)]
    assert check_report(tmp_path / "r", house.log.keys).problems == ()
    report = json.loads((tmp_path / "r" / "report.json").read_text("utf-8"))
    rows = list(csv.DictReader(io.StringIO((tmp_path / "r" / "report.csv").read_text("utf-8"))))
    assert [row["asset_id"] for row in rows] == [asset["asset_id"] for asset in report["assets"]]
    assert len(rows) == sum(report["figures"]["released"].values())
