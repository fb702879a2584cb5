"""Log entries as bytes: canonical JSON (RFC 8785), so that equal entries have equal hashes everywhere.

Pure, no IO. What an entry may be:

- a mapping with a non-empty string under ``"type"``, keys all strings;
- values: null, booleans, strings of valid Unicode, integers within ±(2**53 - 1), finite floats, lists,
  mappings;
- at most 16 levels deep, and its canonical form smaller than 60 KiB (C2SP tlog-tiles holds 64 KiB an entry).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import rfc8785

from ...errors import EntryError, TamperError

MAX_LEAF_BYTES = 60 * 1024
MAX_DEPTH = 16
_SAFE_INTEGER = 2**53 - 1  # beyond it, JSON readers that use doubles disagree (RFC 8785, section 3.2.2.3)


def encode(entry: Mapping[str, Any]) -> bytes:
    """The leaf of ``entry``: its RFC 8785 form in UTF-8, shorter than 60 KiB. Raises EntryError otherwise."""
    if not isinstance(entry, Mapping):
        raise EntryError("a log entry is a mapping")
    kind = entry.get("type")
    if not isinstance(kind, str) or not kind:
        raise EntryError('a log entry needs a non-empty string under "type"')
    try:
        leaf = rfc8785.dumps(_plain(entry, 1))
    except rfc8785.CanonicalizationError as error:
        raise EntryError(f"the log entry cannot be written as canonical JSON: {error}") from None
    if len(leaf) >= MAX_LEAF_BYTES:
        raise EntryError(f"the log entry has {len(leaf)} bytes; {MAX_LEAF_BYTES - 1} are the most")
    return leaf


def decode(leaf: bytes) -> dict[str, Any]:
    """The entry that :func:`encode` wrote. Raises TamperError for any other bytes."""
    try:
        entry = json.loads(leaf.decode("utf-8"))
        same = encode(entry) == leaf
    except (UnicodeDecodeError, ValueError, RecursionError, EntryError):
        same = False
    if not same:
        raise TamperError("a log entry is not canonical JSON")
    return dict(entry)


def _plain(value: Any, depth: int) -> Any:
    """``value`` made of exact built-in types (no enums, numpy scalars or tuples); refuses the rest."""
    if depth > MAX_DEPTH:
        raise EntryError(f"the log entry is more than {MAX_DEPTH} levels deep")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        number = int(value)
        if abs(number) > _SAFE_INTEGER:
            raise EntryError("an integer in the log entry is beyond 2**53 - 1: write it as a string")
        return number
    if isinstance(value, float):
        # A whole float beyond 2**53 would read back as an integer that may not be written.
        if not math.isfinite(value) or abs(value) > _SAFE_INTEGER:
            raise EntryError("a number in the log entry is NaN, infinite or beyond 2**53 - 1")
        return float(value)
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise EntryError("the keys of a log entry are strings")
        return {str.__str__(key): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, depth + 1) for item in value]
    raise EntryError(f"a log entry cannot carry a value of type {type(value).__name__}")
