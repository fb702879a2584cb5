"""Holding a compliance report against its signature, its proofs and the log's entries: offline, by anybody.

Whoever signs a report could sign a wrong one. So its files are held against each other, and every figure is counted
again out of the entries, of which those alone count that are under the tree's root.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import EntryError, InputError, SettingsError, TamperError
from ..provenance.log import canonical
from ..provenance.log.bundle_format import unpack
from ..provenance.log.merkle import CompactRange, leaf_hash
from ..provenance.log.note import VerifierKey
from ..provenance.reports.signed import check_sample, open_note
from ..provenance.reports.tally import Tally
from .parts import version
from .reporting import asset_row, csv_text, page_bytes, page_code


@dataclass(frozen=True, slots=True)
class ReportChecked:
    """``problems``: what is wrong, in words; none for a report that holds. ``left``: what could not be looked at."""

    problems: tuple[str, ...]
    left: tuple[str, ...] = ()


def check_report(folder: Path, keys: Iterable[VerifierKey], entries: Path | None = None) -> ReportChecked:
    """Needs no installation and no network. ``entries``: an export of the log, or an auditor's bundle of all of it,
    from which every figure is counted again. Raises InputError, LogError."""
    try:
        note = (folder / "report.note").read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"there is no report.note in {folder.name}", code="input.report") from error
    try:
        said = open_note(note, keys)
    except TamperError as error:
        return ReportChecked((f"report.note: {error.message}",))
    # A page that nobody signed for, beside a note that holds, would be taken for the report's.
    problems = [
        f"{path.name} is not of this report"
        for path in sorted(folder.glob("report.*"))
        if path.name not in {*said["files"], "report.note"}
    ]
    problems += [] if said["files"] else ["report.note: it is signed over no file"]
    for name, digest in said["files"].items():
        path = folder / Path(str(name)).name
        if not path.is_file():
            problems.append(f"{name} is missing")
        elif _sha256(path) != digest:
            problems.append(f"{name} was changed")
    if entries is not None and "report.json" not in said["files"]:
        raise InputError(
            "this report has no report.json whose figures could be counted again",
            code="input.report",
            hint="Write it with --format json, or check it without --entries.",
        )
    if "report.json" not in said["files"] or problems:
        return ReportChecked(tuple(problems))
    leaves = None if entries is None else _leaves(entries)
    try:
        return _looked_into(folder, said, leaves)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError):
        return ReportChecked(("report.json is out of form",))


def _looked_into(folder: Path, said: dict[str, Any], leaves: Iterator[bytes] | None) -> ReportChecked:
    report = json.loads((folder / "report.json").read_text("utf-8"))
    problems = [
        f"the {name} in report.json is not the one that was signed for"
        for name in ("tree", "window")
        if report[name] != said.get(name)
    ]
    for sample in report["samples"]:
        try:
            check_sample(sample, said["tree"])
        except TamperError as error:
            problems.append(error.message)
    if leaves is not None and not problems:
        problems += _recounted(report, said["tree"], leaves)
    more, left = _pages(folder, report, said["files"])
    return ReportChecked((*problems, *more), left)


def _recounted(report: dict[str, Any], tree: dict[str, Any], leaves: Iterator[bytes]) -> list[str]:
    tally, range_, assets = Tally(len(report["samples"])), CompactRange(), list[dict[str, Any]]()
    start, end, size = report["window"]["from"], report["window"]["to"], tree["size"]
    for index, leaf in enumerate(leaves):
        if index >= size:
            break  # what came later is not under this root: anybody could have written it
        range_.push(leaf_hash(leaf))
        entry = _entry(leaf)
        time = entry.get("time")
        if isinstance(time, str) and start <= time < end:
            tally.add(index, entry)
            if entry.get("type") == "release":
                assets.append(asset_row(index, entry))
    if range_.root().hex() != tree["root"]:
        return ["the entries are not those of the tree that was counted"]
    mine = json.loads(json.dumps(tally.figures()))
    problems = [
        f"the figure {name} is not what the entries say"
        for name in sorted({*mine, *report["figures"]})
        if name not in mine or mine[name] != report["figures"].get(name)
    ]
    if json.loads(json.dumps(assets)) != report["assets"]:
        problems.append("the assets are not those of the entries")
    if [index for index, _ in tally.picked] != [sample.get("index") for sample in report["samples"]]:
        problems.append("the samples are not the assets with the smallest hashes")
    return problems


def _entry(leaf: bytes) -> dict[str, Any]:
    """What a leaf says. One that says nothing is hashed all the same, and the root tells whether it was the log's."""
    try:
        found = json.loads(leaf)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _pages(folder: Path, report: dict[str, Any], files: Iterable[str]) -> tuple[list[str], tuple[str, ...]]:
    """Do the other files tell what report.json tells? They are made again out of it, and compared."""
    problems, left = list[str](), list[str]()
    if "report.csv" in files and (folder / "report.csv").read_bytes() != csv_text(report["assets"]).encode():
        problems.append("report.csv does not say what report.json says")
    for name in ("html", "pdf"):
        file = f"report.{name}"
        if file not in files:
            continue
        if (report["version"], report.get("pages")) != (version(), page_code()):
            left.append(f"{file} was not compared with report.json: other code made it (version {report['version']})")
            continue
        try:
            same = (folder / file).read_bytes() == page_bytes(report, name)
        except SettingsError as error:
            left.append(f"{file} was not compared with report.json: {error.message}")
            continue
        if not same and name == "html":
            problems.append("report.html does not say what report.json says")
        elif not same:  # another release of reportlab may lay out the same words in other bytes
            left.append(
                "report.pdf is not, byte for byte, what is made of report.json here: read it beside report.html"
            )
    return problems, tuple(left)


def _leaves(path: Path) -> Iterator[bytes]:
    """The log's leaves from the first on, out of `audit export` or of a bundle of the whole log."""
    try:
        with path.open("rb") as stream:
            packed = stream.read(4) == b"PK\x03\x04"
        return iter(_of_bundle(path)) if packed else _of_export(path)
    except OSError as error:
        raise _no_export(path) from error


def _of_export(path: Path) -> Iterator[bytes]:
    try:
        with path.open(encoding="utf-8") as stream:
            for expected, line in enumerate(stream):
                found = json.loads(line)
                if "entry" not in found:
                    return  # the checkpoint at the end
                if found["index"] != expected:
                    raise ValueError("the entries are not in their order")
                yield canonical.encode(found["entry"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError, EntryError) as error:
        raise _no_export(path) from error


def _of_bundle(path: Path) -> list[bytes]:
    try:
        members = unpack(path.read_bytes())
        runs, lines = json.loads(members["bundle.json"])["runs"], members["entries.jsonl"].split(b"\n")
    except TamperError as error:
        raise InputError(f"{path.name}: {error.message}", code="input.entries", hint=_no_export(path).hint) from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _no_export(path) from error
    if len(runs) != 1 or runs[0][0] != 0:
        raise InputError(
            f"{path.name} has not the log's entries from the first one on",
            code="input.entries",
            hint="Ask for a bundle of the whole log: `filigrana audit bundle make -o FILE`.",
        )
    return lines[:-1]


def _no_export(path: Path) -> InputError:
    return InputError(
        f"{path.name} is no export of a log",
        code="input.entries",
        hint="Ask for what `filigrana audit export -o FILE` wrote, or for a bundle of the whole log.",
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
