"""A compliance report out of the log: counted in one pass, written while it is read, signed at the end.

The window ends at a time in the past, and the tree is that of the entries up to its last one: whatever is appended
later changes nothing, so the same log gives the same bytes again.
"""

from __future__ import annotations

import csv
import fcntl
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ..errors import InputError, ReleaseError
from ..provenance.durable import write_file
from ..provenance.log import canonical
from ..provenance.log.canonical import time_text
from ..provenance.log.search import parse_time
from ..provenance.reports.duties import load
from ..provenance.reports.signed import report_note
from ..provenance.reports.tally import Tally
from .comply_house import robustness
from .parts import version

if TYPE_CHECKING:
    from .installation import Installation

FORMATS = ("json", "csv", "html", "pdf")
_COLUMNS = (
    "index", "time", "asset_id", "mime", "source_type", "sha256", "bytes", "manifest", "bindings", "profiles", "label",
    "record",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_report(
    opened: Installation,
    target: Path,
    *,
    since: str,
    until: str,
    formats: Iterable[str] = FORMATS,
    samples: int = 20,
    robustness_report: Path | None = None,
    safety_report: Path | None = None,
) -> dict[str, Any]:
    """Writes the report's files into the folder ``target``, and returns what report.json holds without its assets.
    Raises InputError for a window that is none, ReleaseError where the folder cannot be written."""
    names = opened.settings.profiles
    if not names:
        raise InputError("no profile is chosen", code="input.profile", hint="Give --profile eu, for example.")
    start, end = parse_time(since), parse_time(until)
    if start >= end:
        raise InputError("--from is not before --to", code="input.window")
    if end > time_text(opened.clock()):
        raise InputError(
            "--to lies in the future: a report on what is still to come could not be made again",
            code="input.window",
            hint="Give a time that is past.",
        )
    wanted = tuple(dict.fromkeys(formats))
    if not wanted or not set(wanted) <= set(FORMATS):
        raise InputError(f"a report is written as {', '.join(FORMATS)}", code="input.format")
    for name in names:
        load(name)  # before anything is written
    try:
        target.mkdir(parents=True, exist_ok=True)
        with _alone(target):
            return _written(opened, target, start, end, wanted, samples, (robustness_report, safety_report))
    except OSError as error:  # such as a folder that is a file
        raise ReleaseError(f"{target} cannot be written: {error.strerror}", code="release.target") from error


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """One report at a time into a folder: what is signed must be of one window."""
    handle = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # a file system that locks no folders (NFS): then that is up to whoever writes it
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        (target / ".assets.part").unlink(missing_ok=True)
        os.close(handle)


def _written(
    opened: Installation, target: Path, start: str, end: str, wanted: tuple[str, ...], samples: int, tests: Any
) -> dict[str, Any]:
    tally, size = Tally(samples), 0
    with ExitStack() as stack:
        lines = stack.enter_context(_Whole(target / ".assets.part"))
        table = stack.enter_context(_Whole(target / "report.csv")) if "csv" in wanted else None
        rows = None if table is None else csv.writer(table.stream, lineterminator="\n")
        if rows is not None:
            rows.writerow(_COLUMNS)
        for index, entry in opened.log.entries():
            time = entry.get("time")
            if not isinstance(time, str) or time >= end:
                continue
            size = index + 1
            if time < start:
                continue
            tally.add(index, entry)
            if entry["type"] == "release":
                asset = asset_row(index, entry)
                lines.stream.write(json.dumps(asset, sort_keys=True, separators=(",", ":")) + "\n")
                if rows is not None:
                    rows.writerow(_row(asset))
    report = _report(opened, tally, size, start, end, tests)
    files = ["report.csv"] if table is not None else []
    if "json" in wanted:
        _write_json(target, report)
        files.append("report.json")
    if {"html", "pdf"} & set(wanted):
        files += _pages(target, report, wanted)
    digests = {name: _sha256(target / name) for name in sorted(files)}
    note = report_note(digests, report["tree"], report["window"], opened.log.signer)
    for left in {f"report.{name}" for name in FORMATS} - set(files):
        (target / left).unlink(missing_ok=True)  # of an earlier report here: this one does not sign for it
    write_file(target / "report.note", note.encode(), 0o666)
    return report | {"files": [*sorted(files), "report.note"]}


def _report(opened: Installation, tally: Tally, size: int, start: str, end: str, tests: Any) -> dict[str, Any]:
    log = opened.log
    profiles = []
    for name in opened.settings.profiles:
        found, digest = load(name)
        profiles.append(found.model_dump(mode="json") | {"digest": digest})
    return {
        "schema": "org.filigrana.compliance-report.1",
        "note": "Evidence, not legal advice.",
        "version": version(),
        "pages": page_code(),
        "organisation": opened.settings.organisation,
        "window": {"from": start, "to": end},
        "tree": {"origin": log.signer.name, "size": size, "root": log.root_at(size)},
        "figures": tally.figures(),
        "samples": [_sample(opened, index, entry, size) for index, entry in tally.picked],
        "tests": {"robustness": _robustness(tests[0]), "safety": _safety(tests[1], opened)},
        "model_cards": _cards(opened),
        "profiles": profiles,
    }


def asset_row(index: int, entry: dict[str, Any]) -> dict[str, Any]:
    """A released asset as report.json and report.csv tell it."""
    return {"index": index} | {name: entry.get(name) for name in _COLUMNS if name != "index"}


def csv_text(assets: Iterable[dict[str, Any]]) -> str:
    """What report.csv holds, made of the assets of report.json."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(_COLUMNS)
    rows.writerows(_row(asset) for asset in assets)
    return text.getvalue()


def _row(asset: dict[str, Any]) -> list[str]:
    return [_cell(asset[name]) for name in _COLUMNS]


def _cell(value: Any) -> str:
    """What a spreadsheet would take for a formula is text."""
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _sample(opened: Installation, index: int, entry: dict[str, Any], size: int) -> dict[str, Any]:
    leaf = canonical.encode(entry).decode()
    return {
        "index": index,
        "asset_id": entry.get("asset_id"),
        "sha256": entry.get("sha256"),
        "mime": entry.get("mime"),
        "bindings": entry.get("bindings") or [],
        "leaf": leaf,
        "proof": [item.hex() for item in opened.log.path(index, size)],
    }


def _robustness(given: Path | None) -> dict[str, Any]:
    """A report of tests in use: what it is of, and whether that is the code in use."""
    from .comply_house import report_path

    found, path = robustness(given), given or report_path()
    if path is None or found.get("error"):
        return {"error": found.get("error", "none was given")}
    return _test(path, lambda _said: found["code"] == found["installed_code"])


def _safety(given: Path | None, opened: Installation) -> dict[str, Any] | None:
    """The same of one that measured a policy, with its guards: whether that is the policy in force."""
    return None if given is None else _test(given, lambda said: said["policy"]["digest"] == opened.pack.ref.digest)


def _test(path: Path, current: Callable[[Any], bool]) -> dict[str, Any]:
    try:
        data = path.read_bytes()
        said = json.loads(data)
        made, met = str(said.get("made") or said.get("date") or "not stated"), said.get("met") is True
        fits = current(said)
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        return {"error": f"{path.name} cannot be read ({type(error).__name__})"}
    return {"made": made, "met": met, "current": fits, "sha256": hashlib.sha256(data).hexdigest()}


def _cards(opened: Installation) -> list[dict[str, Any]]:
    """Of the embedded model, and of those that were registered here."""
    cards = []
    card = resources.files("filigrana.models") / "shot" / "filigrana.json"
    said = json.loads(card.read_text("utf-8"))
    cards.append({name: said.get(name, "not stated") for name in ("name", "version", "licence", "training_data")})
    from .generators.registry import registered

    for entry in registered(opened.settings.data_dir):
        model = entry.model
        cards.append({
            "name": model.name, "version": model.version, "licence": model.licence or "not stated",
            "training_data": model.training_data or "not stated",
        })  # fmt: skip
    return cards


def _write_json(target: Path, report: dict[str, Any]) -> None:
    """The assets are copied in line by line, so that memory does not grow with them."""
    head = json.dumps(report, sort_keys=True, ensure_ascii=False, indent=1)
    with _Whole(target / "report.json") as whole, (target / ".assets.part").open(encoding="utf-8") as lines:
        whole.stream.write(head[: head.rindex("\n")] + ',\n "assets": [')
        between = "\n  "
        for line in lines:
            whole.stream.write(between + line.rstrip("\n"))
            between = ",\n  "
        whole.stream.write("\n ]\n}\n")


def _pages(target: Path, report: dict[str, Any], wanted: tuple[str, ...]) -> list[str]:
    names = [f"report.{name}" for name in ("html", "pdf") if name in wanted]
    for name in names:
        write_file(target / name, page_bytes(report, name.rpartition(".")[2]), 0o666)
    return names


@cache
def page_code() -> str:
    """SHA-256 of the code and the words that pages are made with: other code may rightly make other pages."""
    found = hashlib.sha256()
    folder = resources.files("filigrana.provenance.reports")
    for item in sorted(folder.iterdir(), key=lambda one: one.name):
        if item.name.endswith((".py", ".css")):
            found.update(f"{item.name}\n".encode() + item.read_bytes())
    return found.hexdigest()


def page_bytes(report: dict[str, Any], name: str) -> bytes:
    """report.html or report.pdf, made of what report.json holds. Raises SettingsError where reportlab is missing."""
    from ..provenance.reports.html import page
    from ..provenance.reports.pdf import pdf
    from ..provenance.reports.writing import document

    told = document(report)
    return page(told).encode() if name == "html" else pdf(told)


class _Whole:
    """A text file that appears whole, or not at all."""

    def __init__(self, path: Path) -> None:
        self._path, self._part = path, path.with_name(f".{path.name.lstrip('.')}.new")
        self.stream: TextIO = io.StringIO()

    def __enter__(self) -> _Whole:
        self.stream = self._part.open("w", encoding="utf-8", newline="")
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.stream.close()
        if kind is None:
            os.replace(self._part, self._path)
        else:
            self._part.unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
