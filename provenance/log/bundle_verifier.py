"""Checking an auditor's bundle offline: needs Python and `cryptography`, no network, no database, no account.

No IO but a look at the clock. The same code stands in every bundle. Whoever does not want to run code that came from
the audited party runs ``filigrana audit bundle verify`` from a source of their own instead.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...errors import LogError, TamperError
from .bundle_enclosed import Enclosed, Findings, read_json, some
from .bundle_format import SUMS, unpack
from .bundle_outside import Outside
from .bundle_proof import root_from
from .cosignature import require_witness_keys
from .merkle import leaf_hash, verify_consistency
from .note import Checkpoint, VerifierKey, _unb64

FORMAT = "filigrana.bundle.v1"
FACTS, ENTRIES = "bundle.json", "entries.jsonl"
_DESCRIBED = ("assets", "checkpoints", "log_keys", "proof", "runs", "witness_keys")
MAX_ENTRIES = 1_000_000
_FILES = (SUMS, FACTS, ENTRIES, "README.txt", "__main__.py")
_FOLDERS = ("checkpoints/", "records/", "manifests/", "policies/", "certificates/", "filigrana/")


@dataclass(frozen=True, slots=True)
class BundleReport:
    """``checked``: what holds. ``unchecked``: what this cannot show. ``problems``: what does not hold; none if ``ok``.

    ``indexes``: of the entries shown. ``pinned``: whether the log's key came from outside the bundle. ``assets``: that
    it is about. ``cosigned``: the newest size that a witness cosigned whose key was given; 0 for none. ``compared``:
    whether every checkpoint that the auditor kept could be held against it.
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
    assets: tuple[str, ...] = ()
    cosigned: int = 0
    compared: bool = True

    @property
    def exit_code(self) -> int:
        """0 intact, 5 not, 1 a checkpoint could not be compared."""
        return 5 if not self.ok else 0 if self.compared else 1

    @property
    def finding(self) -> str:
        """In plain words."""
        if not self.ok:
            return "NOT INTACT: something in this bundle does not hold. Do not rely on it; the reasons stand above."
        if not self.compared:
            return (
                "NOT COMPARED: what is in this bundle fits together, but a checkpoint that you gave cannot be held "
                "against it; the reason stands above."
            )
        if not self.pinned:
            return (
                "INTACT IN ITSELF: everything fits together and is signed with the key that the bundle itself names. "
                "That shows nothing about who made it: give the log's key, from elsewhere, with --key."
            )
        return f"INTACT: these entries are in the log {self.origin} as its key signed it, unchanged."


def checkpoint_name(size: int) -> str:
    return f"checkpoints/{size:020}.note"


def verify_bundle(
    data: bytes,
    keys: Sequence[VerifierKey] = (),
    checkpoints: Iterable[str] = (),
    *,
    witnesses: Sequence[VerifierKey] = (),
    assets: Iterable[str] = (),
    now: float | None = None,
) -> BundleReport:
    """Checks all of it. ``keys``: the log's, from elsewhere; without them, those in the bundle are used, and the
    report says so. ``checkpoints``: notes kept by the auditor, which the bundle's log must contain. ``witnesses``:
    keys from elsewhere; no other cosignature counts. ``assets``: ids whose release must be shown. ``now``: POSIX
    seconds, in place of the clock.

    Raises nothing for bad bytes: they are in the report. Raises LogError (``log.policy``) for a witness's key that
    can be none.
    """
    require_witness_keys(witnesses, keys)
    check = _Check(keys=tuple(keys), witnesses=tuple(witnesses), now=time.time() if now is None else now)
    try:
        check.run(data, list(checkpoints), list(assets))
    except LogError as error:
        check.problem(error.message)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError, RecursionError):
        check.problem("the bundle's description cannot be read: something in it is of the wrong form")
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
        assets=tuple(check.assets),
        cosigned=check.cosigned,
        compared=check.compared,
    )


@dataclass(slots=True)
class _Check(Findings):
    indexes: list[int] = field(default_factory=list)
    assets: list[str] = field(default_factory=list)
    witnesses: tuple[VerifierKey, ...] = ()
    now: float = 0

    def run(self, data: bytes, kept: list[str], pinned: list[str]) -> None:
        self.members = unpack(data)
        self.checked.append(
            f"{len(self.members)} files: each matches its digest, and there is nothing else in the bundle"
        )
        strange = [name for name in self.members if name not in _FILES and not name.startswith(_FOLDERS)]
        if strange:
            raise TamperError(f"the bundle holds what does not belong there: {some(strange)}")
        facts = read_json(self.member(FACTS))
        if facts.get("format") != FORMAT:
            raise LogError("this is a bundle of another version", code="log.bundle")
        missing = [name for name in _DESCRIBED if name not in facts]
        if missing:
            raise TamperError(f"the bundle's description does not say: {', '.join(missing)}")
        for key in facts["witness_keys"]:
            VerifierKey.parse(key)
        named = tuple(VerifierKey.parse(key) for key in facts["log_keys"])
        if not self.keys:
            self.keys = named
            self.unchecked.append(
                "Whose log this is. No key was given (--key), so the bundle is only checked against the key that "
                "it names itself; anybody can make such a bundle."
            )
        self._checkpoints(facts)
        self._entries(facts)
        self._assets(facts["assets"])
        outside = Outside(self)
        outside.pinned(pinned)
        outside.cosignatures(self.witnesses, self.now)
        outside.kept(kept)
        Enclosed(self).run()
        self.unchecked.append("The released files themselves: compare their SHA-256 with the entries.")
        self.unchecked.append(
            "What was asked: entries carry keyed commitments to prompts, which cannot be opened here."
        )

    def _checkpoints(self, facts: Mapping[str, Any]) -> None:
        """Oldest to newest; each leads to the next."""
        before: Checkpoint | None = None
        for link in facts["checkpoints"]:
            if not isinstance(link, dict) or link.keys() != {"size", "consistency"}:
                raise TamperError("the bundle's description does not say how its checkpoints follow each other")
            note = self.member(checkpoint_name(int(link["size"]))).decode("utf-8")
            now = Checkpoint.open(note, self.keys)
            proof = [_unb64(item) for item in link["consistency"]]
            if before is None:
                if proof:
                    raise TamperError("the oldest checkpoint has a proof from nowhere")
            else:
                if now.size <= before.size or now.origin != before.origin:
                    raise TamperError("the checkpoints are not in order, or not of one log")
                verify_consistency(before.size, before.root, now.size, now.root, proof)
            self.roots[now.size], self.notes[now.size] = now.root, note
            before, self.head = now, now
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
        text = self.member(ENTRIES)
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

    def _assets(self, assets: object) -> None:
        """Each that the bundle is about has its one release among the entries."""
        if not isinstance(assets, list) or not all(isinstance(asset, str) for asset in assets):
            raise TamperError("the bundle's description does not say which assets it is about")
        if len(set(assets)) != len(assets):
            raise TamperError("the bundle's description names an asset twice")
        self.assets = assets
        for asset in assets:
            count = len(self.releases(asset))
            if count != 1:
                self.problem(f"the bundle says that it is about the asset {asset}, and has {count} releases of it")
        if assets and not self.problems:
            self.checked.append(f"it was made about {', '.join(assets)}: the release of each is among the entries")


def _spans(runs: Sequence[Sequence[int]]) -> str:
    return some([str(low) if high == low + 1 else f"{low} to {high - 1}" for low, high in runs])
