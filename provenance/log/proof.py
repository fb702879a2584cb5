"""The proof that goes beside an asset: a C2SP tlog-proof file (c2sp.org/tlog-proof).

Pure, no IO; checking one needs the entry, the log's verifier key and `cryptography`, no network and no
account::

    c2sp.org/tlog-proof@v1
    extra <base64>             optional: here the entry's own bytes, when the proof is to stand alone
    index 73894
    <base64 hash>              the inclusion proof, from the leaf's sibling up
    ...

    <the signed checkpoint, verbatim, with its cosignatures>
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ...errors import LogError, TamperError
from .cosignature import WitnessPolicy
from .merkle import HASH_BYTES, leaf_hash, verify_inclusion
from .note import Checkpoint, VerifierKey, _b64, _decimal, _unb64

HEADER = "c2sp.org/tlog-proof@v1"
_MAX_HASHES = 63
_MAX_BYTES = 2 << 20


@dataclass(frozen=True, slots=True)
class LogProof:
    """``checkpoint``: the signed note's text. ``extra``: not authenticated by itself."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: str
    extra: bytes | None = None

    def __str__(self) -> str:
        extra = "" if self.extra is None else f"extra {_b64(self.extra)}\n"
        hashes = "".join(f"{_b64(item)}\n" for item in self.hashes)
        return f"{HEADER}\n{extra}index {self.index}\n{hashes}\n{self.checkpoint}"

    @classmethod
    def parse(cls, text: str) -> LogProof:
        """Strict. Raises LogError (``log.proof``) when ``text`` is not a proof file; verifies nothing."""
        if len(text) > _MAX_BYTES:
            raise _malformed("the proof is larger than 2 MiB")
        head, blank, checkpoint = text.partition("\n\n")
        lines = head.split("\n")
        if not blank or not checkpoint or lines.pop(0) != HEADER:
            raise _malformed(f"the first line of a proof is {HEADER}")
        try:
            extra = _unb64(lines.pop(0)[6:]) if lines and lines[0].startswith("extra ") else None
            if not lines or not lines[0].startswith("index "):
                raise _malformed("the proof names no index")
            index = _decimal(lines.pop(0)[6:])
            hashes = tuple(_unb64(line) for line in lines)
        except LogError as error:
            raise _malformed(error.message) from None
        if len(hashes) > _MAX_HASHES or any(len(item) != HASH_BYTES for item in hashes):
            raise _malformed("a proof has at most 63 hashes of 32 bytes")
        return cls(index, hashes, checkpoint, extra)

    def verify(
        self,
        keys: Iterable[VerifierKey],
        leaf: bytes | None = None,
        *,
        witnesses: WitnessPolicy | None = None,
        now: float | None = None,
    ) -> Checkpoint:
        """The checkpoint under which the entry ``leaf`` (canonical bytes; default: ``extra``) is logged.

        ``keys``: the log's. ``witnesses``: who must have cosigned that checkpoint, and how many of them; ``now`` in
        POSIX seconds, so that cosignatures from the future do not count.
        Raises TamperError when the signature, the tree or the entry does not match, or witnesses are missing.
        """
        entry = leaf if leaf is not None else self.extra
        if entry is None:
            raise LogError("the proof carries no entry: give its bytes", code="log.proof")
        if leaf is not None and self.extra is not None and leaf != self.extra:
            raise TamperError("the proof carries another entry than the one given")
        checkpoint = Checkpoint.open(self.checkpoint, keys)
        if witnesses is not None:
            witnesses.check(self.checkpoint, now=now)
        verify_inclusion(leaf_hash(entry), self.index, checkpoint.size, self.hashes, checkpoint.root)
        return checkpoint


def _malformed(message: str) -> LogError:
    return LogError(message, code="log.proof", hint="Expected: a file as in c2sp.org/tlog-proof.")
