"""Where a checkpoint goes, so that whoever runs the database cannot take it back: witnesses, a time-stamp
authority, folders and buckets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from cryptography import x509

from ...errors import InputError, LogError, TamperError, TimestampError
from .cosignature import cosignatures, merge
from .note import MAX_NOTE_BYTES, Checkpoint, Note, VerifierKey
from .places import Place
from .sequencer import AuditLog
from .site import LogSite
from .site_paths import CHECKPOINT
from .stamp import MAX_REPLY, ask, check
from .witness_client import WitnessClient


class Stage(IntEnum):
    """In this order: what is stored has all cosignatures, and its stamp is over those, too."""

    COSIGN = 0
    STAMP = 1
    STORE = 2


@dataclass(frozen=True, slots=True)
class Publication:
    """``stamp``: an RFC 3161 reply over the note's SHA-256. ``last``: the size that this publisher had last."""

    note: str
    checkpoint: Checkpoint
    stamp: bytes | None = None
    last: int = 0

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(self.note.encode()).digest()


@dataclass(frozen=True, slots=True)
class Receipt:
    """``text``: for a person. ``note``: with further signatures. ``stamp``: an RFC 3161 reply."""

    text: str
    note: str | None = None
    stamp: bytes | None = None


class Publisher(Protocol):
    """One target. ``name`` holds no secret and stays the same."""

    @property
    def name(self) -> str: ...

    @property
    def stage(self) -> Stage: ...

    def publish(self, publication: Publication, log: AuditLog) -> Receipt:
        """Again with the same publication it changes nothing. Raises FiligranaError when it did not work."""
        ...


class WitnessPublisher:
    """Asks a witness to cosign (c2sp.org/tlog-witness)."""

    stage = Stage.COSIGN

    def __init__(self, client: WitnessClient) -> None:
        self._client = client
        self.name = f"witness {client.keys[0].name}"

    @property
    def keys(self) -> tuple[VerifierKey, ...]:
        return self._client.keys

    @classmethod
    def parse(cls, target: str, timeout: float) -> WitnessPublisher:
        """From ``witness+https://HOST/PREFIX KEY [KEY…]``. Raises InputError, LogError (``log.note``)."""
        url, *keys = target.removeprefix("witness+").split()
        if not keys:
            raise InputError("a witness is named by its address and its verifier keys", code="input.target")
        return cls(WitnessClient(url, [VerifierKey.parse(key) for key in keys], timeout=timeout))

    def publish(self, publication: Publication, log: AuditLog) -> Receipt:
        found = cosignatures(publication.note, self.keys)
        if found:
            return Receipt(f"cosigned at {found[0].time} already")
        note = self._client.cosign(publication.note, log.consistency, publication.last)
        times = sorted({item.time for item in cosignatures(note, self.keys)})
        return Receipt(f"cosigned at {times[-1]}", note=note)


class StampPublisher:
    """A time-stamp over the note. ``tsa``: opens the authority and gives its URL. ``roots``: who is believed."""

    stage = Stage.STAMP
    name = "tsa"

    def __init__(
        self,
        tsa: Callable[[], AbstractContextManager[str]],
        roots: Callable[[], Sequence[x509.Certificate]],
        timeout: float,
    ) -> None:
        self._tsa = tsa
        self._roots = roots
        self._timeout = timeout

    def publish(self, publication: Publication, log: AuditLog) -> Receipt:  # noqa: ARG002  the port's
        if publication.stamp is not None:
            try:
                when = check(publication.stamp, publication.digest, self._roots())
                return Receipt(f"stamped at {when:%Y-%m-%dT%H:%M:%SZ} already", stamp=publication.stamp)
            except TimestampError:
                pass  # it is over fewer signatures, or by somebody else: a new one is asked for
        with self._tsa() as url:
            reply, nonce = ask(url, publication.digest, self._timeout)
        when = check(reply, publication.digest, self._roots(), nonce=nonce)
        return Receipt(f"stamped at {when:%Y-%m-%dT%H:%M:%SZ}", stamp=reply)


class PlacePublisher:
    """Writes ``<size>`` (and ``<size>.tsr``), which are never replaced, then ``checkpoint``, the newest.

    A note that comes again with more signatures is written as ``<size>-<16 hex digits of its SHA-256>``.
    """

    stage = Stage.STORE

    def __init__(self, place: Place) -> None:
        self._place = place
        self.name = place.name

    def publish(self, publication: Publication, log: AuditLog) -> Receipt:
        newest = self._fits(publication, log)
        data = publication.note.encode()
        name = str(publication.checkpoint.size)
        there = self._place.read(name, MAX_NOTE_BYTES)
        if there not in (None, data):
            name = f"{name}-{publication.digest.hex()[:16]}"
            there = self._place.read(name, MAX_NOTE_BYTES)
        if there is None:
            self._place.write(name, data)
        if publication.stamp is not None and self._place.read(f"{name}.tsr", MAX_REPLY) is None:
            self._place.write(f"{name}.tsr", publication.stamp)
        if newest == data:
            return Receipt(f"{name} is there")
        if newest is not None and Checkpoint.open(newest.decode(), log.keys).size > publication.checkpoint.size:
            # Another machine that writes to the same log was faster.
            return Receipt(f"{name} is there, and a newer `{CHECKPOINT}`")
        try:
            self._place.write(CHECKPOINT, data)
        except LogError as error:
            if newest is None:
                raise
            return Receipt(f"{name} is there; `{CHECKPOINT}` could not be replaced: {error.message}")
        return Receipt(f"{name} was written")

    def _fits(self, publication: Publication, log: AuditLog) -> bytes | None:
        """The newest checkpoint there. Raises TamperError when this one does not follow it: it is evidence."""
        data = self._place.read(CHECKPOINT, MAX_NOTE_BYTES)
        if data is None:
            return None
        try:
            old = Checkpoint.open(data.decode("utf-8"), log.keys)
        except (UnicodeDecodeError, LogError):
            raise LogError(
                f"{self.name} holds a checkpoint that is not of this log, or damaged",
                code="log.publish",
                hint="Nothing there was changed. Look at it; then move it away, or publish elsewhere.",
            ) from None
        if old.size > publication.checkpoint.size and old.size > log.size():
            raise TamperError(f"{self.name} holds a checkpoint over {old.size} entries, more than the log has")
        if LogSite(log).root(old.size) != old.root:
            raise TamperError(f"the first {old.size} entries of the log are not those of the checkpoint in {self.name}")
        return data


def merged(note: str, receipts: Iterable[Receipt]) -> str:
    """``note`` with all the lines that the receipts' notes add to it."""
    result = Note.parse(note)
    for receipt in receipts:
        if receipt.note is None:
            continue
        other = Note.parse(receipt.note)
        if other.text != result.text:
            raise LogError("a witness's answer is about another checkpoint", code="log.publish")
        result = merge(result, [line for line in other.signatures if line not in result.signatures])
    return str(result)
