"""Cosignatures on checkpoints (c2sp.org/tlog-cosignature): adding one, reading them, asking for enough of them.

Pure, no IO. A witness that cosigns says: as of this time, the largest tree that I have seen of this log has
this root, and it contains every smaller one that I cosigned. Several such words, from witnesses that do not
work together, are what shows that everybody is given the same log.

A log signs its own checkpoint with ML-DSA-44 in the same way, under its own name (c2sp.org/tlog-checkpoint
gives it no other form): ``cosign(note, key_named_as_the_log, time)`` beside its Ed25519 line.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from ...errors import LogError, TamperError
from .note import MAX_SIGNATURES, Checkpoint, Note, Signature, VerifierKey
from .signatures import COSIGNATURES, MAX_TIME, MLDSA44_COSIGNATURE, join_time

MAX_AHEAD = 300
"""Seconds that a cosignature's time may lie in the future of whoever checks it: clocks differ."""


class Cosigner(Protocol):
    """Whoever cosigns: its ``verifier_key`` of type 0x04 or 0x06, and ``sign``."""

    @property
    def verifier_key(self) -> VerifierKey: ...

    def sign(self, message: bytes) -> bytes:
        """The bare signature over ``message``: 64 bytes of Ed25519 or 2,420 of ML-DSA-44 (empty context)."""
        ...


@dataclass(frozen=True, slots=True)
class Cosignature:
    """``key`` cosigned at ``time``, in POSIX seconds."""

    key: VerifierKey
    time: int


def cosign(note: str, cosigner: Cosigner, time: int) -> str:
    """The note of a checkpoint with this cosigner's line added, in place of an older one of the same key.

    ``time``: POSIX seconds. Only an ML-DSA-44 key may sign 0, which states no time (a log's own key; never
    a witness). Nothing about the log is verified here: that is the witness's work. Raises LogError
    (``log.note``) when this is no checkpoint or has no room, or when a log would leave its own extension
    lines unsigned.
    """
    return str(merge(Note.parse(note), [cosignature_line(Note.parse(note).text, cosigner, time)]))


def cosignature_line(text: str, cosigner: Cosigner, time: int) -> Signature:
    """This cosigner's line for the checkpoint with this text; see :func:`cosign`."""
    key, checkpoint = cosigner.verifier_key, Checkpoint.parse_text(text)
    if key.kind not in COSIGNATURES:
        raise LogError("this key makes no cosignatures", code="log.note")
    if not (0 if key.kind == MLDSA44_COSIGNATURE else 1) <= time <= MAX_TIME:
        raise LogError("a cosignature's time is in POSIX seconds", code="log.note")
    if key.kind == MLDSA44_COSIGNATURE and key.name == checkpoint.origin and checkpoint.extensions:
        raise LogError("ML-DSA-44 would leave the extension lines of the checkpoint unsigned", code="log.note")
    message = key.cosigned_message(text.encode(), time)
    line = Signature(key.name, key.key_id, join_time(time, cosigner.sign(message)))
    key.verify(text.encode(), line.signature)  # a token or service that signs wrongly is noticed here
    return line


def merge(note: Note, lines: Sequence[Signature]) -> Note:
    """The note with these lines at its end, in place of those of the same keys. Nothing is verified."""
    new = {(line.name, line.key_id) for line in lines}
    kept = [line for line in note.signatures if (line.name, line.key_id) not in new]
    if len(kept) + len(lines) > MAX_SIGNATURES:
        raise LogError(f"the note would have more than {MAX_SIGNATURES} signatures", code="log.note")
    return Note(note.text, (*kept, *lines))


def cosignatures(note: str, keys: Iterable[VerifierKey]) -> tuple[Cosignature, ...]:
    """Which of these trusted witness keys cosigned the checkpoint, and when: at most one for each key, its latest.

    Lines of other keys are ignored, and so are those without a time, which are no witness's (c2sp.org/tlog-witness).
    Raises TamperError when a line of one of ``keys`` does not hold, LogError (``log.note``) for a key that is
    no cosigner's. The log's own signature is not looked at: :meth:`Checkpoint.open` does that.
    """
    known = {(key.name, key.key_id): key for key in keys}
    if any(key.kind not in COSIGNATURES for key in known.values()):
        raise LogError("a witness's key is of the type 0x04 or 0x06", code="log.note")
    parsed = Note.parse(note)
    Checkpoint.parse_text(parsed.text)
    times: dict[VerifierKey, int] = {}
    for line in parsed.signatures:
        key = known.get((line.name, line.key_id))
        time = key.verify(parsed.text.encode(), line.signature) if key is not None else None
        if key is not None and time:
            times[key] = max(time, times.get(key, 0))
    return tuple(Cosignature(key, time) for key, time in times.items())


def require_witness_keys(keys: Iterable[VerifierKey], log_keys: Iterable[VerifierKey] = ()) -> None:
    """Raises LogError (``log.policy``) for a key that can be no witness's, or is the log's own."""
    log = list(log_keys)
    for key in keys:
        if key.kind not in COSIGNATURES:
            raise _wrong(f"{key.name} is no witness's key: those are of the type 0x04 or 0x06")
        if any(key.name == own.name or key.public_key == own.public_key for own in log):
            raise _wrong(f"{key.name} is the log's own key: a log is no witness of itself")


def utc(time: int) -> str:
    """A cosignature's time for people."""
    try:
        return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{time} seconds after 1970"


@dataclass(frozen=True, slots=True)
class WitnessPolicy:
    """At least ``threshold`` of the witnesses that these keys belong to.

    A witness is a name: one with an Ed25519 and an ML-DSA-44 key counts once. Raises LogError
    (``log.policy``) for a policy that nothing, or less than it says, could fulfil.
    """

    keys: tuple[VerifierKey, ...]
    threshold: int

    def __post_init__(self) -> None:
        if any(key.kind not in COSIGNATURES for key in self.keys):
            raise _wrong("a witness's key is of the type 0x04 or 0x06")
        owner: dict[bytes, str] = {}
        for key in self.keys:
            if owner.setdefault(key.public_key, key.name) != key.name:
                raise _wrong("two witnesses have the same key: they are one")
        if not 1 <= self.threshold <= len({key.name for key in self.keys}):
            raise _wrong("the threshold lies between 1 and the number of witnesses")

    def check(self, note: str, *, now: float | None = None) -> tuple[Cosignature, ...]:
        """The cosignatures that count. Raises TamperError when there are too few, or one does not hold.

        ``now``: POSIX seconds; cosignatures from more than :data:`MAX_AHEAD` seconds later do not count.
        """
        found = cosignatures(note, self.keys)
        if any(item.key.name == Checkpoint.parse_text(Note.parse(note).text).origin for item in found):
            raise _wrong("a log is no witness of itself")
        if now is not None:
            found = tuple(item for item in found if item.time <= now + MAX_AHEAD)
        count = len({item.key.name for item in found})
        if count < self.threshold:
            raise TamperError(
                f"{count} of the required {self.threshold} witnesses cosigned the checkpoint",
                hint="Ask the log's operator for a checkpoint with cosignatures: without them, others may be shown "
                "another log.",
            )
        return found


def _wrong(message: str) -> LogError:
    return LogError(message, code="log.policy", hint="Give the witnesses' verifier keys, and how many must cosign.")
