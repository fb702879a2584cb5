"""The history of ingredients as a drawing: where each box stands, and the lines between them. Pure.

The file stands on the right, what it was made from to its left, step by step. A cycle, which only a liar makes, ends
where it comes back.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT, GAP_X, GAP_Y, EDGE = 208, 76, 56, 20, 4
MOST = 40


@dataclass(frozen=True, slots=True)
class Box:
    """``number``: the node's place in the history, from 0 for the file itself. In px of the drawing."""

    number: int
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Line:
    path: str
    relationship: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """``more``: how many nodes are only in the list."""

    width: int
    height: int
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]
    more: int


def draw(history: dict[str, Any]) -> Drawing | None:
    """None where there is nothing but the file itself."""
    numbers = {str(node["id"]): i for i, node in enumerate(history.get("nodes", []))}
    if len(numbers) < 2:
        return None
    edges = [
        (numbers[str(e["from"])], numbers[str(e["to"])], str(e["relationship"]))
        for e in history.get("edges", [])
        if str(e["from"]) in numbers and str(e["to"]) in numbers
    ]
    depth = _depths(edges)
    shown = sorted(depth, key=lambda n: (depth[n], n))[:MOST]
    columns: dict[int, list[int]] = {}
    for number in shown:
        columns.setdefault(depth[number], []).append(number)
    deepest, tallest = max(columns), max(len(column) for column in columns.values())
    width = (deepest + 1) * WIDTH + deepest * GAP_X + 2 * EDGE
    height = tallest * HEIGHT + (tallest - 1) * GAP_Y + 2 * EDGE
    places: dict[int, tuple[int, int]] = {}
    for level, column in columns.items():
        used = len(column) * HEIGHT + (len(column) - 1) * GAP_Y
        for row, number in enumerate(column):
            x = EDGE + (deepest - level) * (WIDTH + GAP_X)
            places[number] = (x, (height - used) // 2 + row * (HEIGHT + GAP_Y))
    lines = [Line(_path(places[a], places[b]), kind) for a, b, kind in edges if a in places and b in places]
    boxes = tuple(Box(number, *places[number]) for number in shown)
    return Drawing(width, height, boxes, tuple(lines), len(numbers) - len(shown))


def _depths(edges: list[tuple[int, int, str]]) -> dict[int, int]:
    """Steps from the file, by the shortest way: each node is walked once."""
    further: dict[int, list[int]] = {}
    for source, target, _ in edges:
        further.setdefault(source, []).append(target)
    depth, todo = {0: 0}, deque([0])
    while todo:
        number = todo.popleft()
        for target in further.get(number, []):
            if target not in depth:
                depth[target] = depth[number] + 1
                todo.append(target)
    return depth


def _path(whole: tuple[int, int], part: tuple[int, int]) -> str:
    """From the part's right side to the whole's left one."""
    x1, y1 = part[0] + WIDTH, part[1] + HEIGHT // 2
    x2, y2 = whole[0], whole[1] + HEIGHT // 2
    middle = (x1 + x2) // 2
    return f"M{x1} {y1} C{middle} {y1} {middle} {y2} {x2} {y2}"
