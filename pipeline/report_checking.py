"""Holding a compliance report against its signature, its proofs and an export of the log: offline, by anybody."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..errors import EntryError, InputError, TamperError
from ..provenance.log import canonical
from ..provenance.log.merkle import CompactRange, leaf_hash
from ..provenance.log.note import VerifierKey
from ..provenance.reports.signed import check_sample, open_note
from ..provenance.reports.tally import Tally
from .reporting import asset_row


def check_report(folder: Path, keys: Iterable[VerifierKey], entries: Path | None = None) -> list[str]:
    """What is wrong with a report, in words; empty for one that holds. Needs no installation and no network.
    ``entries``: an export of the log, from which every figure is counted again. Raises InputError, LogError."""
    try:
        note = (folder / "report.note").read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"there is no report.note in {folder.name}", code="input.report") from error
    try:
        said = open_note(note, keys)
    except TamperError as error:
        return [f"report.note: {error.message}"]
    # A page that nobody signed for, beside a note that holds, would be taken for the report's.
    problems = [
        f"{path.name} is not of this report"
        for path in sorted(folder.glob("report.*"))
        if path.name not in {*said["files"], "report.note"}
    ]
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
        return problems
    report = json.loads((folder / "report.json").read_text("utf-8"))
    for sample in report["samples"]:
        try:
            check_sample(sample, said["tree"])
        except TamperError as error:
            problems.append(error.message)
    if entries is not None:
        problems += _recounted(report, said["tree"], entries)
    return problems


def _recounted(report: dict[str, Any], tree: dict[str, Any], entries: Path) -> list[str]:
    tally, range_, assets = Tally(len(report["samples"])), CompactRange(), list[dict[str, Any]]()
    start, end = report["window"]["from"], report["window"]["to"]
    for index, leaf in _exported(entries):
        if index < tree["size"]:
            range_.push(leaf_hash(leaf))
        entry = json.loads(leaf)
        time = entry.get("time")
        if isinstance(time, str) and start <= time < end:
            tally.add(index, entry)
            if entry.get("type") == "release":
                assets.append(asset_row(index, entry))
    if range_.root().hex() != tree["root"]:
        return ["the entries are not those of the tree that was counted"]
    mine = json.loads(json.dumps(tally.figures()))
    problems = [
        f"the figure {name} is not what the entries say" for name in mine if mine[name] != report["figures"].get(name)
    ]
    if json.loads(json.dumps(assets)) != report["assets"]:
        problems.append("the assets are not those of the entries")
    if [index for index, _ in tally.picked] != [sample.get("index") for sample in report["samples"]]:
        problems.append("the samples are not the assets with the smallest hashes")
    return problems


def _exported(path: Path) -> Iterator[tuple[int, bytes]]:
    """Entries as `audit export` writes them."""
    try:
        with path.open(encoding="utf-8") as stream:
            for line in stream:
                found = json.loads(line)
                if "entry" in found:
                    yield int(found["index"]), canonical.encode(found["entry"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError, EntryError) as error:
        raise InputError(f"{path.name} is no export of a log", code="input.entries") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
