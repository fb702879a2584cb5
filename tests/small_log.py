"""A log in memory for tests of witnesses: leaves, signed checkpoints, consistency proofs; and one that forks."""

from __future__ import annotations

from pathlib import Path

from filigrana.provenance.log import merkle
from filigrana.provenance.log.note import Checkpoint
from filigrana.provenance.log.signer import Ed25519LogSigner

ORIGIN = "log.example/one"
WITNESS = "witness.example/w1"


class SmallLog:
    def __init__(self, key: Path, origin: str = ORIGIN, leaves: int = 0, salt: str = "") -> None:
        self.signer = Ed25519LogSigner.load_or_create(key, origin)
        self.hashes: list[bytes] = []
        self.grow(leaves, salt)

    def grow(self, count: int, salt: str = "") -> None:
        for number in range(count):
            self.hashes.append(merkle.leaf_hash(f"{salt}{len(self.hashes)}-{number}".encode()))

    def fork(self, key: Path, at: int, leaves: int) -> SmallLog:
        """Another history under the same name and key, the same only up to entry ``at``."""
        other = SmallLog(key, self.signer.name)
        other.hashes = self.hashes[:at]
        other.grow(leaves - at, "forked ")
        return other

    def _node(self, level: int, index: int) -> bytes:
        return merkle.complete_root(self.hashes[index << level : (index + 1) << level])

    def checkpoint(self, size: int | None = None, extensions: tuple[str, ...] = ()) -> Checkpoint:
        count = len(self.hashes) if size is None else size
        return Checkpoint(self.signer.name, count, merkle.root_at(count, self._node), extensions)

    def note(self, size: int | None = None, extensions: tuple[str, ...] = ()) -> str:
        return self.checkpoint(size, extensions).sign(self.signer)

    def prove(self, old: int, new: int) -> list[bytes]:
        return merkle.consistency_proof(old, new, self._node)
