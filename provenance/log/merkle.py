"""The Merkle tree of RFC 6962, section 2.1: hashes, roots, inclusion and consistency proofs.

Pure, no IO. All hashes are 32 bytes of SHA-256. A *node* ``(level, index)`` is the root of the complete
subtree over the leaves ``[index << level, (index + 1) << level)``; ``(0, i)`` is the hash of leaf ``i``.
Proofs are made from a reader of such nodes, so this module does not know where hashes are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

from ...errors import TamperError

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()

NodeReader = Callable[[int, int], bytes]
"""``reader(level, index)`` returns the hash of that complete subtree."""


def leaf_hash(leaf: bytes) -> bytes:
    """``SHA-256(0x00 || leaf)``."""
    return sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """``SHA-256(0x01 || left || right)``; another first byte than a leaf's, so that no leaf passes for a
    node.
    """
    return sha256(b"\x01" + left + right).digest()


class CompactRange:
    """The frontier of a growing tree: the roots of its complete subtrees, at most one for each power of two.

    Appending costs O(1) hashes on average, the root O(log n), memory O(log n).
    """

    __slots__ = ("hashes", "size")

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        """``hashes``: one for each set bit of ``size``, the largest subtree first."""
        self.size = size
        self.hashes = list(hashes)
        if len(self.hashes) != size.bit_count():
            raise ValueError("a compact range has one hash for each set bit of its size")

    def push(self, node: bytes, level: int = 0) -> None:
        """Appends a complete subtree of ``2**level`` leaves; the size must be a multiple of that
        (ValueError).
        """
        if self.size & ((1 << level) - 1):
            raise ValueError("a subtree can only be appended at a multiple of its own size")
        place = self.size >> level
        while place & 1:
            node = node_hash(self.hashes.pop(), node)
            place >>= 1
        self.hashes.append(node)
        self.size += 1 << level

    def root(self) -> bytes:
        if not self.hashes:
            return EMPTY_ROOT
        result = self.hashes[-1]
        for node in reversed(self.hashes[:-1]):
            result = node_hash(node, result)
        return result

    def copy(self) -> CompactRange:
        return CompactRange(self.size, self.hashes)


def root_of(leaf_hashes: Iterable[bytes]) -> bytes:
    """The root of the tree over these leaf hashes, in order."""
    tree = CompactRange()
    for item in leaf_hashes:
        tree.push(item)
    return tree.root()


def complete_root(hashes: Sequence[bytes]) -> bytes:
    """The root over ``2**k`` hashes of one level: a plain pairwise reduction, faster than :func:`root_of`."""
    row = list(hashes)
    if not row or len(row) & (len(row) - 1):
        raise ValueError("a complete subtree has a power of two of hashes")
    while len(row) > 1:
        pairs = iter(row)
        row = [sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]
    return row[0]


def root_at(size: int, node: NodeReader) -> bytes:
    """The root of the first ``size`` leaves."""
    return _range_hash(0, size, node) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, node: NodeReader) -> list[bytes]:
    """``PATH(index, D[size])``: the siblings from the leaf up to the root's child. Raises ValueError off
    the tree.
    """
    if not 0 <= index < size:
        raise ValueError("the index is not in the tree")
    path: list[bytes] = []
    low, high = 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            path.append(_range_hash(middle, high, node))
            high = middle
        else:
            path.append(_range_hash(low, middle, node))
            low = middle
    return path[::-1]


def consistency_proof(old: int, new: int, node: NodeReader) -> list[bytes]:
    """``PROOF(old, D[new])``; empty when ``old`` is 0 or equals ``new``. Raises ValueError when the tree
    shrank.
    """
    if not 0 <= old <= new:
        raise ValueError("the old tree is larger than the new one")
    if old in (0, new):
        return []
    path: list[bytes] = []
    low, high = 0, new
    whole = True  # whether the old tree's root over [0, ...) is known to the verifier as it stands
    while old != high:
        middle = low + _split(high - low)
        if old <= middle:
            path.append(_range_hash(middle, high, node))
            high = middle
        else:
            path.append(_range_hash(low, middle, node))
            low = middle
            whole = False
    if not whole:
        path.append(_range_hash(low, high, node))
    return path[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """RFC 9162, section 2.1.3.2, from the leaf *hash*. Raises TamperError when it does not lead to
    ``root``.
    """
    if not 0 <= index < size or any(len(item) != HASH_BYTES for item in (leaf, root, *proof)):
        raise TamperError("the inclusion proof is for no entry of this tree")
    place, last = index, size - 1
    result = leaf
    for item in proof:
        if last == 0:
            raise TamperError("the inclusion proof is too long")
        if place & 1 or place == last:
            result = node_hash(item, result)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            result = node_hash(result, item)
        place, last = place >> 1, last >> 1
    if last != 0 or result != root:
        raise TamperError("the inclusion proof does not lead to the root")


def verify_consistency(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """RFC 9162, section 2.1.4.2. Raises TamperError unless the new tree only adds to the old one."""
    if not 0 <= old <= new or any(len(item) != HASH_BYTES for item in (old_root, new_root, *proof)):
        raise TamperError("the log is shorter than it was")
    if old == 0:
        if proof or old_root != EMPTY_ROOT or (new == 0 and new_root != EMPTY_ROOT):
            raise TamperError("the consistency proof from the empty log is not empty")
        return
    if old == new:
        if proof or old_root != new_root:
            raise TamperError("two roots for one size of the log")
        return
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not path:
        raise TamperError("the consistency proof is too short")
    place, last = old - 1, new - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    old_result = new_result = path[0]
    for item in path[1:]:
        if last == 0:
            raise TamperError("the consistency proof is too long")
        if place & 1 or place == last:
            old_result = node_hash(item, old_result)
            new_result = node_hash(item, new_result)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            new_result = node_hash(new_result, item)
        place, last = place >> 1, last >> 1
    if last != 0 or old_result != old_root or new_result != new_root:
        raise TamperError("the log was rewritten: its old root does not lead to the new one")


def _split(count: int) -> int:
    """The largest power of two smaller than ``count``."""
    return 1 << ((count - 1).bit_length() - 1)


def _range_hash(low: int, high: int, node: NodeReader) -> bytes:
    """The hash over leaves [low, high), where ``low`` is aligned as in RFC 6962's recursion."""
    count = high - low
    if count & (count - 1) == 0:
        level = count.bit_length() - 1
        return node(level, low >> level)
    middle = low + _split(count)
    return node_hash(_range_hash(low, middle, node), _range_hash(middle, high, node))
