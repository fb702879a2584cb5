"""The decision record: one signed account of a released asset, from the verdict on its prompt to its file.

Pure, no IO. The record is canonical JSON in one line, signed as a C2SP note with the log's key under a name of its
own (``<log>/records``), so that no record passes for a checkpoint. It has two parts: ``before`` holds what was known
before signing (who decided what by which policy, guards, models, inputs; the seed; the energy), ``after`` what came
of it (file, manifest, marks, time-stamp). The log's release entry carries the note's SHA-256. The released file
carries a redacted form of ``before`` and its SHA-256, so that the two can be held against each other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any

from ..errors import LogError, TamperError
from .log import canonical
from .log.note import Note, NoteSigner, Renamed, VerifierKey, sign

TYPE = "filigrana.decision-record.v1"
_SUFFIX = "/records"


def records_key(log_key: VerifierKey) -> VerifierKey:
    """The key that checks records of the log with this key."""
    return VerifierKey(log_key.name + _SUFFIX, log_key.public_key)


def facts_digest(before: Mapping[str, Any]) -> str:
    """``sha256:<hex>`` over the canonical form of what was known before signing."""
    return "sha256:" + sha256(_line({"type": TYPE, **before}).encode()).hexdigest()


def signed_record(before: Mapping[str, Any], after: Mapping[str, Any], signer: NoteSigner) -> str:
    """The signed note. Raises EntryError when a part cannot be written as canonical JSON."""
    return sign(_line({"type": TYPE, "before": dict(before), "after": dict(after)}) + "\n", Renamed(signer, _SUFFIX))


def note_digest(note: str) -> str:
    """``sha256:<hex>`` over the note's bytes: what the release entry carries."""
    return "sha256:" + sha256(note.encode()).hexdigest()


def open_record(note: str, log_keys: Iterable[VerifierKey]) -> dict[str, Any]:
    """The record, signed by one of the log's keys.

    Raises TamperError when it is not signed by one, LogError (``log.note``) when it is no record.
    """
    parsed = Note.parse(note)
    parsed.verified_by([records_key(key) for key in log_keys])
    try:
        record = json.loads(parsed.text)
        good = record["type"] == TYPE and isinstance(record["before"], dict) and isinstance(record["after"], dict)
    except (ValueError, TypeError, KeyError, RecursionError):
        good = False
    if not good or _line(record) + "\n" != parsed.text:
        raise LogError("the signed text is no decision record", code="log.note")
    return dict(record)


def redacted(before: Mapping[str, Any]) -> dict[str, Any]:
    """What of the facts goes into the released file: who judged by what, not with which scores and thresholds."""
    decisions: Sequence[Mapping[str, Any]] = before.get("decisions", ())
    shown = [
        {
            "side": decision["side"],
            "verdict": decision["verdict"],
            "guards": [
                {"guard": guard["guard"], "model": (guard["model"] or {}).get("digest"), "inputs": guard["inputs"]}
                for guard in decision["guards"]
            ],
        }
        for decision in decisions
    ]
    # Who it was is nobody's business outside: that people approved, in which role and on which side, is.
    people = [{"role": one["role"], "side": one["side"]} for one in before.get("approved_by", ())]
    return {"decisions": shown, "facts": facts_digest(before), **({"approvedBy": people} if people else {})}


def check_against_file(record: Mapping[str, Any], assertion: Mapping[str, Any], file_sha256: str | None) -> None:
    """Raises TamperError unless the released file's assertion and bytes are those that the record is about.

    ``assertion``: the data of ``org.filigrana.record`` in the file's manifest. ``file_sha256``: hex, None to leave it.
    """
    if assertion.get("facts") != facts_digest(record["before"]):
        raise TamperError("the facts in the file are not those of its decision record")
    if file_sha256 is not None and record["after"].get("sha256") != file_sha256:
        raise TamperError("the decision record is about another file")


def _line(value: Mapping[str, Any]) -> str:
    return canonical.encode(value).decode()
