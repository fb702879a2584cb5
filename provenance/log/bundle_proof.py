"""One proof for many entries: that all of them are in one tree, whichever they are.

Pure, no IO. The tree is walked from its root as RFC 6962 splits it; wherever no shown entry lies below, the hash of
that whole part stands in the proof, from left to right. Whoever has the entries computes the root from both.

Why not an inclusion proof for each entry: those repeat each other's hashes. This is one proof for a contiguous slice
and for scattered entries alike; a slice needs at most two hashes a level, and a single entry its inclusion proof.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from ...errors import TamperError
from .merkle import EMPTY_ROOT, HASH_BYTES, node_hash


def prove_all(indexes: Sequence[int], size: int, hash_over: Callable[[int, int], bytes]) -> list[bytes]:
    """The proof for these entries (sorted, distinct). ``hash_over(low, high)``: RFC 6962's hash over those leaves.

    Raises ValueError when an index is not in the tree.
    """
    _check(indexes, size)
    return [hash_over(low, high) for low, high in _others(indexes, 0, size)]


def root_from(indexes: Sequence[int], leaf_hashes: Sequence[bytes], size: int, proof: Sequence[bytes]) -> bytes:
    """The root that entries with these hashes and the proof lead to. Raises TamperError when the proof does not fit."""
    try:
        _check(indexes, size)
    except ValueError as error:
        raise TamperError(f"the proof is for no such entries: {error}") from None
    if len(leaf_hashes) != len(indexes) or any(len(item) != HASH_BYTES for item in (*leaf_hashes, *proof)):
        raise TamperError("the proof does not fit the entries")
    if size == 0:
        if proof:
            raise TamperError("the proof is too long")
        return EMPTY_ROOT
    rest = iter(proof)

    def over(low: int, high: int, first: int, last: int) -> bytes:
        if first == last:
            found = next(rest, None)
            if found is None:
                raise TamperError("the proof is too short")
            return found
        if high - low == 1:
            return leaf_hashes[first]
        middle = low + _split(high - low)
        border = bisect_left(indexes, middle, first, last)
        left = over(low, middle, first, border)
        return node_hash(left, over(middle, high, border, last))

    root = over(0, size, 0, len(indexes))
    if next(rest, None) is not None:
        raise TamperError("the proof is too long")
    return root


def _others(indexes: Sequence[int], low: int, high: int) -> Iterator[tuple[int, int]]:
    """The largest parts of the tree without a shown entry, from left to right."""
    if low == high:
        return
    first, last = bisect_left(indexes, low), bisect_left(indexes, high)
    if first == last:
        yield low, high
    elif last - first < high - low:
        middle = low + _split(high - low)
        yield from _others(indexes, low, middle)
        yield from _others(indexes, middle, high)


def _check(indexes: Sequence[int], size: int) -> None:
    if any(a >= b for a, b in pairwise(indexes)):
        raise ValueError("the indexes are not in order")
    if size < 0 or (indexes and not 0 <= indexes[0] <= indexes[-1] < size):
        raise ValueError("an index is not in the tree")


def _split(count: int) -> int:
    """The largest power of two smaller than ``count``."""
    return 1 << ((count - 1).bit_length() - 1)
