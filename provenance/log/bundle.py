"""Making an auditor's bundle: one file with a slice of the log, everything that proves it, and its own verifier."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from ...errors import InputError, LogError, TamperError
from ..database import reason
from .bundle_format import MAX_BYTES, pack
from .bundle_proof import prove_all
from .bundle_readme import readme
from .bundle_verifier import ENTRIES, FACTS, FORMAT, MAX_ENTRIES, BundleReport, checkpoint_name, verify_bundle
from .cosignature import cosignatures, merge
from .merkle import _range_hash, consistency_proof
from .note import MAX_NOTE_BYTES, Checkpoint, Note, VerifierKey, _b64
from .rows import leaf_at
from .sequencer import AuditLog
from .site import Head, LogSite
from .tiles import TileReader

MAX_CHECKPOINTS = 256
_SEARCHED = 2000
_CODE = (
    "errors.py",
    *(
        f"provenance/log/{name}.py"
        for name in (
            "bundle_enclosed",
            "bundle_format",
            "bundle_main",
            "bundle_outside",
            "bundle_proof",
            "bundle_verifier",
        )
    ),
    *(f"provenance/log/{name}.py" for name in ("cosignature", "merkle", "note", "signatures")),
)
_PACKAGES = ("", "provenance/", "provenance/log/")
_MAIN = """import sys

from filigrana.provenance.log.bundle_main import main

