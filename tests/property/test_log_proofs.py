"""Proofs: every true one is accepted, and every changed one is refused."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filigrana.errors import EntryError, TamperError
from filigrana.provenance.log import canonical, merkle
from filigrana.provenance.log.tiles import Tail

MANY = 129
HASHES = [merkle.leaf_hash(str(index).encode()) for index in range(MANY)]


def reference_root(hashes: list[bytes]) -> bytes:
    """MTH as RFC 6962 writes it, the slow way."""
    if not hashes:
        return sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return merkle.node_hash(reference_root(hashes[:split]), reference_root(hashes[split:]))


ROOTS = [reference_root(HASHES[:size]) for size in range(MANY + 1)]


def node(level: int, index: int) -> bytes:
    row = HASHES[index << level : (index + 1) << level]
    assert len(row) == 1 << level, "only complete subtrees may be asked for"
    return merkle.complete_root(row)


def refused(check: Any, *arguments: Any) -> None:
    try:  # pytest.raises says the same and takes longer than the check
        check(*arguments)
    except TamperError:
        return
    pytest.fail("a wrong proof was accepted")


def test_every_root_up_to_129() -> None:
    tree = merkle.CompactRange()
    for size in range(MANY + 1):
        assert merkle.root_at(size, node) == tree.root() == merkle.root_of(HASHES[:size]) == ROOTS[size]
        if size < MANY:
            tree.push(HASHES[size])


def test_every_inclusion_proof_up_to_129() -> None:
    for size in range(1, MANY + 1):
        for index in range(size):
            proof = merkle.inclusion_proof(index, size, node)
            merkle.verify_inclusion(HASHES[index], index, size, proof, ROOTS[size])
            refused(merkle.verify_inclusion, HASHES[index], index, size, [*proof, bytes(32)], ROOTS[size])
            if proof:
                refused(merkle.verify_inclusion, HASHES[index], index, size, proof[:-1], ROOTS[size])
            for other in range(size):
                if other != index:
                    refused(merkle.verify_inclusion, HASHES[index], other, size, proof, ROOTS[size])


def test_every_consistency_proof_up_to_129() -> None:
    for new in range(MANY + 1):
        for old in range(new + 1):
            proof = merkle.consistency_proof(old, new, node)
            merkle.verify_consistency(old, ROOTS[old], new, ROOTS[new], proof)
            refused(merkle.verify_consistency, old, ROOTS[old], new, ROOTS[new], [*proof, bytes(32)])
            wrong = merkle.leaf_hash(b"another")
            refused(merkle.verify_consistency, old, wrong, new, ROOTS[new], proof)
            if old:
                refused(merkle.verify_consistency, old, ROOTS[old], new, wrong, proof)
            if proof:
                refused(merkle.verify_consistency, old, ROOTS[old], new, ROOTS[new], proof[:-1])


def test_the_tree_cannot_shrink_or_be_left() -> None:
    refused(merkle.verify_consistency, 2, ROOTS[2], 1, ROOTS[1], [])
    refused(merkle.verify_inclusion, HASHES[0], 1, 1, [], ROOTS[1])
    with pytest.raises(ValueError):
        merkle.inclusion_proof(3, 3, node)
    with pytest.raises(ValueError):
        merkle.consistency_proof(3, 2, node)


@given(st.data())
def test_a_changed_inclusion_proof_is_refused(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, MANY))
    index = data.draw(st.integers(0, size - 1))
    parts = [HASHES[index], ROOTS[size], *merkle.inclusion_proof(index, size, node)]
    which = data.draw(st.integers(0, len(parts) - 1))
    bit = data.draw(st.integers(0, 255))
    flipped = bytearray(parts[which])
    flipped[bit // 8] ^= 1 << bit % 8
    parts[which] = bytes(flipped)
    refused(merkle.verify_inclusion, parts[0], index, size, parts[2:], parts[1])


@given(st.data())
def test_a_changed_consistency_proof_is_refused(data: st.DataObject) -> None:
    new = data.draw(st.integers(1, MANY))
    old = data.draw(st.integers(1, new))
    parts = [ROOTS[old], ROOTS[new], *merkle.consistency_proof(old, new, node)]
    which = data.draw(st.integers(0, len(parts) - 1))
    bit = data.draw(st.integers(0, 255))
    flipped = bytearray(parts[which])
    flipped[bit // 8] ^= 1 << bit % 8
    parts[which] = bytes(flipped)
    refused(merkle.verify_consistency, old, parts[0], new, parts[1], parts[2:])


@given(st.lists(st.integers(0, 700), min_size=1, max_size=5))
def test_a_tail_grows_to_the_same_tree_in_any_steps(steps: list[int]) -> None:
    tail, tree = Tail(), merkle.CompactRange()
    tiles = []
    for step in steps:
        fresh = [sha256(b"%d" % (tail.size + at)).digest() for at in range(step)]
        tail, filled = tail.grow(fresh)
        tiles += filled
        for item in fresh:
            tree.push(item)
        assert (tail.size, tail.root()) == (tree.size, tree.root())
    assert [(tile.level, tile.index) for tile in tiles] == [(0, at) for at in range(tail.size // 256)]


def test_a_tail_fills_tiles_of_tiles() -> None:
    tail, filled = Tail().grow([bytes(32)] * 65_537)
    assert [(tile.level, tile.index) for tile in filled][-2:] == [(0, 255), (1, 0)]
    assert [len(row) for row in tail.pending] == [1, 0, 1]
    assert tail.root() == merkle.root_of([bytes(32)] * 65_537)


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53) + 1, 2**53 - 1),
    st.floats(allow_nan=False, allow_infinity=False, min_value=-(2.0**52), max_value=2.0**52),
    st.text(st.characters(exclude_categories=["Cs"])),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), VALUES, max_size=6))
def test_every_entry_reads_back_and_has_one_form(body: dict[str, Any]) -> None:
    entry = {**body, "type": "test"}
    leaf = canonical.encode(entry)
    assert canonical.decode(leaf) == entry
    shuffled = dict(reversed(list(json.loads(leaf).items())))
    assert canonical.encode(shuffled) == leaf


@given(st.binary(max_size=80))
def test_decoding_never_fails_otherwise_than_with_a_tamper_error(data: bytes) -> None:
    try:
        entry = canonical.decode(data)
    except TamperError:
        return
    assert canonical.encode(entry) == data


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"type": ""},
        {"type": 1},
        {"type": None},
        [("type", "x")],
        {"type": "x", "v": float("nan")},
        {"type": "x", "v": float("inf")},
        {"type": "x", "v": 2**53},
        {"type": "x", "v": 1e300},
        {"type": "x", "v": "\ud800"},
        {"type": "x", 1: 2},
        {"type": "x", "v": {1: 2}},
        {"type": "x", "v": b"bytes"},
        {"type": "x", "v": {1, 2}},
        {"type": "x", "v": "a" * 60 * 1024},
        {"type": "x", "v": deep(20)},
        {"type": "x", "v": deep(100_000)},
    ],
    ids=lambda entry: str(entry)[:30] if not isinstance(entry, dict) else None,
)
def test_what_cannot_be_an_entry(entry: Any) -> None:
    with pytest.raises(EntryError):
        canonical.encode(entry)
