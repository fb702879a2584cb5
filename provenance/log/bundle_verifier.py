"""Checking an auditor's bundle offline: needs Python and `cryptography`, no network, no database, no account.

Pure, no IO. The same code stands in every bundle. Whoever does not want to run code that came from the audited party
runs ``filigrana audit bundle verify`` from a source of their own instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...errors import LogError, TamperError
from .bundle_enclosed import Enclosed, Findings, read_json, some
from .bundle_format import SUMS, unpack
from .bundle_proof import root_from
from .cosignature import cosignatures
from .merkle import leaf_hash, verify_consistency
from .note import Checkpoint, VerifierKey, _unb64

FORMAT = "filigrana.bundle.v1"
FACTS, ENTRIES = "bundle.json", "entries.jsonl"
MAX_ENTRIES = 1_000_000
_FILES = (SUMS, FACTS, ENTRIES, "README.txt", "__main__.py")
_FOLDERS = ("checkpoints/", "records/", "manifests/", "policies/", "certificates/", "filigrana/")


@dataclass(frozen=True, slots=True)
class BundleReport:
    """``checked``: what holds. ``unchecked``: what this cannot show. ``problems``: what does not hold; none if ``ok``.

    ``indexes``: of the entries shown. ``pinned``: whether the log's key came from outside the bundle.
    """

    ok: bool
    pinned: bool
    origin: str
    size: int
    root: str
    indexes: tuple[int, ...]
    checked: tuple[str, ...]
    unchecked: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def finding(self) -> str:
        """In plain words."""
        if not self.ok:
            return "NOT INTACT: something in this bundle does not hold. Do not rely on it; the reasons stand above."
        if not self.pinned:
            return (
                "INTACT IN ITSELF: everything fits together and is signed with the key that the bundle itself names. "
                "That shows nothing about who made it: give the log's key, from elsewhere, with --key."
            )
        return f"INTACT: these entries are in the log {self.origin} as its key signed it, unchanged."


def checkpoint_name(size: int) -> str:
    return f"checkpoints/{size:020}.note"


def verify_bundle(data: bytes, keys: Sequence[VerifierKey] = (), checkpoints: Iterable[str] = ()) -> BundleReport:
    """Checks all of it. ``keys``: the log's, from elsewhere; without them, those in the bundle are used, and the
    report says so. ``checkpoints``: notes kept by the auditor, which the bundle's log must contain.

    Raises nothing for bad bytes: they are in the report.
    """
    check = _Check(keys=tuple(keys))
    try:
        check.run(data, list(checkpoints))
    except LogError as error:
        check.problem(error.message)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError, RecursionError) as error:
        check.problem(f"the bundle's description cannot be read ({type(error).__name__})")
    head = check.head
    return BundleReport(
        ok=not check.problems,
        pinned=bool(keys),
        origin=head.origin if head else "",
        size=head.size if head else 0,
        root=head.root.hex() if head else "",
        indexes=tuple(check.indexes),
        checked=tuple(check.checked),
        unchecked=tuple(check.unchecked),
        problems=tuple(check.problems),
    )


@dataclass(slots=True)
class _Check(Findings):
    indexes: list[int] = field(default_factory=list)
    roots: dict[int, bytes] = field(default_factory=dict)
    head: Checkpoint | None = None

    def run(self, data: bytes, kept: list[str]) -> None:
        self.members = unpack(data)
        self.checked.append(
            f"{len(self.members)} files: each matches its digest, and there is nothing else in the bundle"
        )
        strange = [name for name in self.members if name not in _FILES and not name.startswith(_FOLDERS)]
        if strange:
            raise TamperError(f"the bundle holds what does not belong there: {some(strange)}")
        facts = read_json(self.members[FACTS])
        if facts["format"] != FORMAT:
            raise LogError("this is a bundle of another version", code="log.bundle")
        named = tuple(VerifierKey.parse(key) for key in facts["log_keys"])
        if not self.keys:
            self.keys = named
            self.unchecked.append(
                "Whose log this is. No key was given (--key), so the bundle is only checked against the key that "
                "it names itself; anybody can make such a bundle."
            )
        self._checkpoints(facts)
        self._entries(facts)
        self._kept(kept)
        Enclosed(self).run()
        self.unchecked.append("The released files themselves: compare their SHA-256 with the entries.")
        self.unchecked.append(
            "What was asked: entries carry keyed commitments to prompts, which cannot be opened here."
        )

    def _checkpoints(self, facts: Mapping[str, Any]) -> None:
        """Oldest to newest; each leads to the next."""
        before: Checkpoint | None = None
        for link in facts["checkpoints"]:
            note = self.members[checkpoint_name(int(link["size"]))].decode("utf-8")
            now = Checkpoint.open(note, self.keys)
            proof = [_unb64(item) for item in link["consistency"]]
            if before is None:
                if proof:
                    raise TamperError("the oldest checkpoint has a proof from nowhere")
            else:
                if now.size <= before.size or now.origin != before.origin:
                    raise TamperError("the checkpoints are not in order, or not of one log")
                verify_consistency(before.size, before.root, now.size, now.root, proof)
            self.roots[now.size] = now.root
            before, self.head = now, now
            newest = note
        if before is None:
            raise TamperError("the bundle has no checkpoint")
        known = {checkpoint_name(size) for size in self.roots}
        if known != {name for name in self.members if name.startswith("checkpoints/")}:
            raise TamperError("the bundle has a checkpoint that its description does not name")
        count = len(self.roots)
        self.checked.append(
            f"{count} checkpoint{'s' if count > 1 else ''} of {before.origin}, over up to {before.size} entries: each "
            "is signed with the log's key" + (", and the log only grew between them" if count > 1 else "")
        )
        witnesses = [VerifierKey.parse(key) for key in facts["witness_keys"]]
        names = sorted({item.key.name for item in cosignatures(newest, witnesses)})
        if names:
            self.checked.append(
                f"the newest checkpoint is cosigned by {', '.join(names)}, by keys that the bundle names"
            )
        else:
            self.unchecked.append("Whether others are shown the same log: no witness cosigned the newest checkpoint.")

    def _entries(self, facts: Mapping[str, Any]) -> None:
        head = self.head
        if head is None:
            raise TamperError("the bundle has no checkpoint")
        for low, high in facts["runs"]:
            if not (type(low) is int and type(high) is int and 0 <= low < high) or high - low > MAX_ENTRIES:
                raise TamperError("the bundle's entries have no places in the log")
            self.indexes += range(low, high)
            if len(self.indexes) > MAX_ENTRIES:
                raise TamperError(f"the bundle has more than {MAX_ENTRIES} entries")
        text = self.members[ENTRIES]
        leaves = text.split(b"\n")
        if leaves.pop() or len(leaves) != len(self.indexes):
            raise TamperError("the bundle has another number of entries than it says")
        proof = [_unb64(item) for item in facts["proof"]]
        if root_from(self.indexes, [leaf_hash(leaf) for leaf in leaves], head.size, proof) != head.root:
            raise TamperError("the entries are not those that the checkpoint was signed over")
        for index, leaf in zip(self.indexes, leaves, strict=True):
            entry = read_json(leaf)
            if not isinstance(entry.get("type"), str):
                raise TamperError(f"entry {index} is no entry")
            self.entries[index] = entry
        self.checked.append(
            f"{len(leaves)} entries ({_spans(facts['runs'])}): each is in the log under the newest checkpoint"
        )
        self.unchecked.append(
            "Entries of the log that are not in this bundle; only their number and their hash are known."
        )

    def _kept(self, notes: list[str]) -> None:
        for number, note in enumerate(notes, 1):
            try:
                mine = Checkpoint.open(note, self.keys)
            except LogError as error:
                self.problem(f"your checkpoint {number} cannot be used: {error.message}")
                continue
            root = self.roots.get(mine.size)
            if self.head is not None and mine.origin != self.head.origin:
                self.problem(f"your checkpoint {number} is of the log {mine.origin}")
            elif root is None:
                self.problem(
                    f"the bundle does not lead from your checkpoint over {mine.size} entries to its own: ask for one "
                    "that was made with it (filigrana audit bundle make --checkpoint FILE)"
                )
            elif root != mine.root:
                self.problem(f"the log was rewritten: your checkpoint over {mine.size} entries has another root")
            else:
                self.checked.append(
                    f"the log still contains what it was when you kept your checkpoint ({mine.size} entries)"
                )
        if not notes:
            self.unchecked.append(
                "Whether the whole log was rewritten before this bundle was made: only a checkpoint that you kept "
                "(--checkpoint), or one cosigned by witnesses you know, shows that."
            )


def _spans(runs: Sequence[Sequence[int]]) -> str:
    return some([str(low) if high == low + 1 else f"{low} to {high - 1}" for low, high in runs])
