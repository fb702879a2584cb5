"""An inclusion proof as a drawing: from the entry at the bottom up to the signed root. Pure."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from ....errors import TamperError
from ....provenance.log.merkle import node_hash, verify_inclusion

WIDTH, HEIGHT, GAP_X, GAP_Y, EDGE = 190, 56, 70, 44, 4


@dataclass(frozen=True, slots=True)
class Node:
    """``kind``: entry, node, sibling or root. ``text``: the hash's beginning."""

    kind: str
    x: int
    y: int
    text: str
    whole: str
    level: int


@dataclass(frozen=True, slots=True)
class Drawing:
    """``lines``: (x1, y1, x2, y2). ``holds``: whether the way leads to the root."""

    width: int
    height: int
    nodes: tuple[Node, ...]
    lines: tuple[tuple[int, int, int, int], ...]
    holds: bool


def draw(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> Drawing:
    """``leaf``: the leaf's hash. The entry's own way is on the left or right of each sibling, as the tree has it."""
    try:
        verify_inclusion(leaf, index, size, proof, root)
        holds = True
    except TamperError:
        holds = False
    rows = len(proof) + 1
    height = rows * HEIGHT + (rows - 1) * GAP_Y + 2 * EDGE
    width = 2 * WIDTH + GAP_X + 2 * EDGE
    nodes: list[Node] = []
    lines: list[tuple[int, int, int, int]] = []
    current = leaf
    place, last = index, size - 1
    for level, sibling in enumerate(proof):
        right = bool(place & 1) or place == last
        y = EDGE + (rows - 1 - level) * (HEIGHT + GAP_Y)
        mine, other = (EDGE + WIDTH + GAP_X, EDGE) if right else (EDGE, EDGE + WIDTH + GAP_X)
        nodes.append(_node("entry" if level == 0 else "node", mine, y, current, level))
        nodes.append(_node("sibling", other, y, sibling, level))
        current = node_hash(sibling, current) if right else node_hash(current, sibling)
        if right:
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        place, last = place >> 1, last >> 1
        up = _above(place, last, level + 1 == len(proof))
        lines += [(x + WIDTH // 2, y, up, y - GAP_Y) for x in (mine, other)]
    nodes.append(_node("root" if proof else "entry", (width - WIDTH) // 2, EDGE, current, len(proof)))
    return Drawing(width, height, tuple(nodes), tuple(lines), holds)


def _above(place: int, last: int, top: bool) -> int:
    """Where the parent's box has its middle."""
    if top:
        return (2 * WIDTH + GAP_X + 2 * EDGE) // 2
    right = bool(place & 1) or place == last
    return (EDGE + WIDTH + GAP_X if right else EDGE) + WIDTH // 2


def _node(kind: str, x: int, y: int, value: bytes, level: int) -> Node:
    whole = base64.b64encode(value).decode()
    return Node(kind, x, y, f"{whole[:14]}…", whole, level)
