"""Log entries as bytes: canonical JSON (RFC 8785), so that equal entries have equal hashes everywhere.

Pure, no IO. What an entry may be:

- a mapping with a non-empty string under ``"type"``, keys all strings;
- values: null, booleans, strings of valid Unicode, integers within ±(2**53 - 1), finite floats, lists,
  mappings;
- at most 16 levels deep, and its canonical form smaller than 60 KiB (C2SP tlog-tiles holds 64 KiB an entry).

Nearly every entry is plain ASCII with ordinary numbers. For those, the standard library's encoder in C writes
the very bytes of RFC 8785, in a quarter of the time; :func:`_ordinary` says which they are, and everything
else goes through `rfc8785`. A property test holds the two against each other.
"""

from __future__ import annotations

import json
import json.encoder
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
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
    leaf = _ascii(entry) if _ordinary(entry, 1) else None
    if leaf is None:
        try:
            leaf = rfc8785.dumps(_plain(entry, 1))
        except rfc8785.CanonicalizationError as error:
            raise EntryError(f"the log entry cannot be written as canonical JSON: {error}") from None
        except UnicodeEncodeError:  # a lone surrogate in a key
            raise EntryError("a key of the log entry is not valid Unicode") from None
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


def time_text(time: datetime) -> str:
    """An aware time as entries have it: RFC 3339 in UTC with milliseconds, so that texts sort as times do."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _no_default(value: object) -> object:
    raise TypeError(type(value).__name__)


def _encoder() -> Callable[[Any], str]:
    """Python's JSON encoder with sorted keys and no spaces; its C part is made once, not for each entry."""
    make: Any = getattr(json.encoder, "c_make_encoder", None)  # there is none where there is no C part
    if make is None:
        return json.JSONEncoder(ensure_ascii=False, sort_keys=True, allow_nan=False, separators=(",", ":")).encode
    parts = make(None, _no_default, json.encoder.encode_basestring, None, ":", ",", True, False, False)
    return lambda entry: "".join(parts(entry, 0))


_encode_ascii = _encoder()


def _ascii(entry: Any) -> bytes | None:
    """The canonical form of an ordinary entry; None when it has characters beyond ASCII.

    Those sort by UTF-16 units in RFC 8785 and by code points in Python, and may be lone surrogates.
    """
    text = _encode_ascii(entry)
    return text.encode("ascii") if text.isascii() else None


def _ordinary(value: Any, depth: int) -> bool:
    """Whether Python's JSON encoder writes ``value`` as RFC 8785 does (ASCII assumed). False is never wrong."""
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return True
    if kind is dict:
        if depth > MAX_DEPTH:
            return False
        deeper = depth + 1
        for key, item in value.items():
            if type(key) is not str:
                return False
            if type(item) is not str and not _ordinary(item, deeper):
                return False
        return True
    if kind is int:
        return bool(-_SAFE_INTEGER <= value <= _SAFE_INTEGER)
    if kind is float:
        # Where ECMAScript and Python write the same shortest digits without an exponent; 1.0 is 1 over there.
        return bool(1e-4 <= abs(value) < 1e15) and not value.is_integer()
    if kind is list or kind is tuple:
        return depth <= MAX_DEPTH and all(_ordinary(item, depth + 1) for item in value)
    return False


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
