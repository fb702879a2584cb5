"""What was published where, in a small file of the data folder. No evidence: losing it only means publishing again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import LogError
from ..durable import write_file

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows: one process at a time is up to the operator
    fcntl = None  # type: ignore[assignment]

FILE = "publishing.json"
_MOST = 1 << 20
_VERSION = 1


@dataclass(frozen=True, slots=True)
class TargetState:
    """``size``: of the newest checkpoint that the target has; ``time``: since when. ``error``: of the last attempt."""

    size: int = 0
    time: float = 0.0
    error: str = "never"


@dataclass(frozen=True, slots=True)
class State:
    """``size``: of the checkpoint of the last attempt, which was at ``tried`` (POSIX seconds)."""

    size: int = 0
    tried: float = 0.0
    problems: tuple[str, ...] = ()
    targets: Mapping[str, TargetState] = field(default_factory=dict)


def load_state(folder: Path) -> State:
    """An empty state when the file is missing or damaged: then everything is due."""
    try:
        with (folder / FILE).open("rb") as file:
            value = json.loads(file.read(_MOST))
        if value["version"] != _VERSION:
            return State()
        targets = {
            str(name): TargetState(int(item["size"]), float(item["time"]), str(item["error"]))
            for name, item in value["targets"].items()
        }
        return State(int(value["size"]), float(value["tried"]), tuple(map(str, value["problems"])), targets)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return State()


def save_state(folder: Path, state: State) -> None:
    """Raises LogError (``log.publish``)."""
    value = {
        "version": _VERSION,
        "size": state.size,
        "tried": state.tried,
        "problems": list(state.problems),
        "targets": {
            name: {"size": item.size, "time": item.time, "error": item.error} for name, item in state.targets.items()
        },
    }
    try:
        write_file(folder / FILE, json.dumps(value, indent=1, ensure_ascii=True).encode() + b"\n", 0o600)
    except OSError as error:
        raise LogError(f"{FILE} cannot be written: {error.strerror}", code="log.publish") from error


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Whether nobody else is publishing; for as long as the block lasts."""
    if fcntl is None:
        yield True
        return
    try:
        descriptor = os.open(folder / "publishing.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise LogError(f"publishing.lock cannot be opened: {error.strerror}", code="log.publish") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = True
        except OSError:
            ours = False
        yield ours
    finally:
        os.close(descriptor)
