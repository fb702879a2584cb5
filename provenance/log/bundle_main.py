"""What ``python bundle.pyz`` runs: the bundle checks itself. Needs Python 3.11 and `cryptography`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ...errors import LogError
from .bundle_format import MAX_BYTES
from .bundle_verifier import BundleReport, verify_bundle
from .note import MAX_NOTE_BYTES, VerifierKey


def main(archive: str, arguments: Sequence[str] | None = None) -> int:
    """Exit codes: 0 intact, 5 not, 1 it could not be tried or compared."""
    parser = argparse.ArgumentParser(prog="python bundle.pyz", description="Checks this bundle, offline.")
    parser.add_argument(
        "--key", action="append", default=[], help="the log's verifier key, from elsewhere, or its file"
    )
    parser.add_argument("--checkpoint", action="append", default=[], help="a checkpoint of this log that you kept")
    parser.add_argument("--witness", action="append", default=[], help="a witness's verifier key, or its file")
    parser.add_argument("--asset", action="append", default=[], help="an asset id whose release must be in it")
    parser.add_argument("--json", action="store_true", help="the report as JSON")
    try:
        options = parser.parse_args(arguments)
    except SystemExit as end:
        return 1 if end.code else 0
    try:
        keys, witnesses = [_key(text) for text in options.key], [_key(text) for text in options.witness]
        notes = [read_bounded(Path(path), MAX_NOTE_BYTES).decode("utf-8") for path in options.checkpoint]
        data = read_bounded(Path(archive), MAX_BYTES)
        assets = [_asset(text) for text in options.asset]
        report = verify_bundle(data, keys, notes, witnesses=witnesses, assets=assets)
    except (OSError, ValueError, LogError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(as_json(report) + "\n" if options.json else as_text(report))
    return report.exit_code


def as_json(report: BundleReport) -> str:
    """One line; ASCII, so that every terminal takes it."""
    return json.dumps(as_dict(report))


def as_dict(report: BundleReport) -> dict[str, object]:
    return {
        "ok": report.ok,
        "pinned": report.pinned,
        "finding": report.finding,
        "origin": report.origin,
        "size": report.size,
        "root": report.root,
        "entries": len(report.indexes),
        "assets": list(report.assets),
        "cosigned": report.cosigned,
        "compared": report.compared,
        "checked": list(report.checked),
        "unchecked": list(report.unchecked),
        "problems": list(report.problems),
    }


def as_text(report: BundleReport) -> str:
    """For people, in ASCII signs. Control characters of a hostile bundle do not reach the terminal."""
    parts = []
    for title, sign, lines in (
        ("Checked, and it holds:", "+", report.checked),
        ("Not checked, or not to be seen from here:", "?", report.unchecked),
        ("What does not hold:", "!", report.problems),
    ):
        if lines:
            parts += [title, *(f"  {sign} {line}" for line in lines), ""]
    text = "\n".join([*parts, report.finding])
    return "".join(char if char.isprintable() or char == "\n" else "?" for char in text) + "\n"


def _key(text: str) -> VerifierKey:
    try:
        return VerifierKey.parse(text)
    except LogError:
        return VerifierKey.parse(read_bounded(Path(text), 1 << 16).decode("utf-8"))


def _asset(text: str) -> str:
    """An asset id as the entries have it; forgiving case, hyphens and look-alike letters."""
    return "".join(text.split()).upper().translate(str.maketrans("OIL", "011", "-"))


def read_bounded(path: Path, most: int) -> bytes:
    """Raises OSError, ValueError when there is more."""
    with path.open("rb") as file:
        # Not the limit itself: Python sets aside as much memory as it is asked to read.
        data = file.read(min(most, os.fstat(file.fileno()).st_size) + 1)
    if len(data) > most:
        raise ValueError(f"{path.name} has more than {most} bytes")
    return data