sys.exit(main(sys.argv[0]))
"""
_STORED = text(
    "SELECT size, note FROM log_checkpoints WHERE verifier_key = :key AND size <= :most AND size > 0 "
    "ORDER BY size DESC LIMIT :limit"
)
_OLDEST = text("SELECT size, note FROM log_checkpoints WHERE verifier_key = :key AND size > 0 ORDER BY size LIMIT 1")


@dataclass(frozen=True, slots=True)
class Enclosures:
    """What goes with the entries. ``records``: signed notes by asset id. ``manifests``: C2PA manifest stores by asset
    id. ``certificates``: PEM. ``policies``: packs as they lie on disk; only those that an entry names should be given.
    """

    records: Mapping[str, str] = field(default_factory=dict)
    manifests: Mapping[str, Sequence[bytes]] = field(default_factory=dict)
    certificates: Sequence[bytes] = ()
    policies: Sequence[bytes] = ()


@dataclass(frozen=True, slots=True)
class Bundle:
    """``data``: the file. ``size``: of the tree that its newest checkpoint is over."""

    data: bytes
    size: int
    entries: int
    checkpoints: int


def make_bundle(
    log: AuditLog,
    indexes: Iterable[int],
    enclosures: Enclosures | None = None,
    *,
    assets: Iterable[str] = (),
    kept: Iterable[str] = (),
    witnesses: Sequence[VerifierKey] = (),
    cosigned: Path | None = None,
) -> Bundle:
    """The bundle of these entries under the newest stored checkpoint, which must cover them all.

    ``assets``: ids that it was asked for, whose releases must be among the entries. ``kept``: checkpoints that the
    auditor has: the bundle leads from each of them to its own. ``witnesses``: their keys. ``cosigned``: the folder of
    cosigned notes, as for :class:`.site.LogSite`: their cosignatures go with it. Equal arguments, checkpoints and
    notes give equal bytes. What is handed out is verified first, as the auditor will. Raises InputError, LogError
    (``log.bundle``), TamperError.
    """
    enclosed = enclosures or Enclosures()
    wanted = sorted(set(indexes))
    head = LogSite(log, cosigned).head()
    if head is None or (wanted and wanted[-1] >= head.checkpoint.size):
        raise LogError(
            "no checkpoint covers these entries yet", code="log.bundle", hint="Run `filigrana audit checkpoint`."
        )
    if not wanted or wanted[0] < 0:
        raise InputError("a bundle is about at least one entry of the log", code="input.bundle")
    if len(wanted) > MAX_ENTRIES:
        raise InputError(f"a bundle takes at most {MAX_ENTRIES} entries", code="input.bundle")
    try:
        with log.engine.connect() as connection:
            notes = _chain(connection, log, head, list(kept))
            if cosigned is not None:
                _add_cosigned(notes, cosigned, log.keys, witnesses)
            named = {"assets": sorted(set(assets)), "witness_keys": [str(key) for key in witnesses]}
            members = _facts(connection, log, head, wanted, notes, named)
    except SQLAlchemyError as error:
        raise LogError(f"the audit log cannot be read: {reason(error)}", code="log.read") from error
    count = sum(name.startswith("checkpoints/") for name in members)
    members |= _enclosed(enclosed) | _code()
    members["README.txt"] = readme(head.checkpoint.origin, head.checkpoint.size, len(wanted)).encode()
    if sum(map(len, members.values())) > MAX_BYTES // 2:
        raise InputError("the bundle would be too large", code="input.bundle", hint="Choose fewer entries or assets.")
    data = pack(members)
    report = verify_bundle(data, log.keys, list(kept))
    if not report.ok or not report.compared:
        raise TamperError(f"the bundle would not hold: {'; '.join(report.problems or report.unchecked)}")
    return Bundle(data, head.checkpoint.size, len(wanted), count)


def _facts(
    connection: Connection,
    log: AuditLog,
    head: Head,
    wanted: Sequence[int],
    notes: Mapping[int, str],
    named: Mapping[str, Sequence[str]],
) -> dict[str, bytes]:
    tiles = TileReader(connection, head.checkpoint.size)
    links, before = [], 0
    for size in sorted(notes):
        proof = consistency_proof(before, size, tiles.node)
        links.append({"size": size, "consistency": [_b64(item) for item in proof]})
        before = size
    proof = prove_all(wanted, head.checkpoint.size, lambda low, high: _range_hash(low, high, tiles.node))
    facts = {
        **named,
        "format": FORMAT,
        "log_keys": [str(key) for key in log.keys],
        "checkpoints": links,
        "runs": _runs(wanted),
        "proof": [_b64(item) for item in proof],
    }
    members = {checkpoint_name(size): note.encode() for size, note in notes.items()}
    members[FACTS] = json.dumps(facts, indent=1, sort_keys=True).encode() + b"\n"
    members[ENTRIES] = b"".join(leaf_at(connection, index) + b"\n" for index in wanted)
    return members


def _chain(connection: Connection, log: AuditLog, head: Head, kept: Sequence[str]) -> dict[int, str]:
    """Notes by size: the oldest and the newest stored ones (256 at most), those kept by the auditor, and the head."""
    found: dict[int, str] = {}
    most = head.checkpoint.size
    for key in log.keys:
        rows = [*connection.execute(_STORED, {"key": str(key), "most": most, "limit": MAX_CHECKPOINTS - 1}).all()]
        rows += [row for row in connection.execute(_OLDEST, {"key": str(key)}).all() if row[0] <= most]
        found |= {int(size): str(note) for size, note in rows if size not in found}
    sizes = sorted(found)
    for size in sizes[1 : max(1, len(sizes) - MAX_CHECKPOINTS + 1)]:
        del found[size]
    for note in kept:
        mine = Checkpoint.open(note, log.keys)
        if mine.size > most:
            raise InputError(f"the kept checkpoint is over {mine.size} entries, more than {most}", code="input.bundle")
        if mine.size:
            found.setdefault(mine.size, str(Note.parse(note)))
    found[most] = head.note
    return found


def _add_cosigned(
    notes: dict[int, str], folder: Path, keys: Sequence[VerifierKey], witnesses: Sequence[VerifierKey]
) -> None:
    """Puts the cosignatures kept in ``folder`` on these notes, and the newest cosigned checkpoints (of each witness;
    of anybody where none is known) among them, looked for among the newest 2,000. Other files there are left alone.
    """
    own, wanted, anybody = {key.name for key in keys}, set(witnesses), not witnesses
    most = max(notes)
    try:
        names = [item.name for item in folder.iterdir()]
    except OSError:
        return
    sizes = {int(name) for name in names if name.isascii() and name.isdecimal() and len(name) < 20}
    for number, size in enumerate(sorted((size for size in sizes if 0 < size <= most), reverse=True)):
        if size not in notes and (number >= _SEARCHED or not (wanted or anybody)):
            continue
        try:
            with (folder / str(size)).open("rb") as file:
                kept = file.read(MAX_NOTE_BYTES + 1).decode("utf-8")
            checkpoint, parsed = Checkpoint.open(kept, keys), Note.parse(kept)
            found = {item.key for item in cosignatures(kept, witnesses)}
            lines = [line for line in parsed.signatures if line.name not in own]
            new = bool(found & wanted) or (anybody and bool(lines))
            base = Note.parse(notes.get(size, kept))
            if checkpoint.size != size or base.text != parsed.text or not (new or size in notes):
                continue
            notes[size] = str(merge(base, lines))
        except (OSError, UnicodeDecodeError, LogError):
            continue
        wanted -= found
        anybody = anybody and not new


def _enclosed(enclosed: Enclosures) -> dict[str, bytes]:
    members = {f"records/{asset}.note": note.encode() for asset, note in enclosed.records.items()}
    for asset, stores in enclosed.manifests.items():
        members |= {f"manifests/{asset}-{number:02}.c2pa": store for number, store in enumerate(stores, 1)}
    for folder, suffix, items in (
        ("certificates", "pem", enclosed.certificates),
        ("policies", "yaml", enclosed.policies),
    ):
        members |= {f"{folder}/{sha256(item).hexdigest()}.{suffix}": item for item in items}
    return members


def _code() -> dict[str, bytes]:
    """The verifier, as it stands here: modules without IO, and the one that reads the file."""
    root = files(__package__.removesuffix(".provenance.log"))
    members = {f"filigrana/{name}": (root / name).read_bytes() for name in _CODE}
    members |= {f"filigrana/{folder}__init__.py": b"" for folder in _PACKAGES}
    return members | {"__main__.py": _MAIN.encode()}


def same_code(members: Mapping[str, bytes]) -> bool:
    """Whether a bundle's verifier is this very one."""
    inside = {name: data for name, data in members.items() if name.startswith("filigrana/") or name == "__main__.py"}
    return inside == _code()


def same_readme(members: Mapping[str, bytes], report: BundleReport) -> bool:
    """Whether a bundle's README.txt says what this version writes."""
    return members.get("README.txt") == readme(report.origin, report.size, len(report.indexes)).encode()


def _runs(indexes: Sequence[int]) -> list[list[int]]:
    runs: list[list[int]] = []
    for index in indexes:
        if runs and runs[-1][1] == index:
            runs[-1][1] += 1
        else:
            runs.append([index, index + 1])
    return runs
