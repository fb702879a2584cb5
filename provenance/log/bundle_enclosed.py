"""What stands in an auditor's bundle beside the entries: is each the very thing that the entries name?

Pure, no IO; part of every bundle, like :mod:`.bundle_verifier`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from cryptography import x509

from ...errors import LogError, TamperError
from .note import Checkpoint, Note, VerifierKey

RECORD_TYPE, RECORDS = "filigrana.decision-record.v1", "/records"
_MAX_PROBLEMS = 50


@dataclass(slots=True)
class Findings:
    """``keys``: the log's. ``members``: of the bundle. ``entries``: by index, shown to be in the log. ``notes`` and
    ``roots``: of the linked checkpoints, by size; ``head``: the newest. ``cosigned``: up to which size.
    """

    keys: tuple[VerifierKey, ...]
    checked: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    members: Mapping[str, bytes] = field(default_factory=dict)
    entries: dict[int, dict[str, Any]] = field(default_factory=dict)
    notes: dict[int, str] = field(default_factory=dict)
    roots: dict[int, bytes] = field(default_factory=dict)
    head: Checkpoint | None = None
    cosigned: int = 0
    compared: bool = True

    def member(self, name: str) -> bytes:
        """Raises TamperError when the bundle has none of this name."""
        if name not in self.members:
            raise TamperError(f"the bundle has no {name}")
        return self.members[name]

    def releases(self, asset: str) -> list[dict[str, Any]]:
        """The release entries of this asset that are shown."""
        return [e for e in self.entries.values() if e["type"] == "release" and e.get("asset_id") == asset]

    def problem(self, text: str) -> None:
        if len(self.problems) < _MAX_PROBLEMS:
            self.problems.append(text)


class Enclosed:
    """Adds to these findings."""

    def __init__(self, to: Findings) -> None:
        self.to = to
        self.named: list[str] = []

    def run(self) -> None:
        self._records()
        self._manifests()
        self._policies()
        self._certificates()

    def _records(self) -> None:
        count = 0
        for name, asset in self._named("records/", ".note"):
            note = self.to.members[name].decode("utf-8")
            release = self._release(asset)
            if release is None:
                self.to.problem(f"the decision record of {asset} belongs to no release in this bundle")
                continue
            digest = "sha256:" + sha256(self.to.members[name]).hexdigest()
            try:
                after = read_record(note, self.to.keys)["after"]
            except LogError as error:
                self.to.problem(f"the decision record of {asset}: {error.message}")
                continue
            if release.get("record") != digest:
                self.to.problem(f"the decision record of {asset} is not the one that the log names")
            elif any(after.get(key) != release.get(key) for key in ("asset_id", "sha256", "manifest")):
                self.to.problem(f"the decision record of {asset} is about another file than its release")
            else:
                count += 1
                if after.get("manifest_sha256") is not None:
                    self.named.append(asset)
        if count:
            self.to.checked.append(
                f"{count} decision records: signed with the log's key, and named by their release entries"
            )
        missing = [str(e.get("asset_id")) for e in self.to.entries.values() if e["type"] == "release" and "record" in e
                   and f"records/{e.get('asset_id')}.note" not in self.to.members]  # fmt: skip
        if missing:
            self.to.unchecked.append(f"Decision records that are not in the bundle: {some(missing)}.")

    def _manifests(self) -> None:
        count, here = 0, set()
        for name, title in self._named("manifests/", ".c2pa"):
            asset = title.partition("-")[0]
            here.add(asset)
            note = self.to.members.get(f"records/{asset}.note")
            said = read_record(note.decode("utf-8"), self.to.keys)["after"].get("manifest_sha256") if note else None
            if said is None:
                self.to.unchecked.append(
                    f"The manifest {name}: no decision record here says what its digest should be."
                )
            elif said != sha256(self.to.members[name]).hexdigest():
                self.to.problem(f"the manifest {name} is not the one of the decision record")
            else:
                count += 1
        if count:
            self.to.checked.append(f"{count} C2PA manifests: the very bytes that the decision records name")
            self.to.unchecked.append(
                "The signatures inside the C2PA manifests: check the released files with a C2PA tool."
            )
        missing = [asset for asset in self.named if asset not in here]
        if missing:
            self.to.unchecked.append(
                f"C2PA manifests that decision records name and that are not in the bundle: {some(missing)}."
            )

    def _policies(self) -> None:
        wanted = set(policy_digests(self.to.entries.values()))
        count = 0
        for name, _ in self._named("policies/", ".yaml"):
            digest = sha256(self.to.members[name]).hexdigest()
            if digest in wanted:
                wanted.discard(digest)
                count += 1
            else:
                self.to.problem(f"{name} is a policy that no entry in this bundle names")
        if count:
            self.to.checked.append(f"{count} policy packs: the very bytes that the decisions name")
        if wanted:
            self.to.unchecked.append(f"Policy packs that entries name and the bundle has not: {some(sorted(wanted))}.")

    def _certificates(self) -> None:
        found = []
        for name, _ in self._named("certificates/", ".pem"):
            try:
                found += x509.load_pem_x509_certificates(self.to.members[name])
            except ValueError:
                self.to.problem(f"{name} holds no certificates")
        if found:
            self.to.unchecked.append(
                f"The {len(found)} certificates: they are here to be looked at; the log does not name them."
            )

    def _named(self, prefix: str, suffix: str) -> list[tuple[str, str]]:
        """``(member, its title)`` of one folder."""
        found = [name for name in self.to.members if name.startswith(prefix)]
        if any(not name.endswith(suffix) for name in found):
            raise TamperError(f"the bundle has something under {prefix} that does not belong there")
        return [(name, name.removeprefix(prefix).removesuffix(suffix)) for name in sorted(found)]

    def _release(self, asset: str) -> Mapping[str, Any] | None:
        found = self.to.releases(asset)
        return found[0] if len(found) == 1 else None


def read_record(note: str, log_keys: Iterable[VerifierKey]) -> dict[str, Any]:
    """A decision record, signed with one of the log's keys under the name of its records.

    Raises TamperError when it is not, LogError when it is no record.
    """
    parsed = Note.parse(note)
    parsed.verified_by([VerifierKey(key.name + RECORDS, key.public_key) for key in log_keys if key.kind == 1])
    record = read_json(parsed.text.removesuffix("\n").encode())
    if record.get("type") != RECORD_TYPE or not all(isinstance(record.get(part), dict) for part in ("before", "after")):
        raise LogError("the signed text is no decision record", code="log.note")
    return record


def read_json(data: bytes) -> dict[str, Any]:
    """A JSON object that every reader understands alike: no key twice, no NaN. Raises TamperError."""

    def no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) != len(pairs):
            raise ValueError("a key twice")
        return dict(pairs)

    def no_constant(text: str) -> object:
        raise ValueError(text)

    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=no_twins, parse_constant=no_constant)
    except (ValueError, RecursionError):
        raise TamperError("there is JSON that cannot be read in one way only") from None
    if not isinstance(value, dict):
        raise TamperError("there is JSON that is no object")
    return value


def policy_digests(entries: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    """Of the policies that these entries name."""
    for entry in entries:
        for holder in (entry, entry.get("decision"), entry.get("request")):
            policy = holder.get("policy") if isinstance(holder, dict) else None
            if isinstance(policy, dict) and isinstance(policy.get("digest"), str):
                yield policy["digest"]


def some(items: Sequence[str], most: int = 6) -> str:
    return ", ".join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")
